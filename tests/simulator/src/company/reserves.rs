//! Reservations that an app made through the API before anything here began.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::people::Employee;
use crate::random::Draw;

/// A reservation.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// 19 digits.
    pub reserve_id: String,
    /// 9 digits.
    pub meeting_no: String,
    /// Name of the meeting.
    pub topic: String,
    /// What nobody may see.
    pub password: String,
    /// The same, where it is told a second time.
    pub settings_password: String,
    /// When it expires.
    pub end: Timestamp,
    /// Who made it.
    pub reserved_by: Arc<Employee>,
    /// Who may become host.
    pub hosts: Vec<Arc<Employee>>,
    /// Number and name of who is called, if somebody is.
    pub callee: Option<(String, String)>,
    /// The unique meeting that is held by it until it expires.
    pub meeting_id: Option<String>,
}

/// The reservations around the company's days: two that nobody meets by now, one by which a meeting is held, one that expired.
pub(super) fn reserves(
    root: Draw,
    employees: &[Arc<Employee>],
    first: Timestamp,
    last: Timestamp,
) -> Vec<Reserve> {
    let draw = root.label("standing reserves");
    let reserve = |n: u64| {
        let draw = draw.at(n);
        let who = |label: &str| {
            let place = draw.label(label).below(employees.len() as u64);
            Arc::clone(&employees[place as usize])
        };
        let day = SignedDuration::from_hours(24);
        let end = match n {
            3 => first.saturating_sub(day),
            _ => last.saturating_add(day * 20),
        };
        Reserve {
            reserve_id: (6_911_000_000_000_000_000 + draw.below(1_000_000_000_000)).to_string(),
            meeting_no: (100_000_000 + draw.label("number").below(900_000_000)).to_string(),
            topic: format!("预约 {n}"),
            password: format!("canary-reserve-{}", draw.label("password").hex(8)),
            settings_password: format!("canary-settings-{}", draw.label("settings").hex(8)),
            end: end.unwrap_or(last),
            reserved_by: who("by"),
            hosts: (n == 1).then(|| who("host")).into_iter().collect(),
            callee: (n == 2).then(|| ("+86 10 1234 5678".to_owned(), "前台".to_owned())),
            meeting_id: (n == 0).then(|| {
                let digits = 7_500_000_000_000_000_000 + draw.label("meeting").below(1_000_000);
                digits.to_string()
            }),
        }
    };
    (0..4).map(reserve).collect()
}

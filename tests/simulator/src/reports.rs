//! The two reports, computed from the same meetings that the exports list.
//!
//! A meeting counts on the day it begins, once it has ended; the knob for selecting meetings does not change that. Every figure goes out
//! as text.

use std::collections::HashMap;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::Options;
use crate::company::{Attendee, Company, Meeting, Participant};
use crate::exports::{IdType, id_type};
use crate::knobs::{DayBucket, TopUserUnit};
use crate::params::Params;
use crate::wire::{ApiError, DailyData, DailyReport, MeetingReport, TopUser, TopUserData};

/// Reports reach back so far.
const HORIZON: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Figures of one bucket or of all.
#[derive(Clone, Copy, Default)]
struct Totals {
    meetings: u64,
    duration_s: i64,
    participants: u64,
}

/// Answers `get_daily`.
///
/// # Errors
/// 99992402 and 121003 for wrong parameters and windows.
pub(crate) fn daily(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<DailyData, ApiError> {
    let (start, end) = span(params, options)?;
    let now = options.clock.now();
    let mut total = Totals::default();
    let mut daily_report = Vec::new();
    let mut bucket = first_bucket(start, company, options);
    while bucket < end && bucket <= now {
        let next = next_bucket(bucket, company, options);
        let mut totals = Totals::default();
        for meeting in company
            .meetings_in(bucket.max(start), next.min(end))
            .iter()
            .filter(|meeting| meeting.end <= now)
        {
            totals.add(meeting);
            total.add(meeting);
        }
        daily_report.push(DailyReport {
            date: bucket.as_second().to_string(),
            meeting_count: totals.meetings.to_string(),
            meeting_duration: totals.duration_s.to_string(),
            participant_count: totals.participants.to_string(),
        });
        bucket = next;
    }
    Ok(DailyData {
        meeting_report: MeetingReport {
            total_meeting_count: total.meetings.to_string(),
            total_meeting_duration: total.duration_s.to_string(),
            total_participant_count: total.participants.to_string(),
            daily_report,
        },
    })
}

/// Answers `get_top_user`.
///
/// # Errors
/// 99992402 and 121003 for wrong parameters and windows; 122359 when rooms are in the list and it shall show user ids.
pub(crate) fn top_user(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<TopUserData, ApiError> {
    let limit = params.integer_in("limit", 1, 100);
    let limit = params.require("limit", limit).unwrap_or(10);
    let order_by = params.integer_in("order_by", 1, 2);
    let order_by = params.require("order_by", order_by).unwrap_or(1);
    let id_type = id_type(params);
    let (start, end) = span(params, options)?;
    let now = options.clock.now();
    let mut users: HashMap<String, TopRow<'_>> = HashMap::new();
    for meeting in company
        .meetings_in(start, end)
        .iter()
        .filter(|meeting| meeting.end <= now)
    {
        let mut seen: Vec<&str> = Vec::new();
        for participant in &meeting.participants {
            let Some((open_id, row)) = top_row(participant, id_type) else {
                continue;
            };
            let user = users.entry(open_id.to_owned()).or_insert(row);
            user.duration_s += participant.time_in_meeting_s();
            if !seen.contains(&open_id) {
                seen.push(open_id);
                user.meetings += 1;
            }
        }
    }
    let mut rows: Vec<(String, TopRow<'_>)> = users.into_iter().collect();
    rows.sort_by_key(|(open_id, row)| {
        let rank = if order_by == 1 {
            row.meetings as i64
        } else {
            row.duration_s
        };
        (std::cmp::Reverse(rank), open_id.clone())
    });
    rows.truncate(limit as usize);
    if id_type == IdType::Employee && rows.iter().any(|(_, row)| row.user_type == ROOM) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            122_359,
            "the list contains accounts without a user_id",
        ));
    }
    let top_user_report = rows
        .into_iter()
        .map(|(_, row)| row.into_wire(options.knobs.top_user_unit))
        .collect();
    Ok(TopUserData { top_user_report })
}

/// `user_type` of a user and of a room.
const USER: u8 = 1;
const ROOM: u8 = 2;

struct TopRow<'a> {
    id: &'a str,
    name: &'a str,
    user_type: u8,
    meetings: u64,
    duration_s: i64,
}

impl TopRow<'_> {
    fn into_wire(self, unit: TopUserUnit) -> TopUser {
        let duration = match unit {
            TopUserUnit::Minutes => self.duration_s / 60,
            TopUserUnit::Seconds => self.duration_s,
        };
        TopUser {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            user_type: self.user_type,
            meeting_count: self.meetings.to_string(),
            meeting_duration: duration.to_string(),
        }
    }
}

/// The account's `open_id` and an empty row; `None` for those without an account.
fn top_row(participant: &Participant, id_type: IdType) -> Option<(&str, TopRow<'_>)> {
    let row = |id, name, user_type| TopRow {
        id,
        name,
        user_type,
        meetings: 0,
        duration_s: 0,
    };
    match &participant.who {
        Attendee::Employee(employee) => {
            let id = id_type.of(employee);
            Some((&employee.open_id, row(id, &employee.name, USER)))
        }
        Attendee::Room(room) => Some((
            &room.account_open_id,
            row(&room.account_open_id, &room.name, ROOM),
        )),
        Attendee::Guest(_) | Attendee::Pstn(_) => None,
    }
}

impl Totals {
    fn add(&mut self, meeting: &Meeting) {
        self.meetings += 1;
        self.duration_s += meeting.duration_s();
        self.participants += meeting.participant_count();
    }
}

/// The window `[start, end)` that a report covers.
fn span(params: &mut Params, options: &Options) -> Result<(Timestamp, Timestamp), ApiError> {
    let start = params.instant("start_time");
    let end = params.instant("end_time");
    params.integer_in("unit", 0, 3);
    params.check()?;
    let now = options.clock.now();
    let oldest = now.saturating_sub(HORIZON).unwrap_or(Timestamp::MIN);
    if end < start {
        return Err(ApiError::param("the end lies before the start"));
    }
    if start > now {
        return Err(ApiError::param("the start lies in the future"));
    }
    if start < oldest && options.knobs.refuse_old_reports {
        return Err(ApiError::param("only the last 90 days are available"));
    }
    let longest = options
        .knobs
        .longest_report_days
        .map(|days| SignedDuration::from_hours(24 * i64::from(days)));
    if longest.is_some_and(|longest| end.duration_since(start) > longest) {
        return Err(ApiError::param("the time span is too long"));
    }
    let extra_s = SignedDuration::from_secs(i64::from(options.knobs.end_inclusive));
    Ok((
        start.max(oldest),
        end.saturating_add(extra_s).unwrap_or(end),
    ))
}

fn first_bucket(start: Timestamp, company: &Company, options: &Options) -> Timestamp {
    match options.knobs.day_bucket {
        DayBucket::Utc => {
            Timestamp::from_second(start.as_second().div_euclid(86_400) * 86_400).unwrap_or(start)
        }
        DayBucket::Local => {
            company.start_of_day(start.to_zoned(company.time_zone().clone()).date())
        }
    }
}

fn next_bucket(bucket: Timestamp, company: &Company, options: &Options) -> Timestamp {
    match options.knobs.day_bucket {
        DayBucket::Utc => bucket
            .saturating_add(SignedDuration::from_hours(24))
            .unwrap_or(Timestamp::MAX),
        DayBucket::Local => {
            let date = bucket.to_zoned(company.time_zone().clone()).date();
            company.start_of_day(date.saturating_add(1.day()))
        }
    }
}

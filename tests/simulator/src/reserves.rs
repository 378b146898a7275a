//! What can be changed: reservations through the API are kept and told again, changes of rooms are only counted.
//!
//! A reservation has a password, as real ones have, so that a client shows whether it lets one out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::Options;
use crate::company::{Company, Employee, Reserve};
use crate::exports::{IdType, id_type};
use crate::params::Params;
use crate::random::Draw;
use crate::wire::ApiError;

/// The reservations that were made here.
#[derive(Debug)]
pub(crate) struct Reserves {
    draw: Draw,
    made: Mutex<BTreeMap<String, Value>>,
}

impl Reserves {
    /// None yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            draw: Draw::new(seed).label("reserves"),
            made: Mutex::default(),
        }
    }

    /// Answers `reserves/:id`.
    ///
    /// # Errors
    /// 121004 for an unknown id.
    pub(crate) fn get(
        &self,
        id: &str,
        params: &mut Params,
        company: &Company,
        options: &Options,
    ) -> Result<Value, ApiError> {
        let id_type = id_type(params);
        params.check()?;
        if let Some(standing) = standing(id, company) {
            return Ok(json!({ "reserve": told(&standing, id_type, options.clock.now()) }));
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let reserve = made.get(id).ok_or_else(ApiError::not_found)?;
        Ok(json!({ "reserve": reserve }))
    }

    /// Makes, changes or deletes one.
    ///
    /// # Errors
    /// 99992402 for parameters that are missing, 121004 for an unknown id.
    pub(crate) fn write(
        &self,
        method: &Method,
        id: &str,
        params: &mut Params,
        options: &Options,
    ) -> Result<Value, ApiError> {
        let end_time = params.integer("end_time");
        let settings = params.object("meeting_settings");
        params.check()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if method == Method::DELETE {
            made.remove(id).ok_or_else(ApiError::not_found)?;
            return Ok(json!({}));
        }
        if method == Method::PUT {
            let reserve = made.get_mut(id).ok_or_else(ApiError::not_found)?;
            reserve["meeting_settings"] = settings.unwrap_or_default();
            return Ok(json!({ "reserve": reserve }));
        }
        let draw = self.draw.at(made.len() as u64);
        let id = (6_900_000_000_000_000_000 + draw.below(1_000_000_000_000)).to_string();
        let in_a_day = options
            .clock
            .now()
            .saturating_add(SignedDuration::from_hours(24));
        let in_a_day = in_a_day.map_or(0, Timestamp::as_second);
        let number = 100_000_000 + draw.label("number").below(900_000_000);
        let reserve = json!({
            "id": id,
            "meeting_no": number.to_string(),
            "password": draw.label("password").between(100_000, 999_999).to_string(),
            "url": format!("https://vc.example.com/j/{number}"),
            "app_link": format!("https://applink.example.com/{number}"),
            "end_time": end_time.unwrap_or(in_a_day).to_string(),
            "expire_status": 1,
            "meeting_settings": settings.unwrap_or_default(),
        });
        made.insert(id, reserve.clone());
        Ok(json!({ "reserve": reserve }))
    }
}

fn standing(id: &str, company: &Company) -> Option<Reserve> {
    let mut standing = company.reserves().into_iter();
    standing.find(|reserve| reserve.reserve_id == id)
}

/// Answers `reserves/:id/get_active_meeting`.
///
/// # Errors
/// 121004 for an unknown id, and while nobody meets.
pub(crate) fn active_meeting(
    id: &str,
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<Value, ApiError> {
    let id_type = id_type(params);
    let with_participants = params.flag("with_participants");
    params.check()?;
    let now = options.clock.now();
    let reserve = standing(id, company).filter(|of| of.end > now);
    let reserve = reserve.ok_or_else(ApiError::not_found)?;
    let meeting_id = reserve.meeting_id.clone().ok_or_else(ApiError::not_found)?;
    let host = id_type.of(&reserve.reserved_by);
    let start = now.saturating_sub(SignedDuration::from_mins(10));
    let start = start.map_or(0, Timestamp::as_second).to_string();
    let mut meeting = json!({
        "id": meeting_id, "topic": reserve.topic, "meeting_no": reserve.meeting_no,
        "url": url(&reserve), "password": reserve.password, "status": 2,
        "start_time": start, "end_time": "0", "host_user": { "id": host, "user_type": 1 },
    });
    if with_participants {
        meeting["participants"] = json!([{
            "id": host, "first_join_time": start, "in_meeting_duration": "600", "user_type": 1,
            "is_host": true, "is_cohost": false, "is_external": false, "status": 2,
        }]);
    }
    Ok(json!({ "meeting": meeting }))
}

/// The link that lets people in.
fn url(reserve: &Reserve) -> String {
    format!("https://vc.example.com/j/{}", reserve.meeting_no)
}

fn told(reserve: &Reserve, id_type: IdType, now: Timestamp) -> Value {
    let host = |host: &Arc<Employee>| json!({ "id": id_type.of(host), "user_type": 1 });
    let mut settings = json!({
        "topic": reserve.topic,
        "password": reserve.settings_password,
        "action_permissions": [
            { "permission": 3, "permission_checkers": [{ "check_field": 3, "check_mode": 1, "check_list": ["a", "b"] }] },
        ],
        "meeting_initial_type": 1,
        "meeting_connect": false,
        "auto_record": true,
        "assign_host_list": reserve.hosts.iter().map(host).collect::<Vec<_>>(),
    });
    if let Some((number, name)) = &reserve.callee {
        settings["meeting_initial_type"] = 2.into();
        settings["call_setting"] = json!({ "callee": {
            "user_type": 6, "pstn_sip_info": { "main_address": number, "nickname": name },
        } });
    }
    json!({
        "id": reserve.reserve_id,
        "meeting_no": reserve.meeting_no,
        "password": reserve.password,
        "url": url(reserve),
        "app_link": format!("https://applink.example.com/{}", reserve.meeting_no),
        "live_link": format!("https://live.example.com/{}", reserve.meeting_no),
        "end_time": reserve.end.as_second().to_string(),
        "expire_status": if reserve.end > now { 1 } else { 2 },
        "reserve_user_id": id_type.of(&reserve.reserved_by),
        "meeting_settings": settings,
    })
}

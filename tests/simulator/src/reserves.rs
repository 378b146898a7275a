//! What can be changed: reservations through the API are kept and told again, changes of rooms are only counted.
//!
//! A reservation has a password, as real ones have, so that a client shows whether it lets one out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::Options;
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
    pub(crate) fn get(&self, id: &str) -> Result<Value, ApiError> {
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
        let in_a_day = in_a_day.map_or(0, jiff::Timestamp::as_second);
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

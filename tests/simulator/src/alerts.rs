//! Alerts of a span, page by page, the newest first.
//!
//! The spelling of the fields is the documentation's, which mixes two styles, and so is the list in a list of its example.

use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::json;

use crate::Options;
use crate::company::{Alert, AlertStatus, Company};
use crate::knobs::AlertPages;
use crate::params::Params;
use crate::rooms::Page;
use crate::wire::{AlertContact, AlertItem, AlertsPage, ApiError};

/// As documented.
const DEFAULT_PAGE_SIZE: i64 = 100;
/// The stricter of the two numbers on the page.
const LARGEST_PAGE: i64 = 200;
/// Not documented; the strict reading.
const LONGEST_SPAN: SignedDuration = SignedDuration::from_hours(24);

/// Answers `alerts`.
///
/// # Errors
/// 99992402 for parameters that are missing or malformed, 121003 for a span that is reversed or longer than a day.
pub(crate) fn list(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<AlertsPage, ApiError> {
    let (start, end) = (params.instant("start_time"), params.instant("end_time"));
    let query_type = params.integer_in("query_type", 1, 3);
    let query_value = params.text("query_value");
    let most = options.knobs.page_size.max(1);
    let page = Page::up_to(params, DEFAULT_PAGE_SIZE, LARGEST_PAGE, most)?;
    if end < start {
        return Err(ApiError::param("the end lies before the start"));
    }
    if options.knobs.refuse_long_spans && end.duration_since(start) > LONGEST_SPAN {
        return Err(ApiError::param("the time span is too long"));
    }
    let now = options.clock.now();
    let is_within = |alert: &&Alert| {
        let is_before = match options.knobs.end_inclusive {
            true => alert.time <= end,
            false => alert.time < end,
        };
        start <= alert.time && is_before && alert.time <= now
    };
    let is_asked_for = |alert: &&Alert| {
        let target = match alert.target {
            1 => Some(1),
            6 => Some(2),
            5 => Some(3),
            _ => None,
        };
        let id = alert.room.as_ref().map(|room| &room.room_id);
        (query_type.is_none() || query_type == target)
            && (query_value.is_none() || query_value.as_ref() == id)
    };
    let alerts = company.alerts().iter().rev();
    let alerts: Vec<&Alert> = alerts.filter(is_within).filter(is_asked_for).collect();
    let (items, mut page_token) = match options.knobs.alert_pages {
        AlertPages::Overlapping => page.with_one_before().cut(&alerts),
        AlertPages::Sound | AlertPages::Endless => page.cut(&alerts),
    };
    if options.knobs.alert_pages == AlertPages::Endless {
        page_token = page_token.or_else(|| Some(page.own_token()));
    }
    Ok(AlertsPage {
        items: items.iter().map(|alert| item(alert, now)).collect(),
        has_more: page_token.is_some(),
        page_token,
    })
}

fn item(alert: &Alert, now: Timestamp) -> AlertItem {
    let past = |time: Option<Timestamp>| {
        let time = time.filter(|time| *time <= now)?;
        Some(time.as_second().to_string())
    };
    let status = match (alert.status(now), alert.is_deprecated) {
        (AlertStatus::Pending, true) => 0,
        (AlertStatus::Pending, false) => 1,
        (AlertStatus::Processing, _) => 2,
        (AlertStatus::Recovered, true) => 3,
        (AlertStatus::Recovered, false) => 4,
    };
    AlertItem {
        alert_id: alert.alert_id.clone(),
        resource_scope: alert.target_name.clone(),
        monitor_target: alert.target,
        alert_strategy: alert.condition,
        alert_time: alert.time.as_second().to_string(),
        alert_level: alert.level,
        contacts: alert
            .contacts
            .iter()
            .map(|(contact_type, contact_name)| AlertContact {
                contact_type: *contact_type,
                contact_name: contact_name.clone(),
            })
            .collect(),
        notify_methods: match alert.is_nested {
            true => json!([alert.notify_methods]),
            false => json!(alert.notify_methods),
        },
        alert_rule: alert.rule_name,
        // An empty text, `0` and nothing at all mean the same.
        process_time: past(alert.process_time).or_else(|| Some(String::new())),
        recover_time: past(alert.recover_time)
            .or_else(|| alert.is_deprecated.then(|| "0".to_owned())),
        process_status: status,
        alert_rule_id: alert.rule_id.clone(),
        monitor_target_room_id: alert.room.as_ref().map(|room| room.room_id.clone()),
        monitor_target_room_mac: alert.room.is_some().then(|| alert.room_mac.clone()),
    }
}

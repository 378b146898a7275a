//! The two lists of meetings that answer at once: `meeting_list`, whose scope new apps get for users only, and `meetings`, which no
//! documentation has.
//!
//! Only as much of them as tells a client whether it may ask: numbers, ids and topics, on one page.

use serde_json::{Value, json};

use crate::Options;
use crate::company::Company;
use crate::params::Params;
use crate::wire::{ApiError, QueriedMeeting, QueriedMeetings};

/// A larger page is refused, and so is a smaller one.
const PAGE_SIZES: (i64, i64) = (20, 100);

/// Answers `meeting_list`.
///
/// # Errors
/// 99992402 for parameters that are missing or malformed.
pub(crate) fn meetings(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<QueriedMeetings, ApiError> {
    let (start, end) = (params.instant("start_time"), params.instant("end_time"));
    let status = params.integer_in("meeting_status", 1, 3);
    let size = params.integer_in("page_size", PAGE_SIZES.0, PAGE_SIZES.1);
    params.check()?;
    let now = options.clock.now();
    let live = company.live_meetings(now);
    let meetings: Vec<_> = match status {
        Some(1) => live.iter().filter(|meeting| meeting.start <= now).collect(),
        Some(3) => live.iter().filter(|meeting| meeting.start > now).collect(),
        _ => {
            let ended = company.meetings_in(start, end).iter();
            ended.filter(|meeting| meeting.end <= now).collect()
        }
    };
    let size = usize::try_from(size.unwrap_or(PAGE_SIZES.0)).unwrap_or(usize::MAX);
    let told = meetings
        .into_iter()
        .take(size)
        .map(|meeting| QueriedMeeting {
            meeting_id: meeting.meeting_no.clone(),
            meeting_topic: meeting.topic.clone(),
            meeting_instance_id: meeting.id(),
        });
    Ok(QueriedMeetings {
        meeting_list: told.collect(),
        has_more: false,
    })
}

/// Answers `meetings`.
///
/// # Errors
/// 99992402 for parameters that are missing.
pub(crate) fn undocumented(params: &mut Params, company: &Company) -> Result<Value, ApiError> {
    let (start, end) = (params.instant("start_time"), params.instant("end_time"));
    params.integer("page_size");
    params.check()?;
    let meetings = company.meetings_in(start, end).iter();
    let told = meetings.map(|meeting| json!({ "meeting_no": meeting.meeting_no }));
    Ok(json!({ "meetings": told.collect::<Vec<_>>(), "has_more": false }))
}

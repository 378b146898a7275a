//! Meetings by their unique id: the ids of a number, the detail of a meeting with its participants, and its recording.
//!
//! Everything but the passwords is what the sheets say, seen from another side: a participant here is a person or a room over all of its
//! devices and stays.

use std::sync::Arc;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::Options;
use crate::auth::{SCOPE_NOTE, SCOPE_VERBATIM};
use crate::company::{Attendee, Company, Meeting, Participant};
use crate::exports::{IdType, id_type};
use crate::knobs::{Face, MeetingFilter};
use crate::params::Params;
use crate::random::Draw;
use crate::rooms::Page;
use crate::wire::ApiError;

/// Meetings are answered so far back.
const HORIZON: SignedDuration = SignedDuration::from_hours(90 * 24);
/// As documented.
const DEFAULT_PAGE_SIZE: i64 = 20;
const LARGEST_PAGE: i64 = 50;

/// Answers `meetings/list_by_no`: the meetings with a number in a range of time.
///
/// # Errors
/// 99992402 and 121003 for wrong parameters.
pub(crate) fn list_by_no(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<Value, ApiError> {
    let number = params.required_text("meeting_no");
    let (start, end) = (params.instant("start_time"), params.instant("end_time"));
    let most = options.knobs.page_size;
    let page = Page::up_to(params, DEFAULT_PAGE_SIZE, LARGEST_PAGE, most)?;
    if number.len() != 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) || end < start {
        return Err(ApiError::param("param error"));
    }
    let now = options.clock.now();
    let is_asked_for = |meeting: &&Arc<Meeting>| match options.knobs.meeting_filter {
        MeetingFilter::Start => (start..end).contains(&meeting.start),
        MeetingFilter::End => (start..end).contains(&meeting.end),
        MeetingFilter::Overlap => meeting.start < end && meeting.end > start,
    };
    let live = company.live_meetings(now);
    let live = live.iter().filter(|meeting| meeting.meeting_no == number);
    let all = company.meetings_numbered(&number).iter().chain(live);
    let meetings: Vec<Arc<Meeting>> = all
        .filter(|meeting| is_known(meeting, now))
        .filter(is_asked_for)
        .cloned()
        .collect();
    let (meetings, token) = page.cut(&meetings);
    let mut briefs: Vec<Value> = meetings
        .iter()
        .map(|meeting| {
            json!({
                "id": meeting.id(),
                "topic": meeting.topic,
                "url": url(meeting),
                "meeting_no": meeting.meeting_no,
                "password": password(meeting),
                "meeting_connect": false,
            })
        })
        .collect();
    let is_feishu = options.knobs.face == Face::Feishu;
    for (brief, meeting) in briefs.iter_mut().zip(meetings) {
        if let Some(notes) = notes(meeting).filter(|_| is_feishu && meeting.end <= now) {
            brief["note_id"] = notes.id.into();
        }
    }
    let mut data = json!({ "meeting_briefs": briefs, "has_more": token.is_some() });
    if let Some(token) = token {
        data["page_token"] = token.into();
    }
    Ok(data)
}

/// Answers `meetings/:meeting_id`.
///
/// # Errors
/// 121004 for an unknown id or one older than 90 days, 121005 where the app may not see it.
pub(crate) fn detail(
    id: &str,
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<Value, ApiError> {
    let mode = params.integer_in("query_mode", 0, 1);
    let with_participants = params.flag("with_participants");
    let with_ability = params.flag("with_meeting_ability");
    let id_type = id_type(params);
    params.check()?;
    id_type.check_scope(&options.knobs)?;
    let now = options.clock.now();
    let meeting = find(id, company, now)?;
    if options.knobs.hidden_meetings.has(&meeting) {
        return Err(ApiError::no_permission());
    }
    let is_feishu = options.knobs.face == Face::Feishu;
    let notes = notes(&meeting).filter(|_| is_feishu && meeting.end <= now);
    if mode == Some(1) {
        return Ok(json!({ "related_artifacts": artifacts(notes.as_ref(), options) }));
    }
    let second = |at: Timestamp| at.as_second().to_string();
    let drift = SignedDuration::from_secs(options.knobs.meeting_drift_s);
    let start = meeting.start.saturating_add(drift).unwrap_or(meeting.start);
    let status = match () {
        () if meeting.end + options.knobs.goes_on_for <= now => 3,
        () if meeting.start <= now => 2,
        () => 1,
    };
    let host = &meeting.organizer;
    let mut item = json!({
        "id": meeting.id(),
        "topic": meeting.topic,
        "url": url(&meeting),
        "meeting_no": meeting.meeting_no,
        "password": password(&meeting),
        "create_time": second(meeting.start),
        "start_time": second(start),
        "end_time": if status == 3 { second(meeting.end) } else { "0".to_owned() },
        "host_user": { "id": id_type.of(host), "user_type": 1 },
        "meeting_connect": false,
        "status": status,
        "participant_count": peak(&meeting).to_string(),
        "participant_count_accumulated": meeting.participant_count().to_string(),
    });
    if with_ability {
        let used = |did: fn(&Participant) -> bool| meeting.participants.iter().any(did);
        item["ability"] = json!({
            "use_video": used(|participant| participant.used_video),
            "use_audio": used(|participant| participant.used_audio),
            "use_share_screen": used(|participant| participant.used_screen_share),
            "use_follow_screen": false,
            "use_recording": meeting.was_recorded,
            "use_pstn": meeting.used_phone(),
        });
    }
    if let Some(notes) = notes {
        item["note_id"] = notes.id.into();
    }
    if with_participants {
        item["participants"] = participants(&meeting, id_type).into();
    }
    Ok(json!({ "meeting": item }))
}

/// Answers `meetings/:meeting_id/recording`.
///
/// # Errors
/// 121004 for an unknown id, 122001 for a meeting that has not ended, 122002 for one without a recording, 124002 while it is being
/// processed.
pub(crate) fn recording(id: &str, company: &Company, options: &Options) -> Result<Value, ApiError> {
    let now = options.clock.now();
    let meeting = find(id, company, now)?;
    let refuse = |status, code, message: &str| Err(ApiError::new(status, code, message));
    if meeting.end > now {
        return refuse(
            StatusCode::BAD_REQUEST,
            122_001,
            "meeting status unexpected",
        );
    }
    if !meeting.was_recorded {
        return refuse(StatusCode::NOT_FOUND, 122_002, "recording file not exist");
    }
    if now.duration_since(meeting.end) < options.knobs.recording_after {
        // One of the two, always the same for one meeting: both were seen.
        return match meeting.start.as_second() % 2 {
            0 => Ok(json!({})),
            _ => refuse(
                StatusCode::BAD_REQUEST,
                124_002,
                "recording file in processing",
            ),
        };
    }
    Ok(json!({ "recording": {
        "url": recording_url(&meeting),
        "duration": (meeting.duration_s() * 1_000).to_string(),
    } }))
}

/// The Minutes page of a recorded meeting.
#[must_use]
pub fn recording_url(meeting: &Meeting) -> String {
    let token = Draw::new(0).label("minutes").label(&meeting.id()).hex(20);
    format!("https://meetlake.feishu.cn/minutes/obcn{token}")
}

/// The link that lets people in.
fn url(meeting: &Meeting) -> String {
    format!("https://vc.feishu.cn/j/{}", meeting.meeting_no)
}

/// What nobody may ever see outside of an answer.
#[must_use]
pub fn password(meeting: &Meeting) -> String {
    format!(
        "secret-{}",
        Draw::new(0).label("password").label(&meeting.id()).hex(12)
    )
}

fn is_known(meeting: &Meeting, now: Timestamp) -> bool {
    now.duration_since(meeting.start) <= HORIZON
}

fn find(id: &str, company: &Company, now: Timestamp) -> Result<Arc<Meeting>, ApiError> {
    let found = company.meeting(id).cloned();
    let live = || {
        company
            .live_meetings(now)
            .into_iter()
            .find(|meeting| meeting.id() == id)
    };
    let found = found.or_else(live).filter(|meeting| is_known(meeting, now));
    found.ok_or_else(ApiError::not_found)
}

/// What an assistant left of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes {
    /// The id of the notes.
    pub id: String,
    /// Token of the document of the notes.
    pub note_doc_token: String,
    /// Token of the document of what was said; empty where nobody asked for one.
    pub verbatim_doc_token: String,
}

/// The notes of a meeting, which every third one has once it is over.
#[must_use]
pub fn notes(meeting: &Meeting) -> Option<Notes> {
    let second = meeting.start.as_second();
    let token = |kind: &str| format!("dox{kind}{}", meeting.id());
    (second % 3 == 0).then(|| Notes {
        id: format!("7{}", &meeting.id()[1..]),
        note_doc_token: token("Note"),
        verbatim_doc_token: match second % 2 {
            0 => token("Verbatim"),
            _ => String::new(),
        },
    })
}

/// A member is absent where its scope is, and empty where there is nothing, as documented.
fn artifacts(notes: Option<&Notes>, options: &Options) -> Value {
    let mut artifacts = Map::new();
    let note = notes.map_or("", |notes| &notes.note_doc_token);
    let verbatim = notes.map_or("", |notes| &notes.verbatim_doc_token);
    for (scope, name, token) in [
        (SCOPE_NOTE, "note_doc_token", note),
        (SCOPE_VERBATIM, "verbatim_doc_token", verbatim),
    ] {
        if options.knobs.scopes.contains(scope) {
            artifacts.insert(name.to_owned(), token.into());
        }
    }
    artifacts.into()
}

/// Most devices that were in the meeting at one time.
#[must_use]
pub fn peak(meeting: &Meeting) -> u64 {
    let stays = &meeting.participants;
    let at = |instant: Timestamp| {
        let there = |stay: &&Participant| stay.join_time <= instant && instant < stay.leave_time;
        stays.iter().filter(there).count() as u64
    };
    stays
        .iter()
        .map(|stay| at(stay.join_time))
        .max()
        .unwrap_or(0)
}

/// A person or a room of a meeting over all of its stays.
#[derive(Clone, Debug)]
pub struct Attendance<'m> {
    /// Who it is.
    pub who: &'m Attendee,
    /// First join.
    pub first_join: Timestamp,
    /// Last leave.
    pub final_leave: Timestamp,
    /// Seconds in the meeting, of all devices together.
    pub in_meeting_s: i64,
}

/// Who was in the meeting, in the order of their first device.
#[must_use]
pub fn attendances(meeting: &Meeting) -> Vec<Attendance<'_>> {
    let mut found: Vec<(String, Attendance<'_>)> = Vec::new();
    for stay in &meeting.participants {
        let id = match &stay.who {
            Attendee::Employee(employee) => employee.open_id.clone(),
            Attendee::Room(room) => room.room_id.clone(),
            Attendee::Guest(name) | Attendee::Pstn(name) => format!("name {name}"),
        };
        match found.iter_mut().find(|(other, _)| *other == id) {
            Some((_, known)) => {
                known.first_join = known.first_join.min(stay.join_time);
                known.final_leave = known.final_leave.max(stay.leave_time);
                known.in_meeting_s += stay.time_in_meeting_s();
            }
            None => found.push((
                id,
                Attendance {
                    who: &stay.who,
                    first_join: stay.join_time,
                    final_leave: stay.leave_time,
                    in_meeting_s: stay.time_in_meeting_s(),
                },
            )),
        }
    }
    found
        .into_iter()
        .map(|(_, attendance)| attendance)
        .collect()
}

fn participants(meeting: &Meeting, id_type: IdType) -> Vec<Value> {
    let of = |attendance: Attendance<'_>| {
        let (id, user_type) = match attendance.who {
            Attendee::Employee(employee) => (Some(id_type.of(employee).to_owned()), 1),
            Attendee::Room(room) => (Some(room.room_id.clone()), 2),
            Attendee::Guest(_) => (None, 5),
            Attendee::Pstn(_) => (None, 6),
        };
        // Asked for employees, Feishu leaves everybody else out without a word.
        if id_type == IdType::Employee && user_type != 1 {
            return None;
        }
        let is_host = matches!(attendance.who, Attendee::Employee(employee)
            if employee.user_id == meeting.organizer.user_id);
        let mut row = Map::new();
        if let Some(id) = id {
            row.insert("id".to_owned(), id.into());
        }
        for (name, value) in [
            (
                "first_join_time",
                json!(attendance.first_join.as_second().to_string()),
            ),
            (
                "final_leave_time",
                json!(attendance.final_leave.as_second().to_string()),
            ),
            (
                "in_meeting_duration",
                json!(attendance.in_meeting_s.to_string()),
            ),
            ("user_type", json!(user_type)),
            ("is_host", json!(is_host)),
            ("is_cohost", json!(false)),
            ("is_external", json!(user_type == 5)),
            ("status", json!(4)),
        ] {
            row.insert(name.to_owned(), value);
        }
        Some(Value::Object(row))
    };
    attendances(meeting).into_iter().filter_map(of).collect()
}

//! Asynchronous exports: a request becomes a task, a task becomes a file.
//!
//! ```text
//! submit ──► 1 processing ──► 3 done ──► download
//!                    ├──────► 2 failed (fault `failed`, or an unknown target by knob)
//!                    └──────► 1 for ever (fault `stuck`)
//! ```
//!
//! A task holds the request, not the rows: the file is made when somebody downloads it and is not kept. Tokens, limits and network faults
//! are judged before anything here runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use crate::Options;
use crate::auth::{Identity, SCOPE_EMPLOYEE_ID};
use crate::company::{Company, Employee, Meeting, MeetingKind, Participant, Reservation, Room};
use crate::endpoint::Endpoint;
use crate::knobs::{Knobs, Layout, Selection, UnknownTarget};
use crate::params::Params;
use crate::random::Draw;
use crate::tables::{self, View};
use crate::wire::{ApiError, Submitted, TaskState};
use crate::workbook::Table;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Which id names a user in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdType {
    /// `open_id`.
    Open,
    /// `union_id`.
    Union,
    /// `user_id`, the one in the sheets.
    Employee,
}

impl IdType {
    /// The id of `employee`.
    pub(crate) fn of(self, employee: &Employee) -> &str {
        match self {
            Self::Open => &employee.open_id,
            Self::Union => &employee.union_id,
            Self::Employee => &employee.user_id,
        }
    }

    /// Whether the app may see ids of this type.
    ///
    /// # Errors
    /// 99991672 for ids of employees when the app may not see them.
    pub(crate) fn check_scope(self, knobs: &Knobs) -> Result<(), ApiError> {
        if self == Self::Employee && !knobs.scopes.contains(SCOPE_EMPLOYEE_ID) {
            return Err(ApiError::missing_scope(
                99_991_672,
                "field_scope_required",
                &[SCOPE_EMPLOYEE_ID],
            ));
        }
        Ok(())
    }
}

/// A window of instants; whether `end` belongs to it is a knob.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Timestamp,
    end: Timestamp,
}

/// State of a meeting, as requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MeetingStatus {
    Ongoing,
    Ended,
    Upcoming,
}

/// Whom a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// The `open_id` of a user.
    User(String),
    /// The `omm_…` of a room.
    Room(String),
}

/// A validated request.
#[derive(Debug)]
enum Request {
    Meetings {
        span: Span,
        status: MeetingStatus,
        meeting_no: Option<String>,
        who: Option<Who>,
        kind: Option<MeetingKind>,
    },
    Participants {
        span: Span,
        status: MeetingStatus,
        meeting_no: String,
        who: Option<Who>,
    },
    Quality {
        span: Span,
        meeting_no: String,
        join_time: Timestamp,
        who: Who,
    },
    Reservations {
        span: Span,
        room_level_id: String,
        room_ids: Vec<String>,
        is_exclude: bool,
        need_topic: bool,
    },
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed(&'static str),
    Stuck,
}

/// What faults do to a task from the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mishap {
    pub(crate) fails: bool,
    pub(crate) is_stuck: bool,
    pub(crate) is_empty: bool,
    pub(crate) is_short: bool,
}

/// An export task.
#[derive(Debug)]
pub(crate) struct Task {
    kind: Endpoint,
    request: Request,
    /// A hash of the request: decides layout and duration.
    draw: Draw,
    identity: Identity,
    submitted_at: Timestamp,
    done_at: Timestamp,
    outcome: Outcome,
    is_empty: bool,
    is_short: bool,
    has_misleading_message: bool,
    file_token: String,
    polls: AtomicU64,
    was_seen_finished: AtomicBool,
    is_gone: AtomicBool,
}

/// What a poll tells, and what the report wants to know.
pub(crate) struct Polled {
    pub(crate) state: TaskState,
    /// Polls so far, if this one is the first that saw the task finished.
    pub(crate) finished_after: Option<u64>,
}

/// All tasks.
#[derive(Debug)]
pub(crate) struct Exports {
    draw: Draw,
    count: AtomicU64,
    by_id: Mutex<HashMap<String, Arc<Task>>>,
    by_token: Mutex<HashMap<String, Arc<Task>>>,
}

impl Exports {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            draw: Draw::new(seed).label("exports"),
            count: AtomicU64::new(0),
            by_id: Mutex::default(),
            by_token: Mutex::default(),
        }
    }

    /// Validates the request and begins a task.
    ///
    /// # Errors
    /// The documented code for parameters that are missing, malformed or out of range.
    pub(crate) fn submit(
        &self,
        kind: Endpoint,
        params: &mut Params,
        identity: Identity,
        mishap: Mishap,
        company: &Company,
        options: &Options,
    ) -> Result<Submitted, ApiError> {
        let now = options.clock.now();
        let request = Reading {
            params,
            company,
            options,
            now,
        }
        .request(kind)?;
        let index = self.count.fetch_add(1, Ordering::Relaxed);
        // A simulator that was started again must not know the ids of its earlier life, least of all as those of other exports.
        let life = options.clock.start().as_microsecond().unsigned_abs();
        let draw = self.draw.label(kind.name()).label(&params.canonical());
        let is_unknown = options.knobs.unknown_target == UnknownTarget::FailedTask
            && request.is_unknown(company, now);
        let outcome = match mishap {
            Mishap { is_stuck: true, .. } => Outcome::Stuck,
            Mishap { fails: true, .. } => Outcome::Failed("internal error"),
            _ if is_unknown => Outcome::Failed("data not exist"),
            _ => Outcome::Done,
        };
        let task = Arc::new(Task {
            kind,
            request,
            draw,
            identity,
            submitted_at: now,
            done_at: now
                .saturating_add(duration(kind, &options.knobs, draw))
                .unwrap_or(Timestamp::MAX),
            outcome,
            is_empty: mishap.is_empty,
            is_short: mishap.is_short,
            has_misleading_message: draw
                .label("misleading")
                .chance(options.knobs.misleading_fail_msg),
            file_token: format!(
                "{}==",
                self.draw.label("file").at(life).at(index).alphanumeric(70)
            ),
            polls: AtomicU64::new(0),
            was_seen_finished: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        });
        // 19 digits that differ: the first ones count, the last ones look drawn.
        let task_id = (7_100_000_000_000_000_000
            + index * 1_000_000_000
            + self
                .draw
                .label("id")
                .at(life)
                .at(index)
                .below(1_000_000_000))
        .to_string();
        lock(&self.by_token).insert(task.file_token.clone(), Arc::clone(&task));
        lock(&self.by_id).insert(task_id.clone(), task);
        Ok(Submitted { task_id })
    }

    /// The state of a task.
    ///
    /// # Errors
    /// 121004 for an unknown id, 121005 for the task of another identity.
    pub(crate) fn poll(
        &self,
        task_id: &str,
        identity: Identity,
        now: Timestamp,
    ) -> Result<Polled, ApiError> {
        let task = lock(&self.by_id)
            .get(task_id)
            .map(Arc::clone)
            .ok_or_else(ApiError::not_found)?;
        task.check(identity)?;
        let polls = task.polls.fetch_add(1, Ordering::Relaxed) + 1;
        let state = task.state(now);
        let is_first = state.status != 1 && !task.was_seen_finished.swap(true, Ordering::Relaxed);
        Ok(Polled {
            state,
            finished_after: is_first.then_some(polls),
        })
    }

    /// The task whose file `file_token` names, provided that it is done.
    ///
    /// # Errors
    /// 121004 for an unknown token, an unfinished task and a file that is gone, 121005 for the task of another identity.
    pub(crate) fn file(
        &self,
        file_token: &str,
        identity: Identity,
        now: Timestamp,
    ) -> Result<Arc<Task>, ApiError> {
        let task = lock(&self.by_token)
            .get(file_token)
            .map(Arc::clone)
            .ok_or_else(ApiError::not_found)?;
        task.check(identity)?;
        if task.state(now).status != 3 || task.is_gone.load(Ordering::Relaxed) {
            return Err(ApiError::not_found());
        }
        Ok(task)
    }
}

impl Task {
    fn check(&self, identity: Identity) -> Result<(), ApiError> {
        if self.identity == identity {
            Ok(())
        } else {
            Err(ApiError::no_permission())
        }
    }

    fn state(&self, now: Timestamp) -> TaskState {
        let pending = TaskState {
            status: 1,
            url: None,
            file_token: None,
            fail_msg: None,
        };
        match self.outcome {
            Outcome::Stuck => pending,
            _ if now < self.done_at => pending,
            Outcome::Failed(message) => TaskState {
                status: 2,
                fail_msg: Some(message),
                ..pending
            },
            Outcome::Done => TaskState {
                status: 3,
                // Only the app's creator can open it, in a browser.
                url: Some(format!(
                    "https://files.simulator.invalid/obj/{}",
                    &self.file_token[..24]
                )),
                file_token: Some(self.file_token.clone()),
                fail_msg: self.has_misleading_message.then_some("no permission"),
            },
        }
    }

    /// The file is gone for good.
    pub(crate) fn lose_file(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// Such as `meeting_list_1760000000.xlsx`.
    pub(crate) fn file_name(&self) -> String {
        format!(
            "{}_{}.xlsx",
            self.kind.name(),
            self.submitted_at.as_second()
        )
    }

    /// The rows of the file as they were when the task was submitted.
    pub(crate) fn table(&self, company: &Company, knobs: &Knobs) -> Table {
        let observed = match knobs.layout {
            Layout::Documented => false,
            Layout::Observed => true,
            Layout::Mixed => self.draw.label("layout").chance(0.5),
        };
        let view = View {
            knobs,
            zone: company.time_zone(),
            observed,
            shows_user_ids: knobs.scopes.contains(SCOPE_EMPLOYEE_ID),
            as_of: self.submitted_at,
        };
        let mut table = self.request.table(company, &view);
        if self.is_empty {
            table.rows.clear();
        }
        if self.is_short {
            let mut index = 0;
            table.rows.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        table
    }
}

/// Simulated time that a task takes: half to one and a half of the average of its kind.
fn duration(kind: Endpoint, knobs: &Knobs, draw: Draw) -> Duration {
    let times = &knobs.export_times;
    let average = match kind {
        Endpoint::MeetingList => times.meeting_list,
        Endpoint::ParticipantList => times.participant_list,
        Endpoint::ParticipantQualityList => times.participant_quality_list,
        _ => times.resource_reservation_list,
    };
    average.mul_f64(0.5 + draw.label("duration").unit())
}

/// Turns parameters into a request.
struct Reading<'a> {
    params: &'a mut Params,
    company: &'a Company,
    options: &'a Options,
    now: Timestamp,
}

impl Reading<'_> {
    fn request(&mut self, kind: Endpoint) -> Result<Request, ApiError> {
        match kind {
            Endpoint::MeetingList => self.meeting_list(),
            Endpoint::ParticipantList => self.participant_list(),
            Endpoint::ParticipantQualityList => self.participant_quality_list(),
            _ => self.resource_reservation_list(),
        }
    }

    fn meeting_list(&mut self) -> Result<Request, ApiError> {
        let span = self.span("start_time", "end_time");
        let status = self.status();
        let meeting_no = self.params.text("meeting_no");
        let kind = match self.params.integer_in("meeting_type", 1, 3) {
            Some(2) => Some(MeetingKind::Video),
            Some(3) => Some(MeetingKind::ScreenShare),
            _ => None,
        };
        let who = self.who(usize::from(meeting_no.is_some()))?;
        self.params.check()?;
        check_meeting_no(meeting_no.as_deref())?;
        let longest = if status == MeetingStatus::Upcoming {
            DAY * 31
        } else {
            DAY * 366
        };
        self.check_span(span, longest, status != MeetingStatus::Upcoming)?;
        Ok(Request::Meetings {
            span,
            status,
            meeting_no,
            who,
            kind,
        })
    }

    fn participant_list(&mut self) -> Result<Request, ApiError> {
        let span = self.span("meeting_start_time", "meeting_end_time");
        let status = self.status();
        let meeting_no = self.params.required_text("meeting_no");
        let who = self.who(0)?;
        self.params.check()?;
        check_meeting_no(Some(&meeting_no))?;
        self.check_span(span, self.longest_for(&meeting_no, span), true)?;
        Ok(Request::Participants {
            span,
            status,
            meeting_no,
            who,
        })
    }

    fn participant_quality_list(&mut self) -> Result<Request, ApiError> {
        let span = self.span("meeting_start_time", "meeting_end_time");
        let meeting_no = self.params.required_text("meeting_no");
        let join_time = self.params.instant("join_time");
        let who = self.who(0)?;
        self.params.check()?;
        check_meeting_no(Some(&meeting_no))?;
        self.check_span(span, self.longest_for(&meeting_no, span), true)?;
        let who =
            who.ok_or_else(|| ApiError::param("exactly one of user_id and room_id is required"))?;
        Ok(Request::Quality {
            span,
            meeting_no,
            join_time,
            who,
        })
    }

    fn resource_reservation_list(&mut self) -> Result<Request, ApiError> {
        let span = self.span("start_time", "end_time");
        let room_level_id = self.params.required_text("room_level_id");
        let room_ids = self.params.texts("room_ids");
        let is_exclude = self.params.flag("is_exclude");
        let need_topic = self.params.flag("need_topic");
        self.params.check()?;
        self.check_span(span, DAY, true)?;
        // An id that is none falls back to the tenant, as the sibling endpoint does.
        let room_level_id = if room_level_id.starts_with("omb_") {
            room_level_id
        } else {
            String::new()
        };
        if self.company.room_level(&room_level_id).is_none() {
            return Err(ApiError::not_found());
        }
        Ok(Request::Reservations {
            span,
            room_level_id,
            room_ids,
            is_exclude,
            need_topic,
        })
    }

    fn span(&mut self, start: &'static str, end: &'static str) -> Span {
        Span {
            start: self.params.instant(start),
            end: self.params.instant(end),
        }
    }

    fn status(&mut self) -> MeetingStatus {
        match self.params.integer_in("meeting_status", 1, 3) {
            Some(1) => MeetingStatus::Ongoing,
            Some(3) => MeetingStatus::Upcoming,
            _ => MeetingStatus::Ended,
        }
    }

    /// The filter by user or room; `others` filters are set already.
    fn who(&mut self, others: usize) -> Result<Option<Who>, ApiError> {
        let id_type = id_type(self.params);
        let user_id = self.params.text("user_id");
        let room_id = self.params.text("room_id");
        self.params.check()?;
        if others + usize::from(user_id.is_some()) + usize::from(room_id.is_some()) > 1 {
            return Err(ApiError::param("at most one filter"));
        }
        if let Some(user_id) = user_id {
            id_type.check_scope(&self.options.knobs)?;
            return self.user(&user_id, id_type).map(Some);
        }
        let Some(room_id) = room_id else {
            return Ok(None);
        };
        let today = self.company.date_of(self.now);
        let rooms = self.company.rooms_on(today);
        if !rooms.iter().any(|room| room.room_id == room_id) {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                99_992_375,
                "not a valid room id",
            ));
        }
        Ok(Some(Who::Room(room_id)))
    }

    fn user(&self, id: &str, id_type: IdType) -> Result<Who, ApiError> {
        // Which of the documented codes belongs to which id is only known for the first two.
        let (code, message) = match id_type {
            IdType::Open => (99_992_351, "not a valid open_id"),
            IdType::Employee => (99_992_359, "not a valid user_id"),
            IdType::Union => (99_992_361, "not a valid union_id"),
        };
        let employee = self
            .company
            .employees()
            .iter()
            .find(|employee| id_type.of(employee) == id);
        let employee =
            employee.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, code, message))?;
        Ok(Who::User(employee.open_id.clone()))
    }

    fn check_span(
        &self,
        span: Span,
        longest: SignedDuration,
        must_have_begun: bool,
    ) -> Result<(), ApiError> {
        if span.start < Timestamp::UNIX_EPOCH || span.end < span.start {
            return Err(ApiError::param("the end lies before the start"));
        }
        if must_have_begun && span.start > self.now {
            return Err(ApiError::param("the start lies in the future"));
        }
        if self.options.knobs.refuse_long_spans && span.end.duration_since(span.start) > longest {
            return Err(ApiError::param("the time span is too long"));
        }
        Ok(())
    }

    /// A day, unless the span is exactly one meeting that lasts longer.
    fn longest_for(&self, meeting_no: &str, span: Span) -> SignedDuration {
        let is_exact = |meeting: &Arc<Meeting>| span.is_exactly(meeting);
        if !self.options.knobs.refuse_long_meetings
            && self
                .company
                .meetings_numbered(meeting_no)
                .iter()
                .any(is_exact)
        {
            return SignedDuration::MAX;
        }
        DAY
    }
}

/// The `user_id_type` of a request; `open_id` when absent.
pub(crate) fn id_type(params: &mut Params) -> IdType {
    match params.text("user_id_type").as_deref() {
        None | Some("open_id") => IdType::Open,
        Some("union_id") => IdType::Union,
        Some("user_id") => IdType::Employee,
        Some(other) => {
            params.violation(
                "user_id_type",
                other,
                "must be open_id, union_id or user_id",
            );
            IdType::Open
        }
    }
}

fn check_meeting_no(meeting_no: Option<&str>) -> Result<(), ApiError> {
    match meeting_no {
        Some(number) if number.len() != 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(ApiError::param("meeting_no is not a number of 9 digits"))
        }
        _ => Ok(()),
    }
}

/// A panelist of a webinar, on the wire.
pub(crate) const PANELIST: &str = "0";
/// Somebody who attends one.
const ATTENDEE: &str = "3";

/// Whether a meeting is a webinar, where there are any.
pub(crate) fn is_webinar(meeting: &Meeting) -> bool {
    meeting.meeting_no.ends_with(['0', '2', '4', '6', '8'])
}

/// What a list by query holds: the rows that the export of the same request has.
pub(crate) enum Queried<'a> {
    /// Meetings.
    Meetings(Vec<Arc<Meeting>>),
    /// Participants, each with the role in a webinar.
    Participants(Vec<(Option<&'static str>, Participant)>),
    /// One participant.
    Quality(Box<Participant>),
    /// Bookings.
    Reservations(Vec<&'a Reservation>),
}

/// Answers a list by query as far as its rows go.
///
/// # Errors
/// The documented code for parameters that are missing, malformed or out of range; 126009 for a meeting and 126010 for a participant that
/// is not known.
pub(crate) fn query<'a>(
    kind: Endpoint,
    params: &mut Params,
    company: &'a Company,
    options: &Options,
) -> Result<Queried<'a>, ApiError> {
    let now = options.clock.now();
    let knobs = &options.knobs;
    let mut reading = Reading {
        params,
        company,
        options,
        now,
    };
    let unknown = |code, message: &str| ApiError::new(StatusCode::BAD_REQUEST, code, message);
    Ok(match kind {
        Endpoint::QueryMeetings => {
            let request = reading.meeting_list()?;
            Queried::Meetings(request.meetings(company, knobs, now))
        }
        Endpoint::QueryParticipants => {
            let request = reading.participant_list()?;
            let meetings = request.meetings(company, knobs, now);
            if meetings.is_empty() {
                return Err(unknown(126_009, "meeting not found"));
            }
            let Request::Participants { who, .. } = &request else {
                return Err(ApiError::not_found());
            };
            let stays = meetings.iter().flat_map(|meeting| {
                let role = |place: usize| match place % 3 {
                    0 => PANELIST,
                    _ => ATTENDEE,
                };
                let stays = meeting.participants.iter().enumerate();
                stays.map(move |(place, stay)| (is_webinar(meeting).then(|| role(place)), stay))
            });
            let stays = stays.filter(|(_, stay)| stay.join_time <= now);
            let stays = stays.filter(|(_, stay)| who.as_ref().is_none_or(|who| who.is(stay)));
            let stays = stays.map(|(role, stay)| (role, stay.clone()));
            Queried::Participants(stays.collect())
        }
        Endpoint::QueryQuality => {
            let request = reading.participant_quality_list()?;
            let meetings = request.meetings(company, knobs, now);
            if meetings.is_empty() {
                return Err(unknown(126_009, "meeting not found"));
            }
            let stay = meetings
                .iter()
                .find_map(|meeting| request.participant(meeting));
            let stay = stay.ok_or_else(|| unknown(126_010, "device not found"))?;
            Queried::Quality(Box::new(stay.clone()))
        }
        _ => {
            let request = reading.resource_reservation_list()?;
            if let Request::Reservations { room_ids, .. } = &request
                && room_ids.is_empty()
            {
                reading
                    .params
                    .violation("room_ids", "", "room_ids is required");
                reading.params.check()?;
            }
            Queried::Reservations(request.reservations(company, knobs))
        }
    })
}

impl Request {
    /// The bookings that the request is about.
    fn reservations<'a>(&self, company: &'a Company, knobs: &Knobs) -> Vec<&'a Reservation> {
        let Self::Reservations { span, .. } = self else {
            return Vec::new();
        };
        let rooms = self.rooms(company, knobs);
        let span = span.half_open(knobs);
        let (by_start, by_overlap) = match knobs.selection {
            Selection::Start => (company.reservations_in(span.start, span.end), None),
            Selection::Overlap => (
                &[][..],
                Some(company.reservations_overlapping(span.start, span.end)),
            ),
        };
        let chosen = by_start.iter().chain(by_overlap.into_iter().flatten());
        chosen
            .filter(|reservation| rooms.contains(&reservation.room.room_id.as_str()))
            .collect()
    }

    fn table(&self, company: &Company, view: &View<'_>) -> Table {
        match self {
            Self::Meetings { .. } => {
                let meetings = self.meetings(company, view.knobs, view.as_of);
                tables::meetings(meetings.iter().map(|meeting| &**meeting), view)
            }
            Self::Participants { who, .. } => {
                let meetings = self.meetings(company, view.knobs, view.as_of);
                let participants = meetings.iter().flat_map(|meeting| &meeting.participants);
                let present =
                    participants.filter(|participant| participant.join_time <= view.as_of);
                tables::participants(
                    present
                        .filter(|participant| who.as_ref().is_none_or(|who| who.is(participant))),
                    view,
                )
            }
            Self::Quality { .. } => {
                let meetings = self.meetings(company, view.knobs, view.as_of);
                tables::quality(
                    meetings
                        .iter()
                        .find_map(|meeting| self.participant(meeting)),
                    view,
                )
            }
            Self::Reservations { need_topic, .. } => {
                let chosen = self.reservations(company, view.knobs);
                tables::reservations(chosen, *need_topic, view)
            }
        }
    }

    /// The meetings that the request is about.
    fn meetings(&self, company: &Company, knobs: &Knobs, as_of: Timestamp) -> Vec<Arc<Meeting>> {
        match self {
            Self::Meetings {
                span,
                status,
                meeting_no,
                who,
                kind,
            } => {
                let span = span.half_open(knobs);
                let mut found: Vec<Arc<Meeting>> = match knobs.selection {
                    Selection::Start => company.meetings_in(span.start, span.end).to_vec(),
                    Selection::Overlap => company
                        .meetings_overlapping(span.start, span.end)
                        .map(Arc::clone)
                        .collect(),
                };
                if *status != MeetingStatus::Ended {
                    let selected = |meeting: &Arc<Meeting>| {
                        span.selects(meeting.start, meeting.end, knobs.selection)
                    };
                    found.extend(company.live_meetings(as_of).into_iter().filter(selected));
                }
                let attended = |meeting: &Meeting| {
                    who.as_ref().is_none_or(|who| {
                        meeting
                            .participants
                            .iter()
                            .any(|participant| who.is(participant))
                    })
                };
                found.retain(|meeting| {
                    status.is_of(meeting, as_of)
                        && meeting_no
                            .as_ref()
                            .is_none_or(|number| *number == meeting.meeting_no)
                        && kind.is_none_or(|kind| kind == meeting.kind)
                        && attended(meeting)
                });
                found
            }
            Self::Participants {
                span,
                status,
                meeting_no,
                ..
            } => {
                // By overlap whatever the knob says: a window that begins after the meeting is known to work.
                let mut found = company.meetings_numbered(meeting_no).to_vec();
                if *status != MeetingStatus::Ended {
                    found.extend(
                        company
                            .live_meetings(as_of)
                            .into_iter()
                            .filter(|meeting| meeting.meeting_no == *meeting_no),
                    );
                }
                let span = span.half_open(knobs);
                found.retain(|meeting| {
                    status.is_of(meeting, as_of)
                        && span.selects(meeting.start, meeting.end, Selection::Overlap)
                });
                found
            }
            Self::Quality {
                span, meeting_no, ..
            } => {
                let numbered = company.meetings_numbered(meeting_no).iter();
                let exact = numbered.filter(|meeting| {
                    span.is_exactly(meeting) && MeetingStatus::Ended.is_of(meeting, as_of)
                });
                exact.map(Arc::clone).collect()
            }
            Self::Reservations { .. } => Vec::new(),
        }
    }

    /// The participant of `meeting` whose quality is asked for.
    fn participant<'a>(&self, meeting: &'a Meeting) -> Option<&'a Participant> {
        let Self::Quality { join_time, who, .. } = self else {
            return None;
        };
        meeting
            .participants
            .iter()
            .find(|participant| participant.join_time == *join_time && who.is(participant))
    }

    /// It asks for a meeting or a participant that does not exist.
    fn is_unknown(&self, company: &Company, as_of: Timestamp) -> bool {
        let meetings = || self.meetings(company, &Knobs::default(), as_of);
        match self {
            Self::Participants { .. } => meetings().is_empty(),
            Self::Quality { .. } => !meetings()
                .iter()
                .any(|meeting| self.participant(meeting).is_some()),
            Self::Meetings { .. } | Self::Reservations { .. } => false,
        }
    }

    /// The ids of the rooms whose reservations are asked for.
    fn rooms<'a>(&self, company: &'a Company, knobs: &Knobs) -> Vec<&'a str> {
        let Self::Reservations {
            room_level_id,
            room_ids,
            is_exclude,
            ..
        } = self
        else {
            return Vec::new();
        };
        let in_level = company
            .rooms()
            .iter()
            .filter(|room| belongs_to_level(room, room_level_id, knobs));
        let is_chosen = |room: &&str| {
            room_ids.is_empty() || room_ids.iter().any(|id| id == room) != *is_exclude
        };
        in_level
            .map(|room| room.room_id.as_str())
            .filter(is_chosen)
            .collect()
    }
}

/// Whether a level stands for `room`: by the knob also if a level below owns the room. No level is
/// the whole tenant.
pub(crate) fn belongs_to_level(room: &Room, room_level_id: &str, knobs: &Knobs) -> bool {
    if room_level_id.is_empty() {
        return true;
    }
    if knobs.with_descendants {
        room.path.iter().any(|id| id == room_level_id)
    } else {
        room.room_level_id == room_level_id
    }
}

impl Span {
    /// The same span with its end excluded: a second later if the knob includes it.
    fn half_open(self, knobs: &Knobs) -> Self {
        let end = if knobs.end_inclusive {
            self.end
                .saturating_add(SignedDuration::from_secs(1))
                .unwrap_or(self.end)
        } else {
            self.end
        };
        Self { end, ..self }
    }

    fn selects(self, start: Timestamp, end: Timestamp, selection: Selection) -> bool {
        match selection {
            Selection::Start => self.start <= start && start < self.end,
            Selection::Overlap => start < self.end && end > self.start,
        }
    }

    /// It is the meeting's time, to the minute.
    fn is_exactly(self, meeting: &Meeting) -> bool {
        let minute = |instant: Timestamp| instant.as_second().div_euclid(60);
        minute(self.start) == minute(meeting.start) && minute(self.end) == minute(meeting.end)
    }
}

impl MeetingStatus {
    fn is_of(self, meeting: &Meeting, now: Timestamp) -> bool {
        match self {
            Self::Ended => meeting.end <= now,
            Self::Ongoing => meeting.start <= now && now < meeting.end,
            Self::Upcoming => now < meeting.start,
        }
    }
}

impl Who {
    fn is(&self, participant: &Participant) -> bool {
        match self {
            Self::User(open_id) => participant
                .employee()
                .is_some_and(|employee| employee.open_id == *open_id),
            Self::Room(room_id) => participant.room_id() == Some(room_id),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The lists that answer at once: the four JSON lists beside the exports, whose scope new apps get for users only, and `meetings`, which
//! no documentation has.
//!
//! Their rows are those of the sheets, under other names and with what only the lists tell.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::auth::SCOPE_EMPLOYEE_ID;
use crate::company::{Company, Meeting, MeetingKind, Participant, Reservation};
use crate::endpoint::Endpoint;
use crate::exports::{self, IdType, Queried, id_type};
use crate::knobs::{AlertPages, WebinarList};
use crate::params::Params;
use crate::rooms::{Page, RoomOrder};
use crate::tables::{self, View};
use crate::wire::ApiError;
use crate::workbook::{Cell, Table};

/// A larger page is refused, and so is a smaller one.
const PAGE_SIZES: (i64, i64) = (20, 100);

/// Answers one of the four lists.
///
/// # Errors
/// 99992402 for parameters that are missing or malformed, and what the export of the same rows refuses with.
pub(crate) fn list(
    kind: Endpoint,
    params: &mut Params,
    company: &Company,
    options: &Options,
    order: &RoomOrder,
) -> Result<Value, ApiError> {
    params.integer_in("page_size", PAGE_SIZES.0, PAGE_SIZES.1);
    let most = options.knobs.page_size;
    let page = Page::up_to(params, PAGE_SIZES.0, PAGE_SIZES.1, most)?;
    let (with_external, with_webinars) = (
        params.flag("include_external_meetings"),
        params.flag("include_webinar"),
    );
    let role = params.text("webinar_user_role");
    let need_topic = params.flag("need_topic");
    let ids = id_type(params);
    let now = options.clock.now();
    let queried = exports::query(kind, params, company, options)?;
    let writer = Writer {
        view: View {
            knobs: &options.knobs,
            zone: company.time_zone(),
            observed: true,
            shows_user_ids: options.knobs.scopes.contains(SCOPE_EMPLOYEE_ID),
            as_of: now,
        },
        ids,
        now,
    };
    let (name, mut items) = match queried {
        Queried::Meetings(meetings) => {
            let told = meetings.iter();
            let told = told.filter(|meeting| with_external || !meeting.is_external());
            let told = told.filter(|meeting| with_webinars || !writer.is_webinar(meeting));
            let items: Vec<Value> = told.map(|meeting| writer.meeting(meeting)).collect();
            ("meeting_list", items)
        }
        Queried::Participants(stays) => {
            let shown = stays
                .iter()
                .filter(|(stay_role, _)| writer.shows(*stay_role, role.as_deref()));
            let items = shown.map(|(role, stay)| writer.participant(*role, stay));
            ("participants", items.collect())
        }
        Queried::Quality(stay) => ("participant_quality_list", writer.quality(&stay)),
        Queried::Reservations(bookings) => {
            let items = bookings.iter();
            let items = items.map(|booking| writer.reservation(booking, need_topic));
            ("room_reservation_list", items.collect())
        }
    };
    items.truncate(items.len().saturating_sub(options.knobs.queries_lack));
    let differing = options.knobs.queries_differ.as_deref();
    if let Some(value) = items.first_mut().and_then(|item| item.get_mut(differing?)) {
        *value = match &*value {
            Value::Bool(flag) => (!*flag).into(),
            other => format!("1{}", other.as_str().unwrap_or_default()).into(),
        };
    }
    let places = order.places_moved(page.is_first(), options.knobs.queries_move);
    let places = places.checked_rem(items.len()).unwrap_or(0);
    items.rotate_right(places);
    let (items, mut token) = match options.knobs.alert_pages {
        AlertPages::Overlapping => page.with_one_before().cut(&items),
        AlertPages::Sound | AlertPages::Endless => page.cut(&items),
    };
    if options.knobs.alert_pages == AlertPages::Endless {
        token = token.or_else(|| Some(page.own_token()));
    }
    let mut data = json!({ name: items, "has_more": token.is_some() });
    if let Some(token) = token {
        data["page_token"] = token.into();
    }
    Ok(data)
}

/// Writes rows of the sheets as items of a list.
struct Writer<'a> {
    view: View<'a>,
    ids: IdType,
    now: Timestamp,
}

/// The only row of a sheet, as texts.
fn texts(table: Table) -> Vec<String> {
    let row = table.rows.into_iter().next().unwrap_or_default();
    row.into_iter()
        .map(|cell| match cell {
            Cell::Text(text) => text,
            Cell::Number(number) => number.to_string(),
        })
        .collect()
}

/// Members with these names; an empty name is left out.
fn item(names: &[&str], texts: Vec<String>) -> Map<String, Value> {
    let members = names.iter().zip(texts);
    let members = members.filter(|(name, _)| !name.is_empty());
    members
        .map(|(name, text)| ((*name).to_owned(), text.into()))
        .collect()
}

/// What a sheet says by 是 and 否, a list says by true and false.
fn yes_or_no(item: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(value) = item.get_mut(*name) {
            *value = matches!(value.as_str(), Some("是" | "yes")).into();
        }
    }
}

impl Writer<'_> {
    /// The id of an employee in the kind that was asked for.
    fn id(&self, employee: Option<&crate::company::Employee>) -> Value {
        let may_tell = self.ids != IdType::Employee || self.view.shows_user_ids;
        let id = employee.filter(|_| may_tell).map(|of| self.ids.of(of));
        id.unwrap_or_default().into()
    }

    fn meeting(&self, meeting: &Meeting) -> Value {
        let names = [
            "meeting_id",
            "is_external",
            "meeting_topic",
            "",
            "organizer",
            "department",
            "user_id",
            "employee_id",
            "email",
            "mobile",
            "meeting_start_time",
            "meeting_end_time",
            "meeting_duration",
            "number_of_participants",
            "number_of_devices",
            "audio",
            "video",
            "sharing",
            "recording",
            "telephone",
        ];
        let mut item = item(&names, texts(tables::meetings([meeting], &self.view)));
        yes_or_no(
            &mut item,
            &[
                "is_external",
                "audio",
                "video",
                "sharing",
                "recording",
                "telephone",
            ],
        );
        let kind = match meeting.kind {
            MeetingKind::Video => 2,
            MeetingKind::ScreenShare => 3,
        };
        for (name, value) in [
            ("user_id", self.id(Some(&meeting.organizer))),
            ("meeting_type", kind.into()),
            (
                "meeting_subtype",
                if self.is_webinar(meeting) { 8 } else { 0 }.into(),
            ),
            ("meeting_instance_id", meeting.id().into()),
            ("has_related_document", false.into()),
            ("ai_note", false.into()),
            ("reserved_rooms", json!([])),
            ("number_of_webinar_viewers", "0".into()),
        ] {
            item.insert(name.to_owned(), value);
        }
        item.into()
    }

    fn is_webinar(&self, meeting: &Meeting) -> bool {
        self.view.knobs.webinars.is_some() && exports::is_webinar(meeting)
    }

    /// Whether somebody with a role, or in a meeting without roles, is shown to who asks for one.
    fn shows(&self, role: Option<&str>, asked: Option<&str>) -> bool {
        let Some(unasked) = self.view.knobs.webinars else {
            return asked.is_none();
        };
        match (role, asked) {
            (None, asked) => asked.is_none(),
            (Some(role), Some(asked)) => role == asked,
            (Some(role), None) => match unasked {
                WebinarList::Whole => true,
                WebinarList::Panelists => role == exports::PANELIST,
                WebinarList::Nobody => false,
            },
        }
    }

    fn participant(&self, role: Option<&str>, stay: &Participant) -> Value {
        let names = [
            "participant_name",
            "department",
            "user_id",
            "employee_id",
            "phone",
            "email",
            "device",
            "app_version",
            "public_ip",
            "internal_ip",
            "use_rtc_proxy",
            "location",
            "network_type",
            "protocol",
            "microphone",
            "speaker",
            "camera",
            "audio",
            "video",
            "sharing",
            "join_time",
            "leave_time",
            "time_in_meeting",
            "leave_reason",
        ];
        let mut item = item(&names, texts(tables::participants([stay], &self.view)));
        yes_or_no(&mut item, &["use_rtc_proxy", "audio", "video", "sharing"]);
        let is_of_company = stay.employee().is_some() || stay.room_id().is_some();
        for (name, value) in [
            ("user_id", self.id(stay.employee())),
            ("meeting_room_id", stay.room_id().unwrap_or_default().into()),
            ("accept_status", if is_of_company { 1 } else { 4 }.into()),
            ("is_external", (!is_of_company).into()),
        ] {
            item.insert(name.to_owned(), value);
        }
        if let (Some(role), Some(_)) = (role, self.view.knobs.webinars) {
            item.insert("webinar_user_role".to_owned(), role.into());
        }
        item.into()
    }

    /// The block of the processor is a minute ahead of the others, and its time has no zone, as in the documented example.
    fn quality(&self, stay: &Participant) -> Vec<Value> {
        let minutes = stay.quality();
        let minutes: Vec<_> = minutes
            .iter()
            .filter(|minute| minute.time <= self.now)
            .collect();
        let time = |instant: Timestamp, has_zone: bool| {
            let local = instant.to_zoned(self.view.zone.clone());
            let format = match has_zone && self.view.knobs.zone_suffix {
                true => "%Y.%m.%d %H:%M:%S (GMT%:z)",
                false => "%Y.%m.%d %H:%M:%S",
            };
            local.strftime(format).to_string()
        };
        let processor = |minute: &crate::company::QualityMinute, has_zone| {
            let [_, average, most, system] = [30, 31, 32, 33].map(|at| &minute.cells[at]);
            json!({
                "time": time(minute.time, has_zone),
                "client_avg_cpu_usage": average,
                "client_max_cpu_usage": most,
                "system_avg_cpu_usage": "21%",
                "system_max_cpu_usage": system,
            })
        };
        let first = minutes.first();
        let mut items: Vec<Value> = first
            .map(|minute| json!({ "cpu_usage": processor(minute, true) }))
            .into_iter()
            .collect();
        for (index, minute) in minutes.iter().enumerate() {
            let cell = |at: usize| minute.cells[at].as_str();
            let time = time(minute.time, true);
            let medium = |first: usize| {
                json!({
                    "time": time,
                    "bitrate_received": cell(first),
                    "latency_received": cell(first + 1),
                    "jitter_received": cell(first + 2),
                    "bitrate_sent": cell(first + 5),
                    "latency_sent": cell(first + 6),
                    "jitter_sent": cell(first + 7),
                })
            };
            let (mut audio, mut video, sharing) = (medium(0), medium(10), medium(20));
            audio["mic_input_volume"] = "-6dB".into();
            audio["speaker_volume"] = "6dB".into();
            video["maximum_resolution_received"] = "1080P".into();
            video["framerate_received"] = "30fps".into();
            let mut item = json!({
                "network": {
                    "time": time,
                    "network_delay": cell(1),
                    "bitrate_received": cell(0),
                    "packet_loss_avg_received": cell(3),
                    "packet_loss_max_received": cell(4),
                    "bitrate_sent": cell(5),
                    "packet_loss_avg_sent": cell(8),
                    "packet_loss_max_sent": cell(9),
                },
                "audio": audio,
                "video": video,
                "screen_sharing": sharing,
            });
            if let Some(next) = minutes.get(index + 1) {
                item["cpu_usage"] = processor(next, false);
            }
            items.push(item);
        }
        items
    }

    fn reservation(&self, booking: &Reservation, need_topic: bool) -> Value {
        let names = [
            "room_name",
            "event_title",
            "reserver",
            "department_of_reserver",
            "guests_number",
            "accepted_number",
            "event_start_time",
            "event_end_time",
            "event_duration",
            "reservation_status",
            "check_in_device",
            "room_check_in_status",
            "check_in_time",
            "releasing_person",
            "releasing_time",
            "is_release_early",
        ];
        // Without topics the column is not there, so they are blanked below.
        let mut item = item(
            &names,
            texts(tables::reservations([booking], true, &self.view)),
        );
        if !need_topic {
            item.insert("event_title".to_owned(), "".into());
        }
        let booker = format!("{}(UserID)", self.ids.of(&booking.booker));
        item.insert("room_id".to_owned(), booking.room.room_id.clone().into());
        item.insert("reserver_user_id".to_owned(), booker.into());
        item.into()
    }
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

//! Compares a lake with the company behind the simulator: every row that should be there, exactly once, and no other.
//!
//! The expected values are worked out here from the company itself, never by the program's own parsers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use meetlake::testing::dataset::Dataset;
use meetlake_simulator::company::{
    Alert, AlertStatus, Attendee, ConfigNode, DisableEnd, Employee, Material, Meeting, NodeConfig,
    Participant, ReservationStatus, Room, RoomLevel, Signage,
};
use meetlake_simulator::{Company, meetings as simulated};
use serde_json::{Value, json};

use crate::lake::{Row, rows};

/// What the rows of a lake are compared with.
pub(crate) struct Truth<'a> {
    pub(crate) company: &'a Company,
    /// Meetings that end later are not in the lake.
    pub(crate) now: Timestamp,
    /// Sheets name rooms, so that their quality is there too.
    pub(crate) rooms_have_ids: bool,
    /// Day buckets of the daily report begin in UTC.
    pub(crate) utc_buckets: bool,
    /// Sheets are in English, in which one status has no documented word.
    pub(crate) english: bool,
}

impl<'a> Truth<'a> {
    /// The defaults of the simulator.
    pub(crate) fn of(company: &'a Company, now: Timestamp) -> Self {
        Self {
            company,
            now,
            rooms_have_ids: false,
            utc_buckets: true,
            english: false,
        }
    }

    /// What differs, one line each; nothing if the lake is right.
    pub(crate) fn differences(&self, lake: &Path) -> Vec<String> {
        let datasets = [
            Dataset::MeetingList,
            Dataset::ParticipantList,
            Dataset::ParticipantQualityList,
            Dataset::ResourceReservationList,
            Dataset::DailyReport,
            Dataset::TopUser,
        ];
        let mut lines = Vec::new();
        for dataset in datasets {
            lines.extend(self.differences_of(lake, dataset));
        }
        lines.extend(keys_that_do_not_join(lake));
        lines
    }

    /// What differs in one dataset; the first few.
    pub(crate) fn differences_of(&self, lake: &Path, dataset: Dataset) -> Vec<String> {
        self.balance_of(lake, dataset).into_iter().take(6).collect()
    }

    /// What differs in one dataset, all of it.
    pub(crate) fn balance_of(&self, lake: &Path, dataset: Dataset) -> Vec<String> {
        let expected = self.expected(dataset);
        let columns = columns(dataset);
        let found = rows(lake, dataset)
            .into_iter()
            // Days after the company's last are empty, but for a report that says so.
            .filter(|row| dataset != Dataset::DailyReport || self.is_within(row))
            .map(|row| pick(&row, &columns))
            .collect();
        compare(dataset, expected, found)
    }

    fn is_within(&self, row: &Row) -> bool {
        let (first, last) = (self.company.first_day(), self.company.last_day());
        let dt = row["dt"].as_str().expect("a day");
        (first.to_string().as_str()..=last.to_string().as_str()).contains(&dt)
    }

    fn expected(&self, dataset: Dataset) -> Vec<String> {
        match dataset {
            Dataset::MeetingList => self.meetings().map(|m| self.meeting(m)).collect(),
            Dataset::ParticipantList => self
                .participants()
                .map(|(m, p)| self.participant(m, p))
                .collect(),
            Dataset::ParticipantQualityList => self
                .participants()
                .filter(|(_, p)| {
                    p.user_id().is_some() || self.rooms_have_ids && p.room_id().is_some()
                })
                .flat_map(|(m, p)| self.quality(m, p))
                .collect(),
            Dataset::ResourceReservationList => self.reservations(),
            Dataset::DailyReport => self.daily_reports(),
            // What is sent is compared with what came in `events`.
            Dataset::MeetingEvent | Dataset::RoomEvent => Vec::new(),
            Dataset::TopUser => self.top_users(),
            Dataset::Room => self.rooms(),
            Dataset::RoomLevel => self.room_levels(),
            Dataset::RoomConfig => self.room_configs(),
            Dataset::ReserveConfig => self.reserve_configs(),
            Dataset::Reserve => self.reserves(),
            Dataset::Meeting => self.meetings().map(|m| self.meeting_by_id(m)).collect(),
            Dataset::MeetingParticipant => self
                .meetings()
                .flat_map(|meeting| self.attendances(meeting))
                .collect(),
            Dataset::Recording => self
                .meetings()
                .filter(|meeting| meeting.was_recorded)
                .map(|meeting| self.recording(meeting))
                .collect(),
            Dataset::Alert => {
                let given = self.company.alerts().iter();
                let given = given.filter(|alert| alert.time <= self.now);
                given.map(|alert| self.alert(alert)).collect()
            }
        }
    }

    /// An alert as it stands now.
    fn alert(&self, alert: &Alert) -> String {
        let past = |time: Option<Timestamp>| {
            let time = time.filter(|time| *time <= self.now);
            time.map(Timestamp::as_second)
        };
        let word = |number: u8, words: &[&'static str]| words[usize::from(number)];
        let names: Vec<&str> = alert.contacts.iter().map(|(_, name)| &**name).collect();
        let types = alert.contacts.iter();
        let types = types.map(|(kind, _)| word(*kind, &["", "user", "group", "department"]));
        let types: Vec<&str> = types.collect();
        let methods = alert.notify_methods.iter();
        let methods: Vec<&str> = methods.map(|&how| word(how, &["bot", "email"])).collect();
        let targets = "- room check_in_board cast_box cast sip_room erc_node sensor";
        let target = targets.split(' ').nth(usize::from(alert.target));
        json!([
            self.dt(alert.time),
            alert.alert_id,
            alert.time.as_second(),
            word(alert.level, &["info", "warning", "critical"]),
            target,
            alert.target_name,
            alert.rule_name,
            alert.rule_id,
            alert.condition,
            alert.room.as_ref().map(|room| &room.room_id),
            text(&alert.room_mac),
            Some(names).filter(|names| !names.is_empty()),
            Some(types).filter(|types| !types.is_empty()),
            Some(methods).filter(|methods| !methods.is_empty()),
            match alert.status(self.now) {
                AlertStatus::Pending => "pending",
                AlertStatus::Processing => "processing",
                AlertStatus::Recovered => "recovered",
            },
            past(alert.process_time),
            past(alert.recover_time),
        ])
        .to_string()
    }

    fn meeting_by_id(&self, meeting: &Meeting) -> String {
        let any = |used: fn(&Participant) -> bool| meeting.participants.iter().any(used);
        json!([
            self.dt(meeting.start),
            meeting.id(),
            meeting.meeting_no,
            meeting.topic,
            meeting.start.as_second(),
            meeting.end.as_second(),
            meeting.duration_s(),
            "ended",
            meeting.organizer.open_id,
            "open_id",
            "user",
            simulated::peak(meeting),
            meeting.participant_count(),
            any(|p| p.used_video),
            any(|p| p.used_audio),
            any(|p| p.used_screen_share),
            meeting.was_recorded,
            meeting.used_phone(),
        ])
        .to_string()
    }

    fn attendances(&self, meeting: &Meeting) -> Vec<String> {
        let row = |(place, there): (i64, &simulated::Attendance<'_>)| {
            let (id, kind) = match there.who {
                Attendee::Employee(employee) => (Some(&employee.open_id), "user"),
                Attendee::Room(room) => (Some(&room.room_id), "room"),
                Attendee::Guest(_) => (None, "neo_guest"),
                Attendee::Pstn(_) => (None, "pstn"),
            };
            json!([
                self.dt(meeting.start),
                meeting.id(),
                meeting.meeting_no,
                meeting.start.as_second(),
                place,
                id,
                "open_id",
                kind,
                there.first_join.as_second(),
                there.final_leave.as_second(),
                there.in_meeting_s,
                id == Some(&meeting.organizer.open_id),
                kind == "neo_guest",
                "left",
            ])
            .to_string()
        };
        let attendances = simulated::attendances(meeting);
        (1..).zip(&attendances).map(row).collect()
    }

    fn recording(&self, meeting: &Meeting) -> String {
        let url = simulated::recording_url(meeting);
        json!([
            self.dt(meeting.start),
            meeting.id(),
            meeting.meeting_no,
            meeting.start.as_second(),
            url,
            url.rsplit('/').next(),
            meeting.duration_s() * 1_000,
            "ready",
        ])
        .to_string()
    }

    /// The rooms of the day on which the lake was filled.
    fn rooms(&self) -> Vec<String> {
        let row = |room: &Arc<Room>| {
            let second = |at: Timestamp| at.as_second();
            let contacts: Vec<&str> = room
                .contacts
                .iter()
                .map(|who| who.union_id.as_str())
                .collect();
            json!([
                self.dt(self.now),
                self.dt(self.now),
                room.room_id,
                room.name,
                room.capacity,
                text(&room.description),
                room.display_id,
                text(&room.custom_room_id),
                room.room_level_id,
                room.path,
                room.enabled,
                room.enabled_later,
                room.disable_start.map(second),
                match room.disable_end {
                    DisableEnd::At(at) => Some(second(at)),
                    DisableEnd::Unset | DisableEnd::Never => None,
                },
                room.disable_start.is_some() && matches!(room.disable_end, DisableEnd::Never),
                text(room.disable_reason),
                Some(contacts).filter(|contacts| !contacts.is_empty()),
                "union_id",
                Some(room.devices).filter(|devices| !devices.is_empty()),
            ])
        };
        let day = self.company.date_of(self.now);
        let rooms = self.company.rooms_on(day);
        rooms.iter().map(|room| row(room).to_string()).collect()
    }

    /// The levels of that day, with their depth by their path from the tenant.
    fn room_levels(&self) -> Vec<String> {
        let row = |level: &RoomLevel| {
            json!([
                self.dt(self.now),
                self.dt(self.now),
                level.room_level_id,
                level.name,
                text(&level.parent_id),
                text(&level.custom_group_id),
                level.path,
                level.has_child,
                level.parent_id.is_empty(),
                level.path.len() - 1,
            ])
        };
        self.company
            .room_levels()
            .iter()
            .map(|level| row(level).to_string())
            .collect()
    }

    /// What is set for each node itself, if anything is, and what holds for it.
    fn room_configs(&self) -> Vec<String> {
        let nodes = self.company.config_nodes(self.company.date_of(self.now));
        let mut rows = Vec::new();
        for node in &nodes {
            let own = self.company.own_config(node);
            if matches!(node, ConfigNode::Room(_)) || !own.is_empty() {
                rows.push(self.room_config(node, &own, false));
            }
            rows.push(self.room_config(node, &self.company.effective_config(node), true));
        }
        rows
    }

    fn room_config(&self, node: &ConfigNode, config: &NodeConfig, is_effective: bool) -> String {
        let (kind, room) = match node {
            ConfigNode::Level(_) => ("level", None),
            ConfigNode::Room(room) => ("room", Some(room)),
        };
        let material = |material: &Material| {
            let kind = ["", "image", "video", "gif"][usize::from(material.kind)];
            json!({
                "id": material.id, "name": material.name, "type": kind, "md5": material.md5,
                "duration_s": material.duration_s, "vid": material.vid,
                "size_bytes": material.size_bytes,
            })
        };
        let signage = |signage: &Option<Signage>| -> Vec<Value> {
            let Some(signage) = signage else {
                return vec![Value::Null; 6];
            };
            let materials: Vec<Value> = signage.materials.iter().map(material).collect();
            let told = Some(Value::from(materials.clone()).to_string());
            vec![
                json!(signage.enabled),
                json!(signage.covers_children),
                json!(signage.muted),
                json!(signage.start_min),
                json!(signage.stop_min),
                json!(told.filter(|_| !materials.is_empty())),
            ]
        };
        let contacts = room.map(|room| union_ids(&room.contacts));
        let mut row = vec![
            self.dt(self.now),
            self.dt(self.now),
            json!(kind),
            json!(node.id()),
            json!(is_effective),
        ];
        row.extend(signage(&config.signage));
        row.extend(signage(&config.box_signage));
        row.extend([
            json!(room.map(|room| room.enabled)),
            json!(room.and_then(|room| text(room.disable_reason))),
            contacts.unwrap_or_default(),
            json!("union_id"),
        ]);
        Value::from(row).to_string()
    }

    fn reserve_configs(&self) -> Vec<String> {
        let nodes = self.company.config_nodes(self.company.date_of(self.now));
        let row = |node: &ConfigNode| {
            let rules = self.company.reserve_rules(node);
            let form = rules.form.as_ref();
            let minutes = form.map(|form| {
                let unit = match form.unit {
                    Some(1) => 1,
                    Some(2) => 60,
                    _ => 24 * 60,
                };
                form.time * unit
            });
            let questions = form.filter(|form| !form.questions.is_empty()).map(|form| {
                let titles = form.questions.iter().enumerate();
                let questions: Vec<Value> = titles
                    .map(|(key, title)| {
                        json!({ "custom_type": 1, "key": key.to_string(), "title": title })
                    })
                    .collect();
                Value::from(questions).to_string()
            });
            let list = |list: &[String]| json!(Some(list).filter(|list| !list.is_empty()));
            let names = rules.approvers.iter().map(|user| user.name.clone());
            json!([
                self.dt(self.now),
                self.dt(self.now),
                match node {
                    ConfigNode::Level(_) => "level",
                    ConfigNode::Room(_) => "room",
                },
                node.id(),
                rules.needs_approval,
                (["all", "longer_than"][usize::from(rules.approval_condition)]),
                rules.approval_over_hours,
                union_ids(&rules.approvers),
                list(&names.collect::<Vec<_>>()),
                rules.is_time_limited,
                rules.days_in_advance,
                rules.seconds[0],
                rules.seconds[1],
                rules.seconds[2],
                rules.max_duration_hours,
                rules.covers_children,
                rules.allows_all,
                union_ids(&rules.users),
                list(&rules.departments),
                form.is_some(),
                form.map(|form| form.is_enabled),
                form.map(|form| union_ids(&form.notified)),
                minutes,
                questions,
                union_ids(&rules.admins),
                list(&rules.admin_departments),
                rules.informs,
                union_ids(&rules.informed),
                Value::Null,
                "union_id",
            ])
            .to_string()
        };
        nodes.iter().map(row).collect()
    }

    fn reserves(&self) -> Vec<String> {
        let reserves = self.company.reserves();
        let row = |reserve: &meetlake_simulator::company::Reserve| {
            let is_active = reserve.end > self.now;
            json!([
                self.dt(self.now),
                self.dt(self.now),
                reserve.reserve_id,
                reserve.meeting_no,
                reserve.topic,
                reserve.end.as_second(),
                if is_active { "active" } else { "expired" },
                reserve.reserved_by.union_id,
                if reserve.callee.is_some() {
                    "one_to_one"
                } else {
                    "multi"
                },
                true,
                union_ids(&reserve.hosts),
                reserve.callee.as_ref().map(|_| "pstn"),
                reserve.callee.as_ref().map(|(number, _)| number),
                reserve.callee.as_ref().map(|(_, name)| name),
                reserve.meeting_id.as_ref().filter(|_| is_active),
            ])
            .to_string()
        };
        reserves.iter().map(row).collect()
    }

    fn meetings(&self) -> impl Iterator<Item = &'a Meeting> {
        let now = self.now;
        let meetings = self.company.meetings().iter().map(AsRef::as_ref);
        meetings.filter(move |meeting: &&Meeting| meeting.end <= now)
    }

    fn participants(&self) -> impl Iterator<Item = (&'a Meeting, &'a Participant)> {
        self.meetings()
            .flat_map(|meeting| meeting.participants.iter().map(move |p| (meeting, p)))
    }

    fn dt(&self, instant: Timestamp) -> Value {
        json!(instant.to_zoned(self.company.time_zone().clone()).date())
    }

    fn meeting(&self, meeting: &Meeting) -> String {
        let organizer = &meeting.organizer;
        let any = |used: fn(&Participant) -> bool| meeting.participants.iter().any(used);
        json!([
            self.dt(meeting.start),
            meeting.meeting_no,
            meeting.topic,
            meeting.start.as_second(),
            meeting.end.as_second(),
            meeting.duration_s(),
            meeting.participant_count(),
            organizer.name,
            text(&organizer.department),
            organizer.user_id,
            organizer.employee_no,
            text(&organizer.email),
            organizer.mobile,
            any(|p| p.used_audio),
            any(|p| p.used_video),
            any(|p| p.used_screen_share),
            meeting.was_recorded,
            meeting.used_phone(),
        ])
        .to_string()
    }

    fn participant(&self, meeting: &Meeting, p: &Participant) -> String {
        let employee = p.employee();
        json!([
            self.dt(meeting.start),
            meeting.meeting_no,
            meeting.start.as_second(),
            meeting.end.as_second(),
            p.name(),
            p.user_id(),
            employee.and_then(|employee| text(&employee.department)),
            employee.map(|employee| &employee.employee_no),
            p.device,
            text(p.client_version),
            text(&p.public_ip),
            text(&p.internal_ip),
            text(p.location),
            text(p.network_type),
            text(p.microphone),
            text(p.camera),
            p.uses_proxy,
            p.used_audio,
            p.used_video,
            p.used_screen_share,
            p.join_time.as_second(),
            p.leave_time.as_second(),
            p.time_in_meeting_s(),
        ])
        .to_string()
    }

    fn quality(&self, meeting: &Meeting, p: &Participant) -> Vec<String> {
        let minutes = p.quality().into_iter();
        minutes
            .map(|minute| {
                let mut row = vec![
                    self.dt(meeting.start),
                    json!(meeting.meeting_no),
                    json!(meeting.start.as_second()),
                    json!(p.user_id()),
                    json!(p.room_id()),
                    json!(p.join_time.as_second()),
                    json!(minute.time.as_second()),
                ];
                row.extend(minute.cells.iter().map(|cell| figure(cell)));
                Value::Array(row).to_string()
            })
            .collect()
    }

    fn reservations(&self) -> Vec<String> {
        let bookings = self.company.reservations().iter();
        bookings
            .map(|booking| {
                json!([
                    self.dt(booking.start),
                    booking.room.room_level_id,
                    booking.room.name,
                    booking.topic,
                    booking.booker.name,
                    text(&booking.booker.department),
                    booking.invitee_count,
                    booking.accepted_count,
                    booking.start.as_second(),
                    booking.end.as_second(),
                    booking.end.as_second() - booking.start.as_second(),
                    self.status(booking.status),
                    booking.check_in_time.map(Timestamp::as_second),
                    text(&booking.releaser_name),
                    booking.release_time.map(Timestamp::as_second),
                ])
                .to_string()
            })
            .collect()
    }

    const fn status(&self, status: ReservationStatus) -> &'static str {
        match status {
            ReservationStatus::PendingApproval => "pending_approval",
            ReservationStatus::Reserved => "reserved",
            ReservationStatus::ReleasedManually => "released_manually",
            ReservationStatus::ReleasedAfterMeeting => "released_after_meeting",
            ReservationStatus::ReleasedNoCheckIn => "released_no_check_in",
            ReservationStatus::ReleasedBySensor if self.english => "other",
            ReservationStatus::ReleasedBySensor => "released_by_sensor",
        }
    }

    /// Each day's hundred accounts with the most meetings, and those with the longest ones. Ties go by id.
    fn top_users(&self) -> Vec<String> {
        let days = self.company.first_day().series(1.day());
        let days = days.take_while(|date| *date <= self.company.last_day());
        days.flat_map(|date| {
            let users = self.users_of(date);
            let ranking = |order: &'static str, figure: fn(&(TopUser, i64)) -> i64| {
                let mut ranked: Vec<&(TopUser, i64)> = users.iter().collect();
                ranked.sort_by_key(|user| (-figure(user), user.0.0.clone()));
                let rows = (1..=100).zip(ranked);
                rows.map(move |(rank, ((id, name, kind, meetings, minutes), _))| {
                    let row = json!([date, order, rank, id, name, kind, meetings, minutes]);
                    row.to_string()
                })
                .collect::<Vec<_>>()
            };
            [
                ranking("meeting_count", |user| user.0.3),
                ranking("meeting_duration", |user| user.1),
            ]
            .concat()
        })
        .collect()
    }

    /// The accounts that were in meetings that began on a day, and how many seconds each.
    fn users_of(&self, date: jiff::civil::Date) -> Vec<(TopUser, i64)> {
        let mut users: BTreeMap<String, (TopUser, i64)> = BTreeMap::new();
        let of_day = |meeting: &&Meeting| self.company.date_of(meeting.start) == date;
        for meeting in self.meetings().filter(of_day) {
            let mut there = BTreeSet::new();
            for participant in &meeting.participants {
                let (id, name, kind) = match &participant.who {
                    Attendee::Employee(who) => (&who.open_id, &who.name, "user"),
                    Attendee::Room(room) => (&room.account_open_id, &room.name, "room"),
                    // They have no account.
                    Attendee::Guest(_) | Attendee::Pstn(_) => continue,
                };
                let user = users
                    .entry(id.clone())
                    .or_insert_with(|| ((id.clone(), name.clone(), kind, 0, 0), 0));
                user.0.3 += i64::from(there.insert(id));
                user.1 += participant.time_in_meeting_s();
                user.0.4 = user.1 / 60;
            }
        }
        users.into_values().collect()
    }

    /// One row a day of the company, whatever zone the day begins in.
    fn daily_reports(&self) -> Vec<String> {
        let zone = if self.utc_buckets {
            jiff::tz::TimeZone::UTC
        } else {
            self.company.time_zone().clone()
        };
        let days = self.company.first_day().series(1.day());
        days.take_while(|date| *date <= self.company.last_day())
            .map(|date| {
                let start = date.to_zoned(zone.clone()).expect("a midnight").timestamp();
                let end = start + jiff::SignedDuration::from_hours(24);
                let in_bucket = || {
                    self.meetings()
                        .filter(move |m| start <= m.start && m.start < end)
                };
                json!([
                    date,
                    date,
                    start.as_second(),
                    in_bucket().count(),
                    in_bucket().map(Meeting::duration_s).sum::<i64>(),
                    in_bucket().map(Meeting::participant_count).sum::<u64>(),
                ])
                .to_string()
            })
            .collect()
    }
}

/// An account, what it is called, what it is, its meetings, and the minutes it spent in them.
type TopUser = (String, String, &'static str, i64, i64);

/// Keys of rows that are missing, or that have no row to be joined with.
fn keys_that_do_not_join(lake: &Path) -> Vec<String> {
    let all = |dataset| (dataset, rows(lake, dataset));
    let meetings = all(Dataset::MeetingList);
    let stays = all(Dataset::ParticipantList);
    let minutes = all(Dataset::ParticipantQualityList);
    let bookings = all(Dataset::ResourceReservationList);
    let mut wrong = Vec::new();
    let mut keys_of = |(dataset, rows): &(Dataset, Vec<Row>), column: &str| {
        let mut keys = BTreeMap::new();
        for row in rows {
            let key = row[column].as_str().unwrap_or_default().to_owned();
            if key.len() != 32 {
                wrong.push(format!("{dataset}: {column} is {}", row[column]));
            }
            *keys.entry(key).or_insert(0) += 1;
        }
        keys
    };
    let of_meetings = keys_of(&meetings, "meeting_key");
    let of_stays = keys_of(&stays, "participation_key");
    let joined = [
        (
            Dataset::ParticipantList,
            keys_of(&stays, "meeting_key"),
            &of_meetings,
        ),
        (
            Dataset::ParticipantQualityList,
            keys_of(&minutes, "meeting_key"),
            &of_meetings,
        ),
        (
            Dataset::ParticipantQualityList,
            keys_of(&minutes, "participation_key"),
            &of_stays,
        ),
    ];
    let of_bookings = keys_of(&bookings, "booking_key");
    for (dataset, keys, of_parents) in joined {
        let lost = keys.keys().filter(|key| !of_parents.contains_key(*key));
        wrong.extend(lost.map(|key| format!("{dataset}: nothing has the key {key}")));
    }
    for (what, keys) in [("meeting", of_meetings), ("booking", of_bookings)] {
        let twice = keys.into_iter().filter(|(_, rows)| *rows > 1);
        wrong
            .extend(twice.map(|(key, rows)| format!("{rows} rows of a {what} have the key {key}")));
    }
    wrong.truncate(6);
    wrong
}

/// The compared columns, in the order of the expected rows.
fn columns(dataset: Dataset) -> Vec<String> {
    let names: &[&str] = match dataset {
        Dataset::MeetingList => &[
            "dt",
            "meeting_no",
            "topic",
            "start_time",
            "end_time",
            "duration_s",
            "participant_count",
            "organizer_name",
            "organizer_department",
            "organizer_user_id",
            "organizer_employee_no",
            "organizer_email",
            "organizer_mobile",
            "used_audio",
            "used_video",
            "used_screen_share",
            "was_recorded",
            "used_phone",
        ],
        Dataset::ParticipantList => &[
            "dt",
            "meeting_no",
            "meeting_start_time",
            "meeting_end_time",
            "participant_name",
            "user_id",
            "department",
            "employee_no",
            "device",
            "client_version",
            "public_ip",
            "internal_ip",
            "location",
            "network_type",
            "microphone",
            "camera",
            "uses_proxy",
            "used_audio",
            "used_video",
            "used_screen_share",
            "join_time",
            "leave_time",
            "time_in_meeting_s",
        ],
        Dataset::ParticipantQualityList => &[
            "dt",
            "meeting_no",
            "meeting_start_time",
            "user_id",
            "room_id",
            "join_time",
            "time",
        ],
        Dataset::ResourceReservationList => &[
            "dt",
            "room_level_id",
            "room_name",
            "topic",
            "booker_name",
            "booker_department",
            "invitee_count",
            "accepted_count",
            "start_time",
            "end_time",
            "duration_s",
            "reservation_status",
            "check_in_time",
            "releaser_name",
            "release_time",
        ],
        Dataset::DailyReport => &[
            "dt",
            "date",
            "date_unix",
            "meeting_count",
            "meeting_duration_s",
            "participant_count",
        ],
        Dataset::TopUser => &[
            "dt",
            "order_by",
            "rank",
            "user_id",
            "user_name",
            "user_type",
            "meeting_count",
            "meeting_duration_min",
        ],
        Dataset::MeetingEvent | Dataset::RoomEvent => &["dt", "event_id"],
        Dataset::Room => &[
            "dt",
            "snapshot_date",
            "room_id",
            "name",
            "capacity",
            "description",
            "display_id",
            "custom_room_id",
            "room_level_id",
            "level_path",
            "is_enabled",
            "is_enabled_later",
            "disable_start_time",
            "disable_end_time",
            "is_disabled_forever",
            "disable_reason",
            "contact_ids",
            "contact_id_type",
            "devices",
        ],
        Dataset::RoomLevel => &[
            "dt",
            "snapshot_date",
            "room_level_id",
            "name",
            "parent_level_id",
            "custom_level_id",
            "level_path",
            "has_child",
            "is_root",
            "depth",
        ],
        Dataset::RoomConfig => &[
            "dt",
            "snapshot_date",
            "scope_type",
            "scope_id",
            "is_effective",
            "is_signage_enabled",
            "signage_covers_children",
            "is_signage_muted",
            "signage_start_after_meeting_min",
            "signage_stop_before_meeting_min",
            "signage_materials",
            "is_box_signage_enabled",
            "box_signage_covers_children",
            "is_box_signage_muted",
            "box_signage_start_after_meeting_min",
            "box_signage_stop_before_meeting_min",
            "box_signage_materials",
            "is_enabled",
            "disable_reason",
            "contact_ids",
            "contact_id_type",
        ],
        Dataset::ReserveConfig => &[
            "dt",
            "snapshot_date",
            "scope_type",
            "scope_id",
            "is_approval_required",
            "approval_condition",
            "approval_over_hours",
            "approver_ids",
            "approver_names",
            "is_time_limited",
            "days_in_advance",
            "opening_second",
            "first_second",
            "last_second",
            "max_duration_hours",
            "scope_covers_children",
            "allows_all_users",
            "allowed_user_ids",
            "allowed_department_ids",
            "has_form",
            "is_form_enabled",
            "form_notified_user_ids",
            "form_notify_before_min",
            "form_questions",
            "admin_user_ids",
            "admin_department_ids",
            "is_inform_enabled",
            "informed_user_ids",
            "missing_parts",
            "user_id_type",
        ],
        Dataset::Reserve => &[
            "dt",
            "snapshot_date",
            "reserve_id",
            "meeting_no",
            "topic",
            "end_time",
            "expire_status",
            "reserved_by_id",
            "initial_type",
            "is_auto_record",
            "assigned_host_ids",
            "callee_type",
            "callee_number",
            "callee_name",
            "active_meeting_id",
        ],
        Dataset::Alert => &[
            "dt",
            "alert_id",
            "alert_time",
            "level",
            "target_type",
            "target_name",
            "rule_name",
            "rule_id",
            "condition",
            "room_id",
            "room_mac",
            "contact_names",
            "contact_types",
            "notify_methods",
            "status",
            "process_time",
            "recover_time",
        ],
        Dataset::Meeting => &[
            "dt",
            "meeting_id",
            "meeting_no",
            "topic",
            "start_time",
            "end_time",
            "duration_s",
            "status",
            "host_id",
            "host_id_type",
            "host_type",
            "peak_participant_count",
            "total_participant_count",
            "used_video",
            "used_audio",
            "used_screen_share",
            "was_recorded",
            "used_phone",
        ],
        Dataset::MeetingParticipant => &[
            "dt",
            "meeting_id",
            "meeting_no",
            "meeting_start_time",
            "participant_index",
            "participant_id",
            "participant_id_type",
            "participant_type",
            "first_join_time",
            "final_leave_time",
            "in_meeting_s",
            "is_host",
            "is_external",
            "status",
        ],
        Dataset::Recording => &[
            "dt",
            "meeting_id",
            "meeting_no",
            "meeting_start_time",
            "recording_url",
            "minute_token",
            "duration_ms",
            "state",
        ],
    };
    let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    if dataset == Dataset::ParticipantQualityList {
        for media in ["audio", "video", "share"] {
            for direction in ["recv", "send"] {
                for metric in [
                    "bitrate_kbps",
                    "latency_ms",
                    "jitter_ms",
                    "loss_avg_percent",
                    "loss_max_percent",
                ] {
                    names.push(format!("{media}_{direction}_{metric}"));
                }
            }
        }
        for figure in [
            "client_cpu_min",
            "client_cpu_avg",
            "client_cpu_max",
            "system_cpu_max",
        ] {
            names.push(format!("{figure}_percent"));
        }
    }
    names
}

fn pick(row: &Row, columns: &[String]) -> String {
    let values = columns.iter().map(|name| {
        row.get(name)
            .cloned()
            .unwrap_or_else(|| panic!("no column {name}"))
    });
    Value::Array(values.collect()).to_string()
}

/// The ids of people in a list; no list without anybody.
fn union_ids(people: &[Arc<Employee>]) -> Value {
    let ids: Vec<&str> = people.iter().map(|who| who.union_id.as_str()).collect();
    json!(Some(ids).filter(|ids| !ids.is_empty()))
}

/// An empty cell is no value.
fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A figure of quality: `50kbps`, `1.2Mbps`, `5ms`, `0.8%`; `-` and nothing are no value.
fn figure(cell: &str) -> Value {
    let unit_at = cell
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(cell.len());
    let (digits, unit) = cell.split_at(unit_at);
    let Ok(number) = digits.parse::<f64>() else {
        return Value::Null;
    };
    json!(if unit == "Mbps" {
        (number * 1000.0).round()
    } else {
        number
    })
}

/// Rows that are missing, or there too often, or not in the truth at all.
fn compare(dataset: Dataset, expected: Vec<String>, found: Vec<String>) -> Vec<String> {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    let (wanted, there) = (expected.len(), found.len());
    for row in expected {
        *balance.entry(row).or_default() -= 1;
    }
    for row in found {
        *balance.entry(row).or_default() += 1;
    }
    balance.retain(|_, count| *count != 0);
    let lines = balance.iter().map(|(row, count)| {
        let what = if *count < 0 {
            "missing"
        } else {
            "not in the truth"
        };
        format!("{dataset} ({wanted} expected, {there} found): {what} ({count:+}): {row}")
    });
    lines.collect()
}

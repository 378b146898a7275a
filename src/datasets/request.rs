//! What is asked for: the parameters of a task, what its job may choose of them, and what its rows
//! get from it.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Dataset, Source};
use crate::column::EnumValue;

/// Which kind of user id a request speaks in and asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the API's own names")]
pub enum UserIdType {
    /// Id of a user within one app (`ou_…`); the API's default.
    #[default]
    OpenId,
    /// Id of a user across the apps of one vendor (`on_…`).
    UnionId,
    /// The employee id; needs `contact:user.employee_id:readonly`. It is what the sheets show.
    UserId,
}

impl UserIdType {
    /// The value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenId => "open_id",
            Self::UnionId => "union_id",
            Self::UserId => "user_id",
        }
    }
}

/// Where rows come from: an export's workbook, or the JSON list beside it (resources, 4).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SourceMode {
    /// The dataset's own source. Where there is a second one, that is an export.
    #[default]
    Export,
    /// The JSON list.
    Query,
}

impl SourceMode {
    /// The word in job files and in the column `_source_mode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Query => "query",
        }
    }

    const fn is_export(&self) -> bool {
        matches!(self, Self::Export)
    }
}

/// The kinds as values of a column.
pub(super) const USER_ID_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "open_id",
        texts: &[],
    },
    EnumValue {
        value: "union_id",
        texts: &[],
    },
    EnumValue {
        value: "user_id",
        texts: &[],
    },
];

/// The kinds of participants as values of a column (API reference, 2.2).
pub(super) const USER_TYPES: &[EnumValue] = EVENT_USER_TYPES.split_at(7).0;

/// The same and the two that only events know (API reference, 7.2).
pub(super) const EVENT_USER_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "user",
        texts: &["1"],
    },
    EnumValue {
        value: "room",
        texts: &["2"],
    },
    EnumValue {
        value: "doc_user",
        texts: &["3"],
    },
    EnumValue {
        value: "neo_user",
        texts: &["4"],
    },
    EnumValue {
        value: "neo_guest",
        texts: &["5"],
    },
    EnumValue {
        value: "pstn",
        texts: &["6"],
    },
    EnumValue {
        value: "sip",
        texts: &["7"],
    },
    EnumValue {
        value: "share_box",
        texts: &["8"],
    },
    EnumValue {
        value: "app",
        texts: &["9"],
    },
];

/// What the top users are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopUserOrder {
    /// Number of meetings; 1 on the wire.
    MeetingCount,
    /// Time spent in meetings; 2 on the wire.
    MeetingDuration,
}

impl TopUserOrder {
    /// The value of the column `order_by`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeetingCount => "meeting_count",
            Self::MeetingDuration => "meeting_duration",
        }
    }
}

/// Whose quality is asked for: exactly one of the two ids (API reference, 3.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantId {
    /// A Feishu or Lark user.
    UserId(String),
    /// A Rooms device (`omm_…`).
    RoomId(String),
}

/// The parameters of a task. Each dataset uses some of them, and its file says which.
///
/// Instants are Unix seconds, as the API has them. The JSON of a request is hashed into the task
/// key and stored in manifests. So the order of the fields never changes, and a parameter that is
/// not used is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is asked for.
    pub dataset: Dataset,
    /// The level that owns the rooms (`omb_…`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room_level_id: Option<String>,
    /// The rooms asked for (`omm_…`), sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub room_ids: Vec<String>,
    /// Whether topics are asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub need_topic: Option<bool>,
    /// The meeting's 9-digit number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub meeting_no: Option<String>,
    /// First second of what is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start: Option<i64>,
    /// First second after it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end: Option<i64>,
    /// The civil day on which a snapshot is taken. It is not sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot_date: Option<Date>,
    /// When the participant joined.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub join_time: Option<i64>,
    /// Whose data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub participant: Option<ParticipantId>,
    /// Ranking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order_by: Option<TopUserOrder>,
    /// How many rows, at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
    /// Kind of user ids in request and answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id_type: Option<UserIdType>,
    /// Where the tenant's data resides: 0 mainland China, 1 US, 2 Singapore, 3 Japan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<i32>,
    /// The meeting's unique id, 19 digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub meeting_id: Option<String>,
    /// First second and last of each meeting that is looked for, sorted. They are not sent: where a
    /// list has got another meeting, the same call is another request.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub meetings: Vec<(i64, i64)>,
    /// Which of the day's events: a digest of their ids, 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<String>,
    /// The reservation's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserve_id: Option<String>,
    /// Which source of the dataset is asked.
    #[serde(skip_serializing_if = "SourceMode::is_export", default)]
    pub mode: SourceMode,
    /// Whether the users' ids in the tenant are asked for too, by one more call.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub tenant_user_ids: bool,
    /// Whether what a meeting left behind is asked for too, by one more call.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub artifacts: bool,
}

impl Request {
    /// A request without any parameter.
    #[must_use]
    pub const fn of(dataset: Dataset) -> Self {
        Self {
            dataset,
            room_level_id: None,
            room_ids: Vec::new(),
            need_topic: None,
            meeting_no: None,
            start: None,
            end: None,
            snapshot_date: None,
            join_time: None,
            participant: None,
            order_by: None,
            limit: None,
            user_id_type: None,
            unit: None,
            meeting_id: None,
            meetings: Vec::new(),
            batch: None,
            reserve_id: None,
            mode: SourceMode::Export,
            tenant_user_ids: false,
            artifacts: false,
        }
    }

    /// A request for `[start, end)`, in Unix seconds.
    #[must_use]
    pub fn between(dataset: Dataset, start: i64, end: i64) -> Self {
        Self {
            start: Some(start),
            end: Some(end),
            ..Self::of(dataset)
        }
    }

    /// Why it is not sent, if that is so: to the list of bookings, an id of a level that is none
    /// means the whole tenant, without a word.
    #[must_use]
    pub fn why_not_sent(&self) -> Option<String> {
        if self.mode == SourceMode::Export {
            return None;
        }
        let level = self.room_level_id.as_deref();
        if let Some(level) = level.filter(|level| !level.starts_with("omb")) {
            return Some(format!(
                "`{level}` is no id of a room level, which begins with omb; the list would be that \
                 of the whole tenant; ask by export"
            ));
        }
        let mut rooms = self.room_ids.iter();
        let room = rooms.find(|room| !room.starts_with("omm"))?;
        Some(format!(
            "`{room}` is no id of a room, which begins with omm; ask by export"
        ))
    }

    /// The same request, less what it asks for besides about the same rows.
    #[must_use]
    pub fn without_more(self) -> Self {
        Self {
            tenant_user_ids: false,
            artifacts: false,
            ..self
        }
    }

    /// What is asked.
    #[must_use]
    pub const fn source(&self) -> Source {
        let is_fuller = self.tenant_user_ids || self.artifacts;
        self.dataset.source(self.mode, is_fuller)
    }
}

/// What a task knows and its original does not: the values of the columns that come "from the task"
/// (see the contracts).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lineage {
    /// The meeting's 9-digit number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_no: Option<String>,
    /// The meeting's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_start_time: Option<Timestamp>,
    /// The meeting's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_end_time: Option<Timestamp>,
    /// The participant's join time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_time: Option<Timestamp>,
    /// The participant's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The participating room, or the one room of a reservation export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<String>,
    /// The participant's kind of device. No column shows it: it is part of the participation's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The level whose rooms were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_level_id: Option<String>,
    /// Ranking of a top-user report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<TopUserOrder>,
    /// Kind of the user ids that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id_type: Option<UserIdType>,
    /// The civil day of a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_date: Option<Date>,
    /// The meeting's unique id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_id: Option<String>,
    /// The reservation's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_id: Option<String>,
    /// What told of the meeting, in the order of [`FoundBy`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discovered_by: Vec<FoundBy>,
    /// Which source was asked, for the column that says so. It is not stored: the request has it.
    #[serde(skip)]
    pub source_mode: Option<SourceMode>,
}

/// What tells of a meeting before it is asked for by its unique id (resources, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// An event told of its end.
    Event,
    /// It is in an export of the list of meetings.
    Export,
    /// It is in the JSON list of meetings.
    Query,
    /// Its id is in the list of its number's meetings.
    ListByNo,
}

impl FoundBy {
    /// The word in the column `discovered_by`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Export => "export",
            Self::Query => "query",
            Self::ListByNo => "list_by_no",
        }
    }
}

impl From<SourceMode> for FoundBy {
    fn from(mode: SourceMode) -> Self {
        match mode {
            SourceMode::Export => Self::Export,
            SourceMode::Query => Self::Query,
        }
    }
}

/// A value that a task gives to its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineageValue<'l> {
    /// Text, or the value of an enumeration.
    Text(&'l str),
    /// A list of texts.
    Texts(Vec<&'static str>),
    /// An instant.
    Time(Timestamp),
    /// A civil date.
    Date(Date),
}

impl Lineage {
    /// The value of a field; `None` if there is no such field, or if it has no value.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<LineageValue<'_>> {
        use LineageValue::{Date, Text, Texts, Time};
        match field {
            "meeting_no" => self.meeting_no.as_deref().map(Text),
            "meeting_start_time" => self.meeting_start_time.map(Time),
            "meeting_end_time" => self.meeting_end_time.map(Time),
            "join_time" => self.join_time.map(Time),
            "user_id" => self.user_id.as_deref().map(Text),
            "room_id" => self.room_id.as_deref().map(Text),
            "room_level_id" => self.room_level_id.as_deref().map(Text),
            "order_by" => self.order_by.map(|order| Text(order.as_str())),
            "user_id_type" => self.user_id_type.map(|kind| Text(kind.as_str())),
            "snapshot_date" => self.snapshot_date.map(Date),
            "meeting_id" => self.meeting_id.as_deref().map(Text),
            "reserve_id" => self.reserve_id.as_deref().map(Text),
            "discovered_by" => {
                let by = self.discovered_by.iter().map(|by| by.as_str());
                let by: Vec<&str> = by.collect();
                (!by.is_empty()).then_some(Texts(by))
            }
            "source_mode" => self.source_mode.map(|mode| Text(mode.as_str())),
            _ => None,
        }
    }
}

/// What a job may choose of its requests. Which of it a dataset has is in its
/// [`Definition`](super::Definition); everything else is rejected when the file is read.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestOptions {
    /// Kind of user ids asked for.
    pub user_id_type: UserIdType,
    /// How many top users are asked for, 1 to 100.
    pub top_user_limit: u32,
    /// Unit in which `get_top_user` reports durations; the vendor's pages contradict each other
    /// (API reference, 0.1).
    pub top_user_duration_unit: DurationUnit,
    /// Whether reservation topics are asked for.
    pub need_topic: bool,
    /// Whether each room gets an export of its own, which fills `room_id`.
    pub per_room: bool,
    /// Ids of the reservations that are asked for, each once; of the file that the job names.
    pub reserve_ids: Vec<String>,
    /// Which source is asked.
    pub mode: SourceMode,
    /// Whether the users' ids in the tenant are asked for too.
    pub tenant_user_ids: bool,
    /// Whether what a meeting left behind is asked for too.
    pub artifacts: bool,
    /// Whether the list is asked beside the export, and compared with it.
    pub is_compared: bool,
}

/// An option of a job's `[request]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOption {
    /// Kind of user ids.
    UserIdType,
    /// How many rows.
    Limit,
    /// Unit of durations in the answer.
    DurationUnit,
    /// Whether topics are asked for.
    NeedTopic,
    /// Whether each room gets a task of its own.
    PerRoom,
    /// The file of the ids that are asked for.
    IdsFile,
    /// Which of two sources is asked.
    Mode,
    /// Whether the users' ids in the tenant are asked for too.
    TenantUserIds,
    /// Whether what a meeting left behind is asked for too.
    Artifacts,
}

impl RequestOption {
    /// All options.
    pub const ALL: [Self; 9] = [
        Self::UserIdType,
        Self::Limit,
        Self::DurationUnit,
        Self::NeedTopic,
        Self::PerRoom,
        Self::IdsFile,
        Self::Mode,
        Self::TenantUserIds,
        Self::Artifacts,
    ];

    /// The key in the job file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::UserIdType => "user_id_type",
            Self::Limit => "limit",
            Self::DurationUnit => "duration_unit",
            Self::NeedTopic => "need_topic",
            Self::PerRoom => "per_room",
            Self::IdsFile => "ids_file",
            Self::Mode => "mode",
            Self::TenantUserIds => "tenant_user_ids",
            Self::Artifacts => "artifacts",
        }
    }
}

/// Unit of a duration on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurationUnit {
    /// As the endpoint's page says.
    #[default]
    Minutes,
    /// As the overview page says.
    Seconds,
}

impl DurationUnit {
    /// The word in the job file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minutes => "minutes",
            Self::Seconds => "seconds",
        }
    }
}

impl RequestOptions {
    /// The defaults for a dataset.
    #[must_use]
    pub fn for_dataset(dataset: Dataset) -> Self {
        Self {
            user_id_type: dataset.definition().user_id_type,
            top_user_limit: 100,
            top_user_duration_unit: DurationUnit::Minutes,
            need_topic: true,
            per_room: false,
            reserve_ids: Vec::new(),
            mode: SourceMode::Export,
            tenant_user_ids: true,
            artifacts: true,
            is_compared: false,
        }
    }

    /// Whether ids in the tenant take a call of their own: all ids are of that kind where they are
    /// asked for in it.
    #[must_use]
    pub fn asks_twice(&self) -> bool {
        self.tenant_user_ids && self.user_id_type != UserIdType::UserId
    }

    /// Whether something is asked for of a dataset that takes a call of its own.
    #[must_use]
    pub fn is_fuller(&self, dataset: Dataset) -> bool {
        let has = |option| dataset.definition().options.contains(&option);
        has(RequestOption::TenantUserIds) && self.asks_twice()
            || has(RequestOption::Artifacts) && self.artifacts
    }

    /// What is asked for a dataset.
    #[must_use]
    pub fn source(&self, dataset: Dataset) -> Source {
        dataset.source(self.mode, self.is_fuller(dataset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_would_mean_the_whole_tenant_is_not_sent() {
        let asked = |level: &str, room: &str, mode| Request {
            room_level_id: Some(level.into()),
            room_ids: vec!["omm_0".into(), room.into()],
            mode,
            ..Request::between(Dataset::ResourceReservationList, 1, 2)
        };
        let why = |level, room, mode| asked(level, room, mode).why_not_sent();
        assert_eq!(why("omb_1", "omm_1", SourceMode::Query), None);
        assert_eq!(why("0", "x", SourceMode::Export), None);
        for (level, room, named) in [
            ("0", "omm_1", "`0`"),
            ("", "omm_1", "``"),
            ("omb_1", "x", "`x`"),
        ] {
            let why = why(level, room, SourceMode::Query).expect("refused");
            assert!(why.starts_with(named), "{why}");
        }
    }

    /// The JSON of each request as it was stored since the first release. Task keys hash it, so
    /// another text would export everything again under another name.
    #[test]
    fn the_json_of_a_request_never_changes() {
        let ids = Some(UserIdType::UserId);
        let reservation = Request {
            room_level_id: Some("omb_1".into()),
            room_ids: vec!["omm_1".into()],
            need_topic: Some(true),
            ..Request::between(Dataset::ResourceReservationList, 1, 2)
        };
        let quality = Request {
            meeting_no: Some("123456789".into()),
            join_time: Some(3),
            participant: Some(ParticipantId::RoomId("omm_1".into())),
            user_id_type: ids,
            ..Request::between(Dataset::ParticipantQualityList, 1, 2)
        };
        let top = Request {
            order_by: Some(TopUserOrder::MeetingCount),
            limit: Some(100),
            user_id_type: Some(UserIdType::OpenId),
            unit: Some(2),
            ..Request::between(Dataset::TopUser, 1, 2)
        };
        let meetings = Request {
            user_id_type: ids,
            ..Request::between(Dataset::MeetingList, 1, 2)
        };
        let participants = Request {
            meeting_no: Some("123456789".into()),
            user_id_type: ids,
            ..Request::between(Dataset::ParticipantList, 1, 2)
        };
        let rooms = Request {
            snapshot_date: Some(Date::constant(2026, 11, 26)),
            user_id_type: ids,
            ..Request::of(Dataset::Room)
        };
        let number = Request {
            meeting_no: Some("123456789".into()),
            user_id_type: Some(UserIdType::OpenId),
            meetings: vec![(1, 2), (3, 4)],
            ..Request::between(Dataset::Meeting, 1, 5)
        };
        let recording = Request {
            meeting_id: Some("7529416531681214468".into()),
            ..Request::between(Dataset::Recording, 1, 2)
        };
        let reserve = Request {
            reserve_id: Some("6911188411932033028".into()),
            ..rooms.clone()
        };
        let queried = Request {
            mode: SourceMode::Query,
            ..meetings.clone()
        };
        let with_artifacts = Request {
            artifacts: true,
            ..number.clone()
        };
        for (request, json) in [
            (
                queried,
                r#"{"dataset":"meeting_list","start":1,"end":2,"user_id_type":"user_id","mode":"query"}"#,
            ),
            (
                Request {
                    dataset: Dataset::Reserve,
                    ..reserve
                },
                r#"{"dataset":"reserve","snapshot_date":"2026-11-26","user_id_type":"user_id","reserve_id":"6911188411932033028"}"#,
            ),
            (
                number,
                r#"{"dataset":"meeting","meeting_no":"123456789","start":1,"end":5,"user_id_type":"open_id","meetings":[[1,2],[3,4]]}"#,
            ),
            (
                with_artifacts,
                r#"{"dataset":"meeting","meeting_no":"123456789","start":1,"end":5,"user_id_type":"open_id","meetings":[[1,2],[3,4]],"artifacts":true}"#,
            ),
            (
                recording,
                r#"{"dataset":"recording","start":1,"end":2,"meeting_id":"7529416531681214468"}"#,
            ),
            (
                Request::between(Dataset::DailyReport, 1, 2),
                r#"{"dataset":"daily_report","start":1,"end":2}"#,
            ),
            (
                top,
                r#"{"dataset":"top_user","start":1,"end":2,"order_by":"meeting_count","limit":100,"user_id_type":"open_id","unit":2}"#,
            ),
            (
                meetings,
                r#"{"dataset":"meeting_list","start":1,"end":2,"user_id_type":"user_id"}"#,
            ),
            (
                participants,
                r#"{"dataset":"participant_list","meeting_no":"123456789","start":1,"end":2,"user_id_type":"user_id"}"#,
            ),
            (
                quality,
                r#"{"dataset":"participant_quality_list","meeting_no":"123456789","start":1,"end":2,"join_time":3,"participant":{"room_id":"omm_1"},"user_id_type":"user_id"}"#,
            ),
            (
                reservation,
                r#"{"dataset":"resource_reservation_list","room_level_id":"omb_1","room_ids":["omm_1"],"need_topic":true,"start":1,"end":2}"#,
            ),
            (
                rooms,
                r#"{"dataset":"room","snapshot_date":"2026-11-26","user_id_type":"user_id"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&request).expect("JSON"), json);
            let read: Request = serde_json::from_str(json).expect("a request");
            assert_eq!(read, request);
        }
    }
}

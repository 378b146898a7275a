//! The unit of work: one dataset and one set of wire parameters, under a key that planning it twice
//! cannot change.

pub mod disposition;
pub mod machine;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::Dataset;
use crate::window::Window;

/// Identifies a task: 32 hex digits of SHA-256 over tenant, dataset and wire parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskKey(String);

impl TaskKey {
    /// The key of a request; the same request of the same tenant has the same key on every machine
    /// and in every version.
    #[must_use]
    pub fn new(tenant: &str, request: &Request) -> Self {
        let parameters =
            serde_json::to_string(request).expect("a request is plain strings and numbers");
        let mut hash = Sha256::new();
        for part in [tenant, request.dataset().as_str(), &parameters] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(hex(&hash.finalize()[..16]))
    }

    /// A key read back from the ledger or a manifest.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fixed pseudo-random number for a name, evenly spread over all `u32`.
    #[must_use]
    pub fn digest(name: &str) -> u32 {
        let hash = Sha256::digest(name.as_bytes());
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskKey({})", self.0)
    }
}

/// Feishu's id of an export task (`task_id` on the wire): 19 decimal digits, kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExportId(pub String);

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// The wire parameters of a task. Instants are Unix seconds, as the API has them. Field order is
/// part of the task key: never reorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "dataset", rename_all = "snake_case")]
pub enum Request {
    /// `GET reports/get_daily`.
    DailyReport {
        /// First second of the query; a day before the task's window.
        start: i64,
        /// First second after the query; a day after the task's window.
        end: i64,
        /// Where the tenant's data resides: 0 mainland China, 1 US, 2 Singapore, 3 Japan.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unit: Option<i32>,
    },
    /// `GET reports/get_top_user`.
    TopUser {
        /// First second.
        start: i64,
        /// First second after.
        end: i64,
        /// Ranking.
        order_by: TopUserOrder,
        /// How many users, at most 100.
        limit: u32,
        /// Kind of the returned ids.
        user_id_type: UserIdType,
        /// As in the daily report.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        unit: Option<i32>,
    },
    /// `POST exports/meeting_list`; ended meetings only.
    MeetingList {
        /// First second.
        start: i64,
        /// First second after.
        end: i64,
        /// Kind of the ids in the sheet.
        user_id_type: UserIdType,
    },
    /// `POST exports/participant_list`.
    ParticipantList {
        /// The meeting's 9-digit number.
        meeting_no: String,
        /// The meeting's start, or a day before its end if it lasted longer.
        start: i64,
        /// The meeting's end.
        end: i64,
        /// Kind of the ids in the sheet.
        user_id_type: UserIdType,
    },
    /// `POST exports/participant_quality_list`.
    ParticipantQualityList {
        /// The meeting's 9-digit number.
        meeting_no: String,
        /// The meeting's start, or a day before its end if it lasted longer.
        start: i64,
        /// The meeting's end.
        end: i64,
        /// When the participant joined.
        join_time: i64,
        /// Who.
        participant: ParticipantId,
        /// Kind of the id in `participant`.
        user_id_type: UserIdType,
    },
    /// `POST exports/resource_reservation_list`.
    ResourceReservationList {
        /// The level that owns the rooms (`omb_…`).
        room_level_id: String,
        /// The rooms asked for (`omm_…`), sorted; never empty.
        room_ids: Vec<String>,
        /// Whether topics are asked for.
        need_topic: bool,
        /// First second.
        start: i64,
        /// First second after.
        end: i64,
    },
}

impl Request {
    /// The dataset the request asks for.
    #[must_use]
    pub const fn dataset(&self) -> Dataset {
        match self {
            Self::DailyReport { .. } => Dataset::DailyReport,
            Self::TopUser { .. } => Dataset::TopUser,
            Self::MeetingList { .. } => Dataset::MeetingList,
            Self::ParticipantList { .. } => Dataset::ParticipantList,
            Self::ParticipantQualityList { .. } => Dataset::ParticipantQualityList,
            Self::ResourceReservationList { .. } => Dataset::ResourceReservationList,
        }
    }
}

/// What a task knows and its workbook does not: the values of the columns that come "from the task"
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
    /// The level whose rooms were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_level_id: Option<String>,
    /// Ranking of a top-user report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<TopUserOrder>,
    /// Kind of ids of a top-user report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id_type: Option<UserIdType>,
}

/// One unit of work, complete: what to ask for, and what its rows will be stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Identity; a function of `tenant` and `request`.
    pub key: TaskKey,
    /// Whose data.
    pub tenant: String,
    /// The range of data the task stands for: a job's window, or a piece of it no longer than the
    /// dataset's span.
    pub window: Window,
    /// What is asked for on the wire.
    pub request: Request,
    /// What the rows get from the task.
    pub lineage: Lineage,
}

impl TaskSpec {
    /// A task with the key that its tenant and request give it.
    #[must_use]
    pub fn new(tenant: &str, window: Window, request: Request, lineage: Lineage) -> Self {
        Self {
            key: TaskKey::new(tenant, &request),
            tenant: tenant.to_owned(),
            window,
            request,
            lineage,
        }
    }

    /// The dataset of the request.
    #[must_use]
    pub const fn dataset(&self) -> Dataset {
        self.request.dataset()
    }
}

/// Lower-case hex digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_request_never_changes() {
        let request = Request::MeetingList {
            start: 1,
            end: 2,
            user_id_type: UserIdType::UserId,
        };
        // Pinned: a changed key would export everything again under another name.
        assert_eq!(
            TaskKey::new("acme", &request).as_str(),
            "c56cf8ef403b7d8a2ac4412cdc06de49"
        );
        assert_ne!(
            TaskKey::new("acme", &request),
            TaskKey::new("other", &request)
        );
    }

    #[test]
    fn a_request_survives_json() {
        let request = Request::ParticipantQualityList {
            meeting_no: "123456789".into(),
            start: 1,
            end: 2,
            join_time: 3,
            participant: ParticipantId::RoomId("omm_1".into()),
            user_id_type: UserIdType::UserId,
        };
        let json = serde_json::to_string(&request).expect("json");
        assert_eq!(
            serde_json::from_str::<Request>(&json).expect("request"),
            request
        );
    }
}

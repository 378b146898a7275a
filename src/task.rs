//! The unit of work: one dataset and one set of wire parameters, under a key that planning it twice
//! cannot change.

pub mod disposition;
pub mod machine;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::datasets::{Dataset, Lineage, Request};
use crate::lake_key::{HashOf, LakeKey};
use crate::window::Window;

pub use crate::text::hex;

/// Whose tasks they are, and the key under which their requests become task keys.
#[derive(Clone, Copy, Debug)]
pub struct TaskOwner<'a> {
    /// The tenant's name in the configuration and in the lake.
    pub tenant: &'a str,
    /// The key of the lake that the rows go to.
    pub key: &'a LakeKey,
}

/// Identifies a task: 32 hex digits of a keyed hash over tenant, dataset and wire parameters. It
/// tells nobody without the key who or what is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskKey(String);

impl TaskKey {
    /// The key of a request; the same request of the same tenant and lake has the same key on every
    /// machine and in every version.
    #[must_use]
    pub fn new(owner: TaskOwner<'_>, request: &Request) -> Self {
        let parameters = parameters_of(request);
        let parts = [owner.tenant, request.dataset.as_str(), &parameters].map(str::as_bytes);
        Self(owner.key.hash(HashOf::Task, &parts))
    }

    /// A key read back from the ledger or a manifest.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fixed pseudo-random number for a request, evenly spread over all `u32`. Neither another
    /// key of the lake changes it, nor what else is asked about the same: what was sampled stays
    /// sampled.
    #[must_use]
    pub fn sample_of(tenant: &str, request: &Request) -> u32 {
        let dataset = request.dataset.as_str();
        let asked = parameters_of(&request.clone().without_more());
        Self::digest(&format!("{tenant}\0{dataset}\0{asked}\0"))
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

/// What is asked for, as it is hashed.
fn parameters_of(request: &Request) -> String {
    serde_json::to_string(request).expect("a request is plain strings and numbers")
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

/// Whose calls go first where a quota does not suffice for all. Each class gets a tenth at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Days that the schedule asks for night by night: somebody waits for them in the morning.
    #[default]
    Nightly,
    /// Meetings that ended minutes ago, asked for before their night because an event told of them.
    Early,
    /// What those days say further of single meetings: ids, participants by id, recordings.
    Detail,
    /// Days of long ago, which a backfill or a late start asks for.
    Backfill,
}

impl Urgency {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Nightly, Self::Early, Self::Detail, Self::Backfill];
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

/// One unit of work, complete: what to ask for, and what its rows will be stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Identity; a function of `tenant`, `request` and the lake's key.
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
    /// A task with the key that its owner and request give it.
    #[must_use]
    pub fn new(owner: TaskOwner<'_>, window: Window, request: Request, lineage: Lineage) -> Self {
        Self {
            key: TaskKey::new(owner, &request),
            tenant: owner.tenant.to_owned(),
            window,
            request,
            lineage,
        }
    }

    /// The dataset of the request.
    #[must_use]
    pub const fn dataset(&self) -> Dataset {
        self.request.dataset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::UserIdType;

    /// Pinned, because a changed key would export everything again under another name. The value
    /// was computed from the description by another program.
    #[test]
    fn the_key_of_a_request_never_changes() {
        let request = Request {
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(Dataset::MeetingList, 1, 2)
        };
        let key = LakeKey::of_tests();
        let of = |tenant, key| TaskKey::new(TaskOwner { tenant, key }, &request);
        assert_eq!(
            of("acme", &key).as_str(),
            "2982fec2e171a7fda8d600629263c125"
        );
        assert_ne!(of("acme", &key), of("other", &key));
        assert_ne!(of("acme", &key), of("acme", &LakeKey::new(&[8; 32])));
    }

    /// Pinned, because another number would sample others than before.
    #[test]
    fn whether_a_request_is_sampled_never_changes() {
        let request = Request {
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(Dataset::MeetingList, 1, 2)
        };
        let more = Request {
            artifacts: true,
            tenant_user_ids: true,
            ..request.clone()
        };
        for request in [request, more] {
            assert_eq!(TaskKey::sample_of("acme", &request), 0xc56c_f8ef);
        }
    }
}

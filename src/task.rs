//! The unit of work: one dataset and one set of wire parameters, under a key that planning it twice
//! cannot change.

pub mod disposition;
pub mod machine;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::datasets::{Dataset, Lineage, Request};
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
        for part in [tenant, request.dataset.as_str(), &parameters] {
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
        self.request.dataset
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
    use crate::datasets::UserIdType;

    #[test]
    fn the_key_of_a_request_never_changes() {
        let request = Request {
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(Dataset::MeetingList, 1, 2)
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
}

//! Events that Feishu sent: as they are kept, and until they are published.

use jiff::Timestamp;

use crate::datasets::Dataset;

/// An event that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// The same at every delivery.
    pub id: String,
    /// Its type, as Feishu names it.
    pub event_type: String,
    /// Whose rows it is one of.
    pub dataset: Dataset,
    /// When it happened, or when it was received if it does not say.
    pub at: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its body without secrets.
    pub body: String,
}

/// An event that is in no batch yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Its id.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// Length of its body.
    pub size_bytes: u64,
}

/// An event of a batch, as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// Its body without secrets.
    pub body: String,
    /// When it was received.
    pub received_at: Timestamp,
}

/// What is known of a type of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypeRecord {
    /// Whose data.
    pub tenant: String,
    /// The type, as Feishu names it.
    pub event_type: String,
    /// When one was last received.
    pub last_received_at: Timestamp,
    /// When the last one happened that was kept; `None` if none ever was.
    pub last_event_at: Option<Timestamp>,
    /// How many were kept.
    pub kept: u64,
    /// How many came again.
    pub repeated: u64,
    /// How many were acknowledged and not kept, because no job takes them.
    pub left_out: u64,
}

//! Events that Feishu sent: as they are kept, and until they are published.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

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

/// Something that Feishu said began, several times, and of which it said of none that it ended.
/// Seen in the wild: an app whose *ended* events are not subscribed to, or do not come (resources,
/// 3, chain C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingEnds {
    /// The type that says that something began.
    pub started: String,
    /// The type that would say that it ended.
    pub ended: String,
    /// How many began since the last end, and are remembered.
    pub count: u64,
    /// When the first of them began.
    pub since: Timestamp,
}

impl MissingEnds {
    /// Whether ends do not come, and it is not only that nothing has ended yet, or that one was
    /// missed: no meeting lasts longer than a day.
    #[must_use]
    pub fn is_certain(&self, now: Timestamp) -> bool {
        self.count >= 3 && now.duration_since(self.since) >= LONGEST_MEETING
    }
}

impl fmt::Display for MissingEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            started,
            ended,
            count,
            since,
        } = self;
        write!(
            f,
            "since {} {count} events {started} came and no {ended}: subscribe the app to it in \
             the developer console and publish a version. What such events bring forward waits for \
             the night until then",
            since.strftime("%F %H:%M UTC")
        )
    }
}

/// The longest that a meeting lasts, in any edition.
const LONGEST_MEETING: SignedDuration = SignedDuration::from_hours(24);

/// The type of events that says that what an event of `started` told of has ended.
#[must_use]
pub fn end_of(started: &str) -> Option<String> {
    let (of, version) = started.rsplit_once("_started_v")?;
    Some(format!("{of}_ended_v{version}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_missing_once_everything_that_began_must_have_ended() {
        for (count, hours, is_certain) in [
            (3, 24, true),
            (2, 24, false),
            (3, 23, false),
            (900, 200, true),
        ] {
            let since = Timestamp::UNIX_EPOCH;
            let ends = MissingEnds {
                started: "vc.meeting.all_meeting_started_v1".to_owned(),
                ended: "vc.meeting.all_meeting_ended_v1".to_owned(),
                count,
                since,
            };
            let now = since + SignedDuration::from_hours(hours);
            assert_eq!(ends.is_certain(now), is_certain, "{count} {hours}");
        }
    }

    #[test]
    fn only_what_begins_ends() {
        for (started, ended) in [
            (
                "vc.meeting.all_meeting_started_v1",
                Some("vc.meeting.all_meeting_ended_v1"),
            ),
            (
                "vc.meeting.recording_started_v1",
                Some("vc.meeting.recording_ended_v1"),
            ),
            ("vc.meeting.all_meeting_ended_v1", None),
            ("vc.room.created_v1", None),
        ] {
            assert_eq!(end_of(started).as_deref(), ended);
        }
    }
}

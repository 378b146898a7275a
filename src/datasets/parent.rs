//! What a child needs of its parent's row, and which columns of the parent tell it.

use jiff::Timestamp;

/// What a child needs of a parent's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Row in its workbook.
    pub source_row: i64,
    /// The meeting's 9-digit number.
    pub meeting_no: String,
    /// The meeting's start.
    pub start: Timestamp,
    /// The meeting's end; none while it lasts.
    pub end: Option<Timestamp>,
    /// Participants, as the meeting's row counts them.
    pub participant_count: Option<i64>,
    /// When the participant joined.
    pub join_time: Option<Timestamp>,
    /// How long the participant stayed, seconds.
    pub stay_s: Option<i64>,
    /// The participant's user id.
    pub user_id: Option<String>,
    /// The participating room.
    pub room_id: Option<String>,
    /// The participant's kind of device.
    pub device: Option<String>,
    /// The meeting's unique id.
    pub meeting_id: Option<String>,
    /// Whether the meeting was recorded.
    pub was_recorded: Option<bool>,
}

/// Parent rows with one identity, for which one request is made.
#[derive(Clone, Copy, Debug)]
pub struct Siblings<'p> {
    /// The first of them in a fixed order; often the only one.
    pub first: &'p Parent,
    /// All of them, in that order.
    pub all: &'p [&'p Parent],
    /// When the last of their meetings ended.
    pub end: Timestamp,
}

/// What tells a parent's rows apart: rows with the same identity are one parent.
pub type ParentIdentity<'p> = (
    &'p str,
    Timestamp,
    Option<Timestamp>,
    Option<&'p str>,
    i64,
    i64,
);

impl Parent {
    /// The same meeting seen by two tasks (it crosses midnight) is one parent; the same meeting
    /// with another end is another.
    #[must_use]
    pub fn meeting(&self) -> ParentIdentity<'_> {
        (&self.meeting_no, self.start, self.end, None, 0, 0)
    }

    /// One stay of one participant. Participants without an id cannot be told apart by what is kept
    /// of them, so each row counts.
    #[must_use]
    pub fn stay(&self) -> ParentIdentity<'_> {
        let id = self.user_id.as_deref().or(self.room_id.as_deref());
        let row = if id.is_none() { self.source_row } else { 0 };
        let join = self.join_time.map_or(0, Timestamp::as_second);
        (&self.meeting_no, self.start, self.end, id, join, row)
    }

    /// All meetings with one number.
    #[must_use]
    pub fn number(&self) -> ParentIdentity<'_> {
        (&self.meeting_no, Timestamp::MIN, None, None, 0, 0)
    }

    /// One meeting by its unique id.
    #[must_use]
    pub fn unique_meeting(&self) -> ParentIdentity<'_> {
        let id = self.meeting_id.as_deref();
        (&self.meeting_no, self.start, self.end, id, 0, 0)
    }
}

/// Who took part. A user's id and the same text as a name are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'w> {
    /// A user, by id.
    User(&'w str),
    /// A room, by id.
    Room(&'w str),
    /// Somebody of whom only the name is known.
    Name(&'w str),
}

impl<'w> Who<'w> {
    /// A word that tells ids of users, ids of rooms and names apart, and the id or name. Keys of
    /// the lake are hashed from them, so the words never change.
    #[must_use]
    pub const fn kind_and_text(self) -> (&'static str, &'w str) {
        match self {
            Self::User(id) => ("user", id),
            Self::Room(id) => ("room", id),
            Self::Name(name) => ("name", name),
        }
    }
}

/// Columns of the parent from which a [`Parent`] is read.
#[derive(Clone, Copy, Debug)]
pub struct ParentColumns {
    /// A column and its values: only rows that have one of them are parents. `None` if all are.
    pub only: Option<(&'static str, &'static [&'static str])>,
    /// The meeting's number.
    pub meeting_no: &'static str,
    /// The meeting's start.
    pub start: &'static str,
    /// The meeting's end.
    pub end: &'static str,
    /// Participants, as the row counts them.
    pub participant_count: Option<&'static str>,
    /// The meeting's, where a row is one with a unique id.
    pub meeting: Option<MeetingColumns>,
    /// The participant's, where a row is one.
    pub participant: Option<ParticipantColumns>,
}

/// Columns of a meeting with a unique id.
#[derive(Clone, Copy, Debug)]
pub struct MeetingColumns {
    /// The unique id.
    pub meeting_id: &'static str,
    /// Whether it was recorded.
    pub was_recorded: &'static str,
}

/// Columns of a participant.
#[derive(Clone, Copy, Debug)]
pub struct ParticipantColumns {
    /// When the participant joined.
    pub join_time: &'static str,
    /// How long the participant stayed, seconds.
    pub stay_s: &'static str,
    /// The user's id.
    pub user_id: &'static str,
    /// The participant's name.
    pub name: &'static str,
    /// The kind of device.
    pub device: &'static str,
    /// The room's id, where the source tells it.
    pub room_id: &'static str,
    /// Folded headers of columns that the contract does not know, under which a sheet may name a
    /// room's id.
    pub room_id_headers: &'static [&'static str],
    /// How every room id begins.
    pub room_id_prefix: &'static str,
}

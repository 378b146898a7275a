//! The six datasets: two reports, four exports, and how they hang together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);

/// A dataset of the lake; named as its Feishu endpoint, and so is its directory.
///
/// ```
/// use meetlake::Dataset;
///
/// let participants: Dataset = "participant_list".parse()?;
/// assert_eq!(participants.parent(), Some(Dataset::MeetingList));
/// assert_eq!(participants.child(), Some(Dataset::ParticipantQualityList));
/// assert!("participants".parse::<Dataset>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// `GET reports/get_daily`: meetings, minutes and participants of each day.
    DailyReport,
    /// `GET reports/get_top_user`: who met most, by count and by duration.
    TopUser,
    /// `POST exports/meeting_list`: one row a meeting.
    MeetingList,
    /// `POST exports/participant_list`: one row a participant of one meeting.
    ParticipantList,
    /// `POST exports/participant_quality_list`: one row a minute of one participant.
    ParticipantQualityList,
    /// `POST exports/resource_reservation_list`: one row a room booking.
    ResourceReservationList,
}

impl Dataset {
    /// All datasets; a parent stands before its children.
    pub const ALL: [Self; 6] = [
        Self::DailyReport,
        Self::TopUser,
        Self::MeetingList,
        Self::ParticipantList,
        Self::ParticipantQualityList,
        Self::ResourceReservationList,
    ];

    /// The name in configuration, in the lake and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DailyReport => "daily_report",
            Self::TopUser => "top_user",
            Self::MeetingList => "meeting_list",
            Self::ParticipantList => "participant_list",
            Self::ParticipantQualityList => "participant_quality_list",
            Self::ResourceReservationList => "resource_reservation_list",
        }
    }

    /// Whether the dataset is a plain call that answers at once, and not an export task.
    #[must_use]
    pub const fn is_report(self) -> bool {
        matches!(self, Self::DailyReport | Self::TopUser)
    }

    /// The dataset whose rows this one is asked for, one export a row.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::ParticipantList => Some(Self::MeetingList),
            Self::ParticipantQualityList => Some(Self::ParticipantList),
            _ => None,
        }
    }

    /// The dataset that is asked for by the rows of this one.
    #[must_use]
    pub fn child(self) -> Option<Self> {
        let is_child = |child: &Self| child.parent() == Some(self);
        Self::ALL.into_iter().find(is_child)
    }

    /// The longest span of one request. The export pages publish none; where the JSON sibling of an
    /// export does (API reference, 3.3), we keep to it: a day for participants, quality and
    /// reservations. Reports and meetings are asked for a day at a time as well, because nothing
    /// better is known of the former, and a refused span costs a day of data.
    #[must_use]
    pub const fn max_span(self) -> Duration {
        DAY
    }

    /// How far back Feishu answers, where it says so: 90 days for the reports (API reference, 2).
    #[must_use]
    pub const fn horizon(self) -> Option<Duration> {
        match self {
            Self::DailyReport | Self::TopUser => Some(Duration::from_secs(90 * 86_400)),
            _ => None,
        }
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no dataset's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a dataset; there are daily_report, top_user, meeting_list, participant_list, \
     participant_quality_list and resource_reservation_list"
)]
pub struct UnknownDataset(pub String);

impl FromStr for Dataset {
    type Err = UnknownDataset;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dataset| dataset.as_str() == name)
            .ok_or_else(|| UnknownDataset(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_parents_come_first() {
        for (index, dataset) in Dataset::ALL.into_iter().enumerate() {
            assert_eq!(dataset.as_str().parse(), Ok(dataset));
            let parent_index = dataset
                .parent()
                .and_then(|p| Dataset::ALL.iter().position(|d| *d == p));
            assert!(parent_index.is_none_or(|p| p < index));
        }
        assert!("meeting-list".parse::<Dataset>().is_err());
    }
}

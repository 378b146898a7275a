//! Why a partition is partial, as data. The sentence is made when it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::count;

/// One reason for which a partition is not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What is missing.
    pub kind: ReasonKind,
    /// How many tasks, meetings, windows, days or minutes it concerns.
    pub count: u64,
    /// What a person should know beyond that; holds counts, never personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What is missing in a partition; in a manifest its name in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// A window of the day has no tasks yet.
    NotPlanned,
    /// Tasks whose attempts are used up.
    Failed,
    /// Tasks are still to be exported.
    NotExported,
    /// Tasks whose rows wait in the spool.
    NotPublished,
    /// Tasks whose workbook is in quarantine.
    Quarantined,
    /// Tasks of which some rows lack a key and are left out.
    RowsWithoutKey,
    /// The daily report counted more meetings than the list has.
    FewerMeetings,
    /// Meetings with fewer participants than they counted.
    FewerParticipants,
    /// Minutes of the day that no window covers.
    NotCovered,
    /// The day of the parent dataset is partial, so that not all parents are known.
    ParentPartial,
    /// The day is not over, or Feishu may still send events of it.
    NotOver,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// A reason that its count says all of.
    #[must_use]
    pub const fn new(kind: ReasonKind, count: u64) -> Self {
        Self {
            kind,
            count,
            detail: None,
        }
    }

    /// A reason with more to say.
    #[must_use]
    pub const fn with_detail(kind: ReasonKind, count: u64, detail: String) -> Self {
        Self {
            kind,
            count,
            detail: Some(detail),
        }
    }

    /// Whether an answer is missing that another export would bring.
    #[must_use]
    pub const fn lacks_an_answer(&self) -> bool {
        match self.kind {
            ReasonKind::NotExported
            | ReasonKind::NotPublished
            | ReasonKind::Quarantined
            | ReasonKind::Failed => true,
            ReasonKind::NotPlanned
            | ReasonKind::RowsWithoutKey
            | ReasonKind::FewerMeetings
            | ReasonKind::FewerParticipants
            | ReasonKind::NotCovered
            | ReasonKind::ParentPartial
            | ReasonKind::NotOver
            | ReasonKind::Unknown => false,
        }
    }
}

impl ReasonKind {
    /// The kinds that count tasks, and how their sentence ends.
    const OF_TASKS: [(Self, &'static str); 5] = [
        (Self::NotExported, "not fetched yet"),
        (Self::NotPublished, "not published yet"),
        (Self::Quarantined, "quarantined"),
        (Self::Failed, "failed"),
        (Self::RowsWithoutKey, "with rows that lack a key"),
    ];
}

const NOT_PLANNED: &str = "a window of the day is not planned yet";
const UNKNOWN: &str = "a later version of meetlake says so";

/// The sentence for people.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(detail) = &self.detail {
            return f.write_str(detail);
        }
        let of_tasks = ReasonKind::OF_TASKS
            .iter()
            .find(|(kind, _)| *kind == self.kind);
        match of_tasks {
            Some((_, end)) => write!(f, "{} {end}", count(self.count, "task")),
            None if self.kind == ReasonKind::NotPlanned => f.write_str(NOT_PLANNED),
            None => f.write_str(UNKNOWN),
        }
    }
}

/// A manifest of format 1 holds sentences. This is the one place that reads such a sentence, and
/// every sentence of ours comes back as the reason it was made of, but for the details of an
/// implausible count.
pub(crate) mod format_1 {
    use serde::{Deserialize, Deserializer};

    use super::{NOT_PLANNED, Reason, ReasonKind};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Reason>, D::Error> {
        let sentences = Vec::<String>::deserialize(deserializer)?;
        Ok(sentences.into_iter().map(read).collect())
    }

    fn read(sentence: String) -> Reason {
        if sentence == NOT_PLANNED {
            return Reason::new(ReasonKind::NotPlanned, 1);
        }
        // What was fetched was an export then.
        let exported = (ReasonKind::NotExported, "not exported yet");
        for (kind, end) in [exported].into_iter().chain(ReasonKind::OF_TASKS) {
            let count = sentence
                .strip_suffix(end)
                .and_then(|start| start.strip_suffix(" tasks "))
                .and_then(|count| count.parse().ok());
            if let Some(count) = count {
                return Reason::new(kind, count);
            }
        }
        Reason::with_detail(ReasonKind::Unknown, 1, sentence)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct OldRecord {
        #[serde(with = "format_1")]
        reasons: Vec<Reason>,
    }

    #[test]
    fn a_manifest_holds_reasons_as_data() {
        let detail = "the daily report counted 10 meetings, the list has 7".to_owned();
        let reasons = vec![
            Reason::new(ReasonKind::NotExported, 2),
            Reason::with_detail(ReasonKind::FewerMeetings, 3, detail.clone()),
        ];
        let written = json!([
            { "kind": "not_exported", "count": 2 },
            { "kind": "fewer_meetings", "count": 3, "detail": detail },
        ]);
        assert_eq!(serde_json::to_value(&reasons).expect("JSON"), written);
        let read: Vec<Reason> = serde_json::from_value(written).expect("reasons");
        assert_eq!(read, reasons);
        let of_later = json!({ "kind": "not_invented_yet", "count": 1 });
        let read: Reason = serde_json::from_value(of_later).expect("a reason");
        assert_eq!(read.kind, ReasonKind::Unknown);
    }

    #[test]
    fn the_sentences_of_format_1_give_the_reasons_back() {
        let reasons = vec![
            Reason::new(ReasonKind::NotPlanned, 1),
            Reason::new(ReasonKind::NotExported, 2),
            Reason::new(ReasonKind::NotPublished, 3),
            Reason::new(ReasonKind::Quarantined, 4),
            Reason::new(ReasonKind::Failed, 5),
            Reason::new(ReasonKind::RowsWithoutKey, 6),
        ];
        let json = r#"{"reasons":["a window of the day is not planned yet","2 tasks not exported yet","3 tasks not published yet","4 tasks quarantined","5 tasks failed","6 tasks with rows that lack a key"]}"#;
        let record: OldRecord = serde_json::from_str(json).expect("JSON");
        assert_eq!(record, OldRecord { reasons });
    }

    #[test]
    fn a_person_is_told_of_tasks_that_may_be_no_exports() {
        let told = [1, 2].map(|count| Reason::new(ReasonKind::NotExported, count).to_string());
        assert_eq!(told, ["1 task not fetched yet", "2 tasks not fetched yet"]);
    }

    #[test]
    fn a_sentence_that_counts_something_else_keeps_its_words() {
        let json = r#"{"reasons":["3 tasks are few"]}"#;
        let read: OldRecord = serde_json::from_str(json).expect("JSON");
        assert_eq!(read.reasons[0].kind, ReasonKind::Unknown);
        assert_eq!(read.reasons[0].to_string(), "3 tasks are few");
        assert!(!read.reasons[0].lacks_an_answer());
    }
}

//! What two sources say of the same rows: an export, which is the truth, and the JSON list beside
//! it (resources, 4.2).
//!
//! Counts and names of columns, never a value of a row. The ledger keeps one comparison a task, and
//! a manifest one a day. Pure: rows in, counts out.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::is_zero;

/// How the rows of two sources compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Tasks of which both sources answered.
    pub compared: u64,
    /// Tasks of which the list gave no answer that can be read. Nothing else is said of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_compared: u64,
    /// Rows that both sources have.
    pub in_both: u64,
    /// Rows that the export has and the list has not.
    pub export_only: u64,
    /// Rows that the list has and the export has not.
    pub query_only: u64,
    /// Of these, rows of a kind that an export may leave out: external meetings and webinars.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub query_only_expected: u64,
    /// Rows in both whose values differ, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differing: BTreeMap<String, u64>,
}

/// The list's answer that a task was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// Its original, by the SHA-256 of its bytes.
    Sha256(String),
    /// There was none, or it could not be read.
    Unanswered,
}

impl Witness {
    /// The hash of its original, if there is one.
    #[must_use]
    pub fn sha256(self) -> Option<String> {
        match self {
            Self::Sha256(sha256) => Some(sha256),
            Self::Unanswered => None,
        }
    }
}

/// What is compared of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComparedRow {
    /// What identifies it, whoever it is of.
    pub identity: String,
    /// The id of whom it is of.
    pub user_id: Option<String>,
    /// What tells apart those without an id.
    pub otherwise: String,
    /// A hash of each compared value; `None` where the row has none.
    pub values: Vec<Option<u64>>,
    /// Whether it is of a kind that an export may leave out.
    pub may_be_alone: bool,
}

impl Comparison {
    /// Of a task that the list did not answer.
    #[must_use]
    pub fn missing() -> Self {
        Self {
            not_compared: 1,
            ..Self::default()
        }
    }

    /// Of a task that both sources answered. `columns` are the names of the values. `ids_are_alike`
    /// says whether both sources were asked for the same kind of user ids.
    #[must_use]
    pub fn of(
        columns: &[&str],
        export: &[ComparedRow],
        query: &[ComparedRow],
        ids_are_alike: bool,
    ) -> Self {
        let mut comparison = Self {
            compared: 1,
            ..Self::default()
        };
        let tells_ids = |rows: &[ComparedRow]| rows.iter().any(|row| row.user_id.is_some());
        let by_id = ids_are_alike && tells_ids(export) && tells_ids(query);
        // A column that one of the sources does not tell says nothing.
        let tells = |rows: &[ComparedRow], column: usize| {
            let mut values = rows.iter().map(|row| row.values.get(column));
            values.any(|value| value.is_some_and(Option::is_some))
        };
        let is_told = |column: &usize| tells(export, *column) && tells(query, *column);
        let told: Vec<usize> = (0..columns.len()).filter(is_told).collect();
        let mut groups: HashMap<RowIdentity<'_>, (Vec<ToldRow<'_>>, Vec<ToldRow<'_>>)> =
            HashMap::new();
        for row in export {
            let group = groups.entry(row.identified(by_id)).or_default();
            group.0.push(row.told(&told));
        }
        for row in query {
            let group = groups.entry(row.identified(by_id)).or_default();
            group.1.push(row.told(&told));
        }
        for (export, query) in groups.into_values() {
            comparison.pair(columns, &told, export, query);
        }
        comparison
    }

    /// Compares rows with one identity. There may be several: those that agree are the same, and
    /// the others are taken in one order.
    fn pair(
        &mut self,
        columns: &[&str],
        told: &[usize],
        mut export: Vec<ToldRow<'_>>,
        mut query: Vec<ToldRow<'_>>,
    ) {
        let mut agreeing: HashMap<Vec<Option<u64>>, u64> = HashMap::new();
        for row in &query {
            *agreeing.entry(row.values.clone()).or_default() += 1;
        }
        let mut taken = agreeing.clone();
        export.retain(|row| match agreeing.get_mut(&row.values) {
            Some(left) if *left > 0 => {
                *left -= 1;
                self.in_both += 1;
                false
            }
            _ => true,
        });
        for (values, left) in agreeing {
            taken.entry(values).and_modify(|count| *count -= left);
        }
        query.retain(|row| match taken.get_mut(&row.values) {
            Some(agreed) if *agreed > 0 => {
                *agreed -= 1;
                false
            }
            _ => true,
        });
        export.sort_by(|a, b| a.values.cmp(&b.values));
        query.sort_by(|a, b| a.values.cmp(&b.values));
        for (one, other) in export.iter().zip(&query) {
            self.in_both += 1;
            for (place, column) in told.iter().enumerate() {
                if one.values.get(place) != other.values.get(place) {
                    let name = columns.get(*column).copied().unwrap_or_default();
                    *self.differing.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        self.export_only += export.len().saturating_sub(query.len()) as u64;
        for alone in query.iter().skip(export.len()) {
            self.query_only += 1;
            self.query_only_expected += u64::from(alone.row.may_be_alone);
        }
    }

    /// Adds another comparison.
    pub fn add(&mut self, other: &Self) {
        self.compared += other.compared;
        self.not_compared += other.not_compared;
        self.in_both += other.in_both;
        self.export_only += other.export_only;
        self.query_only += other.query_only;
        self.query_only_expected += other.query_only_expected;
        for (column, rows) in &other.differing {
            *self.differing.entry(column.clone()).or_default() += rows;
        }
    }

    /// Several together; `None` if there are none.
    #[must_use]
    pub fn sum<'c>(all: impl IntoIterator<Item = &'c Self>) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for comparison in all {
            sum.get_or_insert_default().add(comparison);
        }
        sum
    }

    /// Whether the sources disagree, or could not be compared.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        let unexpected = self.query_only - self.query_only_expected.min(self.query_only);
        self.not_compared + self.export_only + unexpected > 0 || !self.differing.is_empty()
    }
}

/// What identifies a row: what it is, and whose.
type RowIdentity<'r> = (&'r str, bool, &'r str);

/// A row, and its values in the columns that both sources tell.
struct ToldRow<'r> {
    row: &'r ComparedRow,
    values: Vec<Option<u64>>,
}

impl ComparedRow {
    fn identified(&self, by_id: bool) -> RowIdentity<'_> {
        match self.user_id.as_deref().filter(|_| by_id) {
            Some(id) => (&self.identity, true, id),
            None => (&self.identity, false, &self.otherwise),
        }
    }

    fn told(&self, columns: &[usize]) -> ToldRow<'_> {
        let value = |column: &usize| self.values.get(*column).copied().flatten();
        ToldRow {
            row: self,
            values: columns.iter().map(value).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 2] = ["end_time", "participant_count"];

    /// A row: what identifies it, the user's id, the name, and two values.
    fn row(identity: &str, id: &str, name: &str, values: [u64; 2]) -> ComparedRow {
        let told = |value: u64| (value > 0).then_some(value);
        ComparedRow {
            identity: identity.to_owned(),
            user_id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            otherwise: name.to_owned(),
            values: values.map(told).to_vec(),
            may_be_alone: name == "external",
        }
    }

    fn meeting(number: &str, values: [u64; 2]) -> ComparedRow {
        row(number, "", "", values)
    }

    /// Rows in both, in the export only, in the list only, and of these those that are expected.
    type RowCounts = (u64, u64, u64, u64);

    fn counts(comparison: &Comparison) -> RowCounts {
        (
            comparison.in_both,
            comparison.export_only,
            comparison.query_only,
            comparison.query_only_expected,
        )
    }

    #[test]
    fn rows_are_counted_by_who_has_them_and_differ_by_column() {
        let external = row("3", "", "external", [5, 5]);
        type ComparedCase = (
            &'static str,
            Vec<ComparedRow>,
            Vec<ComparedRow>,
            RowCounts,
            Vec<(&'static str, u64)>,
        );
        let table: [ComparedCase; 9] = [
            ("nothing", vec![], vec![], (0, 0, 0, 0), vec![]),
            (
                "alike",
                vec![meeting("1", [7, 2]), meeting("2", [8, 3])],
                vec![meeting("2", [8, 3]), meeting("1", [7, 2])],
                (2, 0, 0, 0),
                vec![],
            ),
            (
                "one more each",
                vec![meeting("1", [7, 2]), meeting("2", [8, 3])],
                vec![meeting("1", [7, 2]), meeting("4", [8, 3])],
                (1, 1, 1, 0),
                vec![],
            ),
            (
                "an external meeting more",
                vec![meeting("1", [7, 2])],
                vec![meeting("1", [7, 2]), external],
                (1, 0, 1, 1),
                vec![],
            ),
            (
                "another count",
                vec![meeting("1", [7, 2]), meeting("2", [8, 3])],
                vec![meeting("1", [7, 2]), meeting("2", [8, 4])],
                (2, 0, 0, 0),
                vec![("participant_count", 1)],
            ),
            (
                "a column that one source lacks",
                vec![meeting("1", [7, 0]), meeting("2", [8, 0])],
                vec![meeting("1", [7, 2]), meeting("2", [9, 4])],
                (2, 0, 0, 0),
                vec![("end_time", 1)],
            ),
            (
                "a value that one row lacks",
                vec![meeting("1", [7, 0]), meeting("2", [8, 3])],
                vec![meeting("1", [7, 2]), meeting("2", [8, 3])],
                (2, 0, 0, 0),
                vec![("participant_count", 1)],
            ),
            (
                "two of one identity, in another order",
                vec![meeting("1", [7, 2]), meeting("1", [8, 3])],
                vec![meeting("1", [8, 3]), meeting("1", [7, 2])],
                (2, 0, 0, 0),
                vec![],
            ),
            (
                "two of one identity, of which one is missing and one differs",
                vec![
                    meeting("1", [7, 2]),
                    meeting("1", [7, 2]),
                    meeting("1", [8, 3]),
                ],
                vec![meeting("1", [7, 2]), meeting("1", [8, 4])],
                (2, 1, 0, 0),
                vec![("participant_count", 1)],
            ),
        ];
        for (what, export, query, expected, differing) in table {
            let found = Comparison::of(&COLUMNS, &export, &query, true);
            assert_eq!(counts(&found), expected, "{what}");
            let named: Vec<(&str, u64)> = found
                .differing
                .iter()
                .map(|(column, rows)| (column.as_str(), *rows))
                .collect();
            // Of a pair that differs in one row, the order of the hashes says which.
            let of_pairs = what.starts_with("two of one identity, of which");
            assert!(of_pairs || named == differing, "{what}: {named:?}");
            assert_eq!((found.compared, found.not_compared), (1, 0));
            let agrees = expected.1 + expected.2 == expected.3 && differing.is_empty();
            assert_eq!(found.is_worth_telling(), !agrees, "{what}");
        }
    }

    #[test]
    fn people_are_told_apart_by_id_where_both_sources_tell_the_same_kind_of_ids() {
        let one = |id: &str, name: &str| {
            vec![
                row("10:00", id, name, [1, 1]),
                row("10:00", "", "guest", [2, 2]),
            ]
        };
        for (export, query, ids_are_alike, expected) in [
            (one("e1", "Zhou"), one("e1", "Zhou"), true, (2, 0, 0, 0)),
            // The name changed, the id did not.
            (
                one("e1", "Zhou"),
                one("e1", "Zhou (IT)"),
                true,
                (2, 0, 0, 0),
            ),
            (one("e1", "Zhou"), one("e2", "Zhou"), true, (1, 1, 1, 0)),
            // An open id is never an employee id.
            (one("e1", "Zhou"), one("ou_1", "Zhou"), false, (2, 0, 0, 0)),
            // One source may not tell ids.
            (one("e1", "Zhou"), one("", "Zhou"), true, (2, 0, 0, 0)),
        ] {
            let found = Comparison::of(&COLUMNS, &export, &query, ids_are_alike);
            assert_eq!(counts(&found), expected, "{export:?} {query:?}");
        }
    }

    #[test]
    fn several_are_added_up_and_what_is_not_counted_is_not_written() {
        let mut differs = Comparison::of(
            &COLUMNS,
            &[meeting("1", [7, 2])],
            &[meeting("1", [7, 3])],
            true,
        );
        let sum = Comparison::sum([&differs, &Comparison::missing(), &differs]);
        let sum = sum.expect("three");
        assert_eq!((sum.compared, sum.not_compared, sum.in_both), (2, 1, 2));
        assert_eq!(sum.differing["participant_count"], 2);
        assert_eq!(Comparison::sum([]), None);
        differs.differing.clear();
        let written = serde_json::to_string(&differs).expect("JSON");
        let expected = r#"{"compared":1,"in_both":1,"export_only":0,"query_only":0}"#;
        assert_eq!(written, expected);
        let witness = serde_json::to_string(&Witness::Sha256("ab".into())).expect("JSON");
        assert_eq!(witness, r#"{"sha256":"ab"}"#);
    }
}

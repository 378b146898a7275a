//! Who took part, as the rows of a sheet tell it. Both the key of a stay and the tasks that are made
//! of it read it here, so that they mean the same person or room.

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray as _, MapArray, StringArray};

use crate::column::fold;
use crate::datasets::ParticipantColumns;

/// The user's id in a row. A blank one is none.
#[must_use]
pub fn user_id(ids: &StringArray, row: usize) -> Option<&str> {
    let id = ids.is_valid(row).then(|| ids.value(row))?;
    (!id.trim().is_empty()).then_some(id)
}

/// The room's id in a row, where the source has a column for it.
#[must_use]
pub fn room_id<'b>(
    ids: &'b StringArray,
    names: &ParticipantColumns,
    row: usize,
) -> Option<&'b str> {
    let id = ids.is_valid(row).then(|| ids.value(row).trim())?;
    id.starts_with(names.room_id_prefix).then_some(id)
}

/// The rooms that rows name, in a column that no contract knows.
pub struct RoomIds<'b> {
    names: &'static ParticipantColumns,
    extra: &'b MapArray,
    headers: &'b StringArray,
    texts: &'b StringArray,
    /// Whether a header is one of a room's id. There are few, and each row repeats them.
    known: HashMap<&'b str, bool>,
}

impl<'b> RoomIds<'b> {
    /// Of rows with this `_extra`; `None` if no row has any.
    #[must_use]
    pub fn of(extra: &'b MapArray, names: &'static ParticipantColumns) -> Option<Self> {
        if extra.null_count() == extra.len() {
            return None;
        }
        Some(Self {
            names,
            extra,
            headers: extra.keys().as_string_opt()?,
            texts: extra.values().as_string_opt()?,
            known: HashMap::new(),
        })
    }

    /// The room of a row.
    pub fn of_row(&mut self, row: usize) -> Option<&'b str> {
        if self.extra.is_null(row) {
            return None;
        }
        let place = |end: usize| usize::try_from(self.extra.value_offsets()[end]).unwrap_or(0);
        let (start, end) = (place(row), place(row + 1));
        for entry in start..end {
            let (header, is_valid) = (self.headers.value(entry), self.texts.is_valid(entry));
            let is_id = self.known.entry(header).or_insert_with(|| {
                let folded = fold(header);
                self.names.room_id_headers.contains(&folded.as_str())
            });
            if *is_id && is_valid {
                let id = self.texts.value(entry).trim();
                if id.starts_with(self.names.room_id_prefix) {
                    return Some(id);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;
    use crate::normalize::extra_builder;

    #[test]
    fn a_room_is_found_under_any_of_its_headers() {
        let rows: [&[(&str, &str)]; 5] = [
            &[],
            &[("别的", "omm_0"), (" Room ID", " omm_1 ")],
            &[("roomid", "no id"), ("会议室 ID", "omm_2")],
            &[("别的", "omm_3")],
            &[("会议室ID", "omm_4"), ("roomid", "omm_5")],
        ];
        let mut extra = extra_builder(0);
        for row in rows {
            for (header, text) in row {
                extra.keys().append_value(header);
                extra.values().append_value(text);
            }
            extra.append(!row.is_empty()).expect("as many");
        }
        let extra = extra.finish();
        let names = Dataset::ParticipantList.definition().parent_columns;
        let names = Box::leak(Box::new(names.and_then(|names| names.participant)));
        let names = names.as_ref().expect("a parent of participants");
        let all = [None, Some("omm_1"), Some("omm_2"), None, Some("omm_4")];
        for first in 0..all.len() {
            let rows = extra.slice(first, all.len() - first);
            let mut rooms = RoomIds::of(&rows, names).expect("some");
            let found: Vec<_> = (0..rows.len()).map(|row| rooms.of_row(row)).collect();
            assert_eq!(found, all[first..]);
        }
        assert!(RoomIds::of(&extra.slice(0, 1), names).is_none());
    }

    #[test]
    fn a_blank_user_id_is_none() {
        let ids = StringArray::from(vec![Some("e1"), Some(" "), None, Some("")]);
        let found: Vec<_> = (0..4).map(|row| user_id(&ids, row)).collect();
        assert_eq!(found, [Some("e1"), None, None, None]);
    }
}

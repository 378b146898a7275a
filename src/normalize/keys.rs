//! The keys by which rows are joined, hashed under the lake's key.
//!
//! What a row says of its meeting and its participant is the same in all datasets: a dataset whose
//! rows become parents names the columns, and the rows of any other get it from their task. A key
//! that all rows of a source share is hashed once.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringBuilder};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;

use super::stays::{self, RoomIds};
use super::{Context, Stamp};
use crate::column::{ColumnSource, RowKey};
use crate::contract::{Contract, lineage};
use crate::datasets::{ParticipantColumns, Who};
use crate::lake_key::{HashOf, LakeKey};

/// Digits of a key.
const DIGITS: usize = 32;

/// What the keys of a tenant's rows are hashed with.
#[derive(Clone, Debug)]
pub struct RowKeys {
    /// The tenant's name in the lake.
    pub tenant: String,
    /// The lake's key.
    pub key: LakeKey,
}

/// The keys in one column of a source.
#[derive(Debug)]
pub(super) enum KeyColumn {
    /// The same in every row; `None` if it cannot be known.
    Same(Option<String>),
    /// Another one in each row.
    Each(Box<EachRow>),
}

/// Hashes the key of each row.
#[derive(Debug)]
pub(super) struct EachRow {
    keys: RowKeys,
    of: KeyedRow,
}

/// Where what is hashed stands, as indices of columns in the contract's schema.
#[derive(Debug)]
enum KeyedRow {
    Meeting {
        meeting_no: usize,
        start: usize,
    },
    Stay {
        meeting_key: String,
        names: &'static ParticipantColumns,
        user_id: usize,
        name: usize,
        join_time: usize,
        device: usize,
        room_id: usize,
        extra: usize,
    },
    Booking {
        source_sha256: String,
        source_row: usize,
        last: Cell<LastRow>,
    },
}

/// Where the last row was. Rows come in the order of the source, so one that does not come after it
/// is of the next sheet, whose rows are counted from the beginning again.
#[derive(Clone, Copy, Debug, Default)]
struct LastRow {
    sheet: i64,
    row: Option<i64>,
}

impl KeyColumn {
    /// The keys of the rows of a source. Without a key of the lake there are none.
    pub(super) fn new(key: RowKey, context: &Context, stamp: &Stamp) -> Self {
        let Some(keys) = &context.keys else {
            return Self::Same(None);
        };
        let each = |of| {
            Self::Each(Box::new(EachRow {
                keys: keys.clone(),
                of,
            }))
        };
        let schema = context.contract.schema();
        match key {
            RowKey::Meeting => match meeting_columns(context.contract) {
                Some((meeting_no, start)) => each(KeyedRow::Meeting { meeting_no, start }),
                None => Self::Same(meeting_of_task(keys, context)),
            },
            RowKey::Participation => {
                let Some(meeting_key) = meeting_of_task(keys, context) else {
                    return Self::Same(None);
                };
                let Some(names) = participant_columns(context.contract) else {
                    return Self::Same(stay_of_task(keys, context, &meeting_key));
                };
                let index = |name| schema.index_of(name).expect("a column of the contract");
                each(KeyedRow::Stay {
                    meeting_key,
                    names,
                    user_id: index(names.user_id),
                    name: index(names.name),
                    join_time: index(names.join_time),
                    device: index(names.device),
                    room_id: index(names.room_id),
                    extra: index(lineage::EXTRA),
                })
            }
            RowKey::Booking => each(KeyedRow::Booking {
                source_sha256: stamp.source_sha256.clone(),
                source_row: schema
                    .index_of(lineage::SOURCE_ROW)
                    .expect("every contract has it"),
                last: Cell::default(),
            }),
        }
    }
}

impl EachRow {
    /// The keys of the rows with these columns, which are those of the contract.
    pub(super) fn of_rows(&self, columns: &[ArrayRef], rows: usize) -> ArrayRef {
        let RowKeys { tenant, key } = &self.keys;
        let mut hashes = StringBuilder::with_capacity(rows, rows * DIGITS);
        let mut push = |of, parts: Option<&[&[u8]]>| match parts {
            Some(parts) => {
                // Writing to a builder cannot fail.
                let _ = key.write_hash(of, parts, &mut hashes);
                hashes.append_value("");
            }
            None => hashes.append_null(),
        };
        match &self.of {
            KeyedRow::Meeting { meeting_no, start } => {
                let numbers = columns[*meeting_no].as_string::<i32>();
                let starts = columns[*start].as_primitive::<TimestampMicrosecondType>();
                for (number, start) in numbers.iter().zip(starts) {
                    let start = start.unwrap_or_default().to_le_bytes();
                    let parts = number.map(|number| [tenant.as_bytes(), number.as_bytes(), &start]);
                    push(
                        HashOf::Meeting,
                        parts.as_ref().map(|parts| parts.as_slice()),
                    );
                }
            }
            KeyedRow::Stay {
                meeting_key,
                names,
                user_id,
                name,
                join_time,
                device,
                room_id,
                extra,
            } => {
                let text = |index: usize| columns[index].as_string::<i32>();
                let (user_ids, participants, devices) =
                    (text(*user_id), text(*name), text(*device));
                let joins = columns[*join_time].as_primitive::<TimestampMicrosecondType>();
                let told_rooms = text(*room_id);
                let mut rooms = RoomIds::of(columns[*extra].as_map(), names);
                for row in 0..rows {
                    let user = stays::user_id(user_ids, row);
                    let mut room = || {
                        let in_extra = || rooms.as_mut().and_then(|rooms| rooms.of_row(row));
                        stays::room_id(told_rooms, names, row).or_else(in_extra)
                    };
                    let stay = Stay {
                        who: user
                            .map(Who::User)
                            .or_else(|| room().map(Who::Room))
                            .or_else(|| {
                                participants
                                    .is_valid(row)
                                    .then(|| Who::Name(participants.value(row)))
                            }),
                        join_us: joins.is_valid(row).then(|| joins.value(row)),
                        device: devices.is_valid(row).then(|| devices.value(row)),
                    };
                    stay.with_parts(meeting_key, |parts| push(HashOf::Participation, parts));
                }
            }
            KeyedRow::Booking {
                source_sha256,
                source_row,
                last,
            } => {
                for row in columns[*source_row].as_primitive::<Int64Type>() {
                    let mut at = last.get();
                    if at.row >= row {
                        at.sheet += 1;
                    }
                    at.row = row;
                    last.set(at);
                    let row = row.unwrap_or_default().to_le_bytes();
                    let (source, sheet) = (source_sha256.as_bytes(), at.sheet.to_le_bytes());
                    let parts: [&[u8]; 4] = [tenant.as_bytes(), source, &row, &sheet];
                    // The first sheet counts as if there were no other.
                    let counted = if at.sheet == 0 { 3 } else { 4 };
                    push(HashOf::Booking, Some(&parts[..counted]));
                }
            }
        }
        Arc::new(hashes.finish())
    }
}

/// What tells a stay apart within its meeting.
struct Stay<'s> {
    who: Option<Who<'s>>,
    join_us: Option<i64>,
    device: Option<&'s str>,
}

impl Stay<'_> {
    /// Hands over what is hashed: the meeting's key, the kind of `who`, who, the join in
    /// microseconds, and the device, which is empty if it is not known. `None` if the stay is not
    /// known.
    fn with_parts<T>(&self, meeting_key: &str, take: impl FnOnce(Option<&[&[u8]]>) -> T) -> T {
        let (Some(who), Some(join_us)) = (&self.who, self.join_us) else {
            return take(None);
        };
        let (kind, who) = who.kind_and_text();
        let join = join_us.to_le_bytes();
        let device = self.device.unwrap_or_default();
        take(Some(&[
            meeting_key.as_bytes(),
            kind.as_bytes(),
            who.as_bytes(),
            &join,
            device.as_bytes(),
        ]))
    }
}

/// Where a row says which meeting it is; `None` if its task says it.
fn meeting_columns(contract: &Contract) -> Option<(usize, usize)> {
    let names = contract.dataset.definition().parent_columns?;
    let in_sheet = |name: &str| {
        let mut columns = contract.columns.iter();
        columns.position(|column| column.name == name && column.source == ColumnSource::Sheet)
    };
    in_sheet(names.meeting_no).zip(in_sheet(names.start))
}

/// Where a row says whose stay it is; `None` if its task says it.
fn participant_columns(contract: &Contract) -> Option<&'static ParticipantColumns> {
    let names = contract.dataset.definition().parent_columns.as_ref()?;
    names.participant.as_ref()
}

fn meeting_of_task(keys: &RowKeys, context: &Context) -> Option<String> {
    let number = context.lineage.meeting_no.as_deref()?;
    let start = context.lineage.meeting_start_time?;
    let start = start.as_microsecond().to_le_bytes();
    let parts = [keys.tenant.as_bytes(), number.as_bytes(), &start];
    Some(keys.key.hash(HashOf::Meeting, &parts))
}

fn stay_of_task(keys: &RowKeys, context: &Context, meeting_key: &str) -> Option<String> {
    let lineage = &context.lineage;
    let user = lineage.user_id.as_deref().map(Who::User);
    let stay = Stay {
        who: user.or_else(|| lineage.room_id.as_deref().map(Who::Room)),
        join_us: lineage.join_time.map(Timestamp::as_microsecond),
        device: lineage.device.as_deref(),
    };
    stay.with_parts(meeting_key, |parts| {
        parts.map(|parts| keys.key.hash(HashOf::Participation, parts))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{Int64Array, RecordBatch, new_null_array};
    use jiff::tz::TimeZone;

    use super::*;
    use crate::column::ColumnKind;
    use crate::datasets::{Dataset, DurationUnit, Lineage};
    use crate::normalize::{Normalizer, whole};
    use crate::table::{self, Header, HeaderColumn, RowSink as _};

    const START: &str = "2026-10-12T06:10:42Z";
    const JOIN: &str = "2026-10-12T06:11:00Z";

    fn context(dataset: Dataset, lineage: Lineage) -> Context {
        Context {
            contract: Contract::of(dataset),
            time_zone: TimeZone::UTC,
            tenant_zone: TimeZone::UTC,
            lineage,
            stamp: Stamp {
                source_sha256: "5e".repeat(32),
                ..Stamp::default()
            },
            buckets: None,
            top_user_duration: DurationUnit::Minutes,
            keys_from_task_required: true,
            keys: Some(RowKeys {
                tenant: "公司".to_owned(),
                key: LakeKey::of_tests(),
            }),
        }
    }

    /// The rows below a header, in the order of the contract.
    fn rows(context: &Context, header: &[&str], rows: &[&[&str]]) -> RecordBatch {
        let read = |normalizer: &mut Normalizer<'_>| {
            let columns = header.iter().map(|text| HeaderColumn {
                text: (*text).to_owned(),
                column: context.contract.column_of_header(text),
            });
            normalizer.sheet(&Header {
                sheet: "S".to_owned(),
                row: Some(1),
                columns: columns.collect(),
            });
            for (number, row) in (2..).zip(rows) {
                let cells: Vec<_> = row
                    .iter()
                    .map(|text| table::Cell::Text((*text).into()))
                    .collect();
                normalizer.row(number, &cells);
            }
        };
        whole(context, read).1.expect("a table").batch
    }

    fn keys(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
        let keys = batch[column].as_string::<i32>();
        keys.iter().map(|key| key.map(str::to_owned)).collect()
    }

    fn meeting() -> Lineage {
        Lineage {
            meeting_no: Some("123456789".into()),
            meeting_start_time: Some(START.parse().expect("an instant")),
            ..Lineage::default()
        }
    }

    const MEETING: [&str; 3] = ["会议ID", "会议开始时间", "会议主题"];
    const PARTICIPANT: [&str; 5] = ["参会人", "用户ID", "设备", "入会时间", "会议室 ID"];

    fn participants() -> RecordBatch {
        let join = "2026.10.12 06:11:00";
        let people: [&[&str]; 5] = [
            &["a", "e1", "Windows", join],
            &["b", " ", "", join, "omm_1"],
            &["c", "", "Rooms", join],
            &["e1", "", "Windows", join],
            &["d", "omm_1", "", join],
        ];
        rows(
            &context(Dataset::ParticipantList, meeting()),
            &PARTICIPANT,
            &people,
        )
    }

    fn of_name(batch: &RecordBatch, name: &str) -> String {
        let names = batch["participant_name"].as_string::<i32>();
        let row = names.iter().position(|found| found == Some(name));
        let keys = keys(batch, "participation_key");
        keys[row.expect("a row")].clone().expect("a key")
    }

    /// Pinned, because another key would tear rows apart that were joined. The values were computed
    /// from the description by another program.
    #[test]
    fn the_keys_of_the_same_rows_never_change() {
        let batch = participants();
        let meeting_key = Some("04072c2079248702a9c0eef804ccb226".to_owned());
        assert_eq!(keys(&batch, "meeting_key"), vec![meeting_key; 5]);
        assert_eq!(of_name(&batch, "a"), "bb3d5afed7785aa537a3680d22190fca");
        assert_eq!(of_name(&batch, "b"), "600adb06d4058c8102c320e2dde052f3");
        assert_eq!(of_name(&batch, "c"), "7a6490473f80ac4eddafeb47a94755ad");
        let distinct: HashSet<_> = keys(&batch, "participation_key").into_iter().collect();
        assert_eq!(distinct.len(), 5);

        let context = context(Dataset::ResourceReservationList, Lineage::default());
        let header = ["会议室名称", "会议开始时间"];
        let start = "2026.10.12 06:10:42";
        let bookings = rows(&context, &header, &[&["r", start], &["r", start]]);
        let found = keys(&bookings, "booking_key");
        assert_eq!(
            found[0].as_deref(),
            Some("732025fdeb9ed8ad9755e155b31daecc")
        );
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn the_same_row_of_another_sheet_is_another_booking() {
        let context = context(Dataset::ResourceReservationList, Lineage::default());
        let key = KeyColumn::new(RowKey::Booking, &context, &context.stamp);
        let KeyColumn::Each(each) = key else {
            panic!("{key:?}");
        };
        let mut found = Vec::new();
        // The last batch begins with the next sheet.
        for source_rows in [vec![2, 3, 2], vec![3, 4], vec![4, 5]] {
            let schema = context.contract.schema();
            let columns = schema
                .fields()
                .iter()
                .map(|field| match field.name().as_str() {
                    lineage::SOURCE_ROW => {
                        Arc::new(Int64Array::from(source_rows.clone())) as ArrayRef
                    }
                    _ => new_null_array(field.data_type(), source_rows.len()),
                });
            let columns: Vec<_> = columns.collect();
            let keys = each.of_rows(&columns, source_rows.len());
            found.extend(keys.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        let distinct: HashSet<_> = found.iter().collect();
        assert_eq!((found.len(), distinct.len()), (7, 7));
    }

    #[test]
    fn a_meeting_has_the_same_key_in_its_row_and_in_those_of_its_children() {
        let context = context(Dataset::MeetingList, Lineage::default());
        let rows = rows(
            &context,
            &MEETING,
            &[
                &["123456789", "2026.10.12 06:10:42", "t"],
                &["123456789", "2026.10.12 06:10:43", "t"],
                &["123456780", "2026.10.12 06:10:42", "t"],
            ],
        );
        let found = keys(&rows, "meeting_key");
        let distinct: HashSet<_> = found.iter().flatten().cloned().collect();
        assert_eq!(distinct.len(), 3);
        let of_child = keys(&participants(), "meeting_key");
        assert!(found.contains(&of_child[0]));
    }

    #[test]
    fn a_stay_has_the_same_key_among_participants_and_in_its_quality() {
        let quality = |user_id: Option<&str>, room_id: Option<&str>, device: Option<&str>| {
            let lineage = Lineage {
                join_time: Some(JOIN.parse().expect("an instant")),
                user_id: user_id.map(str::to_owned),
                room_id: room_id.map(str::to_owned),
                device: device.map(str::to_owned),
                ..meeting()
            };
            let context = context(Dataset::ParticipantQualityList, lineage);
            let minute = "2026.10.12 06:12:00";
            let rows = rows(&context, &["时间"], &[&[minute], &[minute]]);
            let meetings = keys(&rows, "meeting_key");
            assert_eq!(meetings, keys(&participants(), "meeting_key")[..2]);
            let found = keys(&rows, "participation_key");
            assert_eq!(found[0], found[1]);
            found[0].clone().expect("a key")
        };
        let among = participants();
        let user = quality(Some("e1"), None, Some("Windows"));
        assert_eq!(user, of_name(&among, "a"));
        assert_eq!(quality(None, Some("omm_1"), None), of_name(&among, "b"));
        assert_ne!(quality(Some("e1"), None, None), user);
    }

    #[test]
    fn without_a_key_of_the_lake_and_without_a_meeting_there_are_none() {
        for dataset in Dataset::ALL {
            let mut context = context(dataset, Lineage::default());
            context.keys_from_task_required = false;
            let keyed = |context: &Context| {
                let columns = context.contract.columns.iter();
                let keys = columns.filter_map(|column| match column.source {
                    ColumnSource::Keyed(key) => {
                        assert_eq!(column.kind, ColumnKind::Id);
                        Some(KeyColumn::new(key, context, &context.stamp))
                    }
                    _ => None,
                });
                keys.collect::<Vec<_>>()
            };
            let is_known = |key: &KeyColumn| !matches!(key, KeyColumn::Same(None));
            let by_row = [
                Dataset::MeetingList,
                Dataset::ResourceReservationList,
                Dataset::Meeting,
            ];
            let by_row = by_row.contains(&dataset);
            assert_eq!(keyed(&context).iter().any(is_known), by_row, "{dataset}");
            context.keys = None;
            assert!(!keyed(&context).iter().any(is_known), "{dataset}");
        }
    }
}

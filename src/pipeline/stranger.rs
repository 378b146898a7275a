//! Whether an original answers what was asked: the file of another export has the same header, and
//! would be published without a word.

use arrow::array::{Array as _, AsArray as _, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;

use crate::task::TaskSpec;

/// Sheets tell minutes, requests seconds.
const SLACK_S: i64 = 60;

/// How many rows lie outside of what their task asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strangers {
    /// Rows that tell a time.
    told: u64,
    outside: u64,
}

impl Strangers {
    /// Counts the rows of a batch.
    pub(super) fn count(&mut self, spec: &TaskSpec, batch: &RecordBatch) {
        let Some((first, last, asked)) = asked(spec) else {
            return;
        };
        let (Some(first), Some(last)) = (times(batch, first), times(batch, last)) else {
            return;
        };
        for row in (0..batch.num_rows()).filter(|row| first.is_valid(*row)) {
            let begins = first.value(row);
            let ends = if last.is_valid(row) {
                last.value(row)
            } else {
                begins
            };
            self.told += 1;
            self.outside += u64::from(begins > asked.1 || ends < asked.0);
        }
    }

    /// What is wrong, if most of the rows that tell a time lie outside. A few may: what a window
    /// selects by is not documented to the second.
    pub(super) fn why_not_of_task(self, is_export: bool) -> Option<String> {
        let Self { told, outside } = self;
        let whose = match is_export {
            true => "it is another export's file",
            false => "it is no answer to what was asked",
        };
        (outside * 2 > told).then(|| {
            format!("{outside} of {told} rows lie outside of the time that was asked for; {whose}")
        })
    }
}

/// The columns that tell when a row began and ended, and the range in which they should,
/// microseconds.
fn asked(spec: &TaskSpec) -> Option<(&'static str, &'static str, (i64, i64))> {
    let (first, last) = spec.dataset().definition().time_columns?;
    let of_meeting = |at: Option<Timestamp>| at.map(Timestamp::as_second);
    let (lineage, request) = (&spec.lineage, &spec.request);
    let start = of_meeting(lineage.meeting_start_time).or(request.start)?;
    let end = of_meeting(lineage.meeting_end_time).or(request.end)?;
    let micros = |second: i64| second.saturating_mul(1_000_000);
    Some((
        first,
        last,
        (
            micros(start.saturating_sub(SLACK_S)),
            micros(end.saturating_add(SLACK_S)),
        ),
    ))
}

fn times<'b>(
    batch: &'b RecordBatch,
    name: &str,
) -> Option<&'b PrimitiveArray<TimestampMicrosecondType>> {
    batch.column_by_name(name)?.as_primitive_opt()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMicrosecondArray};
    use jiff::SignedDuration;

    use super::*;
    use crate::datasets::{Dataset, Lineage, Request};
    use crate::window::Window;

    /// What is said of meetings that began so many hours after the window's start, and took one
    /// each.
    fn said(hours: &[Option<i64>]) -> Option<String> {
        let start: Timestamp = "2026-10-01T00:00:00Z".parse().expect("an instant");
        let end = start + SignedDuration::from_hours(24);
        let (first, last) = (start.as_second(), end.as_second());
        let request = Request::between(Dataset::MeetingList, first, last);
        let window = Window::new(start, end).expect("a window");
        let spec = TaskSpec::new(
            crate::plan::tests::owner(),
            window,
            request,
            Lineage::default(),
        );
        let column = |later: i64| {
            let times = hours.iter().map(|hour| {
                hour.map(|hour| start.as_microsecond() + (hour + later) * 3_600_000_000)
            });
            Arc::new(times.collect::<TimestampMicrosecondArray>()) as ArrayRef
        };
        let batch =
            RecordBatch::try_from_iter([("start_time", column(0)), ("end_time", column(1))]);
        let (mut strangers, batch) = (Strangers::default(), batch.expect("a batch"));
        for row in 0..batch.num_rows() {
            strangers.count(&spec, &batch.slice(row, 1));
        }
        strangers.why_not_of_task(true)
    }

    #[test]
    fn the_file_of_another_day_is_noticed_and_a_meeting_across_midnight_is_not() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[None, None]), None);
        assert_eq!(said(&[Some(-1), Some(0), Some(24), Some(25)]), None);
        let said = said(&[Some(23), Some(30), Some(40), None]).expect("another day's");
        assert!(said.starts_with("2 of 3 rows lie outside"), "{said}");
    }
}

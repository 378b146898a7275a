//! The status page as HTML: values in, text out. No secret and no personal value is in it.

use super::overview::LakeOverview;
use super::text::{bytes, number, outcomes, span};
use crate::ledger::{Attention, PartitionStatus};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;\
     padding:0 1rem;color:#1c2430}\
     h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
     table{border-collapse:collapse;width:100%}\
     td,th{text-align:left;padding:.35rem .75rem;border-bottom:1px solid #dde3ea;\
     vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}p{color:#55606e}";

/// The page: what is in the lake, which days are late, which tasks need attention.
#[must_use]
pub fn html(lake: &LakeOverview, attention: &[Attention]) -> String {
    let (published, late, attention) = (published(lake), late(lake), attention_table(attention));
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width'><title>meetlake</title>\
         <style>{STYLE}</style><h1>meetlake</h1><h2>In the lake</h2>{published}\
         <h2>Late</h2>{late}<h2>Needs attention</h2>{attention}</html>"
    )
}

/// One line for each tenant and dataset of which something is published.
fn published(lake: &LakeOverview) -> String {
    let nothing = match lake.published.is_empty() {
        true => "<p>Nothing is published yet.</p>",
        false => "",
    };
    let row = |row: &PartitionStatus| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=n>{}</td><td>{}</td><td class=n>{}</td>\
             <td class=n>{}</td><td>{} to {}</td></tr>",
            escape(&row.tenant),
            row.dataset,
            row.partitions,
            outcomes(lake.days_of(&row.tenant, row.dataset)),
            number(row.rows),
            bytes(row.size_bytes),
            escape(&row.first_dt),
            escape(&row.last_dt)
        )
    };
    let rows: String = lake.published.iter().map(row).collect();
    format!(
        "{nothing}<table><tr><th>tenant<th>dataset<th class=n>days<th>outcomes<th class=n>rows\
         <th class=n>size<th>from, to</tr>{rows}</table>"
    )
}

/// The days that should be in the lake, whole, and are not.
fn late(lake: &LakeOverview) -> String {
    let rows = lake.late_days().map(|(day, late_s)| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&day.tenant),
            day.dataset,
            day.dt,
            day.outcome.as_str(),
            span(late_s),
            escape(day.why.as_deref().unwrap_or_default())
        )
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return "<p>Nothing is late.</p>".to_owned();
    }
    format!(
        "<table><tr><th>tenant<th>dataset<th>day<th>state<th>late by<th>what is missing</tr>\
         {rows}</table>"
    )
}

fn attention_table(attention: &[Attention]) -> String {
    let row = |task: &Attention| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&task.tenant),
            task.dataset,
            task.window_start,
            task.phase.as_str(),
            escape(&task.failure.message)
        )
    };
    let rows: String = attention.iter().map(row).collect();
    if rows.is_empty() {
        return "<p>Nothing needs attention.</p>".to_owned();
    }
    format!(
        "<table><tr><th>tenant<th>dataset<th>window from<th>state<th>what happened</tr>\
         {rows}</table>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;
    use crate::cause::{Cause, Failure};
    use crate::datasets::Dataset;
    use crate::record::{LastTry, Phase};
    use crate::status::{DayOutcome, DayStatus};

    /// The part of a page below its headline.
    fn below_headline(lake: &LakeOverview, attention: &[Attention]) -> String {
        let page = html(lake, attention);
        let (_, below) = page.split_once("<h1>meetlake</h1>").expect("a headline");
        below.to_owned()
    }

    #[test]
    fn an_empty_lake_is_said_to_be_quiet() {
        let lake = LakeOverview {
            published: vec![],
            days: vec![],
        };
        assert_eq!(
            below_headline(&lake, &[]),
            "<h2>In the lake</h2><p>Nothing is published yet.</p>\
             <table><tr><th>tenant<th>dataset<th class=n>days<th>outcomes<th class=n>rows\
             <th class=n>size<th>from, to</tr></table>\
             <h2>Late</h2><p>Nothing is late.</p>\
             <h2>Needs attention</h2><p>Nothing needs attention.</p></html>"
        );
    }

    #[test]
    fn days_and_tasks_are_named_and_no_text_becomes_markup() {
        let of = Dataset::MeetingList;
        let lake = LakeOverview {
            published: vec![PartitionStatus {
                tenant: "a&b".into(),
                dataset: of,
                partitions: 1,
                partial: 1,
                rows: 1_234,
                size_bytes: 5_000,
                first_dt: "2026-11-10".into(),
                last_dt: "2026-11-10".into(),
            }],
            days: vec![DayStatus {
                tenant: "a&b".into(),
                dataset: of,
                dt: date(2026, 11, 10),
                outcome: DayOutcome::Partial,
                rows: 1_234,
                expected_at: Timestamp::UNIX_EPOCH,
                late_s: Some(600),
                why: Some("<b> is 'gone'".into()),
                last_try: None,
            }],
        };
        let attention = [Attention {
            key: "k".into(),
            tenant: "a&b".into(),
            dataset: of,
            window_start: Timestamp::UNIX_EPOCH,
            phase: Phase::Failed,
            attempts: 3,
            failure: Failure::new(Cause::Gone, "\"x\" > y"),
            last_try: LastTry {
                at: Timestamp::UNIX_EPOCH,
                next: None,
            },
        }];
        let page = below_headline(&lake, &attention);
        for row in [
            "<tr><td>a&amp;b</td><td>meeting_list</td><td class=n>1</td>\
             <td>1 partial, 1 late</td><td class=n>1,234</td><td class=n>5.0 kB</td>\
             <td>2026-11-10 to 2026-11-10</td></tr>",
            "<tr><td>a&amp;b</td><td>meeting_list</td><td>2026-11-10</td><td>partial</td>\
             <td>10 min</td><td>&lt;b&gt; is &#39;gone&#39;</td></tr>",
            "<tr><td>a&amp;b</td><td>meeting_list</td><td>1970-01-01T00:00:00Z</td>\
             <td>failed</td><td>&quot;x&quot; &gt; y</td></tr>",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}

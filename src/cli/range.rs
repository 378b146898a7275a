//! A range of civil days that somebody typed: refused where it cannot be meant, and asked about
//! where it is long.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;

use super::identify;
use crate::config::Config;
use crate::datasets::Dataset;
use crate::plan::due::{FIRST_DAY, MANY_DAYS, backfill};
use crate::run::with_parents;
use crate::status::forecast::{Forecaster, cost};
use crate::status::text::number;
use crate::task::TaskOwner;

const DAY_S: u64 = 86_400;

/// What is wrong with the range `[from, to)`; `None` if nothing is.
#[must_use]
pub fn problem(from: Date, to: Date) -> Option<String> {
    let too_early = || {
        (from < FIRST_DAY).then(|| {
            format!(
                "--from {from} is a mistake: there is no meeting before {FIRST_DAY}, which is \
                 older than Feishu and Lark"
            )
        })
    };
    reversed(from, to).or_else(too_early)
}

/// What is wrong with a range that may be of any time; `None` if nothing is.
#[must_use]
pub fn reversed(from: Date, to: Date) -> Option<String> {
    (from >= to).then(|| {
        format!(
            "--from {from} is not before --to {to}; the range is half-open, so one day is --from \
             D --to D+1"
        )
    })
}

/// What a backfill would come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    /// Days for which there would be windows, of the dataset with the most.
    days: u64,
    /// Calls that are certain or expected.
    calls: u64,
    /// Seconds that these take at the quota.
    at_quota_s: u64,
}

impl Size {
    /// Why the backfill is worth a question; `None` if it is not.
    fn why_ask(&self) -> Option<String> {
        let is_long = self.days > MANY_DAYS;
        let is_dear = self.at_quota_s > DAY_S;
        (is_long || is_dear).then(|| {
            format!(
                "this backfill asks for {} days: at least {} calls, {} hours at the quota",
                number(self.days),
                number(self.calls),
                number(self.at_quota_s.div_ceil(3600))
            )
        })
    }
}

/// Asks on a terminal whether a long backfill is meant, and elsewhere wants `--yes`. Says whether
/// to go on.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn is_meant(
    config: &Config,
    only: Option<&str>,
    datasets: &[Dataset],
    (from, to): (Date, Date),
    now: Timestamp,
) -> Result<bool> {
    let Some(why) = size(config, only, datasets, (from, to), now)
        .await?
        .why_ask()
    else {
        return Ok(true);
    };
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        eprintln!("error: {why}; add --yes if that is meant, or see `meetlake plan --from --to`");
        return Ok(false);
    }
    eprint!("{why}. Is that meant? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let is_meant = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_meant {
        eprintln!("Nothing was begun.");
    }
    Ok(is_meant)
}

async fn size(
    config: &Config,
    only: Option<&str>,
    datasets: &[Dataset],
    (from, to): (Date, Date),
    now: Timestamp,
) -> Result<Size> {
    let ledger = identify::ledger_before_writing(config, "backfill").await?;
    let key = identify::key_for_reading(config, ledger.as_ref()).await?;
    let asked = with_parents(datasets);
    let jobs: Vec<_> = config
        .jobs
        .iter()
        .filter(|job| asked.contains(&job.dataset))
        .cloned()
        .collect();
    let mut all = Size::default();
    for job in &jobs {
        let asked = backfill(job, from, to, now);
        let days = asked.windows.len() + asked.lost.len();
        all.days = all.days.max(days as u64);
    }
    let tenants = config.tenants.values();
    for tenant in tenants.filter(|tenant| only.is_none_or(|only| only == tenant.name)) {
        let forecaster = Forecaster {
            ledger: ledger.as_ref(),
            jobs: &jobs,
            owner: TaskOwner {
                tenant: &tenant.name,
                key: &key,
            },
            unit: tenant.unit,
            range: Some((from, to)),
            now,
        };
        let cost = cost(&forecaster.all().await?, &config.limits.calls);
        all.calls += cost.calls;
        // Each tenant's app has a quota of its own.
        all.at_quota_s = all.at_quota_s.max(cost.at_quota_s);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_range_that_cannot_be_meant_is_refused() {
        let to = date(2026, 11, 21);
        for (from, to, expected) in [
            (date(2026, 11, 20), to, None),
            (FIRST_DAY, to, None),
            (to, to, Some("half-open")),
            (date(2027, 1, 1), to, Some("half-open")),
            (date(2015, 12, 31), to, Some("2016-01-01")),
            (date(1969, 12, 31), to, Some("2016-01-01")),
            (date(1926, 11, 20), to, Some("2016-01-01")),
            (date(1, 1, 1), to, Some("2016-01-01")),
        ] {
            let found = problem(from, to);
            let is_right = match expected {
                Some(text) => found.as_deref().is_some_and(|found| found.contains(text)),
                None => found.is_none(),
            };
            assert!(is_right, "{from} {to}: {found:?}");
        }
    }

    #[test]
    fn a_long_or_dear_backfill_is_worth_a_question() {
        let size = |days, at_quota_s| Size {
            days,
            calls: 1_000,
            at_quota_s,
        };
        assert_eq!(size(MANY_DAYS, DAY_S).why_ask(), None);
        let long = size(MANY_DAYS + 1, 60).why_ask().expect("a question");
        assert!(
            long.contains("367 days") && long.contains("1,000 calls"),
            "{long}"
        );
        let dear = size(31, DAY_S + 1).why_ask().expect("a question");
        assert!(dear.contains("25 hours"), "{dear}");
    }
}

//! `meetlake validate`: checks the configuration and shows when each job fires. It works offline.
//!
//! It takes the path of the configuration. It gives every problem, or each job with its next
//! firings in local time.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Serialize, Serializer};

use crate::config::{self, Config, Environment, JobOff, Position, Problem, show_duration};
use crate::datasets::Dataset;
use crate::exit;
use crate::job::JobSpec;
use crate::schedule::Schedule;
use crate::text::count;

/// How many firings are shown.
const FIRINGS: usize = 5;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Arguments of `validate`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Checks the configuration at `path` and prints what was found; [`exit::Code::Usage`] if it has
/// problems.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    args: Args,
    path: &Path,
    environment: Environment<'_>,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<exit::Code> {
    let report = ValidateReport::new(path, environment, now);
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report.print(out)?;
    }
    Ok(report.code())
}

/// What is printed. Its field names are part of the interface.
#[derive(Serialize)]
struct ValidateReport<'p> {
    config: &'p Path,
    valid: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    jobs: Vec<JobReport>,
    /// Names of the jobs that are off.
    jobs_off: Vec<String>,
    #[serde(skip)]
    why_off: Vec<String>,
}

#[derive(Serialize)]
struct JobReport {
    job: String,
    dataset: &'static str,
    tenants: Vec<String>,
    cron: String,
    time_zone: String,
    window: String,
    settle_delay: String,
    lookback: String,
    missed: &'static str,
    /// Whether a day is the state at the time of asking.
    snapshot: bool,
    /// Whether a day is what Feishu sent on it.
    received: bool,
    /// The longest delay of a firing.
    jitter: String,
    #[serde(serialize_with = "as_rfc_3339")]
    next_firings: Vec<Zoned>,
    /// The same firings in UTC.
    next_firings_utc: Vec<Timestamp>,
    next_clock_change: Option<ClockChangeReport>,
    notes: Vec<String>,
}

/// What the next change of clocks does to a job.
#[derive(Serialize)]
struct ClockChangeReport {
    at: Timestamp,
    change: String,
    /// The day whose length changes, and its minutes.
    date: jiff::civil::Date,
    day_minutes: i64,
    /// What happens to the firings of that day.
    effect: String,
    /// The daily firing in UTC, before and after the change.
    moves_in_utc: Option<(String, String)>,
    rule: &'static str,
}

impl<'p> ValidateReport<'p> {
    fn new(path: &'p Path, environment: Environment<'_>, now: Timestamp) -> Self {
        match config::load(path, environment) {
            Ok(config) => Self::of_config(path, config, now),
            Err(problems) => Self {
                config: path,
                valid: false,
                problems: problems.as_slice().to_vec(),
                warnings: Vec::new(),
                jobs: Vec::new(),
                jobs_off: Vec::new(),
                why_off: Vec::new(),
            },
        }
    }

    fn of_config(path: &'p Path, config: Config, now: Timestamp) -> Self {
        let jobs = config.jobs.iter().map(|job| JobReport::new(job, now));
        let mut warnings = config.warnings;
        warnings.extend(without_a_report(path, &config.jobs));
        Self {
            config: path,
            valid: true,
            problems: Vec::new(),
            jobs: jobs.collect(),
            jobs_off: names_of(&config.jobs_off),
            why_off: why_off(&config.jobs_off),
            warnings,
        }
    }

    fn code(&self) -> exit::Code {
        if self.valid {
            exit::Code::Done
        } else {
            exit::Code::Usage
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for problem in &self.problems {
            writeln!(out, "{problem}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        for job in &self.jobs {
            job.print(out)?;
        }
        for line in &self.why_off {
            writeln!(out, "{line}\n")?;
        }
        let path = self.config.display();
        match self.problems.len() {
            0 => writeln!(
                out,
                "{path} is valid: {}",
                count(self.jobs.len() as u64, "job")
            ),
            problems => writeln!(out, "{path}: {}", count(problems as u64, "problem")),
        }
    }
}

/// The names of jobs that are off.
pub(super) fn names_of(off: &[JobOff]) -> Vec<String> {
    off.iter().map(|off| off.spec.name.clone()).collect()
}

/// A line for each job that is off: why.
pub(super) fn why_off(off: &[JobOff]) -> Vec<String> {
    let line = |off: &JobOff| format!("{}: off; {}", off.spec.name, off.why);
    off.iter().map(line).collect()
}

/// A warning for each tenant whose meeting lists are not checked. Only the count in the daily
/// report shows that a list lacks meetings.
fn without_a_report(path: &Path, jobs: &[JobSpec]) -> Vec<Problem> {
    let of = |dataset: Dataset| {
        let jobs = jobs.iter().filter(move |job| job.dataset == dataset);
        let tenants = jobs.flat_map(|job| job.tenants.iter().map(String::as_str));
        tenants.collect::<BTreeSet<&str>>()
    };
    let unchecked = Dataset::ALL.into_iter().filter_map(|list| {
        let report = list.counted_by()?;
        let tenants = of(list)
            .difference(&of(report))
            .copied()
            .collect::<Vec<_>>();
        Some((list, report, tenants))
    });
    let warning = |list: Dataset, report: Dataset, tenant: &str| {
        let message = format!(
            "`{tenant}` has a {list} job and no {report} job: a list that wrongly lacks meetings, \
             or is empty, cannot be noticed; add one"
        );
        Problem::new(path, Position::START, message)
    };
    unchecked
        .flat_map(|(list, report, tenants)| {
            let warn = move |tenant| warning(list, report, tenant);
            tenants.into_iter().map(warn).collect::<Vec<_>>()
        })
        .collect()
}

impl JobReport {
    fn new(job: &JobSpec, now: Timestamp) -> Self {
        let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
            .expect("a loaded configuration has only schedules that fire");
        let firings: Vec<Timestamp> = schedule.after(now).take(FIRINGS).collect();
        Self {
            job: job.name.clone(),
            dataset: job.dataset.as_str(),
            tenants: job.tenants.clone(),
            cron: job.cron.clone(),
            time_zone: job.time_zone.iana_name().unwrap_or("UTC").to_owned(),
            window: format!("{}d", job.window_days),
            settle_delay: show_duration(job.settle_delay),
            lookback: format!("{}d", job.lookback_days),
            missed: job.missed.as_str(),
            snapshot: job.dataset.is_snapshot(),
            received: job.dataset.is_received(),
            jitter: show_duration(job.jitter),
            notes: notes(&schedule),
            next_clock_change: clock_change(&schedule, now),
            next_firings_utc: firings.clone(),
            next_firings: firings.iter().map(|at| schedule.local(*at)).collect(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let tenants = self.tenants.join(", ");
        writeln!(out, "{}: {} of {tenants}", self.job, self.dataset)?;
        match (self.snapshot, self.received) {
            (true, _) => writeln!(
                out,
                "  a snapshot of the day it fires on; a day that is missed is lost"
            )?,
            (_, true) => writeln!(
                out,
                "  what Feishu sends, published within minutes; a day is closed {} after its end",
                self.settle_delay
            )?,
            (false, false) => writeln!(
                out,
                "  windows of {}, settled after {}, looked back on for {}; missed windows: {}",
                self.window, self.settle_delay, self.lookback, self.missed
            )?,
        }
        let (cron, zone, jitter) = (&self.cron, &self.time_zone, &self.jitter);
        writeln!(out, "  fires {cron} ({zone}), jitter {jitter}")?;
        for (firing, utc) in self.next_firings.iter().zip(&self.next_firings_utc) {
            let (local, utc) = (
                firing.strftime("%a %Y-%m-%d %H:%M %:z"),
                utc.strftime("%Y-%m-%d %H:%M UTC"),
            );
            writeln!(out, "    {local}  =  {utc}")?;
        }
        if let Some(change) = &self.next_clock_change {
            change.print(out)?;
        }
        for note in &self.notes {
            writeln!(out, "  note: {note}")?;
        }
        writeln!(out)
    }
}

impl ClockChangeReport {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  {}", self.change)?;
        let (hours, minutes) = (self.day_minutes / 60, self.day_minutes % 60);
        let length = match minutes {
            0 => format!("{hours} hours"),
            minutes => format!("{hours} hours and {minutes} minutes"),
        };
        writeln!(
            out,
            "    the window of {} has {length}; {}",
            self.date, self.effect
        )?;
        if let Some((before, after)) = &self.moves_in_utc {
            writeln!(
                out,
                "    in UTC it fires at {before} before, at {after} afterwards"
            )?;
        }
        writeln!(out, "    rule: {}", self.rule)
    }
}

/// What the next change of clocks does; `None` if the clocks never change.
fn clock_change(schedule: &Schedule, now: Timestamp) -> Option<ClockChangeReport> {
    let change = schedule.next_clock_change(now)?;
    let at = change.at();
    // Two days away, a firing is outside the day of the change. Only a job that fires once a day
    // has one time before and one time after.
    let utc = |firing: Timestamp| firing.strftime("%H:%M").to_string();
    let around = |from: Timestamp| {
        let day: Vec<Timestamp> = schedule
            .after(from)
            .take_while(|firing| firing.duration_since(from) <= DAY)
            .collect();
        match day.as_slice() {
            [one] => Some(utc(*one)),
            _ => None,
        }
    };
    let moves_in_utc =
        around(at.checked_sub(DAY * 3).ok()?).zip(around(at.checked_add(DAY * 2).ok()?));
    Some(ClockChangeReport {
        at,
        change: change.to_string(),
        date: change.date(),
        day_minutes: change.day_length()?.as_mins(),
        effect: schedule.effect_of(&change),
        moves_in_utc,
        rule: schedule.clock_change_rule(),
    })
}

fn as_rfc_3339<S: Serializer>(firings: &[Zoned], serializer: S) -> Result<S::Ok, S::Error> {
    let texts = firings
        .iter()
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    serializer.collect_seq(texts)
}

/// What may be surprising about these firings.
fn notes(schedule: &Schedule) -> Vec<String> {
    let either = "day of month and day of week are both given: it fires on days that match either";
    let notes = schedule.days_are_alternatives().then(|| either.to_owned());
    notes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn validate(jobs: &[(&str, &str)], json: bool) -> (exit::Code, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let config = "version = 1\nlake.url = 'memory:///'\n[tenants.acme]\nhost = 'lark'\n\
                      time_zone = 'America/New_York'\napp_id = 'cli_1'\n\
                      app_secret = '${SECRET}'\n";
        fs::write(dir.path().join("meetlake.toml"), config).expect("written");
        fs::create_dir(dir.path().join("jobs")).expect("made");
        for (name, text) in jobs {
            let text = format!("version = 1\n{text}");
            fs::write(dir.path().join("jobs").join(name), text).expect("written");
        }
        let now = "2026-10-30T12:00:00Z".parse().expect("an instant");
        let environment = |name: &str| (name == "SECRET").then(|| "canary".to_owned());
        let mut out = Vec::new();
        let path = dir.path().join("meetlake.toml");
        let code =
            run(Args { json }, &path, &environment, now, &mut out).expect("a Vec takes everything");
        let text = String::from_utf8(out).expect("UTF-8");
        (
            code,
            text.replace(&format!("{}/", dir.path().display()), ""),
        )
    }

    #[test]
    fn a_valid_job_is_shown_with_its_next_firings_and_the_change_of_clocks() {
        let job = "dataset = 'meeting_list'\ncron = '30 1 * * *'\nsettle_delay = '90m'\n";
        let (code, text) = validate(&[("meetings.toml", job)], false);
        assert_eq!(code, exit::Code::Done, "{text}");
        insta::assert_snapshot!(text, @r#"
        warning: meetlake.toml:1:1: `acme` has a meeting_list job and no daily_report job: a list that wrongly lacks meetings, or is empty, cannot be noticed; add one
        meetings: meeting_list of acme
          windows of 1d, settled after 90m, looked back on for 3d; missed windows: all
          fires 30 1 * * * (America/New_York), jitter 0s
            Sat 2026-10-31 01:30 -04:00  =  2026-10-31 05:30 UTC
            Sun 2026-11-01 01:30 -04:00  =  2026-11-01 05:30 UTC
            Mon 2026-11-02 01:30 -05:00  =  2026-11-02 06:30 UTC
            Tue 2026-11-03 01:30 -05:00  =  2026-11-03 06:30 UTC
            Wed 2026-11-04 01:30 -05:00  =  2026-11-04 06:30 UTC
          clocks go from 2026-11-01 02:00 to 01:00 (offset -04 to -05)
            the window of 2026-11-01 has 25 hours; 01:30 comes twice and fires once, at 01:30 -04:00
            in UTC it fires at 05:30 before, at 06:30 afterwards
            rule: a fixed time that is skipped fires at the first instant after the gap, one that comes twice fires once

        meetlake.toml is valid: 1 job
        "#);
    }

    #[test]
    fn a_meeting_list_that_no_report_checks_is_warned_of() {
        let (list, report) = (
            "dataset = 'meeting_list'\ncron = '0 3 * * *'\n",
            "dataset = 'daily_report'\ncron = '0 3 * * *'\n",
        );
        let (code, text) = validate(&[("meetings.toml", list)], false);
        assert_eq!(code, exit::Code::Done, "{text}");
        let warning =
            "warning: meetlake.toml:1:1: `acme` has a meeting_list job and no daily_report job";
        assert!(text.starts_with(warning), "{text}");
        let (_, text) = validate(&[("meetings.toml", list), ("days.toml", report)], false);
        assert!(!text.contains("warning"), "{text}");
    }

    #[test]
    fn problems_are_listed_and_end_with_code_2() {
        let job = "dataset = 'meeting_list'\ncron = '0 0 31 2 *'\nlokback = '3d'\n";
        let (code, text) = validate(&[("meetings.toml", job)], false);
        assert_eq!(code, exit::Code::Usage);
        insta::assert_snapshot!(text, @r#"
        jobs/meetings.toml:3:8: `cron` `0 0 31 2 *` never fires: no date matches its day and month
        jobs/meetings.toml:4:1: unknown key `lokback`; did you mean `lookback`?
        meetlake.toml: 2 problems
        "#);
    }

    #[test]
    fn json_carries_the_same() {
        let job = "dataset = 'meeting_list'\ncron = '0 0 30 2 1'\n";
        let (_, text) = validate(&[("meetings.toml", job)], true);
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["valid"], true);
        assert_eq!(
            report["jobs"][0]["next_firings"].as_array().map(Vec::len),
            Some(5)
        );
        assert_eq!(
            report["jobs"][0]["next_firings"][0],
            "2027-02-01T00:00:00-05:00"
        );
        assert!(
            report["jobs"][0]["notes"][0]
                .as_str()
                .is_some_and(|note| note.contains("either"))
        );
        let (_, text) = validate(&[("meetings.toml", "dataset = 'meetings'\n")], true);
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["valid"], false);
        assert_eq!(report["problems"][0]["file"], "jobs/meetings.toml");
        assert_eq!(report["problems"][0]["line"], 1);
    }
}

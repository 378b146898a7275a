//! What a run shows while it works: a live line a dataset on a terminal, plain lines elsewhere, nothing with `--json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::civil::Date;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::dataset::Dataset;
use crate::pipeline::Ended;
use crate::run::Progress;

/// Plain output says how far it is this often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar a dataset, redrawn.
    Bars,
    /// A line now and then.
    Plain,
    /// Nothing.
    Silent,
}

impl Style {
    /// Bars on a terminal, plain lines elsewhere, nothing for machines.
    #[must_use]
    pub fn detect(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bars,
            (false, false) => Self::Plain,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    planned: u64,
    ended: u64,
    rows: u64,
    deferred: u64,
    troubled: u64,
    days: BTreeSet<Date>,
}

/// Starts showing; send [`Progress`] to the sender, drop it, then await the handle.
#[must_use]
pub fn start(style: Style) -> (UnboundedSender<Progress>, JoinHandle<()>) {
    let (sender, receiver) = unbounded_channel();
    let handle = tokio::spawn(show(style, receiver));
    (sender, handle)
}

async fn show(style: Style, mut receiver: UnboundedReceiver<Progress>) {
    let mut counts: BTreeMap<Dataset, Counts> = BTreeMap::new();
    let screen = MultiProgress::new();
    let mut bars: BTreeMap<Dataset, ProgressBar> = BTreeMap::new();
    let mut last_plain = Instant::now();
    while let Some(progress) = receiver.recv().await {
        if let Progress::Warning(text) = &progress {
            match style {
                Style::Bars => drop(screen.println(format!("warning: {text}"))),
                Style::Plain => eprintln!("warning: {text}"),
                Style::Silent => {}
            }
            continue;
        }
        let dataset = note(&mut counts, &progress);
        let Some(now) = counts.get(&dataset) else {
            continue;
        };
        match style {
            Style::Bars => draw(&screen, &mut bars, dataset, now),
            Style::Plain if last_plain.elapsed() >= PLAIN_EVERY => {
                last_plain = Instant::now();
                for (dataset, now) in &counts {
                    eprintln!("{dataset}: {}", line(now));
                }
            }
            Style::Plain | Style::Silent => {}
        }
    }
    for bar in bars.values() {
        bar.finish();
    }
    if style == Style::Plain {
        for (dataset, now) in &counts {
            eprintln!("{dataset}: {}", line(now));
        }
    }
}

fn note(counts: &mut BTreeMap<Dataset, Counts>, progress: &Progress) -> Dataset {
    match progress {
        Progress::Planned { dataset, tasks } => {
            counts.entry(*dataset).or_default().planned += tasks;
            *dataset
        }
        Progress::Ended { dataset, ended } => {
            let now = counts.entry(*dataset).or_default();
            match ended {
                Ended::Spooled { rows, .. } => {
                    now.ended += 1;
                    now.rows += rows;
                }
                Ended::Deferred { .. } => now.deferred += 1,
                Ended::Stopped => {}
                Ended::Quarantined { .. } | Ended::Failed { .. } | Ended::Refused { .. } => {
                    now.troubled += 1
                }
            }
            *dataset
        }
        Progress::Published { dataset, published } => {
            counts
                .entry(*dataset)
                .or_default()
                .days
                .insert(published.dt);
            *dataset
        }
        Progress::Warning(_) => Dataset::MeetingList,
    }
}

fn line(now: &Counts) -> String {
    let mut line = format!(
        "{}/{} exports, {} rows, {} days",
        now.ended,
        now.planned.max(now.ended),
        now.rows,
        now.days.len()
    );
    if now.deferred > 0 {
        let _ = write!(line, ", {} put off", now.deferred);
    }
    if now.troubled > 0 {
        let _ = write!(line, ", {} in trouble", now.troubled);
    }
    line
}

fn draw(
    screen: &MultiProgress,
    bars: &mut BTreeMap<Dataset, ProgressBar>,
    dataset: Dataset,
    now: &Counts,
) {
    let bar = bars.entry(dataset).or_insert_with(|| {
        let style = ProgressStyle::with_template("{prefix:26} {bar:24} {msg}")
            .expect("the template is a constant")
            .progress_chars("━╸─");
        let bar = screen.add(ProgressBar::new(0)).with_style(style);
        bar.set_prefix(dataset.to_string());
        bar
    });
    bar.set_length(now.planned.max(now.ended).max(1));
    bar.set_position(now.ended);
    bar.set_message(line(now));
}

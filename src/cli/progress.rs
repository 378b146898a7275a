//! What a run shows while it works: a live line a dataset on a terminal, plain lines elsewhere,
//! nothing with `--json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::civil::Date;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::datasets::Dataset;
use crate::events::{Event, EventKind, Events};
use crate::text::count;

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

/// Starts showing what happens; end the subscriptions of `events`, then await the handle.
#[must_use]
pub fn start(style: Style, events: &Events) -> JoinHandle<()> {
    tokio::spawn(show(style, events.subscribe()))
}

async fn show(style: Style, mut events: UnboundedReceiver<Event>) {
    let mut counts: BTreeMap<Dataset, Counts> = BTreeMap::new();
    let screen = MultiProgress::new();
    let mut bars: BTreeMap<Dataset, ProgressBar> = BTreeMap::new();
    let mut last_plain = Instant::now();
    while let Some(event) = events.recv().await {
        if event.kind.is_warning_of_run() {
            let text = event.message();
            match style {
                Style::Bars => drop(screen.println(format!("warning: {text}"))),
                Style::Plain => eprintln!("warning: {text}"),
                Style::Silent => {}
            }
            continue;
        }
        let Some(dataset) = event.subject.dataset else {
            continue;
        };
        if !is_counted(&event.kind) {
            continue;
        }
        let now = counts.entry(dataset).or_default();
        now.count(&event);
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

/// Whether progress shows an event.
const fn is_counted(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::TasksPlanned { .. }
            | EventKind::TaskSpooled { .. }
            | EventKind::TaskDeferred { .. }
            | EventKind::TaskQuarantined { .. }
            | EventKind::TaskFailed { .. }
            | EventKind::TaskHeld { .. }
            | EventKind::PartitionPublished { .. }
    )
}

impl Counts {
    fn count(&mut self, event: &Event) {
        match &event.kind {
            EventKind::TasksPlanned { tasks } => self.planned += tasks,
            EventKind::TaskSpooled { rows, .. } => {
                self.ended += 1;
                self.rows += rows;
            }
            EventKind::TaskDeferred { .. } => self.deferred += 1,
            EventKind::TaskQuarantined { .. }
            | EventKind::TaskFailed { .. }
            | EventKind::TaskHeld { .. } => self.troubled += 1,
            EventKind::PartitionPublished { .. } => self.days.extend(event.subject.dt),
            _ => {}
        }
    }
}

fn line(now: &Counts) -> String {
    let mut line = format!(
        "{}/{}, {}, {}",
        now.ended,
        count(now.planned.max(now.ended), "task"),
        count(now.rows, "row"),
        count(now.days.len() as u64, "day")
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

//! What happened, typed: the only source of progress and of the log of a run.
//!
//! Whoever does something says so with [`Events::emit`]. The event goes to the log, and to everyone
//! who subscribed with [`Events::subscribe`]: progress on a terminal (`cli/progress`) is the only
//! one so far; an alert would be the next. An event names its run, tenant, dataset, day, task,
//! export and Feishu's log id where they are known, and never a secret or a personal value.
//!
//! Every floor may tell what happened, so this stands below all of them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::cause::{Cause, Failure};
use crate::clock::Clock;
use crate::datasets::Dataset;
use crate::record::{MissingEnds, PartitionId, Reason, TaskRow, Unfinished, WindowRow};
use crate::task::{ExportId, TaskKey};
use crate::text::count;
use crate::window::Window;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// In which run: the instant at which it began.
    pub run: Timestamp,
    /// Whose data.
    pub tenant: Arc<str>,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub kind: EventKind,
}

/// What an event is about, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Which dataset.
    pub dataset: Option<Dataset>,
    /// Which civil date.
    pub dt: Option<Date>,
    /// Which range of data.
    pub window: Option<Window>,
    /// Which task.
    pub task_key: Option<TaskKey>,
    /// Which export task at Feishu.
    pub export_id: Option<ExportId>,
    /// Feishu's id of the call that failed.
    pub log_id: Option<String>,
}

impl From<Dataset> for Subject {
    fn from(dataset: Dataset) -> Self {
        Self {
            dataset: Some(dataset),
            ..Self::default()
        }
    }
}

impl From<&TaskRow> for Subject {
    fn from(task: &TaskRow) -> Self {
        Self {
            window: Some(task.spec.window),
            task_key: Some(task.spec.key.clone()),
            export_id: task.machine.export_id().cloned(),
            ..task.spec.dataset().into()
        }
    }
}

impl From<&WindowRow> for Subject {
    fn from(row: &WindowRow) -> Self {
        Self {
            window: Some(row.window),
            ..row.dataset.into()
        }
    }
}

impl From<&PartitionId> for Subject {
    fn from(id: &PartitionId) -> Self {
        Self {
            dt: Some(id.dt),
            ..id.dataset.into()
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A job's schedule fired.
    JobFired {
        /// The job.
        job: String,
        /// When it was to fire.
        firing: Timestamp,
    },
    /// A job fired while its tasks still run; the next firing covers this one.
    FiringSkipped {
        /// The job.
        job: String,
    },
    /// A window's tasks were planned.
    TasksPlanned {
        /// How many are new.
        tasks: u64,
    },
    /// Failed tasks get another round of attempts.
    FailedTasksRearmed {
        /// How many.
        tasks: u64,
    },
    /// Quarantined tasks of a window are tried again.
    QuarantineReopened {
        /// How many.
        tasks: u64,
    },
    /// A window was not exported while Feishu still had it.
    WindowLost,
    /// A window is not settled and will soon be older than Feishu keeps it.
    WindowNearlyLost {
        /// The job.
        job: String,
    },
    /// Calls were refused although we had not used up the quota.
    QuotaShared {
        /// The endpoint's name.
        endpoint: &'static str,
        /// How often.
        refusals: u32,
    },
    /// Windows of a backfill are not over and settled yet, and are left out.
    BackfillAhead {
        /// The job.
        job: String,
        /// The first of them.
        from: Timestamp,
    },
    /// Feishu gave an export a status that nobody knows; it is taken as still processing.
    UnknownExportStatus {
        /// The status.
        status: i64,
    },
    /// A workbook of an unusual shape was read by calamine.
    ReadByCalamine {
        /// What the fast reader does not know.
        why: String,
    },
    /// Something is to be told of the sheets or rows of a workbook, none of which was left out for
    /// it.
    WorkbookRemark {
        /// What it is.
        what: String,
        /// How many, or which.
        value: String,
    },
    /// A column has its header and no value in any row.
    BlankColumn {
        /// Name in the contract.
        column: String,
    },
    /// A task's rows are in the spool.
    TaskSpooled {
        /// How many.
        rows: u64,
        /// Cells that did not fit.
        rejects: u64,
    },
    /// A task is tried again later.
    TaskDeferred {
        /// Attempts so far.
        attempt: u32,
        /// Not before this instant.
        run_at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// A task's attempts are used up, or more would not help.
    TaskFailed {
        /// Attempts so far.
        attempts: u32,
        /// Why.
        failure: Failure,
    },
    /// A task's workbook is in quarantine.
    TaskQuarantined {
        /// Why.
        failure: Failure,
    },
    /// What was refused concerns more than this task.
    TaskHeld {
        /// Why.
        failure: Failure,
    },
    /// A dataset, or the whole run, begins nothing new because of what was refused. Told once.
    WorkRefused {
        /// Why.
        failure: Failure,
    },
    /// A task stands where it was when somebody asked to stop.
    TaskStopped,
    /// The spool lost something; the tasks are exported again.
    SpoolLost {
        /// How many.
        tasks: u64,
        /// What was lost.
        problem: String,
    },
    /// Something that the lake has could not be removed from the spool.
    SpoolNotCleaned {
        /// Why.
        problem: String,
    },
    /// A day cannot be all there is.
    DayImplausible {
        /// Why.
        reason: Reason,
    },
    /// Rows tell of something unfinished, and nobody asks for them any more.
    StaysUnfinished {
        /// Which.
        unfinished: Unfinished,
    },
    /// The list beside an export did not answer, so that both are not compared.
    NotCompared {
        /// Why.
        failure: Failure,
    },
    /// Rows of a day are left out, because the day is of the other source.
    OfOtherSource {
        /// Tasks that brought them.
        tasks: u64,
    },
    /// The manifest of a published revision is not the one that was published.
    ManifestUnknown {
        /// The revision.
        revision: u32,
    },
    /// A partition's object is gone or damaged; the day is made anew from the archived originals.
    ObjectDamaged {
        /// What is wrong.
        problem: String,
    },
    /// A partition was written, or found to be as it should.
    PartitionPublished {
        /// Its rows.
        rows: u64,
        /// Its length.
        size_bytes: u64,
        /// Whether nothing is missing of the day, and nothing speaks against it.
        complete: bool,
        /// Whether the content was the same as before, so that nothing was written.
        unchanged: bool,
    },
    /// Partitions could not be published.
    PublishFailed {
        /// Why.
        problem: String,
    },
    /// The lake took too long after a stop.
    PublishAbandoned,
    /// A server began.
    Serving {
        /// Where its page is.
        address: String,
    },
    /// A server was told to stop.
    Stopping,
    /// A terminal hung up, or somebody asked for a reload, which there is none of.
    HangUpIgnored,
    /// The work of a tenant broke off on this machine; it begins again from what was recorded.
    TenantBrokeOff {
        /// Why.
        problem: String,
        /// Seconds until then.
        again_in_s: u64,
    },
    /// Events come in.
    InletConnected,
    /// Events come in by calls.
    WebhookListens {
        /// Where.
        address: String,
    },
    /// No events come in for now.
    InletDisconnected {
        /// Why.
        problem: String,
        /// Seconds until the next try.
        again_in_s: u64,
    },
    /// Feishu refuses to send events, for a reason that somebody must mend.
    InletStopped {
        /// Why.
        problem: String,
        /// Seconds until the next try.
        again_in_s: u64,
    },
    /// An event could not be kept and was not acknowledged. Feishu sends it again.
    EventNotKept {
        /// Why.
        problem: String,
    },
    /// A message was not kept, and never will be.
    EventLeftOut {
        /// What it was.
        what: String,
        /// How often that has happened since the start.
        times: u64,
    },
    /// Events say that meetings began, and none that one ended.
    EndsMissing {
        /// Which.
        missing: MissingEnds,
    },
    /// The ledger could not be read for a page or a probe of the server.
    PageUnreadable {
        /// Why.
        problem: String,
    },
    /// Whoever connects has to wait.
    NobodyAccepted {
        /// Why, and what to do.
        problem: String,
    },
}

/// How loud an event is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Details.
    Debug,
    /// A step was taken.
    Info,
    /// Something is degraded and goes on.
    Warn,
    /// Somebody must act.
    Error,
}

impl EventKind {
    fn level(&self) -> Level {
        match self {
            Self::TaskSpooled { .. }
            | Self::TaskHeld { .. }
            | Self::TaskStopped
            | Self::BlankColumn { .. } => Level::Debug,
            // Nobody but this machine's owner can mend these.
            Self::TaskDeferred { failure, .. }
                if matches!(failure.cause, Cause::Local | Cause::SpoolLost) =>
            {
                Level::Warn
            }
            Self::JobFired { .. }
            | Self::TasksPlanned { .. }
            | Self::FailedTasksRearmed { .. }
            | Self::QuarantineReopened { .. }
            | Self::ReadByCalamine { .. }
            | Self::WorkbookRemark { .. }
            | Self::TaskDeferred { .. }
            | Self::Serving { .. }
            | Self::Stopping
            | Self::HangUpIgnored
            | Self::InletConnected
            | Self::WebhookListens { .. }
            | Self::OfOtherSource { .. }
            | Self::PartitionPublished { .. } => Level::Info,
            Self::FiringSkipped { .. }
            | Self::NotCompared { .. }
            | Self::WindowLost
            | Self::WindowNearlyLost { .. }
            | Self::QuotaShared { .. }
            | Self::BackfillAhead { .. }
            | Self::UnknownExportStatus { .. }
            | Self::SpoolLost { .. }
            | Self::SpoolNotCleaned { .. }
            | Self::DayImplausible { .. }
            | Self::StaysUnfinished { .. }
            | Self::ManifestUnknown { .. }
            | Self::ObjectDamaged { .. }
            | Self::WorkRefused { .. }
            | Self::InletDisconnected { .. }
            | Self::EventLeftOut { .. }
            | Self::EndsMissing { .. }
            | Self::PublishAbandoned => Level::Warn,
            Self::TaskFailed { .. }
            | Self::TaskQuarantined { .. }
            | Self::PublishFailed { .. }
            | Self::TenantBrokeOff { .. }
            | Self::InletStopped { .. }
            | Self::EventNotKept { .. }
            | Self::PageUnreadable { .. }
            | Self::NobodyAccepted { .. } => Level::Error,
        }
    }

    /// Whether a person who looks at the progress of a run should be told in words.
    #[must_use]
    pub const fn is_warning_of_run(&self) -> bool {
        matches!(
            self,
            Self::WindowNearlyLost { .. }
                | Self::QuotaShared { .. }
                | Self::BackfillAhead { .. }
                | Self::EndsMissing { .. }
                | Self::StaysUnfinished { .. }
                | Self::PublishAbandoned
        )
    }
}

impl Event {
    /// What happened, in a sentence; what it is about where the sentence needs it.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.kind {
            EventKind::JobFired { job, firing } => format!("job {job} fired at {firing}"),
            EventKind::FiringSkipped { job } => format!(
                "job {job} was still running when it fired again; this firing is left to the next"
            ),
            EventKind::TasksPlanned { tasks } => format!("{} planned", count(*tasks, "task")),
            EventKind::FailedTasksRearmed { tasks } => {
                format!(
                    "another round of attempts for {}",
                    count(*tasks, "failed task")
                )
            }
            EventKind::QuarantineReopened { tasks } => {
                format!("tried again: {}", count(*tasks, "quarantined task"))
            }
            EventKind::WindowLost => {
                let why = self.subject.dataset.map_or("", Dataset::why_lost);
                format!("lost: {why}")
            }
            EventKind::WindowNearlyLost { job } => {
                let window = self.subject.window.map(|window| window.to_string());
                let window = window.unwrap_or_default();
                format!(
                    "{job}: the window {window} is not settled and will soon be older than \
                     Feishu keeps it"
                )
            }
            EventKind::QuotaShared { endpoint, refusals } => format!(
                "{endpoint}: {refusals} calls were refused although we had not used up the limit; \
                 another program seems to use the same app. What it needs is left to it for a \
                 while; if it is always so, lower `share` in [limits]"
            ),
            EventKind::BackfillAhead { job, from } => format!(
                "{job}: windows from {from} on are not over and settled yet and are left out"
            ),
            EventKind::UnknownExportStatus { status } => {
                format!("unknown export status {status}, taken as still processing")
            }
            EventKind::ReadByCalamine { why } => format!("workbook read by calamine: {why}"),
            EventKind::WorkbookRemark { what, value } => format!("workbook: {what}: {value}"),
            EventKind::BlankColumn { column } => {
                format!("the column {column} is blank throughout")
            }
            EventKind::TaskSpooled { rows, rejects } => {
                let (rows, cells) = (count(*rows, "row"), count(*rejects, "cell"));
                format!("{rows} in the spool, {cells} did not fit")
            }
            EventKind::TaskDeferred {
                attempt, failure, ..
            } => format!("attempt {attempt} put off: {}", failure.message),
            EventKind::TaskFailed { attempts, failure } => {
                let attempts = count(u64::from(*attempts), "attempt");
                format!("failed after {attempts}: {}", failure.message)
            }
            EventKind::TaskQuarantined { failure }
            | EventKind::TaskHeld { failure }
            | EventKind::WorkRefused { failure } => failure.message.clone(),
            EventKind::TaskStopped => "stopped while it waited; it goes on from there".to_owned(),
            EventKind::SpoolLost { problem, .. } => problem.clone(),
            EventKind::SpoolNotCleaned { problem } => {
                format!("could not clean the spool: {problem}")
            }
            EventKind::DayImplausible { reason } => format!("the day is partial: {reason}"),
            EventKind::StaysUnfinished { unfinished } => unfinished.to_string(),
            EventKind::NotCompared { failure } => format!(
                "the export is not compared with the list: {}",
                failure.message
            ),
            EventKind::OfOtherSource { tasks } => format!(
                "rows of {} are left out: the day is of the other source, which has them",
                count(*tasks, "task")
            ),
            EventKind::ManifestUnknown { revision } => {
                format!("the manifest of revision {revision} is not the one that was published")
            }
            EventKind::ObjectDamaged { problem } => {
                format!("{problem}; the day is made anew from the archived originals")
            }
            EventKind::PartitionPublished {
                rows,
                complete,
                unchanged,
                ..
            } => {
                let verb = if *unchanged { "unchanged" } else { "published" };
                let state = if *complete { "complete" } else { "partial" };
                format!("partition {verb}: {}, {state}", count(*rows, "row"))
            }
            EventKind::PublishFailed { problem } => format!("could not publish: {problem}"),
            EventKind::PublishAbandoned => {
                "the lake took too long after the stop; the next run publishes what is left"
                    .to_owned()
            }
            EventKind::Serving { address } => format!("serving on {address}"),
            EventKind::Stopping => "stopping".to_owned(),
            EventKind::HangUpIgnored => {
                "a hang-up changes nothing; a changed configuration is taken up by a restart"
                    .to_owned()
            }
            EventKind::TenantBrokeOff {
                problem,
                again_in_s,
            } => format!("{problem}; the work begins again in {again_in_s} s"),
            EventKind::InletConnected => "events come in over the long connection".to_owned(),
            EventKind::WebhookListens { address } => {
                format!("events come in by calls of {address}")
            }
            EventKind::InletDisconnected {
                problem,
                again_in_s,
            } => format!("no events come in: {problem}; the next try is in {again_in_s} s"),
            EventKind::InletStopped {
                problem,
                again_in_s,
            } => format!("no events come in: {problem}. It is tried again in {again_in_s} s"),
            EventKind::EventNotKept { problem } => {
                format!("an event was not kept, and Feishu sends it again: {problem}")
            }
            EventKind::EventLeftOut { what, times } => format!("{what} (so far {times})"),
            EventKind::EndsMissing { missing } => missing.to_string(),
            EventKind::PageUnreadable { problem } => {
                format!("could not read the ledger for the status page: {problem}")
            }
            EventKind::NobodyAccepted { problem } => {
                format!("could not accept a connection: {problem}")
            }
        }
    }

    fn log(&self) {
        let facts = self.kind.facts();
        macro_rules! log_at {
            ($level:ident) => {
                tracing::$level!(
                    at = %self.at,
                    run.id = %self.run,
                    tenant = &*self.tenant,
                    dataset = self.subject.dataset.map(Dataset::as_str),
                    dt = self.subject.dt.map(tracing::field::display),
                    window = self.subject.window.map(tracing::field::display),
                    task.key = self.subject.task_key.as_ref().map(TaskKey::as_str),
                    export.id = self.subject.export_id.as_ref().map(|id| id.0.as_str()),
                    log.id = self.subject.log_id.as_deref(),
                    job = facts.job,
                    tasks = facts.tasks,
                    rows = facts.rows,
                    rejects = facts.rejects,
                    size_bytes = facts.size_bytes,
                    complete = facts.complete,
                    unchanged = facts.unchanged,
                    attempt = facts.attempt,
                    cause = facts.cause.map(Cause::as_str),
                    run_at = facts.run_at.map(tracing::field::display),
                    "{}",
                    self.message()
                )
            };
        }
        match self.kind.level() {
            Level::Debug => log_at!(debug),
            Level::Info => log_at!(info),
            Level::Warn => log_at!(warn),
            Level::Error => log_at!(error),
        }
    }
}

/// What an event's kind holds, as fields of the log.
#[derive(Default)]
struct Facts<'e> {
    job: Option<&'e str>,
    tasks: Option<u64>,
    rows: Option<u64>,
    rejects: Option<u64>,
    size_bytes: Option<u64>,
    complete: Option<bool>,
    unchanged: Option<bool>,
    attempt: Option<u32>,
    cause: Option<Cause>,
    run_at: Option<Timestamp>,
}

impl EventKind {
    fn facts(&self) -> Facts<'_> {
        let none = Facts::default();
        match self {
            Self::JobFired { job, .. }
            | Self::FiringSkipped { job }
            | Self::WindowNearlyLost { job }
            | Self::BackfillAhead { job, .. } => Facts {
                job: Some(job),
                ..none
            },
            Self::TasksPlanned { tasks }
            | Self::FailedTasksRearmed { tasks }
            | Self::QuarantineReopened { tasks }
            | Self::SpoolLost { tasks, .. } => Facts {
                tasks: Some(*tasks),
                ..none
            },
            Self::TaskSpooled { rows, rejects } => Facts {
                rows: Some(*rows),
                rejects: Some(*rejects),
                ..none
            },
            Self::TaskDeferred {
                attempt,
                run_at,
                failure,
            } => Facts {
                attempt: Some(*attempt),
                run_at: Some(*run_at),
                cause: Some(failure.cause),
                ..none
            },
            Self::TaskFailed { attempts, failure } => Facts {
                attempt: Some(*attempts),
                cause: Some(failure.cause),
                ..none
            },
            Self::TaskQuarantined { failure }
            | Self::TaskHeld { failure }
            | Self::WorkRefused { failure } => Facts {
                cause: Some(failure.cause),
                ..none
            },
            Self::StaysUnfinished { unfinished } => Facts {
                rows: Some(unfinished.rows),
                ..none
            },
            Self::PartitionPublished {
                rows,
                size_bytes,
                complete,
                unchanged,
            } => Facts {
                rows: Some(*rows),
                size_bytes: Some(*size_bytes),
                complete: Some(*complete),
                unchanged: Some(*unchanged),
                ..none
            },
            _ => none,
        }
    }
}

/// Where events are told. Clones share the run and the subscribers.
#[derive(Clone, Debug)]
pub struct Events {
    tenant: Arc<str>,
    clock: Clock,
    /// Microseconds since 1970.
    run: Arc<AtomicI64>,
    subscribers: Arc<Mutex<Vec<UnboundedSender<Event>>>>,
}

impl Events {
    /// Events that nobody subscribed to yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let run = AtomicI64::new(clock.now().as_microsecond());
        Self {
            tenant: "".into(),
            clock,
            run: Arc::new(run),
            subscribers: Arc::default(),
        }
    }

    /// The same events, told of one tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self {
            tenant: tenant.into(),
            ..self.clone()
        }
    }

    /// From now on events belong to the run that began at `at`.
    pub fn begin_run(&self, at: Timestamp) {
        self.run.store(at.as_microsecond(), Ordering::Relaxed);
    }

    /// Everything that happens from now on, until [`Events::unsubscribe_all`].
    #[must_use]
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        let (sender, receiver) = unbounded_channel();
        self.senders().push(sender);
        receiver
    }

    /// Ends all subscriptions, once what was told is read.
    pub fn unsubscribe_all(&self) {
        self.senders().clear();
    }

    /// Tells that something happened, and gives back what was told.
    pub fn emit(&self, subject: impl Into<Subject>, kind: EventKind) -> Event {
        let run = self.run.load(Ordering::Relaxed);
        let event = Event {
            at: self.clock.now(),
            run: Timestamp::from_microsecond(run).unwrap_or(Timestamp::UNIX_EPOCH),
            tenant: Arc::clone(&self.tenant),
            subject: subject.into(),
            kind,
        };
        event.log();
        self.senders()
            .retain(|subscriber| subscriber.send(event.clone()).is_ok());
        event
    }

    fn senders(&self) -> std::sync::MutexGuard<'_, Vec<UnboundedSender<Event>>> {
        self.subscribers
            .lock()
            .expect("nothing panics while it holds the subscribers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).expect("an instant")
    }

    #[tokio::test]
    async fn a_subscriber_hears_what_happened_to_whom_and_in_which_run() {
        let events = Events::new(Clock::manual(now()));
        let mut heard = events.subscribe();
        events.begin_run(Timestamp::UNIX_EPOCH);
        let planned = EventKind::TasksPlanned { tasks: 3 };
        events
            .of_tenant("acme")
            .emit(Dataset::MeetingList, planned.clone());
        let event = heard.recv().await.expect("an event");
        assert_eq!((event.at, event.run), (now(), Timestamp::UNIX_EPOCH));
        assert_eq!((&*event.tenant, event.kind), ("acme", planned));
        assert_eq!(event.subject, Dataset::MeetingList.into());
        events.unsubscribe_all();
        events.emit(Subject::default(), EventKind::PublishAbandoned);
        assert!(heard.recv().await.is_none());
    }

    #[test]
    fn whoever_stopped_listening_costs_nothing() {
        let events = Events::new(Clock::manual(now()));
        drop(events.subscribe());
        events.emit(Subject::default(), EventKind::WindowLost);
        assert!(events.senders().is_empty());
    }
}

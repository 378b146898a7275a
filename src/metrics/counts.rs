//! What happened since the start, counted from events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::families::{Family, labels, number};
use crate::datasets::Dataset;
use crate::events::{Event, EventKind};

/// Whose data, and which.
type TenantDataset = (Arc<str>, Option<Dataset>);

/// What happened since the start.
#[derive(Debug, Default)]
pub struct EventCounts {
    tasks: BTreeMap<(TenantDataset, &'static str), u64>,
    rows: BTreeMap<TenantDataset, u64>,
    rejects: BTreeMap<TenantDataset, u64>,
    partitions: BTreeMap<(TenantDataset, &'static str), u64>,
    publish_failures: BTreeMap<TenantDataset, u64>,
    inlets: BTreeMap<Arc<str>, bool>,
    events_left_out: BTreeMap<TenantDataset, u64>,
}

impl EventCounts {
    /// Counts an event.
    pub fn add(&mut self, event: &Event) {
        let place = || (Arc::clone(&event.tenant), event.subject.dataset);
        let mut task = |outcome| *self.tasks.entry((place(), outcome)).or_default() += 1;
        match &event.kind {
            EventKind::TaskSpooled { rows, rejects } => {
                task("spooled");
                *self.rows.entry(place()).or_default() += rows;
                *self.rejects.entry(place()).or_default() += rejects;
            }
            EventKind::TaskDeferred { .. } => task("deferred"),
            EventKind::TaskFailed { .. } => task("failed"),
            EventKind::TaskQuarantined { .. } => task("quarantined"),
            EventKind::TaskHeld { .. } => task("held"),
            EventKind::PartitionPublished { unchanged, .. } => {
                let result = if *unchanged { "unchanged" } else { "written" };
                *self.partitions.entry((place(), result)).or_default() += 1;
            }
            EventKind::PublishFailed { .. } => {
                *self.publish_failures.entry(place()).or_default() += 1;
            }
            EventKind::InletConnected => {
                self.inlets.insert(Arc::clone(&event.tenant), true);
            }
            EventKind::InletDisconnected { .. } | EventKind::InletStopped { .. } => {
                self.inlets.insert(Arc::clone(&event.tenant), false);
            }
            EventKind::EventLeftOut { .. } => {
                *self.events_left_out.entry(place()).or_default() += 1;
            }
            _ => {}
        }
    }

    /// They as families.
    pub fn families(&self) -> Vec<Family> {
        let mut tasks = Family::counter(
            "meetlake_task_attempts",
            "Attempts of tasks that ended, by what became of the task",
        );
        for ((place, outcome), times) in &self.tasks {
            let [tenant, dataset] = labels(&place.0, place.1);
            let outcome = ("outcome", (*outcome).to_owned());
            tasks.push([tenant, dataset, outcome], number(*times));
        }
        let mut partitions = Family::counter(
            "meetlake_partitions_published",
            "Partitions that were written, or found to have the same rows as before",
        );
        for ((place, result), times) in &self.partitions {
            let [tenant, dataset] = labels(&place.0, place.1);
            let result = ("result", (*result).to_owned());
            partitions.push([tenant, dataset, result], number(*times));
        }
        let mut inlets = Family::gauge(
            "meetlake_inlet_connected",
            "Whether events come in by the long connection",
        );
        for (tenant, is_connected) in &self.inlets {
            let connected = f64::from(u8::from(*is_connected));
            inlets.push([("tenant", tenant.to_string())], connected);
        }
        let by_place = |name, help, counts: &BTreeMap<TenantDataset, u64>| {
            let mut family = Family::counter(name, help);
            for (place, times) in counts {
                family.push(labels(&place.0, place.1), number(*times));
            }
            family
        };
        vec![
            tasks,
            by_place(
                "meetlake_rows_read",
                "Rows that came from originals",
                &self.rows,
            ),
            by_place(
                "meetlake_cells_rejected",
                "Cells that did not fit their column and were kept as text",
                &self.rejects,
            ),
            partitions,
            by_place(
                "meetlake_publish_failures",
                "Partitions that could not be published",
                &self.publish_failures,
            ),
            inlets,
            by_place(
                "meetlake_events_left_out",
                "Messages that were not kept, and never will be",
                &self.events_left_out,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::text;
    use super::*;
    use crate::cause::{Cause, Failure};
    use crate::clock::Clock;
    use crate::events::Events;

    #[test]
    fn what_happened_is_counted_by_tenant_and_dataset() {
        let events = Events::new(Clock::system()).of_tenant("acme");
        let failure = Failure::new(Cause::Retry, "down");
        let mut counts = EventCounts::default();
        for kind in [
            EventKind::TaskSpooled {
                rows: 5,
                rejects: 1,
            },
            EventKind::TaskSpooled {
                rows: 2,
                rejects: 0,
            },
            EventKind::TaskHeld { failure },
            EventKind::PartitionPublished {
                rows: 7,
                size_bytes: 9,
                complete: true,
                unchanged: false,
            },
            EventKind::WindowLost,
        ] {
            counts.add(&events.emit(Dataset::Room, kind));
        }
        let disconnected = EventKind::InletDisconnected {
            problem: String::new(),
            again_in_s: 1,
        };
        for kind in [EventKind::InletConnected, disconnected] {
            counts.add(&events.emit(crate::events::Subject::default(), kind));
        }
        let text = text(counts.families());
        let numbers: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of = r#"tenant="acme",dataset="room""#;
        assert_eq!(
            numbers,
            [
                &format!(r#"meetlake_task_attempts_total{{{of},outcome="held"}} 1.0"#),
                &format!(r#"meetlake_task_attempts_total{{{of},outcome="spooled"}} 2.0"#),
                &format!("meetlake_rows_read_total{{{of}}} 7.0"),
                &format!("meetlake_cells_rejected_total{{{of}}} 1.0"),
                &format!(r#"meetlake_partitions_published_total{{{of},result="written"}} 1.0"#),
                r#"meetlake_inlet_connected{tenant="acme"} 0.0"#,
            ]
        );
    }
}

//! The loop over an export task's life: ask the machine, journal the state, wait, perform, tell the
//! machine what happened.

use std::time::Duration;

use crate::clock::Clock;
use crate::ledger::{self, Ledger};
use crate::record::TaskRow;
use crate::task::machine::{Effect, ExportEvent, GaveUp, Machine, State, Step};

use super::effect::Performed;
use super::{Error, Fetcher};

/// Where states are recorded before their effects are performed. Another engine that drives the
/// same machine needs no more than this one method.
struct Journal<'a> {
    ledger: &'a Ledger,
    clock: &'a Clock,
    task: &'a TaskRow,
    recorded: State,
}

impl Journal<'_> {
    /// Records where the export stands, if that is news or a submit follows.
    async fn record(&mut self, step: &Step) -> Result<(), ledger::Error> {
        let is_late = planted!("planted-id-after-poll")
            && matches!(step.state, State::Submitted { polls: 0, .. });
        let submits = step.effect == Effect::Submit;
        if (step.state == self.recorded && !submits) || is_late {
            return Ok(());
        }
        let polled = matches!(step.state, State::Submitted { polls, .. } if polls > 0)
            || matches!(step.state, State::Ready { .. });
        self.ledger
            .advance(self.task, &step.state, submits, polled, self.clock.now())
            .await?;
        self.recorded = step.state.clone();
        if let Effect::Poll(_) = step.effect {
            crash_point!("w03-id-recorded");
        }
        Ok(())
    }
}

impl Fetcher {
    /// Drives an export task to its end.
    pub(super) async fn drive(&self, task: &TaskRow, deadline: Duration) -> Result<State, Error> {
        let first_poll = self.pace.first_poll(task.spec.dataset());
        let machine = Machine {
            first_poll,
            deadline,
        };
        let mut journal = Journal {
            ledger: &self.ledger,
            clock: &self.clock,
            task,
            recorded: task.machine.clone(),
        };
        let mut step =
            machine.step(task.machine.clone(), ExportEvent::Resumed, self.clock.now())?;
        let mut last = Performed::default();
        loop {
            journal.record(&step).await?;
            tokio::select! {
                () = self.clock.sleep_until(step.wake_at) => {}
                () = self.stop.cancelled() => return Err(Error::Stopped),
            }
            let event = match &step.effect {
                Effect::Decode => return Ok(step.state),
                Effect::GiveUp(why) => return Err(gave_up(step.state, *why, last, deadline)),
                effect => {
                    let performed = self.perform(task, effect, &step.state, first_poll).await?;
                    last.remember(performed)
                }
            };
            step = machine.step(step.state, event, self.clock.now())?;
        }
    }
}

fn gave_up(state: State, gave_up: GaveUp, last: Performed, deadline: Duration) -> Error {
    let message = match gave_up {
        GaveUp::DeadlinePassed => {
            format!("the export did not finish within {} s", deadline.as_secs())
        }
        _ => last.message,
    };
    Error::GaveUp {
        state: Box::new(state),
        gave_up,
        call: last.call,
        log_id: last.log_id,
        message,
    }
}

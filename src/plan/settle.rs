//! What state a window has, given what became of its tasks.

use crate::record::{Phase, PhaseCounts, WindowState};

/// How a planned window ended; `None` while a task of it is still to be exported or published.
#[must_use]
pub fn window_state(tasks: &PhaseCounts) -> Option<WindowState> {
    if tasks.has(Phase::Open) || tasks.has(Phase::Spooled) {
        return None;
    }
    match tasks.has(Phase::Failed) || tasks.has(Phase::Quarantined) {
        true => Some(WindowState::Stuck),
        false => Some(WindowState::Settled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_ended_when_no_task_is_open_or_waits_in_the_spool() {
        use Phase::*;
        use WindowState::{Settled, Stuck};
        let table: [(&[Phase], Option<WindowState>); 10] = [
            (&[], Some(Settled)),
            (&[Published], Some(Settled)),
            (&[Published, Withdrawn], Some(Settled)),
            (&[Withdrawn], Some(Settled)),
            (&[Failed], Some(Stuck)),
            (&[Published, Quarantined], Some(Stuck)),
            (&[Failed, Open], None),
            (&[Published, Spooled], None),
            (&[Open], None),
            (&[Spooled, Quarantined], None),
        ];
        for (phases, state) in table {
            let counts = phases.iter().copied().collect();
            assert_eq!(window_state(&counts), state, "{phases:?}");
        }
    }
}

//! Whose turn it is at one endpoint: of those that wait, the most urgent who came first, and each
//! tenth time the first of another class, so that no class waits for ever.

use std::collections::BTreeSet;

use crate::task::Urgency;

/// Of so many turns, one is of another class than the most urgent.
const TURNS: u64 = 10;

/// Somebody who waits: how urgent it is, and the number that was drawn.
pub(super) type Ticket = (Urgency, u64);

/// Those that wait for one endpoint. It does no I/O and reads no clock.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeSet<Ticket>,
    drawn: u64,
    given: u64,
}

impl Turns {
    /// Joins those that wait.
    pub(super) fn join(&mut self, urgency: Urgency) -> Ticket {
        self.drawn += 1;
        let ticket = (urgency, self.drawn);
        self.waiting.insert(ticket);
        ticket
    }

    /// Whether it is the ticket's turn.
    pub(super) fn is_next(&self, ticket: &Ticket) -> bool {
        self.next() == Some(ticket)
    }

    /// Takes the ticket's turn.
    pub(super) fn take(&mut self, ticket: &Ticket) {
        if self.waiting.remove(ticket) {
            self.given += 1;
        }
    }

    /// Leaves without having had a turn.
    pub(super) fn leave(&mut self, ticket: &Ticket) {
        self.waiting.remove(ticket);
    }

    fn next(&self) -> Option<&Ticket> {
        let first = self.waiting.first()?;
        if !(self.given + 1).is_multiple_of(TURNS) {
            return Some(first);
        }
        // Of all others, who came first.
        let others = self.waiting.iter().filter(|ticket| ticket.0 != first.0);
        others.min_by_key(|ticket| ticket.1).or(Some(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(turns: &mut Turns, count: usize) -> String {
        let mut given = String::new();
        for _ in 0..count {
            let Some(ticket) = turns.next().copied() else {
                break;
            };
            assert!(turns.is_next(&ticket));
            turns.take(&ticket);
            given.push(match ticket.0 {
                Urgency::Nightly => 'n',
                Urgency::Early | Urgency::Detail => 'd',
                Urgency::Backfill => 'b',
            });
        }
        given
    }

    #[test]
    fn the_most_urgent_go_first_and_each_tenth_turn_is_anothers() {
        let mut turns = Turns::default();
        for urgency in [Urgency::Backfill, Urgency::Detail, Urgency::Nightly] {
            for _ in 0..30 {
                turns.join(urgency);
            }
        }
        assert_eq!(given(&mut turns, 30), "nnnnnnnnnbnnnnnnnnnbnnnnnnnnnb");
        assert_eq!(given(&mut turns, 14), "nnnddddddbdddd");
    }

    #[test]
    fn within_a_class_who_came_first_goes_first_and_who_leaves_is_forgotten() {
        let mut turns = Turns::default();
        let tickets: Vec<Ticket> = (0..3).map(|_| turns.join(Urgency::Detail)).collect();
        assert!(turns.is_next(&tickets[0]) && !turns.is_next(&tickets[1]));
        turns.leave(&tickets[0]);
        turns.leave(&tickets[0]);
        assert!(turns.is_next(&tickets[1]));
        let urgent = turns.join(Urgency::Nightly);
        assert!(turns.is_next(&urgent));
        turns.take(&urgent);
        turns.take(&tickets[1]);
        assert!(turns.is_next(&tickets[2]));
    }
}

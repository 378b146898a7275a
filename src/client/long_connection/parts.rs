//! Joins the parts of an event that Feishu split over several frames (resources, 5.3.6).
//!
//! Everything is bounded, because whoever answers on the other side chooses the numbers: how many
//! parts, how many bytes, how many messages at a time, and how long the next part may take.

use std::collections::HashMap;
use std::time::Duration;

/// The most parts of one message.
const MOST_PARTS: usize = 1_000;
/// The most bytes of one message, and of all that are not whole yet.
const MOST_BYTES: usize = 8 << 20;
/// The most messages that are not whole yet.
const MOST_MESSAGES: usize = 64;
/// A message is given up when its next part takes longer than the longest that official clients
/// wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a part was not taken. Its message is forgotten; nobody acknowledges it, so it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// `sum` or `seq` is missing, is no number, or does not fit the other one.
    #[error("the number of the part makes no sense")]
    Number,
    /// Another part of the message said another number of parts.
    #[error("its parts do not agree on their number")]
    OtherSum,
    /// More parts, bytes or open messages than we keep.
    #[error("it is larger than what is kept")]
    TooLarge,
}

/// What is known of messages that are not whole yet.
#[derive(Debug, Default)]
pub struct PartBuffer {
    messages: HashMap<String, OpenMessage>,
    bytes: usize,
}

#[derive(Debug)]
struct OpenMessage {
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
    /// When its last part came.
    at: Duration,
}

impl PartBuffer {
    /// Takes a part: number `seq` from 0 of `sum`, of the message `id`, at `now`. Gives the message
    /// once all of its parts are there. A part that comes twice changes nothing.
    ///
    /// # Errors
    /// The part is not taken, and its message is forgotten.
    pub fn take(
        &mut self,
        id: &str,
        (sum, seq): (Option<&str>, Option<&str>),
        payload: Vec<u8>,
        now: Duration,
    ) -> Result<Option<Vec<u8>>, PartError> {
        self.forget_old(now);
        let taken = self.take_part(id, (sum, seq), payload, now);
        if taken.is_err() {
            self.forget(id);
        }
        taken
    }

    fn take_part(
        &mut self,
        id: &str,
        (sum, seq): (Option<&str>, Option<&str>),
        payload: Vec<u8>,
        now: Duration,
    ) -> Result<Option<Vec<u8>>, PartError> {
        // Without a number of parts it is whole, as an official client has it.
        let number = |text: Option<&str>, otherwise: usize| {
            text.map_or(Ok(otherwise), |text| text.parse::<usize>())
                .map_err(|_| PartError::Number)
        };
        let (sum, seq) = (number(sum, 1)?, number(seq, 0)?);
        if sum == 0 || seq >= sum {
            return Err(PartError::Number);
        }
        if sum > MOST_PARTS || payload.len() > MOST_BYTES {
            return Err(PartError::TooLarge);
        }
        if sum == 1 {
            self.forget(id);
            return Ok(Some(payload));
        }
        if !self.messages.contains_key(id) && self.messages.len() == MOST_MESSAGES {
            return Err(PartError::TooLarge);
        }
        let message = self
            .messages
            .entry(id.to_owned())
            .or_insert_with(|| OpenMessage {
                parts: vec![None; sum],
                missing: sum,
                bytes: 0,
                at: now,
            });
        if message.parts.len() != sum {
            return Err(PartError::OtherSum);
        }
        message.at = now;
        let part = &mut message.parts[seq];
        if part.is_none() {
            if self.bytes + payload.len() > MOST_BYTES {
                return Err(PartError::TooLarge);
            }
            self.bytes += payload.len();
            message.bytes += payload.len();
            message.missing -= 1;
            *part = Some(payload);
        }
        if message.missing > 0 {
            return Ok(None);
        }
        let whole = message.parts.iter().flatten().flatten().copied().collect();
        self.forget(id);
        Ok(Some(whole))
    }

    /// Forgets the messages whose next part did not come in time, and says how many those are.
    pub fn forget_old(&mut self, now: Duration) -> usize {
        let is_old = |message: &OpenMessage| now.saturating_sub(message.at) > PATIENCE;
        let old = self.messages.iter().filter(|(_, message)| is_old(message));
        let old: Vec<String> = old.map(|(id, _)| id.clone()).collect();
        for id in &old {
            self.forget(id);
        }
        old.len()
    }

    fn forget(&mut self, id: &str) {
        if let Some(message) = self.messages.remove(id) {
            self.bytes -= message.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::tests::{EVENT, P5_0, P5_1, frame};
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn take(
        buffer: &mut PartBuffer,
        id: &str,
        sum: &str,
        seq: &str,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, PartError> {
        buffer.take(id, (Some(sum), Some(seq)), payload.to_vec(), NOW)
    }

    #[test]
    fn the_vendors_two_parts_are_one_event_in_either_order() {
        for order in [[P5_0, P5_1], [P5_1, P5_0]] {
            let mut buffer = PartBuffer::default();
            let taken = order.map(|part| {
                let part = frame(part);
                let numbers = (part.header("sum"), part.header("seq"));
                let id = part.header("message_id").expect("an id");
                let payload = part.payload.clone().expect("a payload");
                buffer.take(id, numbers, payload, NOW).expect("taken")
            });
            assert_eq!(taken, [None, Some(EVENT.as_bytes().to_vec())]);
            assert_eq!((buffer.messages.len(), buffer.bytes), (0, 0));
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_and_their_message_forgotten() {
        for (sum, seq, error) in [
            ("0", "0", PartError::Number),
            ("2", "2", PartError::Number),
            ("-1", "0", PartError::Number),
            ("two", "0", PartError::Number),
            ("99999999999999999999", "0", PartError::Number),
            ("3", "1", PartError::OtherSum),
            ("1001", "1", PartError::TooLarge),
        ] {
            let mut buffer = PartBuffer::default();
            assert_eq!(take(&mut buffer, "m", "2", "0", b"a"), Ok(None));
            assert_eq!(take(&mut buffer, "m", sum, seq, b"b"), Err(error), "{sum}");
            assert_eq!((buffer.messages.len(), buffer.bytes), (0, 0), "{sum}");
        }
    }

    #[test]
    fn a_part_twice_is_one_part_and_an_empty_one_counts() {
        let mut buffer = PartBuffer::default();
        assert_eq!(take(&mut buffer, "m", "3", "2", b"c"), Ok(None));
        assert_eq!(take(&mut buffer, "m", "3", "2", b"x"), Ok(None));
        assert_eq!(take(&mut buffer, "m", "3", "1", b""), Ok(None));
        let whole = Some(b"ac".to_vec());
        assert_eq!(take(&mut buffer, "m", "3", "0", b"a"), Ok(whole));
        let without_numbers = buffer.take("n", (None, None), b"d".to_vec(), NOW);
        assert_eq!(without_numbers, Ok(Some(b"d".to_vec())));
    }

    #[test]
    fn neither_bytes_nor_messages_grow_without_bound() {
        let mut buffer = PartBuffer::default();
        let half = vec![0; MOST_BYTES / 2 + 1];
        assert_eq!(take(&mut buffer, "a", "2", "0", &half), Ok(None));
        let too_large = Err(PartError::TooLarge);
        assert_eq!(take(&mut buffer, "b", "2", "0", &half), too_large);
        assert_eq!(take(&mut buffer, "a", "2", "1", &half), too_large);
        assert_eq!((buffer.messages.len(), buffer.bytes), (0, 0));
        for number in 0..MOST_MESSAGES {
            let id = number.to_string();
            assert_eq!(take(&mut buffer, &id, "2", "0", b"a"), Ok(None));
        }
        assert_eq!(take(&mut buffer, "one more", "2", "0", b"a"), too_large);
        // What is open can still be ended.
        assert_eq!(
            take(&mut buffer, "7", "2", "1", b"b"),
            Ok(Some(b"ab".to_vec()))
        );
    }

    #[test]
    fn a_message_whose_next_part_does_not_come_is_given_up() {
        let mut buffer = PartBuffer::default();
        assert_eq!(take(&mut buffer, "m", "2", "0", b"a"), Ok(None));
        assert_eq!(buffer.forget_old(NOW + PATIENCE), 0);
        let late = NOW + PATIENCE + Duration::from_millis(1);
        let numbers = (Some("2"), Some("1"));
        assert_eq!(buffer.take("m", numbers, b"b".to_vec(), late), Ok(None));
        assert_eq!(buffer.messages.len(), 1, "it begins anew with this part");
    }

    proptest! {
        #[test]
        fn parts_in_any_order_are_the_message(
            message in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..7),
            order in any::<u64>(),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([message.len()]);
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let parts: Vec<&[u8]> = starts.zip(ends).map(|(a, b)| &message[a..b]).collect();
            let mut seqs: Vec<usize> = (0..parts.len()).collect();
            seqs.sort_by_key(|seq| (*seq as u64).wrapping_mul(order | 1).rotate_left(17));
            let mut buffer = PartBuffer::default();
            let sum = parts.len().to_string();
            let mut whole = Vec::new();
            for seq in seqs {
                let numbers = (Some(sum.as_str()), Some(seq.to_string()));
                let taken = buffer.take("m", (numbers.0, numbers.1.as_deref()), parts[seq].to_vec(), NOW);
                whole.extend(taken.expect("taken"));
            }
            prop_assert_eq!(whole, vec![message]);
        }
    }
}

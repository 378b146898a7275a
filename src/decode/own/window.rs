//! One part as text, inflated once through a window: what was not used up stays, the next bytes follow it.
//!
//! The window's size bounds the memory; CRC and size are checked at the end of the part. Knows nothing of markup.

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::directory::Part;
use super::{Known, Unknown};

/// A single row (or string) that needs more than this is left to the careful reader.
const MOST: usize = 4 << 20;

/// What is kept from part to part, and from file to file.
#[derive(Debug)]
pub(super) struct Buffers {
    inflate: Decompress,
    window: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            inflate: Decompress::new(false),
            window: Vec::new(),
        }
    }
}

/// The part that is being read.
#[derive(Debug)]
pub(super) struct Window<'b, 'a> {
    buffers: &'b mut Buffers,
    /// How many bytes of the buffer are used; grows when a unit does not fit.
    capacity: usize,
    filled: usize,
    /// How much of what is filled is whole characters.
    whole: usize,
    /// Compressed bytes still to be read.
    rest: &'a [u8],
    /// Inflated bytes still to come.
    left: u64,
    crc: Hasher,
    part: Part<'a>,
}

impl<'b, 'a> Window<'b, 'a> {
    /// Opens a part and fills the window of (at first) `size` bytes.
    pub(super) fn open(buffers: &'b mut Buffers, part: Part<'a>, size: usize) -> Known<Self> {
        buffers.inflate.reset(false);
        let mut window = Self {
            buffers,
            capacity: usize::try_from(part.size).map_or(size, |whole| whole.min(size)),
            filled: 0,
            whole: 0,
            rest: part.data,
            left: part.size,
            crc: Hasher::new(),
            part,
        };
        window.fill()?;
        Ok(window)
    }

    /// What is there and not used up; ends with a whole character.
    pub(super) fn text(&self) -> Known<&str> {
        simdutf8::basic::from_utf8(&self.buffers.window[..self.whole])
            .map_err(|_| Unknown("a part is not in UTF-8"))
    }

    /// The same bytes, whatever they mean.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffers.window[..self.filled]
    }

    /// Whether no more bytes come.
    pub(super) fn is_last(&self) -> bool {
        self.left == 0
    }

    /// Gives up the first `used` bytes of the text and fills the window again; it grows if nothing was used.
    pub(super) fn advance(&mut self, used: usize) -> Known<()> {
        if used == 0 {
            self.capacity *= 2;
            if self.capacity > MOST {
                return Err(Unknown("a row or a text is too long"));
            }
        }
        self.buffers.window.copy_within(used..self.filled, 0);
        self.filled -= used;
        self.fill()
    }

    /// Gives up what was used, if there was something; a scan that came to an end may have used nothing.
    pub(super) fn release(&mut self, used: usize) -> Known<()> {
        if used == 0 {
            Ok(())
        } else {
            self.advance(used)
        }
    }

    fn fill(&mut self) -> Known<()> {
        if self.buffers.window.len() < self.capacity {
            self.buffers.window.resize(self.capacity, 0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = self.capacity.min(self.filled.saturating_add(most));
        let start = self.filled;
        if self.part.is_deflated {
            self.inflate_to(end)?;
        } else {
            let (now, later) = self.rest.split_at(end - start);
            self.buffers.window[start..end].copy_from_slice(now);
            self.rest = later;
            self.filled = end;
        }
        self.crc.update(&self.buffers.window[start..end]);
        self.left -= (end - start) as u64;
        self.whole = if self.left == 0 {
            self.finish()?;
            self.filled
        } else {
            whole_characters(&self.buffers.window[..self.filled])
        };
        Ok(())
    }

    fn inflate_to(&mut self, end: usize) -> Known<()> {
        while self.filled < end {
            let Buffers { inflate, window } = &mut *self.buffers;
            let (was_in, was_out) = (inflate.total_in(), inflate.total_out());
            inflate
                .decompress(
                    self.rest,
                    &mut window[self.filled..end],
                    FlushDecompress::None,
                )
                .map_err(|_| Unknown("a part is damaged"))?;
            let used = usize::try_from(inflate.total_in() - was_in).unwrap_or(usize::MAX);
            let made = usize::try_from(inflate.total_out() - was_out).unwrap_or(usize::MAX);
            if made == 0 {
                return Err(Unknown("a part is damaged"));
            }
            self.rest = self.rest.get(used..).unwrap_or_default();
            self.filled += made;
        }
        Ok(())
    }

    /// All bytes are there: the stream must end here, with nothing behind it, and the sum be right.
    fn finish(&mut self) -> Known<()> {
        if self.part.is_deflated && !self.rest_is_only_the_end()? {
            return Err(Unknown("a part goes on behind its end"));
        }
        if !self.part.is_deflated && !self.rest.is_empty()
            || self.crc.clone().finalize() != self.part.crc && !planted!("planted-crc-ignored")
        {
            return Err(Unknown("a part is damaged"));
        }
        Ok(())
    }

    fn rest_is_only_the_end(&mut self) -> Known<bool> {
        let inflate = &mut self.buffers.inflate;
        let (was_in, was_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(self.rest, &mut [0], FlushDecompress::None)
            .map_err(|_| Unknown("a part is damaged"))?;
        let used = inflate.total_in() - was_in;
        Ok(status == Status::StreamEnd
            && inflate.total_out() == was_out
            && used == self.rest.len() as u64)
    }
}

/// Length of `bytes` without a character at the end that is cut.
fn whole_characters(bytes: &[u8]) -> usize {
    let lead = bytes.iter().rev().take(4).position(|b| b & 0xc0 != 0x80);
    let Some(behind) = lead else {
        // Four bytes that continue a character are no text; the check says so.
        return bytes.len();
    };
    let at = bytes.len() - behind - 1;
    let length = match bytes[at] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    };
    if at + length > bytes.len() {
        at
    } else {
        bytes.len()
    }
}

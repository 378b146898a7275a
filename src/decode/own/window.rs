//! One part as text, inflated once through a window: what was not used up stays, the next bytes follow it.
//!
//! ```text
//! pieces, inflated here or by a thread that is ahead ─► [ room │ piece ]   what is left of the piece before goes into the room
//! ```
//! The size of a piece bounds the memory; CRC and size are checked before the last piece is handed over. Knows nothing of markup.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Scope;

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::directory::Part;
use super::source::Input;
use super::{Known, Unknown};

/// A single row (or string) that needs more than this is left to the careful reader.
const MOST: usize = 4 << 20;
/// Pieces that may wait for the scanner.
const AHEAD: usize = 2;

/// How a part is cut into pieces, and who inflates them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    /// Inflated bytes of a piece.
    pub(super) size: usize,
    /// A part of this size or more is inflated by a thread of its own while it is scanned.
    pub(super) ahead_from: u64,
}

impl Pieces {
    /// Bytes in front of a piece; what is left of a piece is seldom more than a row.
    fn room(self) -> usize {
        self.size / 8
    }
}

/// What is kept from part to part, and from file to file.
#[derive(Debug)]
pub(super) struct Buffers {
    inflate: Decompress,
    /// The piece that is read.
    current: Vec<u8>,
    /// What the next one goes into.
    spare: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            inflate: Decompress::new(false),
            current: Vec::new(),
            spare: Vec::new(),
        }
    }
}

/// A piece behind its room.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    end: usize,
    is_last: bool,
}

/// Where pieces come from.
#[derive(Debug)]
enum Source<'a> {
    Here(Inflater<'a>),
    Ahead {
        pieces: Receiver<Known<Piece>>,
        used_up: Sender<Vec<u8>>,
    },
}

/// The part that is being read.
#[derive(Debug)]
pub(super) struct Window<'b, 'a> {
    buffers: &'b mut Buffers,
    source: Source<'a>,
    pieces: Pieces,
    /// Of what is not used up, in the current buffer.
    start: usize,
    end: usize,
    /// Where the whole characters end.
    whole: usize,
    is_last: bool,
}

impl<'b, 'a> Window<'b, 'a> {
    /// Opens a part and takes its first piece.
    pub(super) fn open<'scope>(
        buffers: &'b mut Buffers,
        part: Part<'a>,
        pieces: Pieces,
        scope: &'scope Scope<'scope, '_>,
    ) -> Known<Self>
    where
        'a: 'scope,
    {
        for kept in [&mut buffers.current, &mut buffers.spare] {
            if kept.capacity() > 4 * pieces.size {
                *kept = Vec::new();
            }
        }
        let inflater = Inflater::new(part);
        let source = if part.size < pieces.ahead_from {
            buffers.inflate.reset(false);
            Source::Here(inflater)
        } else {
            go_ahead(inflater, pieces, scope)
        };
        let mut window = Self {
            buffers,
            source,
            pieces,
            start: 0,
            end: 0,
            whole: 0,
            is_last: false,
        };
        window.advance(0)?;
        Ok(window)
    }

    /// What is there and not used up; ends with a whole character.
    pub(super) fn text(&self) -> Known<&str> {
        simdutf8::basic::from_utf8(&self.buffers.current[self.start..self.whole])
            .map_err(|_| Unknown("a part is not in UTF-8"))
    }

    /// The same bytes, whatever they mean.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffers.current[self.start..self.end]
    }

    /// Whether no more bytes come.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Gives up the first `used` bytes of the text and takes the next piece; if nothing was used, as many as double what is there.
    pub(super) fn advance(&mut self, used: usize) -> Known<()> {
        self.start += used;
        let left = self.end - self.start;
        let wanted = if used == 0 { 2 * left } else { left };
        if wanted > MOST {
            return Err(Unknown("a row or a text is too long"));
        }
        while !self.is_last {
            self.take_piece()?;
            if self.end - self.start >= wanted {
                break;
            }
        }
        let bytes = &self.buffers.current[self.start..self.end];
        self.whole = if self.is_last {
            self.end
        } else {
            self.start + whole_characters(bytes)
        };
        Ok(())
    }

    /// Gives up what was used, if there was something; a scan that came to an end may have used nothing.
    pub(super) fn release(&mut self, used: usize) -> Known<()> {
        if used == 0 {
            Ok(())
        } else {
            self.advance(used)
        }
    }

    fn take_piece(&mut self) -> Known<()> {
        let room = self.pieces.room();
        let mut piece = self.next_piece()?;
        let current = &mut self.buffers.current;
        let left = self.end - self.start;
        let unused = if left <= room {
            piece.bytes[room - left..room].copy_from_slice(&current[self.start..self.end]);
            (self.start, self.end) = (room - left, piece.end);
            std::mem::replace(current, piece.bytes)
        } else {
            let new = &piece.bytes[room..piece.end];
            current.copy_within(self.start..self.end, 0);
            current.truncate(left);
            current.extend_from_slice(new);
            (self.start, self.end) = (0, current.len());
            piece.bytes
        };
        self.is_last = piece.is_last;
        match &self.source {
            Source::Here(_) => self.buffers.spare = unused,
            // Who is ahead may have come to the end.
            Source::Ahead { used_up, .. } => drop(used_up.send(unused)),
        }
        Ok(())
    }

    fn next_piece(&mut self) -> Known<Piece> {
        match &mut self.source {
            Source::Here(inflater) => {
                let bytes = std::mem::take(&mut self.buffers.spare);
                inflater.next(&mut self.buffers.inflate, bytes, self.pieces)
            }
            Source::Ahead { pieces, .. } => {
                let piece = pieces.recv();
                piece.unwrap_or(Err(Unknown("a part could not be inflated")))
            }
        }
    }
}

/// Inflates the part in a thread of its own, a few pieces ahead of whoever takes them.
fn go_ahead<'scope, 'a: 'scope>(
    mut inflater: Inflater<'a>,
    pieces: Pieces,
    scope: &'scope Scope<'scope, '_>,
) -> Source<'a> {
    let (tell, told) = sync_channel(AHEAD);
    let (used_up, free) = channel::<Vec<u8>>();
    scope.spawn(move || {
        let mut inflate = Decompress::new(false);
        loop {
            let bytes = free.try_recv().unwrap_or_default();
            let piece = inflater.next(&mut inflate, bytes, pieces);
            let is_over = piece.as_ref().map_or(true, |piece| piece.is_last);
            // Who took them may have given up.
            if tell.send(piece).is_err() || is_over {
                break;
            }
        }
    });
    Source::Ahead {
        pieces: told,
        used_up,
    }
}

/// Inflates a part, piece by piece.
#[derive(Debug)]
struct Inflater<'a> {
    part: Part<'a>,
    input: Input<'a>,
    /// Inflated bytes still to come.
    left: u64,
    crc: Hasher,
}

impl<'a> Inflater<'a> {
    fn new(part: Part<'a>) -> Self {
        Self {
            part,
            input: Input::new(part.source, part.at, part.packed),
            left: part.size,
            crc: Hasher::new(),
        }
    }

    /// The next piece, in `bytes`.
    fn next(
        &mut self,
        inflate: &mut Decompress,
        mut bytes: Vec<u8>,
        pieces: Pieces,
    ) -> Known<Piece> {
        let (start, left) = (
            pieces.room(),
            usize::try_from(self.left).unwrap_or(usize::MAX),
        );
        let end = start + left.min(pieces.size);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if self.part.is_deflated {
            self.inflate(inflate, &mut bytes[start..end])?;
        } else {
            self.copy(&mut bytes[start..end])?;
        }
        self.crc.update(&bytes[start..end]);
        self.left -= (end - start) as u64;
        if self.left == 0 {
            self.finish(inflate)?;
        }
        Ok(Piece {
            bytes,
            end,
            is_last: self.left == 0,
        })
    }

    fn copy(&mut self, mut into: &mut [u8]) -> Known<()> {
        while !into.is_empty() {
            let input = self.input.next()?;
            let count = input.len().min(into.len());
            if count == 0 {
                return Err(DAMAGED);
            }
            let (now, later) = into.split_at_mut(count);
            now.copy_from_slice(&input[..count]);
            self.input.take(count);
            into = later;
        }
        Ok(())
    }

    fn inflate(&mut self, inflate: &mut Decompress, into: &mut [u8]) -> Known<()> {
        let mut filled = 0;
        while filled < into.len() {
            let (_, used, made) = self.step(inflate, &mut into[filled..])?;
            if (used, made) == (0, 0) {
                return Err(DAMAGED);
            }
            filled += made;
        }
        Ok(())
    }

    /// Inflates what comes next as far as it fits; says how it went, how much was read and how much was made.
    fn step(&mut self, inflate: &mut Decompress, into: &mut [u8]) -> Known<(Status, usize, usize)> {
        let (was_in, was_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(self.input.next()?, into, FlushDecompress::None)
            .map_err(|_| DAMAGED)?;
        let used = usize::try_from(inflate.total_in() - was_in).unwrap_or(usize::MAX);
        let made = usize::try_from(inflate.total_out() - was_out).unwrap_or(usize::MAX);
        self.input.take(used);
        Ok((status, used, made))
    }

    /// All bytes are there: the stream must end here, with nothing behind it, and the sum be right.
    fn finish(&mut self, inflate: &mut Decompress) -> Known<()> {
        if self.part.is_deflated && !self.rest_is_only_the_end(inflate)? {
            return Err(Unknown("a part goes on behind its end"));
        }
        if self.input.left() > 0 && !self.part.is_deflated
            || self.crc.clone().finalize() != self.part.crc && !planted!("planted-crc-ignored")
        {
            return Err(DAMAGED);
        }
        Ok(())
    }

    fn rest_is_only_the_end(&mut self, inflate: &mut Decompress) -> Known<bool> {
        loop {
            let (status, used, made) = self.step(inflate, &mut [0])?;
            if status == Status::StreamEnd || used == 0 || made > 0 {
                return Ok(status == Status::StreamEnd && made == 0 && self.input.left() == 0);
            }
        }
    }
}

const DAMAGED: Unknown = Unknown("a part is damaged");

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

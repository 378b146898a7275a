//! A window onto one part, which is inflated once. Unused bytes stay in the window, and the next
//! bytes follow them.
//!
//! ```text
//! pieces, inflated here or by another thread ─► [ room │ piece ]
//!                                               └─ the unused bytes of the piece before go here
//! ```
//! The size of a piece bounds the memory. CRC and size are checked before the last piece becomes
//! visible. Knows nothing of markup.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Scope;

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::directory::ZipPart;
use super::source::PartInput;
use super::{FastResult, Unsupported};

/// Most bytes that a single row or string may need. A longer one is left to the careful reader.
const MAX_UNUSED_BYTES: usize = 4 << 20;
/// Pieces that may wait in the channel for the scanner.
const PIECES_AHEAD: usize = 2;

/// How a part is cut into pieces, and which thread inflates them.
#[derive(Clone, Copy, Debug)]
pub(super) struct InflateOptions {
    /// Inflated size of a piece.
    pub(super) piece_bytes: usize,
    /// A part of this inflated size or more is inflated by a thread of its own while it is scanned.
    pub(super) ahead_from_bytes: u64,
}

impl InflateOptions {
    /// Free bytes in front of a piece, for the unused bytes of the piece before. Those are seldom
    /// more than a row.
    fn room_bytes(self) -> usize {
        self.piece_bytes / 8
    }
}

/// Memory that is reused from part to part and from file to file.
#[derive(Debug)]
pub(super) struct Buffers {
    inflate: Decompress,
    /// Holds the piece that is being read.
    current: Vec<u8>,
    /// Takes the next piece.
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

/// A piece, and the free room in front of it.
#[derive(Debug)]
struct InflatedPiece {
    bytes: Vec<u8>,
    end: usize,
    is_last: bool,
}

/// Where the pieces of a part come from.
#[derive(Debug)]
enum PieceSource<'a> {
    Here(Inflater<'a>),
    Ahead {
        pieces: Receiver<FastResult<InflatedPiece>>,
        used_up: Sender<Vec<u8>>,
    },
}

/// The window onto the part that is being read.
#[derive(Debug)]
pub(super) struct PartWindow<'b, 'a> {
    buffers: &'b mut Buffers,
    source: PieceSource<'a>,
    options: InflateOptions,
    /// Where the unused bytes begin in the current buffer.
    start: usize,
    end: usize,
    /// Where the last complete character ends.
    whole: usize,
    is_last: bool,
}

impl<'b, 'a> PartWindow<'b, 'a> {
    /// Opens a part and takes its first piece.
    pub(super) fn open<'scope>(
        buffers: &'b mut Buffers,
        part: ZipPart<'a>,
        options: InflateOptions,
        scope: &'scope Scope<'scope, '_>,
    ) -> FastResult<Self>
    where
        'a: 'scope,
    {
        for kept in [&mut buffers.current, &mut buffers.spare] {
            if kept.capacity() > 4 * options.piece_bytes {
                *kept = Vec::new();
            }
        }
        let inflater = Inflater::new(part);
        let source = if part.size < options.ahead_from_bytes {
            buffers.inflate.reset(false);
            PieceSource::Here(inflater)
        } else {
            inflate_ahead(inflater, options, scope)
        };
        let mut window = Self {
            buffers,
            source,
            options,
            start: 0,
            end: 0,
            whole: 0,
            is_last: false,
        };
        window.advance(0)?;
        Ok(window)
    }

    /// The unused bytes as text, up to the last complete character.
    pub(super) fn text(&self) -> FastResult<&str> {
        simdutf8::basic::from_utf8(&self.buffers.current[self.start..self.whole])
            .map_err(|_| Unsupported("a part is not in UTF-8"))
    }

    /// The unused bytes, whatever they mean.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffers.current[self.start..self.end]
    }

    /// Whether the window holds the end of the part.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Drops the first `used` bytes of the text and takes the next piece. If nothing was used,
    /// takes pieces until the window has doubled.
    pub(super) fn advance(&mut self, used: usize) -> FastResult<()> {
        self.start += used;
        let left = self.end - self.start;
        let wanted = if used == 0 { 2 * left } else { left };
        if wanted > MAX_UNUSED_BYTES {
            return Err(Unsupported("a row or a text is too long"));
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

    /// Like [`Self::advance`], but does nothing if nothing was used, which can happen at the end of
    /// a scan.
    pub(super) fn release(&mut self, used: usize) -> FastResult<()> {
        if used == 0 {
            Ok(())
        } else {
            self.advance(used)
        }
    }

    fn take_piece(&mut self) -> FastResult<()> {
        let room = self.options.room_bytes();
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
            PieceSource::Here(_) => self.buffers.spare = unused,
            // The other thread may already have ended.
            PieceSource::Ahead { used_up, .. } => drop(used_up.send(unused)),
        }
        Ok(())
    }

    fn next_piece(&mut self) -> FastResult<InflatedPiece> {
        match &mut self.source {
            PieceSource::Here(inflater) => {
                let bytes = std::mem::take(&mut self.buffers.spare);
                inflater.next(&mut self.buffers.inflate, bytes, self.options)
            }
            PieceSource::Ahead { pieces, .. } => {
                let piece = pieces.recv();
                piece.unwrap_or(Err(Unsupported("a part could not be inflated")))
            }
        }
    }
}

/// Inflates the part in a thread of its own, a few pieces ahead of the scanner.
fn inflate_ahead<'scope, 'a: 'scope>(
    mut inflater: Inflater<'a>,
    options: InflateOptions,
    scope: &'scope Scope<'scope, '_>,
) -> PieceSource<'a> {
    let (send_piece, pieces) = sync_channel(PIECES_AHEAD);
    let (used_up, free) = channel::<Vec<u8>>();
    scope.spawn(move || {
        let mut inflate = Decompress::new(false);
        loop {
            let bytes = free.try_recv().unwrap_or_default();
            let piece = inflater.next(&mut inflate, bytes, options);
            let is_over = piece.as_ref().map_or(true, |piece| piece.is_last);
            // The receiver may have given up.
            if send_piece.send(piece).is_err() || is_over {
                break;
            }
        }
    });
    PieceSource::Ahead { pieces, used_up }
}

/// Inflates a part, piece by piece.
#[derive(Debug)]
struct Inflater<'a> {
    part: ZipPart<'a>,
    input: PartInput<'a>,
    /// Inflated bytes that are still to come.
    left: u64,
    crc: Hasher,
}

impl<'a> Inflater<'a> {
    fn new(part: ZipPart<'a>) -> Self {
        Self {
            part,
            input: PartInput::new(part.source, part.at, part.packed),
            left: part.size,
            crc: Hasher::new(),
        }
    }

    /// The next piece. Its memory is `bytes`.
    fn next(
        &mut self,
        inflate: &mut Decompress,
        mut bytes: Vec<u8>,
        options: InflateOptions,
    ) -> FastResult<InflatedPiece> {
        let (start, left) = (
            options.room_bytes(),
            usize::try_from(self.left).unwrap_or(usize::MAX),
        );
        let end = start + left.min(options.piece_bytes);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if self.part.is_deflated {
            self.inflate(inflate, &mut bytes[start..end])?;
        } else {
            self.copy_stored(&mut bytes[start..end])?;
        }
        self.crc.update(&bytes[start..end]);
        self.left -= (end - start) as u64;
        if self.left == 0 {
            self.finish(inflate)?;
        }
        Ok(InflatedPiece {
            bytes,
            end,
            is_last: self.left == 0,
        })
    }

    fn copy_stored(&mut self, mut into: &mut [u8]) -> FastResult<()> {
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

    fn inflate(&mut self, inflate: &mut Decompress, into: &mut [u8]) -> FastResult<()> {
        let mut filled = 0;
        while filled < into.len() {
            let (_, used, made) = self.inflate_step(inflate, &mut into[filled..])?;
            if (used, made) == (0, 0) {
                return Err(DAMAGED);
            }
            filled += made;
        }
        Ok(())
    }

    /// Inflates the next bytes, as far as they fit into `into`. Returns the status, the bytes read
    /// and the bytes written.
    fn inflate_step(
        &mut self,
        inflate: &mut Decompress,
        into: &mut [u8],
    ) -> FastResult<(Status, usize, usize)> {
        let (was_in, was_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(self.input.next()?, into, FlushDecompress::None)
            .map_err(|_| DAMAGED)?;
        let used = usize::try_from(inflate.total_in() - was_in).unwrap_or(usize::MAX);
        let made = usize::try_from(inflate.total_out() - was_out).unwrap_or(usize::MAX);
        self.input.take(used);
        Ok((status, used, made))
    }

    /// Checks the part when all its bytes are there: the stream must end here, nothing may follow
    /// it, and the CRC must be right.
    fn finish(&mut self, inflate: &mut Decompress) -> FastResult<()> {
        if self.part.is_deflated && !self.stream_ends_here(inflate)? {
            return Err(Unsupported("a part goes on behind its end"));
        }
        if self.input.left() > 0 && !self.part.is_deflated
            || self.crc.clone().finalize() != self.part.crc && !planted!("planted-crc-ignored")
        {
            return Err(DAMAGED);
        }
        Ok(())
    }

    fn stream_ends_here(&mut self, inflate: &mut Decompress) -> FastResult<bool> {
        loop {
            let (status, used, made) = self.inflate_step(inflate, &mut [0])?;
            if status == Status::StreamEnd || used == 0 || made > 0 {
                return Ok(status == Status::StreamEnd && made == 0 && self.input.left() == 0);
            }
        }
    }
}

const DAMAGED: Unsupported = Unsupported("a part is damaged");

/// Length of `bytes` without an incomplete character at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let lead = bytes.iter().rev().take(4).position(|b| b & 0xc0 != 0x80);
    let Some(behind) = lead else {
        // Four continuation bytes in a row are not UTF-8. The check of the text says so.
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

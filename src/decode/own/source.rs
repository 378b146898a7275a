//! The bytes of a workbook: in memory, or in a file. Of a file only what is needed is read, piece
//! by piece.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{FastResult, Unsupported};

/// Bytes of a file that are read at once: so many that reading costs next to nothing beside
/// inflating, and few enough for a cache. Tests use a small number, so that everything gets cut
/// somewhere.
const PIECE: usize = if cfg!(test) { 53 } else { 128 << 10 };

/// Where the bytes of a workbook are.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) enum WorkbookBytes<'a> {
    /// For tests and fuzzing.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code))]
    Memory(&'a [u8]),
    /// A file and its length.
    File(&'a File, usize),
}

impl<'a> WorkbookBytes<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(_, length) => length,
        }
    }

    /// All bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(in crate::decode) fn read_all(self) -> io::Result<Cow<'a, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(file, length) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, 0)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The `length` bytes from `at` on, or fewer if the source ends before.
    pub(super) fn bytes(self, at: usize, length: usize) -> FastResult<Cow<'a, [u8]>> {
        let end = at.saturating_add(length).min(self.len());
        let start = at.min(end);
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(&bytes[start..end])),
            Self::File(file, _) => {
                let mut bytes = vec![0; end - start];
                read(file, start, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// Reads from a file. The error has no details: the careful reader reads the whole file and reports
/// them.
fn read(file: &File, at: usize, bytes: &mut [u8]) -> FastResult<()> {
    file.read_exact_at(bytes, at as u64)
        .map_err(|_| Unsupported("the file could not be read"))
}

/// The bytes of one part as they are in the zip, one after another.
#[derive(Debug)]
pub(super) struct PartInput<'a> {
    source: WorkbookBytes<'a>,
    /// Position of the first unused byte.
    at: usize,
    end: usize,
    /// The last bytes that were read from a file.
    piece: Vec<u8>,
    /// How many bytes of `piece` were used.
    used: usize,
}

impl<'a> PartInput<'a> {
    /// The `length` bytes from `at` on, which must exist.
    pub(super) fn new(source: WorkbookBytes<'a>, at: usize, length: usize) -> Self {
        Self {
            source,
            at,
            end: at + length,
            piece: Vec::new(),
            used: 0,
        }
    }

    /// Number of unused bytes.
    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    /// The next unused bytes: at least one, unless none are left.
    pub(super) fn next(&mut self) -> FastResult<&[u8]> {
        match self.source {
            WorkbookBytes::Memory(bytes) => Ok(&bytes[self.at..self.end]),
            WorkbookBytes::File(file, _) => {
                if self.used == self.piece.len() {
                    self.piece.resize(self.left().min(PIECE), 0);
                    self.used = 0;
                    read(file, self.at, &mut self.piece)?;
                }
                Ok(&self.piece[self.used..])
            }
        }
    }

    /// Marks `count` bytes of those that [`Self::next`] returned as used.
    pub(super) fn take(&mut self, count: usize) {
        self.at += count;
        self.used += count;
    }
}

//! The bytes of a workbook: in memory, or in a file of which only what is needed is read, piece by piece.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{Known, Unknown};

/// Bytes of a file that are in memory at once: enough that reading costs nothing beside inflating, and few enough for a cache. Tests cut
/// everything.
const PIECE: usize = if cfg!(test) { 53 } else { 128 << 10 };

/// Where the bytes are.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) enum Source<'a> {
    Memory(&'a [u8]),
    /// A file and its length.
    File(&'a File, usize),
}

impl<'a> Source<'a> {
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
    pub(in crate::decode) fn whole(self) -> io::Result<Cow<'a, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(file, length) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, 0)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The `length` bytes from `at` on, or those that there are.
    pub(super) fn bytes(self, at: usize, length: usize) -> Known<Cow<'a, [u8]>> {
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

/// Reading it whole says what is wrong.
fn read(file: &File, at: usize, bytes: &mut [u8]) -> Known<()> {
    file.read_exact_at(bytes, at as u64)
        .map_err(|_| Unknown("the file could not be read"))
}

/// Bytes of a source, one after another.
#[derive(Debug)]
pub(super) struct Input<'a> {
    source: Source<'a>,
    /// Of the first byte that was not used.
    at: usize,
    end: usize,
    /// The bytes from `at` on that were read from a file.
    piece: Vec<u8>,
    /// Of them, those that were used.
    used: usize,
}

impl<'a> Input<'a> {
    /// The `length` bytes from `at` on, which must be there.
    pub(super) fn new(source: Source<'a>, at: usize, length: usize) -> Self {
        Self {
            source,
            at,
            end: at + length,
            piece: Vec::new(),
            used: 0,
        }
    }

    /// Bytes that were not used yet.
    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    /// The next of them: some, unless none are left.
    pub(super) fn next(&mut self) -> Known<&[u8]> {
        match self.source {
            Source::Memory(bytes) => Ok(&bytes[self.at..self.end]),
            Source::File(file, _) => {
                if self.used == self.piece.len() {
                    self.piece.resize(self.left().min(PIECE), 0);
                    self.used = 0;
                    read(file, self.at, &mut self.piece)?;
                }
                Ok(&self.piece[self.used..])
            }
        }
    }

    /// Gives up `count` of the bytes that came last.
    pub(super) fn take(&mut self, count: usize) {
        self.at += count;
        self.used += count;
    }
}

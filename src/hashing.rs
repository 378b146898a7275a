//! SHA-256 of bytes that pass by.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use crate::task::hex;

/// Passes bytes on to a writer, and counts and hashes them on the way.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
    size_bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Nothing has passed yet.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size_bytes: 0,
        }
    }

    /// Flushes the writer, and gives the number of bytes and their SHA-256 in hex digits.
    ///
    /// # Errors
    /// If the writer cannot be flushed.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        self.inner.flush()?;
        Ok((self.size_bytes, hex(&self.hash.finalize())))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Number and SHA-256, in hex digits, of all bytes that are left to read.
///
/// # Errors
/// If they cannot be read.
pub fn hash_of(mut bytes: impl Read) -> io::Result<(u64, String)> {
    let mut hash = HashingWriter::new(io::sink());
    io::copy(&mut bytes, &mut hash)?;
    hash.finish()
}

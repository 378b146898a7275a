//! The original of a listing: a zip of its page bodies, stored without compression, in the order in
//! which they were asked for.
//!
//! `unzip` gives the bodies back byte for byte. The same bodies give the same zip, so that two
//! listings with the same answers have the same hash.

use std::io::{Cursor, Read as _, Seek, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

/// Writes page bodies.
#[derive(Debug)]
pub struct PagesWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
    pages: usize,
}

impl<W: Write + Seek> PagesWriter<W> {
    /// An original without pages.
    pub fn new(out: W) -> Self {
        Self {
            zip: ZipWriter::new(out),
            pages: 0,
        }
    }

    /// Adds the next page.
    ///
    /// # Errors
    /// Those of the output.
    pub fn add(&mut self, body: &[u8]) -> std::io::Result<()> {
        let options = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Stored)
            .system(zip::System::Unix)
            .last_modified_time(DateTime::DEFAULT);
        self.zip.start_file(name_of(self.pages), options)?;
        self.pages += 1;
        self.zip.write_all(body)
    }

    /// Ends the original and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> std::io::Result<W> {
        Ok(self.zip.finish()?)
    }
}

/// `000001.json` is the first page.
fn name_of(index: usize) -> String {
    format!("{:06}.json", index + 1)
}

/// Reads page bodies, one at a time.
#[derive(Debug)]
pub struct PageArchive<'o> {
    zip: ZipArchive<Cursor<&'o [u8]>>,
}

impl<'o> PageArchive<'o> {
    /// The pages of an original.
    ///
    /// # Errors
    /// It is no such zip.
    pub fn open(original: &'o [u8]) -> Result<Self, ZipError> {
        let zip = ZipArchive::new(Cursor::new(original))?;
        Ok(Self { zip })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.zip.len()
    }

    /// A page's body.
    ///
    /// # Errors
    /// There is no such page, it is compressed, or its checksum is wrong.
    pub fn body(&mut self, index: usize) -> Result<Vec<u8>, ZipError> {
        let mut page = self.zip.by_name(&name_of(index))?;
        if page.compression() != CompressionMethod::Stored {
            return Err(ZipError::InvalidArchive("a page is compressed".into()));
        }
        let mut body = Vec::new();
        page.read_to_end(&mut body)?;
        Ok(body)
    }
}

/// The last page of a batch of events: when each of the pages before it was received.
#[must_use]
pub fn received_page(received_at: impl Iterator<Item = Timestamp>) -> Vec<u8> {
    let received_at = received_at.map(|at| at.to_string()).collect();
    let page = ReceivedPage { received_at };
    serde_json::to_vec(&page).expect("texts")
}

/// Reads such a page.
///
/// # Errors
/// It is none.
pub fn received_times(page: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    serde_json::from_slice::<ReceivedPage>(page).map(|page| page.received_at)
}

#[derive(Deserialize, Serialize)]
struct ReceivedPage {
    received_at: Vec<String>,
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn written(bodies: &[&[u8]]) -> Vec<u8> {
        let mut writer = PagesWriter::new(Cursor::new(Vec::new()));
        for body in bodies {
            writer.add(body).expect("memory takes it");
        }
        writer.finish().expect("memory takes it").into_inner()
    }

    #[test]
    fn bodies_come_back_byte_for_byte_and_the_zip_is_the_same_every_time() {
        let bodies: [&[u8]; 3] = [b"{\"a\": 1.50}\n", b"", "\u{feff}{}".as_bytes()];
        let original = written(&bodies);
        assert_eq!(original, written(&bodies));
        // Pinned: with another hash the same answers would be archived twice.
        let sha256 = crate::task::hex(&Sha256::digest(&original));
        assert_eq!(
            sha256,
            "bdf852672c3198ecccf09e0dfaa3b565220c5086ab66ee3c8dcd5e0b64888c2d"
        );
        let mut pages = PageArchive::open(&original).expect("a zip");
        assert_eq!(pages.len(), 3);
        for (index, body) in bodies.iter().enumerate() {
            assert_eq!(pages.body(index).expect("a page"), *body);
        }
        assert!(pages.body(3).is_err());
    }

    #[test]
    fn what_is_damaged_or_compressed_is_refused() {
        let mut original = written(&[b"a page of text"]);
        let at = original.windows(4).position(|w| w == b"page").expect("it");
        original[at] = b'P';
        let mut pages = PageArchive::open(&original).expect("a zip");
        assert!(pages.body(0).is_err(), "its checksum");

        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("000001.json", SimpleFileOptions::DEFAULT)
            .expect("a file");
        zip.write_all(&[0; 1 << 20]).expect("memory takes it");
        let bomb = zip.finish().expect("memory takes it").into_inner();
        assert!(PageArchive::open(&bomb).expect("a zip").body(0).is_err());
        assert!(PageArchive::open(b"no zip").is_err());
    }
}

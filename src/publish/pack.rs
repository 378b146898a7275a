//! Packs originals into stored zips named by their content, and reads them back.
//!
//! Workbooks are compressed already and often tiny, so the originals of a round go into a few large
//! objects. A pack is a pure function of its originals: entries sorted by hash, a fixed time, no
//! compression. Packing the same originals again gives the same object.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::Error;
use crate::task::hex;

/// Size at which a pack is closed, bytes. There are few objects, and each still fits into memory
/// and one PUT.
pub(super) const PACK_BYTES: u64 = 64 * 1024 * 1024;

/// A pack read back.
#[derive(Debug)]
pub struct Pack {
    name: String,
    archive: ZipArchive<Cursor<Bytes>>,
}

impl Pack {
    /// Opens the bytes of the pack whose name is `sha256`.
    ///
    /// # Errors
    /// If the bytes have another hash, or are not a zip.
    pub fn open(sha256: &str, bytes: Bytes) -> Result<Self, Error> {
        let name = format!("pack {sha256}");
        if hex(&Sha256::digest(&bytes)) != sha256 {
            return Err(damaged(&name, "its content is not what its name says"));
        }
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| damaged(&name, &error.to_string()))?;
        Ok(Self { name, archive })
    }

    /// SHA-256 of the originals inside, sorted.
    #[cfg(test)]
    pub fn originals(&self) -> Vec<String> {
        let names = self.archive.file_names();
        let mut hashes: Vec<String> = names
            .filter_map(|name| Some(name.ok()?.split_once('.')?.0.to_owned()))
            .collect();
        hashes.sort();
        hashes
    }

    /// The untouched bytes of an original.
    ///
    /// # Errors
    /// If the pack does not hold it, or its bytes have another hash.
    pub fn original(&mut self, sha256: &str) -> Result<Bytes, Error> {
        let found = ["xlsx", "json"].into_iter().find_map(|extension| {
            self.archive
                .index_for_name(&format!("{sha256}.{extension}"))
        });
        let Some(index) = found else {
            return Err(damaged(&self.name, &format!("it does not hold {sha256}")));
        };
        let bytes = read_entry(&mut self.archive, index)
            .map_err(|error| damaged(&self.name, &error.to_string()))?;
        if hex(&Sha256::digest(&bytes)) != sha256 {
            return Err(damaged(&self.name, &format!("{sha256} has other content")));
        }
        Ok(bytes.into())
    }
}

fn read_entry(archive: &mut ZipArchive<Cursor<Bytes>>, index: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.by_index(index)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What an original is, by its first bytes: `xlsx` for a zip, else `json`.
pub(super) fn extension(original: &[u8]) -> &'static str {
    if original.starts_with(b"PK") {
        "xlsx"
    } else {
        "json"
    }
}

/// Cuts originals (hash and size in bytes) into groups of about `limit` bytes at most. The same
/// originals give the same groups.
pub(super) fn groups(mut originals: Vec<(String, u64)>, limit: u64) -> Vec<Vec<String>> {
    originals.sort();
    originals.dedup();
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut size = 0;
    for (sha256, size_bytes) in originals {
        match groups.last_mut() {
            Some(group) if size + size_bytes <= limit => {
                group.push(sha256);
                size += size_bytes;
            }
            _ => {
                groups.push(vec![sha256]);
                size = size_bytes;
            }
        }
    }
    groups
}

/// The pack of these originals (hash and bytes, sorted by hash) and its name, the SHA-256 of its
/// bytes.
pub(super) fn build(originals: &[(String, Bytes)]) -> Result<(String, Bytes), Error> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |error: &dyn std::fmt::Display| damaged("the pack", &error.to_string());
    for (sha256, bytes) in originals {
        let name = format!("{sha256}.{}", extension(bytes));
        let large = bytes.len() as u64 >= u64::from(u32::MAX);
        zip.start_file(name, options.large_file(large))
            .map_err(|error| failed(&error))?;
        zip.write_all(bytes).map_err(|error| failed(&error))?;
    }
    let bytes = zip.finish().map_err(|error| failed(&error))?.into_inner();
    Ok((hex(&Sha256::digest(&bytes)), bytes.into()))
}

fn damaged(path: &str, problem: &str) -> Error {
    Error::Record {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(bytes: &'static [u8]) -> (String, Bytes) {
        (hex(&Sha256::digest(bytes)), Bytes::from_static(bytes))
    }

    #[test]
    fn originals_come_back_untouched_and_the_name_is_fixed() {
        let mut originals = vec![original(b"PK a workbook"), original(b"{}"), original(b"")];
        originals.sort();
        let (name, bytes) = build(&originals).expect("a pack");
        // Pinned: the same originals must give the same pack with every version of the zip crate.
        assert_eq!(
            name,
            "cca53f20d109a475ca651da77a130886a5ff520fa28aea29bd3f8780799dfcf4"
        );
        let mut pack = Pack::open(&name, bytes.clone()).expect("open");
        assert_eq!(pack.originals().len(), 3);
        for (sha256, content) in &originals {
            assert_eq!(pack.original(sha256).expect("it"), content);
        }
        assert!(pack.original("00").is_err());
        let mut torn = bytes.to_vec();
        torn[40] ^= 1;
        assert!(Pack::open(&name, torn.into()).is_err());
    }

    #[test]
    fn groups_are_bounded_and_do_not_depend_on_the_order() {
        let mut originals: Vec<_> = (0..10).map(|n| (format!("{n}"), 30)).collect();
        let cut = groups(originals.clone(), 100);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        originals.reverse();
        assert_eq!(groups(originals, 100), cut);
        assert_eq!(groups(vec![("a".into(), 1_000)], 100), [["a"]]);
        assert!(groups(vec![], 100).is_empty());
    }
}

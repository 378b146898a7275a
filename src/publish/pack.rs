//! Packs originals into stored zips named by their content, and reads them back.
//!
//! Workbooks are compressed already and often tiny, so the originals of a day go into a few large
//! objects. Beside them lies what each answers: its tasks' requests and what their rows get from
//! them. A pack is a pure function of both: entries sorted by hash, a fixed time, no compression.
//! Packing the same originals again gives the same object.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use object_store::path::Path as LakePath;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{Error, blocking};
use crate::datasets::Dataset;
use crate::hashing::{HashingWriter, hash_of};
use crate::record::ArchivedTask;
use crate::spool::{Spool, SpooledOriginal, TempFile};
use crate::store::Lake;
use crate::task::{TaskKey, TaskOwner};

/// Bytes that are copied at once.
const COPY_BYTES: usize = 64 << 10;

/// Size at which a pack is closed, bytes. There are few objects, and each still fits into memory
/// and one PUT.
pub(super) const PACK_BYTES: u64 = 64 * 1024 * 1024;

/// The entry with the tasks that the originals answer: a line of JSON each, by task key.
const TASKS: &str = "tasks.jsonl";
/// What an original's name may end in.
const EXTENSIONS: [&str; 3] = ["xlsx", "json", "zip"];

/// A pack read back.
#[derive(Debug)]
pub struct Pack {
    name: String,
    archive: ZipArchive<BufReader<File>>,
    /// The copy that is read.
    file: TempFile,
    /// By the task key that is written in it. A pack of format 1 has none.
    tasks: BTreeMap<TaskKey, ArchivedTask>,
    /// The written keys by those that the lake's present key gives, once somebody needs them.
    renamed: OnceLock<BTreeMap<TaskKey, TaskKey>>,
    /// The originals that tasks name, once somebody needs them.
    answered: OnceLock<HashSet<String>>,
}

impl Pack {
    /// Copies the pack whose name is `sha256` from the lake and opens it; `None` if it is gone.
    ///
    /// # Errors
    /// If the lake cannot be read, or the pack is damaged.
    pub async fn fetch(
        lake: &Lake,
        path: &LakePath,
        sha256: &str,
        scratch: &Spool,
    ) -> Result<Option<Self>, Error> {
        let file = scratch.temp_file();
        let Some(found) = lake.download(path, file.path()).await? else {
            return Ok(None);
        };
        let name = format!("pack {sha256}");
        if found.sha256 != sha256 {
            return Err(damaged(&name, "its content is not what its name says"));
        }
        blocking(move || Self::open(name, file).map(Some)).await
    }

    fn open(name: String, file: TempFile) -> Result<Self, Error> {
        let opened = File::open(file.path()).map_err(Error::local("open", file.path()))?;
        let broken = |error: io::Error| not_read(error, &name, file.path());
        let archive = ZipArchive::new(BufReader::new(opened));
        let mut archive = archive.map_err(|error| broken(error.into()))?;
        let mut tasks = BTreeMap::new();
        if archive.index_for_name(TASKS).is_some() {
            let entry = archive.by_name(TASKS);
            let lines = BufReader::new(entry.map_err(|error| broken(error.into()))?);
            for line in lines.lines() {
                let task: ArchivedTask = serde_json::from_str(&line.map_err(broken)?)
                    // Its own words may quote what stands there.
                    .map_err(|_| damaged(&name, &format!("{TASKS} cannot be read")))?;
                tasks.insert(task.task_key.clone(), task);
            }
        }
        Ok(Self {
            name,
            archive,
            file,
            tasks,
            renamed: OnceLock::new(),
            answered: OnceLock::new(),
        })
    }

    /// The task of an original under the key that the lake had when the pack was made, or under the
    /// key that it has now.
    ///
    /// # Errors
    /// If the pack does not hold it.
    pub fn task(&self, key: &TaskKey, owner: TaskOwner<'_>) -> Result<&ArchivedTask, Error> {
        let rename = |task: &ArchivedTask| {
            let now = TaskKey::new(owner, &task.request);
            (now, task.task_key.clone())
        };
        let renamed = || self.tasks.values().map(rename).collect();
        let known = self.tasks.get(key);
        let found = known.or_else(|| self.tasks.get(self.renamed.get_or_init(renamed).get(key)?));
        found.ok_or_else(|| damaged(&self.name, &format!("it does not hold task {key}")))
    }

    /// SHA-256 of the originals inside, sorted.
    #[cfg(test)]
    pub fn originals(&self) -> Vec<String> {
        let names = self.archive.file_names().filter_map(Result::ok);
        let mut hashes: Vec<String> = names
            .filter(|name| *name != TASKS)
            .filter_map(|name| Some(name.split_once('.')?.0.to_owned()))
            .collect();
        hashes.sort();
        hashes
    }

    /// Copies the untouched bytes of an original to the file `to`, and gives their number.
    ///
    /// # Errors
    /// If the pack does not hold it, its bytes have another hash, or the file cannot be written.
    pub fn extract(&mut self, sha256: &str, to: &Path) -> Result<u64, Error> {
        let file = File::create(to).map_err(Error::local("make", to))?;
        self.copy(sha256, file, to)
    }

    /// Whether the pack holds the original, with the bytes that its name says, the task that it
    /// answers, and what that was compared with.
    ///
    /// # Errors
    /// As [`Pack::extract`].
    pub fn check(&mut self, sha256: &str) -> Result<(), Error> {
        let all = || self.tasks.values().map(|task| task.source_sha256.clone());
        if !self
            .answered
            .get_or_init(|| all().collect())
            .contains(sha256)
        {
            let problem = format!("it does not say what {sha256} answers");
            return Err(damaged(&self.name, &problem));
        }
        let of_original = self.tasks.values();
        let of_original = of_original.filter(|task| task.source_sha256 == sha256);
        let witnesses = of_original.filter_map(|task| task.witness_sha256().map(str::to_owned));
        let witnesses: Vec<String> = witnesses.collect();
        for sha256 in witnesses.iter().map(String::as_str).chain([sha256]) {
            self.copy(sha256, io::sink(), Path::new(""))?;
        }
        Ok(())
    }

    fn copy(&mut self, sha256: &str, out: impl io::Write, to: &Path) -> Result<u64, Error> {
        let found = EXTENSIONS.into_iter().find_map(|extension| {
            self.archive
                .index_for_name(&format!("{sha256}.{extension}"))
        });
        let Some(index) = found else {
            return Err(damaged(&self.name, &format!("it does not hold {sha256}")));
        };
        let broken = |error: io::Error| not_read(error, &self.name, self.file.path());
        let entry = self.archive.by_index(index);
        let mut entry = entry.map_err(|error| broken(error.into()))?;
        let mut copy = HashingWriter::new(out);
        copy_all(&mut entry, &mut copy, broken, Error::local("write", to))?;
        let (size_bytes, found) = copy.finish().map_err(Error::local("write", to))?;
        if found != sha256 {
            return Err(damaged(&self.name, &format!("{sha256} has other content")));
        }
        Ok(size_bytes)
    }
}

/// Cuts originals (hash, and size in bytes with all that goes with it) into groups of about `limit`
/// bytes at most. The same originals give the same groups.
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

/// Writes the pack of these originals to a new file, and gives its name, the SHA-256 of its bytes.
/// `originals` are sorted by hash, `tasks` by key. One original is open at a time, and is copied
/// piece by piece.
///
/// # Errors
/// If an original cannot be read, or the file not be written.
pub(super) fn build(
    dataset: Dataset,
    originals: impl IntoIterator<Item = Result<(String, SpooledOriginal), Error>>,
    tasks: &[ArchivedTask],
    to: &Path,
) -> Result<String, Error> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let file = File::create_new(to).map_err(Error::local("make", to))?;
    let mut zip = ZipWriter::new(BufWriter::with_capacity(COPY_BYTES, file));
    let not_written = |error: ZipError| Error::local("write", to)(error.into());
    for original in originals {
        let (sha256, mut original) = original?;
        let from = original.path.as_path();
        // Tasks with the same bytes asked the same source.
        let task = tasks.iter().find(|task| task.source_sha256 == sha256);
        let is_witness = |task: &ArchivedTask| task.witness_sha256() == Some(sha256.as_str());
        let list = dataset.definition().query;
        let source = match task {
            Some(task) => task.request.source(),
            None => list
                .filter(|_| tasks.iter().any(is_witness))
                .unwrap_or(dataset.own_source()),
        };
        let name = format!("{sha256}.{}", source.original_extension());
        let large = original.size_bytes >= u64::from(u32::MAX);
        zip.start_file(name, options.large_file(large))
            .map_err(not_written)?;
        let not_read = Error::local("read", from);
        copy_all(
            &mut original.file,
            &mut zip,
            not_read,
            Error::local("write", to),
        )?;
    }
    zip.start_file(TASKS, options).map_err(not_written)?;
    for task in tasks {
        let mut line = serde_json::to_vec(task).expect("a task is plain strings and numbers");
        line.push(b'\n');
        zip.write_all(&line).map_err(Error::local("write", to))?;
    }
    let file = zip.finish().map_err(not_written)?;
    drop(
        file.into_inner()
            .map_err(|error| Error::local("write", to)(error.into_error()))?,
    );
    let written = File::open(to).and_then(hash_of);
    Ok(written.map_err(Error::local("read", to))?.1)
}

/// Copies all bytes, and tells a failure to read from one to write.
fn copy_all(
    from: &mut impl Read,
    to: &mut impl io::Write,
    not_read: impl FnOnce(io::Error) -> Error,
    not_written: impl FnOnce(io::Error) -> Error,
) -> Result<(), Error> {
    let mut bytes = vec![0; COPY_BYTES];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(not_read(error)),
        };
        if let Err(error) = to.write_all(&bytes[..count]) {
            return Err(not_written(error));
        }
    }
}

/// Why a pack cannot be read from its copy: the system's failure, or its bytes.
fn not_read(error: io::Error, name: &str, copy: &Path) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::local("read", copy)(error),
        None => damaged(name, &error.to_string()),
    }
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

    #[test]
    fn originals_come_back_untouched_and_the_name_is_fixed() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("a spool");
        let contents: [&[u8]; 3] = [b"PK a workbook", b"{}", b""];
        let mut originals = contents.map(|content| {
            let sha256 = spool.put_original(content).expect("put");
            let original = spool.open_original(&sha256).expect("read").expect("it");
            (sha256, original)
        });
        originals.sort_by(|a, b| a.0.cmp(&b.0));
        let hashes = originals.each_ref().map(|(sha256, _)| sha256.clone());
        let file = spool.temp_file();
        let dataset = Dataset::MeetingList;
        let name = build(dataset, originals.map(Ok), &[], file.path()).expect("a pack");
        // Pinned: the same originals must give the same pack with every version of the zip crate.
        assert_eq!(
            name,
            "2c81e4d8147ba18cf0cbc24400f7e532b5ea095da151b87a4c9bda4a40dfe3be"
        );
        let bytes = std::fs::read(file.path()).expect("read");
        let mut pack = Pack::open(name.clone(), file).expect("open");
        assert_eq!(pack.originals().len(), 3);
        let copy = folder.path().join("copy");
        for sha256 in &hashes {
            let size_bytes = pack.extract(sha256, &copy).expect("it");
            let original = spool.read_original(sha256).expect("read").expect("it");
            assert_eq!(std::fs::read(&copy).expect("read"), original);
            assert_eq!(size_bytes, original.len() as u64);
        }
        assert!(pack.extract("00", &copy).is_err());
        // Of a torn original the checksum is wrong; of one under another's name, the hash.
        let mut torn = bytes.clone();
        let at = bytes
            .windows(4)
            .position(|four| four == b"PK a")
            .expect("it");
        torn[at + 3] ^= 1;
        let file = spool.temp_file();
        std::fs::write(file.path(), torn).expect("written");
        let mut pack = Pack::open(name.clone(), file).expect("open");
        let said: Vec<_> = hashes
            .iter()
            .map(|hash| pack.extract(hash, &copy))
            .collect();
        assert_eq!(said.iter().filter(|said| said.is_err()).count(), 1);
        let file = spool.temp_file();
        std::fs::write(file.path(), &bytes[..bytes.len() / 2]).expect("written");
        assert!(Pack::open(name.clone(), file).is_err());
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

//! Task results waiting beside the ledger to be published: the untouched original, and the typed
//! rows of each date.
//!
//! ```text
//! <folder>/originals/<sha256>         workbooks, JSON bodies and zips of pages, named by content
//! <folder>/rows/<task key>-g<generation>/<dt>.<sha256>.arrow
//!                                     one Arrow IPC file for each date that the task has rows for
//! <folder>/tmp/…                      downloads and files under construction
//! ```
//! Everything appears by a rename, so a killed process leaves no half file under a final name.
//! Nothing is fsynced: after a power cut a file may be torn or gone. Its hash shows that, it is
//! reported as missing, and its task is exported again. A lost spool costs no more than that. The
//! spool does not know which tasks exist or what is published; the ledger does.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use bytes::Bytes;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use crate::disk;
use crate::pages::PagesWriter;
use crate::record::PassedRows;
use crate::task::{TaskKey, hex};

/// The folder of waiting results; clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
}

/// A spool that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space is left for the spool.
    #[error(
        "no space left for {}{}: free some there, or move the spool to a larger disk, then run \
         again",
        path.display(),
        disk::free_space(path)
    )]
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("could not {action} {}{}", path.display(), disk::advice(source, path))]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Rows that cannot be written as Arrow IPC; a defect of the batch.
    #[error("could not encode the rows of task {task}")]
    Encode {
        /// Whose rows.
        task: TaskKey,
        /// What the writer said.
        #[source]
        source: arrow::error::ArrowError,
    },
}

/// A new file in the spool's temporary folder, removed when dropped unless it was adopted.
#[derive(Debug)]
pub struct TempFile {
    path: PathBuf,
}

impl TempFile {
    /// Where the file is, or is to be written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Already renamed, or never written: both are fine. `clean` removes what is left behind.
        let _ = fs::remove_file(&self.path);
    }
}

/// Pages on their way into an original.
#[derive(Debug)]
pub struct SpoolingPages {
    spool: Spool,
    pages: PagesWriter<File>,
    temp: TempFile,
}

impl SpoolingPages {
    /// Adds the next page.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, body: &[u8]) -> Result<(), Error> {
        let added = self.pages.add(body);
        added.map_err(failed("write the original", self.temp.path()))
    }

    /// Keeps the original, and gives its SHA-256 and its size in bytes.
    ///
    /// # Errors
    /// If it cannot be written to its end.
    pub fn keep(self) -> Result<(String, u64), Error> {
        let (sha256, size_bytes) =
            finish_and_hash(self.pages).map_err(failed("write the original", self.temp.path()))?;
        self.spool.adopt(self.temp, &sha256)?;
        Ok((sha256, size_bytes))
    }
}

fn finish_and_hash(pages: PagesWriter<File>) -> io::Result<(String, u64)> {
    let mut file = pages.finish()?;
    file.rewind()?;
    let mut hash = Sha256::new();
    let size_bytes = io::copy(&mut file, &mut hash)?;
    Ok((hex(&hash.finalize()), size_bytes))
}

impl Spool {
    /// Opens the spool in `folder`, and makes its folders if they are missing.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let spool = Self {
            folder: folder.into(),
        };
        for name in ["originals", "rows", "tmp"] {
            let path = spool.folder.join(name);
            fs::create_dir_all(&path).map_err(failed("make the folder", &path))?;
        }
        Ok(spool)
    }

    /// A name for a new temporary file, such as a download; the file does not exist yet.
    #[must_use]
    pub fn temp_file(&self) -> TempFile {
        TempFile {
            path: self.temp_path(),
        }
    }

    /// Takes over a file that was downloaded to the spool's temporary folder. `sha256` is the hash
    /// of its content, which the caller computed on the way. Adopting the same content twice
    /// succeeds twice.
    ///
    /// # Errors
    /// If the file cannot be moved.
    pub fn adopt(&self, temp: TempFile, sha256: &str) -> Result<(), Error> {
        let original = self.original_path(sha256);
        fs::rename(temp.path(), &original).map_err(failed("keep the original", &original))
    }

    /// Keeps `bytes` and gives their SHA-256.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn put_original(&self, bytes: &[u8]) -> Result<String, Error> {
        let sha256 = hex(&Sha256::digest(bytes));
        let temp = self.temp_file();
        fs::write(temp.path(), bytes).map_err(failed("write the original", temp.path()))?;
        self.adopt(temp, &sha256)?;
        Ok(sha256)
    }

    /// Begins an original that is the pages of a listing.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub fn begin_pages(&self) -> Result<SpoolingPages, Error> {
        let temp = self.temp_file();
        // It is read once more, for its hash.
        let file = File::create_new(temp.path());
        let file = file.map_err(failed("make the original", temp.path()))?;
        Ok(SpoolingPages {
            spool: self.clone(),
            pages: PagesWriter::new(file),
            temp,
        })
    }

    /// The original with this SHA-256; `None` if it is missing or its bytes have another hash.
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn read_original(&self, sha256: &str) -> Result<Option<Bytes>, Error> {
        read_checked(&self.original_path(sha256), sha256)
    }

    /// Size of an original, bytes; `None` if it is not there.
    #[must_use]
    pub fn original_size(&self, sha256: &str) -> Option<u64> {
        fs::metadata(self.original_path(sha256))
            .ok()
            .map(|metadata| metadata.len())
    }

    /// Removes an original that is archived. One that is already gone is fine.
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn remove_original(&self, sha256: &str) -> Result<(), Error> {
        let path = self.original_path(sha256);
        ignore_missing(fs::remove_file(&path)).map_err(failed("remove", &path))
    }

    /// Keeps the rows of one generation of a task, by date. All dates appear together. Rows kept
    /// earlier for the same generation are replaced, so that a task that ran twice leaves one
    /// result. A task without rows keeps an empty map.
    ///
    /// # Errors
    /// If the rows cannot be encoded or written.
    pub fn put_rows(
        &self,
        task: &TaskKey,
        generation: u32,
        by_date: &BTreeMap<Date, PassedRows>,
    ) -> Result<(), Error> {
        let temp = self.temp_path();
        fs::create_dir(&temp).map_err(failed("make the folder", &temp))?;
        for (dt, rows) in by_date {
            let ipc = encode(rows.batch()).map_err(|source| Error::Encode {
                task: task.clone(),
                source,
            })?;
            let path = temp.join(format!("{dt}.{}.arrow", hex(&Sha256::digest(&ipc))));
            fs::write(&path, &ipc).map_err(failed("write the rows", &path))?;
            crash_point!("w08-rows-half-written");
        }
        self.remove(task, generation)?;
        let rows = self.rows_path(task, generation);
        fs::rename(&temp, &rows).map_err(failed("keep the rows", &rows))
    }

    /// The rows of one generation of a task that fall on `dt`; `None` if there are none, or if the
    /// file is torn. A caller that knows there must be rows treats `None` as lost.
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn read_rows(
        &self,
        task: &TaskKey,
        generation: u32,
        dt: Date,
    ) -> Result<Option<SpooledRows>, Error> {
        let folder = self.rows_path(task, generation);
        let Some((path, sha256)) = find_rows(&folder, dt)? else {
            return Ok(None);
        };
        let Some(ipc) = read_checked(&path, &sha256)? else {
            return Ok(None);
        };
        let size_bytes = ipc.len();
        // The hash matches, so a file that does not decode was written by another version. It
        // counts as missing.
        Ok(decode(ipc)
            .ok()
            .map(|batch| SpooledRows { batch, size_bytes }))
    }

    /// Removes the rows of one generation of a task. Rows that are already gone are fine.
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn remove(&self, task: &TaskKey, generation: u32) -> Result<(), Error> {
        let folder = self.rows_path(task, generation);
        ignore_missing(fs::remove_dir_all(&folder)).map_err(failed("remove", &folder))
    }

    /// Removes everything that `keep` does not name, and all temporary files. Call it only at
    /// start, when nothing else uses the spool.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn clean(&self, keep: &Keep) -> Result<(), Error> {
        for entry in entries(&self.folder.join("tmp"))? {
            remove_any(&entry)?;
        }
        for entry in entries(&self.folder.join("originals"))? {
            if !keep.originals.contains(file_name(&entry)) {
                remove_any(&entry)?;
            }
        }
        let rows: HashSet<String> = keep
            .rows
            .iter()
            .map(|(task, generation)| rows_name(task, *generation))
            .collect();
        for entry in entries(&self.folder.join("rows"))? {
            if !rows.contains(file_name(&entry)) {
                remove_any(&entry)?;
            }
        }
        Ok(())
    }

    fn temp_path(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        self.folder.join("tmp").join(name)
    }

    fn original_path(&self, sha256: &str) -> PathBuf {
        self.folder.join("originals").join(sha256)
    }

    fn rows_path(&self, task: &TaskKey, generation: u32) -> PathBuf {
        self.folder.join("rows").join(rows_name(task, generation))
    }
}

/// Rows read back from the spool.
#[derive(Debug)]
pub struct SpooledRows {
    /// The rows.
    pub batch: RecordBatch,
    /// Memory that they hold, bytes.
    pub size_bytes: usize,
}

/// What is still needed, according to the ledger.
#[derive(Debug, Default)]
pub struct Keep {
    /// SHA-256 of originals that are not archived yet.
    pub originals: HashSet<String>,
    /// Tasks and generations whose rows are not published yet.
    pub rows: HashSet<(TaskKey, u32)>,
}

fn rows_name(task: &TaskKey, generation: u32) -> String {
    format!("{task}-g{generation}")
}

fn find_rows(folder: &Path, dt: Date) -> Result<Option<(PathBuf, String)>, Error> {
    let prefix = format!("{dt}.");
    let found = entries(folder)?.into_iter().find_map(|path| {
        let sha256 = file_name(&path)
            .strip_prefix(&prefix)?
            .strip_suffix(".arrow")?
            .to_owned();
        Some((path, sha256))
    });
    Ok(found)
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

fn decode(ipc: Bytes) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut reader = FileReader::try_new(io::Cursor::new(ipc), None)?;
    let schema = reader.schema();
    reader
        .next()
        .unwrap_or_else(|| Ok(RecordBatch::new_empty(schema)))
}

fn read_checked(path: &Path, sha256: &str) -> Result<Option<Bytes>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let is_whole = hex(&Sha256::digest(&bytes)) == sha256;
    Ok(is_whole.then(|| bytes.into()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed("list", folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("list", folder)(error)),
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn remove_any(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    ignore_missing(removed).map_err(failed("remove", path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| {
        if disk::is_full(&source) {
            return Error::Full { path, source };
        }
        Error::Io {
            action,
            path,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contract;
    use crate::datasets::Dataset;
    use jiff::civil::date;

    fn spool() -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("a spool");
        (folder, spool)
    }

    fn key() -> TaskKey {
        TaskKey::from_stored("00112233445566778899aabbccddeeff")
    }

    fn one_empty_batch() -> BTreeMap<Date, PassedRows> {
        let schema = Contract::of(Dataset::TopUser).schema();
        let rows = PassedRows::passed_by_policy(RecordBatch::new_empty(schema));
        BTreeMap::from([(date(2026, 11, 19), rows)])
    }

    #[test]
    fn rows_come_back_and_a_second_put_replaces_them() {
        let (_folder, spool) = spool();
        let rows = one_empty_batch();
        spool.put_rows(&key(), 1, &rows).expect("put");
        spool.put_rows(&key(), 1, &rows).expect("put again");
        let back = spool
            .read_rows(&key(), 1, date(2026, 11, 19))
            .expect("read")
            .expect("rows");
        assert_eq!(&back.batch, rows[&date(2026, 11, 19)].batch());
        let other_day = spool.read_rows(&key(), 1, date(2026, 11, 20));
        assert!(other_day.expect("read").is_none());
        spool.remove(&key(), 1).expect("remove");
        spool.remove(&key(), 1).expect("remove again");
        let gone = spool.read_rows(&key(), 1, date(2026, 11, 19));
        assert!(gone.expect("read").is_none());
    }

    #[test]
    fn torn_files_are_missing_files() {
        let (_folder, spool) = spool();
        spool.put_rows(&key(), 1, &one_empty_batch()).expect("put");
        let (rows, _) = find_rows(&spool.rows_path(&key(), 1), date(2026, 11, 19))
            .expect("list")
            .expect("a file");
        let sha256 = spool.put_original(b"a workbook").expect("put");
        for path in [rows, spool.original_path(&sha256)] {
            let mut bytes = fs::read(&path).expect("read");
            bytes[5] ^= 1;
            fs::write(&path, bytes).expect("write");
        }
        let torn = spool.read_rows(&key(), 1, date(2026, 11, 19));
        assert!(torn.expect("read").is_none());
        assert!(spool.read_original(&sha256).expect("read").is_none());
    }

    #[test]
    fn a_download_is_adopted_by_its_hash() {
        let (_folder, spool) = spool();
        let temp = spool.temp_file();
        fs::write(temp.path(), b"downloaded").expect("write");
        let sha256 = hex(&Sha256::digest(b"downloaded"));
        spool.adopt(temp, &sha256).expect("adopt");
        let bytes = spool.read_original(&sha256).expect("read").expect("bytes");
        assert_eq!(bytes, "downloaded");
    }

    #[test]
    fn cleaning_keeps_what_the_ledger_names() {
        let (folder, spool) = spool();
        let kept = spool.put_original(b"kept").expect("put");
        let orphan = spool.put_original(b"orphan").expect("put");
        spool.put_rows(&key(), 1, &one_empty_batch()).expect("put");
        spool.put_rows(&key(), 2, &one_empty_batch()).expect("put");
        fs::write(folder.path().join("tmp/half"), b"half").expect("write");
        let keep = Keep {
            originals: HashSet::from([kept.clone()]),
            rows: HashSet::from([(key(), 2)]),
        };
        spool.clean(&keep).expect("clean");
        assert!(spool.read_original(&kept).expect("read").is_some());
        assert!(spool.read_original(&orphan).expect("read").is_none());
        assert!(!spool.rows_path(&key(), 1).exists());
        assert!(spool.rows_path(&key(), 2).exists());
        assert!(
            entries(&folder.path().join("tmp"))
                .expect("list")
                .is_empty()
        );
    }
}

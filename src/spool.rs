//! Task results waiting beside the ledger to be published: the untouched original, and the typed
//! rows of each date.
//!
//! ```text
//! <spool>/tenant=<name>/              the folder of one tenant
//! <folder>/originals/<sha256>         workbooks, JSON bodies and zips of pages, named by content
//! <folder>/rows/<task key>-g<generation>/<dt>.<sha256>.arrow
//!                                     one Arrow IPC stream for each date that the task has rows for
//! <folder>/tmp/…                      downloads and files under construction
//! ```
//! Everything appears by a rename, so a killed process leaves no half file under a final name.
//! Nothing is fsynced: after a power cut a file may be torn or gone. Its hash shows that, it is
//! reported as missing, and its task is exported again. A lost spool costs no more than that. Two
//! tenants may have the same bytes, and each forgets its own. The spool does not know which tasks
//! exist or what is published; the ledger does.

mod rows;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

pub use self::rows::SpoolingRows;
use crate::disk;
use crate::hashing::hash_of;
use crate::owner_only;
use crate::pages::PagesWriter;
use crate::task::{TaskKey, hex};
use crate::text::{is_hex, partition_value};

/// How an Arrow IPC file begins. Earlier versions kept rows in such files.
const FILE_MAGIC: [u8; 6] = *b"ARROW1";
/// Where the stream begins in such a file: its writer aligned everything to 64 bytes.
const FILE_STREAM_AT: u64 = 64;

const FOLDERS: [&str; 3] = ["originals", "rows", "tmp"];

/// The folder of a tenant's waiting results; clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
}

/// A spool that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space is left for the spool.
    #[error(
        "no space left for {}{room}: free some there, or move the spool to a larger disk, then \
         run again",
        path.display()
    )]
    Full {
        /// What was being written.
        path: PathBuf,
        /// How much room there was, for people. What was written so far may be removed by the time
        /// that this is told.
        room: String,
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
        source: ArrowError,
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
    let (size_bytes, sha256) = hash_of(file)?;
    Ok((sha256, size_bytes))
}

/// Gives each tenant its own of a spool that an earlier version kept for all tenants together.
/// `kept` is what each still needs. Stopped anywhere, it goes on with what is left.
///
/// # Errors
/// If a file cannot be linked, copied, moved or removed.
pub fn divide(spool: &Path, kept: &BTreeMap<String, Keep>) -> Result<(), Error> {
    owner_only::make_folder(spool, is_ours).map_err(failed("make the folder", spool))?;
    let shared = Spool {
        folder: spool.to_owned(),
    };
    let [originals, rows, tmp] = FOLDERS.map(|name| spool.join(name));
    if !originals.exists() && !rows.exists() {
        return ignore_missing(fs::remove_dir_all(&tmp)).map_err(failed("remove", &tmp));
    }
    for (tenant, keep) in kept {
        let own = Spool::of_tenant(spool, tenant)?;
        for sha256 in &keep.originals {
            let (from, to) = (shared.original_path(sha256), own.original_path(sha256));
            if from.exists() && !to.exists() {
                own.copy_original(&from, sha256)?;
            }
        }
        for (task, generation) in &keep.rows {
            let from = shared.rows_path(task, *generation);
            let to = own.rows_path(task, *generation);
            if from.exists() && !to.exists() {
                fs::rename(&from, &to).map_err(failed("move the rows", &from))?;
            }
        }
    }
    for folder in [originals, rows, tmp] {
        ignore_missing(fs::remove_dir_all(&folder)).map_err(failed("remove", &folder))?;
    }
    Ok(())
}

/// Whether what lies in a folder of the spool is the spool's.
fn is_ours(name: &str) -> bool {
    let begins = ["tenant=", "verify-"];
    FOLDERS.contains(&name)
        || begins.iter().any(|begin| name.starts_with(begin))
        || is_hex(name.split(['.', '-']).next().unwrap_or_default())
}

impl Spool {
    /// Opens the spool of a tenant below the folder `spool`, and makes its folders if they are
    /// missing.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn of_tenant(spool: &Path, tenant: &str) -> Result<Self, Error> {
        Self::open(spool.join(format!("tenant={}", partition_value(tenant))))
    }

    /// Opens the spool in `folder`, and makes its folders if they are missing.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let spool = Self {
            folder: folder.into(),
        };
        let names = FOLDERS.map(|name| spool.folder.join(name));
        for path in std::iter::once(&spool.folder).chain(&names) {
            owner_only::make_folder(path, is_ours).map_err(failed("make the folder", path))?;
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

    /// Keeps a copy of another file as the original with this SHA-256.
    fn copy_original(&self, from: &Path, sha256: &str) -> Result<(), Error> {
        let temp = self.temp_file();
        fs::copy(from, temp.path()).map_err(failed("copy the original", temp.path()))?;
        self.adopt(temp, sha256)
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
    pub fn open_original(&self, sha256: &str) -> Result<Option<SpooledOriginal>, Error> {
        let path = self.original_path(sha256);
        let opened = open_checked(&path, sha256)?;
        Ok(opened.map(|(file, size_bytes)| SpooledOriginal {
            path,
            file,
            size_bytes,
        }))
    }

    /// All bytes of the original with this SHA-256; `None` as for [`Spool::open_original`].
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn read_original(&self, sha256: &str) -> Result<Option<Bytes>, Error> {
        let Some(mut original) = self.open_original(sha256)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = original.file.read_to_end(&mut bytes);
        read.map_err(failed("read", &self.original_path(sha256)))?;
        Ok(Some(bytes.into()))
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

    /// Begins the rows of one generation of a task.
    ///
    /// # Errors
    /// If their folder cannot be made.
    pub fn begin_rows(&self, task: &TaskKey, generation: u32) -> Result<SpoolingRows, Error> {
        SpoolingRows::begin(self.clone(), task.clone(), generation)
    }

    /// The rows of one generation of a task that fall on `dt`; `None` if there are none, or if the
    /// file is torn or was written by another version, with other columns than `schema` has. A caller that knows there must be rows treats
    /// `None` as lost.
    ///
    /// # Errors
    /// If the file system fails otherwise.
    pub fn read_rows(
        &self,
        task: &TaskKey,
        generation: u32,
        dt: Date,
        schema: &Schema,
    ) -> Result<Option<SpooledRows>, Error> {
        let folder = self.rows_path(task, generation);
        let Some((path, sha256)) = find_rows(&folder, dt)? else {
            return Ok(None);
        };
        let Some((mut file, _)) = open_checked(&path, &sha256)? else {
            return Ok(None);
        };
        let mut magic = [0; FILE_MAGIC.len()];
        let is_file = file.read_exact(&mut magic).is_ok() && magic == FILE_MAGIC;
        let stream_at = if is_file { FILE_STREAM_AT } else { 0 };
        let sought = file.seek(io::SeekFrom::Start(stream_at));
        sought.map_err(failed("read", &path))?;
        match StreamReader::try_new(BufReader::new(file), None) {
            Ok(reader) if reader.schema().fields() != schema.fields() => Ok(None),
            Ok(reader) => Ok(Some(SpooledRows { reader, path })),
            Err(error) => match of_disk(error, &path) {
                Some(error) => Err(error),
                None => Ok(None),
            },
        }
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

/// Rows read back from the spool, a batch at a time. `Ok(None)`
/// instead of a batch: the bytes are as they were written, and another version wrote them.
#[derive(Debug)]
pub struct SpooledRows {
    reader: StreamReader<BufReader<File>>,
    path: PathBuf,
}

impl Iterator for SpooledRows {
    type Item = Result<Option<RecordBatch>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.reader.next()? {
            Ok(batch) => Ok(Some(batch)),
            Err(error) => of_disk(error, &self.path).map_or(Ok(None), Err),
        })
    }
}

/// The system's failure to read, if it is one, and not bytes that cannot be understood.
fn of_disk(error: ArrowError, path: &Path) -> Option<Error> {
    let number = disk::io_cause(&error)?.raw_os_error()?;
    Some(failed("read", path)(io::Error::from_raw_os_error(number)))
}

/// An original in the spool, whose bytes are as its name says.
#[derive(Debug)]
pub struct SpooledOriginal {
    /// Where it is.
    pub path: PathBuf,
    /// Its file, at the first byte.
    pub file: File,
    /// Its length, bytes.
    pub size_bytes: u64,
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

/// The file at `path`, at its first byte, and its length; `None` if it is missing or its bytes have
/// another hash.
fn open_checked(path: &Path, sha256: &str) -> Result<Option<(File, u64)>, Error> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let hashed = hash_of(&file).map_err(failed("read", path))?;
    file.rewind().map_err(failed("read", path))?;
    Ok((hashed.1 == sha256).then_some((file, hashed.0)))
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
            let room = disk::free_space(&path);
            return Error::Full { path, room, source };
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
    use crate::publish::rows;
    use crate::record::PassedRows;
    use arrow::datatypes::DataType;
    use jiff::civil::date;
    use std::sync::Arc;

    fn spool() -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(folder.path()).expect("a spool");
        (folder, spool)
    }

    fn key() -> TaskKey {
        TaskKey::from_stored("00112233445566778899aabbccddeeff")
    }

    const DAY: Date = date(2026, 11, 19);

    fn put_rows(spool: &Spool, generation: u32) -> RecordBatch {
        let batch = rows::batch(&[rows::row("a", 1, "t", 1), rows::row("b", 2, "t", 2)]);
        let mut spooling = spool.begin_rows(&key(), generation).expect("begun");
        let passed = PassedRows::passed_by_policy(batch.clone());
        spooling.add(DAY, &passed).expect("added");
        assert_eq!(spooling.keep().expect("kept"), [DAY].into());
        batch
    }

    fn read_rows(spool: &Spool, dt: Date) -> Option<Vec<RecordBatch>> {
        let schema = Contract::of(Dataset::TopUser).schema();
        let read = spool.read_rows(&key(), 1, dt, &schema).expect("read")?;
        let batches = read.map(|batch| batch.expect("readable").expect("ours"));
        Some(batches.collect())
    }

    #[test]
    fn rows_come_back_and_a_second_time_replaces_them() {
        let (_folder, spool) = spool();
        put_rows(&spool, 1);
        let batch = put_rows(&spool, 1);
        assert_eq!(read_rows(&spool, DAY), Some(vec![batch]));
        assert_eq!(read_rows(&spool, date(2026, 11, 20)), None);
        spool.remove(&key(), 1).expect("remove");
        spool.remove(&key(), 1).expect("remove again");
        assert_eq!(read_rows(&spool, DAY), None);
    }

    #[test]
    fn rows_of_an_earlier_version_are_read() {
        let (_folder, spool) = spool();
        let batch = rows::batch(&[rows::row("a", 1, "t", 1)]);
        let mut writer =
            arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).expect("begun");
        writer.write(&batch).expect("written");
        let bytes = writer.into_inner().expect("ended");
        let folder = spool.rows_path(&key(), 1);
        fs::create_dir(&folder).expect("made");
        let name = format!("{DAY}.{}.arrow", hex(&Sha256::digest(&bytes)));
        fs::write(folder.join(name), bytes).expect("written");
        assert_eq!(read_rows(&spool, DAY), Some(vec![batch]));
    }

    #[test]
    fn rows_with_other_columns_are_of_another_version() {
        let (_folder, spool) = spool();
        let batch = put_rows(&spool, 1);
        let expected = batch.schema();
        let renamed = |index: usize, name: &str| {
            let mut fields = expected.fields().to_vec();
            fields[index] = Arc::new(fields[index].as_ref().clone().with_name(name));
            Schema::new(fields)
        };
        let fewer = expected.project(&[0, 1]).expect("columns");
        for schema in [renamed(0, "another"), fewer] {
            let read = spool.read_rows(&key(), 1, DAY, &schema).expect("read");
            assert!(read.is_none());
        }
        // As the map was named before.
        let map = expected.fields().last().expect("`_extra`");
        let DataType::Map(entry, is_sorted) = map.data_type() else {
            panic!("{map}");
        };
        let entry = Arc::new(entry.as_ref().clone().with_name("entries"));
        let map = map
            .as_ref()
            .clone()
            .with_data_type(DataType::Map(entry, *is_sorted));
        let mut fields = expected.fields().to_vec();
        *fields.last_mut().expect("one") = Arc::new(map);
        let read = spool.read_rows(&key(), 1, DAY, &Schema::new(fields));
        assert!(read.expect("read").is_none());
    }

    #[test]
    fn rows_of_a_later_version_are_told_from_a_disk_that_fails() {
        let (_folder, spool) = spool();
        let folder = spool.rows_path(&key(), 1);
        fs::create_dir(&folder).expect("made");
        let put = |bytes: &[u8]| {
            let name = format!("{DAY}.{}.arrow", hex(&Sha256::digest(bytes)));
            fs::write(folder.join(&name), bytes).expect("written");
            folder.join(name)
        };
        let path = put(b"something else");
        assert_eq!(read_rows(&spool, DAY), None);
        fs::remove_file(path).expect("removed");
        // A stream that is understood at first.
        let batch = rows::batch(&[rows::row("a", 1, "t", 1)]);
        let mut stream =
            arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).expect("begun");
        stream.write(&batch).expect("written");
        let mut bytes = stream.into_inner().expect("ended");
        bytes.truncate(bytes.len() - 40);
        put(&bytes);
        let mut read = spool
            .read_rows(&key(), 1, DAY, &batch.schema())
            .expect("read")
            .expect("rows");
        assert!(matches!(read.next(), Some(Ok(None))));
        let broken = ArrowError::from(io::Error::from_raw_os_error(5));
        assert!(matches!(of_disk(broken, &folder), Some(Error::Io { .. })));
    }

    #[test]
    fn torn_files_are_missing_files() {
        let (_folder, spool) = spool();
        put_rows(&spool, 1);
        let (rows, _) = find_rows(&spool.rows_path(&key(), 1), DAY)
            .expect("list")
            .expect("a file");
        let sha256 = spool.put_original(b"a workbook").expect("put");
        for path in [rows, spool.original_path(&sha256)] {
            let mut bytes = fs::read(&path).expect("read");
            bytes[5] ^= 1;
            fs::write(&path, bytes).expect("write");
        }
        assert_eq!(read_rows(&spool, DAY), None);
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
    fn what_tenants_shared_is_divided_and_each_forgets_its_own() {
        let (folder, shared) = spool();
        let sheet = shared.put_original(b"a header only").expect("put");
        let orphan = shared.put_original(b"nobody's").expect("put");
        let batch = put_rows(&shared, 1);
        let keep = |rows: &[(TaskKey, u32)]| Keep {
            originals: HashSet::from([sheet.clone()]),
            rows: rows.iter().cloned().collect(),
        };
        let kept = BTreeMap::from([
            ("acme".to_owned(), keep(&[(key(), 1)])),
            ("公/司".to_owned(), keep(&[])),
        ]);
        for _ in 0..2 {
            divide(folder.path(), &kept).expect("divided");
            let left = fs::read_dir(folder.path()).expect("a folder");
            let mut left: Vec<_> = left.map(|entry| entry.expect("one").file_name()).collect();
            left.sort();
            assert_eq!(left, ["tenant=%E5%85%AC%2F%E5%8F%B8", "tenant=acme"]);
        }
        let of = |tenant| Spool::of_tenant(folder.path(), tenant).expect("a spool");
        let (acme, other) = (of("acme"), of("公/司"));
        assert_eq!(read_rows(&acme, DAY), Some(vec![batch]));
        assert_eq!(read_rows(&other, DAY), None);
        assert!(acme.read_original(&orphan).expect("read").is_none());
        acme.remove_original(&sheet).expect("removed");
        assert!(acme.read_original(&sheet).expect("read").is_none());
        assert!(other.read_original(&sheet).expect("read").is_some());
    }

    #[test]
    fn cleaning_keeps_what_the_ledger_names() {
        let (folder, spool) = spool();
        let kept = spool.put_original(b"kept").expect("put");
        let orphan = spool.put_original(b"orphan").expect("put");
        put_rows(&spool, 1);
        put_rows(&spool, 2);
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

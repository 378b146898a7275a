//! What the system lets this user do with a ledger, and how one is read that may not be written.
//!
//! ```text
//! may be written              beside its owner, as any connection of SQLite
//! may not, and has an index   through the index (-shm) that its owner keeps, which is not changed
//! may not, and has none       from a private copy of database and log, which is gone at once
//! ```
//! SQLite would make the files that it lacks, as this user's: then the ledger's owner could not use
//! them. A ledger that may not be written gets no file beside it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sqlx::AnyPool;

use super::{Error, lock, pool, sql};
use crate::disk;
use crate::owner_only::{self, ScratchFolder};

/// Connections of a ledger that is only read.
pub(super) const READERS: u32 = 2;
/// Times that a copy is begun again because the ledger changed meanwhile. Whoever changes it has an
/// index, through which it is then read.
const MOST_COPIES: u32 = 5;

/// Files that hold what is in the ledger.
const CONTENT: [&str; 3] = ["", "-wal", "-journal"];

/// What tells whether a file was written: which file it is, its length, and its times.
type FileState = Option<(u64, u64, (i64, i64), (i64, i64))>;

/// Refuses a ledger that this user may not write, before anything beside it is touched. No file is
/// opened for it: closing one would release the locks that SQLite holds in this process.
pub(super) fn check_writable(path: &Path) -> Result<(), Error> {
    let real = real_path(path);
    let files = ["", "-wal", "-shm"].map(|end| beside(&real, end));
    let files = files.into_iter().chain([lock::lock_path(path)]);
    let files = files.map(|file| (file, Access::READ_OK | Access::WRITE_OK));
    let folders = [folder_of(&real), folder_of(path)];
    let folders = folders.map(|folder| (folder.to_owned(), Access::WRITE_OK | Access::EXEC_OK));
    for (place, access) in files.chain(folders) {
        let allowed = accessat(CWD, &place, access, AtFlags::EACCESS);
        if let Err(source) = allowed.map_err(io::Error::from)
            && disk::is_denied(&source)
        {
            let action = "write";
            return Err(Error::NoPermission {
                action,
                place,
                source,
            });
        }
    }
    Ok(())
}

/// Connections that read the ledger at `path`, whether or not it may be written; `None` if there is
/// no file.
///
/// # Errors
/// [`Error::NoPermission`] if it may not even be read; otherwise if it cannot be opened or copied.
pub(super) async fn pool_for_reading(path: &Path) -> Result<Option<AnyPool>, Error> {
    let of_path = |source| Error::of_io("read", path, source);
    owner_only::refuse_foreign_link(path).map_err(of_path)?;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(source) => return Err(of_path(source)),
    }
    if check_writable(path).is_ok() {
        return pool(path, "rw", READERS).await.map(Some);
    }
    let real = real_path(path);
    for _ in 0..MOST_COPIES {
        let has_index = ["-wal", "-shm"]
            .iter()
            .all(|end| beside(&real, end).exists());
        if has_index {
            match pool(path, "ro", READERS).await {
                // Its owner ended meanwhile, or only the owner may read the index.
                Err(error) if error.is_of_disk() => {}
                read => return read.map(Some),
            }
        }
        if let Some(copied) = copy(&real)? {
            return pool_of_copy(copied, path).await.map(Some);
        }
    }
    Err(of_path(io::Error::other("it changes while it is copied")))
}

/// Copies what is in the ledger to a folder of its own; `None` if it changed meanwhile.
fn copy(path: &Path) -> Result<Option<ScratchFolder>, Error> {
    let before = states(path);
    let temporary = std::env::temp_dir();
    let no_room = |source| Error::Copy {
        path: path.to_owned(),
        folder: temporary.clone(),
        source,
    };
    let folder = ScratchFolder::within(&temporary, "meetlake-ledger").map_err(no_room)?;
    for end in CONTENT {
        let from = beside(path, end);
        let mut content = match File::open(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|source| Error::of_io("read", &from, source))?,
        };
        let mut options = owner_only::options();
        let to = options.write(true).create_new(true);
        let mut to = to.open(copy_in(&folder, end)).map_err(no_room)?;
        io::copy(&mut content, &mut to).map_err(no_room)?;
    }
    Ok((states(path) == before).then_some(folder))
}

/// Connections to a copy, whose files go away with the last of them, even if this process is
/// killed: they have no names any more.
async fn pool_of_copy(folder: ScratchFolder, path: &Path) -> Result<AnyPool, Error> {
    let of_ledger = |error: Error| error.of_file(path);
    let pool = pool(&copy_in(&folder, ""), "rw", READERS).await;
    let pool = pool.map_err(of_ledger)?;
    let mut connections = Vec::new();
    for _ in 0..READERS {
        let mut connection = pool.acquire().await.map_err(sql("be opened"))?;
        // Opens the log, and its index in memory.
        sqlx::query("SELECT name FROM sqlite_master LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(sql("be opened"))
            .map_err(of_ledger)?;
        connections.push(connection);
    }
    Ok(pool)
}

fn copy_in(folder: &ScratchFolder, end: &str) -> PathBuf {
    beside(&folder.path().join("ledger"), end)
}

fn states(path: &Path) -> [FileState; CONTENT.len()] {
    CONTENT.map(|end| {
        let data = fs::metadata(beside(path, end)).ok()?;
        let written = (data.mtime(), data.mtime_nsec());
        Some((
            data.ino(),
            data.len(),
            written,
            (data.ctime(), data.ctime_nsec()),
        ))
    })
}

/// Where the ledger is, behind a link of its owner's: SQLite has its other files there.
fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The file beside the ledger whose name ends with `end`.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The folder that the ledger lies in, or its nearest one that is there.
fn folder_of(path: &Path) -> &Path {
    let is_there = |folder: &&Path| folder.as_os_str().is_empty() || folder.exists();
    match path.ancestors().skip(1).find(is_there) {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What to do about a ledger that may not be used.
pub(super) fn remedy(action: &str, place: &Path, source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return "it lies on a read-only file system; mount that for writing, or work where the \
                ledger can be written"
            .to_owned();
    }
    let us = rustix::process::geteuid().as_raw();
    let owner = match fs::metadata(place) {
        Ok(data) if data.uid() != us => format!("the user whose it is (uid {})", data.uid()),
        _ => "the user whose it is".to_owned(),
    };
    format!("run as {owner}, or let this user (uid {us}) {action} it and its folder")
}

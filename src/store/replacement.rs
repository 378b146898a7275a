//! The replacement of one object, in two steps: what can be done before, and the one that makes it count.
//!
//! A bucket refuses the second step by itself if somebody else replaced the object. A folder cannot: there the bytes are written beside the
//! object first, so that whoever replaces it can make sure once more that nobody else may, with nothing but a rename left to do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};

use super::{Error, Kind, Lake, Version, generic};

/// A replacement that nobody sees yet; dropped, it never was.
#[derive(Debug)]
pub struct Replacement {
    lake: Lake,
    path: Path,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Put(Bytes, PutMode),
    Rename(Beside),
}

/// A file beside an object, under a name that lists of objects do not show; removed unless it becomes the object.
#[derive(Debug)]
struct Beside {
    file: PathBuf,
    object: PathBuf,
}

impl Lake {
    /// Begins to write an object that must not exist yet.
    #[must_use]
    pub fn creation(&self, path: &Path, bytes: Bytes) -> Replacement {
        self.of(path, Next::Put(bytes, PutMode::Create))
    }

    /// Begins to replace the object that was read in state `seen`; in a folder the state is compared now.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the object is in another state and has other bytes; otherwise if a file beside it cannot be written.
    pub async fn replacement(
        &self,
        path: &Path,
        bytes: Bytes,
        seen: &Version,
    ) -> Result<Replacement, Error> {
        let Some(folder) = &self.folder else {
            let update = UpdateVersion {
                e_tag: seen.etag.clone(),
                version: seen.version.clone(),
            };
            return Ok(self.of(path, Next::Put(bytes, PutMode::Update(update))));
        };
        let Some(stored) = self.get_with_version(path).await? else {
            let gone = "the object is gone".to_owned();
            return Err(self.refuse(Kind::Conflict, "replace", path, gone));
        };
        if stored.version != *seen && stored.bytes != bytes {
            let changed = "another process replaced it".to_owned();
            return Err(self.refuse(Kind::Conflict, "replace", path, changed));
        }
        let object = folder.join(path.as_ref());
        let beside = blocking(move || Beside::write(object, &bytes)).await;
        let beside = beside.map_err(|error| self.error("replace", path, generic(error)))?;
        Ok(self.of(path, Next::Rename(beside)))
    }

    fn of(&self, path: &Path, next: Next) -> Replacement {
        Replacement {
            lake: self.clone(),
            path: path.clone(),
            next,
        }
    }
}

impl Replacement {
    /// Makes it the object. Run twice with the same bytes, it succeeds twice.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if there is another object than was expected; otherwise if the store cannot be written.
    pub async fn finish(self) -> Result<Version, Error> {
        let (lake, path) = (self.lake, self.path);
        let beside = match self.next {
            Next::Put(bytes, mode) => return lake.put(&path, bytes, mode).await,
            Next::Rename(beside) => beside,
        };
        let renamed = blocking(move || beside.rename()).await;
        renamed.map_err(|error| lake.error("replace", &path, generic(error)))?;
        lake.sync_folders(&path)?;
        match lake.head(&path).await? {
            Some((version, _)) => Ok(version),
            None => Err(lake.refuse(Kind::Conflict, "replace", &path, "it is gone".to_owned())),
        }
    }
}

impl Beside {
    fn write(object: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        let (file, mut out) = create_beside(&object)?;
        let beside = Self { file, object };
        out.write_all(bytes)?;
        out.sync_all()?;
        Ok(beside)
    }

    fn rename(self) -> io::Result<()> {
        fs::rename(&self.file, &self.object)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Gone if it became the object.
        let _ = fs::remove_file(&self.file);
    }
}

/// A new file with the name that the store's client would give it, so that the same sweep finds it.
fn create_beside(object: &FilePath) -> io::Result<(PathBuf, File)> {
    let mut number: u64 = 1;
    loop {
        let mut name = object.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let file = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            opened => return opened.map(|out| (file, out)),
        }
    }
}

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => Err(io::Error::other(stopped)),
    }
}

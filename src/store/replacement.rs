//! The replacement of one object in two steps: a preparation, and the step that makes it visible.
//!
//! A bucket itself refuses the second step if somebody else replaced the object. A folder cannot.
//! There the first step writes the bytes beside the object, and only a rename is left. Just before
//! it, the caller can check once more that nobody else may write.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};

use super::{Error, Lake, StoreErrorKind, Version, store_error};

/// A replacement that no reader sees yet. Dropping it leaves no trace.
#[derive(Debug)]
pub struct Replacement {
    lake: Lake,
    path: Path,
    final_step: FinalStep,
}

#[derive(Debug)]
enum FinalStep {
    Put(Bytes, PutMode),
    Rename(StagedFile),
}

/// A file beside an object, under a name that lists of objects do not show. It is removed unless it
/// becomes the object.
#[derive(Debug)]
struct StagedFile {
    file: PathBuf,
    object: PathBuf,
}

impl Lake {
    /// Begins to write an object that must not exist yet.
    #[must_use]
    pub fn creation(&self, path: &Path, bytes: Bytes) -> Replacement {
        self.pending(path, FinalStep::Put(bytes, PutMode::Create))
    }

    /// Begins to replace the object that was read in state `seen`. In a folder the state is
    /// compared now.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] if the object is in another state and has other bytes;
    /// otherwise if a file beside it cannot be written.
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
            return Ok(self.pending(path, FinalStep::Put(bytes, PutMode::Update(update))));
        };
        let Some((standing, _)) = self.head(path).await? else {
            let gone = "the object is gone".to_owned();
            return Err(self.refusal(StoreErrorKind::Conflict, "replace", path, gone));
        };
        if standing != *seen && self.version_if_equal(path, &bytes).await?.is_none() {
            let changed = "another process replaced it".to_owned();
            return Err(self.refusal(StoreErrorKind::Conflict, "replace", path, changed));
        }
        let object = folder.join(path.as_ref());
        let staged = blocking(move || StagedFile::write(object, &bytes)).await;
        let staged = staged.map_err(|error| self.error("replace", path, store_error(error)))?;
        Ok(self.pending(path, FinalStep::Rename(staged)))
    }

    fn pending(&self, path: &Path, final_step: FinalStep) -> Replacement {
        Replacement {
            lake: self.clone(),
            path: path.clone(),
            final_step,
        }
    }
}

impl Replacement {
    /// Makes the new bytes the object. Writing the same bytes twice succeeds twice.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] if there is another object than was expected; otherwise if the
    /// store cannot be written.
    pub async fn finish(self) -> Result<Version, Error> {
        let (lake, path) = (self.lake, self.path);
        let staged = match self.final_step {
            FinalStep::Put(bytes, mode) => return lake.put(&path, bytes, mode).await,
            FinalStep::Rename(staged) => staged,
        };
        let renamed = blocking(move || staged.rename()).await;
        renamed.map_err(|error| lake.error("replace", &path, store_error(error)))?;
        lake.sync_folders(&path)?;
        match lake.head(&path).await? {
            Some((version, _)) => Ok(version),
            None => Err(lake.refusal(
                StoreErrorKind::Conflict,
                "replace",
                &path,
                "it is gone".to_owned(),
            )),
        }
    }
}

impl StagedFile {
    fn write(object: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        let (file, mut out) = create_beside(&object)?;
        let staged = Self { file, object };
        out.write_all(bytes)?;
        out.sync_all()?;
        Ok(staged)
    }

    fn rename(self) -> io::Result<()> {
        fs::rename(&self.file, &self.object)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // The file is gone if it became the object.
        let _ = fs::remove_file(&self.file);
    }
}

/// A new file, named as the store's client would name it, so that the same sweep finds it.
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

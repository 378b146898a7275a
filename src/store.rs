//! The lake's object store: a URL and options become a [`Lake`] that reads, lists and conditionally
//! writes whole objects.
//!
//! `file://`, `s3://`, `gs://`, `az://` and `memory://`. Every write is one PUT, so a reader sees
//! the old object or the new one. A store can answer "exists already" to our own successful write
//! (it committed, then the connection broke and the request was sent again). So a refusal counts
//! only after the object was read back and compared. A local folder has no network in between:
//! there a failed flush is a failed write, even if the bytes can be read. The lake does not know
//! what its objects are or where they belong; `publish::location` does.

mod error;
mod open;
pub mod options;
mod probe;
mod replacement;
mod transport;

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::disk;
use crate::task::hex;

pub use error::{Error, StoreErrorKind};
pub use open::Access;
#[cfg(any(test, feature = "testing"))]
pub use open::file_url;
pub use replacement::Replacement;

/// Attempts at a write that is refused for no visible reason, as when another request on the same
/// key was under way.
const MOST_ATTEMPTS: u32 = 3;
/// Wait before the second attempt; doubled before the third.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// An open lake; clones share its connections.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    /// The path of the lake's root in the store.
    prefix: Path,
    url: String,
    /// Folder of a `file://` lake.
    folder: Option<std::path::PathBuf>,
    /// Values that must never show in an error, even if a store's answer repeats them.
    secrets: Arc<[SecretString]>,
}

/// The state of an object that a reader saw. A conditional write depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The generation (Google) or version id, where the store has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An object and its state when it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The whole content.
    pub bytes: Bytes,
    /// State at the time of reading.
    pub version: Version,
}

/// An object that was copied to a local file.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Length, bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content.
    pub sha256: String,
    /// State at the time of reading.
    pub version: Version,
}

/// An object as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Below the lake's root.
    pub path: Path,
    /// Length, bytes.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub written_at: Timestamp,
}

impl Lake {
    /// The lake's address, without anything secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is a folder.
    #[must_use]
    pub const fn is_on_a_disk(&self) -> bool {
        self.folder.is_some()
    }

    /// The content of an object of at most `most_bytes`; `None` if there is no object. Whoever
    /// reads an object whole says how large it can be.
    ///
    /// # Errors
    /// [`StoreErrorKind::TooLarge`] if it is larger, before its bytes are fetched; otherwise if the
    /// store cannot be read.
    pub async fn get(&self, path: &Path, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        let found = self.get_with_version(path, most_bytes).await?;
        Ok(found.map(|found| found.bytes))
    }

    /// The content of an object of at most `most_bytes` and the state it was read in; `None` if
    /// there is no object.
    ///
    /// # Errors
    /// As for [`Lake::get`].
    pub async fn get_with_version(
        &self,
        path: &Path,
        most_bytes: u64,
    ) -> Result<Option<Stored>, Error> {
        let failed = |error| self.error("read", path, error);
        let Some(found) =
            none_if_missing(self.store.get(&self.full_path(path)).await).map_err(failed)?
        else {
            return Ok(None);
        };
        // The answer says so before its body comes.
        if found.meta.size > most_bytes {
            let size_bytes = found.meta.size;
            let cause = format!("it has {size_bytes} bytes, and none has more than {most_bytes}");
            return Err(self.refusal(StoreErrorKind::TooLarge, "read", path, cause));
        }
        let version = version_of(&found.meta);
        let bytes = found.bytes().await.map_err(failed)?;
        Ok(Some(Stored { bytes, version }))
    }

    /// State and length of an object, bytes; `None` if there is no object.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn head(&self, path: &Path) -> Result<Option<(Version, u64)>, Error> {
        let meta = none_if_missing(self.store.head(&self.full_path(path)).await)
            .map_err(|error| self.error("look at", path, error))?;
        Ok(meta.map(|meta| (version_of(&meta), meta.size)))
    }

    /// Copies an object to the local file `to`, in bounded memory; `None` if there is no object.
    ///
    /// # Errors
    /// If the store cannot be read, the file not written, or the content ends early.
    pub async fn download(&self, path: &Path, to: &FilePath) -> Result<Option<Downloaded>, Error> {
        let failed = |error| self.error("read", path, error);
        let Some(object) =
            none_if_missing(self.store.get(&self.full_path(path)).await).map_err(failed)?
        else {
            return Ok(None);
        };
        let (version, expected_bytes) = (version_of(&object.meta), object.meta.size);
        let local = |error| self.local_error(path, to, error);
        let mut file = tokio::fs::File::create(to).await.map_err(local)?;
        let (mut hash, mut size_bytes) = (Sha256::new(), 0);
        let mut chunks = object.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(failed)?;
            hash.update(&chunk);
            size_bytes += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        if size_bytes != expected_bytes {
            let short = format!("only {size_bytes} of {expected_bytes} bytes came");
            return Err(self.refusal(StoreErrorKind::Unreachable, "read", path, short));
        }
        Ok(Some(Downloaded {
            size_bytes,
            sha256: hex(&hash.finalize()),
            version,
        }))
    }

    /// Writes an object that must not exist yet. Writing the same bytes twice succeeds twice.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] if there is another object; otherwise if the store cannot be
    /// written.
    pub async fn put_create(&self, path: &Path, bytes: Bytes) -> Result<Version, Error> {
        self.put(path, bytes, PutMode::Create).await
    }

    /// Replaces the object that was read in state `seen`. The local store has no conditional write:
    /// there the state is compared first, and the ledger's lock keeps other writers away. Writing
    /// the same bytes twice succeeds twice.
    ///
    /// # Errors
    /// [`StoreErrorKind::Conflict`] if the object is in another state and has other bytes;
    /// otherwise if the store cannot be written.
    pub async fn put_if_unchanged(
        &self,
        path: &Path,
        bytes: Bytes,
        seen: &Version,
    ) -> Result<Version, Error> {
        self.replacement(path, bytes, seen).await?.finish().await
    }

    /// Writes an object, replacing whatever was there. For records that count only once another
    /// object names them.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn put_overwrite(&self, path: &Path, bytes: Bytes) -> Result<Version, Error> {
        self.put(path, bytes, PutMode::Overwrite).await
    }

    /// Paths of all objects below `folder`, sorted.
    ///
    /// # Errors
    /// If the store cannot be listed.
    pub async fn list(&self, folder: &Path) -> Result<Vec<Path>, Error> {
        let found: Vec<_> = self
            .store
            .list(Some(&self.full_path(folder)))
            .try_collect()
            .await
            .map_err(|error| self.error("list", folder, error))?;
        let mut paths: Vec<Path> = found
            .iter()
            .filter_map(|meta| Some(meta.location.prefix_match(&self.prefix)?.collect()))
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// All objects below `folder` with length and age, by path.
    ///
    /// # Errors
    /// If the store cannot be listed.
    pub async fn entries(&self, folder: &Path) -> Result<Vec<ObjectEntry>, Error> {
        let found: Vec<_> = self
            .store
            .list(Some(&self.full_path(folder)))
            .try_collect()
            .await
            .map_err(|error| self.error("list", folder, error))?;
        let mut entries: Vec<ObjectEntry> = found
            .iter()
            .filter_map(|meta| {
                Some(ObjectEntry {
                    path: meta.location.prefix_match(&self.prefix)?.collect(),
                    size_bytes: meta.size,
                    written_at: instant(meta.last_modified.timestamp_micros()),
                })
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// When an object was last written, by the store's clock; `None` if there is no object.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn written_at(&self, path: &Path) -> Result<Option<Timestamp>, Error> {
        let meta = none_if_missing(self.store.head(&self.full_path(path)).await)
            .map_err(|error| self.error("look at", path, error))?;
        Ok(meta.map(|meta| instant(meta.last_modified.timestamp_micros())))
    }

    /// Files that killed writers left in a local lake (`part-0.parquet#1`), with length and age.
    /// Lists of objects do not show them.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn leftovers(&self) -> std::io::Result<Vec<(std::path::PathBuf, u64, Timestamp)>> {
        let mut leftovers = Vec::new();
        let mut folders: Vec<_> = self.folder.iter().cloned().collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let is_staging = name.rsplit_once('#').is_some_and(|(_, number)| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                });
                if is_staging {
                    let data = entry.metadata()?;
                    let written_at =
                        Timestamp::try_from(data.modified()?).unwrap_or(Timestamp::MAX);
                    leftovers.push((entry.path(), data.len(), written_at));
                }
            }
        }
        leftovers.sort();
        Ok(leftovers)
    }

    /// Removes the folder of a local lake if nothing is in it.
    pub fn remove_if_empty(&self, folder: &Path) {
        if let Some(root) = &self.folder {
            // This fails for a folder that is not empty, as intended.
            let _ = std::fs::remove_dir(root.join(folder.as_ref()));
        }
    }

    /// Removes an object. One that is already gone is fine.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn delete(&self, path: &Path) -> Result<(), Error> {
        none_if_missing(self.store.delete(&self.full_path(path)).await)
            .map_err(|error| self.error("delete", path, error))?;
        Ok(())
    }

    /// Removes what killed writers left beside `path` in a local lake (`part-0.parquet#1`). A
    /// reader that scans the folder would trip over it. Leftovers of all objects in the folder go,
    /// because content-named objects are often tried again under another name. Nothing else may be
    /// writing in that folder. Leftovers that cannot be removed stay.
    pub fn sweep(&self, path: &Path) {
        let Some(folder) = &self.folder else { return };
        let file = folder.join(path.as_ref());
        let Some(parent) = file.parent() else {
            return;
        };
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.rsplit_once('#'));
            if number.is_some_and(|(_, number)| number.parse::<u64>().is_ok()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Writes an object. If the answer may hide our own success, reads the object back before
    /// deciding.
    async fn put(&self, path: &Path, bytes: Bytes, mode: PutMode) -> Result<Version, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.put_once(path, &bytes, &mode).await {
                Ok(version) => return Ok(version),
                Err(error) => error,
            };
            if self.may_hide_success(&error)
                && !planted!("planted-read-back-ignored")
                && let Ok(Some(stored)) = self.version_if_equal(path, &bytes).await
            {
                self.sync_folders(path)?;
                return Ok(stored);
            }
            let is_spurious =
                error.kind() == StoreErrorKind::Conflict && !self.is_in_the_way(path, &mode).await;
            if !is_spurious || attempt == MOST_ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(FIRST_WAIT * attempt).await;
            attempt += 1;
        }
    }

    async fn put_once(&self, path: &Path, bytes: &Bytes, mode: &PutMode) -> Result<Version, Error> {
        let action = match mode {
            PutMode::Create => "create",
            PutMode::Update(_) => "replace",
            PutMode::Overwrite => "write",
        };
        let (at, payload) = (self.full_path(path), PutPayload::from(bytes.clone()));
        let put = self.store.put_opts(&at, payload, mode.clone().into()).await;
        let put = put.map_err(|error| self.error(action, path, error))?;
        Ok(Version {
            etag: put.e_tag,
            version: put.version,
        })
    }

    /// Whether the write may have happened although it was reported as failed. In a folder only
    /// "exists already" can mean that. Any other error after the file became visible is a failed
    /// flush.
    fn may_hide_success(&self, error: &Error) -> bool {
        match self.folder {
            Some(_) => error.kind() == StoreErrorKind::Conflict,
            None => error.may_hide_success(),
        }
    }

    /// Whether the object's state explains why a conditional write was refused. True if the state
    /// cannot be read.
    async fn is_in_the_way(&self, path: &Path, mode: &PutMode) -> bool {
        match (self.head(path).await, mode) {
            (Err(_), _) => true,
            (Ok(found), PutMode::Create) => found.is_some(),
            (Ok(found), PutMode::Update(seen)) => {
                found.is_none_or(|(version, _)| version.etag != seen.e_tag)
            }
            (Ok(_), PutMode::Overwrite) => false,
        }
    }

    /// Syncs the folders above an object of a local lake. Its writer may have died after the file
    /// and before its folder was synced.
    fn sync_folders(&self, path: &Path) -> Result<(), Error> {
        let Some(root) = &self.folder else {
            return Ok(());
        };
        let failed = |error| self.error("keep", path, store_error(error));
        let file = root.join(path.as_ref());
        for folder in file.ancestors().skip(1) {
            std::fs::File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
            if folder == root {
                break;
            }
        }
        Ok(())
    }

    /// State of the object at `path` if its content is `bytes`.
    async fn version_if_equal(&self, path: &Path, bytes: &Bytes) -> Result<Option<Version>, Error> {
        let own_bytes = bytes.len() as u64;
        match self.head(path).await? {
            Some((_, size_bytes)) if size_bytes == own_bytes => {}
            _ => return Ok(None),
        }
        let stored = self.get_with_version(path, own_bytes).await?;
        let equal = stored.filter(|stored| stored.bytes == *bytes);
        Ok(equal.map(|stored| stored.version))
    }

    fn full_path(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }

    fn error(&self, action: &'static str, path: &Path, error: object_store::Error) -> Error {
        let error = Error::from_store(action, path.as_ref(), &self.url, &error, &self.secrets);
        match &self.folder {
            Some(folder) if error.kind() == StoreErrorKind::Full => {
                error.with(&disk::free_space(folder))
            }
            _ => error,
        }
    }

    /// The error when `to`, the local copy of the object at `path`, could not be written.
    fn local_error(&self, path: &Path, to: &FilePath, error: std::io::Error) -> Error {
        let room = if disk::is_full(&error) {
            disk::free_space(to)
        } else {
            String::new()
        };
        let about = format!(" for {}{room}", to.display());
        let error = store_error(error);
        Error::from_store("copy", path.as_ref(), &self.url, &error, &[]).with(&about)
    }

    fn refusal(
        &self,
        kind: StoreErrorKind,
        action: &'static str,
        path: &Path,
        cause: String,
    ) -> Error {
        Error::new(kind, action, path.as_ref(), &self.url, cause)
    }
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lake({})", self.url)
    }
}

fn version_of(meta: &object_store::ObjectMeta) -> Version {
    Version {
        etag: meta.e_tag.clone(),
        version: meta.version.clone(),
    }
}

/// An instant of a store's clock. One out of range becomes the end of time, which is never old.
fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

fn none_if_missing<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn store_error(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "local file",
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn memory(name: &str) -> Lake {
        Lake::open(&format!("memory:///{name}"), &BTreeMap::new()).expect("a lake")
    }

    fn local() -> (tempfile::TempDir, Lake) {
        let folder = tempfile::tempdir().expect("a folder");
        let url = file_url(folder.path()).expect("a url");
        let lake = Lake::open(&url, &BTreeMap::new()).expect("a lake");
        (folder, lake)
    }

    async fn behaves(lake: &Lake) {
        let path = Path::from("a/tenant=x/one");
        assert!(lake.get(&path, u64::MAX).await.expect("get").is_none());
        let first = lake.put_create(&path, "1".into()).await.expect("create");
        // The same bytes again: success, not a conflict.
        lake.put_create(&path, "1".into()).await.expect("again");
        let other = lake.put_create(&path, "2".into()).await;
        assert_eq!(other.expect_err("refused").kind(), StoreErrorKind::Conflict);
        // The tag of a local file holds its modification time, which must differ.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        lake.put_if_unchanged(&path, "22".into(), &first)
            .await
            .expect("replace");
        lake.put_if_unchanged(&path, "22".into(), &first)
            .await
            .expect("the same replacement again");
        let stale = lake.put_if_unchanged(&path, "333".into(), &first).await;
        assert_eq!(stale.expect_err("refused").kind(), StoreErrorKind::Conflict);
        assert_eq!(
            lake.get(&path, u64::MAX).await.expect("get").expect("it"),
            "22"
        );
        assert_eq!(
            lake.list(&Path::from("a")).await.expect("list"),
            std::slice::from_ref(&path)
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        let copy = lake.download(&path, file.path()).await.expect("download");
        assert_eq!(copy.expect("it").sha256, hex(&Sha256::digest(b"22")));
        lake.delete(&path).await.expect("delete");
        lake.delete(&path).await.expect("delete again");
        assert!(lake.list(&Path::from("a")).await.expect("list").is_empty());
        let problems = lake.probe(&Path::from("_doctor/x")).await;
        assert!(problems.iter().all(|f| f.problem.is_none()), "{problems:?}");
    }

    #[tokio::test]
    async fn a_lake_in_memory_behaves() {
        behaves(&memory("behaves/below")).await;
    }

    #[tokio::test]
    async fn a_local_lake_behaves() {
        behaves(&local().1).await;
    }

    #[tokio::test]
    async fn two_opens_of_one_memory_url_see_each_other() {
        let path = Path::from("x");
        memory("shared")
            .put_create(&path, "1".into())
            .await
            .expect("put");
        assert!(
            memory("shared")
                .get(&path, u64::MAX)
                .await
                .expect("get")
                .is_some()
        );
        assert!(
            memory("other")
                .get(&path, u64::MAX)
                .await
                .expect("get")
                .is_none()
        );
    }

    #[tokio::test]
    async fn a_folder_without_permission_is_named_as_refused() {
        let (folder, lake) = local();
        // Root may write anywhere, so a file stands where a folder is needed.
        std::fs::write(folder.path().join("blocked"), "").expect("write");
        let error = lake
            .put_create(&Path::from("blocked/x"), "1".into())
            .await
            .expect_err("not a folder");
        let text = error.to_string();
        assert!(
            text.contains("blocked/x") && text.contains("file://"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn leftovers_of_a_killed_writer_are_swept() {
        let (folder, lake) = local();
        let path = Path::from("d/part-0.parquet");
        lake.put_create(&path, "1".into()).await.expect("put");
        for name in ["d/part-0.parquet#1", "d/another.zip#12"] {
            std::fs::write(folder.path().join(name), "half").expect("write");
        }
        lake.sweep(&path);
        let left = std::fs::read_dir(folder.path().join("d"))
            .expect("list")
            .count();
        assert_eq!(left, 1);
    }
}

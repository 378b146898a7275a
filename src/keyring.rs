//! The place on this machine where the keys of lakes are kept: a file of mode 0600, or a secret of
//! the configuration.
//!
//! A key is made on first use and never overwritten. Whoever loses it can still read the lake; a
//! ledger is then rebuilt under a new key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::ExposeSecret as _;

use crate::disk;
use crate::lake_key::{KEY_BYTES, KeySource, LakeKey, MalformedKey};
use crate::owner_only;
use crate::text::hex;

/// A key file is a line. A larger file is something else.
const LONGEST_FILE_BYTES: u64 = 4096;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or made.
    #[error("could not {action} the lake's key {}{}", path.display(), disk::advice(source, path))]
    File {
        /// What was attempted.
        action: &'static str,
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the file of the lake's key {} {MalformedKey}", path.display())]
    Malformed {
        /// The key's file.
        path: PathBuf,
    },
    /// The secret of the configuration is something else.
    #[error("`key` in [lake] {MalformedKey}")]
    MalformedSecret,
    /// There is no place for it.
    #[error(
        "there is no place for the lake's key: this user has no home; set key_file (or key) in \
         [lake]"
    )]
    Nowhere,
    /// The system gives no randomness.
    #[error("the system gives no random numbers, so no key can be made")]
    NoRandomness,
}

/// The key of a lake; `None` if its file is not there.
///
/// # Errors
/// If there is a key that cannot be used, or no place to look.
pub fn load(source: &KeySource, lake_id: &str) -> Result<Option<LakeKey>, Error> {
    match source {
        KeySource::Secret(secret) => {
            let key = LakeKey::parse(secret.expose_secret());
            key.map(Some).map_err(|_| Error::MalformedSecret)
        }
        KeySource::Nowhere => Err(Error::Nowhere),
        KeySource::File(_) | KeySource::Folder(_) => {
            let path = source.file(lake_id).unwrap_or_default();
            let text = match read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                text => text.map_err(|source| file("read", &path, source))?,
            };
            let key = LakeKey::parse(&text).map_err(|_| Error::Malformed { path });
            key.map(Some)
        }
    }
}

/// The key of a lake, which is made if there is none.
///
/// # Errors
/// If there is a key that cannot be used, or it cannot be made.
pub fn load_or_make(source: &KeySource, lake_id: &str) -> Result<LakeKey, Error> {
    if let Some(key) = load(source, lake_id)? {
        return Ok(key);
    }
    let path = source.file(lake_id).ok_or(Error::Nowhere)?;
    let mut secret = [0; KEY_BYTES];
    fill(&mut secret)?;
    match write_new(&path, &hex(&secret)) {
        Ok(()) => Ok(LakeKey::new(&secret)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            load(source, lake_id)?.ok_or_else(|| file("make", &path, error))
        }
        Err(error) => Err(file("make", &path, error)),
    }
}

/// A name that nobody else has: 32 hex digits.
///
/// # Errors
/// If the system gives no randomness.
pub fn new_id() -> Result<String, Error> {
    let mut id = [0; 16];
    fill(&mut id)?;
    Ok(hex(&id))
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| Error::NoRandomness)
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    owner_only::refuse_foreign_link(path)?;
    let file = fs::File::open(path)?;
    file.take(LONGEST_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes the file whole or not at all, and never over another.
fn write_new(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(
        ".{}.new",
        &new_id().map_err(io::Error::other)?[..8]
    ));
    let draft = PathBuf::from(draft);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

fn file(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let home = tempfile::tempdir().expect("a folder");
        let source = KeySource::of_home(None, Some(home.path().display().to_string()));
        assert_eq!(load(&source, "l1").expect("none"), None);
        let made = load_or_make(&source, "l1").expect("made");
        assert_eq!(load_or_make(&source, "l1").expect("there"), made);
        assert_eq!(load(&source, "l1").expect("there"), Some(made.clone()));
        assert_ne!(load_or_make(&source, "l2").expect("made"), made);
        let path = source.file("l1").expect("a file");
        let mode = |path: &Path| {
            let metadata = fs::metadata(path).expect("there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        let beside = fs::read_dir(path.parent().expect("a folder")).expect("read");
        assert_eq!(beside.count(), 2);
    }

    #[test]
    fn of_many_that_make_a_key_at_once_one_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = KeySource::File(folder.path().join("a/lake.key"));
        let make = || load_or_make(&source, "l").expect("made");
        let keys: Vec<LakeKey> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            let keys = threads.into_iter().map(|thread| thread.join());
            keys.map(|key| key.expect("a key")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn what_is_no_key_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lake.key");
        fs::write(&path, "my password").expect("written");
        let source = KeySource::File(path.clone());
        let error = load_or_make(&source, "l").expect_err("no key").to_string();
        assert!(
            error.contains("lake.key") && !error.contains("password"),
            "{error}"
        );
        assert_eq!(fs::read(&path).expect("read"), b"my password");
        let secret = KeySource::Secret("hunter2".into());
        let error = load(&secret, "l").expect_err("no key").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(matches!(
            load(&KeySource::Nowhere, "l"),
            Err(Error::Nowhere)
        ));
    }
}

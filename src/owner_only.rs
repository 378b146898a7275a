//! Files and folders that only their owner reads, whatever the umask: ledger and spool hold names,
//! e-mail addresses and phone numbers.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use crate::disk;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// Names of temporary folders that others may have taken.
const MOST_TAKEN: u32 = 1000;

/// Refuses a path that is a link of another user, who could lead us to any file or folder. Those
/// of this user and of the superuser are how somebody arranges a disk.
///
/// # Errors
/// [`disk::link_kind`], as of a file that is opened by [`options`].
pub fn refuse_foreign_link(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if !metadata.is_symlink() || [0, us].contains(&owner) {
        return Ok(());
    }
    let path = path.display();
    let why =
        format!("{path} is a link of another user (uid {owner}), which is not followed; remove it");
    Err(io::Error::new(disk::link_kind(), why))
}

/// Makes the folder, with those above it, if it is missing. One that is there is closed to others
/// if all that lies in it `is_ours`; one of another user is refused, because that user could read
/// what lies in it.
///
/// # Errors
/// If it cannot be made, or belongs to somebody else.
pub fn make_folder(path: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<()> {
    refuse_foreign_link(path)?;
    ensure_folder(path)?;
    let metadata = fs::metadata(path)?;
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    // A volume's folder often belongs to the superuser, who can read everything anyway.
    if ![owner, us].contains(&0) && owner != us {
        let why = "the folder belongs to another user, who could read what lies in it";
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    for entry in fs::read_dir(path)? {
        // Somebody keeps other things there, and closing it would be none of our business.
        if !entry?.file_name().to_str().is_some_and(&is_ours) {
            return Ok(());
        }
    }
    close(path, metadata.mode(), FOLDER)
}

/// Makes the folder, with those above it, if it is missing. One that is there stays as it is.
///
/// # Errors
/// If it cannot be made.
pub fn ensure_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Options that make a file for its owner only, and do not follow a link that somebody put there.
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Makes the file if it is missing, and closes it to others if it is there. A link of its owner's
/// may lead to it.
///
/// # Errors
/// If it cannot be made.
pub fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.mode(FILE).read(true).write(true).create(true);
    let file = options.truncate(false).open(path)?;
    close(path, file.metadata()?.mode(), FILE)
}

/// Closes a file to others, if it is there.
pub fn close_if_there(path: &Path) {
    if let Ok(metadata) = fs::symlink_metadata(path)
        && metadata.is_file()
    {
        let _ = close(path, metadata.mode(), FILE);
    }
}

/// The error of opening a file by [`options`], which says so if it is a link.
#[must_use]
pub fn named(error: io::Error, path: &Path) -> io::Error {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match is_link {
        true => io::Error::new(
            error.kind(),
            format!(
                "{} is a link, which is not followed; remove it",
                path.display()
            ),
        ),
        false => error,
    }
}

/// A new folder for its owner only. It goes away with this, and all that lies in it.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
}

impl ScratchFolder {
    /// Makes `<parent>/<name>-<process>-<number>`; the parent must be there. A name that is taken,
    /// be it by a link that somebody put there, is passed over.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn within(parent: &Path, name: &str) -> io::Result<Self> {
        let process = std::process::id();
        let mut taken = io::Error::from(ErrorKind::AlreadyExists);
        for number in 0..MOST_TAKEN {
            let path = parent.join(format!("{name}-{process}-{number}"));
            match DirBuilder::new().mode(FOLDER).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => taken = error,
                made => return made.map(|()| Self { path }),
            }
        }
        Err(taken)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What cannot be removed is still its owner's only.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn close(path: &Path, mode: u32, wanted: u32) -> io::Result<()> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(wanted)) {
        // A mounted volume may know no modes.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        closed => closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn what_is_made_and_what_was_there_is_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        make_folder(&inner, |_| true).expect("made");
        let open = folder.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, Permissions::from_mode(0o755)).expect("set");
        fs::write(open.join("rows"), "ours").expect("written");
        make_folder(&open, |name| name == "somebody's").expect("left as it is");
        assert_eq!(mode(&open), 0o755);
        make_folder(&open, |name| name == "rows").expect("closed");
        let (new, old) = (inner.join("new"), inner.join("old"));
        fs::write(&old, "kept").expect("written");
        fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("set");
        for file in [&new, &old] {
            make_file(file).expect("made");
        }
        assert_eq!([&inner, &open].map(|path| mode(path)), [FOLDER; 2]);
        assert_eq!([&new, &old].map(|path| mode(path)), [FILE; 2]);
        assert_eq!(fs::read_to_string(&old).expect("read"), "kept");
    }

    #[test]
    fn a_temporary_folder_passes_over_what_was_put_there_and_goes_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("target");
        fs::create_dir(&target).expect("made");
        let process = std::process::id();
        let link = folder.path().join(format!("x-{process}-0"));
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let made = ScratchFolder::within(folder.path(), "x").expect("made");
        let path = made.path().to_owned();
        assert_eq!(path, folder.path().join(format!("x-{process}-1")));
        assert_eq!(mode(&path), FOLDER);
        fs::write(path.join("rows"), "ours").expect("written");
        drop(made);
        assert!(!path.exists() && link.exists() && target.exists());
    }

    #[test]
    fn a_link_that_was_put_there_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let error = options()
            .read(true)
            .write(true)
            .open(&link)
            .expect_err("refused");
        let error = named(error, &link).to_string();
        assert!(error.contains("is a link"), "{error}");
        assert_eq!(fs::read_to_string(&target).expect("read"), "precious");
    }
}

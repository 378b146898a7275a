//! What an error message says about a disk that is full, fails, or may not be used.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::descriptors;

/// The free space on the disk of `path`, to be appended to the path: ` (12 kB of 1024 kB left)`.
/// Empty if the system does not say.
#[must_use]
pub fn free_space(path: &Path) -> String {
    let existing = path.ancestors().find(|folder| folder.exists());
    let Some(Ok(disk)) = existing.map(rustix::fs::statvfs) else {
        return String::new();
    };
    let kilobytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) / 1024;
    let (left, all) = (kilobytes(disk.f_bavail), kilobytes(disk.f_blocks));
    if disk.f_files > 0 && disk.f_favail == 0 {
        return format!(" ({left} kB of {all} kB left, but no room for another file)");
    }
    format!(" ({left} kB of {all} kB left)")
}

/// Bytes that this user may still write on the disk of `path`, and bytes that it has in all; `None`
/// if the system does not say.
#[must_use]
pub fn room(path: &Path) -> Option<(u64, u64)> {
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// What there is room for on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// What of ours is on it, for people.
    pub of: String,
    /// Bytes that this user may still write.
    pub left: u64,
    /// Bytes that it has in all.
    pub all: u64,
}

/// The disks of some places, each with their names: those of one disk together.
#[must_use]
pub fn rooms(places: &[(&str, impl AsRef<Path>)]) -> Vec<Room> {
    let mut rooms: Vec<(u64, Room)> = Vec::new();
    for (name, path) in places {
        let Some(existing) = path.as_ref().ancestors().find(|folder| folder.exists()) else {
            continue;
        };
        let (Ok(about), Some((left, all))) = (existing.metadata(), room(existing)) else {
            continue;
        };
        let disk = about.dev();
        match rooms.iter_mut().find(|(known, _)| *known == disk) {
            Some((_, room)) => room.of = format!("{} and {name}", room.of),
            None => {
                let of = (*name).to_owned();
                rooms.push((disk, Room { of, left, all }));
            }
        }
    }
    rooms.into_iter().map(|(_, room)| room).collect()
}

/// What to do about a file at `path` that could not be used, to be appended to its name.
#[must_use]
pub fn advice(error: &io::Error, path: &Path) -> String {
    if let Some(advice) = descriptors::advice(error) {
        return advice;
    }
    if is_full(error) {
        return format!(
            "{}; free some space there, then run again",
            free_space(path)
        );
    }
    if is_denied(error) {
        let us = rustix::process::geteuid().as_raw();
        return match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => "; mount its file system for writing, or work \
                                                  where it can be written"
                .to_owned(),
            _ => format!("; no permission for this user (uid {us}): run as the user whose it is"),
        };
    }
    if error.kind() == link_kind() {
        return "; remove the link, then run again".to_owned();
    }
    "; check its disk, then run again".to_owned()
}

/// The I/O error among the causes of `error`.
#[must_use]
pub fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

/// The I/O error in the text of `error` or of a cause, for errors that pass it on only as text:
/// `… (os error 28)`.
#[must_use]
pub fn io_cause_in_text(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let number = text
            .rsplit_once("(os error ")
            .and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
        if let Some(number) = number {
            return Some(io::Error::from_raw_os_error(number));
        }
        next = cause.source();
    }
    None
}

/// Whether the disk has no space left for this user.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The kind of the error of a link that is not followed; the standard library has no stable name
/// for it.
#[must_use]
pub fn link_kind() -> io::ErrorKind {
    io::Error::from(rustix::io::Errno::LOOP).kind()
}

/// Whether the system does not let this user: a file of another one, a read-only medium.
#[must_use]
pub fn is_denied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_the_nearest_folder_that_exists() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = free_space(&folder.path().join("not/there/yet"));
        assert!(
            text.starts_with(" (") && text.contains(" kB of "),
            "{text:?}"
        );
        let room = super::room(&folder.path().join("not/there/yet"));
        assert!(
            room.is_some_and(|(left, all)| 0 < left && left <= all),
            "{room:?}"
        );
    }

    #[test]
    fn what_to_do_depends_on_what_was_wrong() {
        use rustix::io::Errno;
        for (errno, said) in [
            (Errno::NOSPC, "free some space there"),
            (Errno::ROFS, "mount its file system for writing"),
            (Errno::ACCESS, "no permission for this user"),
            (Errno::LOOP, "remove the link"),
            (Errno::MFILE, "files and connections open at a time"),
            (Errno::IO, "check its disk"),
        ] {
            let advice = advice(&errno.into(), Path::new("/"));
            assert!(advice.contains(said), "{errno:?}: {advice}");
        }
    }

    #[test]
    fn the_system_s_error_is_found_below_others() {
        let full = io::Error::from_raw_os_error(28);
        let error = parquet::errors::ParquetError::from(full);
        assert!(io_cause(&error).is_some_and(is_full));
        assert!(io_cause(&std::fmt::Error).is_none());
        let text = format!(
            "fail to get inner writer: {:?}",
            io::Error::from_raw_os_error(28).to_string()
        );
        let error = parquet::errors::ParquetError::General(text);
        assert!(io_cause(&error).is_none());
        assert!(io_cause_in_text(&error).as_ref().is_some_and(is_full));
        assert!(io_cause_in_text(&std::fmt::Error).is_none());
    }
}

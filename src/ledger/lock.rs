//! One owner at a time: an operating-system lock beside the ledger, with the owner's name in it.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{Error, access};
use crate::owner_only;

/// Held as long as the value lives; the system releases it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the ledger at `path` and writes into it who took it.
    pub(super) fn take(path: &Path, verb: &str) -> Result<Self, Error> {
        let lock = lock_path(path);
        let io = |source| Error::of_io("write", &lock, source);
        let mut options = owner_only::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let opened = options.open(&lock);
        let mut file = opened.map_err(|error| io(owner_only::named(error, &lock)))?;
        owner_only::close_if_there(&lock);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                let holder = if holder.trim().is_empty() {
                    "another process".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(Error::Locked {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let holder = format!(
            "`meetlake {verb}` (process {}{}, since {})\n",
            std::process::id(),
            host(),
            jiff::Timestamp::now().strftime("%F %TZ")
        );
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        file.write_all(holder.as_bytes()).map_err(io)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The next owner must not be told that this one still holds it.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// ` on <name>`, where the system says what the machine is called: two containers can have the same
/// process ids.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => String::new(),
        name => format!(" on {name}"),
    }
}

/// The file beside the ledger that is locked.
pub(super) fn lock_path(ledger: &Path) -> PathBuf {
    access::beside(ledger, ".lock")
}

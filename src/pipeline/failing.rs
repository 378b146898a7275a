//! Errors of publishing that are the lake's or the disk's and not ours.

use std::path::Path;

use crate::cause::{Cause, Failure};
use crate::{disk, ledger, publish, spool, store};

/// The failure, if an error of publishing is the lake's or the disk's and not ours.
#[must_use]
pub fn storage_failure(error: &anyhow::Error) -> Option<Failure> {
    let is_of_publish = |cause: &(dyn std::error::Error + 'static)| {
        matches!(
            cause.downcast_ref::<publish::Error>(),
            Some(
                publish::Error::Store(_)
                    | publish::Error::Spool(_)
                    | publish::Error::Local { .. }
                    | publish::Error::Object { .. }
                    | publish::Error::Record { .. }
            )
        )
    };
    let is_storage = error.chain().any(|cause| {
        is_of_publish(cause)
            || cause.is::<store::Error>()
            || cause.is::<spool::Error>()
            || is_disk_of_ledger(cause)
    });
    let message = || format!("could not publish: {error:#}");
    is_storage.then(|| Failure::new(Cause::Storage, message()))
}

/// Whether the ledger's disk caused an error: the one disk without which nothing goes on.
fn is_of_ledger_disk(error: &anyhow::Error) -> bool {
    error.chain().any(is_disk_of_ledger)
}

fn is_disk_of_ledger(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<ledger::Error>()
        .is_some_and(ledger::Error::is_of_disk)
}

/// An error with the ledger's path, what is left on its disk, and what to do, if that disk is the
/// cause: the database tells none of it. Where this user may not write, no space helps.
#[must_use]
pub fn with_disk(error: anyhow::Error, ledger: &Path) -> anyhow::Error {
    if !is_of_ledger_disk(&error) {
        return error;
    }
    let is_of_permission = |cause: &ledger::Error| cause.is_of_permission();
    if error.downcast_ref().is_some_and(is_of_permission) {
        return error;
    }
    if let Some(denial) = ledger::denial(ledger) {
        return error.context(denial);
    }
    let room = disk::free_space(ledger);
    error.context(format!(
        "the disk of the ledger {}{room} gives way; free some space there or mend it, then run \
         again",
        ledger.display()
    ))
}

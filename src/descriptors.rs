//! File descriptors: every open file and every connection takes one, and a process may have so
//! many at a time.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::text::number;

/// As many as all connections of pages and webhooks, to Feishu and to a lake can take at a time,
/// several times over. Linux mostly gives 1,024 unasked, macOS 256.
const WANTED: u64 = 8_192;

/// Raises the limit of this process as far as it is of use and the system lets it. Whatever cannot
/// be raised stays as it is.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |most| most.min(WANTED));
    if current.is_some_and(|current| current < wanted) {
        let current = Some(wanted);
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

/// What to do where none was left, to be appended to what was attempted; `None` for other errors.
#[must_use]
pub fn advice(error: &io::Error) -> Option<String> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => {
            let limit = getrlimit(Resource::Nofile).current;
            let limit = limit.map_or_else(|| "so many".to_owned(), number);
            Some(format!(
                "; this process may have {limit} files and connections open at a time: raise that \
                 (`LimitNOFILE=` of systemd, `ulimit -n` of a shell), then start it again"
            ))
        }
        Errno::NFILE => Some(
            "; all programs together have as many files and connections open as the system allows: \
             see which of them holds so many"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_for_want_of_a_descriptor_has_this_advice() {
        for (errno, said) in [
            (Errno::MFILE, Some("`LimitNOFILE=` of systemd")),
            (Errno::NFILE, Some("all programs together")),
            (Errno::NOSPC, None),
        ] {
            let found = advice(&errno.into());
            assert_eq!(found.is_some(), said.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(said.unwrap_or_default()));
        }
        assert_eq!(advice(&io::Error::other("Too many open files")), None);
    }
}

//! Standard output and standard error that cannot end a verb.
//!
//! The macros of the standard library panic when a disk is full or a log's reader is gone. What a
//! verb did is done by then, so it goes on. But whoever reads its answer from a file has half of
//! it, so a verb that would have ended well ends with the code of a disk. Only a closed pipe on
//! standard output ends the process: `head` has seen enough.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Code;

/// As a shell reports a program that a closed pipe ended.
const PIPE_CLOSED: i32 = 141;

/// Whether it was said that standard output takes nothing.
static WAS_TOLD: AtomicBool = AtomicBool::new(false);

/// Writes to standard output; what cannot be written is said once on standard error.
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = io::stdout().write_fmt(text) {
        give_up(&error);
    }
}

/// Writes to standard error, if that takes anything.
pub fn print_error(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

fn give_up(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(PIPE_CLOSED);
    }
    if !WAS_TOLD.swap(true, Ordering::Relaxed) {
        print_error(format_args!(
            "error: could not write to standard output: {error}\n"
        ));
    }
}

/// The exit code of a verb that ended with `code`, once all that it printed is out.
#[must_use]
pub fn ended(code: Code) -> Code {
    if let Err(error) = io::stdout().flush() {
        give_up(&error);
    }
    match code {
        Code::Done if WAS_TOLD.load(Ordering::Relaxed) => Code::Storage,
        code => code,
    }
}

/// Standard output for verbs that write to whatever they are given.
#[derive(Debug)]
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match io::stdout().write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                give_up(&error);
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = io::stdout().flush() {
            give_up(&error);
        }
        Ok(())
    }
}

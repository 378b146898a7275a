//! The exit codes: the one place where they are numbered and described, for `--help`, the README
//! and the tests.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// Everything that was asked for is done.
    Done = 0,
    /// Something that no other code describes.
    Unexpected = 1,
    /// Wrong arguments or a wrong configuration.
    Usage = 2,
    /// Some due partition is not settled.
    NotSettled = 3,
    /// Feishu does not let us.
    Credentials = 4,
    /// The quota did not suffice before the deadline.
    Quota = 5,
    /// Feishu's export failed.
    Upstream = 6,
    /// Data broke its contract.
    Contract = 7,
    /// The lake or the disk.
    Storage = 8,
    /// Another process owns the ledger.
    LedgerLocked = 9,
}

impl Code {
    /// All codes in order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::NotSettled,
        Self::Credentials,
        Self::Quota,
        Self::Upstream,
        Self::Contract,
        Self::Storage,
        Self::LedgerLocked,
    ];

    /// The number that the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What it means, in a line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected error",
            Self::Usage => {
                "wrong arguments or configuration, or a ledger that is not for this verb or version"
            }
            Self::NotSettled => {
                "run, backfill, retry, demo: some due partition is not settled; status: some is late; --json names the causes"
            }
            Self::Credentials => "stopped: credentials, scope or admin role",
            Self::Quota => "stopped: quota exhausted before the deadline",
            Self::Upstream => "stopped: the export failed at Feishu",
            Self::Contract => {
                "stopped: data broke its contract (always for convert); verify, replay, ledger rebuild: the lake is damaged"
            }
            Self::Storage => "stopped: lake or local disk",
            Self::LedgerLocked => {
                "stopped: another process holds the ledger, or another ledger the lake"
            }
        }
    }

    /// The table below `--help`.
    #[must_use]
    pub fn help() -> String {
        let rows = Self::ALL.map(|code| format!("  {}  {}", code.number(), code.description()));
        format!("Exit codes:\n{}", rows.join("\n"))
    }

    /// The table of the README, in Markdown.
    #[must_use]
    pub fn markdown() -> String {
        let rows =
            Self::ALL.map(|code| format!("| {} | {} |\n", code.number(), code.description()));
        format!("| code | meaning |\n|---|---|\n{}", rows.concat())
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_design_and_never_move() {
        let numbers = Code::ALL.map(Code::number);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(Code::Credentials.number(), 4);
        assert_eq!(Code::LedgerLocked.number(), 9);
    }

    #[test]
    fn both_tables_have_a_line_for_each_code() {
        assert_eq!(Code::help().lines().count(), 1 + Code::ALL.len());
        assert_eq!(Code::markdown().lines().count(), 2 + Code::ALL.len());
        assert!(Code::help().contains("  9  stopped: another process holds the ledger"));
    }
}

//! Why something could not be done, as a type: what the ledger stores, what a person is told to do,
//! and the exit code that says so.
//!
//! The sentence of one failure stands beside its cause in [`Failure`]. Nobody reads it back:
//! whoever has to decide asks the cause.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::exit::Code;

/// Why something could not be done.
///
/// ```
/// use meetlake::{Cause, Code};
///
/// assert_eq!(Cause::Scope.exit(), Code::Credentials);
/// assert_eq!(Cause::from_stored("quota exhausted"), Cause::QuotaExhausted);
/// assert_eq!(Cause::Scope.remedy(), "grant the scope to the app; `meetlake doctor` names it");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// App id, secret or token are not accepted.
    Credentials,
    /// The app or the user lacks a scope.
    Scope,
    /// The app's creator or the user lacks an administrator's role.
    Role,
    /// Feishu does not show this one thing to the app, or has shown it none of its kind so far.
    Hidden,
    /// Too many calls; it works after a wait.
    RateLimited,
    /// The monthly API quota of the tenant's edition is used up.
    QuotaExhausted,
    /// A call failed in a way that may pass: transport, server errors, garbled answers.
    Retry,
    /// The request is wrong and stays wrong.
    BadRequest,
    /// What was asked for does not exist, or no longer.
    Gone,
    /// Feishu could not do the export, or its file could not be fetched.
    Export,
    /// The data broke its contract.
    Data,
    /// The lake or the spool refused to write.
    Storage,
    /// This machine's own disk, or a file or process of ours.
    Local,
    /// The spool no longer has what the ledger says is in it.
    SpoolLost,
    /// None of these; a mistake of ours among them.
    Other,
}

/// Causes with the same exit code, as `--json` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseClass {
    /// Somebody must grant something.
    Access,
    /// The quota, or the time that was given.
    Quota,
    /// Feishu could not do the export.
    Export,
    /// The data broke its contract.
    Data,
    /// The lake, the spool or the disk.
    Storage,
    /// None of these.
    Other,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 15] = [
        Self::Credentials,
        Self::Scope,
        Self::Role,
        Self::Hidden,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Retry,
        Self::BadRequest,
        Self::Gone,
        Self::Export,
        Self::Data,
        Self::Storage,
        Self::Local,
        Self::SpoolLost,
        Self::Other,
    ];

    /// The word in the ledger, in logs and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Scope => "scope",
            Self::Role => "role",
            Self::Hidden => "hidden",
            Self::RateLimited => "wait",
            Self::QuotaExhausted => "quota exhausted",
            Self::Retry => "retry",
            Self::BadRequest => "bad request",
            Self::Gone => "gone",
            Self::Export => "export",
            Self::Data => "data",
            Self::Storage => "storage",
            Self::Local => "local",
            Self::SpoolLost => "spool",
            Self::Other => "other",
        }
    }

    /// The cause behind a word of the ledger; [`Cause::Other`] for a word of another version.
    #[must_use]
    pub fn from_stored(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|cause| cause.as_str() == word)
            .unwrap_or(Self::Other)
    }

    /// The class that `--json` names and that the exit code tells apart.
    #[must_use]
    pub const fn class(self) -> CauseClass {
        match self {
            Self::Credentials | Self::Scope | Self::Role | Self::Hidden => CauseClass::Access,
            Self::RateLimited | Self::QuotaExhausted => CauseClass::Quota,
            Self::Export => CauseClass::Export,
            Self::Data => CauseClass::Data,
            Self::Storage | Self::Local => CauseClass::Storage,
            Self::Retry | Self::BadRequest | Self::Gone | Self::SpoolLost | Self::Other => {
                CauseClass::Other
            }
        }
    }

    /// How far the cause reaches beyond the task that met it.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::Scope | Self::Role => Reach::Dataset,
            Self::Credentials | Self::QuotaExhausted | Self::Storage | Self::Local => Reach::Run,
            Self::Hidden
            | Self::RateLimited
            | Self::Retry
            | Self::BadRequest
            | Self::Gone
            | Self::Export
            | Self::Data
            | Self::SpoolLost
            | Self::Other => Reach::Task,
        }
    }

    /// What a person does about it. A failure's own message often says it more exactly.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Credentials => {
                "check app_id, app_secret and host; `meetlake doctor` names what is refused"
            }
            Self::Scope => "grant the scope to the app; `meetlake doctor` names it",
            Self::Role => "give the app's creator or the user the administrator's role",
            Self::Hidden => {
                "let the accessible data range of the app's scopes hold what should be asked for"
            }
            Self::RateLimited => "run again, or give the run more time",
            Self::QuotaExhausted => "wait for the next month, or raise the edition's API quota",
            Self::Retry | Self::Gone | Self::Export | Self::SpoolLost => {
                "nothing: the next run tries it again"
            }
            Self::BadRequest => "check the job's options; if they are right, report it",
            Self::Data => "look at the original in _quarantine, then `meetlake retry --quarantine`",
            Self::Storage => "mend the lake or free some space, then run again",
            Self::Local => "free some space or memory on this machine, then run again",
            Self::Other => "see the log; if it stays, report it",
        }
    }

    /// Whether a person has to do something about it; what else there is, the next run tries again.
    #[must_use]
    pub const fn needs_a_person(self) -> bool {
        match self {
            Self::Credentials
            | Self::Scope
            | Self::Role
            | Self::Hidden
            | Self::QuotaExhausted
            | Self::BadRequest
            | Self::Data
            | Self::Storage
            | Self::Local
            | Self::Other => true,
            Self::RateLimited | Self::Retry | Self::Gone | Self::Export | Self::SpoolLost => false,
        }
    }

    /// The exit code of a run that this cause alone kept from its end.
    #[must_use]
    pub const fn exit(self) -> Code {
        self.class().exit()
    }

    /// The exit code of a command that asks Feishu something and exports nothing, such as `doctor`
    /// and `api`, where this is why it was not answered: the same, but that no day waits for it.
    #[must_use]
    pub const fn exit_of_call(self) -> Code {
        match self.class() {
            CauseClass::Other => Code::Unexpected,
            class => class.exit(),
        }
    }
}

/// How far a cause reaches beyond the task that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Other tasks may do better.
    Task,
    /// No task of this dataset will do better in this run.
    Dataset,
    /// No task at all will do better in this run.
    Run,
}

impl CauseClass {
    /// The exit code of a run that causes of this class alone kept from its end.
    #[must_use]
    pub const fn exit(self) -> Code {
        match self {
            Self::Access => Code::Credentials,
            Self::Quota => Code::Quota,
            Self::Export => Code::Upstream,
            Self::Data => Code::Contract,
            Self::Storage => Code::Storage,
            Self::Other => Code::NotSettled,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One failure: its cause, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// For people: what was done, what was wrong, what to do. Never parsed.
    pub message: String,
}

impl Failure {
    /// A failure of this cause.
    #[must_use]
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
        }
    }
}

/// As `--json` has it: `kind` is the class, `word` the cause.
impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Failure", 3)?;
        fields.serialize_field("kind", &self.cause.class())?;
        fields.serialize_field("word", self.cause.as_str())?;
        fields.serialize_field("message", &self.message)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_survives_the_ledger_and_an_unknown_word_is_other() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_stored(cause.as_str()), cause);
        }
        assert_eq!(Cause::from_stored("a newer version's word"), Cause::Other);
    }

    #[test]
    fn class_reach_and_exit_code_of_every_cause() {
        use Cause::*;
        use CauseClass as Class;
        let table = [
            (Credentials, Class::Access, Reach::Run, 4),
            (Scope, Class::Access, Reach::Dataset, 4),
            (Role, Class::Access, Reach::Dataset, 4),
            (Hidden, Class::Access, Reach::Task, 4),
            (RateLimited, Class::Quota, Reach::Task, 5),
            (QuotaExhausted, Class::Quota, Reach::Run, 5),
            (Retry, Class::Other, Reach::Task, 3),
            (BadRequest, Class::Other, Reach::Task, 3),
            (Gone, Class::Other, Reach::Task, 3),
            (Export, Class::Export, Reach::Task, 6),
            (Data, Class::Data, Reach::Task, 7),
            (Storage, Class::Storage, Reach::Run, 8),
            (Local, Class::Storage, Reach::Run, 8),
            (SpoolLost, Class::Other, Reach::Task, 3),
            (Other, Class::Other, Reach::Task, 3),
        ];
        assert_eq!(table.map(|(cause, ..)| cause), Cause::ALL);
        for (cause, class, reach, exit) in table {
            let found = (cause.class(), cause.reach(), cause.exit().number());
            assert_eq!(found, (class, reach, exit), "{cause}");
            let of_call = if exit == 3 { 1 } else { exit };
            assert_eq!(cause.exit_of_call().number(), of_call, "{cause}");
            assert!(!cause.remedy().is_empty());
            let is_tried_again = cause.remedy().starts_with("nothing") || cause == RateLimited;
            assert_eq!(cause.needs_a_person(), !is_tried_again, "{cause}");
        }
    }

    #[test]
    fn a_failure_is_told_to_machines_by_class_word_and_message() {
        let failure = Failure::new(Cause::Scope, "grant it");
        assert_eq!(
            serde_json::to_string(&failure).expect("JSON"),
            r#"{"kind":"access","word":"scope","message":"grant it"}"#
        );
    }
}

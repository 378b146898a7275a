//! The life of an export task, as a pure function: no clock, no network, no ledger.
//!
//! ```text
//! Planned ──► Submitting ──► Submitted ──► Ready ──► Fetched
//!    ▲            │              │ ▲          │
//!    │            │              │ └─ fresh ──┤ link expired, once
//!    └── retry ───┴── forgotten ─┴── gone ────┘
//! ```
//!
//! A driver asks [`Machine::step`] what to do, records the state it gets, does the effect, and
//! comes back with the event. Because the state is recorded *before* its effect, a driver that dies
//! resumes with [`ExportEvent::Resumed`] and repeats at most the effect that was under way: a
//! submit whose answer was lost is sent again (the API has no idempotency key; one of the two
//! workbooks is never published), everything later carries the export's id and is only asked again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::ExportId;

/// What a finished export is downloaded with; as good as a password for the file, so it is never
/// printed and never stored: whoever goes on with a task asks for a new one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileToken(pub String);

impl std::fmt::Debug for FileToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileToken(…)")
    }
}

/// Where an export task stands; exactly what the ledger stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum State {
    /// Nothing was sent.
    #[default]
    Planned,
    /// A submit is under way, or its answer was lost.
    Submitting,
    /// Feishu works on it.
    Submitted {
        /// Feishu's id.
        export_id: ExportId,
        /// When the submit was answered.
        submitted_at: Timestamp,
        /// Answered polls so far.
        polls: u32,
        /// Whether a first link was already found dead.
        relinked: bool,
    },
    /// The file is there.
    Ready {
        /// Feishu's id.
        export_id: ExportId,
        /// When the submit was answered.
        submitted_at: Timestamp,
        /// What to download; empty in a state that was stored.
        #[serde(skip)]
        file_token: FileToken,
        /// Whether this is already the second link.
        relinked: bool,
    },
    /// The bytes are in the spool under their hash.
    Fetched {
        /// Feishu's id; `None` for reports.
        export_id: Option<ExportId>,
        /// When the request was answered.
        submitted_at: Timestamp,
        /// SHA-256 of the bytes, 64 hex digits.
        sha256: String,
        /// Their number.
        size_bytes: u64,
        /// When the last byte arrived.
        extracted_at: Timestamp,
    },
}

impl State {
    /// One word for people and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Submitting => "submitting",
            Self::Submitted { .. } => "submitted",
            Self::Ready { .. } => "ready",
            Self::Fetched { .. } => "fetched",
        }
    }

    /// SHA-256 of the bytes, once fetched.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Fetched { sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// Feishu's id of the export, where one is recorded.
    #[must_use]
    pub const fn export_id(&self) -> Option<&ExportId> {
        match self {
            Self::Submitted { export_id, .. } | Self::Ready { export_id, .. } => Some(export_id),
            Self::Fetched { export_id, .. } => export_id.as_ref(),
            Self::Planned | Self::Submitting => None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportEvent {
    /// A driver picks the task up, for the first time or after a stop.
    Resumed,
    /// The submit was answered with an id.
    Submitted(ExportId),
    /// A poll said: not yet (or something nobody knows).
    StillProcessing,
    /// A poll said: done.
    FileReady(FileToken),
    /// A poll said: failed.
    ExportFailed,
    /// The file was downloaded and checked.
    Downloaded {
        /// SHA-256 of the bytes.
        sha256: String,
        /// Their number.
        size_bytes: u64,
    },
    /// Feishu no longer knows what was asked for: the export's id while polling, the file while
    /// downloading.
    Gone,
    /// What came is no workbook, or not all of it.
    BadDownload,
    /// The call failed in a way that may pass.
    CallFailed,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Submit the export.
    Submit,
    /// Ask whether it is done.
    Poll(ExportId),
    /// Fetch the file behind this token.
    Download(FileToken),
    /// Nothing more to fetch: decode.
    Decode,
    /// Give this attempt up; the ledger decides when the next one starts.
    GiveUp(GaveUp),
}

/// Why an attempt was given up, where the machine itself decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// A call failed; its own error says why.
    CallFailed,
    /// Feishu reported that the export failed.
    ExportFailed,
    /// The export did not finish before the deadline.
    DeadlinePassed,
    /// Feishu forgot the export.
    Forgotten,
    /// The file could not be fetched, nor a second link to it.
    FileGone,
    /// What was downloaded cannot be read.
    Damaged,
    /// The day of a snapshot is over.
    DayIsOver,
}

/// A state to record, an effect to perform, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Recorded before the effect is performed.
    pub state: State,
    /// What to do.
    pub effect: Effect,
    /// Not before this instant.
    pub wake_at: Timestamp,
}

/// An event that cannot happen in a state: a driver's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an export task that is {state} cannot take the event {event}")]
pub struct IllegalTransition {
    state: &'static str,
    event: String,
}

/// The rules of an export task's life, with the waiting times that one kind of export needs.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// From the submit to the first poll: a little more than this kind usually takes.
    pub first_poll: Duration,
    /// From the submit until the attempt is given up.
    pub deadline: Duration,
}

/// A poll that came too early is repeated after a share of the time waited so far, at least this
/// long, …
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
/// … and at most this long.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

impl Machine {
    /// The next state and what to do for it.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the event does not belong to the state.
    pub fn step(
        &self,
        state: State,
        event: ExportEvent,
        now: Timestamp,
    ) -> Result<Step, IllegalTransition> {
        use State::{Fetched, Planned, Ready, Submitted, Submitting};
        let step = |state, effect, wake_at| {
            Ok(Step {
                state,
                effect,
                wake_at,
            })
        };
        let give_up = |state, why| step(state, Effect::GiveUp(why), now);
        match (state, event) {
            (Planned | Submitting, ExportEvent::Resumed) => step(Submitting, Effect::Submit, now),
            (Submitting, ExportEvent::Submitted(export_id)) => {
                let first_poll = later(now, self.first_poll);
                let effect = Effect::Poll(export_id.clone());
                let (submitted_at, polls, relinked) = (now, 0, false);
                step(
                    Submitted {
                        export_id,
                        submitted_at,
                        polls,
                        relinked,
                    },
                    effect,
                    first_poll,
                )
            }
            (Submitting, ExportEvent::CallFailed) => give_up(Planned, GaveUp::CallFailed),

            (state @ Submitted { .. }, ExportEvent::Resumed) => {
                let Submitted {
                    export_id,
                    submitted_at,
                    polls,
                    ..
                } = &state
                else {
                    unreachable!()
                };
                let wake_at = if *polls == 0 {
                    later(*submitted_at, self.first_poll).max(now)
                } else {
                    now
                };
                let effect = Effect::Poll(export_id.clone());
                step(state, effect, wake_at)
            }
            (
                Submitted {
                    export_id,
                    submitted_at,
                    polls,
                    relinked,
                },
                ExportEvent::StillProcessing,
            ) => {
                if now >= later(submitted_at, self.deadline) {
                    return give_up(Planned, GaveUp::DeadlinePassed);
                }
                let waited =
                    Duration::try_from(now.duration_since(submitted_at)).unwrap_or_default();
                let wait = (waited / 2).clamp(SHORTEST_WAIT, LONGEST_WAIT);
                let effect = Effect::Poll(export_id.clone());
                let polls = polls.saturating_add(1);
                step(
                    Submitted {
                        export_id,
                        submitted_at,
                        polls,
                        relinked,
                    },
                    effect,
                    later(now, wait),
                )
            }
            (
                Submitted {
                    export_id,
                    submitted_at,
                    relinked,
                    ..
                },
                ExportEvent::FileReady(file_token),
            ) => {
                let effect = Effect::Download(file_token.clone());
                step(
                    Ready {
                        export_id,
                        submitted_at,
                        file_token,
                        relinked,
                    },
                    effect,
                    now,
                )
            }
            (Submitted { .. }, ExportEvent::ExportFailed) => give_up(Planned, GaveUp::ExportFailed),
            (Submitted { .. }, ExportEvent::Gone) => give_up(Planned, GaveUp::Forgotten),
            (state @ Submitted { .. }, ExportEvent::CallFailed) => {
                give_up(state, GaveUp::CallFailed)
            }

            (
                Ready {
                    export_id,
                    submitted_at,
                    relinked,
                    ..
                },
                ExportEvent::Resumed,
            ) => {
                let effect = Effect::Poll(export_id.clone());
                step(
                    Submitted {
                        export_id,
                        submitted_at,
                        polls: 1,
                        relinked,
                    },
                    effect,
                    now,
                )
            }
            (
                Ready {
                    export_id,
                    submitted_at,
                    ..
                },
                ExportEvent::Downloaded { sha256, size_bytes },
            ) => {
                let export_id = Some(export_id);
                step(
                    Fetched {
                        export_id,
                        submitted_at,
                        sha256,
                        size_bytes,
                        extracted_at: now,
                    },
                    Effect::Decode,
                    now,
                )
            }
            (
                Ready {
                    export_id,
                    submitted_at,
                    relinked: false,
                    ..
                },
                ExportEvent::Gone | ExportEvent::BadDownload,
            ) => {
                let effect = Effect::Poll(export_id.clone());
                step(
                    Submitted {
                        export_id,
                        submitted_at,
                        polls: 1,
                        relinked: true,
                    },
                    effect,
                    now,
                )
            }
            (Ready { relinked: true, .. }, ExportEvent::Gone | ExportEvent::BadDownload) => {
                give_up(Planned, GaveUp::FileGone)
            }
            (state @ Ready { .. }, ExportEvent::CallFailed) => give_up(state, GaveUp::CallFailed),

            (state @ Fetched { .. }, ExportEvent::Resumed) => step(state, Effect::Decode, now),
            // What was downloaded cannot be read: perhaps it was cut short, so it is fetched once
            // more before anybody blames the data.
            (
                Fetched {
                    export_id: Some(export_id),
                    submitted_at,
                    ..
                },
                ExportEvent::BadDownload,
            ) => {
                let (polls, relinked) = (1, true);
                give_up(
                    Submitted {
                        export_id,
                        submitted_at,
                        polls,
                        relinked,
                    },
                    GaveUp::Damaged,
                )
            }
            (Fetched { .. }, ExportEvent::BadDownload) => give_up(Planned, GaveUp::Damaged),

            (state, event) => Err(IllegalTransition {
                state: state.name(),
                event: format!("{event:?}"),
            }),
        }
    }
}

fn later(instant: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MACHINE: Machine = Machine {
        first_poll: Duration::from_secs(8),
        deadline: Duration::from_secs(600),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn id() -> ExportId {
        ExportId("7111325589855797267".into())
    }

    #[test]
    fn the_straight_way_records_each_state_before_its_effect() {
        let step = MACHINE
            .step(State::Planned, ExportEvent::Resumed, at(0))
            .expect("legal");
        assert_eq!(
            (step.state.name(), &step.effect),
            ("submitting", &Effect::Submit)
        );
        let step = MACHINE
            .step(step.state, ExportEvent::Submitted(id()), at(1))
            .expect("legal");
        assert_eq!(
            (step.state.name(), &step.effect, step.wake_at),
            ("submitted", &Effect::Poll(id()), at(9))
        );
        let step = MACHINE
            .step(
                step.state,
                ExportEvent::FileReady(FileToken("token".into())),
                at(9),
            )
            .expect("legal");
        assert_eq!(
            (step.state.name(), &step.effect),
            ("ready", &Effect::Download(FileToken("token".into())))
        );
        let event = ExportEvent::Downloaded {
            sha256: "00".into(),
            size_bytes: 4,
        };
        let step = MACHINE.step(step.state, event, at(10)).expect("legal");
        assert_eq!(
            (step.state.name(), &step.effect),
            ("fetched", &Effect::Decode)
        );
    }

    #[test]
    fn a_recorded_id_is_never_submitted_again_by_a_restart() {
        for state in [
            State::Submitted {
                export_id: id(),
                submitted_at: at(0),
                polls: 0,
                relinked: false,
            },
            State::Ready {
                export_id: id(),
                submitted_at: at(0),
                file_token: FileToken("t".into()),
                relinked: false,
            },
            State::Fetched {
                export_id: Some(id()),
                submitted_at: at(0),
                sha256: String::new(),
                size_bytes: 0,
                extracted_at: at(0),
            },
        ] {
            let step = MACHINE
                .step(state.clone(), ExportEvent::Resumed, at(1000))
                .expect("legal");
            assert_eq!(step.state.export_id(), state.export_id());
            assert_ne!(step.effect, Effect::Submit);
        }
    }

    #[test]
    fn a_file_token_is_not_stored_and_a_restart_asks_for_another() {
        let ready = State::Ready {
            export_id: id(),
            submitted_at: at(0),
            file_token: FileToken("s3cret".into()),
            relinked: true,
        };
        let json = serde_json::to_string(&ready).expect("json");
        assert!(!json.contains("s3cret"), "{json}");
        // As the first format of the ledger had it.
        let stored = json.replacen('{', "{\"file_token\":\"old\",", 1);
        let stored: State = serde_json::from_str(&stored).expect("a state");
        let step = MACHINE
            .step(stored, ExportEvent::Resumed, at(1000))
            .expect("legal");
        assert_eq!(step.effect, Effect::Poll(id()));
        assert!(matches!(
            step.state,
            State::Submitted { relinked: true, .. }
        ));
    }

    #[test]
    fn a_dead_link_is_renewed_once_and_then_the_attempt_ends() {
        let ready = State::Ready {
            export_id: id(),
            submitted_at: at(0),
            file_token: FileToken("t".into()),
            relinked: false,
        };
        let step = MACHINE
            .step(ready, ExportEvent::Gone, at(20))
            .expect("legal");
        assert_eq!(step.effect, Effect::Poll(id()));
        let step = MACHINE
            .step(
                step.state,
                ExportEvent::FileReady(FileToken("u".into())),
                at(21),
            )
            .expect("legal");
        let step = MACHINE
            .step(step.state, ExportEvent::BadDownload, at(22))
            .expect("legal");
        assert_eq!(
            (step.state, step.effect),
            (State::Planned, Effect::GiveUp(GaveUp::FileGone))
        );
    }

    #[test]
    fn a_failed_call_keeps_what_is_known() {
        let submitted = State::Submitted {
            export_id: id(),
            submitted_at: at(0),
            polls: 2,
            relinked: false,
        };
        let step = MACHINE
            .step(submitted.clone(), ExportEvent::CallFailed, at(5))
            .expect("legal");
        assert_eq!(
            (step.state, step.effect),
            (submitted, Effect::GiveUp(GaveUp::CallFailed))
        );
    }

    #[test]
    fn an_event_out_of_place_is_an_error_and_not_a_panic() {
        let error = MACHINE
            .step(State::Planned, ExportEvent::StillProcessing, at(0))
            .expect_err("illegal");
        assert_eq!(
            error.to_string(),
            "an export task that is planned cannot take the event StillProcessing"
        );
    }

    proptest! {
        #[test]
        fn a_stuck_export_ends_at_its_deadline(delays in prop::collection::vec(0u32..30, 0..400)) {
            let mut step = MACHINE.step(State::Submitting, ExportEvent::Submitted(id()), at(0)).expect("legal");
            for late in delays {
                let now = later(step.wake_at, Duration::from_secs(late.into()));
                step = MACHINE.step(step.state, ExportEvent::StillProcessing, now).expect("legal");
                if now >= at(600) {
                    prop_assert_eq!(&step.effect, &Effect::GiveUp(GaveUp::DeadlinePassed));
                    return Ok(());
                }
                prop_assert!(step.wake_at > now && step.wake_at <= later(now, LONGEST_WAIT));
            }
        }
    }
}

//! Named faults: what goes wrong, where and how often.
//!
//! A fault is text such as `429:0.05`, `drop:x3`, `5xx@poll:0.2` or `html-200@rooms:#2`. Whether
//! one with a rate strikes is a hash of the seed, the fault, the endpoint and the number of the
//! request on that endpoint, so a run with the same requests meets the same faults. What a fault
//! does is up to the place that asks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::endpoint::Endpoint;
use crate::random::Draw;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// `429`: the limit is said to be exceeded.
    RateLimit,
    /// `5xx`: 500 with a code, or a 502, 503 or 504 from the gateway, with a body that is no JSON.
    ServerError,
    /// `slow`: the answer takes 20 simulated seconds longer.
    Slow,
    /// `drop`: the connection is closed without an answer; odd requests of the endpoint (counted from 0) have taken effect by then.
    Drop,
    /// `truncated`: a download ends early, by turns with a matching length and with a broken connection.
    Truncated,
    /// `failed`: the export task ends with status 2.
    Failed,
    /// `stuck`: the export task stays at status 1.
    Stuck,
    /// `expired-token`: 99991663, and the token is worthless from then on.
    ExpiredToken,
    /// `gone-file`: the file of a finished task is gone for good, 404 and 121004.
    GoneFile,
    /// `permission-denied`: 403 and 121005.
    PermissionDenied,
    /// `empty`: the export's file has only its header although there is data.
    Empty,
    /// `short`: the export's file lacks every other row, the list of a number its last meeting.
    Short,
    /// `quota`: 99991403, the month's calls are used up.
    QuotaUsedUp,
    /// `html-200`: status 200 with a page instead of the answer.
    Html200,
}

impl FaultKind {
    /// All faults.
    pub const ALL: [Self; 14] = [
        Self::RateLimit,
        Self::ServerError,
        Self::Slow,
        Self::Drop,
        Self::Truncated,
        Self::Failed,
        Self::Stuck,
        Self::ExpiredToken,
        Self::GoneFile,
        Self::PermissionDenied,
        Self::Empty,
        Self::Short,
        Self::QuotaUsedUp,
        Self::Html200,
    ];

    /// The name in the text of a fault.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "429",
            Self::ServerError => "5xx",
            Self::Slow => "slow",
            Self::Drop => "drop",
            Self::Truncated => "truncated",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::ExpiredToken => "expired-token",
            Self::GoneFile => "gone-file",
            Self::PermissionDenied => "permission-denied",
            Self::Empty => "empty",
            Self::Short => "short",
            Self::QuotaUsedUp => "quota",
            Self::Html200 => "html-200",
        }
    }

    /// Where the fault can strike.
    const fn applies_to(self, endpoint: Endpoint) -> bool {
        match self {
            Self::ServerError | Self::Slow | Self::Drop | Self::Html200 => true,
            Self::RateLimit | Self::QuotaUsedUp | Self::ExpiredToken => !endpoint.is_token(),
            Self::PermissionDenied => endpoint.is_export() || matches!(endpoint, Endpoint::Meeting),
            Self::Short if matches!(endpoint, Endpoint::MeetingListByNo) => true,
            Self::Failed | Self::Stuck | Self::Empty | Self::Short => endpoint.is_submit(),
            Self::Truncated | Self::GoneFile => matches!(endpoint, Endpoint::Download),
        }
    }
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frequency {
    /// A share of the requests, 0 to 1.
    Rate(f64),
    /// The first so many requests.
    First(u64),
    /// Only the request with this number, counted from 1 since the fault was switched on.
    Nth(u64),
    /// That request and all after it.
    Since(u64),
}

/// A fault that is switched on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often.
    pub frequency: Frequency,
    endpoint: Option<Endpoint>,
}

/// A text that is no fault; says what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError(String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

impl Fault {
    /// Reads `name[@endpoint][:rate]`, `name[@endpoint]:xCOUNT`, `name[@endpoint]:#NUMBER` or
    /// `name[@endpoint]:#NUMBER+`; without a rate the fault strikes always.
    ///
    /// # Errors
    /// An unknown name or endpoint (the message lists the valid ones), an endpoint at which this
    /// fault cannot strike, a rate that is not between 0 and 1, or a request with the number 0.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let (target, frequency) = text
            .trim()
            .split_once(':')
            .map_or((text.trim(), "1"), |(target, rate)| (target, rate));
        let (name, endpoint) = target
            .split_once('@')
            .map_or((target, None), |(name, endpoint)| (name, Some(endpoint)));
        let Some(kind) = FaultKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let names = FaultKind::ALL.map(FaultKind::name).join(", ");
            return Err(FaultError(format!(
                "unknown fault {name:?} in {text:?}; valid faults: {names}"
            )));
        };
        let endpoint = endpoint
            .map(|endpoint| parse_endpoint(kind, endpoint, text))
            .transpose()?;
        Ok(Self {
            kind,
            frequency: parse_frequency(frequency, text)?,
            endpoint,
        })
    }

    /// The endpoint to which the fault is restricted.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'static str> {
        self.endpoint.map(Endpoint::name)
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::parse(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(endpoint) = self.endpoint {
            write!(f, "@{}", endpoint.name())?;
        }
        match self.frequency {
            Frequency::Rate(rate) => write!(f, ":{rate}"),
            Frequency::First(count) => write!(f, ":x{count}"),
            Frequency::Nth(number) => write!(f, ":#{number}"),
            Frequency::Since(number) => write!(f, ":#{number}+"),
        }
    }
}

fn parse_endpoint(kind: FaultKind, name: &str, text: &str) -> Result<Endpoint, FaultError> {
    let possible = Endpoint::ALL
        .into_iter()
        .filter(|&endpoint| kind.applies_to(endpoint));
    possible
        .clone()
        .find(|endpoint| endpoint.name() == name)
        .ok_or_else(|| {
            let names = possible.map(Endpoint::name).collect::<Vec<_>>().join(", ");
            FaultError(format!(
                "{:?} cannot strike at {name:?} in {text:?}; valid endpoints: {names}",
                kind.name()
            ))
        })
}

fn parse_frequency(frequency: &str, text: &str) -> Result<Frequency, FaultError> {
    let invalid = || {
        FaultError(format!(
            "{frequency:?} in {text:?} is neither a rate between 0 and 1, a count such as x3, \
             nor the number of a request such as #2 or #2+"
        ))
    };
    if let Some(count) = frequency.strip_prefix('x') {
        return count.parse().map(Frequency::First).map_err(|_| invalid());
    }
    if let Some(number) = frequency.strip_prefix('#') {
        let (number, goes_on) = match number.strip_suffix('+') {
            Some(number) => (number, true),
            None => (number, false),
        };
        let number: u64 = number.parse().map_err(|_| invalid())?;
        return match (number, goes_on) {
            (0, _) => Err(invalid()),
            (_, true) => Ok(Frequency::Since(number)),
            (_, false) => Ok(Frequency::Nth(number)),
        };
    }
    let rate: f64 = frequency.parse().map_err(|_| invalid())?;
    if (0.0..=1.0).contains(&rate) {
        Ok(Frequency::Rate(rate))
    } else {
        Err(invalid())
    }
}

/// The faults that are switched on now, and how often each kind has struck.
#[derive(Debug)]
pub(crate) struct Faults {
    draw: Draw,
    active: RwLock<Arc<Vec<Armed>>>,
    struck: BTreeMap<FaultKind, AtomicU64>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// Requests that were judged by a count or a number.
    judged: AtomicU64,
}

impl Faults {
    pub(crate) fn new(seed: u64, faults: &[Fault]) -> Self {
        let struck = FaultKind::ALL
            .into_iter()
            .map(|kind| (kind, AtomicU64::new(0)))
            .collect();
        let faults_in = Self {
            draw: Draw::new(seed).label("faults"),
            active: RwLock::default(),
            struck,
        };
        faults_in.set(faults);
        faults_in
    }

    /// Replaces the faults; counts such as `x3` begin anew.
    pub(crate) fn set(&self, faults: &[Fault]) {
        let armed = faults
            .iter()
            .map(|fault| Armed {
                fault: fault.clone(),
                judged: AtomicU64::new(0),
            })
            .collect();
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(armed);
    }

    /// Whether `kind` strikes request `number` on `endpoint`; asking counts as a strike if so.
    pub(crate) fn strikes(&self, kind: FaultKind, endpoint: Endpoint, number: u64) -> bool {
        if !kind.applies_to(endpoint) {
            return false;
        }
        let active = Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner));
        let matching = active.iter().filter(|armed| {
            armed.fault.kind == kind && armed.fault.endpoint.is_none_or(|only| only == endpoint)
        });
        let draw = self
            .draw
            .label(kind.name())
            .label(endpoint.name())
            .at(number);
        let mut strikes = false;
        for armed in matching {
            let judged_before = || armed.judged.fetch_add(1, Ordering::Relaxed);
            strikes |= match armed.fault.frequency {
                Frequency::Rate(rate) => draw.chance(rate),
                // What strikes anyway is not taken from the count.
                Frequency::First(count) => !strikes && judged_before() < count,
                Frequency::Nth(number) => judged_before() + 1 == number,
                Frequency::Since(number) => judged_before() + 1 >= number,
            };
        }
        if strikes && let Some(counter) = self.struck.get(&kind) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    /// How often each kind has struck, without those that have not.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        let counts = self
            .struck
            .iter()
            .map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)));
        counts.filter(|&(_, count)| count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_written() {
        for kind in FaultKind::ALL {
            let fault = Fault::parse(&format!("{}:0.25", kind.name())).unwrap();
            assert_eq!((fault.kind, fault.frequency), (kind, Frequency::Rate(0.25)));
            assert_eq!(Fault::parse(&fault.to_string()), Ok(fault));
        }
        let fault = Fault::parse("429@poll:x3").unwrap();
        assert_eq!(
            (fault.endpoint(), fault.frequency),
            (Some("poll"), Frequency::First(3))
        );
        assert_eq!(
            Fault::parse("stuck").unwrap().frequency,
            Frequency::Rate(1.0)
        );
        for (text, frequency) in [
            ("5xx@rooms:#2", Frequency::Nth(2)),
            ("5xx@rooms:#2+", Frequency::Since(2)),
        ] {
            let fault = Fault::parse(text).unwrap();
            assert_eq!(
                (fault.frequency, fault.to_string()),
                (frequency, text.to_owned())
            );
        }
    }

    #[test]
    fn a_wrong_text_names_what_is_valid() {
        let table = [
            ("slwo:0.1", "valid faults: 429, 5xx, slow, drop"),
            (
                "failed@poll:0.1",
                "valid endpoints: meeting_list, participant_list",
            ),
            ("429@nowhere", "valid endpoints: get_daily"),
            ("429:2", "between 0 and 1"),
            ("429:x", "between 0 and 1"),
            ("429:NaN", "between 0 and 1"),
            ("429:#0", "such as #2"),
            ("429:#-1", "such as #2"),
            ("429:#2+x", "such as #2"),
        ];
        for (text, expected) in table {
            let message = Fault::parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn strikes_are_repeatable_and_near_their_rate() {
        let faults = Faults::new(1, &[Fault::parse("429:0.2").unwrap()]);
        let round = |faults: &Faults| -> Vec<bool> {
            (0..1_000)
                .map(|n| faults.strikes(FaultKind::RateLimit, Endpoint::Poll, n))
                .collect()
        };
        let first = round(&faults);
        assert_eq!(first, round(&faults));
        assert!((150..250).contains(&first.iter().filter(|&&hit| hit).count()));
        assert!(!faults.strikes(FaultKind::RateLimit, Endpoint::TenantToken, 1));
    }

    #[test]
    fn a_number_strikes_that_request_or_all_from_it() {
        let strikes = |texts: &[&str]| -> Vec<u64> {
            let faults: Vec<Fault> = texts
                .iter()
                .map(|text| Fault::parse(text).unwrap())
                .collect();
            let faults = Faults::new(1, &faults);
            // The numbers of the requests go on when a fault is switched on later.
            (1..=5)
                .filter(|n| faults.strikes(FaultKind::ServerError, Endpoint::Rooms, 100 + n))
                .collect()
        };
        assert_eq!(strikes(&["5xx@rooms:#2"]), [2]);
        assert_eq!(strikes(&["5xx@rooms:#4+"]), [4, 5]);
        assert_eq!(strikes(&["5xx@rooms:#2", "5xx:#4"]), [2, 4]);
        assert_eq!(strikes(&["5xx@rooms:x1", "5xx@rooms:#3"]), [1, 3]);
        assert_eq!(strikes(&["5xx@room_levels:#1"]), [0; 0]);
    }

    #[test]
    fn a_count_strikes_the_first_requests_and_again_after_a_reset() {
        let fault = Fault::parse("drop@poll:x2").unwrap();
        let faults = Faults::new(1, std::slice::from_ref(&fault));
        let hits = |faults: &Faults| {
            (0..5)
                .filter(|&n| faults.strikes(FaultKind::Drop, Endpoint::Poll, n))
                .count()
        };
        assert!(!faults.strikes(FaultKind::Drop, Endpoint::Download, 0));
        assert_eq!((hits(&faults), hits(&faults)), (2, 0));
        faults.set(&[fault]);
        assert_eq!(hits(&faults), 2);
        assert_eq!(faults.struck()["drop"], 4);
    }
}

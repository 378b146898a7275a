//! What can go wrong with a call, grouped by what the caller should do about it.
//!
//! One table maps Feishu's codes to an [`Cause`] and a sentence for people. The HTTP status
//! decides where the code is unknown. Texts from Feishu are cleaned before they are kept: no
//! control characters, none of our secrets, at most 300 characters.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::cause::Cause;
use crate::datasets::{Endpoint, listing};
use crate::network;

/// The longest text from Feishu that is shown, in characters.
const TEXT_LIMIT: usize = 300;

/// The longest wait that a server may ask for. A longer one is a mistake or malice.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The wait after a rate limit that names none. The limits are per minute.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

const SECRET: &str = "check app_id and app_secret against the app's page in the developer console";
const TOKEN: &str = "the token was not accepted twice; check that app, tenant and host \
                     (Feishu or Lark) belong together";
const APP: &str =
    "have the tenant's administrator install or enable the app, and publish a version of it";
const SIGN_IN: &str = "let the user authorize the app again and replace the refresh token file";
const OUR_REQUEST: &str = "the request does not fit the API; report it with the log id";
const PARAMETER: &str = "check ids and dates of the job; the message names the parameter";
const USER_ID: &str =
    "the answer holds accounts without such an id (Rooms); ask for user_id_type = \"open_id\"";
const REDIRECTED: &str = "redirects are not followed; check host";
const NOT_FEISHU: &str = "this is not the API's own answer; check host and proxies";
const LIMITED: &str = "it is tried again when the limit resets; another program may share the app";
const LATER: &str = "Feishu's side is in trouble; it is tried again later";
const GONE: &str = "what was asked for does not exist (any more); an export is requested again";
const HIDDEN: &str = "this one is hidden from the app, and what the lake has of it stays; the \
                      accessible data range of the scope, in the developer console, decides";
const GARBLED: &str = "it is tried again later; if it stays, check host and what stands between \
                        this machine and Feishu";
const UNREACHABLE: &str =
    "it is tried again later; if it stays, check host, DNS, firewall and proxy";
const TOO_SLOW: &str =
    "it is tried again later; if it stays, the network or Feishu is too slow for the time limits";
const CUT_OFF: &str =
    "it is tried again later; if it stays, check what stands between this machine and Feishu";

/// Every documented code, its kind, and what a person does about it. Source: API reference, 1.2,
/// 1.4, 3.6, 5.2 and 6.
pub(super) const TABLE: &[(&[i64], Cause, &str)] = &[
    // tenant_access_token; these come with HTTP 200
    (&[10003, 10014, 10015, 99991543], Cause::Credentials, SECRET),
    (
        &[10012, 10013, 10016],
        Cause::Credentials,
        "meetlake signs in as a self-built app; use the credentials of one",
    ),
    // user_access_token
    (&[20002, 20024], Cause::Credentials, SECRET),
    (
        &[
            20003, 20004, 20008, 20026, 20037, 20064, 20065, 20066, 20073,
        ],
        Cause::Credentials,
        SIGN_IN,
    ),
    (&[20009, 20048, 20069], Cause::Credentials, APP),
    (
        &[20010],
        Cause::Role,
        "add the user to the app's availability in the developer console",
    ),
    (
        &[20067, 20068],
        Cause::Scope,
        "grant the scopes to the app, then let the user authorize it again",
    ),
    (
        &[20074],
        Cause::Credentials,
        "turn on \"refresh user_access_token\" in the app's security settings",
    ),
    (
        &[20001, 20036, 20049, 20063, 20070, 20071],
        Cause::BadRequest,
        OUR_REQUEST,
    ),
    (&[20050, 20072], Cause::Retry, LATER),
    // the gateway
    (
        &[99991661, 99991663, 99991664, 99991665, 99991671],
        Cause::Credentials,
        TOKEN,
    ),
    (&[99991668, 99991669, 99991677], Cause::Credentials, SIGN_IN),
    (&[99991662, 99991673, 212100], Cause::Credentials, APP),
    (
        &[99991401],
        Cause::Credentials,
        "add this machine's public IPv4 address to the app's IP allow-list, or turn the list off",
    ),
    (
        &[99991672],
        Cause::Scope,
        "grant one of these scopes to the app in the developer console and publish a version",
    ),
    (
        &[99991679],
        Cause::Scope,
        "let the user authorize the app again with these scopes",
    ),
    (&[99991400], Cause::RateLimited, LIMITED),
    (
        &[99991403],
        Cause::QuotaExhausted,
        "the monthly API quota is used up; it renews next month, or with a larger edition",
    ),
    (
        &[99991201, 99991301],
        Cause::BadRequest,
        "check host: this one does not know the endpoint",
    ),
    (&[99992402, 9499], Cause::BadRequest, PARAMETER),
    (
        &[99992351, 99992361, 99992363, 99992364, 99992375, 99992376],
        Cause::BadRequest,
        "an id is unknown here or belongs to another app or tenant",
    ),
    (&[99992359, 99992360, 122359], Cause::BadRequest, USER_ID),
    (&[1500, 2200, 5000, 10500], Cause::Retry, LATER),
    // video conferencing
    (&[121001], Cause::Retry, LATER),
    (
        &[121002],
        Cause::BadRequest,
        "this tenant's edition or data region does not offer the call",
    ),
    (&[121003], Cause::BadRequest, PARAMETER),
    (&[121004], Cause::Gone, GONE),
    (
        &[121005],
        Cause::Role,
        "give the app's creator (or the configured user) Admin console > Video conferencing > \
         Meeting management, and use one identity throughout; for single meetings, let the \
         scope's accessible data range in the developer console hold them",
    ),
    (
        &[121006],
        Cause::Retry,
        "the data is being changed; it is tried again later",
    ),
    (
        &[125002],
        Cause::Other,
        "the tenant's plan does not include the call",
    ),
    (
        &[
            126001, 126002, 126003, 126004, 126005, 126006, 126007, 126008, 126015, 126016,
        ],
        Cause::BadRequest,
        PARAMETER,
    ),
    (
        &[126009, 126010],
        Cause::Gone,
        "the meeting or the participant is not known as its list told of it; if its row there has \
         changed since, it is asked for anew when the list is",
    ),
];

/// Whether the documentation names a code.
pub(super) fn is_documented(code: i64) -> bool {
    TABLE.iter().any(|(codes, ..)| codes.contains(&code))
}

/// The kind and the fix: from the code's row, else from the status, else [`Cause::Other`].
fn meaning(status: u16, code: Option<i64>) -> (Cause, Option<&'static str>) {
    let row = code.and_then(|code| TABLE.iter().find(|(codes, ..)| codes.contains(&code)));
    if let Some((_, kind, fix)) = row {
        return (*kind, Some(fix));
    }
    match (status, code) {
        (429, _) => (Cause::RateLimited, Some(LIMITED)),
        (408 | 500..=599, _) => (Cause::Retry, Some(CUT_OFF)),
        (300..=399, _) => (Cause::Other, Some(REDIRECTED)),
        (_, None) => (Cause::Other, Some(NOT_FEISHU)),
        (_, Some(_)) => (Cause::Other, None),
    }
}

/// A call that failed. It holds no secret and no value of the tenant's data.
#[derive(Clone, Debug)]
pub struct Error(Box<ErrorDetails>);

#[derive(Clone, Debug)]
struct ErrorDetails {
    kind: Cause,
    action: String,
    message: String,
    fix: Option<&'static str>,
    status: Option<u16>,
    code: Option<i64>,
    log_id: Option<String>,
    retry_after: Option<Duration>,
    call_limit: Option<u32>,
    missing_scopes: Vec<String>,
    outcome_unknown: bool,
}

impl Error {
    fn new(kind: Cause, action: &str, message: String) -> Self {
        Self(Box::new(ErrorDetails {
            kind,
            action: action.to_owned(),
            message,
            fix: None,
            status: None,
            code: None,
            log_id: None,
            retry_after: None,
            call_limit: None,
            missing_scopes: Vec::new(),
            outcome_unknown: false,
        }))
    }

    /// A request that got no answer. `sent` says whether the server may have seen it.
    pub(super) fn transport(action: &str, error: reqwest::Error, sent: bool) -> Self {
        // The URL may hold a file token.
        let error = error.without_url();
        let mut this = Self::new(Cause::Retry, action, with_causes(&error));
        this.0.fix = Some(transport_fix(&error));
        this.0.outcome_unknown = sent;
        this
    }

    /// An answer that refuses the request, with Feishu's status, headers and body.
    pub(super) fn refused(action: &str, answer: &RefusedAnswer<'_>) -> Self {
        let (kind, fix) = meaning(answer.status, answer.code);
        let mut this = Self::new(kind, action, answer.text());
        let details = &mut this.0;
        details.fix = fix;
        details.status = Some(answer.status);
        details.code = answer.code;
        details.log_id = answer.log_id.clone().or_else(|| answer.body_log_id());
        details.retry_after = answer.wait(kind);
        details.call_limit = answer.call_limit;
        details.missing_scopes = answer.missing_scopes(kind);
        // An envelope comes from the service itself, which then did nothing. A bare 408 or 5xx
        // comes from a gateway, which does not know.
        details.outcome_unknown =
            answer.code.is_none() && (answer.status >= 500 || answer.status == 408);
        this
    }

    /// An answer with a good status that cannot be read. The request may have been carried out.
    pub(super) fn garbled(
        action: &str,
        message: impl Into<String>,
        log_id: Option<String>,
    ) -> Self {
        let mut this = Self::new(Cause::Retry, action, message.into());
        this.0.fix = Some(GARBLED);
        this.0.log_id = log_id;
        this.0.outcome_unknown = true;
        this
    }

    /// The same error, with kind [`Cause::Gone`] if the bare status says that the file is gone.
    pub(super) fn gone_if_not_found(mut self) -> Self {
        let details = &mut *self.0;
        if details.code.is_none() && matches!(details.status, Some(404 | 410)) {
            details.kind = Cause::Gone;
            details.fix = Some(GONE);
        }
        self
    }

    /// A refusal that may be about one thing only: others of its kind are asked for.
    #[must_use]
    pub fn perhaps_hidden(mut self) -> Self {
        self.0.kind = Cause::Hidden;
        self
    }

    /// A refusal that is about one thing only.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        let details = &mut *self.0;
        (details.kind, details.fix) = (Cause::Hidden, Some(HIDDEN));
        self
    }

    /// A file of ours that could not be read or written.
    pub(super) fn local(action: &str, message: impl Into<String>) -> Self {
        Self::new(Cause::Local, action, message.into())
    }

    /// An error of a listing whose pages were each answered, and make no list.
    #[must_use]
    pub fn unlisted(endpoint: &Endpoint, error: &listing::Error) -> Self {
        let action = super::exports::listing_action(endpoint);
        match error {
            listing::Error::Garbled(_) | listing::Error::Changed => {
                Self::garbled(&action, error.to_string(), None)
            }
            listing::Error::Endless(_)
            | listing::Error::TooManyPages
            | listing::Error::NotListed => Self::other(&action, error.to_string()),
            // Each of the answers was a refusal with this code.
            listing::Error::Refused { code, .. } => {
                let (kind, fix) = meaning(400, Some(*code));
                let mut this = Self::new(kind, &action, error.to_string());
                (this.0.fix, this.0.code) = (fix, Some(*code));
                this
            }
        }
    }

    /// An answer that was good, and from which nothing follows.
    #[must_use]
    pub fn unreadable(why: &str) -> Self {
        Self::other("read the answer", why)
    }

    /// An error that a retry does not cure.
    pub(super) fn other(action: &str, message: impl Into<String>) -> Self {
        Self::new(Cause::Other, action, message.into())
    }

    /// The same error, of an earlier call that the intended call needed. The intended call was not
    /// sent.
    pub(super) fn before_sending(mut self) -> Self {
        self.0.outcome_unknown = false;
        self
    }

    /// What the error asks of the caller.
    #[must_use]
    pub fn kind(&self) -> Cause {
        self.0.kind
    }

    /// Whether the same call may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, Cause::Retry | Cause::RateLimited)
    }

    /// Whether the request was sent and its outcome is unknown. An export task may then exist whose
    /// id is lost.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// Feishu's code, if the answer had one.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        self.0.code
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Feishu's id of the request, which its support asks for.
    #[must_use]
    pub fn log_id(&self) -> Option<&str> {
        self.0.log_id.as_deref()
    }

    /// How long the server asks to wait, at most two minutes. A rate limit always has one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The scopes as Feishu names them. One of them is missing.
    #[cfg(test)]
    #[must_use]
    pub fn missing_scopes(&self) -> &[String] {
        &self.0.missing_scopes
    }

    /// What a person can do about it, if that is known.
    #[cfg(test)]
    #[must_use]
    pub fn fix(&self) -> Option<&'static str> {
        self.0.fix
    }

    /// The endpoint's limit, from the answer's header.
    pub(super) fn call_limit(&self) -> Option<u32> {
        self.0.call_limit
    }

    /// Whether the site does not know the path, or not for this method.
    #[must_use]
    pub fn is_unknown_path(&self) -> bool {
        matches!(
            (self.0.code, self.0.status),
            (Some(99991201 | 99991301), _) | (None, Some(404 | 405))
        )
    }

    /// Whether a new token may help: the one sent has expired, was revoked, or did not arrive.
    #[must_use]
    pub fn is_stale_token(&self) -> bool {
        matches!(self.0.code, Some(99991661 | 99991663 | 99991668 | 99991677))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &*self.0;
        write!(f, "could not {}: ", details.action)?;
        match (details.code, details.status) {
            (Some(code), Some(status)) => write!(f, "Feishu answered {code} (HTTP {status})")?,
            (None, Some(status)) => write!(f, "the answer was HTTP {status}")?,
            (_, None) => f.write_str(&details.message)?,
        }
        if details.status.is_some() && !details.message.is_empty() {
            write!(f, " \"{}\"", details.message)?;
        }
        if !details.missing_scopes.is_empty() {
            write!(
                f,
                ", one scope missing of {}",
                details.missing_scopes.join(", ")
            )?;
        }
        if let Some(log_id) = &details.log_id {
            write!(f, ", log id {log_id}")?;
        }
        match details.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// What happened, without advice.
    #[must_use]
    pub fn without_advice(&self) -> String {
        let mut bare = self.clone();
        bare.0.fix = None;
        bare.to_string()
    }

    /// The text for a call that a person made: nobody else repeats it.
    #[must_use]
    pub fn by_hand(&self) -> String {
        let what = self.without_advice();
        match self.0.fix {
            Some(fix) => format!("{what}; {}", advice_by_hand(fix)),
            None => what,
        }
    }
}

/// Advice for whoever makes a call by hand, in place of that for a job's.
fn advice_by_hand(fix: &'static str) -> String {
    match fix {
        GONE => "what was asked for does not exist (any more)".to_owned(),
        PARAMETER => "check the parameters of the call; the message names the wrong one".to_owned(),
        fix => fix.replace("it is tried again", "repeat it"),
    }
}

/// The parts of an answer that an error is made from.
#[derive(Debug, Default)]
pub(super) struct RefusedAnswer<'a> {
    /// HTTP status.
    pub(super) status: u16,
    /// `code` of the envelope; `None` if the body is not an envelope.
    pub(super) code: Option<i64>,
    /// `msg` of the envelope, or an excerpt of what came instead.
    pub(super) msg: String,
    /// `error` of the envelope, an object or (OAuth) a word.
    pub(super) error: Option<Value>,
    /// `X-Tt-Logid`.
    pub(super) log_id: Option<String>,
    /// `x-ogw-ratelimit-reset` or `Retry-After`.
    pub(super) wait: Option<Duration>,
    /// `x-ogw-ratelimit-limit`.
    pub(super) call_limit: Option<u32>,
    /// Values that must not be shown even if the server sends them back.
    pub(super) secrets: &'a [&'a str],
}

impl RefusedAnswer<'_> {
    fn text(&self) -> String {
        let text = match (&self.error, self.msg.as_str()) {
            (Some(Value::String(word)), "") => word.as_str(),
            (_, msg) => msg,
        };
        let fields = self.wrong_fields();
        match fields.is_empty() {
            true => clean(text, self.secrets),
            false => clean(&format!("{text}: {}", fields.join(", ")), self.secrets),
        }
    }

    /// The parameters that Feishu refuses, and why; never what they were, which may be anybody's
    /// id.
    fn wrong_fields(&self) -> Vec<String> {
        let violations = self.error.as_ref().and_then(|e| e.get("field_violations"));
        let violations = violations.and_then(Value::as_array).into_iter().flatten();
        let field = |violation: &Value| {
            let name = violation.get("field")?.as_str()?;
            let why = violation.get("description").and_then(Value::as_str);
            Some(match why.filter(|why| !why.is_empty()) {
                Some(why) => format!("{name} ({why})"),
                None => name.to_owned(),
            })
        };
        violations.filter_map(field).collect()
    }

    /// Feishu documents `logid` and sends `log_id` (API reference, 5.1).
    fn body_log_id(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let id = error.get("log_id").or_else(|| error.get("logid"))?;
        log_id(id.as_str()?, self.secrets)
    }

    fn wait(&self, kind: Cause) -> Option<Duration> {
        let wait = match kind {
            Cause::RateLimited => Some(self.wait.unwrap_or(DEFAULT_WAIT)),
            _ => self.wait,
        };
        wait.map(|wait| wait.min(LONGEST_WAIT))
    }

    /// Feishu documents `scope` and sends `subject`. Without either, the scopes are in the
    /// bracketed list of the message (API reference, 5.1).
    fn missing_scopes(&self, kind: Cause) -> Vec<String> {
        if kind != Cause::Scope {
            return Vec::new();
        }
        let violations = self
            .error
            .as_ref()
            .and_then(|e| e.get("permission_violations"));
        let mut scopes: Vec<String> = violations
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|violation| violation.get("subject").or_else(|| violation.get("scope")))
            .filter_map(Value::as_str)
            .filter_map(|text| scope(text, self.secrets))
            .collect();
        if scopes.is_empty() {
            let list = self
                .msg
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'));
            scopes = list.map_or_else(Vec::new, |(list, _)| {
                list.split(',')
                    .filter_map(|text| scope(text, self.secrets))
                    .collect()
            });
        }
        scopes.sort();
        scopes.dedup();
        scopes.truncate(20);
        scopes
    }
}

/// An error and its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    clean(&text, &[])
}

/// What to do when no answer came.
fn transport_fix(error: &reqwest::Error) -> &'static str {
    if let Some(advice) = network::lasting_advice(error) {
        return advice;
    }
    match () {
        () if network::tls_error(error).is_some() => network::UNTRUSTED,
        () if error.is_connect() => UNREACHABLE,
        () if error.is_timeout() => TOO_SLOW,
        () => CUT_OFF,
    }
}

fn scope(text: &str, secrets: &[&str]) -> Option<String> {
    let text = mask(text.trim(), secrets);
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    (!text.is_empty() && text.len() <= 100 && text.chars().all(fits)).then_some(text)
}

/// A log id as it may be shown: letters and digits only, at most 64 (it is 34 long).
pub(super) fn log_id(text: &str, secrets: &[&str]) -> Option<String> {
    let id: String = mask(text, secrets)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    (!id.is_empty()).then_some(id)
}

/// `text` with `***` in place of each secret, whether plain or URL-encoded.
fn mask(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
        let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        text = text.replace(&escaped, "***");
    }
    text
}

/// `text` fit for a log line: secrets masked, no control or direction characters, single spaces, at
/// most 300 characters.
pub(super) fn clean(text: &str, secrets: &[&str]) -> String {
    let text = mask(text, secrets);
    let visible: String = text
        .chars()
        .map(|c| {
            if c.is_control() || c == '\u{2028}' || c == '\u{2029}' {
                ' '
            } else {
                c
            }
        })
        .filter(|c| !is_invisible(*c))
        .collect();
    let single_spaced = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match single_spaced.char_indices().nth(TEXT_LIMIT) {
        Some((cut, _)) => format!("{}…", &single_spaced[..cut]),
        None => single_spaced,
    }
}

/// Whether a character has no width, or changes the direction of a line.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(status: u16, code: i64) -> Error {
        let code = Some(code);
        Error::refused(
            "poll",
            &RefusedAnswer {
                status,
                code,
                ..RefusedAnswer::default()
            },
        )
    }

    #[test]
    fn every_code_stands_in_the_table_once() {
        let mut codes: Vec<i64> = TABLE
            .iter()
            .flat_map(|(codes, ..)| codes.iter().copied())
            .collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn the_code_decides_before_the_status() {
        assert_eq!(error(400, 99991400).kind(), Cause::RateLimited);
        assert_eq!(error(429, 99991403).kind(), Cause::QuotaExhausted);
        assert_eq!(error(404, 121006).kind(), Cause::Retry);
        assert_eq!(error(200, 10014).kind(), Cause::Credentials);
    }

    #[test]
    fn an_unknown_code_is_shown_and_not_retried() {
        let unknown = error(400, 31_337);
        assert!(!unknown.is_retryable());
        assert!(unknown.to_string().contains("31337"));
        assert_eq!(error(503, 31_337).kind(), Cause::Retry);
        assert_eq!(error(429, 31_337).kind(), Cause::RateLimited);
    }

    #[test]
    fn scopes_are_found_in_every_shape() {
        let scopes = |msg: &str, error: Value| {
            let answer = RefusedAnswer {
                status: 400,
                code: Some(99991672),
                msg: msg.to_owned(),
                error: Some(error),
                ..RefusedAnswer::default()
            };
            Error::refused("submit", &answer).missing_scopes().to_vec()
        };
        let real = json!({"permission_violations": [{"type": "action_scope_required",
            "subject": "vc:export"}]});
        let documented = json!({"permission_violations": [{"scope": "vc:export", "url": "x"}]});
        assert_eq!(scopes("", real), ["vc:export"]);
        assert_eq!(scopes("", documented), ["vc:export"]);
        let text = "One of the following scopes is required: [vc:room, vc:room:readonly]. More";
        assert_eq!(scopes(text, json!(7)), ["vc:room", "vc:room:readonly"]);
    }

    #[test]
    fn parameters_that_are_refused_are_named_and_their_values_are_not() {
        let violations = json!([
            {"field": "unit", "value": "canary", "description": "is not a parameter"},
            {"field": "limit", "value": "canary"},
            {"value": "canary"}, 7,
        ]);
        for (error, expected) in [
            (
                json!({"field_violations": violations}),
                "wrong: unit (is not a parameter), limit",
            ),
            (json!({"field_violations": 7}), "wrong"),
        ] {
            let answer = RefusedAnswer {
                status: 400,
                code: Some(99992402),
                msg: "wrong".into(),
                error: Some(error),
                ..RefusedAnswer::default()
            };
            assert_eq!(answer.text(), expected);
        }
    }

    #[test]
    fn advice_by_hand_promises_nothing_that_only_a_job_does() {
        let others = [
            REDIRECTED,
            NOT_FEISHU,
            GARBLED,
            UNREACHABLE,
            TOO_SLOW,
            CUT_OFF,
        ];
        let of_table = TABLE.iter().map(|(.., fix)| *fix);
        for fix in of_table.chain(others) {
            let text = advice_by_hand(fix);
            for promise in ["tried again", "export", "job"] {
                assert!(!text.contains(promise), "{text}");
            }
        }
    }

    #[test]
    fn a_wait_without_measure_is_capped() {
        let wait = Some(Duration::from_secs(1_000_000_000));
        let answer = RefusedAnswer {
            status: 429,
            wait,
            ..RefusedAnswer::default()
        };
        assert_eq!(
            Error::refused("poll", &answer).retry_after(),
            Some(LONGEST_WAIT)
        );
    }

    #[test]
    fn hostile_text_is_made_harmless() {
        let text = format!("\u{1b}[31mred\r\n\u{202e}key=S3CRET {}", "x".repeat(1000));
        let shown = clean(&text, &["S3CRET"]);
        assert!(shown.starts_with("[31mred key=*** x"));
        assert!(shown.chars().count() <= TEXT_LIMIT + 1);
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn a_secret_is_masked_wherever_it_comes_back() {
        let secrets = ["f/ab=="];
        assert_eq!(
            clean("token=f%2Fab%3D%3D f/ab==", &secrets),
            "token=*** ***"
        );
        assert_eq!(log_id("f/ab==", &secrets), None);
        assert_eq!(log_id("2026-f/ab==", &secrets).as_deref(), Some("2026"));
        let answer = RefusedAnswer {
            status: 400,
            code: Some(99991672),
            msg: "one of [vc:export, S3CRET]".into(),
            secrets: &["S3CRET"],
            ..RefusedAnswer::default()
        };
        let error = Error::refused("submit", &answer);
        assert_eq!(error.missing_scopes(), ["vc:export"]);
    }

    #[test]
    fn an_error_says_what_when_and_what_to_do() {
        let answer = RefusedAnswer {
            status: 403,
            code: Some(121005),
            msg: "no permission".into(),
            error: Some(json!({"log_id": "20250227ABC"})),
            ..RefusedAnswer::default()
        };
        let text = Error::refused("submit the meeting_list export", &answer).to_string();
        assert!(text.starts_with(
            "could not submit the meeting_list export: Feishu answered \
                                  121005 (HTTP 403) \"no permission\", log id 20250227ABC; give"
        ));
    }
}

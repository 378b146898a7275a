//! What went wrong with the lake: on which object, why, and what to do. It never holds a secret.

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::transport::LastingAnswer;
use crate::network;

/// What a code in a store's answer means, and what to do about it where the kind's own advice does
/// not say it. The status alone tells few of these apart.
struct KnownCode {
    code: &'static str,
    kind: StoreErrorKind,
    fix: Option<&'static str>,
}

const fn known(code: &'static str, kind: StoreErrorKind, fix: &'static str) -> KnownCode {
    let fix = match fix.is_empty() {
        true => None,
        false => Some(fix),
    };
    KnownCode { code, kind, fix }
}

const HOST_WITH_BUCKET: &str = "this store wants the bucket in the host's name: set \
    virtual_hosted_style_request = \"true\" and endpoint = \"https://BUCKET.HOST\" in [lake.options]";
const CLOCK: &str = "the clock of this machine is off; set it, then run again";
const QUOTA: &str = "the store's quota is used up; raise it or free some space, then run again";
const NO_CONDITIONAL_WRITES: &str = "this store does not know conditional writes (If-None-Match), \
    which keep two writers apart; use one that does";
const REGION: &str = "set region in [lake.options] to the bucket's";
const KMS: &str = "the key that encrypts the bucket refused; allow these credentials to use it";

/// The codes that stores document, and that were met.
const KNOWN_CODES: [KnownCode; 17] = [
    known("ExpiredToken", StoreErrorKind::Expired, ""),
    known("TokenRefreshRequired", StoreErrorKind::Expired, ""),
    known("InvalidToken", StoreErrorKind::Expired, ""),
    known(
        "SecondLevelDomainForbidden",
        StoreErrorKind::Misconfigured,
        HOST_WITH_BUCKET,
    ),
    known(
        "VirtualHostDomainRequired",
        StoreErrorKind::Misconfigured,
        HOST_WITH_BUCKET,
    ),
    known("RequestTimeTooSkewed", StoreErrorKind::Refused, CLOCK),
    known("QuotaExceeded", StoreErrorKind::Full, QUOTA),
    known("UserQuotaExceeded", StoreErrorKind::Full, QUOTA),
    known(
        "XMinioAdminBucketQuotaExceeded",
        StoreErrorKind::Full,
        QUOTA,
    ),
    known("InsufficientCapacity", StoreErrorKind::Full, ""),
    known("XMinioStorageFull", StoreErrorKind::Full, ""),
    known(
        "NotImplemented",
        StoreErrorKind::Misconfigured,
        NO_CONDITIONAL_WRITES,
    ),
    known("PermanentRedirect", StoreErrorKind::Misconfigured, REGION),
    known(
        "AuthorizationHeaderMalformed",
        StoreErrorKind::Misconfigured,
        REGION,
    ),
    known("NoSuchBucket", StoreErrorKind::Misconfigured, ""),
    known("InvalidAccessKeyId", StoreErrorKind::Refused, ""),
    known("SignatureDoesNotMatch", StoreErrorKind::Refused, ""),
];
/// How much of a store's own message is shown, characters. Some answer with a page of XML.
const MAX_CAUSE_CHARS: usize = 400;

/// A failed operation on the lake.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "could not {action} {place}: {cause}; {fix}",
    place = place(path, url),
    fix = self.fix.unwrap_or(self.kind.fix())
)]
pub struct Error {
    kind: StoreErrorKind,
    action: &'static str,
    path: String,
    url: String,
    cause: String,
    /// Better advice than the kind's.
    fix: Option<&'static str>,
}

/// What kind of failure it is, which tells a caller what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// URL or options are wrong, or the bucket does not exist.
    Misconfigured,
    /// The store refused us, or does not know us.
    Refused,
    /// The credentials have expired.
    Expired,
    /// No space left.
    Full,
    /// No answer, or one that says "later".
    Unreachable,
    /// The object is not in the state that the write depended on.
    Conflict,
    /// The object is larger than anything that is ever written there.
    TooLarge,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Whether it stays until somebody does something about it.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        match self {
            Self::Misconfigured | Self::Refused | Self::Expired | Self::Full | Self::TooLarge => {
                true
            }
            Self::Unreachable | Self::Conflict | Self::Other => false,
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Misconfigured => "check the lake's url and options",
            Self::Refused => {
                "check the credentials and that they may read, write, list and delete below the \
                 lake's url"
            }
            Self::Expired => "get new credentials for the lake, then run again",
            Self::Full => "free some space there, then run again",
            Self::Unreachable => "check endpoint, region and network, then run again",
            Self::Conflict => "another process publishes to this lake; the next run plans again",
            Self::TooLarge => "bring it back from a copy",
            Self::Other => "run `meetlake doctor` to test the lake",
        }
    }
}

impl Error {
    pub(super) fn new(
        kind: StoreErrorKind,
        action: &'static str,
        path: &str,
        url: &str,
        cause: String,
    ) -> Self {
        Self {
            kind,
            action,
            path: path.to_owned(),
            url: url.to_owned(),
            cause,
            fix: None,
        }
    }

    pub(super) fn from_store(
        action: &'static str,
        path: &str,
        url: &str,
        error: &object_store::Error,
        secrets: &[SecretString],
    ) -> Self {
        let whole = whole_cause(error, secrets);
        tracing::debug!(
            action,
            path,
            "the lake answered: {}",
            without_tokens(&whole)
        );
        let answer = StoreAnswer::of(&whole);
        let shown = match &answer {
            Some(answer) => answer.to_string(),
            None => whole.clone(),
        };
        let kind = kind_of(error);
        let fix = answer.and_then(|answer| answer.fix(kind));
        Self {
            fix: fix.or_else(|| lasting_advice(error)),
            ..Self::new(kind, action, path, url, shortened(&shown))
        }
    }

    /// What a caller should do about it.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The same error with `more` appended to its cause.
    pub(super) fn with(mut self, more: &str) -> Self {
        self.cause.push_str(more);
        self
    }

    /// What the store said.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Which object or folder, below the lake's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the write may have happened although it was reported as failed.
    pub(super) const fn may_hide_success(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Conflict | StoreErrorKind::Unreachable | StoreErrorKind::Other
        )
    }
}

/// What a store says in the body of a refusal, as S3 and Azure have it.
struct StoreAnswer<'t> {
    code: &'t str,
    message: &'t str,
}

impl<'t> StoreAnswer<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0.trim())
        };
        let code = element("Code").filter(|code| !code.is_empty())?;
        let message = element("Message").unwrap_or_default();
        Some(Self { code, message })
    }

    fn known(&self) -> Option<&'static KnownCode> {
        KNOWN_CODES.iter().find(|known| known.code == self.code)
    }

    fn is_of_kms(&self) -> bool {
        let is_kms = |text: &str| text.to_ascii_lowercase().contains("kms");
        is_kms(self.code) || (self.code == "AccessDenied" && is_kms(self.message))
    }

    fn fix(&self, kind: StoreErrorKind) -> Option<&'static str> {
        match self.known() {
            Some(known) if known.kind == kind => known.fix,
            _ if self.is_of_kms() => Some(KMS),
            _ => None,
        }
    }
}

impl std::fmt::Display for StoreAnswer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message {
            "" => f.write_str(self.code),
            message => write!(f, "{}: {message}", self.code),
        }
    }
}

fn kind_of(error: &object_store::Error) -> StoreErrorKind {
    use object_store::Error as E;
    let text = whole_cause(error, &[]);
    if let Some(answer) = StoreAnswer::of(&text) {
        match answer.known() {
            Some(known) => return known.kind,
            None if answer.is_of_kms() => return StoreErrorKind::Refused,
            None => {}
        }
    }
    if lasting_advice(error).is_some() {
        return StoreErrorKind::Misconfigured;
    }
    match error {
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => StoreErrorKind::Refused,
        E::AlreadyExists { .. } | E::Precondition { .. } => StoreErrorKind::Conflict,
        // Reading a missing object is not an error here, so the bucket itself is missing.
        E::NotFound { .. } | E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => {
            StoreErrorKind::Misconfigured
        }
        other => kind_of_cause(other),
    }
}

/// Whether a store's answer says that it would be the same each time.
pub(super) fn is_lasting_answer(body: &str) -> bool {
    let known = StoreAnswer::of(body).and_then(|answer| answer.known());
    known.is_some_and(|known| known.kind.is_lasting())
}

/// What to do about a status or a connection that will be the same each time, whatever the store's
/// code is.
fn lasting_advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    let answer = causes.find_map(|cause| cause.downcast_ref::<LastingAnswer>());
    match answer.map(|answer| answer.status) {
        Some(StatusCode::NOT_IMPLEMENTED) => Some(NO_CONDITIONAL_WRITES),
        Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => Some(network::PROXY_CREDENTIALS),
        _ => network::lasting_advice(error),
    }
}

/// The object and the lake it is in, or the lake alone.
fn place(path: &str, url: &str) -> String {
    if path.is_empty() {
        url.to_owned()
    } else {
        format!("{path} in {url}")
    }
}

fn kind_of_cause(error: &(dyn std::error::Error + 'static)) -> StoreErrorKind {
    use std::io::ErrorKind as Io;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                Io::StorageFull | Io::QuotaExceeded => return StoreErrorKind::Full,
                Io::PermissionDenied | Io::ReadOnlyFilesystem => return StoreErrorKind::Refused,
                Io::AlreadyExists | Io::NotADirectory => return StoreErrorKind::Misconfigured,
                _ => {}
            }
        }
        if cause.is::<object_store::client::HttpError>() {
            // Without credentials the client asks a cloud's metadata service, which answers only
            // inside that cloud.
            let asks_for_credentials = error.to_string().contains("169.254.169.254");
            return if asks_for_credentials {
                StoreErrorKind::Refused
            } else {
                StoreErrorKind::Unreachable
            };
        }
        next = cause.source();
    }
    // The retrying client gives the status only in its text.
    let text = error.to_string();
    if ["5", "429", "408"]
        .iter()
        .any(|status| text.contains(&format!("non-2xx status code: {status}")))
    {
        return StoreErrorKind::Unreachable;
    }
    StoreErrorKind::Other
}

/// The store's message with its innermost cause, without query strings (they may carry a signature)
/// and without `secrets`.
fn whole_cause(error: &object_store::Error, secrets: &[SecretString]) -> String {
    let mut text = error.to_string();
    let innermost = innermost(error).to_string();
    if !text.contains(&innermost) {
        text = format!("{text}: {innermost}");
    }
    text = without_queries(&text);
    for secret in secrets {
        text = text.replace(secret.expose_secret(), "***");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Stores repeat an expired session's token in their answer.
fn without_tokens(text: &str) -> String {
    let mut parts = text.split("<Token");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| {
        let rest = part.split_once("</Token").map_or("", |(_, rest)| rest);
        format!("{kept}<Token***{rest}")
    })
}

/// What a person is shown of it; all of it is in the log.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CAUSE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

fn without_queries(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_query = false;
    for c in text.chars() {
        in_query = match c {
            '?' => true,
            ')' | '"' | '\'' | '>' | '<' => false,
            c if c.is_whitespace() => false,
            _ => in_query,
        };
        if !in_query {
            kept.push(c);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic {
            store: "test",
            source: source.into(),
        }
    }

    #[test]
    fn a_full_disk_is_named() {
        let error = generic(std::io::Error::from_raw_os_error(28));
        assert_eq!(kind_of(&error), StoreErrorKind::Full);
        let error = generic(std::io::Error::from_raw_os_error(13));
        assert_eq!(kind_of(&error), StoreErrorKind::Refused);
    }

    #[test]
    fn expired_credentials_are_named_whatever_the_status() {
        let answer = "Server returned non-2xx status code: 400 Bad Request: \
                      <Error><Code>ExpiredToken</Code></Error>";
        let expired = [
            generic(answer),
            object_store::Error::PermissionDenied {
                path: "k".into(),
                source: answer.replace("400", "403").into(),
            },
        ];
        for error in expired {
            let error = Error::from_store("write", "k", "s3://b", &error, &[]);
            assert_eq!(error.kind(), StoreErrorKind::Expired);
            assert!(
                error
                    .to_string()
                    .ends_with("get new credentials for the lake, then run again")
            );
        }
        let other = generic(
            "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidDigest</Code>",
        );
        assert_eq!(kind_of(&other), StoreErrorKind::Other);
    }

    #[test]
    fn a_stores_own_reason_comes_first_with_the_advice_for_it() {
        use StoreErrorKind::{Full, Misconfigured, Other, Refused};
        let key = "meeting_list/tenant=acme/dt=2026-11-19/part-0.parquet".repeat(6);
        let answer = |status: &str, code: &str, message: &str| {
            generic(format!(
                "Error performing PUT https://s3.example/b/{key} in 1s - Server returned non-2xx \
                 status code: {status}: <?xml version=\"1.0\"?><Error><Code>{code}</Code>\
                 <Message>{message}</Message><Resource>/b/{key}</Resource></Error>"
            ))
        };
        for (status, code, message, kind, fix) in [
            (
                "403 Forbidden",
                "SecondLevelDomainForbidden",
                "Please use virtual hosted style to access.",
                Misconfigured,
                "virtual_hosted_style_request",
            ),
            (
                "403 Forbidden",
                "RequestTimeTooSkewed",
                "The difference is too large.",
                Refused,
                "clock",
            ),
            ("403 Forbidden", "QuotaExceeded", "", Full, "quota"),
            (
                "501 Not Implemented",
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                Misconfigured,
                "conditional writes",
            ),
            (
                "400 Bad Request",
                "KMS.DisabledException",
                "is disabled",
                Refused,
                "encrypts",
            ),
            (
                "403 Forbidden",
                "AccessDenied",
                "not authorized to perform: kms:GenerateDataKey",
                Refused,
                "encrypts",
            ),
            ("400 Bad Request", "InvalidDigest", "no", Other, "doctor"),
        ] {
            let error = answer(status, code, message);
            let error = Error::from_store("write", &key, "s3://b", &error, &[]);
            assert_eq!(error.kind(), kind, "{code}");
            let text = error.to_string();
            assert!(text.contains(&format!(": {code}")), "{text}");
            assert!(text.contains(message) && text.contains(fix), "{text}");
            assert_eq!(text.matches(&*key).count(), 1, "{text}");
        }
    }

    #[test]
    fn a_token_that_a_store_repeats_is_not_logged() {
        let answer = "<Error><Code>ExpiredToken</Code><Token-0>hunter22</Token-0><A>b</A></Error>";
        let logged = without_tokens(answer);
        assert!(
            !logged.contains("hunter22") && logged.contains("<A>b</A>"),
            "{logged}"
        );
        assert_eq!(without_tokens("nothing of it"), "nothing of it");
        assert!(!without_tokens("cut off: <Token-0>hunter22").contains("hunter22"));
    }

    #[test]
    fn secrets_and_query_strings_do_not_show() {
        let error = generic("PUT https://x.blob/c/k?sig=abc%2F&se=1 said: key hunter22 is wrong");
        let secrets = [SecretString::from("hunter22")];
        let error = Error::from_store("write", "k", "az://c", &error, &secrets);
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("hunter22") && !text.contains("sig="),
            "{text}"
        );
        assert!(
            text.contains("https://x.blob/c/k said: key *** is wrong"),
            "{text}"
        );
    }
}

//! The Feishu or Lark client. Each endpoint has one method, which handles token, limit and retries.
//!
//! ```text
//! call ─► slot (limit) ─► token ─► send (http) ─► envelope ─► value
//!   ▲                                  │ refused token: a new one, once
//!   └────── seconds (retry) ◄──────────┘ transport, 5xx, rate limit
//! ```
//!
//! It takes requests and gives bodies, ids and files. It knows nothing of jobs, the ledger or the
//! lake. Its errors, logs and `Debug` output hold no secret, no token and no value of the tenant's
//! data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use url::Url;

use crate::cause::Cause;
use crate::clock::Clock;
use crate::datasets::listing::PageCall;
use crate::datasets::{CallLimits, DOWNLOAD, Dataset, Endpoint, GrantedScopes, POLL, Request};
use crate::network::{self, Proxies};
use crate::task::{ExportId, Urgency};

mod asked;
mod error;
mod exports;
mod http;
mod lenient;
pub mod limit;
pub mod long_connection;
mod retry;
#[cfg(test)]
mod tests;
mod token;
mod usage;
mod user_token;

pub use asked::{AskedAnswer, AskedCall};
pub use error::Error;
pub use exports::{Download, ExportStatus};
pub use limit::RateLimiter;
pub use usage::{BOUNDS_S, Usage};
pub use user_token::UserTokenSettings;

use http::{Answer, Call, Http};
use long_connection::LongConnection;
use retry::{Repeat, Retries};
use token::TokenCache;
use usage::UsageByEndpoint;
use user_token::UserToken;

/// Time limits of one request. They count on the machine's clock, because a scaled clock does not
/// make the network faster.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the connection is established.
    pub connect: Duration,
    /// Until the head of the answer arrives, and between two pieces of its body.
    pub idle: Duration,
    /// Until a JSON answer has arrived whole.
    pub json: Duration,
    /// Until a download is complete. The largest workbook allowed (256 MiB) needs some 450 KB a
    /// second to make it.
    pub download: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            json: Duration::from_secs(60),
            download: Duration::from_secs(600),
        }
    }
}

/// How to reach one tenant through one app.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API is; `https`, or `http` on a loopback address.
    pub host: Url,
    /// `cli_…`.
    pub app_id: String,
    /// The app's secret.
    pub app_secret: SecretString,
    /// A user in whose name the exports run, instead of the app's creator.
    pub user_token: Option<UserTokenSettings>,
    /// Calls a minute that we allow ourselves.
    pub calls_per_minute: CallLimits,
    /// What may stand between this machine and the API.
    pub proxies: Proxies,
    /// Time limits of one request.
    pub timeouts: Timeouts,
    /// Total wait between the attempts of one call, on our clock. Waits for rate limits do not
    /// count.
    pub retry_patience: Duration,
}

impl Settings {
    /// Settings with the defaults: no user, no proxy, the documented limits, two minutes of
    /// patience.
    #[must_use]
    pub fn new(host: Url, app_id: impl Into<String>, app_secret: SecretString) -> Self {
        Self {
            host,
            app_id: app_id.into(),
            app_secret,
            user_token: None,
            calls_per_minute: CallLimits::default(),
            proxies: Proxies::default(),
            timeouts: Timeouts::default(),
            retry_patience: Duration::from_secs(120),
        }
    }
}

/// Checks the address of the API. Secrets are sent there, so it must be `https`, or `http` on a
/// loopback address.
///
/// # Errors
/// What is wrong, as a lower-case fragment for people.
pub fn check_host(url: &Url) -> Result<(), &'static str> {
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.scheme() {
        _ if !plain => Err("`host` must have no user, query or fragment"),
        "https" if url.has_host() => Ok(()),
        "http" if network::is_loopback(url) => Ok(()),
        "http" => Err("`host` must be https; http is for this machine only"),
        _ => Err("`host` must be an https URL"),
    }
}

/// What a check of the credentials found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    /// How long the tenant's token is still valid.
    pub expires_in: Duration,
    /// The server's clock, to the second, if the answer had a date.
    pub server_time: Option<Timestamp>,
    /// How far our clock is ahead of the server's. Up to two seconds mean nothing.
    pub clock_ahead: Option<SignedDuration>,
}

/// In whose name a call is made.
#[derive(Clone, Copy)]
enum Identity {
    /// The app's.
    Tenant,
    /// The user's, where one is configured, else the app's. Submit, poll and download of one export
    /// must use the same identity (API reference, 3.1).
    Exporter,
}

/// The client of one app and tenant; clones share tokens and limits.
#[derive(Clone)]
pub struct Client(Arc<Inner>, Urgency);

struct Inner {
    settings: Settings,
    clock: Clock,
    http: Http,
    limits: RateLimiter,
    tenant: TokenCache,
    user: Option<UserToken>,
    /// The error of the last call, if it is one that is retried.
    last_error: Mutex<Option<Error>>,
    usage: UsageByEndpoint,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not made any call yet.
    ///
    /// # Errors
    /// If the address is refused (see [`check_host`]) or no certificates are found on the
    /// machine.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, Error> {
        const ACTION: &str = "set up the client";
        check_host(&settings.host).map_err(|why| Error::other(ACTION, why))?;
        let http = Http::new(&settings, clock.clone());
        let http = http.map_err(|error| Error::local(ACTION, error::with_causes(&error)))?;
        let inner = Arc::new(Inner {
            limits: RateLimiter::new(&settings.calls_per_minute, clock.clone()),
            tenant: TokenCache::default(),
            user: settings.user_token.as_ref().map(UserToken::new),
            last_error: Mutex::default(),
            usage: UsageByEndpoint::default(),
            settings,
            clock,
            http,
        });
        Ok(Self(inner, Urgency::default()))
    }

    /// The same client for calls of this urgency: where several wait for one endpoint, the more
    /// urgent ones go first.
    #[must_use]
    pub fn urgent(&self, urgency: Urgency) -> Self {
        Self(Arc::clone(&self.0), urgency)
    }

    /// The rate limiter, whose recent calls are kept across restarts.
    #[must_use]
    pub fn limits(&self) -> &RateLimiter {
        &self.0.limits
    }

    /// What is known of the calls of each endpoint since the client was made, by its name.
    #[must_use]
    pub fn usage(&self) -> BTreeMap<&'static str, Usage> {
        self.0.usage.all()
    }

    /// The error of the last call, if it is one that is retried. It tells a caller who stops
    /// waiting why no answer came.
    #[must_use]
    pub fn last_retryable_error(&self) -> Option<Error> {
        self.0.last_error_slot().clone()
    }

    /// The long connection over which Feishu sends events to this app.
    ///
    /// # Errors
    /// If no HTTP client can be made for it.
    pub fn long_connection(&self) -> Result<LongConnection, Error> {
        LongConnection::new(&self.0.settings)
    }

    /// The unchanged body that answers a request of one call: a JSON envelope with code 0, or with a
    /// code that is an answer to this dataset.
    ///
    /// # Errors
    /// What the API refused with, after the retries.
    pub async fn answer(&self, request: &Request) -> Result<Bytes, Error> {
        let endpoint = request.source().endpoint;
        let call = exports::first_call(request).urgent(self.1);
        let answer = self
            .call(endpoint, Identity::Tenant, Repeat::Always, &call)
            .await?;
        Ok(answer.body)
    }

    /// The unchanged body of one call of a listing: a JSON envelope with code 0, or with a code that
    /// is an answer to this call.
    ///
    /// # Errors
    /// What the API refused with, after the retries.
    pub async fn page(&self, page: &PageCall) -> Result<Bytes, Error> {
        let endpoint = page.endpoint;
        let mut action = exports::listing_action(&endpoint);
        if let Some(about) = &page.about {
            action = format!("get the {} of {about}", endpoint.name.replace('_', " "));
        }
        let call = Call::of(endpoint, action, page.parameters.clone());
        let call = call.taking(&page.answers).urgent(self.1);
        // The lists beside the exports take a user's token as these do, and of a new app no other.
        let identity = match Dataset::is_queried(&endpoint) {
            true => Identity::Exporter,
            false => Identity::Tenant,
        };
        let answer = self.call(endpoint, identity, Repeat::Always, &call).await?;
        Ok(answer.body)
    }

    /// Makes an export task and gives its id.
    ///
    /// # Errors
    /// [`Error::outcome_unknown`] is true if the request was sent and no answer came. An export
    /// task may then exist whose id nobody knows. The client never retries that, since an export
    /// has no idempotency key.
    pub async fn submit(&self, request: &Request) -> Result<ExportId, Error> {
        let endpoint = request.source().endpoint;
        let call = exports::first_call(request).urgent(self.1);
        let answer = self
            .call(endpoint, Identity::Exporter, Repeat::UnlessUnknown, &call)
            .await?;
        exports::export_id(&answer)
    }

    /// Asks where an export task stands.
    ///
    /// # Errors
    /// [`Cause::Gone`] if Feishu no longer knows the task.
    pub async fn poll(&self, id: &ExportId) -> Result<ExportStatus, Error> {
        let call = exports::poll_call(id).urgent(self.1);
        let answer = self
            .call(POLL, Identity::Exporter, Repeat::Always, &call)
            .await?;
        exports::export_status(&answer)
    }

    /// Downloads a workbook of at most `max_bytes` into the file `to`. An existing file is
    /// replaced; on an error the file is removed. It is not synced.
    ///
    /// # Errors
    /// [`Cause::Other`] if it is too large; [`Cause::Retry`] if what came is cut off or is
    /// not a workbook.
    pub async fn download(
        &self,
        file_token: &SecretString,
        to: &Path,
        max_bytes: u64,
    ) -> Result<Download, Error> {
        let call = exports::download_call(file_token).urgent(self.1);
        let inner = &self.0;
        let mut retries = inner.retries(Repeat::Always);
        loop {
            let outcome = inner.download_once(&call, to, max_bytes).await;
            inner.keep_last_error(&outcome);
            let error = match outcome {
                Ok(download) => return Ok(download),
                Err(error) => error,
            };
            // The partial file is of no use. A failure to remove it matters less than the error.
            let _ = tokio::fs::remove_file(to).await;
            retries.pause(error).await?;
        }
    }

    /// Makes a call that a person asks for, with the app's own token. What changes something is
    /// never sent again when no answer came.
    ///
    /// # Errors
    /// What the API refused with, after the retries; [`Error::outcome_unknown`] as for a submit.
    pub async fn ask(&self, asked: &AskedCall) -> Result<AskedAnswer, Error> {
        let endpoint = asked.path.endpoint(asked.method);
        let repeat = match asked.path.reads(asked.method) {
            true => Repeat::Always,
            false => Repeat::UnlessUnknown,
        };
        let answer = self
            .call(endpoint, Identity::Tenant, repeat, &asked.as_call())
            .await?;
        Ok(AskedAnswer {
            body: answer.body,
            call_limit: answer.call_limit,
            log_id: answer.log_id,
        })
    }

    /// Asks once which scopes the app has. `None` if this site does not know the question, as
    /// older ones. For `doctor`.
    ///
    /// # Errors
    /// What the API refused with, without any retry.
    pub async fn scopes(&self) -> Result<Option<GrantedScopes>, Error> {
        let inner = &self.0;
        let token = inner.token(Identity::Tenant).await?;
        match inner.http.send(&asked::scopes_call(), Some(&token)).await {
            Ok(answer) => asked::scopes(&answer).map(Some),
            Err(error) if error.is_unknown_path() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks once for a new tenant token, whatever is cached, and for the user's token where one is
    /// configured. For `doctor`.
    ///
    /// # Errors
    /// What stands in the way, without any retry.
    pub async fn check_token(&self) -> Result<TokenCheck, Error> {
        let inner = &self.0;
        let settings = &inner.settings;
        let fetched =
            token::fetch_tenant_token(&inner.http, &settings.app_id, &settings.app_secret);
        let (fresh, answer) = fetched.await?;
        if inner.user.is_some() {
            inner.token(Identity::Exporter).await?;
        }
        let now = inner.clock.now();
        Ok(TokenCheck {
            expires_in: fresh.lifetime,
            server_time: answer.server_time,
            clock_ahead: answer
                .server_time
                .map(|server_time| now.duration_since(server_time)),
        })
    }

    /// One call with everything around it: slot, token, one more attempt with a new token, retries.
    async fn call(
        &self,
        endpoint: Endpoint,
        identity: Identity,
        repeat: Repeat,
        call: &Call,
    ) -> Result<Answer, Error> {
        let inner = &self.0;
        let mut retries = inner.retries(repeat);
        loop {
            let outcome = inner.call_once(endpoint, identity, call).await;
            inner.keep_last_error(&outcome);
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => retries.pause(error).await?,
            }
        }
    }
}

impl Inner {
    fn retries(&self, repeat: Repeat) -> Retries<'_> {
        Retries::new(&self.clock, self.settings.retry_patience, repeat)
    }

    fn keep_last_error<T>(&self, outcome: &Result<T, Error>) {
        let passing = outcome.as_ref().err().filter(|error| error.is_retryable());
        *self.last_error_slot() = passing.cloned();
    }

    fn last_error_slot(&self) -> MutexGuard<'_, Option<Error>> {
        self.last_error
            .lock()
            .expect("nothing panics while holding the last error")
    }

    async fn call_once(
        self: &Arc<Self>,
        endpoint: Endpoint,
        identity: Identity,
        call: &Call,
    ) -> Result<Answer, Error> {
        let sent = self
            .open(endpoint, identity, call, self.settings.timeouts.json)
            .await?;
        let outcome = self.http.read(sent.reply).await;
        self.count(endpoint, &outcome, sent.sent_at);
        self.obey_error(endpoint, identity, &sent.token, outcome)
            .await
    }

    async fn download_once(
        self: &Arc<Self>,
        call: &Call,
        to: &Path,
        max_bytes: u64,
    ) -> Result<Download, Error> {
        let (endpoint, identity) = (DOWNLOAD, Identity::Exporter);
        let sent = self
            .open(endpoint, identity, call, self.settings.timeouts.download)
            .await?;
        let outcome = exports::receive(&self.http, sent.reply, to, max_bytes).await;
        self.count(endpoint, &outcome, sent.sent_at);
        self.obey_error(endpoint, identity, &sent.token, outcome)
            .await
    }

    /// Sends a call when a slot is free, and holds the slot until the head of the answer arrives.
    /// By then the server has counted the call.
    async fn open(
        self: &Arc<Self>,
        endpoint: Endpoint,
        identity: Identity,
        call: &Call,
        whole: Duration,
    ) -> Result<SentCall, Error> {
        let asked_at = Instant::now();
        let _slot = self.limits.acquire(endpoint, call.urgency).await;
        self.usage.waited(endpoint.name, asked_at.elapsed());
        // Only now, because the wait for the slot may outlast a token.
        let token = self.token(identity).await.map_err(Error::before_sending)?;
        let sent_at = Instant::now();
        let reply = self.http.open(call, Some(&token), whole).await;
        if reply.is_err() {
            self.count(endpoint, &reply, sent_at);
        }
        Ok(SentCall {
            reply: reply?,
            token,
            sent_at,
        })
    }

    fn count<T>(&self, endpoint: Endpoint, outcome: &Result<T, Error>, sent_at: Instant) {
        let outcome = outcome.as_ref().map(|_| ());
        self.usage
            .answered(endpoint.name, outcome, sent_at.elapsed());
    }

    /// Acts on an error of the API: obeys a rate limit, forgets a refused token.
    async fn obey_error<T>(
        &self,
        endpoint: Endpoint,
        identity: Identity,
        token: &SecretString,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &outcome {
            if error.kind() == Cause::RateLimited {
                let wait = error.retry_after().unwrap_or_default();
                tracing::debug!(
                    endpoint = endpoint.name,
                    limit = error.call_limit(),
                    wait_ms = wait.as_millis(),
                    "rate limited"
                );
                self.limits
                    .obey_rate_limit(endpoint, error.call_limit(), wait);
            }
            if error.is_stale_token() {
                self.cache(identity).invalidate(token).await;
            }
        }
        outcome
    }

    async fn token(self: &Arc<Self>, identity: Identity) -> Result<SecretString, Error> {
        if let (Identity::Exporter, Some(_)) = (identity, &self.user) {
            let inner = Arc::clone(self);
            // A task of its own: if the caller is cancelled, the renewal still goes on and writes
            // the next refresh token.
            let task = tokio::spawn(async move { inner.user_token().await });
            let stopped =
                |_| Error::other("renew the user access token", "the program is stopping");
            return task.await.map_err(stopped)?;
        }
        let Settings {
            app_id, app_secret, ..
        } = &self.settings;
        let renewal = async {
            let fetched = token::fetch_tenant_token(&self.http, app_id, app_secret).await;
            fetched.map(|(fresh, _)| fresh)
        };
        self.tenant.get(&self.clock, renewal).await
    }

    async fn user_token(&self) -> Result<SecretString, Error> {
        let user = self
            .user
            .as_ref()
            .expect("asked for only where a user is configured");
        let Settings {
            app_id, app_secret, ..
        } = &self.settings;
        user.cache
            .get(&self.clock, user.renew(&self.http, app_id, app_secret))
            .await
    }

    fn cache(&self, identity: Identity) -> &TokenCache {
        match (identity, &self.user) {
            (Identity::Exporter, Some(user)) => &user.cache,
            _ => &self.tenant,
        }
    }
}

/// A call that was sent: the head of its answer, and the token that was used.
struct SentCall {
    reply: http::Reply,
    token: SecretString,
    sent_at: Instant,
}

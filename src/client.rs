//! The Feishu or Lark client: one method an endpoint, each with token, limit and retries inside.
//!
//! ```text
//! call ─► slot (limit) ─► token ─► send (http) ─► envelope ─► value
//!   ▲                                  │ refused token: a new one, once
//!   └────── seconds (retry) ◄──────────┘ transport, 5xx, rate limit
//! ```
//!
//! It takes requests and gives bodies, ids and files. It knows nothing of jobs, the ledger or the lake, and nothing it says (errors, logs,
//! `Debug`) holds a secret, a token or a value of the tenant's data.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::{Host as UrlHost, Url};

use crate::clock::Clock;
use crate::task::{ExportId, Request};

mod directory;
mod error;
mod exports;
mod http;
mod lenient;
pub mod limit;
mod retry;
#[cfg(test)]
mod tests;
mod token;
mod user_token;

pub use directory::{Room, RoomLevel};
pub use error::{Error, ErrorKind};
pub use exports::{Download, ExportStatus};
pub use limit::{CallLimits, Endpoint, Limits, Snapshot};
pub use user_token::UserTokenSettings;

use directory::{Listing, WireRoom};
use http::{Answer, Call, Http};
use retry::{Repeat, Retries};
use token::TokenCache;
use user_token::UserToken;

/// Which of the two services a tenant lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Mainland China.
    Feishu,
    /// Everywhere else.
    Lark,
}

impl Host {
    /// The base URL of the service's API.
    #[must_use]
    pub fn base_url(self) -> Url {
        let text = match self {
            Self::Feishu => "https://open.feishu.cn",
            Self::Lark => "https://open.larksuite.com",
        };
        Url::parse(text).expect("a literal URL")
    }
}

/// Time limits of one request, on the machine's clock: networks do not run faster for a scaled one.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the head of the answer, and between two pieces of its body.
    pub idle: Duration,
    /// Until the end of a JSON answer.
    pub json: Duration,
    /// Until the end of a download; at the largest workbook allowed (256 MiB) this asks for some 450 KB a second.
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
    pub base_url: Url,
    /// `cli_…`.
    pub app_id: String,
    /// The app's secret.
    pub app_secret: SecretString,
    /// A user in whose name the exports run, in place of the app's creator.
    pub user_token: Option<UserTokenSettings>,
    /// Calls a minute that we allow ourselves.
    pub calls_per_minute: CallLimits,
    /// Time limits of one request.
    pub timeouts: Timeouts,
    /// Total wait between the attempts of one call, on our clock; rate limits are waited for apart from it.
    pub retry_patience: Duration,
}

impl Settings {
    /// Settings with the defaults: no user, the documented limits, two minutes of patience.
    #[must_use]
    pub fn new(base_url: Url, app_id: impl Into<String>, app_secret: SecretString) -> Self {
        Self {
            base_url,
            app_id: app_id.into(),
            app_secret,
            user_token: None,
            calls_per_minute: CallLimits::default(),
            timeouts: Timeouts::default(),
            retry_patience: Duration::from_secs(120),
        }
    }
}

/// Says what is wrong with a base URL, if anything: secrets go there, so it is `https`, or `http` on a loopback address.
///
/// # Errors
/// A lower-case fragment for people.
pub fn check_base_url(url: &Url) -> Result<(), &'static str> {
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match (url.scheme(), url.host()) {
        _ if !plain => Err("base_url must have no user, query or fragment"),
        ("https", Some(_)) => Ok(()),
        ("http", Some(host)) if is_loopback(&host) => Ok(()),
        ("http", _) => Err("base_url must be https; http is for loopback addresses only"),
        _ => Err("base_url must be an https URL"),
    }
}

fn is_loopback(host: &UrlHost<&str>) -> bool {
    match host {
        UrlHost::Domain(name) => *name == "localhost",
        UrlHost::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        UrlHost::Ipv6(address) => IpAddr::from(*address).is_loopback(),
    }
}

/// What a check of the credentials found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    /// How long the tenant's token lives from now.
    pub expires_in: Duration,
    /// The server's clock, to the second, if it told.
    pub server_time: Option<Timestamp>,
    /// How far our clock is ahead of the server's; within two seconds is none.
    pub clock_ahead: Option<SignedDuration>,
}

/// In whose name a call is made.
#[derive(Clone, Copy)]
enum Identity {
    /// The app's.
    Tenant,
    /// The user's, where one is configured: create, poll and download of an export belong together (API reference, 3.1).
    Exporter,
}

/// The client of one app and tenant; clones share tokens and limits.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Clock,
    http: Http,
    limits: Limits,
    tenant: TokenCache,
    user: Option<UserToken>,
    /// The error of the last call, if it may pass.
    trouble: Mutex<Option<Error>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not called anybody yet.
    ///
    /// # Errors
    /// If the base URL is refused (see [`check_base_url`]) or no certificates are found on the machine.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, Error> {
        const ACTION: &str = "set up the client";
        check_base_url(&settings.base_url).map_err(|why| Error::other(ACTION, why))?;
        let http = Http::new(&settings, clock.clone());
        let http = http.map_err(|error| Error::local(ACTION, error::with_causes(&error)))?;
        Ok(Self(Arc::new(Inner {
            limits: Limits::new(&settings.calls_per_minute, clock.clone()),
            tenant: TokenCache::default(),
            user: settings.user_token.as_ref().map(UserToken::new),
            trouble: Mutex::default(),
            settings,
            clock,
            http,
        })))
    }

    /// The calls made lately, to be kept across restarts.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The error of the last call, if that is one that is tried again: why nothing comes, for whoever stops waiting.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        self.0.last_trouble().clone()
    }

    /// The body of a report, `daily_report` or `top_user`, as it came: a JSON envelope with code 0.
    ///
    /// # Errors
    /// As the API refuses, after the retries; [`ErrorKind::Other`] for a request that is an export.
    pub async fn report(&self, request: &Request) -> Result<Bytes, Error> {
        let call = exports::report_call(request).ok_or_else(|| wrong_way(request, "report"))?;
        let answer = self
            .call(
                Endpoint::of(request),
                Identity::Tenant,
                Repeat::Always,
                &call,
            )
            .await?;
        Ok(answer.body)
    }

    /// Makes an export task and gives its id.
    ///
    /// # Errors
    /// With [`Error::outcome_unknown`] if it was sent and no answer came: a task may have been made, whose id nobody knows. That is never
    /// tried again in here, since an export has no idempotency key.
    pub async fn submit(&self, request: &Request) -> Result<ExportId, Error> {
        let call = exports::submit_call(request).ok_or_else(|| wrong_way(request, "export"))?;
        let endpoint = Endpoint::of(request);
        let answer = self
            .call(endpoint, Identity::Exporter, Repeat::UnlessUnknown, &call)
            .await?;
        exports::export_id(&answer)
    }

    /// Asks where an export task stands.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] if Feishu does not know the task any more.
    pub async fn poll(&self, id: &ExportId) -> Result<ExportStatus, Error> {
        let call = exports::poll_call(id);
        let answer = self
            .call(Endpoint::Poll, Identity::Exporter, Repeat::Always, &call)
            .await?;
        exports::export_status(&answer)
    }

    /// Downloads a workbook of at most `max_bytes` into the file `to`, which is replaced, and removed on an error. It is not synced.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] if it is too large, [`ErrorKind::Retry`] if what came is cut off or no workbook.
    pub async fn download(
        &self,
        file_token: &SecretString,
        to: &Path,
        max_bytes: u64,
    ) -> Result<Download, Error> {
        let call = exports::download_call(file_token);
        let inner = &self.0;
        let mut retries = inner.retries(Repeat::Always);
        loop {
            let outcome = inner.download_once(&call, to, max_bytes).await;
            inner.note(&outcome);
            let error = match outcome {
                Ok(download) => return Ok(download),
                Err(error) => error,
            };
            // What is left of it is of no use; that it cannot be removed is of no interest beside the error.
            let _ = tokio::fs::remove_file(to).await;
            retries.pause(error).await?;
        }
    }

    /// All rooms of the tenant, ordered by id.
    ///
    /// # Errors
    /// Besides what the API refuses: [`ErrorKind::Other`] if the pages do not end.
    pub async fn rooms(&self) -> Result<Vec<Room>, Error> {
        let wire: Vec<WireRoom> = self
            .list(Endpoint::Rooms, Listing::new("rooms", None))
            .await?;
        let mut rooms: Vec<Room> = wire.into_iter().map(Room::from).collect();
        rooms.sort_by(|a, b| a.room_id.cmp(&b.room_id));
        // A room that moved from page to page while they were read.
        rooms.dedup_by(|a, b| a.room_id == b.room_id);
        Ok(rooms)
    }

    /// The levels right below `parent`, or below the tenant's root, ordered by id.
    ///
    /// # Errors
    /// As for [`Self::rooms`].
    pub async fn room_levels(&self, parent: Option<&str>) -> Result<Vec<RoomLevel>, Error> {
        let listing = Listing::new("room_levels", parent);
        let mut levels: Vec<RoomLevel> = self.list(Endpoint::RoomLevels, listing).await?;
        levels.sort_by(|a, b| a.room_level_id.cmp(&b.room_level_id));
        levels.dedup_by(|a, b| a.room_level_id == b.room_level_id);
        Ok(levels)
    }

    /// Asks once for the tenant's token, past the one at hand, and for the user's where one is configured. For `doctor`.
    ///
    /// # Errors
    /// At once, with what stands in the way.
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
            expires_in: fresh.life,
            server_time: answer.server_time,
            clock_ahead: answer
                .server_time
                .map(|server_time| now.duration_since(server_time)),
        })
    }

    async fn list<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        mut listing: Listing<T>,
    ) -> Result<Vec<T>, Error> {
        loop {
            let answer = self
                .call(endpoint, Identity::Tenant, Repeat::Always, &listing.call())
                .await?;
            if !listing.take(&answer)? {
                return Ok(listing.into_items());
            }
        }
    }

    /// One call with everything around it: slot, token, once more with a new token, retries.
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
            inner.note(&outcome);
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

    fn note<T>(&self, outcome: &Result<T, Error>) {
        let passing = outcome.as_ref().err().filter(|error| error.is_retryable());
        *self.last_trouble() = passing.cloned();
    }

    fn last_trouble(&self) -> MutexGuard<'_, Option<Error>> {
        self.trouble
            .lock()
            .expect("nothing panics while holding the last error")
    }

    async fn call_once(
        self: &Arc<Self>,
        endpoint: Endpoint,
        identity: Identity,
        call: &Call,
    ) -> Result<Answer, Error> {
        let opened = self
            .open(endpoint, identity, call, self.settings.timeouts.json)
            .await?;
        let outcome = self.http.read(opened.reply).await;
        self.learn(endpoint, identity, &opened.token, outcome).await
    }

    async fn download_once(
        self: &Arc<Self>,
        call: &Call,
        to: &Path,
        max_bytes: u64,
    ) -> Result<Download, Error> {
        let (endpoint, identity) = (Endpoint::Download, Identity::Exporter);
        let opened = self
            .open(endpoint, identity, call, self.settings.timeouts.download)
            .await?;
        let outcome = exports::receive(&self.http, opened.reply, to, max_bytes).await;
        self.learn(endpoint, identity, &opened.token, outcome).await
    }

    /// Sends a call when there is a slot, and holds the slot until the head of the answer is there: by then the server has counted it.
    async fn open(
        self: &Arc<Self>,
        endpoint: Endpoint,
        identity: Identity,
        call: &Call,
        whole: Duration,
    ) -> Result<Opened, Error> {
        let _slot = self.limits.acquire(endpoint).await;
        // After the wait for the slot, which may outlast a token.
        let token = self.token(identity).await.map_err(Error::before_sending)?;
        let reply = self.http.open(call, Some(&token), whole).await?;
        Ok(Opened { reply, token })
    }

    /// Draws the consequences of an error: a limit to obey, a token to forget.
    async fn learn<T>(
        &self,
        endpoint: Endpoint,
        identity: Identity,
        token: &SecretString,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &outcome {
            if error.kind() == ErrorKind::RateLimited {
                let wait = error.retry_after().unwrap_or_default();
                tracing::debug!(
                    endpoint = endpoint.as_str(),
                    limit = error.call_limit(),
                    wait_ms = wait.as_millis(),
                    "rate limited"
                );
                self.limits.limited(endpoint, error.call_limit(), wait);
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
            // A task of its own, so that a caller who is cancelled does not leave a refresh token spent and its successor unwritten.
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

/// The head of an answer, and the token that was sent for it.
struct Opened {
    reply: http::Reply,
    token: SecretString,
}

fn wrong_way(request: &Request, expected: &str) -> Error {
    let said = format!("{} is no {expected}", request.dataset());
    Error::other("make the call", said)
}

//! One request, one answer: sends with time limits, reads with size limits, and opens the envelope
//! `{code, msg, data}`.
//!
//! Redirects are never followed: a 307 would post the app secret to another host. This module knows
//! nothing of token lifetimes, limits or retries.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::{Error, RefusedAnswer, clean, log_id};
use super::lenient;
use super::{Settings, Timeouts};
use crate::clock::Clock;
use crate::datasets::{self, Endpoint, Parameters};
use crate::network;
use crate::task::Urgency;

/// Largest JSON body that is read, in bytes; a page of 100 rooms has some 100 KB.
const JSON_LIMIT: usize = 16 << 20;

/// How long an idle connection is kept. It is short, because a submit on a connection that the
/// server is closing fails with an unknown outcome.
const IDLE: Duration = Duration::from_secs(15);

/// A request without its token; cheap to send again.
pub(super) struct Call {
    /// The endpoint's name in logs.
    pub(super) name: &'static str,
    /// What is being done, for "could not …".
    pub(super) action: String,
    pub(super) method: Method,
    /// Segments after `open-apis`; escaped when sent.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(Cow<'static, str>, String)>,
    pub(super) body: Option<Value>,
    /// A value of query or body that must never be shown.
    pub(super) secret: Option<SecretString>,
    /// Codes other than 0 with which a body is an answer all the same.
    answers: Vec<i64>,
    /// Its place among the calls that wait for the same endpoint.
    pub(super) urgency: Urgency,
}

impl Call {
    /// A call of an endpoint of the API. The parameters' segment takes the place of the path's
    /// `:…`, or stands at its end.
    pub(super) fn of(
        endpoint: Endpoint,
        action: impl Into<String>,
        parameters: Parameters,
    ) -> Self {
        let mut own = parameters.segment;
        let mut path = vec!["vc".to_owned(), "v1".to_owned()];
        for segment in endpoint.path.split('/') {
            path.push(match segment.starts_with(':') {
                true => own.take().unwrap_or_default(),
                false => segment.to_owned(),
            });
        }
        path.extend(own);
        Self {
            name: endpoint.name,
            action: action.into(),
            method: endpoint.method.into(),
            path,
            query: parameters
                .query
                .into_iter()
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
            body: parameters.body,
            secret: None,
            answers: Vec::new(),
            urgency: Urgency::default(),
        }
    }

    /// A call of another service that only reads.
    pub(super) fn get(name: &'static str, action: impl Into<String>, path: &[&str]) -> Self {
        Self {
            method: Method::GET,
            body: None,
            ..Self::post(name, action, path, Value::Null)
        }
    }

    /// A call that asks for a token.
    pub(super) fn post(
        name: &'static str,
        action: impl Into<String>,
        path: &[&str],
        body: Value,
    ) -> Self {
        Self {
            name,
            action: action.into(),
            method: Method::POST,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: Some(body),
            secret: None,
            answers: Vec::new(),
            urgency: Urgency::default(),
        }
    }

    pub(super) const fn urgent(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    pub(super) fn taking(mut self, answers: &[i64]) -> Self {
        self.answers = answers.to_vec();
        self
    }

    pub(super) fn with_secret(mut self, secret: SecretString) -> Self {
        self.secret = Some(secret);
        self
    }
}

impl From<datasets::Method> for Method {
    fn from(method: datasets::Method) -> Self {
        match method {
            datasets::Method::Get => Self::GET,
            datasets::Method::Post => Self::POST,
            datasets::Method::Put => Self::PUT,
            datasets::Method::Patch => Self::PATCH,
            datasets::Method::Delete => Self::DELETE,
        }
    }
}

/// The head of an answer. Its body is still to be read.
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) action: String,
    name: &'static str,
    secrets: Vec<SecretString>,
    answers: Vec<i64>,
    sent_at: Timestamp,
}

impl Reply {
    /// Feishu's id of the request.
    pub(super) fn log_id(&self) -> Option<String> {
        let id = header(self.response.headers(), "x-tt-logid")?;
        log_id(id, &exposed(&self.secrets))
    }

    /// An unexpected body in a form that may be shown.
    pub(super) fn excerpt(&self, body: &[u8]) -> String {
        let headers = self.response.headers();
        let content_type = header(headers, CONTENT_TYPE.as_str()).unwrap_or("no content type");
        let kind = match header(headers, CONTENT_ENCODING.as_str()) {
            Some(encoding) => {
                format!("{content_type}, encoded as {encoding} without being asked to")
            }
            None => content_type.to_owned(),
        };
        excerpt(&kind, body, &exposed(&self.secrets))
    }

    fn check_envelope(&self, body: &[u8], clock: &Clock) -> Result<(), Error> {
        // A list would be read as an envelope too, member by member.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let envelope = serde_json::from_slice::<Envelope>(body).ok();
        let envelope = envelope.filter(|_| is_object);
        let status = self.response.status();
        tracing::debug!(
            endpoint = self.name,
            api.status = status.as_u16(),
            api.code = envelope.as_ref().map(|envelope| envelope.code),
            api.log_id = self.log_id(),
            elapsed_ms = clock.now().duration_since(self.sent_at).as_millis(),
            "answered"
        );
        match envelope {
            Some(envelope) if envelope.code == 0 && status.is_success() => Ok(()),
            Some(envelope) if self.answers.contains(&envelope.code) => Ok(()),
            None if status.is_success() => {
                let said = format!("the answer is not the API's: {}", self.excerpt(body));
                Err(Error::garbled(&self.action, said, self.log_id()))
            }
            envelope => Err(self.refused(envelope, body)),
        }
    }

    fn refused(&self, envelope: Option<Envelope>, body: &[u8]) -> Error {
        let headers = self.response.headers();
        let secrets = exposed(&self.secrets);
        let seconds = |name| number(headers, name).map(Duration::from_secs);
        let mut answered = RefusedAnswer {
            status: self.response.status().as_u16(),
            log_id: self.log_id(),
            wait: seconds("x-ogw-ratelimit-reset").or_else(|| seconds(RETRY_AFTER.as_str())),
            call_limit: call_limit(headers),
            secrets: &secrets,
            ..RefusedAnswer::default()
        };
        match envelope {
            Some(envelope) => {
                answered.code = (envelope.code != 0).then_some(envelope.code);
                answered.msg = envelope.text();
                answered.error = envelope.error;
            }
            None => answered.msg = self.redirect().unwrap_or_else(|| self.excerpt(body)),
        }
        Error::refused(&self.action, &answered)
    }

    fn redirect(&self) -> Option<String> {
        let target = header(self.response.headers(), LOCATION.as_str())?;
        let host = Url::parse(target).ok()?.host_str()?.to_owned();
        Some(format!("redirected to {host}"))
    }
}

/// The envelope without its data. OAuth errors carry a word in `error`, and `error_description`
/// instead of `msg` (API reference, 1.4).
#[derive(Deserialize)]
struct Envelope {
    #[serde(deserialize_with = "lenient::integer")]
    code: i64,
    #[serde(default, deserialize_with = "lenient::text")]
    msg: String,
    #[serde(default, deserialize_with = "lenient::text")]
    error_description: String,
    #[serde(default)]
    error: Option<Value>,
}

impl Envelope {
    fn text(&self) -> String {
        let said = if self.msg.is_empty() {
            &self.error_description
        } else {
            &self.msg
        };
        said.clone()
    }
}

/// The whole body of a good envelope.
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// The server's clock, to the second.
    pub(super) server_time: Option<Timestamp>,
    /// The endpoint's limit, if a good answer names it.
    pub(super) call_limit: Option<u32>,
    pub(super) log_id: Option<String>,
    action: String,
    secrets: Vec<SecretString>,
}

impl Answer {
    /// The body as `T`; for the token endpoints, whose answers have no `data`.
    pub(super) fn flat<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.garbled(&describe_mismatch(&error)))
    }

    /// The envelope's `data` as `T`.
    pub(super) fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        #[derive(Deserialize)]
        struct WithData<T> {
            data: T,
        }
        self.flat::<WithData<T>>().map(|envelope| envelope.data)
    }

    /// A text of this answer in a form that may be shown.
    pub(super) fn clean(&self, text: &str) -> String {
        clean(text, &exposed(&self.secrets))
    }

    /// An error that says what is wrong with this answer.
    pub(super) fn garbled(&self, why: &str) -> Error {
        let said = format!("the answer does not fit: {}", self.clean(why));
        Error::garbled(&self.action, said, self.log_id.clone())
    }
}

/// Names a missing field. Other messages of serde quote values, which may be tokens or names.
fn describe_mismatch(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.starts_with("missing field") {
        true => text,
        false => format!(
            "a value of another type at line {} column {}",
            error.line(),
            error.column()
        ),
    }
}

/// A client that reaches the API as the settings say.
pub(super) fn builder(settings: &Settings) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    network::install_crypto_provider();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("meetlake/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(settings.timeouts.connect)
        .read_timeout(settings.timeouts.idle)
        .pool_idle_timeout(IDLE)
        .https_only(settings.host.scheme() == "https");
    settings.proxies.apply(builder, &settings.host)
}

/// Sends requests to one base URL.
pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    clock: Clock,
    timeouts: Timeouts,
    app_secret: SecretString,
}

impl Http {
    /// A sender for checked settings.
    pub(super) fn new(settings: &Settings, clock: Clock) -> Result<Self, reqwest::Error> {
        let builder = builder(settings)?;
        Ok(Self {
            client: builder.build()?,
            base: settings.host.clone(),
            clock,
            timeouts: settings.timeouts,
            app_secret: settings.app_secret.clone(),
        })
    }

    /// Sends, and waits for the head of the answer.
    pub(super) async fn open(
        &self,
        call: &Call,
        bearer: Option<&SecretString>,
        whole: Duration,
    ) -> Result<Reply, Error> {
        let mut request = self
            .client
            .request(call.method.clone(), self.url(call))
            .timeout(whole);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose_secret());
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json; charset=utf-8")
                .body(body.to_string());
        }
        let sent_at = self.clock.now();
        let outcome = request.send().await;
        let response = outcome.map_err(|error| {
            let sent = !(error.is_connect() || error.is_builder());
            Error::transport(&call.action, error, sent)
        })?;
        let secrets = [Some(&self.app_secret), bearer, call.secret.as_ref()];
        Ok(Reply {
            response,
            action: call.action.clone(),
            name: call.name,
            secrets: secrets.into_iter().flatten().cloned().collect(),
            answers: call.answers.clone(),
            sent_at,
        })
    }

    /// Sends, and reads an envelope with code 0.
    pub(super) async fn send(
        &self,
        call: &Call,
        bearer: Option<&SecretString>,
    ) -> Result<Answer, Error> {
        let reply = self.open(call, bearer, self.timeouts.json).await?;
        self.read(reply).await
    }

    /// Reads an envelope with code 0, of at most 16 MiB.
    pub(super) async fn read(&self, mut reply: Reply) -> Result<Answer, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = chunk(&mut reply).await? {
            if body.len() + chunk.len() > JSON_LIMIT {
                let said = format!("the answer is larger than {JSON_LIMIT} bytes");
                return Err(Error::garbled(&reply.action, said, reply.log_id()));
            }
            body.extend_from_slice(&chunk);
        }
        self.check_envelope(&reply, &body)?;
        Ok(Answer {
            body: Bytes::from(body),
            server_time: server_time(reply.response.headers()),
            call_limit: call_limit(reply.response.headers()),
            log_id: reply.log_id(),
            action: reply.action,
            secrets: reply.secrets,
        })
    }

    /// Logs an answer and opens its envelope. Anything but code 0 with a good status is an error.
    pub(super) fn check_envelope(&self, reply: &Reply, body: &[u8]) -> Result<(), Error> {
        reply.check_envelope(body, &self.clock)
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("the base URL was checked to be http(s)")
            .pop_if_empty()
            .push("open-apis")
            .extend(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }
}

/// The next piece of the body; `None` at the end.
pub(super) async fn chunk(reply: &mut Reply) -> Result<Option<Bytes>, Error> {
    let piece = reply.response.chunk().await;
    piece.map_err(|error| Error::transport(&reply.action, error, true))
}

fn exposed(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    header(headers, name)?.trim().parse().ok()
}

fn call_limit(headers: &HeaderMap) -> Option<u32> {
    u32::try_from(number(headers, "x-ogw-ratelimit-limit")?).ok()
}

fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let date = header(headers, DATE.as_str())?;
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_zoned(date)
        .ok()?;
    Some(zoned.timestamp())
}

/// The text of a page without its tags. Of other bodies only kind and size, because they may be the
/// tenant's data.
fn excerpt(content_type: &str, body: &[u8], secrets: &[&str]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = match head.trim_start().starts_with('<') {
        true => without_tags(&head),
        false => format!("{} bytes of {content_type}", body.len()),
    };
    clean(&text, secrets)
}

fn without_tags(html: &str) -> String {
    let texts = html.split('<').filter_map(|part| part.split_once('>'));
    texts.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_shown_as_text_and_data_is_not_shown() {
        let page = b"<html><h1>502</h1>\n<p>Bad \x1b[1mgateway</p></html>";
        assert_eq!(excerpt("text/html", page, &[]), "502 Bad [1mgateway");
        assert_eq!(excerpt("text/csv", b"Ann,1", &[]), "5 bytes of text/csv");
    }

    #[test]
    fn the_date_header_is_understood() {
        let mut headers = HeaderMap::new();
        headers.insert(
            DATE,
            "Sun, 01 Nov 2026 08:49:37 GMT".parse().expect("a header"),
        );
        let time = server_time(&headers).expect("a date");
        assert_eq!(time.to_string(), "2026-11-01T08:49:37Z");
    }
}

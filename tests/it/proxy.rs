//! A store that lies: stands between the program and a real object store, passes requests on, and breaks those that a rule names.
//!
//! HTTP/1.1 is read and written by hand, so that an answer can be cut, held back, or contradict itself. `Host` and path are passed on as they
//! came, because requests are signed over them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The store does it, and this status is answered in place of its own.
    CommitThen(u16),
    /// The store does it, and the connection is closed without an answer.
    CommitThenDrop,
    /// The store does it, and nothing is ever answered.
    CommitThenSilence,
    /// The connection is closed before the store hears of it.
    Drop,
    /// The store never hears of it, and nothing is ever answered.
    Silence,
    /// The store never hears of it, and this status is answered.
    Answer(u16),
    /// The answer's body comes in small pieces with pauses.
    Slow,
    /// Half of the answer's body comes, then the connection is closed.
    CutBody,
    /// Half of the answer's body comes, and its length says that this is all.
    ShortBody,
    /// The answer's body has its length, and some other bytes.
    WrongBytes,
    /// The answer is the first one that was given for this path, or "not found" before any was.
    Stale,
    /// The list lacks whatever was put through the proxy.
    StaleList,
    /// A conditional write becomes a look at the object and, some time later, a write without a condition.
    Racy,
}

/// Which requests a fault strikes.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) methods: &'static [&'static str],
    /// Part of path and query.
    pub(crate) path: String,
    /// Matching requests before the first that is struck, and how many are struck from there.
    pub(crate) skip: usize,
    pub(crate) count: usize,
    pub(crate) fault: Fault,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = |(of, _): &&(String, String)| of.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(found)
            .map(|(_, value)| value.as_str())
    }

    /// Whether `x-amz-checksum-sha256` is there and is the body's.
    pub(crate) fn has_true_sha256(&self) -> bool {
        let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&self.body));
        self.header("x-amz-checksum-sha256") == Some(&sum)
    }

    fn path(&self) -> &str {
        self.target
            .split('?')
            .next()
            .expect("there is a first part")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.method == "GET"
            && (self.target.contains("list-type=2") || self.target.contains("comp=list"))
    }
}

#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    rules: Vec<(Rule, usize)>,
    struck: usize,
    /// Every request that came, without the bodies of answers.
    log: Vec<Request>,
    /// First answer to a GET or HEAD by method and path.
    first: HashMap<(String, String), Answer>,
    /// Paths that were put.
    put: Vec<String>,
}

/// A proxy that ends with the test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Passes on to the store on port `upstream` of this machine.
    pub(crate) async fn start(upstream: u16) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        let of_connections = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, client) = (Arc::clone(&of_connections), client.clone());
                tokio::spawn(async move {
                    // A connection that ends in the middle is what half of this is about.
                    let _ = serve(stream, upstream, &client, &shared).await;
                });
            }
        });
        Self {
            port,
            shared,
            accepting,
        }
    }

    pub(crate) fn rule(&self, rule: Rule) {
        self.lock().rules.push((rule, 0));
    }

    pub(crate) fn clear(&self) {
        self.lock().rules.clear();
    }

    /// Lets lists show what was put under paths that contain this.
    pub(crate) fn forget(&self, part: &str) {
        self.lock().put.retain(|path| !path.contains(part));
    }

    /// Requests that a rule struck.
    pub(crate) fn struck(&self) -> usize {
        self.lock().struck
    }

    pub(crate) fn log(&self) -> Vec<Request> {
        self.lock().log.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("nothing panics while holding it")
    }
}

/// The fault for a request, which is noted.
fn fault_for(shared: &Mutex<Shared>, request: &Request) -> Option<Fault> {
    let mut shared = shared.lock().expect("nothing panics while holding it");
    shared.log.push(request.clone());
    let mut fault = None;
    for (rule, seen) in &mut shared.rules {
        let is_list = request.is_list() || request.target.contains("?delete");
        let names_path = match rule.path.as_str() {
            "list" => request.is_list(),
            "delete" => request.target.contains("?delete") || request.method == "DELETE",
            path => !is_list && request.path().contains(path),
        };
        if names_path && rule.methods.contains(&request.method.as_str()) {
            *seen += 1;
            if *seen > rule.skip && *seen <= rule.skip + rule.count && fault.is_none() {
                fault = Some(rule.fault);
            }
        }
    }
    shared.struck += usize::from(fault.is_some());
    fault
}

async fn serve(
    stream: TcpStream,
    upstream: u16,
    client: &reqwest::Client,
    shared: &Mutex<Shared>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let is_head = request.method == "HEAD";
        let fault = fault_for(shared, &request);
        match fault {
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Answer(status)) => {
                write(&mut stream, is_head, &refusal(status)).await?;
                continue;
            }
            Some(Fault::Stale) => {
                let key = (request.method.clone(), request.path().to_owned());
                let first = shared
                    .lock()
                    .expect("held shortly")
                    .first
                    .get(&key)
                    .cloned();
                write(&mut stream, is_head, &first.unwrap_or_else(|| refusal(404))).await?;
                continue;
            }
            Some(Fault::Racy) => {
                let answer = race(client, upstream, request).await;
                write(&mut stream, is_head, &answer).await?;
                continue;
            }
            _ => {}
        }
        let mut answer = pass_on(client, upstream, &request).await;
        note(shared, &request, &answer);
        let half = answer.body.len() / 2;
        match fault {
            Some(Fault::CommitThen(status)) => answer = refusal(status),
            Some(Fault::CommitThenDrop) => return Ok(()),
            Some(Fault::CommitThenSilence) => std::future::pending().await,
            Some(Fault::CutBody) if half > 0 => {
                let head = head_of(&answer, is_head);
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&answer.body[..half]).await?;
                return stream.flush().await;
            }
            Some(Fault::ShortBody) => answer.body.truncate(half),
            Some(Fault::WrongBytes) => {
                // All over the body, so that data and not only the frame around it are hit.
                let step = (answer.body.len() / 7).max(1);
                answer
                    .body
                    .iter_mut()
                    .skip(step / 2)
                    .step_by(step)
                    .for_each(|byte| *byte ^= 0x5a);
            }
            Some(Fault::StaleList) => hide_new(shared, &mut answer),
            Some(Fault::Slow) => {
                stream
                    .write_all(head_of(&answer, is_head).as_bytes())
                    .await?;
                for piece in answer
                    .body
                    .chunks(answer.body.len() / 8 + 1)
                    .filter(|_| !is_head)
                {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                stream.flush().await?;
                continue;
            }
            _ => {}
        }
        write(&mut stream, is_head, &answer).await?;
    }
    Ok(())
}

/// Keeps what later lies are made of.
fn note(shared: &Mutex<Shared>, request: &Request, answer: &Answer) {
    let mut shared = shared.lock().expect("nothing panics while holding it");
    match request.method.as_str() {
        "GET" | "HEAD" => {
            let key = (request.method.clone(), request.path().to_owned());
            shared.first.entry(key).or_insert_with(|| answer.clone());
        }
        "PUT" if answer.status < 300 => shared.put.push(request.path().to_owned()),
        _ => {}
    }
}

/// What a store with no lock between look and write does.
async fn race(client: &reqwest::Client, upstream: u16, mut put: Request) -> Answer {
    let (if_none, if_match) = (
        put.header("if-none-match").map(str::to_owned),
        put.header("if-match").map(str::to_owned),
    );
    let conditions = ["if-none-match", "if-match"];
    put.headers
        .retain(|(name, _)| !conditions.contains(&name.to_ascii_lowercase().as_str()));
    let look = Request {
        method: "HEAD".into(),
        body: Vec::new(),
        ..put.clone()
    };
    let found = pass_on(client, upstream, &look).await;
    let etag = found
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("etag"));
    let refused = if_none.is_some() && found.status == 200
        || if_match.is_some() && if_match.as_ref() != etag.map(|(_, etag)| etag);
    if refused {
        return refusal(412);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    pass_on(client, upstream, &put).await
}

/// Takes out of a list whatever was put through the proxy.
fn hide_new(shared: &Mutex<Shared>, answer: &mut Answer) {
    let put = shared
        .lock()
        .expect("nothing panics while holding it")
        .put
        .clone();
    let mut text = String::from_utf8_lossy(&answer.body).into_owned();
    for (open, close, key) in [
        ("<Contents>", "</Contents>", "Key"),
        ("<Blob>", "</Blob>", "Name"),
    ] {
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some((before, (entry, after))) = rest
            .split_once(open)
            .and_then(|(before, from)| Some((before, from.split_once(close)?)))
        {
            kept.push_str(before);
            let name = entry
                .split_once(&format!("<{key}>"))
                .and_then(|(_, from)| from.split_once('<'));
            let is_new = name.is_some_and(|(name, _)| {
                let end = format!("/{}", name.replace('=', "%3D"));
                put.iter()
                    .any(|path| path.ends_with(&end) || path.ends_with(&format!("/{name}")))
            });
            if !is_new {
                kept.push_str(open);
                kept.push_str(entry);
                kept.push_str(close);
            }
            rest = after;
        }
        kept.push_str(rest);
        text = kept;
    }
    answer.body = text.into_bytes();
}

fn refusal(status: u16) -> Answer {
    let code = match status {
        400 | 403 => "ExpiredToken",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        501 => "NotImplemented",
        503 => "SlowDown",
        507 => "XMinioStorageFull",
        _ => "InternalError",
    };
    Answer {
        status,
        headers: vec![("Content-Type".into(), "application/xml".into())],
        body: format!("<Error><Code>{code}</Code><Message>planted</Message></Error>").into_bytes(),
    }
}

async fn pass_on(client: &reqwest::Client, upstream: u16, request: &Request) -> Answer {
    let method = reqwest::Method::from_bytes(request.method.as_bytes()).expect("a method");
    let mut send = client.request(
        method,
        format!("http://127.0.0.1:{upstream}{}", request.target),
    );
    for (name, value) in &request.headers {
        let is_ours = ["connection", "content-length", "transfer-encoding"]
            .contains(&name.to_ascii_lowercase().as_str());
        if !is_ours {
            send = send.header(name, value);
        }
    }
    if request.method == "PUT" || request.method == "POST" {
        send = send.body(request.body.clone());
    }
    let answer = match send.send().await {
        Ok(answer) => answer,
        Err(error) => panic!("the store behind the proxy is gone: {error}"),
    };
    let status = answer.status().as_u16();
    let headers = answer.headers().iter();
    let headers = headers
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let body = answer.bytes().await.expect("a body").to_vec();
    Answer {
        status,
        headers,
        body,
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        first.next().unwrap_or_default(),
        first.next().unwrap_or_default(),
    );
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    };
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut request.body).await?;
    Ok(Some(request))
}

fn head_of(answer: &Answer, is_head: bool) -> String {
    let mut head = format!("HTTP/1.1 {} planted\r\n", answer.status);
    for (name, value) in &answer.headers {
        let lower = name.to_ascii_lowercase();
        let is_length = lower == "content-length";
        if !["connection", "transfer-encoding", "keep-alive"].contains(&lower.as_str())
            && (is_head || !is_length)
        {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    if !is_head && answer.status != 204 && answer.status != 304 {
        let _ = write!(head, "content-length: {}\r\n", answer.body.len());
    }
    head.push_str("\r\n");
    head
}

async fn write(
    stream: &mut BufReader<TcpStream>,
    is_head: bool,
    answer: &Answer,
) -> std::io::Result<()> {
    stream
        .write_all(head_of(answer, is_head).as_bytes())
        .await?;
    if !is_head && answer.status != 204 && answer.status != 304 {
        stream.write_all(&answer.body).await?;
    }
    stream.flush().await
}

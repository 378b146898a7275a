//! A gate before the simulator that misbehaves on the wire: it speaks HTTP by hand, so that it can send what no server library would.
//!
//! A request is read whole, and either answered by the fault, or passed on and its answer altered. Everything else is passed on as it is.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// An endpoint of the API, as far as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Token,
    UserToken,
    Submit,
    Poll,
    Download,
    Rooms,
    Report,
    Other,
}

impl Place {
    fn of(method: &str, path: &str) -> Self {
        match path.strip_prefix("/open-apis/").unwrap_or(path) {
            "auth/v3/tenant_access_token/internal" => Self::Token,
            "authen/v2/oauth/token" => Self::UserToken,
            "vc/v1/exports/download" => Self::Download,
            "vc/v1/rooms" => Self::Rooms,
            path if path.starts_with("vc/v1/reports/") => Self::Report,
            path if path.starts_with("vc/v1/exports/") && method == "POST" => Self::Submit,
            path if path.starts_with("vc/v1/exports/") => Self::Poll,
            _ => Self::Other,
        }
    }
}

/// A request, as the gate saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    /// From 1, of this place, since the faults were set.
    pub(crate) number: u64,
    /// Whether it belongs to the window of the first submit.
    pub(crate) is_victim: bool,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The token it carries.
    pub(crate) fn bearer(&self) -> &str {
        let header = self.header("authorization").unwrap_or_default();
        header.trim_start_matches("Bearer ")
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let found = pairs.find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }
}

/// An answer before it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// The header, in place of the one of that name.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON body, changed.
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = self.value();
        change(&mut value);
        self.body = value.to_string().into_bytes();
        self
    }

    fn head(&self, with_length: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if with_length
            && !self
                .headers
                .iter()
                .any(|(name, _)| name == "content-length")
        {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// As it should be written.
    pub(crate) fn whole(&self) -> Vec<u8> {
        [self.head(true), self.body.clone()].concat()
    }

    /// With the end of the connection in place of a length.
    pub(crate) fn without_length(&self) -> Vec<u8> {
        [self.head(false), self.body.clone()].concat()
    }
}

/// What goes over the wire.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A proper answer.
    Answer(Answer),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// The first so many bytes at once, the rest one by one with a pause after each, for ever if there is nothing left.
    Drip {
        bytes: Vec<u8>,
        at_once: usize,
        pause: Duration,
    },
    /// The first bytes, then the second again and again until the client goes.
    Endless { first: Vec<u8>, again: Vec<u8> },
}

/// What a fault does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    /// The request is answered here and never reaches Feishu.
    Instead(fn(&Seen, &World) -> Act),
    /// Feishu does what it is asked for, and its answer is altered.
    After(fn(&Seen, &World, Answer) -> Act),
}

/// Which requests of a place are struck.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// All.
    Always,
    /// The first so many.
    First(u64),
    /// Those from this number on.
    From(u64),
    /// All that belong to the window of the first submit; of its other requests none.
    Victim,
    /// The first so many of these.
    VictimFirst(u64),
}

/// A fault that is switched on.
#[derive(Clone, Copy)]
pub(crate) struct Wrong {
    pub(crate) place: Place,
    pub(crate) when: When,
    pub(crate) does: Does,
}

/// What faults may point at.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The gate itself.
    pub(crate) here: SocketAddr,
    /// A listener that nobody should call.
    pub(crate) elsewhere: SocketAddr,
    /// The largest body so far of a download that was not struck.
    pub(crate) other_file: Vec<u8>,
}

struct Shared {
    feishu: String,
    here: SocketAddr,
    elsewhere: SocketAddr,
    http: reqwest::Client,
    wrong: Mutex<Vec<Wrong>>,
    seen: Mutex<Vec<Seen>>,
    struck: AtomicU64,
    refuses: AtomicBool,
    refuses_after: Mutex<Option<(Place, u64)>>,
    victims: Mutex<Victims>,
    strangers: Mutex<Vec<u8>>,
    other_file: Mutex<Vec<u8>>,
    /// Tokens of every kind that Feishu gave out.
    tokens: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Victims {
    start: Option<String>,
    ids: HashSet<String>,
    counts: BTreeMap<Place, u64>,
    victims: BTreeMap<Place, u64>,
}

/// A running gate; it ends with its runtime.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

impl Gate {
    /// A gate before the API at `feishu`, with a listener beside it that only listens.
    pub(crate) async fn start(feishu: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let aside = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let shared = Arc::new(Shared {
            feishu: feishu.to_owned(),
            here: listener.local_addr().expect("an address"),
            elsewhere: aside.local_addr().expect("an address"),
            http: client.build().expect("a client"),
            wrong: Mutex::default(),
            seen: Mutex::default(),
            struck: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
            refuses_after: Mutex::default(),
            victims: Mutex::default(),
            strangers: Mutex::default(),
            other_file: Mutex::default(),
            tokens: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        tokio::spawn(overhear(aside, Arc::clone(&shared)));
        Self(shared)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.here)
    }

    /// Replaces the faults and begins to count anew.
    pub(crate) fn set(&self, wrong: &[Wrong]) {
        *self.0.wrong.lock().expect("the faults") = wrong.to_vec();
        *self.0.victims.lock().expect("the victims") = Victims::default();
        self.0.seen.lock().expect("the log").clear();
        *self.0.refuses_after.lock().expect("the end") = None;
        self.0.refuses.store(false, Ordering::Relaxed);
    }

    /// From the answer to the `number`-th request of `place` on, nobody listens.
    pub(crate) fn refuse_after(&self, place: Place, number: u64) {
        *self.0.refuses_after.lock().expect("the end") = Some((place, number));
    }

    /// How many requests were struck.
    pub(crate) fn struck(&self) -> u64 {
        self.0.struck.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().expect("the log").clone()
    }

    pub(crate) fn calls(&self, place: Place) -> u64 {
        self.seen()
            .iter()
            .filter(|seen| seen.place == place)
            .count() as u64
    }

    /// Every byte that arrived where nobody should call.
    pub(crate) fn overheard(&self) -> Vec<u8> {
        self.0.strangers.lock().expect("the bytes").clone()
    }

    /// Every token that was given out: of the tenant, of the user, of files.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0
            .tokens
            .lock()
            .expect("the tokens")
            .iter()
            .cloned()
            .collect()
    }
}

async fn accept(mut listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until(&shared.refuses, true) => {
                let here = shared.here;
                drop(listener);
                until(&shared.refuses, false).await;
                listener = TcpListener::bind(here).await.expect("the same port");
                continue;
            }
        };
        let Ok((stream, _)) = accepted else { continue };
        if shared.refuses.load(Ordering::Relaxed) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // The client may go at any time; that is its business.
            let _ = answer(stream, &shared).await;
        });
    }
}

async fn until(flag: &AtomicBool, wanted: bool) {
    while flag.load(Ordering::Relaxed) != wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Keeps what arrives at the listener that nobody should call; a connection alone counts as a byte.
async fn overhear(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let keep = |bytes: &[u8]| {
                let mut kept = shared.strangers.lock().expect("the bytes");
                kept.extend_from_slice(bytes);
            };
            keep(b"!");
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                keep(&buffer[..count]);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    .await;
            }
        });
    }
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(mut seen) = read(&mut stream).await? else {
        return Ok(());
    };
    shared.register(&mut seen);
    let does = shared.fault_for(&seen);
    let world = World {
        here: shared.here,
        elsewhere: shared.elsewhere,
        other_file: shared.other_file.lock().expect("the file").clone(),
    };
    let act = match does {
        Some(Does::Instead(fault)) => fault(&seen, &world),
        Some(Does::After(fault)) => {
            let answer = shared.pass_on(&seen).await;
            fault(&seen, &world, answer)
        }
        None => {
            let answer = shared.pass_on(&seen).await;
            if seen.place == Place::Download && answer.status == 200 {
                *shared.other_file.lock().expect("the file") = answer.body.clone();
            }
            Act::Answer(answer)
        }
    };
    let last = *shared.refuses_after.lock().expect("the end");
    if last.is_some_and(|(place, number)| seen.place == place && seen.number >= number) {
        shared.refuses.store(true, Ordering::Relaxed);
    }
    write(&mut stream, act).await
}

async fn write(stream: &mut TcpStream, act: Act) -> std::io::Result<()> {
    match act {
        Act::Answer(answer) => stream.write_all(&answer.whole()).await?,
        Act::Bytes(bytes) => stream.write_all(&bytes).await?,
        Act::Drip {
            bytes,
            at_once,
            pause,
        } => {
            let (first, rest) = bytes.split_at(at_once.min(bytes.len()));
            stream.write_all(first).await?;
            for byte in rest {
                tokio::time::sleep(pause).await;
                stream.write_all(&[*byte]).await?;
            }
            if rest.is_empty() {
                // Nothing more comes, and the connection stays, until the client closes it.
                let mut buffer = [0; 64];
                while stream.read(&mut buffer).await? > 0 {}
            }
        }
        Act::Endless { first, again } => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&again).await?;
            }
        }
    }
    stream.shutdown().await
}

/// A request with its body; `None` if the connection ends before.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let path = target.split('?').next().unwrap_or_default();
    let mut seen = Seen {
        place: Place::of(method, path),
        number: 0,
        is_victim: false,
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: bytes[end..].to_vec(),
    };
    let length = seen
        .header("content-length")
        .and_then(|text| text.parse().ok());
    while seen.body.len() < length.unwrap_or(0) {
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            count => seen.body.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(Some(seen))
}

impl Shared {
    /// Counts the request and tells whether it is a victim's.
    fn register(&self, seen: &mut Seen) {
        let mut victims = self.victims.lock().expect("the victims");
        let count = victims.counts.entry(seen.place).or_default();
        *count += 1;
        seen.number = *count;
        seen.is_victim = match seen.place {
            Place::Submit => {
                let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
                let start = body["start_time"].as_str().unwrap_or_default().to_owned();
                *victims.start.get_or_insert_with(|| start.clone()) == start
            }
            Place::Poll => {
                let id = seen.path().rsplit('/').next().unwrap_or_default();
                victims.ids.contains(id)
            }
            Place::Download => {
                let token = seen.query("file_token").unwrap_or_default();
                victims.ids.contains(&token)
            }
            _ => false,
        };
        if seen.is_victim {
            let place = seen.place;
            *victims.victims.entry(place).or_default() += 1;
        }
        drop(victims);
        self.seen.lock().expect("the log").push(seen.clone());
    }

    fn fault_for(&self, seen: &Seen) -> Option<Does> {
        let victims_so_far = {
            let victims = self.victims.lock().expect("the victims");
            victims.victims.get(&seen.place).copied().unwrap_or(0)
        };
        let strikes = |wrong: &&Wrong| {
            wrong.place == seen.place
                && match wrong.when {
                    When::Always => true,
                    When::First(count) => seen.number <= count,
                    When::From(number) => seen.number >= number,
                    When::Victim => seen.is_victim,
                    When::VictimFirst(count) => seen.is_victim && victims_so_far <= count,
                }
        };
        let wrong = self.wrong.lock().expect("the faults");
        let found = wrong.iter().find(strikes)?;
        self.struck.fetch_add(1, Ordering::Relaxed);
        Some(found.does)
    }

    async fn pass_on(&self, seen: &Seen) -> Answer {
        let method = seen.method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{}", self.feishu, seen.target));
        for (name, value) in &seen.headers {
            if !["host", "content-length", "connection"].contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        let Ok(response) = request.body(seen.body.clone()).send().await else {
            return Answer::new(502, "text/html", "<h1>502 Bad Gateway</h1>");
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            ..Answer::default()
        };
        for (name, value) in response.headers() {
            if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
                let value = value.to_str().unwrap_or_default().to_owned();
                answer.headers.push((name.to_string(), value));
            }
        }
        let Ok(body) = response.bytes().await else {
            return Answer::new(502, "text/html", "<h1>502 Bad Gateway</h1>");
        };
        answer.body = body.to_vec();
        self.learn(seen, &answer);
        answer
    }

    /// Follows a victim from its submit to its file, and keeps the tokens.
    fn learn(&self, seen: &Seen, answer: &Answer) {
        let value = answer.value();
        let texts = [
            &value["tenant_access_token"],
            &value["access_token"],
            &value["refresh_token"],
            &value["data"]["file_token"],
        ];
        let mut tokens = self.tokens.lock().expect("the tokens");
        tokens.extend(
            texts
                .into_iter()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        if !seen.is_victim {
            return;
        }
        let mut victims = self.victims.lock().expect("the victims");
        for text in [&value["data"]["task_id"], &value["data"]["file_token"]] {
            victims.ids.extend(text.as_str().map(str::to_owned));
        }
    }
}

//! What stands between this machine and others: proxies, certificates, and stores that refuse.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use meetlake::testing::store::{Lake, StoreErrorKind};

use crate::app::{Output, Setup, TestApp};
use crate::lake_on_s3::{run, start};
use crate::proxy::{Fault, Proxy, Rule};
use crate::stores::{AZURITE_KEY, Server, azure_endpoint};

/// The variables that name a proxy.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

// --- listeners -----------------------------------------------------------------------------------

/// A listener that notes the first line of each request and gives the same answer to all.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub(crate) fn start(answer: &'static str) -> Self {
        Self::serve(move |stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            // A handshake, which begins with 22, is no request; it has no end to wait for.
            let is_over = |head: &[u8]| head.ends_with(b"\r\n\r\n") || head == [22];
            while !is_over(&head) && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.extend(byte);
            }
            let _ = stream.write_all(answer.as_bytes());
            let head = String::from_utf8_lossy(&head).into_owned();
            head.lines().next().unwrap_or_default().to_owned()
        })
    }

    /// A server whose certificate nobody trusts. It notes what comes over TLS.
    pub(crate) fn untrusted() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = include_bytes!("../fixtures/self-signed.crt.der").to_vec();
        let key = include_bytes!("../fixtures/self-signed.key.der").to_vec();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key);
        let config = Arc::new(config.expect("a certificate and its key"));
        Self::serve(move |stream| {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut plain = rustls::Stream::new(&mut tls, stream);
            let mut bytes = [0; 1024];
            let count = plain.read(&mut bytes).unwrap_or(0);
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        })
    }

    fn serve(mut answer: impl FnMut(&mut TcpStream) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let line = answer(&mut stream.expect("a connection"));
                all.lock().expect("the lines").push(line);
            }
        });
        Self { port, heard }
    }

    /// A line for each connection so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("the lines").clone()
    }
}

const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const WHO_ASKS: &str = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\
                        connection: close\r\n\r\n";

/// Runs the binary with variables set.
fn run_with(app: &TestApp, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = app.command(args);
    command
        .env("S3_SECRET", "test-secret-key")
        .env("AZURE_SECRET", AZURITE_KEY)
        .envs(variables.iter().copied());
    crate::app::finish(&mut command)
}

// --- proxies -------------------------------------------------------------------------------------

/// A run and a look at the lake, with every variable naming a proxy.
fn stays_here(app: &TestApp, verbs: &[&str]) {
    let proxy = Recorder::start(FORBIDDEN);
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let variables = PROXIES.map(|name| (name, address.as_str()));
    for verb in verbs {
        let output = run_with(app, &[verb], &variables);
        assert_eq!(output.code, 0, "{verb}: {output:?}");
        assert_eq!(proxy.heard(), [""; 0], "{verb}: a proxy heard of it");
    }
}

#[test]
fn an_s3_lake_on_this_machine_is_never_reached_through_a_proxy() {
    let app = start("s3://lake/x", "http://127.0.0.1:9");
    let Some((_server, port)) = app.block_on(Server::s3("lake")) else {
        return;
    };
    let mut app = app;
    for (host, verbs) in [
        ("127.0.0.1", &["run", "verify"][..]),
        ("localhost", &["verify"]),
    ] {
        let endpoint = format!("http://{host}:{port}");
        app = crate::lake_on_s3::with_lake(app, "s3://lake/x", &endpoint);
        stays_here(&app, verbs);
    }
}

#[test]
fn an_azure_lake_on_this_machine_is_never_reached_through_a_proxy() {
    let mut app = Setup::real().only(&[Dataset::DailyReport]).start();
    let Some((_server, port)) = app.block_on(Server::azure()) else {
        return;
    };
    app.setup.lake = Some("az://meetlake/x".to_owned());
    app.setup.lake_options = format!(
        "[lake.options]\nendpoint = \"{}\"\naccount_name = \"devstoreaccount1\"\n\
         access_key = \"${{AZURE_SECRET}}\"\n",
        azure_endpoint(port)
    );
    app.write_configuration();
    stays_here(&app, &["run", "verify"]);
}

#[test]
fn an_api_on_this_machine_is_not_reached_through_a_proxy_over_tls_either() {
    let (proxy, server) = (Recorder::start(FORBIDDEN), Recorder::untrusted());
    let mut app = Setup::real().only(&[Dataset::DailyReport]).start();
    app.setup.host = Some(format!("https://localhost:{}", server.port));
    app.write_configuration();
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let output = run_with(&app, &["doctor"], &[("HTTPS_PROXY", &address)]);
    assert!(
        output.text().contains("invalid peer certificate"),
        "{output:?}"
    );
    assert_eq!(proxy.heard(), [""; 0]);
}

/// A lake on another machine, without TLS.
fn far(allowed: &str) -> TestApp {
    let mut setup = Setup::real().only(&[Dataset::DailyReport]);
    setup.lake = Some("s3://lake/x".to_owned());
    setup.lake_options = format!(
        "allow_http = [\"{allowed}\"]\n[lake.options]\nendpoint = \"http://{allowed}:9000\"\n\
         region = \"x\"\naccess_key_id = \"test\"\nsecret_access_key = \"${{S3_SECRET}}\"\n"
    );
    setup.start()
}

#[test]
fn a_lake_elsewhere_is_reached_through_the_proxy_unless_no_proxy_names_it() {
    let app = far("store.example");
    for (no_proxy, is_direct) in [
        ("", false),
        ("other.example", false),
        ("store.example", true),
        ("*.example", true),
        ("127.0.0.1, store.example:9000", true),
    ] {
        let proxy = Recorder::start(FORBIDDEN);
        let address = format!("127.0.0.1:{}", proxy.port);
        let variables = [("http_proxy", address.as_str()), ("no_proxy", no_proxy)];
        let output = run_with(&app, &["run"], &variables);
        assert_eq!(output.code, 8, "{no_proxy}: {output:?}");
        let heard = proxy.heard();
        let is_asked = |line: &String| line.starts_with("GET http://store.example:9000/lake/");
        assert_eq!(heard.is_empty(), is_direct, "{no_proxy}: {heard:?}");
        assert!(heard.iter().all(is_asked), "{no_proxy}: {heard:?}");
    }
}

#[test]
fn a_proxy_that_wants_to_know_who_asks_is_asked_once_and_the_variable_is_named() {
    let mut app = start("s3://lake/x", "https://store.example");
    let proxy = Recorder::start(WHO_ASKS);
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let output = run_with(&app, &["run"], &[("HTTPS_PROXY", &address)]);
    assert_eq!(output.code, 8, "{output:?}");
    assert!(
        output.text().contains("http://USER:PASSWORD@"),
        "{output:?}"
    );
    assert_eq!(proxy.heard().len(), 1, "{:?}", proxy.heard());
    // Without TLS the proxy answers in the store's place.
    app = far("store.example");
    let output = run_with(&app, &["run"], &[("HTTP_PROXY", &address)]);
    assert!(
        output.text().contains("http://USER:PASSWORD@"),
        "{output:?}"
    );
    assert_eq!(proxy.heard().len(), 2, "{:?}", proxy.heard());
}

// --- what the environment names ------------------------------------------------------------------

#[test]
fn a_variable_that_cannot_be_used_is_refused_once_by_every_verb() {
    let app = Setup::real().only(&[Dataset::DailyReport]).start();
    app.write("empty.pem", "no certificate\n");
    let (empty, missing) = (app.path("empty.pem"), app.path("missing.pem"));
    let (empty, missing) = (empty.to_string_lossy(), missing.to_string_lossy());
    for (name, value, says) in [
        ("SSL_CERT_FILE", &*missing, &*missing),
        ("SSL_CERT_FILE", &*empty, "no certificate in PEM format"),
        ("SSL_CERT_DIR", &*missing, &*missing),
        ("HTTPS_PROXY", "http://", "HTTPS_PROXY"),
        ("https_proxy", "http://user:hunter22@", "https_proxy"),
        ("all_proxy", "socks5://user:hunter22@proxy:1080", "SOCKS"),
    ] {
        for verb in ["validate", "doctor", "run", "verify", "orphans", "serve"] {
            let mut command = app.command(&[verb]);
            // Whoever runs the tests may have some of them.
            for other in PROXIES.iter().chain(&["SSL_CERT_FILE", "SSL_CERT_DIR"]) {
                command.env_remove(other);
            }
            let output = crate::app::finish(command.env(name, value));
            let text = output.text();
            assert_eq!(output.code, 2, "{verb} {name}: {output:?}");
            assert_eq!(text.matches(name).count(), 1, "{verb}: {output:?}");
            assert!(text.contains(says), "{verb} {name}: {output:?}");
            assert!(!text.contains("hunter22"), "{verb} {name}: {output:?}");
        }
    }
    assert_eq!(app.calls(), 0);
}

// --- certificates --------------------------------------------------------------------------------

#[test]
fn a_lake_that_nobody_trusts_is_tried_once_and_says_what_the_api_s_side_says() {
    for (server, says) in [
        (
            Recorder::untrusted(),
            "a file with all trusted ones in SSL_CERT_FILE",
        ),
        (Recorder::start(FORBIDDEN), "does not speak TLS"),
    ] {
        let app = start("s3://lake/x", &format!("https://localhost:{}", server.port));
        let began = Instant::now();
        let output = run(&app, &["run"]);
        assert_eq!(output.code, 8, "{output:?}");
        assert!(output.text().contains(says), "{output:?}");
        assert_eq!(server.heard().len(), 1, "{:?}", server.heard());
        assert!(began.elapsed() < Duration::from_secs(3), "{output:?}");
        // The API at the same address.
        let mut app = Setup::real().only(&[Dataset::DailyReport]).start();
        app.setup.host = Some(format!("https://localhost:{}", server.port));
        app.write_configuration();
        let output = app.meetlake(&["doctor"]);
        assert!(output.text().contains(says), "{output:?}");
    }
}

// --- stores that refuse --------------------------------------------------------------------------

const ALWAYS: usize = usize::MAX;

fn answer(path: &str, status: u16, count: usize) -> Rule {
    Rule {
        methods: &["PUT"],
        path: path.to_owned(),
        skip: 0,
        count,
        fault: Fault::Answer(status),
    }
}

#[tokio::test]
async fn what_would_be_answered_the_same_each_time_is_asked_once() {
    for (status, kind, says) in [
        (501, StoreErrorKind::Misconfigured, "conditional writes"),
        (507, StoreErrorKind::Full, "XMinioStorageFull"),
    ] {
        // Nothing is passed on.
        let proxy = Proxy::start(1).await;
        proxy.rule(answer("", status, ALWAYS));
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        let options = [
            ("endpoint", endpoint.as_str()),
            ("region", "x"),
            ("access_key_id", "test"),
            ("secret_access_key", "test-secret-key"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let lake = Lake::open("s3://lake", &BTreeMap::from(options)).expect("a lake");
        let began = Instant::now();
        let refused = lake.put_create(&"x".into(), "1".into()).await;
        let refused = refused.expect_err("refused");
        let seconds = began.elapsed().as_secs_f64();
        eprintln!(
            "{status}: {} requests in {seconds:.2} s: {refused}",
            proxy.log().len()
        );
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
        assert_eq!(proxy.log().len(), 1, "{status}");
        assert!(seconds < 1.0, "{status} took {seconds} s");
    }
}

#[test]
fn a_lake_that_refuses_ends_the_run_before_anything_is_exported() {
    let app = start("s3://lake/x", "http://127.0.0.1:9");
    let Some((_server, port)) = app.block_on(Server::s3("lake")) else {
        return;
    };
    let proxy = app.block_on(Proxy::start(port));
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let app = crate::lake_on_s3::with_lake(app, "s3://lake/x", &endpoint);
    let probes = || {
        let log = proxy.log();
        let probes = log.iter().filter(|request| {
            request.target.contains("_doctor") || request.target.contains("?delete")
        });
        probes.count()
    };
    let good = run(&app, &["run"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert_eq!(probes(), 2, "a run asks with one write and one delete");
    // Nothing is due: nothing is asked.
    let nothing = run(&app, &["run"]);
    assert_eq!((nothing.code, probes()), (0, 2), "{nothing:?}");
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let again = ["backfill", "--from", &from, "--to", &to, "--again"];
    for status in [403, 501, 507] {
        proxy.rule(answer("_doctor", status, ALWAYS));
        let calls = app.calls();
        let refused = run(&app, &again);
        assert_eq!(refused.code, 8, "{status}: {refused:?}");
        let says = "nothing is exported while the lake takes nothing";
        assert_eq!(
            refused.text().matches(says).count(),
            1,
            "{status}: {refused:?}"
        );
        assert_eq!(app.calls(), calls, "{status}: {refused:?}");
        proxy.clear();
    }
    // What may pass ends nothing.
    proxy.rule(answer("_doctor", 503, ALWAYS));
    let submits = app.submits();
    let good = run(&app, &again);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(app.submits() > submits, "{good:?}");
}

//! The client against a server in this process with scripted answers, on a manual clock, so that
//! waiting takes no time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Response, StatusCode};
use futures::future::join_all;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::error::TABLE;
use super::*;
use crate::datasets::{Dataset, Parameters};
use crate::datasets::{ParticipantId, TopUserOrder, UserIdType};

const SECRET: &str = "the-app-s3cret";
const TOKEN_PATH: &str = "/open-apis/auth/v3/tenant_access_token/internal";
const OAUTH_PATH: &str = "/open-apis/authen/v2/oauth/token";
const SUBMIT_PATH: &str = "/open-apis/vc/v1/exports/meeting_list";
const DOWNLOAD_PATH: &str = "/open-apis/vc/v1/exports/download";
const WORKBOOK: &[u8] = b"PK\x03\x04 and the rest of a workbook";

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    query: String,
    token: String,
    body: String,
}

/// What the server does with a request.
enum ScriptedReply {
    Answer(Response<Body>),
    Hang,
}

struct Server {
    url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers with `script(request, number)`, where the number counts the requests on that path
    /// from 1. Where the script gives `None`, the answer is a good token or a 404.
    async fn start(
        script: impl Fn(&Seen, usize) -> Option<ScriptedReply> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(script));
        let counts = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
        let log = Arc::clone(&seen);
        let handler = move |request: axum::extract::Request| {
            let (script, counts, log) =
                (Arc::clone(&script), Arc::clone(&counts), Arc::clone(&log));
            async move {
                let seen = read(request).await;
                log.lock().expect("the log").push(seen.clone());
                let number = {
                    let mut counts = counts.lock().expect("the counts");
                    let count = counts.entry(seen.path.clone()).or_default();
                    *count += 1;
                    *count
                };
                match script(&seen, number).unwrap_or_else(|| default_reply(&seen, number)) {
                    ScriptedReply::Answer(response) => response,
                    ScriptedReply::Hang => std::future::pending().await,
                }
            }
        };
        tokio::spawn(axum::serve(listener, Router::new().fallback(handler)).into_future());
        let url = Url::parse(&format!("http://{address}")).expect("a URL");
        Self { url, seen }
    }

    fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("the log");
        seen.iter()
            .filter(|seen| seen.path == path)
            .cloned()
            .collect()
    }

    fn settings(&self) -> Settings {
        let timeouts = Timeouts {
            idle: Duration::from_millis(300),
            ..Timeouts::default()
        };
        Settings {
            timeouts,
            ..Settings::new(self.url.clone(), "cli_1", SECRET.into())
        }
    }

    fn client(&self) -> (Client, Clock) {
        let clock = Clock::manual("2026-11-01T00:00:00Z".parse().expect("an instant"));
        let client = Client::new(self.settings(), clock.clone()).expect("a client");
        (client, clock)
    }
}

async fn read(request: axum::extract::Request) -> Seen {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let token = parts
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    Seen {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        token: token.unwrap_or_default().to_owned(),
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}

fn default_reply(seen: &Seen, number: usize) -> ScriptedReply {
    match seen.path.as_str() {
        TOKEN_PATH => json(
            200,
            json!({"code": 0, "msg": "ok", "tenant_access_token": format!("t-{number}"),
                "expire": 7200}),
        ),
        _ => bytes(404, "text/plain", b"404 page not found"),
    }
}

fn response(status: u16, headers: &[(&'static str, &str)], body: impl Into<Body>) -> ScriptedReply {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = value.parse().expect("a header");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    ScriptedReply::Answer(response)
}

fn bytes(status: u16, content_type: &'static str, body: &[u8]) -> ScriptedReply {
    response(status, &[("content-type", content_type)], body.to_vec())
}

fn json(status: u16, body: Value) -> ScriptedReply {
    bytes(
        status,
        "application/json; charset=utf-8",
        body.to_string().as_bytes(),
    )
}

fn data(data: Value) -> ScriptedReply {
    json(200, json!({"code": 0, "msg": "success", "data": data}))
}

fn meetings() -> Request {
    Request {
        user_id_type: Some(UserIdType::UserId),
        ..Request::between(Dataset::MeetingList, 1_800_000_000, 1_800_086_400)
    }
}

fn report() -> Request {
    Request::between(Dataset::DailyReport, 1, 2)
}

fn export() -> ExportId {
    ExportId("7111325589855797267".into())
}

const POLL_PATH: &str = "/open-apis/vc/v1/exports/7111325589855797267";

// --- requests ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_submit_says_what_the_reference_says() {
    let server = Server::start(|seen, _| {
        seen.path
            .contains("/exports/")
            .then(|| data(json!({"task_id": 7})))
    })
    .await;
    let (client, _) = server.client();
    // Spawned, because the pipeline runs tasks on other threads.
    let submitted = tokio::spawn(async move {
        let quality = Request {
            meeting_no: Some("123456789".into()),
            join_time: Some(3),
            participant: Some(ParticipantId::RoomId("omm_1".into())),
            user_id_type: Some(UserIdType::OpenId),
            ..Request::between(Dataset::ParticipantQualityList, 1, 2)
        };
        client.submit(&quality).await.expect("an id");
        client.submit(&meetings()).await.expect("an id")
    });
    assert_eq!(submitted.await.expect("no panic").0, "7");

    let seen = &server.seen(SUBMIT_PATH)[0];
    assert_eq!(seen.query, "user_id_type=user_id");
    assert_eq!(seen.token, "Bearer t-1");
    let body: Value = serde_json::from_str(&seen.body).expect("json");
    assert_eq!(
        body,
        json!({"start_time": "1800000000", "end_time": "1800086400"})
    );
    let quality = &server.seen("/open-apis/vc/v1/exports/participant_quality_list")[0];
    let body: Value = serde_json::from_str(&quality.body).expect("json");
    let expected = json!({"meeting_no": "123456789", "meeting_start_time": "1",
        "meeting_end_time": "2", "join_time": "3", "room_id": "omm_1"});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_report_comes_back_as_it_was_sent() {
    let body =
        br#"{"code":0,"msg":"","data":{"meeting_report":{"total_meeting_count":"100"}},"new":1}"#;
    let server = Server::start(|seen, _| {
        seen.path
            .contains("/reports/")
            .then(|| bytes(200, "application/json", body))
    })
    .await;
    let (client, _) = server.client();
    let top_user = Request {
        order_by: Some(TopUserOrder::MeetingDuration),
        limit: Some(100),
        user_id_type: Some(UserIdType::OpenId),
        ..Request::between(Dataset::TopUser, 1, 2)
    };
    assert_eq!(
        client.answer(&top_user).await.expect("a body").as_ref(),
        body
    );
    let query = &server.seen("/open-apis/vc/v1/reports/get_top_user")[0].query;
    assert_eq!(
        query,
        "start_time=1&end_time=2&limit=100&order_by=2&user_id_type=open_id"
    );
}

#[tokio::test]
async fn an_export_id_cannot_leave_its_path() {
    let server = Server::start(|_, _| None).await;
    let (client, _) = server.client();
    let _ = client.poll(&ExportId("../rooms?x=1".into())).await;
    let paths: Vec<String> = server
        .seen
        .lock()
        .expect("the log")
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(paths[1], "/open-apis/vc/v1/exports/..%2Frooms%3Fx=1");
}

// --- errors --------------------------------------------------------------------------------------

#[tokio::test]
async fn every_code_of_the_table_arrives_as_its_kind() {
    let codes: Vec<(i64, Cause)> = TABLE
        .iter()
        .flat_map(|(codes, kind, _)| codes.iter().map(|code| (*code, *kind)))
        .collect();
    let scripted = codes.clone();
    let server = Server::start(move |seen, _| {
        let index: usize = seen.path.rsplit('/').next()?.parse().ok()?;
        let error = json!({"log_id": "20250227ABC", "permission_violations": [{"type": "x",
            "subject": "vc:export"}]});
        Some(json(
            400,
            json!({"code": scripted[index].0.to_string(), "msg": "said so",
            "error": error}),
        ))
    })
    .await;
    let (client, _) = server.client();
    for (index, (code, kind)) in codes.iter().enumerate() {
        let error = client
            .poll(&ExportId(index.to_string()))
            .await
            .expect_err("an error");
        assert_eq!((error.code(), error.kind()), (Some(*code), *kind));
        assert_eq!(error.log_id(), Some("20250227ABC"));
        assert!(error.fix().is_some());
        assert_eq!(!error.missing_scopes().is_empty(), *kind == Cause::Scope);
    }
}

#[tokio::test]
async fn the_header_s_log_id_is_kept() {
    let server = Server::start(|seen, _| {
        let headers = [("x-tt-logid", "2025HEADER")];
        (seen.path == POLL_PATH)
            .then(|| response(404, &headers, r#"{"code":121004,"msg":"data not exist"}"#))
    })
    .await;
    let (client, _) = server.client();
    let error = client.poll(&export()).await.expect_err("an error");
    assert_eq!(
        (error.kind(), error.log_id(), error.status()),
        (Cause::Gone, Some("2025HEADER"), Some(404))
    );
}

#[tokio::test]
async fn a_wrong_secret_is_an_error_in_spite_of_its_200_and_is_not_shown() {
    let server = Server::start(|seen, _| {
        let message = format!("secret {SECRET} is \u{1b}[31mwrong");
        (seen.path == TOKEN_PATH).then(|| json(200, json!({"code": 10015, "msg": message})))
    })
    .await;
    let (client, _) = server.client();
    let error = client.submit(&meetings()).await.expect_err("an error");
    assert_eq!(error.kind(), Cause::Credentials);
    assert!(!error.outcome_unknown());
    let shown = format!("{error} {error:?} {client:?}");
    assert!(
        !shown.contains(SECRET) && !shown.contains('\u{1b}'),
        "{shown}"
    );
    assert!(client.check_token().await.is_err());
}

#[tokio::test]
async fn a_server_error_is_tried_again_until_it_is_gone() {
    let server = Server::start(|seen, number| match (seen.path.as_str(), number) {
        (POLL_PATH, 1) => Some(json(500, json!({"code": 121001, "msg": "internal error"}))),
        (POLL_PATH, 2) => Some(bytes(502, "text/html", b"<h1>Bad gateway</h1>")),
        (POLL_PATH, 3) => Some(ScriptedReply::Hang),
        (POLL_PATH, _) => Some(data(json!({"status": "1"}))),
        _ => None,
    })
    .await;
    let (client, _) = server.client();
    let status = client.poll(&export()).await.expect("a status");
    assert!(matches!(status, ExportStatus::Processing));
    assert_eq!(server.seen(POLL_PATH).len(), 4);
}

#[tokio::test]
async fn a_submit_without_an_answer_is_not_sent_again() {
    for reply in [
        || ScriptedReply::Hang,
        || bytes(504, "text/html", b"<p>timeout</p>"),
        || bytes(200, "text/html", b"<p>hello</p>"),
    ] {
        let server = Server::start(move |seen, _| (seen.path == SUBMIT_PATH).then(reply)).await;
        let (client, _) = server.client();
        let error = client.submit(&meetings()).await.expect_err("an error");
        assert_eq!(error.kind(), Cause::Retry);
        assert!(error.outcome_unknown());
        assert_eq!(server.seen(SUBMIT_PATH).len(), 1);
    }
}

#[tokio::test]
async fn a_submit_that_was_refused_or_not_sent_is_tried_again() {
    let server = Server::start(|seen, number| match (seen.path.as_str(), number) {
        (TOKEN_PATH, 1) => Some(ScriptedReply::Hang),
        (SUBMIT_PATH, 1) => Some(json(500, json!({"code": 121001, "msg": "internal error"}))),
        (SUBMIT_PATH, 2) => Some(json(
            429,
            json!({"code": 99991400, "msg": "request trigger frequency limit"}),
        )),
        (SUBMIT_PATH, _) => Some(data(json!({"task_id": "9"}))),
        _ => None,
    })
    .await;
    let (client, _) = server.client();
    assert_eq!(client.submit(&meetings()).await.expect("an id").0, "9");
    assert_eq!(server.seen(SUBMIT_PATH).len(), 3);
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_was_not_sent() {
    let server = Server::start(|_, _| None).await;
    let port_of_nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let mut settings = server.settings();
    settings
        .host
        .set_port(Some(port_of_nobody))
        .expect("a port");
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let client = Client::new(settings, clock.clone()).expect("a client");
    let error = client.submit(&meetings()).await.expect_err("an error");
    assert_eq!(error.kind(), Cause::Retry);
    assert!(!error.outcome_unknown());
    assert!(
        (60..=120).contains(&clock.now().as_second()),
        "patience is on our clock"
    );
}

#[tokio::test]
async fn redirects_are_not_followed_and_no_byte_leaks() {
    let elsewhere = Server::start(|_, _| None).await;
    for status in [301, 302, 303, 307, 308] {
        let target = elsewhere.url.join("/steal").expect("a URL").to_string();
        let server =
            Server::start(move |_, _| Some(response(status, &[("location", &target)], ""))).await;
        let (client, _) = server.client();
        let error = client.answer(&report()).await.expect_err("an error");
        assert_eq!(error.kind(), Cause::Other);
        assert!(
            error.to_string().contains("redirected to 127.0.0.1"),
            "{error}"
        );
        assert_eq!(server.seen(TOKEN_PATH).len(), 1);
    }
    assert!(elsewhere.seen.lock().expect("the log").is_empty());
}

#[test]
fn secrets_go_to_https_or_to_this_machine() {
    let check = |text: &str| check_host(&Url::parse(text).expect("a URL")).is_ok();
    for good in [
        "https://open.feishu.cn",
        "http://127.0.0.1:80",
        "http://localhost:1",
        "http://[::1]:1",
    ] {
        assert!(check(good), "{good}");
    }
    for bad in [
        "http://open.feishu.cn",
        "http://localhost.evil.example",
        "ftp://x",
        "https://u:p@x",
        "https://x?y",
    ] {
        assert!(!check(bad), "{bad}");
    }
    assert!(check("https://open.feishu.cn") && check("https://open.larksuite.com"));
}

#[test]
fn a_client_for_https_finds_its_crypto_and_its_certificates() {
    let lark = Url::parse("https://open.larksuite.com").expect("a URL");
    let settings = Settings::new(lark, "cli_1", SECRET.into());
    Client::new(settings, Clock::system()).expect("a client");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = Server::start(|seen, _| {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        (seen.path == SUBMIT_PATH).then(|| response(200, &[], Body::from_stream(endless)))
    })
    .await;
    let (client, _) = server.client();
    let error = client.submit(&meetings()).await.expect_err("an error");
    assert!(
        error.to_string().contains("larger than 16777216 bytes"),
        "{error}"
    );
}

// --- tokens --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_is_fetched_once_for_all_and_again_before_it_expires() {
    let server =
        Server::start(|seen, _| (seen.path == POLL_PATH).then(|| data(json!({"status": 1})))).await;
    let (client, clock) = server.client();
    let id = export();
    join_all((0..20).map(|_| client.poll(&id))).await;
    assert_eq!(server.seen(TOKEN_PATH).len(), 1);
    clock.advance(Duration::from_secs(6599 - 60));
    client.poll(&id).await.expect("a status");
    assert_eq!(server.seen(TOKEN_PATH).len(), 1);
    clock.advance(Duration::from_secs(120));
    client.poll(&id).await.expect("a status");
    assert_eq!(server.seen(TOKEN_PATH).len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let server = Server::start(|seen, _| {
        let refused = json(
            401,
            json!({"code": 99991663, "msg": "Invalid access token t-1"}),
        );
        (seen.path == POLL_PATH).then(|| {
            if seen.token == "Bearer t-1" {
                refused
            } else {
                data(json!({"status": 1}))
            }
        })
    })
    .await;
    let (client, _) = server.client();
    let id = export();
    let outcomes = join_all((0..10).map(|_| client.poll(&id))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(
        server.seen(TOKEN_PATH).len(),
        2,
        "one new token for ten refusals"
    );
}

#[tokio::test]
async fn a_token_refused_twice_is_an_error_without_the_token() {
    let server = Server::start(|seen, _| {
        let message = format!("Invalid access token {}", seen.token);
        (seen.path == POLL_PATH).then(|| json(400, json!({"code": 99991663, "msg": message})))
    })
    .await;
    let (client, _) = server.client();
    let error = client.poll(&export()).await.expect_err("an error");
    assert_eq!(error.kind(), Cause::Credentials);
    assert!(!error.to_string().contains("t-2"), "{error}");
    assert_eq!(server.seen(POLL_PATH).len(), 2);
}

#[tokio::test]
async fn doctor_learns_the_server_s_clock() {
    let server = Server::start(|seen, _| {
        let body = r#"{"code":0,"tenant_access_token":"t-1","expire":"4567"}"#;
        (seen.path == TOKEN_PATH)
            .then(|| response(200, &[("date", "Sat, 31 Oct 2026 23:59:00 GMT")], body))
    })
    .await;
    let (client, _) = server.client();
    let check = client.check_token().await.expect("a check");
    assert_eq!(check.expires_in.as_secs(), 4567);
    assert_eq!(check.clock_ahead.expect("a date").as_secs(), 60);
}

fn token_file(token: &str) -> (tempfile::TempDir, UserTokenSettings) {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let refresh_token_file = directory.path().join("refresh_token");
    std::fs::write(&refresh_token_file, token).expect("written");
    std::fs::set_permissions(&refresh_token_file, std::fs::Permissions::from_mode(0o600))
        .expect("a mode");
    (directory, UserTokenSettings { refresh_token_file })
}

#[tokio::test]
async fn exports_run_in_the_user_s_name_and_the_next_refresh_token_is_kept_first() {
    let (_directory, user_token) = token_file("r-0\n");
    let file = user_token.refresh_token_file.clone();
    let on_disk = move || std::fs::read_to_string(&file).expect("the file");
    let seen_on_disk = on_disk.clone();
    let server = Server::start(move |seen, number| match seen.path.as_str() {
        OAUTH_PATH => {
            let spent = format!("r-{}", number - 1);
            assert!(
                seen.body
                    .contains(&format!("\"refresh_token\":\"{spent}\""))
            );
            let granted = json!({"code": 0, "access_token": format!("u-{number}"),
                "expires_in": 7200, "refresh_token": format!("r-{number}"),
                "token_type": "Bearer"});
            Some(json(200, granted))
        }
        POLL_PATH => {
            assert_eq!(
                seen.token.replace("Bearer u", "r"),
                seen_on_disk(),
                "written before used"
            );
            let expired = json(400, json!({"code": 99991677, "msg": "expired"}));
            Some(if seen.token == "Bearer u-1" {
                expired
            } else {
                data(json!({"status": 1}))
            })
        }
        "/open-apis/vc/v1/reports/get_daily" => Some(data(json!({}))),
        _ => None,
    })
    .await;
    let settings = Settings {
        user_token: Some(user_token),
        ..server.settings()
    };
    let client = Client::new(settings, Clock::manual(Timestamp::UNIX_EPOCH)).expect("a client");
    client.poll(&export()).await.expect("a status");
    assert_eq!(on_disk(), "r-2");
    client.answer(&report()).await.expect("a report");
    let seen = server.seen("/open-apis/vc/v1/reports/get_daily");
    assert_eq!(seen[0].token, "Bearer t-1");
}

#[tokio::test]
async fn a_spent_refresh_token_asks_for_a_new_authorization() {
    let (_directory, user_token) = token_file("r-spent");
    let server = Server::start(|seen, _| {
        let body = json!({"code": 20073, "error": "invalid_grant",
            "error_description": "r-spent was used"});
        (seen.path == OAUTH_PATH).then(|| json(400, body))
    })
    .await;
    let settings = Settings {
        user_token: Some(user_token),
        ..server.settings()
    };
    let client = Client::new(settings, Clock::manual(Timestamp::UNIX_EPOCH)).expect("a client");
    let error = client.poll(&export()).await.expect_err("an error");
    assert_eq!(
        (error.kind(), error.code()),
        (Cause::Credentials, Some(20073))
    );
    assert!(error.to_string().contains("\"*** was used\""), "{error}");
    assert_eq!(server.seen(OAUTH_PATH).len(), 1);
}

#[tokio::test]
async fn a_cancelled_caller_does_not_lose_the_refresh_token() {
    let (_directory, user_token) = token_file("r-0");
    let file = user_token.refresh_token_file.clone();
    let (answer, asked) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (answering, asking) = (Arc::clone(&answer), Arc::clone(&asked));
    let server = Server::start(move |seen, _| {
        let granted =
            json!({"code": 0, "access_token": "u-1", "expires_in": 7200, "refresh_token": "r-1"});
        let (answering, asking) = (Arc::clone(&answering), Arc::clone(&asking));
        let later = futures::stream::once(async move {
            asking.notify_one();
            answering.notified().await;
            Ok::<_, std::io::Error>(granted.to_string())
        });
        (seen.path == OAUTH_PATH).then(|| response(200, &[], Body::from_stream(later)))
    })
    .await;
    let settings = Settings {
        user_token: Some(user_token),
        ..server.settings()
    };
    let client = Client::new(settings, Clock::manual(Timestamp::UNIX_EPOCH)).expect("a client");
    let caller = tokio::spawn(async move { client.poll(&export()).await.is_ok() });
    asked.notified().await;
    caller.abort();
    answer.notify_one();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if std::fs::read_to_string(&file).expect("the file") == "r-1" {
            return;
        }
    }
    panic!("the next refresh token was not written");
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("the log").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start(|seen, _| match seen.path.as_str() {
        POLL_PATH => Some(data(json!({"status": 3, "file_token": "f-canary"}))),
        DOWNLOAD_PATH => Some(bytes(200, "application/octet-stream", WORKBOOK)),
        TOKEN_PATH => Some(json(
            200,
            json!({"code": 0, "tenant_access_token": "t-canary", "expire": 7200}),
        )),
        _ => None,
    })
    .await;
    let (client, log) = (server.client().0, CapturedLog::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let ExportStatus::Done { file_token } = client.poll(&export()).await.expect("done") else {
        panic!("it is done");
    };
    let directory = tempfile::tempdir().expect("a directory");
    client
        .download(&file_token, &directory.path().join("w"), 1000)
        .await
        .expect("a workbook");
    drop(guard);
    let logged = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    assert!(logged.contains("downloaded"), "{logged}");
    for secret in [SECRET, "f-canary", "t-canary"] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}

// --- limits --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_rate_limit_is_obeyed_whatever_its_status() {
    for status in [429, 400] {
        let server = Server::start(move |seen, number| {
            let headers = [
                ("x-ogw-ratelimit-limit", "3"),
                ("x-ogw-ratelimit-reset", "52"),
            ];
            let limited = response(
                status,
                &headers,
                r#"{"code":99991400,"msg":"request trigger frequency limit"}"#,
            );
            (seen.path == POLL_PATH).then(|| {
                if number == 1 {
                    limited
                } else {
                    data(json!({"status": 1}))
                }
            })
        })
        .await;
        let (client, clock) = server.client();
        let start = clock.now();
        client.poll(&export()).await.expect("a status");
        let waited = clock.now().duration_since(start);
        assert!((52..54).contains(&waited.as_secs()), "{waited}");
        // Of the three, one is left to whoever used them up. The failed call counts: one more fits
        // into its minute, a third does not.
        client.poll(&export()).await.expect("a status");
        assert!(clock.now().duration_since(start).as_secs() >= 60);
    }
}

#[tokio::test]
async fn a_minute_gets_its_hundred_calls_and_not_one_more() {
    let server =
        Server::start(|seen, _| (seen.path == POLL_PATH).then(|| data(json!({"status": 1})))).await;
    let (client, clock) = server.client();
    let start = clock.now();
    let id = export();
    join_all((0..100).map(|_| client.poll(&id))).await;
    assert_eq!(clock.now(), start);
    client.poll(&id).await.expect("a status");
    assert_eq!(clock.now(), start + SignedDuration::from_secs(60));
}

#[tokio::test]
async fn a_slot_is_counted_from_the_answer_and_not_from_the_sending() {
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let slow = clock.clone();
    let server = Server::start(move |seen, _| {
        (seen.path == POLL_PATH).then(|| {
            slow.advance(Duration::from_secs(30));
            data(json!({"status": 1}))
        })
    })
    .await;
    let calls_per_minute = CallLimits {
        exports: 1,
        ..CallLimits::default()
    };
    let settings = Settings {
        calls_per_minute,
        ..server.settings()
    };
    let client = Client::new(settings, clock.clone()).expect("a client");
    client.poll(&export()).await.expect("a status");
    client.poll(&export()).await.expect("a status");
    // Answered at 30 s, so sent again at 90 s, and answered 30 s later.
    assert_eq!(clock.now().as_second(), 120);
}

// --- polls and downloads -------------------------------------------------------------------------

#[tokio::test]
async fn the_status_decides_and_the_message_does_not() {
    let server = Server::start(|seen, number| {
        let answers = [
            json!({"status": 3, "file_token": "f==", "fail_msg": "no permission",
                "url": "https://x"}),
            json!({"status": "2", "fail_msg": "no\u{7} permission"}),
            json!({"status": 9}),
            json!({"status": 3}),
            json!({"fail_msg": ""}),
        ];
        (seen.path == POLL_PATH).then(|| data(answers[number - 1].clone()))
    })
    .await;
    let (client, _) = server.client();
    let ExportStatus::Done { file_token } = client.poll(&export()).await.expect("done") else {
        panic!("it is done");
    };
    assert_eq!(file_token.expose_secret(), "f==");
    let failed = client.poll(&export()).await.expect("failed");
    assert!(matches!(failed, ExportStatus::Failed { message } if message == "no permission"));
    let unknown = client.poll(&export()).await.expect("unknown");
    assert!(matches!(unknown, ExportStatus::Unknown(9)));
    assert!(client.poll(&export()).await.is_err());
    let error = client.poll(&export()).await.expect_err("no status");
    assert!(
        error.to_string().contains("missing field `status`"),
        "{error}"
    );
}

/// Downloads with `reply` as the only answer. Gives the outcome, whether the file exists, and the
/// number of calls.
async fn download(
    reply: impl Fn() -> ScriptedReply + Send + Sync + 'static,
    max_bytes: u64,
) -> (Result<Download, Error>, bool, usize) {
    let server = Server::start(move |seen, _| (seen.path == DOWNLOAD_PATH).then(&reply)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("workbook.xlsx");
    let (client, _) = server.client();
    let outcome = client.download(&"a+b/c==".into(), &file, max_bytes).await;
    let seen = server.seen(DOWNLOAD_PATH);
    assert_eq!(seen[0].query, "file_token=a%2Bb%2Fc%3D%3D");
    (outcome, file.exists(), seen.len())
}

#[tokio::test]
async fn a_workbook_arrives_with_its_hash() {
    let (outcome, exists, _) =
        download(|| bytes(200, "application/octet-stream", WORKBOOK), 1 << 20).await;
    let expected = crate::task::hex(&<sha2::Sha256 as sha2::Digest>::digest(WORKBOOK));
    assert_eq!(
        outcome.expect("a download"),
        Download {
            sha256: expected,
            size_bytes: WORKBOOK.len() as u64
        }
    );
    assert!(exists);
}

#[tokio::test]
async fn what_is_no_workbook_is_named_and_not_kept() {
    let no_permission = br#"{"code":121005,"msg":"no permission for a+b/c=="}"#;
    let (outcome, exists, calls) =
        download(|| bytes(200, "application/json", no_permission), 1 << 20).await;
    let error = outcome.expect_err("json");
    assert_eq!((error.kind(), exists, calls), (Cause::Role, false, 1));
    assert!(!format!("{error} {error:?}").contains("a+b/c"), "{error}");

    let (outcome, exists, calls) =
        download(|| bytes(403, "application/json", no_permission), 1 << 20).await;
    assert_eq!(
        (outcome.expect_err("403").kind(), exists, calls),
        (Cause::Role, false, 1)
    );

    let page = b"<html><body>Please <b>sign in</b></body></html>";
    let (outcome, exists, _) = download(|| bytes(200, "text/html", page), 1 << 20).await;
    let error = outcome.expect_err("html");
    assert_eq!((error.kind(), exists), (Cause::Retry, false));
    assert!(error.to_string().contains("Please sign in"), "{error}");

    let (outcome, ..) = download(|| bytes(200, "text/csv", b"Ann Lee,+86 123"), 1 << 20).await;
    assert!(!outcome.expect_err("csv").to_string().contains("Ann"));
    let (outcome, ..) = download(|| bytes(200, "application/octet-stream", b""), 1 << 20).await;
    assert!(outcome.expect_err("nothing").is_retryable());
}

#[tokio::test]
async fn a_workbook_that_is_cut_off_or_too_large_is_not_kept() {
    let cut_off = || {
        let pieces = [Ok(WORKBOOK), Err(std::io::Error::other("cut"))];
        response(
            200,
            &[("content-length", "1000")],
            Body::from_stream(futures::stream::iter(pieces)),
        )
    };
    let (outcome, exists, calls) = download(cut_off, 1 << 20).await;
    assert_eq!(
        (outcome.expect_err("cut off").kind(), exists),
        (Cause::Retry, false)
    );
    assert!(calls > 1, "it is tried again");

    let (outcome, exists, calls) =
        download(|| bytes(200, "application/octet-stream", WORKBOOK), 10).await;
    assert_eq!(
        (outcome.expect_err("announced").kind(), exists, calls),
        (Cause::Other, false, 1)
    );

    let unannounced = || {
        let pieces = [Ok::<_, std::io::Error>(WORKBOOK), Ok(WORKBOOK)];
        response(200, &[], Body::from_stream(futures::stream::iter(pieces)))
    };
    let (outcome, exists, _) = download(unannounced, WORKBOOK.len() as u64 + 1).await;
    assert_eq!(
        (outcome.expect_err("streamed").kind(), exists),
        (Cause::Other, false)
    );
}

// --- rooms ---------------------------------------------------------------------------------------

#[tokio::test]
async fn pages_are_asked_for_as_the_listing_says_and_come_back_as_they_were_sent() {
    let server = Server::start(|seen, _| {
        let page = json!({"items": [{"room_level_id": "omb_2"}], "has_more": false});
        seen.path.contains("/room_levels").then(|| data(page))
    })
    .await;
    let (client, _) = server.client();
    let request = Request::of(Dataset::RoomLevel);
    let source = request.source();
    let root = source
        .listing(&request)
        .and_then(|listing| listing.next_call());
    let root = root.expect("the root");
    let body = client.page(&root).await;
    assert!(body.expect("a page").starts_with(b"{\"code\":0"));
    assert_eq!(server.seen("/open-apis/vc/v1/room_levels/0")[0].query, "");

    let below = PageCall {
        is_of_part: false,
        parameters: Parameters::query(vec![("room_level_id", "omb/1?x=1".to_owned())]),
        ..root
    };
    client.page(&below).await.expect("a page");
    let query = &server.seen("/open-apis/vc/v1/room_levels")[0].query;
    assert_eq!(query, "room_level_id=omb%2F1%3Fx%3D1");
}

// --- anything at all -----------------------------------------------------------------------------

proptest! {
    #[test]
    fn whatever_a_server_says_is_shown_harmlessly(
        text in "\\PC*|[\\x00-\\x1f\\u{2028}\\u{202e}a-z<>]{0,600}",
    ) {
        let shown = error::clean(&text, &[]);
        prop_assert!(shown.chars().count() <= 301);
        let harmful = shown.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}');
        prop_assert!(!harmful);
    }
}

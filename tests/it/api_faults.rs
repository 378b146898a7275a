//! An API that misbehaves: each fault has one outcome with a name, and a message that says what is wrong and what to do.
//!
//! The faults stand in one table. Each runs in this process, on a fast clock, against the simulator behind a [`Gate`]; where the exit code and the
//! printed text are the point, the real binary runs. For every fault: the outcome, what the operator reads, how many calls were made, that nothing
//! that is not the company's was published, that the other day came through, that no byte went elsewhere, and that the next run, with the fault
//! gone, brings the whole truth.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meetlake::testing::cli::text_of;
use meetlake::testing::client::{CallLimits, Client, Settings, Timeouts};
use meetlake::testing::clock::Clock;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use meetlake::testing::pipeline::Tenant;
use meetlake::testing::run::{Scope, Summary};
use serde_json::json;

use crate::app::{Output, SECRET, Setup, TestApp};
use crate::gate::{Act, Answer, Does, Gate, Place, When, Wrong};
use crate::lake;
use crate::network::Recorder;
use crate::truth::Truth;

use Does::{After, Instead};
use Outcome::{AllFailed, Deferred, Failed, Quarantined, Recovered, Refused};
use Place::{Download, Poll, Report, Rooms, Submit, Token};
use When::{Always, First, From, Victim, VictimFirst};

/// The largest workbook here; some answers have no end.
const LARGEST_WORKBOOK: u64 = 4 << 20;
/// Cases side by side: they mostly wait.
const SIDE_BY_SIDE: usize = 8;

/// How a run with a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The client tried again, within seconds.
    Recovered,
    /// The attempt was put off, and a later one in the same run succeeded.
    Deferred,
    /// The attempts of the struck task are used up; the word of the cause. The other day is published.
    Failed(&'static str),
    /// The struck workbook is in quarantine. The other day is published.
    Quarantined,
    /// Every task failed: exit code and word.
    AllFailed(Code, &'static str),
    /// The cause ended the run or its dataset: exit code and word.
    Refused(Code, &'static str),
}

struct Case {
    fault: &'static str,
    dataset: Dataset,
    wrong: Vec<Wrong>,
    outcome: Outcome,
    /// What the operator reads, among other things.
    says: &'static [&'static str],
    /// Most calls of the place that is struck first.
    most: u64,
}

fn case(
    fault: &'static str,
    place: Place,
    when: When,
    does: Does,
    outcome: Outcome,
    says: &'static [&'static str],
    most: u64,
) -> Case {
    let dataset = match place {
        Rooms => Dataset::ResourceReservationList,
        Report => Dataset::DailyReport,
        _ => Dataset::MeetingList,
    };
    Case {
        fault,
        dataset,
        wrong: vec![Wrong { place, when, does }],
        outcome,
        says,
        most,
    }
}

impl Case {
    fn and(mut self, place: Place, when: When, does: Does) -> Self {
        self.wrong.push(Wrong { place, when, does });
        self
    }
}

// --- what faults are made of ----------------------------------------------------------------------------------------

fn answer(answer: Answer) -> Act {
    Act::Answer(answer)
}

fn redirect(status: u16, target: impl ToString) -> Act {
    answer(Answer::new(status, "text/html", "<h1>Moved</h1>").with("location", target))
}

fn error(status: u16, code: i64, msg: &str) -> Act {
    answer(Answer::json(status, &json!({ "code": code, "msg": msg })))
}

fn raw(body: impl Into<Vec<u8>>) -> Act {
    answer(Answer::new(200, "application/json", body))
}

/// A poll's answer.
fn state(data: serde_json::Value) -> Act {
    let body = json!({ "code": 0, "msg": "success", "data": data });
    answer(Answer::json(200, &body))
}

fn page_of_rooms(count: usize, next: &str) -> Act {
    let rooms = vec![r#"{"room_id":"omm_1"}"#; count].join(",");
    raw(format!(
        r#"{{"code":0,"data":{{"rooms":[{rooms}],"has_more":true,"page_token":"{next}"}}}}"#
    ))
}

fn limited(headers: &[(&str, &str)]) -> Act {
    let body = json!({ "code": 99991400, "msg": "request trigger frequency limit" });
    let mut limited = Answer::json(429, &body);
    for (name, value) in headers {
        limited = limited.with(name, value);
    }
    answer(limited)
}

/// The answer with a token that lives as long as the text says.
fn expires(given: Answer, expire: &serde_json::Value) -> Act {
    answer(given.edit(|body| body["expire"] = expire.clone()))
}

/// The answer as if sent at another time than now.
fn dated(given: Answer, hours: i64) -> Act {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    answer(given.with("date", at.strftime("%a, %d %b %Y %H:%M:%S GMT")))
}

const UNTIL_IT_HANGS: Duration = Duration::from_millis(100);

#[rustfmt::skip]
fn table() -> Vec<Case> {
    vec![
        // redirects: never followed, wherever they point
        case("token: 307 to another host", Token, Always, Instead(|_, w| redirect(307, format!("http://{}/steal", w.elsewhere))),
            AllFailed(Code::NotSettled, "other"), &["HTTP 307", "redirected to 127.0.0.1", "check host"], 4),
        case("submit: 308 to another host", Submit, Victim, Instead(|_, w| redirect(308, format!("http://{}/steal", w.elsewhere))),
            Failed("other"), &["HTTP 308", "redirected to 127.0.0.1", "check host"], 3),
        case("poll: 302 to another host", Poll, Victim, Instead(|_, w| redirect(302, format!("http://{}/steal?x=1", w.elsewhere))),
            Failed("other"), &["HTTP 302", "redirected to 127.0.0.1", "check host"], 6),
        case("poll: 301 to itself for ever", Poll, Victim, Instead(|s, w| redirect(301, format!("http://{}{}", w.here, s.target))),
            Failed("other"), &["HTTP 301", "redirected to 127.0.0.1", "check host"], 6),
        case("download: 307 to another host", Download, Victim, Instead(|_, w| redirect(307, format!("http://{}/file.xlsx", w.elsewhere))),
            Failed("export"), &["HTTP 307", "redirected to 127.0.0.1", "check host"], 4),
        case("download: 302 to a private address", Download, Victim, Instead(|_, _| redirect(302, "http://169.254.169.254/latest/meta-data/")),
            Failed("export"), &["redirected to 169.254.169.254", "check host"], 4),
        case("download: 303 without a target", Download, Victim, Instead(|_, _| answer(Answer::new(303, "text/html", "<h1>See other</h1>"))),
            Failed("export"), &["HTTP 303", "See other", "check host"], 4),
        case("rooms: 303 to another host", Rooms, Always, Instead(|_, w| redirect(303, format!("http://{}/rooms", w.elsewhere))),
            Refused(Code::NotSettled, "other"), &["could not list rooms", "redirected to 127.0.0.1", "check host"], 2),
        // time
        case("poll: the head never comes", Poll, VictimFirst(1), Instead(|_, _| Act::Drip { bytes: b"HTTP/1.1 ".to_vec(), at_once: 9, pause: UNTIL_IT_HANGS }),
            Recovered, &[], 12),
        case("poll: the head comes a byte at a time", Poll, VictimFirst(1), Instead(|_, _| Act::Drip { bytes: vec![b'H'; 1000], at_once: 0, pause: UNTIL_IT_HANGS }),
            Recovered, &[], 12),
        case("poll: the body comes a byte at a time", Poll, VictimFirst(1), After(|_, _, a| { let bytes = a.whole(); Act::Drip { at_once: bytes.len() - 120, bytes, pause: UNTIL_IT_HANGS } }),
            Recovered, &[], 12),
        case("download: the body comes a byte at a time", Download, VictimFirst(1), After(|_, _, a| { let bytes = a.whole(); Act::Drip { at_once: bytes.len() - 500, bytes, pause: UNTIL_IT_HANGS } }),
            Recovered, &[], 6),
        case("download: the body stops", Download, VictimFirst(1), After(|_, _, a| { let mut bytes = a.whole(); bytes.truncate(bytes.len() / 2); Act::Drip { at_once: bytes.len(), bytes, pause: UNTIL_IT_HANGS } }),
            Recovered, &[], 6),
        // lengths
        case("poll: Content-Length too long", Poll, VictimFirst(1), After(|_, _, a| { let length = a.body.len() + 100; Act::Bytes(a.with("content-length", length).whole()) }),
            Recovered, &[], 8),
        case("download: Content-Length too long", Download, VictimFirst(1), After(|_, _, a| { let length = a.body.len() + 100; Act::Bytes(a.with("content-length", length).whole()) }),
            Recovered, &[], 6),
        case("download: Content-Length too short, once", Download, VictimFirst(1), After(|_, _, a| { let length = a.body.len() - 100; Act::Bytes(a.with("content-length", length).whole()) }),
            Deferred, &[], 6),
        case("download: Content-Length too short, always", Download, Victim, After(|_, _, a| { let length = a.body.len() - 100; Act::Bytes(a.with("content-length", length).whole()) }),
            Quarantined, &["the workbook's container is refused"], 8),
        case("download: no length, whole", Download, VictimFirst(1), After(|_, _, a| Act::Bytes(a.without_length())),
            Recovered, &[], 4),
        case("download: no length, cut", Download, VictimFirst(1), After(|_, _, a| { let mut bytes = a.without_length(); bytes.truncate(bytes.len() - 300); Act::Bytes(bytes) }),
            Deferred, &[], 6),
        case("poll: two lengths that differ", Poll, VictimFirst(1), After(|_, _, mut a| { a.headers.push(("content-length".into(), "7".into())); a.headers.push(("content-length".into(), "9".into())); Act::Bytes(a.without_length()) }),
            Recovered, &[], 8),
        case("poll: a body without end", Poll, VictimFirst(1), Instead(|_, _| Act::Endless { first: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec(), again: vec![b' '; 1 << 20] }),
            Recovered, &[], 8),
        case("poll: chunks without end", Poll, VictimFirst(1), Instead(|_, _| Act::Endless { first: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), again: [b"10000\r\n".to_vec(), vec![b'['; 1 << 16], b"\r\n".to_vec()].concat() }),
            Recovered, &[], 8),
        case("download: a workbook without end", Download, Victim, Instead(|_, _| Act::Endless { first: b"HTTP/1.1 200 OK\r\n\r\nPK\x03\x04".to_vec(), again: vec![0; 1 << 18] }),
            Failed("export"), &["4194304 are allowed", "size in [limits.workbook]"], 4),
        case("download: a terabyte announced", Download, Victim, Instead(|_, _| Act::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nPK\x03\x04".to_vec())),
            Failed("export"), &["at least 1000000000000 bytes", "size in [limits.workbook]"], 4),
        // encodings nobody asked for
        case("poll: gzip", Poll, Victim, Instead(|_, _| answer(Answer::new(200, "application/json", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xe6\x02".to_vec()).with("content-encoding", "gzip"))),
            Failed("retry"), &["encoded as gzip without being asked to", "check host and what stands between"], 60),
        case("download: a gzip bomb", Download, Victim, Instead(|_, _| answer(Answer::new(200, "application/octet-stream", [b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), vec![0; 1 << 20]].concat()).with("content-encoding", "gzip"))),
            Failed("retry"), &["encoded as gzip without being asked to", "check host and what stands between"], 60),
        // other content
        case("poll: a page with 200", Poll, VictimFirst(2), Instead(|_, _| answer(Answer::new(200, "text/html", "<h1>Please log in</h1>"))),
            Recovered, &[], 8),
        case("poll: always a page with 200", Poll, Victim, Instead(|_, _| answer(Answer::new(200, "text/html", "<h1>Please log in</h1>"))),
            Failed("retry"), &["the answer is not the API's: Please log in", "check host"], 60),
        case("submit: a page with 200", Submit, VictimFirst(1), Instead(|_, _| answer(Answer::new(200, "text/html", "<h1>Please log in</h1>"))),
            Deferred, &[], 4),
        case("download: a page with 200", Download, VictimFirst(2), Instead(|_, _| answer(Answer::new(200, "text/html", "<h1>Please log in</h1>"))),
            Recovered, &[], 6),
        case("download: JSON in place of a file", Download, Victim, Instead(|_, _| state(json!({}))),
            Failed("retry"), &["an envelope came in place of a workbook"], 60),
        case("download: an error with 200", Download, VictimFirst(2), Instead(|_, _| error(200, 121004, "data not exist")),
            Deferred, &[], 6),
        case("poll: empty with 200", Poll, VictimFirst(1), Instead(|_, _| raw("")), Recovered, &[], 8),
        case("poll: 204", Poll, VictimFirst(1), Instead(|_, _| Act::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())), Recovered, &[], 8),
        case("download: empty with 200", Download, VictimFirst(1), Instead(|_, _| raw("")), Recovered, &[], 6),
        case("poll: JSON with NaN", Poll, VictimFirst(1), Instead(|_, _| raw(r#"{"code":0,"data":{"status":NaN}}"#)), Recovered, &[], 8),
        case("poll: JSON with 1e400", Poll, VictimFirst(1), Instead(|_, _| raw(r#"{"code":1e400,"data":{"status":1e400}}"#)), Recovered, &[], 8),
        case("poll: JSON with the same key twice", Poll, VictimFirst(1), Instead(|_, _| raw(r#"{"code":1,"code":0,"data":{"status":3,"status":1,"file_token":"x"}}"#)), Recovered, &[], 8),
        case("poll: JSON 100,000 levels deep", Poll, VictimFirst(1), Instead(|_, _| raw(format!(r#"{{"code":0,"data":{}"#, "[".repeat(100_000)))), Recovered, &[], 8),
        case("poll: 100 MB of JSON", Poll, VictimFirst(1), Instead(|_, _| Act::Endless { first: b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n{\"code\":0,\"data\":[".to_vec(), again: b"0,".repeat(1 << 19) }),
            Recovered, &[], 8),
        case("poll: a byte order mark before the JSON", Poll, VictimFirst(1), Instead(|_, _| raw("\u{feff}{\"code\":0,\"data\":{\"status\":1}}")), Recovered, &[], 8),
        case("poll: numbers as text", Poll, Victim, After(|_, _, a| answer(a.edit(|body| { body["code"] = json!("0"); body["data"]["status"] = json!(body["data"]["status"].to_string()); }))),
            Recovered, &[], 8),
        case("report: a page with 200", Report, First(2), Instead(|_, _| answer(Answer::new(200, "text/html", "<h1>Please log in</h1>"))),
            Recovered, &[], 8),
        // the life of an export
        case("submit: an empty id", Submit, VictimFirst(1), Instead(|_, _| state(json!({ "task_id": "" }))), Deferred, &[], 4),
        case("submit: no data", Submit, VictimFirst(1), Instead(|_, _| raw(r#"{"code":0,"msg":"success"}"#)), Deferred, &[], 4),
        case("poll: an unknown status for ever", Poll, Victim, Instead(|_, _| state(json!({ "status": 9 }))),
            Failed("export"), &["did not finish within"], 150),
        case("poll: status 1 for ever", Poll, Victim, Instead(|_, _| state(json!({ "status": 1 }))),
            Failed("export"), &["did not finish within"], 150),
        case("poll: done, then not done any more", Download, VictimFirst(1), Instead(|_, _| error(404, 121004, "data not exist")),
            Recovered, &[], 6).and(Poll, From(3), After(|s, _, a| if s.number < 6 { state(json!({ "status": 1 })) } else { answer(a) })),
        case("poll: failed, once", Poll, VictimFirst(1), Instead(|_, _| state(json!({ "status": 2, "fail_msg": "try later" }))),
            Deferred, &[], 8),
        case("poll: failed, always", Poll, Victim, Instead(|_, _| state(json!({ "status": 2, "fail_msg": "\u{1b}[31mred\r\nforged \u{9b}31m\u{202e}" }))),
            Failed("export"), &["Feishu reports that the export failed: [31mred forged 31m"], 10),
        case("poll: done without a file", Poll, Victim, Instead(|_, _| state(json!({ "status": 3, "url": "https://example.com/x" }))),
            Failed("retry"), &["there is no file_token", "it is tried again later"], 60),
        case("poll: an address on a foreign host", Poll, Victim, After(|_, w, a| { let url = format!("http://{}/signed?sig=1", w.elsewhere); answer(a.edit(|body| body["data"]["url"] = json!(url))) }),
            Recovered, &[], 8),
        case("poll: the id is forgotten", Poll, VictimFirst(1), Instead(|_, _| error(404, 121004, "data not exist")),
            Deferred, &[], 8),
        case("download: 404 without a code", Download, VictimFirst(2), Instead(|_, _| answer(Answer::new(404, "text/plain", "gone"))),
            Deferred, &[], 8),
        case("download: 410 without a code", Download, VictimFirst(2), Instead(|_, _| answer(Answer::new(410, "text/plain", "gone"))),
            Deferred, &[], 8),
        case("download: always 404", Download, Victim, Instead(|_, _| answer(Answer::new(404, "text/plain", "gone"))),
            Failed("export"), &["HTTP 404", "an export is requested again"], 12),
        case("download: another day's file", Download, Victim, Instead(|_, w| if w.other_file.is_empty() { answer(Answer::new(503, "text/html", "<h1>503</h1>")) } else { answer(Answer::new(200, "application/octet-stream", w.other_file.clone())) }),
            Quarantined, &["another export's file"], 60),
        case("download: another kind's file", Download, Victim, Instead(|_, _| answer(Answer::new(200, "application/octet-stream", include_bytes!("../fixtures/observed_participant_list.xlsx").to_vec()))),
            Quarantined, &["quarantined"], 6),
        // listings
        case("rooms: the same page token again and again", Rooms, Always, Instead(|_, _| page_of_rooms(1, "20")),
            Refused(Code::NotSettled, "other"), &["could not list rooms: the listing repeats a page_token"], 2),
        case("rooms: ever new page tokens", Rooms, Always, Instead(|s, _| page_of_rooms(1, &s.number.to_string())),
            Refused(Code::NotSettled, "other"), &["the listing has more than 1000 pages"], 1000),
        case("rooms: another page without a token", Rooms, Always, Instead(|_, _| page_of_rooms(1, "")),
            Refused(Code::NotSettled, "other"), &["there is another page, but no page_token"], 1),
        case("rooms: a page of 100,001", Rooms, Always, Instead(|_, _| page_of_rooms(100_001, "x")),
            Refused(Code::NotSettled, "other"), &["the listing has more than 100000 entries"], 1),
        // limits
        case("poll: Retry-After of 30 years", Poll, VictimFirst(1), Instead(|_, _| limited(&[("retry-after", "1000000000")])), Recovered, &[], 8),
        case("poll: Retry-After is negative", Poll, VictimFirst(1), Instead(|_, _| limited(&[("retry-after", "-5")])), Recovered, &[], 8),
        case("poll: Retry-After is a text", Poll, VictimFirst(1), Instead(|_, _| limited(&[("retry-after", "soon")])), Recovered, &[], 8),
        case("poll: absurd limit headers", Poll, VictimFirst(1), Instead(|_, _| limited(&[("x-ogw-ratelimit-reset", "99999999999999999999"), ("x-ogw-ratelimit-limit", "0")])), Recovered, &[], 8),
        case("poll: 503 with Retry-After of 30 years", Poll, VictimFirst(1), Instead(|_, _| answer(Answer::new(503, "text/html", "<h1>503</h1>").with("retry-after", 1_000_000_000))), Deferred, &[], 8),
        case("poll: 99991400 with HTTP 400", Poll, First(2), Instead(|_, _| answer(Answer::json(400, &json!({ "code": 99991400, "msg": "slow down" })).with("x-ogw-ratelimit-reset", 2))), Recovered, &[], 8),
        case("submit: a storm of 429", Submit, First(10), Instead(|_, _| limited(&[("x-ogw-ratelimit-reset", "2")])), Recovered, &[], 14),
        case("poll: 429 for ever", Poll, Victim, Instead(|_, _| limited(&[("x-ogw-ratelimit-reset", "120")])),
            Failed("wait"), &["99991400", "tried again when the limit resets"], 60),
        case("poll: a storm of 5xx", Poll, VictimFirst(12), Instead(|_, _| error(500, 121001, "internal error")), Deferred, &[], 20),
        case("poll: 502 for ever", Poll, Victim, Instead(|_, _| answer(Answer::new(502, "text/html", "<h1>502 Bad Gateway</h1>"))),
            Failed("retry"), &["HTTP 502", "502 Bad Gateway"], 60),
        case("submit: 503 without an envelope", Submit, VictimFirst(1), Instead(|_, _| answer(Answer::new(503, "text/html", "<h1>503</h1>"))), Deferred, &[], 4),
        // tokens
        case("poll: the token expired", Poll, VictimFirst(1), Instead(|_, _| error(400, 99991663, "Invalid access token")), Recovered, &[], 8),
        case("poll: the token did not arrive, once", Poll, VictimFirst(1), Instead(|_, _| error(400, 99991661, "Need a token")), Recovered, &[], 8),
        case("poll: the token is never accepted", Poll, Victim, Instead(|_, _| error(400, 99991663, "Invalid access token")),
            Failed("retry"), &["99991663", "the token was not accepted twice"], 14),
        case("poll: the token never arrives", Poll, Always, Instead(|_, _| error(400, 99991661, "Need a token")),
            Refused(Code::Credentials, "credentials"), &["99991661", "the token was not accepted twice"], 6),
        case("token: expire 0", Token, Always, After(|_, _, a| expires(a, &json!(0))), Recovered, &[], 20),
        case("token: expire -1", Token, Always, After(|_, _, a| expires(a, &json!(-1))), Recovered, &[], 20),
        case("token: expire huge", Token, Always, After(|_, _, a| expires(a, &json!(i64::MAX))), Recovered, &[], 4),
        case("token: expire beyond an integer", Token, First(1), After(|_, _, a| expires(a, &json!(1e300))), Recovered, &[], 6),
        case("token: no token", Token, Always, Instead(|_, _| raw(r#"{"code":0,"msg":"ok","expire":7200}"#)),
            AllFailed(Code::NotSettled, "retry"), &["missing field `tenant_access_token`"], 100),
        case("token: a line break in it", Token, Always, Instead(|_, _| raw(r#"{"code":0,"tenant_access_token":"t-\r\nx: y","expire":7200}"#)),
            AllFailed(Code::NotSettled, "retry"), &["what it calls a token is none"], 100),
        case("token: wrong secret", Token, Always, Instead(|_, _| error(200, 10015, "app secret invalid")),
            Refused(Code::Credentials, "credentials"), &["10015", "check app_id and app_secret"], 4),
        case("token: an unknown code", Token, Always, Instead(|_, _| error(200, 424_242, "who knows")),
            AllFailed(Code::NotSettled, "other"), &["Feishu answered 424242 (HTTP 200) \"who knows\""], 4),
        // refusals in the middle
        case("submit: the role is withdrawn", Submit, From(2), Instead(|_, _| error(403, 121005, "no permission")),
            Refused(Code::Credentials, "role"), &["121005", "Meeting management"], 4),
        case("poll: the scope is withdrawn", Poll, Always, Instead(|_, _| error(400, 99991672, "Access denied. One of the following scopes is required: [vc:export].")),
            Refused(Code::Credentials, "scope"), &["vc:export", "developer console"], 4),
        case("poll: this address is not allowed any more", Poll, Always, Instead(|_, _| error(400, 99991401, "ip denied")),
            Refused(Code::Credentials, "credentials"), &["99991401", "IP allow-list"], 4),
        case("submit: the month's quota is used up", Submit, Always, Instead(|_, _| error(429, 99991403, "quota exceeded")),
            Refused(Code::Quota, "quota exhausted"), &["99991403", "renews next month"], 4),
        case("submit: a parameter is refused", Submit, Victim, Instead(|_, _| error(400, 121003, "param error")),
            Failed("bad request"), &["121003", "check ids and dates of the job"], 3),
        // clocks
        case("token: the server is an hour ahead", Token, Always, After(|_, _, a| dated(a, 1)), Recovered, &[], 4),
        case("token: the server is a day behind", Token, Always, After(|_, _, a| dated(a, -24)), Recovered, &[], 4),
        // no HTTP
        case("poll: bytes that are no HTTP", Poll, VictimFirst(1), Instead(|_, _| Act::Bytes(b"\0\x01\x02SSH-2.0-what\r\n\r\n".to_vec())), Recovered, &[], 8),
        case("poll: a header of a megabyte", Poll, VictimFirst(1), Instead(|_, _| Act::Bytes([b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 1 << 20], b"\r\n\r\n".to_vec()].concat())), Recovered, &[], 8),
        case("poll: ten thousand headers", Poll, VictimFirst(1), Instead(|_, _| Act::Bytes(format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000)).into_bytes())), Recovered, &[], 8),
        case("poll: the connection ends without an answer", Poll, VictimFirst(1), Instead(|_, _| Act::Bytes(Vec::new())), Recovered, &[], 8),
        case("submit: the connection ends without an answer", Submit, VictimFirst(1), After(|_, _, _| Act::Bytes(Vec::new())), Deferred, &[], 4),
    ]
}

// --- one case -------------------------------------------------------------------------------------------------------

/// An application behind a gate.
pub(crate) fn behind_a_gate(setup: Setup) -> (TestApp, Gate) {
    let mut app = setup.start();
    let gate = app.block_on(Gate::start(app.server().base_url()));
    app.setup.host = Some(gate.url());
    app.write_configuration();
    (app, gate)
}

/// A client whose patience with one request is two seconds in place of a minute, so that a case ends while somebody waits for it.
fn impatient(gate: &Gate, app_id: &str, tenant: &mut Tenant, clock: &Clock) {
    let url = gate.url().parse().expect("a URL");
    let settings = Settings {
        calls_per_minute: CallLimits {
            exports: 10_000,
            directory: 10_000,
            reports: Some(10_000),
            share: 100,
        },
        timeouts: Timeouts {
            idle: Duration::from_secs(2),
            json: Duration::from_secs(6),
            download: Duration::from_secs(8),
            ..Timeouts::default()
        },
        retry_patience: Duration::from_secs(60),
        ..Settings::new(url, app_id, SECRET.into())
    };
    tenant.fetcher.client = Client::new(settings, clock.clone()).expect("a client");
    tenant.fetcher.max_workbook_bytes = LARGEST_WORKBOOK;
}

fn reconcile(app: &TestApp, gate: &Gate, scope: &Scope) -> Summary {
    let app_id = app.setup.options.app_id.clone();
    app.reconcile_with(scope, |tenant, clock| {
        impatient(gate, &app_id, tenant, clock)
    })
}

/// Rows of the lake that the company does not know, and what is unsound about its files.
fn wrong_in_the_lake(app: &TestApp, dataset: Dataset) -> Vec<String> {
    let differences = differences(app, dataset);
    let foreign = differences
        .into_iter()
        .filter(|line| line.contains("not in the truth"));
    foreign.chain(lake::unsound(&app.lake())).collect()
}

fn differences(app: &TestApp, dataset: Dataset) -> Vec<String> {
    let now = app.setup.options.clock.now();
    Truth::of(app.server().company(), now).differences_of(&app.lake(), dataset)
}

/// Runs a case; what the operator reads first.
fn check(case: &Case) -> String {
    let deadline = "deadline = \"10m\"";
    let setup = Setup::fast()
        .only(&[case.dataset])
        .job(case.dataset, deadline);
    let (app, gate) = behind_a_gate(setup);
    gate.set(&case.wrong);
    let summary = reconcile(&app, &gate, &app.all_days(false));
    let text = text_of(std::slice::from_ref(&summary));
    let attention =
        app.with_ledger(async |ledger| ledger.attention(None, 100).await.expect("rows"));

    assert!(gate.struck() > 0, "the fault never struck");
    assert_eq!(
        String::from_utf8_lossy(&gate.overheard()),
        "",
        "bytes went elsewhere"
    );
    let place = case.wrong[0].place;
    let calls = gate.calls(place);
    assert!(calls <= case.most, "{calls} calls of {place:?}");
    let tokens = gate.calls(Token);
    assert!(tokens <= 100, "{tokens} calls for a token");
    assert_eq!(wrong_in_the_lake(&app, case.dataset), Vec::<String>::new());

    let everything = format!("{text}{attention:?}{}", json!(summary));
    assert_harmless(&text);
    for secret in gate.tokens().iter().map(String::as_str).chain([SECRET]) {
        assert!(
            !everything.contains(secret),
            "a secret is shown: {everything}"
        );
    }
    for said in case.says {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }

    let counts = summary
        .datasets
        .get(&case.dataset)
        .cloned()
        .unwrap_or_default();
    let kinds: Vec<&str> = attention
        .iter()
        .map(|task| task.failure.cause.as_str())
        .collect();
    match case.outcome {
        Recovered => {
            assert_eq!(
                (summary.exit(), counts.deferred),
                (Code::Done, 0),
                "{text}{kinds:?}"
            );
        }
        Deferred => {
            assert_eq!(summary.exit(), Code::Done, "{text}{attention:?}");
            assert!(counts.deferred > 0, "it was not put off");
        }
        Failed(word) => {
            assert_eq!(
                (summary.exit(), counts.failed),
                (Code::NotSettled, 1),
                "{text}"
            );
            assert_eq!(kinds, [word], "{attention:?}");
        }
        Quarantined => {
            assert_eq!(
                (summary.exit(), counts.quarantined),
                (Code::NotSettled, 1),
                "{text}"
            );
            assert_eq!(kinds, ["data"], "{attention:?}");
        }
        AllFailed(code, word) => {
            assert_eq!((summary.exit(), counts.published), (code, 0), "{text}");
            assert!(kinds.iter().all(|kind| *kind == word), "{attention:?}");
            assert_eq!(counts.failed, 2, "{text}");
        }
        Refused(code, word) => {
            assert_eq!(summary.exit(), code, "{text}");
            let words: Vec<&str> = summary.causes().map(|cause| cause.cause.as_str()).collect();
            assert_eq!(words, [word], "{text}");
            assert!(text.starts_with("error: "), "the cause comes first: {text}");
        }
    }
    if matches!(case.outcome, Failed(_) | Quarantined) {
        assert!(
            counts.published > 0,
            "the other day did not come through: {text}"
        );
    }

    // The fault is gone: whatever was left comes, and nothing twice.
    gate.set(&[]);
    let again = case.outcome == Quarantined;
    let healed = reconcile(&app, &gate, &app.all_days(again));
    assert_eq!(healed.exit(), Code::Done, "{}", text_of(&[healed]));
    assert_eq!(differences(&app, case.dataset), Vec::<String>::new());
    assert_eq!(lake::unsound(&app.lake()), Vec::<String>::new());
    let is_cause = |line: &&str| line.starts_with("error") || line.starts_with("not settled");
    text.lines().find(is_cause).unwrap_or_default().to_owned()
}

/// Nothing that a terminal would obey.
fn assert_harmless(text: &str) {
    let hostile = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(hostile), "{text:?}");
}

#[test]
fn every_fault_has_its_outcome() {
    let only = std::env::var("MEETLAKE_FAULT").unwrap_or_default();
    let cases: VecDeque<Case> = table()
        .into_iter()
        .filter(|case| case.fault.contains(&only))
        .collect();
    let (count, began) = (cases.len(), Instant::now());
    let waiting = Arc::new(Mutex::new(cases));
    let told = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let workers = (0..SIDE_BY_SIDE).map(|_| {
        let (waiting, told) = (Arc::clone(&waiting), Arc::clone(&told));
        std::thread::spawn(move || {
            loop {
                let next = waiting.lock().expect("the cases").pop_front();
                let Some(case) = next else { return };
                let began = Instant::now();
                let outcome = catch_unwind(AssertUnwindSafe(|| check(&case)));
                let took = began.elapsed().as_secs_f64();
                let mut told = told.lock().expect("the outcomes");
                match outcome {
                    Ok(read) => told.0.push(format!(
                        "{:<50} {:<36} {took:>5.1} s  {read}",
                        case.fault,
                        format!("{:?}", case.outcome)
                    )),
                    Err(panic) => told.1.push(format!("{}: {}", case.fault, message(&*panic))),
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().expect("it catches what panics");
    }
    let (mut good, bad) = std::mem::take(&mut *told.lock().expect("the outcomes"));
    good.sort();
    let mut report = String::new();
    for line in &good {
        let _ = writeln!(report, "{line}");
    }
    println!(
        "{report}{} of {count} faults in {:.0} s",
        good.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(
        bad.is_empty(),
        "{} faults:\n\n{}",
        bad.len(),
        bad.join("\n\n")
    );
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

#[test]
fn nobody_listens_in_the_middle_of_a_run() {
    let setup = Setup::fast()
        .only(&[Dataset::MeetingList])
        .job(Dataset::MeetingList, "deadline = \"10m\"");
    let (app, gate) = behind_a_gate(setup);
    gate.refuse_after(Submit, 2);
    let summary = reconcile(&app, &gate, &app.all_days(false));
    let text = text_of(std::slice::from_ref(&summary));
    assert_eq!(summary.exit(), Code::NotSettled, "{text}");
    assert!(
        text.contains("tried again later; if it stays, check host, DNS, firewall and proxy"),
        "{text}"
    );
    gate.set(&[]);
    let healed = reconcile(&app, &gate, &app.all_days(false));
    assert_eq!(healed.exit(), Code::Done, "{}", text_of(&[healed]));
    assert_eq!(
        differences(&app, Dataset::MeetingList),
        Vec::<String>::new()
    );
    assert_eq!(
        app.report().duplicate_submits,
        0,
        "what was submitted is fetched and not asked for again"
    );
}

// --- the real binary ------------------------------------------------------------------------------------------------

fn real() -> (TestApp, Gate) {
    let (app, gate) = behind_a_gate(Setup::real().only(&[Dataset::MeetingList]));
    app.teach_pace();
    (app, gate)
}

/// What is printed, without what differs from run to run.
fn printed(output: &Output) -> String {
    let known = |word: &str| {
        if word.contains("T16:00:00Z") {
            return Some("TIME".to_owned());
        }
        if word.ends_with("-01)") {
            return Some("DATE)".to_owned());
        }
        let (start, _) = word.split_once("127.0.0.1:")?;
        Some(format!("{start}127.0.0.1:PORT"))
    };
    let lines = output.text();
    let lines = lines.lines().filter(|line| {
        line.starts_with("error")
            || line.starts_with("not settled")
            || line.contains("the time given")
    });
    let lines = lines.map(|line| {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| known(word).unwrap_or_else(|| word.to_owned()))
            .collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_binary_ends_with_the_code_of_the_cause_and_says_it() {
    type Told = (&'static str, Place, Does, &'static [&'static str], i32);
    let cases: Vec<Told> = vec![
        (
            "wrong secret",
            Token,
            Instead(|_, _| error(200, 10015, "app secret invalid")),
            &[],
            4,
        ),
        (
            "redirected token",
            Token,
            Instead(|_, w| redirect(307, format!("http://{}/steal", w.elsewhere))),
            &[],
            3,
        ),
        (
            "role",
            Submit,
            Instead(|_, _| error(403, 121005, "no permission")),
            &[],
            4,
        ),
        (
            "scope",
            Submit,
            Instead(|_, _| {
                error(
                    400,
                    99991672,
                    "One of the following scopes is required: [vc:export]",
                )
            }),
            &[],
            4,
        ),
        (
            "quota",
            Submit,
            Instead(|_, _| error(429, 99991403, "quota exceeded")),
            &[],
            5,
        ),
        (
            "storm of 429 until the deadline",
            Submit,
            Instead(|_, _| limited(&[("x-ogw-ratelimit-reset", "30")])),
            &["--deadline", "2s"],
            5,
        ),
        (
            "storm of 502 until the deadline",
            Token,
            Instead(|_, _| answer(Answer::new(502, "text/html", "<h1>502 Bad Gateway</h1>"))),
            &["--deadline", "2s"],
            3,
        ),
        (
            "redirected download",
            Download,
            Instead(|_, w| redirect(302, format!("http://{}/x", w.elsewhere))),
            &[],
            6,
        ),
        (
            "a message that paints the terminal",
            Submit,
            Instead(|_, _| {
                error(
                    400,
                    121003,
                    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\nerror: forged",
                )
            }),
            &[],
            3,
        ),
    ];
    let workers = cases.into_iter().map(|(name, place, does, args, code)| {
        std::thread::spawn(move || {
            let (app, gate) = real();
            gate.set(&[Wrong {
                place,
                when: Always,
                does,
            }]);
            let output = app.backfill(args);
            assert_eq!(output.code, code, "{name}: {output:?}");
            assert_eq!(
                String::from_utf8_lossy(&gate.overheard()),
                "",
                "{name}: bytes went elsewhere"
            );
            assert!(!output.text().contains(SECRET), "{name}: {output:?}");
            assert_harmless(&output.text());
            let status = app.meetlake(&["status"]);
            assert_harmless(&status.text());
            format!("{name}: {code}\n{}\n", printed(&output))
        })
    });
    let texts: Vec<String> = workers
        .collect::<Vec<_>>()
        .into_iter()
        .map(|worker| worker.join().expect("no assertion failed"))
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_host_that_is_not_there_is_named_and_not_called_a_quota() {
    let mut app = Setup::real().only(&[Dataset::MeetingList]).start();
    // A free port would soon be another test's simulator. Nobody gets this one by chance.
    app.setup.host = Some("http://127.0.0.1:1".to_owned());
    app.write_configuration();
    let output = app.backfill(&["--deadline", "2s"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(
        output
            .stdout
            .starts_with("error: could not get a tenant access token"),
        "{output:?}"
    );
    assert!(output.stdout.contains("Connection refused"), "{output:?}");
    assert!(
        output
            .stdout
            .contains("check host, DNS, firewall and proxy"),
        "{output:?}"
    );
    assert!(
        !output.stdout.contains("days published"),
        "a table of zeros: {output:?}"
    );
    let json = app.backfill(&["--deadline", "2s", "--json"]).json();
    assert_eq!(json["tenants"][0]["trouble"]["word"], "retry", "{json}");
}

#[test]
fn a_certificate_that_nobody_trusts_is_named_and_nothing_is_sent() {
    let server = Recorder::untrusted();
    let mut app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.setup.host = Some(format!("https://localhost:{}", server.port));
    app.write_configuration();
    let output = app.backfill(&["--deadline", "2s"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.contains("certificate"), "{output:?}");
    assert!(
        output
            .stdout
            .contains("the trusted certificates of this machine"),
        "{output:?}"
    );
    let heard = server.heard().concat();
    assert!(heard.is_empty(), "something was sent: {heard}");
}

#[test]
fn doctor_notices_a_clock_that_is_wrong_by_an_hour_or_a_day() {
    let cases: [(i64, Does); 4] = [
        (1, After(|_, _, a| dated(a, -1))),
        (-1, After(|_, _, a| dated(a, 1))),
        (24, After(|_, _, a| dated(a, -24))),
        (-24, After(|_, _, a| dated(a, 24))),
    ];
    let (app, gate) = real();
    for (ahead, does) in cases {
        gate.set(&[Wrong {
            place: Token,
            when: Always,
            does,
        }]);
        let output = app.meetlake(&["doctor"]);
        assert_ne!(output.code, 0, "{output:?}");
        let off_by = |line: &str| -> Option<i64> {
            let (_, rest) = line.split_once("differs from the server's by ")?;
            rest.split(' ').next()?.parse().ok()
        };
        let found = output
            .stdout
            .lines()
            .find_map(off_by)
            .expect("the clock is named");
        assert!((found - ahead * 3600).abs() < 60, "{found}: {output:?}");
        assert!(output.stdout.contains("let NTP set it"), "{output:?}");
    }
}

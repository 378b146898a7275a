//! Each fault does what its name says.

use std::time::{Duration, Instant};

use meetlake_simulator::Fault;
use serde_json::{Value, json};

use crate::app::{App, fast, seconds, sheets, with_faults};

const ROOMS: &str = "/open-apis/vc/v1/rooms";

async fn file_token(app: &App) -> String {
    let state = app
        .finish(&app.task("meeting_list", &whole(app)).await)
        .await;
    state["file_token"].as_str().unwrap().to_owned()
}

fn whole(app: &App) -> Value {
    let (start, end) = app.window();
    json!({ "start_time": seconds(start), "end_time": seconds(end) })
}

#[tokio::test]
async fn rate_limits_and_server_errors_strike_and_pass() {
    let app = App::start(with_faults(&["429@rooms:x1", "5xx@room_levels:x8"])).await;
    let refused = app.get(ROOMS).await;
    assert_eq!((refused.status, refused.code()), (429, 99_991_400));
    assert!(!refused.header("x-ogw-ratelimit-reset").is_empty());
    assert_eq!(app.get(ROOMS).await.code(), 0);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = app.get("/open-apis/vc/v1/room_levels").await;
        assert!(answer.status >= 500);
        assert_eq!(answer.status == 500, answer.body["code"] == json!(121_001));
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    statuses.dedup();
    assert!(statuses.len() > 1, "{statuses:?}");
    assert_eq!(app.get("/open-apis/vc/v1/room_levels").await.code(), 0);
    assert_eq!(
        app.server.report().faults_struck,
        [("429", 1), ("5xx", 8)].into()
    );
}

#[tokio::test]
async fn slow_answers_take_longer() {
    let app = App::start(with_faults(&["slow@rooms:x1"])).await;
    let begin = Instant::now();
    assert_eq!(app.get(ROOMS).await.code(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(190));
}

#[tokio::test]
async fn dropped_connections_give_no_answer() {
    let app = App::start(with_faults(&["drop@rooms:x2"])).await;
    for _ in 0..2 {
        assert!(app.try_get(ROOMS).await.is_err());
    }
    assert_eq!(app.get(ROOMS).await.code(), 0);
    assert_eq!(app.server.report().endpoints["rooms"].calls, 3);
}

#[tokio::test]
async fn a_dropped_submit_may_have_been_accepted() {
    let app = App::start(with_faults(&["drop@meeting_list:x2"])).await;
    for accepted in [0, 1] {
        let request = app
            .http
            .post(app.url("/open-apis/vc/v1/exports/meeting_list"));
        let sent = request
            .bearer_auth(&app.token)
            .json(&whole(&app))
            .send()
            .await;
        assert!(sent.is_err());
        let submitted = app.server.report().exports_submitted;
        assert_eq!(
            submitted.get("meeting_list").copied().unwrap_or(0),
            accepted
        );
    }
    app.task("meeting_list", &whole(&app)).await;
    assert_eq!(app.server.report().duplicate_submits, 1);
}

#[tokio::test]
async fn truncated_downloads_are_short_or_broken() {
    let app = App::start(with_faults(&["truncated:x2"])).await;
    let token = file_token(&app).await;
    let short = app.download(&token).await.unwrap();
    assert!(app.download(&token).await.is_err());
    let complete = app.download(&token).await.unwrap();
    assert_eq!(short, complete[..complete.len() / 2]);
    assert_eq!(sheets(complete)[0].rows.len(), 84);
}

#[tokio::test]
async fn tasks_fail_or_hang() {
    let app = App::start(with_faults(&[
        "failed@meeting_list:x1",
        "stuck@participant_list",
    ]))
    .await;
    let failed = app
        .finish(&app.task("meeting_list", &whole(&app)).await)
        .await;
    assert_eq!(
        (&failed["status"], &failed["fail_msg"]),
        (&json!(2), &json!("internal error"))
    );
    assert!(failed.get("file_token").is_none());
    assert_eq!(
        app.finish(&app.task("meeting_list", &whole(&app)).await)
            .await["status"],
        json!(3)
    );

    let meeting = &app.server.company().meetings()[0];
    let body = json!({
        "meeting_start_time": seconds(meeting.start), "meeting_end_time": seconds(meeting.end), "meeting_no": meeting.meeting_no,
    });
    let stuck = app.task("participant_list", &body).await;
    app.server
        .options()
        .clock
        .advance(Duration::from_secs(3_600));
    assert_eq!(
        app.get(&format!("/open-apis/vc/v1/exports/{stuck}"))
            .await
            .body["data"]["status"],
        json!(1)
    );
}

#[tokio::test]
async fn an_expired_token_is_worthless_from_then_on() {
    let mut app = App::start(with_faults(&["expired-token@rooms:x1"])).await;
    assert_eq!(app.get(ROOMS).await.code(), 99_991_663);
    assert_eq!(app.get(ROOMS).await.code(), 99_991_663);
    app.token = app.tenant_token().await;
    assert_eq!(app.get(ROOMS).await.code(), 0);
    assert_eq!(app.server.report().tenant_tokens_issued, 2);
}

#[tokio::test]
async fn a_gone_file_stays_gone() {
    let app = App::start(with_faults(&["gone-file:x1"])).await;
    let token = file_token(&app).await;
    for _ in 0..2 {
        let answer = app.get(&App::download_path(&token)).await;
        assert_eq!((answer.status, answer.code()), (404, 121_004));
    }
    assert_eq!(app.meetings().await.rows.len(), 84);
}

#[tokio::test]
async fn permission_is_denied_on_exports_only() {
    let app = App::start(with_faults(&["permission-denied"])).await;
    let answer = app.submit("meeting_list", &whole(&app)).await;
    assert_eq!((answer.status, answer.code()), (403, 121_005));
    assert_eq!(app.get(ROOMS).await.code(), 0);
}

#[tokio::test]
async fn empty_results_have_only_their_header() {
    let app = App::start(with_faults(&["empty@meeting_list:x1"])).await;
    let empty = app.meetings().await;
    assert!(empty.rows.is_empty() && empty.raw_header.len() >= 17);
    assert_eq!(app.meetings().await.rows.len(), 84);
}

#[tokio::test]
async fn a_page_can_come_with_status_200() {
    let app = App::start(with_faults(&["html-200@download:x1"])).await;
    let token = file_token(&app).await;
    let answer = app.get(&App::download_path(&token)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.as_str().unwrap().contains("<html>"));
    assert!(
        app.download(&token)
            .await
            .unwrap()
            .starts_with(b"PK\x03\x04")
    );
}

#[tokio::test]
async fn faults_are_switched_at_run_time() {
    let app = App::start(fast()).await;
    let put = async |body: Value| {
        let response = app
            .http
            .put(app.url("/_simulator/faults"))
            .json(&body)
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (status, body) = put(json!(["429@rooms:x1", "slow:0.5"])).await;
    assert_eq!(
        (status, &body["data"]["faults"]),
        (200, &json!(["429@rooms:x1", "slow:0.5"]))
    );
    app.server
        .set_faults(&[Fault::parse("429@rooms:x1").unwrap()]);
    assert_eq!(app.get(ROOMS).await.code(), 99_991_400);
    let (status, body) = put(json!(["oops"])).await;
    assert_eq!(status, 400);
    assert!(body["msg"].as_str().unwrap().contains("valid faults"));
    assert_eq!(put(json!("429")).await.0, 400);
    assert_eq!(put(json!([])).await.0, 200);
    assert_eq!(app.get(ROOMS).await.code(), 0);
}

#[tokio::test]
async fn a_rate_strikes_the_same_requests_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let app = App::start(with_faults(&["429@rooms:0.3"])).await;
        let mut codes = Vec::new();
        for _ in 0..60 {
            codes.push(app.get(ROOMS).await.code());
        }
        assert!((8..30).contains(&codes.iter().filter(|&&code| code != 0).count()));
        runs.push(codes);
    }
    assert_eq!(runs[0], runs[1]);
}

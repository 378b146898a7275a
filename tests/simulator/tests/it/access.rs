//! Tokens, scopes and roles.

use std::time::Duration;

use meetlake_simulator::Options;
use serde_json::json;

use crate::app::{App, fast, seconds, with_knobs};

const REPORT: &str = "/open-apis/vc/v1/rooms";

#[tokio::test]
async fn a_token_is_the_same_until_half_an_hour_is_left_and_both_are_valid_then() {
    let options = Options {
        real_time_headers: false,
        ..Options::default()
    };
    let clock = options.clock.clone();
    let mut app = App::start(options).await;
    let first = app.token.clone();
    assert!(first.starts_with("t-"));
    clock.advance(Duration::from_secs(80 * 60));
    assert_eq!(app.tenant_token().await, first);
    clock.advance(Duration::from_secs(11 * 60));
    let second = app.tenant_token().await;
    assert_ne!(second, first);
    assert_eq!(app.get(REPORT).await.code(), 0);
    clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(app.get(REPORT).await.code(), 99_991_663);
    app.token = second;
    assert_eq!(app.get(REPORT).await.code(), 0);
    assert_eq!(app.server.report().tenant_tokens_issued, 2);
}

#[tokio::test]
async fn failed_logins_have_status_200() {
    let app = App::start(fast()).await;
    for (app_id, secret, code) in [
        ("", "x", 10_003),
        ("abc", "x", 10_003),
        ("cli_b", "x", 10_014),
        ("cli_a000000000000001", "x", 10_015),
    ] {
        let answer = app.login(app_id, secret).await;
        assert_eq!((answer.status, answer.code()), (200, code));
    }
    let body = json!({ "app_id": "cli_a000000000000001", "app_secret": "simulator-secret" });
    let answer = app
        .post("/open-apis/auth/v3/tenant_access_token/internal/", &body)
        .await;
    assert_eq!(answer.body["msg"], json!("ok"));
    assert!(answer.body["expire"].as_u64().unwrap() <= 7_200);
}

#[tokio::test]
async fn expire_is_in_the_client_s_time_when_asked() {
    let app = App::start(Options {
        real_time_headers: true,
        ..Options::ending(Options::default().last_day, 100.0)
    })
    .await;
    let answer = app.login("cli_a000000000000001", "simulator-secret").await;
    assert!(
        (70..=72).contains(&answer.body["expire"].as_u64().unwrap()),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn wrong_tokens_are_told_apart() {
    let mut app = App::start(fast()).await;
    for (token, code) in [
        ("", 99_991_661),
        ("t-unknown", 99_991_663),
        ("eyJunknown", 99_991_668),
        ("x-odd", 99_991_671),
    ] {
        app.token = token.to_owned();
        let answer = app.get(REPORT).await;
        assert_eq!((answer.status, answer.code()), (400, code));
        assert_eq!(
            answer.body["error"]["log_id"].as_str(),
            Some(answer.header("x-tt-logid"))
        );
        assert_eq!(answer.header("x-tt-logid").len(), 34);
    }
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let app = App::start(with_knobs(|knobs| {
        knobs.scopes.remove("vc:export");
    }))
    .await;
    let answer = app
        .submit("meeting_list", &json!({ "start_time": 1, "end_time": 2 }))
        .await;
    assert_eq!((answer.status, answer.code()), (400, 99_991_672));
    let violation = &answer.body["error"]["permission_violations"][0];
    assert_eq!(
        (violation["type"].as_str(), violation["subject"].as_str()),
        (Some("action_scope_required"), Some("vc:export"))
    );
    assert_eq!(app.get(REPORT).await.code(), 0);
}

#[tokio::test]
async fn without_the_contact_scope_user_ids_are_blank_and_refused() {
    let app = App::start(with_knobs(|knobs| {
        knobs.scopes.remove("contact:user.employee_id:readonly");
    }))
    .await;
    assert!(
        app.meetings()
            .await
            .texts("用户ID")
            .iter()
            .all(String::is_empty)
    );
    let (start, end) = app.window();
    let user_id = &app.server.company().employees()[0].user_id;
    let body =
        json!({ "start_time": seconds(start), "end_time": seconds(end), "user_id": user_id });
    let answer = app.submit("meeting_list?user_id_type=user_id", &body).await;
    assert_eq!(answer.code(), 99_991_672);
    assert_eq!(
        answer.body["error"]["permission_violations"][0]["type"],
        json!("field_scope_required")
    );
}

#[tokio::test]
async fn without_the_admin_role_exports_are_forbidden_and_the_rest_is_not() {
    let app = App::start(with_knobs(|knobs| knobs.admin_role = false)).await;
    let answer = app
        .submit("meeting_list", &json!({ "start_time": 1, "end_time": 2 }))
        .await;
    assert_eq!((answer.status, answer.code()), (403, 121_005));
    assert_eq!(app.get(REPORT).await.code(), 0);
}

#[tokio::test]
async fn a_denied_address_may_only_fetch_tokens() {
    let app = App::start(with_knobs(|knobs| knobs.address_denied = true)).await;
    assert_eq!(app.get(REPORT).await.code(), 99_991_401);
    assert!(app.tenant_token().await.starts_with("t-"));
}

#[tokio::test]
async fn refresh_tokens_work_once_and_rotate() {
    let mut app = App::start(fast()).await;
    let refresh = |token: &str| json!({ "grant_type": "refresh_token", "refresh_token": token });
    let first = app.oauth(&refresh("ur-simulator-refresh")).await;
    assert_eq!(first.code(), 0);
    let access_token = first.body["access_token"].as_str().unwrap().to_owned();
    assert!(access_token.starts_with("eyJ") && access_token.len() > 1_000);
    let again = app.oauth(&refresh("ur-simulator-refresh")).await;
    assert_eq!((again.status, again.code()), (400, 20_073));
    assert!(again.body["error"].is_string() && again.body["error_description"].is_string());
    assert_eq!(
        app.oauth(&refresh(first.body["refresh_token"].as_str().unwrap()))
            .await
            .code(),
        0
    );
    assert_eq!(app.oauth(&refresh("ur-foreign")).await.code(), 20_026);

    app.token = access_token;
    let (start, end) = app.window();
    let body = json!({ "start_time": seconds(start), "end_time": seconds(end) });
    let task_id = app.task("meeting_list", &body).await;
    assert_eq!(app.finish(&task_id).await["status"], json!(3));
    let tenant_only = app.get(REPORT).await;
    assert_eq!(
        (tenant_only.code(), &tenant_only.body["msg"]),
        (99_991_668, &json!("user access token not support"))
    );
    app.token = app.tenant_token().await;
    let foreign = app
        .get(&format!("/open-apis/vc/v1/exports/{task_id}"))
        .await;
    assert_eq!((foreign.status, foreign.code()), (403, 121_005));
}

#[tokio::test]
async fn user_tokens_and_refresh_tokens_expire() {
    let options = Options::default();
    let clock = options.clock.clone();
    let mut app = App::start(options).await;
    let refresh = |token: &str| json!({ "grant_type": "refresh_token", "refresh_token": token });
    let tokens = app.oauth(&refresh("ur-simulator-refresh")).await.body;
    app.token = tokens["access_token"].as_str().unwrap().to_owned();
    clock.advance(Duration::from_secs(7_300));
    assert_eq!(
        app.submit("meeting_list", &json!({})).await.code(),
        99_991_677
    );
    clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(
        app.oauth(&refresh(tokens["refresh_token"].as_str().unwrap()))
            .await
            .code(),
        20_037
    );
}

#[tokio::test]
async fn an_authorization_code_works_once() {
    let app = App::start(Options::default()).await;
    let code = |code: &str| json!({ "grant_type": "authorization_code", "code": code });
    assert_eq!(app.oauth(&code("other")).await.code(), 20_003);
    assert_eq!(app.oauth(&code("simulator-code")).await.code(), 0);
    assert_eq!(app.oauth(&code("simulator-code")).await.code(), 20_065);
    assert_eq!(
        app.oauth(&json!({ "grant_type": "password" })).await.code(),
        20_036
    );
    assert_eq!(app.oauth(&json!({})).await.code(), 20_001);
    assert_eq!(
        app.oauth(&json!({ "grant_type": "refresh_token", "client_id": "cli_x" }))
            .await
            .code(),
        20_048
    );
    assert_eq!(
        app.oauth(&json!({ "grant_type": "refresh_token", "client_secret": "x" }))
            .await
            .code(),
        20_002
    );
}

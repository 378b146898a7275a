//! A second app that may write, what it makes, and the list of scopes.

use std::collections::BTreeSet;

use meetlake_simulator::ScopeList;
use serde_json::{Value, json};

use crate::app::{App, fast, with_knobs};

const RESERVES: &str = "/open-apis/vc/v1/reserves";
const SCOPES: &str = "/open-apis/application/v6/scopes";

/// The app that writes, signed in.
async fn writing() -> App {
    let mut app = App::start(fast()).await;
    let options = app.server.options().clone();
    let answer = app
        .login(&options.write_app_id, &options.write_app_secret)
        .await;
    app.token = answer.body["tenant_access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    app
}

#[tokio::test]
async fn only_the_second_app_writes_and_only_the_first_one_reads_the_rest() {
    let reading = App::start(fast()).await;
    let apply = format!("{RESERVES}/apply");
    for path in [&apply, "/open-apis/vc/v1/rooms"] {
        let refused = reading.post(path, &json!({})).await;
        assert_eq!(refused.code(), 99_991_672, "{path}");
    }
    let writing = writing().await;
    for path in [
        &apply,
        "/open-apis/vc/v1/rooms",
        "/open-apis/vc/v1/room_levels/del",
    ] {
        assert_eq!(writing.post(path, &json!({})).await.code(), 0, "{path}");
    }
    let report = writing
        .get("/open-apis/vc/v1/reports/get_daily?start_time=1&end_time=2")
        .await;
    assert_eq!(report.code(), 99_991_672);
    let counts = writing.server.report().endpoints;
    assert_eq!(
        (counts["write_rooms"].calls, counts["write_reserve"].calls),
        (2, 1)
    );
    let swapped = reading
        .login(&reading.server.options().write_app_id, "simulator-secret")
        .await;
    assert_eq!((swapped.status, swapped.code()), (200, 10_015));
}

#[tokio::test]
async fn a_reservation_is_told_again_until_it_is_deleted() {
    let app = writing().await;
    let settings = json!({ "topic": "面试" });
    let made = app
        .post(
            &format!("{RESERVES}/apply"),
            &json!({ "meeting_settings": settings }),
        )
        .await;
    let reserve = &made.body["data"]["reserve"];
    assert_eq!(reserve["meeting_settings"], settings);
    assert_eq!(reserve["meeting_no"].as_str().map(str::len), Some(9));
    assert_eq!(reserve["password"].as_str().map(str::len), Some(6));
    let path = format!("{RESERVES}/{}", reserve["id"].as_str().unwrap());
    // Reading is the other app's.
    assert_eq!(app.get(&path).await.code(), 99_991_672);
    let token = app.tenant_token().await;
    let read = || app.http.get(app.url(&path)).bearer_auth(&token).send();
    let told: Value = read().await.unwrap().json().await.unwrap();
    assert_eq!(&told["data"]["reserve"], reserve);
    let delete = app
        .http
        .delete(app.url(&path))
        .bearer_auth(&app.token)
        .send();
    let deleted: Value = delete.await.unwrap().json().await.unwrap();
    assert_eq!(deleted["code"], 0);
    let gone: Value = read().await.unwrap().json().await.unwrap();
    assert_eq!(gone["code"], 121_004);
}

#[tokio::test]
async fn the_list_of_scopes_says_what_is_granted_and_needs_no_scope() {
    for list in [ScopeList::Plain, ScopeList::Typed] {
        let options = with_knobs(|knobs| {
            knobs.scope_list = list;
            knobs.scopes = BTreeSet::from(["vc:alert:readonly".to_owned()]);
            knobs.user_scopes = BTreeSet::from(["vc:export".to_owned()]);
        });
        let app = App::start(options).await;
        let answer = app.get(SCOPES).await;
        assert_eq!(answer.code(), 0, "{}", answer.body);
        let granted = |kind: Value| {
            let scopes = answer.body["data"]["scopes"].as_array().unwrap().iter();
            let scopes = scopes.filter(|scope| scope["scope_type"] == kind);
            let granted = scopes.filter(|scope| scope["grant_status"] == 1);
            granted
                .map(|scope| scope["scope_name"].as_str().unwrap())
                .collect::<Vec<_>>()
        };
        let of_app = ["vc:alert:readonly"];
        match list {
            ScopeList::Typed => {
                assert_eq!(granted(json!("tenant")), of_app);
                assert_eq!(granted(json!("user")), ["vc:alert:readonly", "vc:export"]);
            }
            _ => assert_eq!(granted(Value::Null), of_app),
        }
    }
    for (list, status, code) in [
        (ScopeList::Absent, 404, 99_991_201),
        (ScopeList::NotInstalled, 400, 212_100),
    ] {
        let app = App::start(with_knobs(|knobs| knobs.scope_list = list)).await;
        let answer = app.get(SCOPES).await;
        assert_eq!((answer.status, answer.code()), (status, code));
    }
}

#[tokio::test]
async fn good_answers_name_the_limit_only_where_the_knob_says_so() {
    let rooms = "/open-apis/vc/v1/rooms";
    let silent = App::start(fast()).await.get(rooms).await;
    assert!(silent.headers.get("x-ogw-ratelimit-limit").is_none());
    let app = App::start(with_knobs(|knobs| knobs.rate_headers = true)).await;
    let limit: u64 = app
        .get(rooms)
        .await
        .header("x-ogw-ratelimit-limit")
        .parse()
        .unwrap();
    assert!(limit >= 1_000, "{limit}");
}

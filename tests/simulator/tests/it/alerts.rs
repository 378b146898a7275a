//! Alerts: a window of them, page by page, in the spelling of the documentation.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use meetlake_simulator::AlertPages;
use meetlake_simulator::company::{Alert, AlertStatus};
use serde_json::Value;

use crate::app::{App, fast, with_knobs};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The path for a day of the company, the first one at 0.
fn path(app: &App, day: i64, more: &str) -> String {
    let company = app.server.company();
    let start = company.start_of_day(company.first_day()).as_second() + day * DAY.as_secs();
    let end = start + DAY.as_secs();
    format!("/open-apis/vc/v1/alerts?start_time={start}&end_time={end}{more}")
}

/// All pages of a path, the ids only.
async fn pages(app: &App, path: &str) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let answer = app.get(&format!("{path}&page_token={token}")).await;
        assert_eq!(answer.code(), 0, "{}", answer.body);
        let data = &answer.body["data"];
        let ids = data["items"].as_array().unwrap().iter();
        let ids = ids.map(|item| item["alert_id"].as_str().unwrap().to_owned());
        pages.push(ids.collect());
        match data["page_token"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn the_alerts_of_a_day_are_told_once_and_spelled_as_documented() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let day = company.first_day();
    let of_day: Vec<&Alert> = company
        .alerts()
        .iter()
        .filter(|alert| company.date_of(alert.time) == day)
        .collect();
    let told = pages(&app, &path(&app, 0, "&page_size=3")).await.concat();
    let newest_first: Vec<String> = of_day
        .iter()
        .rev()
        .map(|alert| alert.alert_id.clone())
        .collect();
    assert_eq!(told, newest_first);
    assert!(told.iter().all(|id| id.len() == 19));

    let answer = app.get(&path(&app, 0, "")).await;
    for (item, alert) in answer.body["data"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(of_day.iter().rev())
    {
        assert_eq!(item["alertRule"], alert.rule_name);
        let methods = match alert.is_nested {
            true => &item["notifyMethods"][0],
            false => &item["notifyMethods"],
        };
        assert_eq!(
            methods.as_array().unwrap().len(),
            alert.notify_methods.len()
        );
        assert_eq!(item["alert_time"], alert.time.as_second().to_string());
        assert!(item["process_status"].is_u64() && item["alert_level"].is_u64());
        assert_eq!(
            item.get("monitor_target_room_id").is_some(),
            alert.target == 1
        );
    }
}

#[tokio::test]
async fn a_week_of_alerts_has_every_target_level_and_state() {
    let app = App::start(fast()).await;
    let (alerts, now) = (
        app.server.company().alerts(),
        app.server.options().clock.now(),
    );
    let kinds = |of: fn(&Alert) -> u8| alerts.iter().map(of).collect::<BTreeSet<_>>().len();
    assert_eq!(
        (kinds(|alert| alert.target), kinds(|alert| alert.level)),
        (7, 3)
    );
    for status in [
        AlertStatus::Pending,
        AlertStatus::Processing,
        AlertStatus::Recovered,
    ] {
        for deprecated in [false, true] {
            let is_it =
                |alert: &Alert| alert.status(now) == status && alert.is_deprecated == deprecated;
            assert!(alerts.iter().any(is_it), "{status:?} {deprecated}");
        }
    }
}

#[tokio::test]
async fn pages_can_overlap_or_never_end() {
    let sound = App::start(fast()).await;
    let all = pages(&sound, &path(&sound, 0, "&page_size=2"))
        .await
        .concat();
    let app = App::start(with_knobs(|knobs| {
        knobs.alert_pages = AlertPages::Overlapping
    }))
    .await;
    let told = pages(&app, &path(&app, 0, "&page_size=2")).await;
    assert!(
        told.windows(2)
            .all(|pair| pair[0].last() == pair[1].first())
    );
    let different: BTreeSet<String> = told.concat().into_iter().collect();
    assert_eq!(different, all.into_iter().collect());

    let app = App::start(with_knobs(|knobs| knobs.alert_pages = AlertPages::Endless)).await;
    let page = app.get(&path(&app, 0, "&page_size=200")).await;
    let token = page.body["data"]["page_token"].as_str().unwrap();
    let again = app
        .get(&path(
            &app,
            0,
            &format!("&page_size=200&page_token={token}"),
        ))
        .await;
    assert_eq!(again.body["data"]["page_token"], token);
}

#[tokio::test]
async fn what_the_page_does_not_allow_is_refused() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let start = company.start_of_day(company.first_day()).as_second();
    let long = format!(
        "/open-apis/vc/v1/alerts?start_time={start}&end_time={}",
        start + 86_401
    );
    assert_eq!(app.get(&long).await.code(), 121_003);
    assert_eq!(
        app.get("/open-apis/vc/v1/alerts?start_time=1").await.code(),
        99_992_402
    );
    assert_eq!(
        app.get(&path(&app, 0, "&page_size=201")).await.code(),
        99_992_402
    );
    let app = App::start(with_knobs(|knobs| {
        knobs.scopes.remove("vc:alert:readonly");
    }))
    .await;
    let refused = app.get(&path(&app, 0, "")).await;
    assert_eq!(refused.code(), 99_991_672);
    let named: &Value = &refused.body["error"]["permission_violations"][0]["subject"];
    assert_eq!(named, "vc:alert:readonly");
}

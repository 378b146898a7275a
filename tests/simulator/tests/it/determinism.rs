//! The same seed and the same request give the same bytes.

use meetlake_simulator::{Options, Server};
use serde_json::json;

use crate::app::{App, fast, seconds};

#[tokio::test]
async fn two_simulators_give_the_same_files() {
    let (one, two) = (
        App::start(fast()).await,
        App::start(Options { days: 4, ..fast() }).await,
    );
    let (start, end) = two.window();
    let body = json!({ "start_time": seconds(start), "end_time": seconds(end) });
    let file = one.file("meeting_list", &body).await;
    assert_eq!(file, two.file("meeting_list", &body).await);
    assert_eq!(file, one.file("meeting_list", &body).await);
    let other = App::start(Options { seed: 2, ..fast() }).await;
    assert_ne!(file, other.file("meeting_list", &body).await);
}

#[tokio::test]
async fn numbers_as_text_or_as_numbers_are_the_same_request() {
    let app = App::start(fast()).await;
    let (start, end) = app.window();
    let text = app
        .file(
            "meeting_list",
            &json!({ "start_time": seconds(start), "end_time": seconds(end) }),
        )
        .await;
    let number = app
        .file(
            "meeting_list",
            &json!({ "end_time": end.as_second(), "start_time": start.as_second() }),
        )
        .await;
    assert_eq!(text, number);
    let report = app.server.report();
    assert_eq!(report.duplicate_submits, 1);
    assert_eq!(report.duplicates.values().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(report.exports_submitted["meeting_list"], 2);
    assert_eq!((report.finished_exports, report.downloads), (2, 2));
    assert!(report.polls_per_finished_export >= 1.0);
}

#[tokio::test]
async fn the_report_and_the_truth_are_served_too() {
    let app = App::start(fast()).await;
    app.meetings().await;
    let report = app.get("/_simulator/report").await.body;
    assert_eq!(report["exports_submitted"]["meeting_list"], json!(1));
    assert_eq!(report["tenant_tokens_issued"], json!(1));
    assert_eq!(report["endpoints"]["download"]["calls"], json!(1));
    let company = app.get("/_simulator/company").await.body;
    assert_eq!(company["days"].as_array().unwrap().len(), 7);
    assert_eq!(company["days"][0]["meetings"], json!(12));
    app.server.stop().await;
}

#[tokio::test]
async fn impossible_options_are_refused() {
    let table = [
        Options {
            time_zone: "Asia/Nowhere".to_owned(),
            ..fast()
        },
        Options { days: 0, ..fast() },
        Options {
            meetings_per_day: 20_001,
            ..fast()
        },
        Options {
            quota_scale: 0.0,
            ..fast()
        },
    ];
    for options in table {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(Server::start(listener, options).is_err());
    }
}

#[tokio::test]
async fn a_stopped_or_dropped_server_answers_no_more() {
    let app = App::start(fast()).await;
    let (http, url) = (app.http.clone(), app.url("/_simulator/company"));
    app.server.stop().await;
    assert!(http.get(&url).send().await.is_err());
    let app = App::start(fast()).await;
    let url = app.url("/_simulator/company");
    drop(app.server);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(http.get(&url).send().await.is_err());
}

//! Quotas as a client meets them.

use std::time::Duration;

use meetlake_simulator::Options;
use serde_json::json;

use crate::app::App;

#[tokio::test]
async fn the_101st_poll_of_a_minute_is_refused_with_headers() {
    let options = Options::default();
    let clock = options.clock.clone();
    let app = App::start(options).await;
    for _ in 0..100 {
        assert_eq!(
            app.get("/open-apis/vc/v1/exports/7100000000000000000")
                .await
                .code(),
            121_004
        );
    }
    let refused = app
        .get("/open-apis/vc/v1/exports/7100000000000000001")
        .await;
    assert_eq!((refused.status, refused.code()), (429, 99_991_400));
    assert_eq!(
        refused.body["msg"],
        json!("request trigger frequency limit")
    );
    assert_eq!(refused.header("x-ogw-ratelimit-limit"), "100");
    let reset_s: u64 = refused.header("x-ogw-ratelimit-reset").parse().unwrap();
    assert!((50..=60).contains(&reset_s), "{reset_s}");
    assert_eq!(
        app.get("/open-apis/vc/v1/exports/download?file_token=x")
            .await
            .code(),
        121_004
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        app.get("/open-apis/vc/v1/exports/7100000000000000000")
            .await
            .code(),
        121_004
    );
    let report = app.server.report();
    assert_eq!(
        (
            report.endpoints["poll"].calls,
            report.endpoints["poll"].rate_limited
        ),
        (102, 1)
    );
    assert_eq!(report.endpoints["poll"].max_calls_in_60s, 101);
    assert_eq!(report.answers_by_status[&429], 1);
}

#[tokio::test]
async fn each_kind_of_submit_has_its_own_limit() {
    let app = App::start(Options {
        quota_scale: 0.02,
        ..Options::default()
    })
    .await;
    for kind in [
        "meeting_list",
        "participant_list",
        "participant_quality_list",
        "resource_reservation_list",
    ] {
        let mut codes = Vec::new();
        for _ in 0..3 {
            codes.push(app.submit(kind, &json!({})).await.code());
        }
        assert_eq!(codes, [99_992_402, 99_992_402, 99_991_400], "{kind}");
    }
}

#[tokio::test]
async fn reports_have_a_limit_of_their_own_and_400_can_stand_for_429() {
    let mut options = Options::default();
    options.knobs.report_calls_per_minute = 1;
    options.knobs.rate_limit_as_400 = true;
    let app = App::start(options).await;
    assert_eq!(
        app.get("/open-apis/vc/v1/reports/get_daily").await.code(),
        99_992_402
    );
    let refused = app.get("/open-apis/vc/v1/reports/get_daily").await;
    assert_eq!((refused.status, refused.code()), (400, 99_991_400));
    assert_eq!(
        app.get("/open-apis/vc/v1/reports/get_top_user")
            .await
            .code(),
        99_992_402
    );
}

#[tokio::test]
async fn a_fast_clock_refills_fast_and_says_so() {
    let app = App::start(Options {
        quota_scale: 0.1,
        ..Options::ending(Options::default().last_day, 60.0)
    })
    .await;
    let mut refused = None;
    for _ in 0..11 {
        refused = Some(app.get("/open-apis/vc/v1/exports/1").await);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code(), 99_991_400);
    assert_eq!(
        (
            refused.header("x-ogw-ratelimit-limit"),
            refused.header("x-ogw-ratelimit-reset")
        ),
        ("600", "1")
    );
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(app.get("/open-apis/vc/v1/exports/1").await.code(), 121_004);
}

//! How fast the simulator is. Run by hand:
//! `cargo test --release -p meetlake-simulator --test it figures -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::app::{App, fast, seconds};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, asserts nothing"]
async fn figures() {
    let mut options = fast();
    options.meetings_per_day = 2_000;
    options.knobs.report_calls_per_minute = 1_000_000;
    let begin = Instant::now();
    let app = Arc::new(App::start(options).await);
    println!("a company of 14,000 meetings: {:?}", begin.elapsed());

    let requests = 20_000;
    let begin = Instant::now();
    let polling = (0..8).map(|_| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            for _ in 0..requests / 8 {
                app.get("/open-apis/vc/v1/room_levels/0").await;
            }
        })
    });
    for task in polling.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    println!(
        "{:.0} requests per second, client included",
        f64::from(requests) / begin.elapsed().as_secs_f64()
    );

    let meeting = &app.server.company().meetings()[40];
    let body = json!({
        "meeting_start_time": seconds(meeting.start), "meeting_end_time": seconds(meeting.end), "meeting_no": meeting.meeting_no,
    });
    let state = app.finish(&app.task("participant_list", &body).await).await;
    let file_token = state["file_token"].as_str().unwrap();
    let begin = Instant::now();
    for _ in 0..500 {
        app.download(file_token).await.unwrap();
    }
    println!(
        "a participant list of {} rows: {:?}",
        meeting.device_count(),
        begin.elapsed() / 500
    );

    let begin = Instant::now();
    let list = app.meetings().await;
    println!(
        "a meeting list of {} rows: {:?}",
        list.rows.len(),
        begin.elapsed()
    );
}

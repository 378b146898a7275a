//! Asked to stop while the store answers nothing: it ends in time all the same, and the next run finishes.

use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;

use crate::app::{Setup, finish, signal, wait};
use crate::lake;
use crate::proxy::{Fault, Proxy, Rule};
use crate::store_faults::{Kind, Store, options_as_lines};
use crate::truth::Truth;

#[test]
fn a_store_that_hangs_does_not_keep_a_run_that_was_asked_to_stop() {
    let runtime = crate::app::runtime();
    let Some(store) = runtime.block_on(Store::start(Kind::S3)) else {
        return;
    };
    let hangs: [(&'static [&'static str], &str); 3] = [
        (&["PUT"], "part-0"),
        (&["PUT"], "_raw"),
        (&["GET", "HEAD"], "part-0"),
    ];
    for (number, (methods, path)) in hangs.into_iter().enumerate() {
        // Not with the path in it: every request would hang.
        let prefix = format!("lake-{number}");
        let mut setup = Setup::fast().only(&[Dataset::MeetingList]);
        setup.lake = Some(store.url(&prefix));
        setup.lake_options = format!("[lake.options]\n{}", options_as_lines(&store.options(0)));
        let app = setup.start();
        let proxy = app.block_on(Proxy::start(store.port));
        let command = || {
            let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
            let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
            for (key, value) in store.options(proxy.port) {
                command.env(key.to_uppercase(), value);
            }
            command
        };
        proxy.rule(Rule {
            methods,
            path: path.to_owned(),
            skip: 0,
            count: 1_000,
            fault: Fault::Silence,
        });
        let mut child = app.spawn_command(&mut command());
        let log = || std::fs::read_to_string(app.path("child.log")).unwrap_or_default();
        let began = Instant::now();
        while proxy.struck() == 0 {
            let is_there = child.try_wait().expect("a child of ours").is_none();
            assert!(
                is_there && began.elapsed() < Duration::from_secs(60),
                "{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(&child, "TERM");
        let (code, took) = wait(&mut child, Duration::from_secs(40));
        println!("{methods:?} {path} hangs: ended {took:?} after the signal with {code:?}");
        assert_eq!(code, Some(3), "{}", log());
        assert!(took < Duration::from_secs(25), "{took:?}");
        assert!(
            log().contains("the next run publishes what is left"),
            "{}",
            log()
        );
        proxy.clear();
        let submits = app.submits();
        let next = finish(&mut command());
        assert_eq!(next.code, 0, "{next:?}");
        assert_eq!(
            app.submits(),
            submits,
            "what was exported is exported again"
        );
        let copy = tempfile::tempdir().expect("a folder");
        app.block_on(store.copy(&prefix, copy.path()));
        let truth = Truth::of(app.server().company(), app.now());
        let wrong = [
            lake::unsound(copy.path()),
            truth.differences_of(copy.path(), Dataset::MeetingList),
        ];
        assert!(wrong.concat().is_empty(), "{wrong:?}");
    }
}

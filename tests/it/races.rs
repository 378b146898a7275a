//! Sixteen writers with the same stale state: one wins, and a reader beside them sees nothing but whole objects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use meetlake::testing::store::{self, Lake, StoreErrorKind, Version};
use object_store::path::Path;

use crate::store_faults::{self, Store};

const WRITERS: u8 = 16;
/// Length of an object, bytes: several packets, so that a torn one would show.
const LENGTH: usize = 100_000;

fn rounds() -> usize {
    match std::env::var_os("MEETLAKE_LONG") {
        Some(_) => 200,
        None => 12,
    }
}

/// Other bytes in every round: a tag made of the content would otherwise be the old one again.
fn content(round: usize, writer: u8) -> Bytes {
    vec![(round * usize::from(WRITERS) + usize::from(writer)) as u8; LENGTH].into()
}

/// Lets the writers race; the winner's state. A loser hears of a conflict, and of nothing else.
async fn race(lake: &Lake, path: &Path, seen: Option<&Version>, round: usize) -> Version {
    let writers = (1..=WRITERS).map(|writer| async move {
        let put = match seen {
            Some(seen) => {
                lake.put_if_unchanged(path, content(round, writer), seen)
                    .await
            }
            None => lake.put_create(path, content(round, writer)).await,
        };
        (writer, put)
    });
    let mut winner = None;
    for (writer, put) in join_all(writers).await {
        match put {
            Ok(version) => {
                assert!(winner.is_none(), "{writer} won too");
                winner = Some((writer, version));
            }
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error}"),
        }
    }
    let (winner, version) = winner.expect("somebody wins");
    let standing = lake
        .get(path, u64::MAX)
        .await
        .expect("read")
        .expect("an object");
    assert!(
        standing == content(round, winner),
        "another one's bytes are there"
    );
    version
}

async fn one_wins(lake: Lake) {
    let done = AtomicBool::new(false);
    // In a folder exclusivity of replacements is the ledger's lock, so there only the first writers race.
    let replaces = !lake.url().starts_with("file:");
    let (watched, rounds) = (Path::from("race/watched"), rounds());
    let write = async {
        let mut seen = race(&lake, &watched, None, 0).await;
        for round in 1..=rounds {
            if replaces {
                seen = race(&lake, &watched, Some(&seen), round).await;
            } else {
                race(&lake, &Path::from(format!("race/{round}")), None, round).await;
                // A reader beside the writer: its own object is replaced as a publish does it.
                let put = lake
                    .put_if_unchanged(&watched, content(round, 1), &seen)
                    .await;
                seen = put.expect("nobody else writes here");
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut looks = 0;
        while !done.load(Ordering::Relaxed) {
            if let Some(bytes) = lake.get(&watched, u64::MAX).await.expect("read") {
                let is_whole = bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]);
                assert!(is_whole, "a torn object of {} bytes", bytes.len());
                looks += 1;
            }
            tokio::task::yield_now().await;
        }
        looks
    };
    let ((), looks) = tokio::join!(write, read);
    println!(
        "{}: {rounds} rounds of {WRITERS} writers, {looks} looks",
        lake.url()
    );
    assert!(looks > 0);
}

/// The same lake never fails `doctor`.
async fn is_never_flagged(lake: &Lake) {
    let tries = if std::env::var_os("MEETLAKE_LONG").is_some() {
        20
    } else {
        2
    };
    for n in 0..tries {
        let findings = lake.probe(&Path::from(format!("_doctor/{n}"))).await;
        assert!(
            findings.iter().all(|finding| finding.problem.is_none()),
            "{findings:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writer_wins_in_a_folder_and_the_probe_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = store::file_url(&folder.path().join("lake")).expect("a url");
    let lake = Lake::open(&url, &BTreeMap::new()).expect("a lake");
    is_never_flagged(&lake).await;
    let left = std::fs::read_dir(folder.path().join("lake"))
        .expect("the lake")
        .count();
    assert_eq!(left, 0, "the probe left something in the lake");
    one_wins(lake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writer_wins_on_an_s3_server() {
    let Some(store) = Store::start(store_faults::Kind::S3).await else {
        return;
    };
    let lake = store.lake("races", store.port);
    is_never_flagged(&lake).await;
    one_wins(lake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writer_wins_on_an_azure_server() {
    let Some(store) = Store::start(store_faults::Kind::Azure).await else {
        return;
    };
    let lake = store.lake("races", store.port);
    is_never_flagged(&lake).await;
    one_wins(lake).await;
}

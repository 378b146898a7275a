//! Events: kept once, published once, forgotten when nobody sends them again.

use super::*;
use crate::ledger::Keeping;
use crate::plan::received::batches;
use crate::record::ReceivedEvent;

const DAY: i64 = 86_400;

fn event(id: &str, second: i64) -> ReceivedEvent {
    ReceivedEvent {
        id: id.to_owned(),
        event_type: "vc.meeting.all_meeting_ended_v1".to_owned(),
        dataset: Dataset::MeetingEvent,
        at: at(second),
        received_at: at(second + 1),
        body: format!("{{\"header\":{{\"event_id\":\"{id}\"}},\"text\":\"周会\"}}"),
    }
}

/// Puts everything that waits into batches, and gives their tasks.
async fn batch(ledger: &Ledger) -> Vec<TaskKey> {
    let waiting = ledger.waiting_events("acme", Dataset::MeetingEvent, 100);
    let waiting = waiting.await.expect("listed");
    let owner = crate::plan::tests::owner();
    let utc = jiff::tz::TimeZone::UTC;
    let mut keys = Vec::new();
    for batch in batches(Dataset::MeetingEvent, owner, &utc, &waiting) {
        let row = crate::plan::tests::window_row(
            Dataset::MeetingEvent,
            batch.spec.window,
            WindowState::Planned,
        );
        let task = OpenTask {
            spec: batch.spec,
            priority: 0,
            generation: 1,
        };
        let planned = ledger.plan_batch(&row, &task, &batch.ids, at(10 * DAY));
        planned.await.expect("planned");
        keys.push(task.spec.key);
    }
    keys
}

async fn publish(ledger: &Ledger, key: &TaskKey) {
    let row = ledger.windows("acme", Dataset::MeetingEvent, None).await;
    let window = row.expect("windows").remove(0).window;
    let tasks = ledger.tasks_of("acme", Dataset::MeetingEvent, window).await;
    let task = tasks
        .expect("tasks")
        .into_iter()
        .find(|task| task.spec.key == *key)
        .expect("it");
    let result = SpooledResult {
        dts: BTreeSet::new(),
        findings: Findings::default(),
        parents: ParentRows::default(),
        reported: Vec::new(),
    };
    let spooled = ledger.spool(&task, &State::Planned, result, at(0)).await;
    spooled.expect("spooled");
    let published = ledger.tasks_published(&[(key.clone(), 1)], at(0)).await;
    published.expect("published");
}

async fn state(ledger: &Ledger) -> WindowState {
    let windows = ledger.windows("acme", Dataset::MeetingEvent, None).await;
    windows.expect("windows").remove(0).state
}

#[tokio::test]
async fn an_event_is_kept_once_batched_once_and_forgotten_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    for (id, second, keeping) in [
        ("b", 5, Keeping::Kept),
        ("a", 5, Keeping::Kept),
        ("a", 9, Keeping::Repeated),
        ("c", 3, Keeping::Kept),
    ] {
        let kept = ledger.keep_event("acme", &event(id, second)).await;
        assert_eq!(kept.expect("kept"), keeping, "{id}");
    }
    // Another tenant's event may have the same id.
    let of_another = ledger.keep_event("beta", &event("a", 5)).await;
    assert_eq!(of_another.expect("kept"), Keeping::Kept);
    let left_out = ledger.leave_event_out("acme", "im.message.receive_v1", at(7));
    left_out.await.expect("counted");
    let waiting = ledger.waiting_events("acme", Dataset::MeetingEvent, 100);
    let waiting = waiting.await.expect("listed");
    let order: Vec<&str> = waiting.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(order, ["c", "a", "b"]);
    assert_eq!(waiting[0].size_bytes, event("c", 3).body.len() as u64);

    // What is kept is there after the process has died.
    drop(ledger);
    let ledger = Ledger::open(&path, "test").await.expect("opened again");
    let keys = batch(&ledger).await;
    assert_eq!(keys.len(), 1);
    assert_eq!(batch(&ledger).await, [], "nothing waits any more");
    let bodies = ledger.events_of(&keys[0]).await.expect("read");
    let expected = ["c", "a", "b"].map(|id| event(id, 0).body);
    let found: Vec<String> = bodies.into_iter().map(|event| event.body).collect();
    assert_eq!(found, expected);

    publish(&ledger, &keys[0]).await;
    assert_eq!(ledger.events_of(&keys[0]).await.expect("read"), []);
    let again = ledger.keep_event("acme", &event("a", 5)).await;
    assert_eq!(again.expect("known"), Keeping::Repeated);
    // A later event opens its day again.
    let row = ledger.windows("acme", Dataset::MeetingEvent, None).await;
    let row = row.expect("windows").remove(0);
    let settled = ledger.set_window_state(&row, WindowState::Settled).await;
    settled.expect("settled");
    let late = ledger.keep_event("acme", &event("d", 6)).await;
    late.expect("kept");
    assert_eq!(state(&ledger).await, WindowState::Settled);
    assert_eq!(batch(&ledger).await.len(), 1);
    assert_eq!(state(&ledger).await, WindowState::Planned);

    // Ids are forgotten a week after they came, bodies that are not published are not.
    let sum = async |ledger: &Ledger, tenant: &str| {
        let types = ledger.event_types(tenant).await.expect("types");
        let counts = types.iter().map(|of| [of.kept, of.repeated, of.left_out]);
        counts.collect::<Vec<_>>()
    };
    assert_eq!(sum(&ledger, "acme").await, [[0, 0, 1], [4, 2, 0]]);
    for (now, keeping) in [(7 * DAY, Keeping::Repeated), (8 * DAY, Keeping::Kept)] {
        ledger.forget_old_events(at(now)).await.expect("forgotten");
        let kept = ledger.keep_event("acme", &event("c", 3)).await;
        assert_eq!(kept.expect("known or kept"), keeping, "{now}");
        let open = ledger.keep_event("acme", &event("d", 6)).await;
        assert_eq!(open.expect("known"), Keeping::Repeated, "{now}");
    }
}

#[tokio::test]
async fn a_batch_that_the_lake_has_already_is_not_published_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    let kept = ledger.keep_event("acme", &event("a", 5)).await;
    kept.expect("kept");
    let keys = batch(&ledger).await;
    publish(&ledger, &keys[0]).await;
    // As after a rebuild: the task is known from the lake, and the event comes again.
    ledger
        .forget_old_events(at(9 * DAY))
        .await
        .expect("forgotten");
    let again = ledger.keep_event("acme", &event("a", 5)).await;
    assert_eq!(again.expect("kept"), Keeping::Kept);
    assert_eq!(batch(&ledger).await, keys);
    assert_eq!(ledger.events_of(&keys[0]).await.expect("read"), []);
    let row = ledger.windows("acme", Dataset::MeetingEvent, None).await;
    let window = row.expect("windows").remove(0).window;
    let has_open = ledger.has_open("acme", Dataset::MeetingEvent, window).await;
    assert!(!has_open.expect("looked for"));
}

#[tokio::test]
async fn whoever_lost_the_ledger_keeps_no_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    ledger.set_meta("fence", "99").await.expect("taken over");
    let kept = ledger.keep_event("acme", &event("a", 5)).await;
    assert!(matches!(kept, Err(Error::Fenced { .. })), "{kept:?}");
}

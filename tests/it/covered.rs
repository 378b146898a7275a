//! Complete means covered: windows cover every instant of a day, each task brought its answer, the
//! parent's day is complete, and what was counted elsewhere agrees. A lost ledger changes none of
//! these verdicts.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use meetlake::testing::run::Scope;
use serde_json::Value;

use crate::app::{Setup, TestApp};
use crate::lake;
use Dataset::{DailyReport, MeetingList, ParticipantList, ParticipantQualityList};

/// The kinds of reasons of each day's newest manifest.
type Verdicts = BTreeMap<(Dataset, Date), Vec<String>>;

fn verdicts(app: &TestApp) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for dataset in app.setup.datasets.iter().copied() {
        let first = app.first_day().saturating_sub(2.days());
        let days = first.series(1.day()).take(6);
        for dt in days {
            let manifests = lake::manifests(&app.lake(), dataset, &dt.to_string());
            let Some(manifest) = manifests.into_values().next_back() else {
                continue;
            };
            let reasons = manifest["reasons"].as_array().cloned();
            let kinds = reasons.into_iter().flatten().map(|reason| {
                let kind = reason["kind"].as_str().expect("a kind");
                let count = reason["count"].as_u64().expect("a count");
                format!("{kind} {count}")
            });
            let kinds: Vec<String> = kinds.collect();
            let state = manifest["state"].as_str().expect("a state");
            assert_eq!(state == "complete", kinds.is_empty(), "{manifest}");
            verdicts.insert((dataset, dt), kinds);
        }
    }
    verdicts
}

fn status_of(app: &TestApp, dataset: Dataset, dt: Date) -> Value {
    let status = app.meetlake(&["status", "--json"]).json();
    let days = status["days"].as_array().expect("days");
    let is_day = |day: &&Value| day["dataset"] == dataset.as_str() && day["dt"] == dt.to_string();
    days.iter().find(is_day).expect("a day").clone()
}

/// The meeting list with its report and its children.
fn chain() -> Setup {
    let chain = [
        DailyReport,
        MeetingList,
        ParticipantList,
        ParticipantQualityList,
    ];
    Setup::fast()
        .only(&chain)
        .knobs(|knobs| knobs.day_bucket = meetlake_simulator::DayBucket::Local)
}

fn is_whole(verdicts: &Verdicts) -> bool {
    !verdicts.is_empty() && verdicts.values().all(Vec::is_empty)
}

#[test]
fn children_of_a_short_list_are_partial_and_complete_again_with_it() {
    let app = chain().faults(&["short@meeting_list:x1"]).start();
    assert_eq!(app.reconcile().exit(), Code::NotSettled);
    let found = verdicts(&app);
    let short: Vec<Date> = found
        .iter()
        .filter(|((dataset, _), kinds)| *dataset == MeetingList && !kinds.is_empty())
        .map(|((_, dt), _)| *dt)
        .collect();
    let [short] = short.as_slice() else {
        panic!("one list was short: {found:?}");
    };
    for ((dataset, dt), kinds) in &found {
        let is_child = [ParticipantList, ParticipantQualityList].contains(dataset);
        let expected = match (dt == short, is_child, *dataset) {
            (true, true, _) => "parent_partial 1",
            (true, _, MeetingList) => "fewer_meetings",
            _ => "",
        };
        let said = kinds.join(" ");
        assert!(said.starts_with(expected), "{dataset} {dt}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{dataset} {dt}");
    }
    let day = status_of(&app, ParticipantQualityList, *short);
    assert_eq!(day["outcome"], "partial");
    let why = "not all of its parents are known: the day of participant_list is partial";
    assert_eq!(day["why"], why);
    app.set_faults(&[]);
    let summary = app.again();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert!(is_whole(&verdicts(&app)), "{:?}", verdicts(&app));
}

/// A kill between the verdict over a parent and that over its children costs nothing: the next run
/// looks at them, wherever the kill came.
#[cfg(feature = "failpoints")]
#[test]
fn a_kill_between_a_parents_verdict_and_its_childrens_is_made_good() {
    let mut killed = 0;
    for settled in 0..6 {
        let app = chain().faults(&["short@meeting_list"]).start();
        app.reconcile();
        assert!(!is_whole(&verdicts(&app)));
        app.set_faults(&[]);
        let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
        let again = ["backfill", "--from", &from, "--to", &to, "--again"];
        let failpoint = format!("w11-window-settled={settled}*off->return");
        let mut command = app.command(&again);
        let ended = command.env("FAILPOINTS", failpoint).output();
        killed += u32::from(ended.expect("the binary starts").status.code().is_none());
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{settled}: {summary:#?}");
        assert!(is_whole(&verdicts(&app)), "{settled}: {:?}", verdicts(&app));
    }
    assert!(killed >= 4, "{killed} runs were killed");
}

#[test]
fn a_day_is_partial_whose_first_hours_no_window_covers() {
    // Days are cut in Shanghai, windows in UTC: the first begins at 08:00.
    let app = Setup::fast()
        .only(&[MeetingList])
        .with(|options| options.days = 3)
        .job(MeetingList, "time_zone = \"UTC\"")
        .start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    let first = app.first_day();
    let second = first.saturating_add(1.day());
    let found = verdicts(&app);
    assert_eq!(found[&(MeetingList, first)], ["not_covered 480"]);
    assert_eq!(found[&(MeetingList, second)], [""; 0]);
    // Of the day after the last one, eight hours were asked for. Nothing is said to be whole there.
    let running = app.end_day();
    let of_running = found.get(&(MeetingList, running));
    assert!(
        of_running.is_none_or(|kinds| *kinds == ["not_covered 960"]),
        "{of_running:?}"
    );
    let day = status_of(&app, MeetingList, first);
    let why = day["why"].as_str().expect("a reason");
    assert!(
        why.starts_with("no window covers ["),
        "what is missing is named: {why}"
    );
    assert_eq!(day["late_s"], Value::Null, "no more is expected of it");
    // Whoever asks for the day before has it whole.
    let summary = app.reconcile_scope(&Scope::Backfill {
        from: first.saturating_sub(1.day()),
        to: first,
        datasets: vec![MeetingList],
        again: false,
    });
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert_eq!(verdicts(&app)[&(MeetingList, first)], [""; 0]);
}

/// Every kind of verdict, the ledger lost and rebuilt, and all that was exported exported again.
#[test]
fn a_lost_ledger_changes_no_verdict() {
    let table: [(&str, &[&str], &[&str]); 4] = [
        (
            "short lists",
            &["short@meeting_list"],
            &["fewer_meetings", "parent_partial"],
        ),
        (
            "short sheets",
            &["short@participant_list"],
            &["fewer_participants", "parent_partial"],
        ),
        (
            "failed lists",
            &["failed@meeting_list"],
            &["failed", "parent_partial"],
        ),
        ("lists in UTC", &[], &["not_covered"]),
    ];
    for (name, faults, expected) in table {
        let in_utc = match expected {
            ["not_covered"] => "time_zone = \"UTC\"",
            _ => "",
        };
        let app = chain()
            .job(MeetingList, in_utc)
            .job(
                ParticipantList,
                &format!("{in_utc}\n[check]\nparticipants = \"10%\""),
            )
            .job(ParticipantQualityList, in_utc)
            .start();
        // What fails for good publishes nothing, so that day is there already.
        if expected[0] == "failed" {
            app.reconcile();
        }
        app.set_faults(faults);
        let kept = app.again().exit();
        let before = verdicts(&app);
        let kinds = format!("{before:?}");
        for kind in expected {
            assert!(kinds.contains(kind), "{name}: {kind} in {kinds}");
        }
        app.lose_ledger();
        app.rebuild();
        assert_eq!(app.reconcile().exit(), kept, "{name}");
        assert_eq!(verdicts(&app), before, "{name}: after a run");
        app.again();
        assert_eq!(
            verdicts(&app),
            before,
            "{name}: after an export of all days again"
        );
    }
}

/// All jobs in another zone than the tenant's: nothing is late that nobody will ever ask for.
#[test]
fn children_of_a_day_with_missing_hours_are_not_late() {
    let family = [MeetingList, ParticipantList, ParticipantQualityList];
    let mut setup = Setup::fast().only(&family).with(|options| options.days = 3);
    for dataset in family {
        setup = setup.job(dataset, "time_zone = \"UTC\"");
    }
    let app = setup.start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    let status = app.meetlake(&["status", "--json"]).json();
    let days = status["days"].as_array().expect("days").iter();
    let ended = days.filter(|day| day["dt"].as_str().is_some_and(|dt| dt <= "2026-10-20"));
    let mut partial = 0;
    for day in ended {
        assert_eq!(day["late_s"], Value::Null, "{day}");
        partial += u32::from(day["outcome"] == "partial");
    }
    assert!(partial >= 3, "the first day of each: {status}");
    let first = status_of(&app, ParticipantList, app.first_day());
    let why = first["why"].as_str().expect("a reason");
    assert!(
        why.contains("day of meeting_list is partial") && why.contains("no window covers"),
        "{why}"
    );
}

/// A list that seems short when its children have nothing to publish, and is called whole by a
/// report that comes later: their empty day comes too.
#[test]
fn an_empty_day_of_children_comes_when_its_parents_day_is_whole() {
    let app = chain()
        .job(ParticipantList, "[fan_out]\nmin_participants = 10000")
        .faults(&["short@meeting_list"])
        .start();
    app.reconcile();
    let first = app.first_day();
    assert_eq!(verdicts(&app).get(&(ParticipantList, first)), None);
    // The list is not asked for again; a bound in the job file lets it pass.
    app.write(
        "jobs/meeting_list.toml",
        &format!(
            "version = 1\ndataset = \"meeting_list\"\ncron = \"*/5 * * * *\"\n\
             settle_delay = \"1m\"\nlookback = \"0d\"\nstart = {first}\n\
             [check]\nmeetings = \"100%\"\n"
        ),
    );
    let submits = app.submits();
    app.reconcile_scope(&Scope::Backfill {
        from: first,
        to: app.end_day(),
        datasets: vec![DailyReport],
        again: true,
    });
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert_eq!(app.submits(), submits, "nothing is exported again");
    assert_eq!(verdicts(&app)[&(ParticipantList, first)], [""; 0]);
}

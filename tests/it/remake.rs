//! A setting that decides where rows land or what they are is corrected when the lake exists: it is refused, naming the command that brings the
//! days that are there under it; after that command, every meeting stands once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use meetlake::testing::dataset::Dataset;
use serde_json::Value;

use crate::app::{SHEETS_AND_REPORTS, Setup, TENANT, TestApp, zone};
use crate::lake;
use Dataset::{
    DailyReport, Meeting, MeetingList, MeetingParticipant, ParticipantList, ParticipantQualityList,
    Recording, ResourceReservationList, TopUser,
};

const NEW_YORK: &str = "America/New_York";
const SHANGHAI: &str = "Asia/Shanghai";

/// Changes a text of the configuration.
pub(crate) fn configure(app: &TestApp, from: &str, to: &str) {
    let path = app.path("meetlake.toml");
    let config = fs::read_to_string(&path).expect("a configuration");
    assert!(config.contains(from), "{from}: {config}");
    app.write("meetlake.toml", &config.replace(from, to));
}

/// A row's date by its own time, in a zone; and everything that tells it from others.
type Standing = BTreeMap<String, (Option<Timestamp>, BTreeSet<Date>)>;

/// Where each row of a dataset stands.
fn standing(app: &TestApp, dataset: Dataset) -> Standing {
    let mut standing = Standing::new();
    let time = match dataset {
        ParticipantList | ParticipantQualityList | MeetingParticipant | Recording => {
            Some("meeting_start_time")
        }
        MeetingList | ResourceReservationList | Meeting => Some("start_time"),
        _ => None,
    };
    for file in lake::files(&app.lake(), dataset) {
        let folder = file.parent().and_then(|path| path.file_name());
        let folder = folder.expect("a folder").to_string_lossy().into_owned();
        let dt: Date = folder
            .strip_prefix("dt=")
            .expect("dt=")
            .parse()
            .expect("a date");
        for row in lake::rows_of(&file) {
            let at = time.map(|time| row[time].as_i64().expect("an instant"));
            let at = at.map(|at| Timestamp::from_second(at).expect("an instant"));
            let told: Vec<String> = row
                .iter()
                .filter(|(name, _)| !name.starts_with('_'))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let entry = standing.entry(told.join(" ")).or_default();
            entry.0 = at;
            assert!(entry.1.insert(dt), "{dataset} {dt}: a row stands twice");
        }
    }
    standing
}

/// Every row stands once, in the day of the zone in which its meeting began; those without a time stay where they were.
fn assert_cut(app: &TestApp, zone: &str, before: &BTreeMap<Dataset, Standing>) {
    let zone = TimeZone::get(zone).expect("a zone");
    for (dataset, before) in before {
        let now = standing(app, *dataset);
        let (known, found): (BTreeSet<_>, BTreeSet<_>) =
            (before.keys().collect(), now.keys().collect());
        let differ: Vec<_> = known.symmetric_difference(&found).collect();
        assert!(
            differ.is_empty(),
            "{dataset}: {} rows, {differ:#?}",
            found.len()
        );
        for (row, (at, days)) in &now {
            let expected = match at {
                Some(at) => BTreeSet::from([at.to_zoned(zone.clone()).date()]),
                None => before[row].1.clone(),
            };
            assert_eq!(*days, expected, "{dataset}: {row}");
        }
    }
}

/// Each meeting's start, by its key. It stands once, in the day of the zone in which it began.
fn meetings(app: &TestApp, zone: &str) -> BTreeMap<String, Timestamp> {
    let zone = TimeZone::get(zone).expect("a zone");
    let mut meetings = BTreeMap::new();
    for row in lake::rows(&app.lake(), MeetingList) {
        let at = row["start_time"].as_i64().expect("an instant");
        let at = Timestamp::from_second(at).expect("an instant");
        let dt = at.to_zoned(zone.clone()).date();
        assert_eq!(row["dt"], dt.to_string());
        let key = row["meeting_key"].to_string();
        assert!(meetings.insert(key, at).is_none(), "it stands twice");
    }
    meetings
}

fn all_standing(app: &TestApp) -> BTreeMap<Dataset, Standing> {
    let datasets = app.setup.datasets.iter();
    datasets
        .map(|dataset| (*dataset, standing(app, *dataset)))
        .collect()
}

/// The kinds of reasons in the newest manifest of each day.
fn reasons(app: &TestApp, dataset: Dataset) -> BTreeMap<Date, Vec<String>> {
    let first = app.first_day().saturating_sub(3.days());
    let mut reasons = BTreeMap::new();
    for dt in first.series(1.day()).take(10) {
        let manifests = lake::manifests(&app.lake(), dataset, &dt.to_string());
        let Some((_, newest)) = manifests.last_key_value() else {
            continue;
        };
        let kinds = newest["reasons"].as_array().expect("reasons").iter();
        let kinds = kinds.map(|reason| reason["kind"].as_str().expect("a kind").to_owned());
        reasons.insert(dt, kinds.collect());
    }
    reasons
}

fn company() -> Setup {
    let by_id = [Meeting, MeetingParticipant, Recording];
    Setup::real()
        .only(&[&SHEETS_AND_REPORTS[..], &by_id].concat())
        .with(|options| options.days = 3)
        .knobs(|knobs| knobs.day_bucket = meetlake_simulator::DayBucket::Local)
}

fn refused(app: &TestApp, verb: &[&str], says: &[&str]) {
    let calls = app.calls();
    let output = app.meetlake(verb);
    assert_eq!(output.code, 2, "{verb:?}: {output:?}");
    for text in says {
        assert!(output.stderr.contains(text), "{verb:?} {text}: {output:?}");
    }
    assert_eq!(app.calls(), calls, "{verb:?} asks nobody");
}

#[test]
fn a_corrected_zone_is_refused_and_a_re_cut_puts_every_meeting_into_its_day() {
    let app = company().start();
    app.teach_pace();
    let first = app.backfill(&[]);
    assert_eq!(first.code, 0, "{first:?}");
    let before = all_standing(&app);
    assert!(before.values().all(|rows| !rows.is_empty()));
    assert_cut(&app, SHANGHAI, &before);
    let untouched = lake::below(&app.lake());
    configure(&app, SHANGHAI, NEW_YORK);
    for verb in [
        &["run"][..],
        &["backfill", "--from", "2026-01-01", "--to", "2026-01-02"],
        &["replay"],
        &["status"],
        &["plan"],
        &["retry", "--quarantine"],
        &["replay", "--re-read"],
    ] {
        refused(
            &app,
            verb,
            &[
                SHANGHAI,
                NEW_YORK,
                "set time_zone back",
                "`meetlake replay --re-cut`",
            ],
        );
    }
    assert_eq!(lake::below(&app.lake()), untouched);
    let calls = app.calls();
    let recut = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!((recut.code, app.calls()), (0, calls), "{recut:?}");
    assert!(
        recut
            .stdout
            .contains("daily_report, top_user keep their days"),
        "{recut:?}"
    );
    assert_cut(&app, NEW_YORK, &before);
    let meetings_of_before = meetings(&app, NEW_YORK);
    app.sound_and_verified();
    // What no export covers is said, day by day.
    let of_meetings = reasons(&app, MeetingList);
    let partial: Vec<Date> = of_meetings
        .iter()
        .filter(|(_, kinds)| !kinds.is_empty())
        .map(|(dt, _)| *dt)
        .collect();
    let (oldest, newest) = (
        app.first_day().saturating_sub(1.day()),
        app.end_day().saturating_sub(1.day()),
    );
    assert_eq!(partial, [oldest, newest], "{of_meetings:?}");
    assert!(
        of_meetings
            .values()
            .flatten()
            .all(|kind| kind == "not_covered")
    );
    for dataset in [DailyReport, TopUser] {
        let whole = reasons(&app, dataset);
        assert!(whole.values().all(Vec::is_empty), "{dataset} {whole:?}");
    }
    // Again there is nothing to do.
    let again = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("nothing was done"), "{again:?}");
    // Runs go on, and every meeting still stands once.
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let (from, to) = (oldest.to_string(), app.end_day().to_string());
    let more = app.meetlake(&[
        "backfill",
        "--from",
        &from,
        "--to",
        &to,
        "--dataset",
        "meeting_list",
    ]);
    assert_eq!(more.code, 0, "{more:?}");
    let now = meetings(&app, NEW_YORK);
    for (meeting, days) in meetings_of_before {
        assert_eq!(now.get(&meeting), Some(&days));
    }
    assert_eq!(reasons(&app, MeetingList)[&oldest], [""; 0]);
    app.sound_and_verified();
    let replayed = app.meetlake(&["replay", "--json"]).json();
    assert_eq!(replayed["counts"]["changed"], 0, "{replayed}");
    assert_eq!(replayed["counts"]["left"], 0, "{replayed}");
}

#[test]
fn there_and_back_again_gives_the_same_days() {
    let app = company().start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let before = all_standing(&app);
    let mut zone = SHANGHAI;
    // East, west, and by more than a day.
    for next in [
        NEW_YORK,
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        SHANGHAI,
    ] {
        configure(&app, zone, next);
        zone = next;
        let recut = app.meetlake(&["replay", "--re-cut"]);
        assert_eq!(recut.code, 0, "{next}: {recut:?}");
        assert_cut(&app, next, &before);
        app.sound_and_verified();
    }
    assert_eq!(all_standing(&app), before);
    for dataset in [MeetingList, ParticipantList, DailyReport, TopUser] {
        let reasons = reasons(&app, dataset);
        let first = app.first_day();
        let last = app.end_day().saturating_sub(1.day());
        for (dt, kinds) in reasons {
            let was_there = first <= dt && dt <= last;
            assert_eq!(kinds.is_empty(), was_there, "{dataset} {dt} {kinds:?}");
        }
    }
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
}

/// Killed anywhere, a re-cut goes on where it was; until then, nothing else is done to the lake.
#[cfg(feature = "failpoints")]
#[test]
fn a_killed_re_cut_goes_on() {
    for (from, to) in [(SHANGHAI, "Pacific/Kiritimati")] {
        let app = company()
            .only(&[DailyReport, MeetingList, ParticipantList])
            .start();
        app.teach_pace();
        assert_eq!(app.backfill(&[]).code, 0);
        let before = all_standing(&app);
        configure(&app, from, to);
        let points = [
            "w12-remake-begun=return",
            "w12-ledger-moved=return",
            "w08-intent-recorded=return",
            "w09-object-put=1*off->return",
            "w10-manifest-put=1*off->return",
            "w11-partition-recorded=1*off->return",
            "w10-manifest-put=3*off->return",
            "w13-remake-ended=return",
        ];
        for point in points {
            let mut command = app.command(&["replay", "--re-cut"]);
            let ended = command.env("FAILPOINTS", point).output();
            let code = ended.expect("the binary starts").status.code();
            assert_eq!(code, None, "{point}");
            if point.starts_with("w13") {
                break;
            }
            refused(
                &app,
                &["run"],
                &["are being made again", "`meetlake replay --re-cut`"],
            );
            let verified = app.meetlake(&["verify"]);
            assert_eq!(verified.code, 7, "{point}: {verified:?}");
            assert!(
                verified.stdout.contains("are being made again"),
                "{verified:?}"
            );
            // Not with another configuration either.
            configure(&app, to, "Europe/Berlin");
            refused(&app, &["replay", "--re-cut"], &["are being made again"]);
            configure(&app, "Europe/Berlin", to);
        }
        let recut = app.meetlake(&["replay", "--re-cut"]);
        assert_eq!(recut.code, 0, "{recut:?}");
        assert_cut(&app, to, &before);
        app.sound_and_verified();
        let run = app.meetlake(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        for rows in standing(&app, MeetingList).values() {
            assert_eq!(rows.1.len(), 1);
        }
    }
}

/// A ledger that is lost in the middle of a re-cut, or after it, changes nothing.
#[cfg(feature = "failpoints")]
#[test]
fn a_lost_ledger_does_not_stop_a_re_cut() {
    let datasets = [DailyReport, TopUser, MeetingList, ParticipantList];
    let mut verdicts: Vec<Vec<BTreeMap<Date, Vec<String>>>> = Vec::new();
    for lost_after in [
        None,
        Some("w12-ledger-moved=return"),
        Some("w10-manifest-put=4*off->return"),
    ] {
        let app = company().only(&datasets).start();
        app.teach_pace();
        assert_eq!(app.backfill(&[]).code, 0);
        let before = all_standing(&app);
        configure(&app, SHANGHAI, "Pacific/Kiritimati");
        if let Some(point) = lost_after {
            let mut command = app.command(&["replay", "--re-cut"]);
            let ended = command.env("FAILPOINTS", point).output();
            assert_eq!(ended.expect("the binary starts").status.code(), None);
            app.lose_ledger();
            app.rebuild();
            app.teach_pace();
        }
        let recut = app.meetlake(&["replay", "--re-cut"]);
        assert_eq!(recut.code, 0, "{recut:?}");
        assert_cut(&app, "Pacific/Kiritimati", &before);
        app.sound_and_verified();
        verdicts.push(datasets.map(|dataset| reasons(&app, dataset)).to_vec());
        // After it, too.
        app.lose_ledger();
        app.rebuild();
        app.teach_pace();
        let run = app.meetlake(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        app.sound_and_verified();
        for rows in standing(&app, MeetingList).values() {
            assert_eq!(rows.1.len(), 1);
        }
    }
    assert_eq!(verdicts[0], verdicts[1]);
    assert_eq!(verdicts[0], verdicts[2]);
}

/// Date-times without a zone were read in another one than they were written in.
#[test]
fn a_corrected_zone_of_texts_is_refused_and_a_re_read_moves_what_they_say() {
    let datasets = [MeetingList, ParticipantList];
    let mut app = company()
        .only(&datasets)
        .with(|options| options.meetings_per_day = 2)
        .knobs(|knobs| knobs.zone_suffix = false)
        .start();
    app.teach_pace();
    for dataset in datasets {
        app.setup
            .jobs
            .insert(dataset, "time_zone = \"Asia/Tokyo\"".to_owned());
    }
    app.write_configuration();
    // Participants are asked for an hour too early, and none are found.
    let first = app.backfill(&[]);
    assert_eq!(first.code, 3, "{first:?}");
    let mistaken = meetings(&app, SHANGHAI);
    // The job's own zone was the mistake.
    app.setup.jobs.clear();
    app.write_configuration();
    let says = [
        "time_zone of meeting_list",
        "Asia/Tokyo",
        SHANGHAI,
        "`meetlake replay --re-read`",
    ];
    refused(&app, &["run"], &says);
    refused(&app, &["replay", "--re-cut"], &says);
    let calls = app.calls();
    let read = app.meetlake(&["replay", "--re-read"]);
    assert_eq!((read.code, app.calls()), (0, calls), "{read:?}");
    let shift = SignedDuration::from_hours(1);
    let expected: BTreeSet<Timestamp> = mistaken.values().map(|at| *at + shift).collect();
    let found: BTreeSet<Timestamp> = meetings(&app, SHANGHAI).into_values().collect();
    assert_eq!(found, expected);
    app.sound_and_verified();
    // Participants were asked for by what the texts seemed to say, so they are asked for again.
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let meetings: BTreeSet<String> = meetings(&app, SHANGHAI).into_keys().collect();
    let of_participants: BTreeSet<String> = lake::rows(&app.lake(), ParticipantList)
        .iter()
        .map(|row| row["meeting_key"].to_string())
        .collect();
    assert!(!of_participants.is_empty() && of_participants.is_subset(&meetings));
    app.sound_and_verified();
}

#[test]
fn a_dataset_that_moves_to_another_folder_takes_its_days_along() {
    let mut app = company().only(&[MeetingList, ParticipantList]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let rows = standing(&app, MeetingList);
    app.setup
        .jobs
        .insert(MeetingList, "destination = \"bi\"".to_owned());
    app.write_configuration();
    let says = [
        "destination of meeting_list",
        "\"bi\"",
        "`meetlake replay --re-cut`",
    ];
    refused(&app, &["run"], &says);
    let recut = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!(recut.code, 0, "{recut:?}");
    assert!(
        !app.lake()
            .join("meeting_list")
            .join(format!("tenant={TENANT}"))
            .exists()
            || lake::below(&app.lake().join("meeting_list")).is_empty()
    );
    let moved = lake::files(&app.lake().join("bi"), MeetingList);
    let found: usize = moved.iter().map(|file| lake::rows_of(file).len()).sum();
    assert_eq!(found, rows.len());
    app.sound_and_verified();
    assert_eq!(app.meetlake(&["run"]).code, 0);
}

/// How windows are cut decides what is asked for together, and not where a row lands.
#[test]
fn other_windows_move_no_row() {
    let mut app = company().only(&[MeetingList, TopUser]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let (meetings_before, ranks) = (meetings(&app, SHANGHAI), standing(&app, TopUser));
    for dataset in [MeetingList, TopUser] {
        let lines = "window = \"2d\"";
        app.setup.jobs.insert(dataset, lines.to_owned());
    }
    app.write_configuration();
    for verb in [&["run"][..], &["replay", "--re-cut"]] {
        let output = app.meetlake(verb);
        assert_eq!(output.code, 0, "{verb:?} {output:?}");
    }
    assert_eq!(app.backfill(&["--again"]).code, 0);
    assert_eq!(meetings(&app, SHANGHAI), meetings_before);
    assert_eq!(standing(&app, TopUser), ranks);
    app.sound_and_verified();
}

#[test]
fn what_originals_do_not_say_is_exported_again() {
    let mut app = company().only(&[MeetingList, TopUser]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    app.setup
        .jobs
        .insert(TopUser, "[request]\nuser_id_type = \"union_id\"".to_owned());
    app.write_configuration();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let command = format!("`meetlake backfill --dataset top_user --from {from} --to {to} --again`");
    refused(
        &app,
        &["run"],
        &["user_id_type of top_user", "open_id", "union_id", &command],
    );
    refused(&app, &["replay", "--re-cut"], &["user_id_type of top_user"]);
    // A part of the range leaves days with two kinds of ids.
    let part = [
        "backfill",
        "--dataset",
        "top_user",
        "--from",
        &from,
        "--to",
        &from,
    ];
    let second = app.first_day().saturating_add(1.day()).to_string();
    let part = [&part[..6], &[second.as_str(), "--again"]].concat();
    refused(&app, &part, &[&command]);
    let all = [
        "backfill",
        "--dataset",
        "top_user",
        "--from",
        &from,
        "--to",
        &to,
        "--again",
    ];
    let done = app.meetlake(&all);
    assert_eq!(done.code, 0, "{done:?}");
    let kinds: BTreeSet<String> = lake::rows(&app.lake(), TopUser)
        .iter()
        .filter_map(|row| row.get("user_id_type"))
        .map(Value::to_string)
        .collect();
    assert_eq!(kinds.len(), 1, "{kinds:?}");
    assert_eq!(app.meetlake(&["run"]).code, 0);
    app.sound_and_verified();
}

#[test]
fn a_renamed_tenant_is_known() {
    let app = company().only(&[MeetingList]).start();
    assert_eq!(app.backfill(&[]).code, 0);
    configure(&app, &format!("[tenants.{TENANT}]"), "[tenants.renamed]");
    refused(
        &app,
        &["run"],
        &["the tenant acme", "the name renamed", "set the name back"],
    );
    configure(&app, "[tenants.renamed]", &format!("[tenants.{TENANT}]"));
    assert_eq!(app.meetlake(&["run"]).code, 0);
}

#[test]
fn a_damaged_pack_keeps_a_re_cut_from_beginning() {
    let app = company().only(&[MeetingList]).start();
    assert_eq!(app.backfill(&[]).code, 0);
    let packs = lake::below(&app.lake().join("_raw"));
    let (path, bytes) = (&packs[0], fs::read(&packs[0]).expect("a pack"));
    fs::write(path, b"no pack").expect("written");
    configure(&app, SHANGHAI, NEW_YORK);
    let recut = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!(recut.code, 7, "{recut:?}");
    assert!(
        recut
            .stdout
            .contains("its content is not what its name says"),
        "{recut:?}"
    );
    // Nothing was begun, so the zone can be set back.
    configure(&app, NEW_YORK, SHANGHAI);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    fs::write(path, bytes).expect("written");
    configure(&app, SHANGHAI, NEW_YORK);
    assert_eq!(app.meetlake(&["replay", "--re-cut"]).code, 0);
    app.sound_and_verified();
    assert_eq!(zone().iana_name(), Some(SHANGHAI));
}

/// Nothing is in the lake yet that the configuration would have to agree with, so what waits in the spool follows it.
#[cfg(feature = "failpoints")]
#[test]
fn a_zone_that_is_corrected_before_the_first_publish_needs_no_command() {
    let app = company().only(&[TopUser, MeetingList]).start();
    app.teach_pace();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
    let killed = command
        .env("FAILPOINTS", "w08-rows-recorded=3*off->return")
        .output();
    assert_eq!(killed.expect("the binary starts").status.code(), None);
    assert!(lake::files(&app.lake(), MeetingList).is_empty());
    let submits = app.submits();
    configure(&app, SHANGHAI, NEW_YORK);
    crate::disk::forget_calls(&app, "meetlake.db");
    let run = app.meetlake(&["run"]);
    assert!([0, 3].contains(&run.code), "{run:?}");
    // Every row stands in the day of the zone that its manifest names.
    assert!(!meetings(&app, NEW_YORK).is_empty());
    assert!(app.submits() >= submits);
    app.sound_and_verified();
}

/// A lake that an earlier meetlake made does not say everything in one place; its manifests do.
#[test]
fn a_lake_without_settings_in_its_record_is_known_by_its_manifests() {
    let mut app = company().only(&[MeetingList]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let path = app.lake().join(format!("_meetlake/tenant={TENANT}.json"));
    let mut record = lake::read_json(&path);
    let fields = record.as_object_mut().expect("a record");
    fields.remove("datasets").expect("settings");
    fields.remove("app").expect("an app");
    fs::write(&path, record.to_string()).expect("written");
    app.setup
        .jobs
        .insert(MeetingList, "destination = \"bi\"".to_owned());
    app.write_configuration();
    refused(&app, &["run"], &["destination of meeting_list"]);
    let rows = standing(&app, MeetingList).len();
    assert_eq!(app.meetlake(&["replay", "--re-cut"]).code, 0);
    let moved = lake::files(&app.lake().join("bi"), MeetingList);
    let found: usize = moved.iter().map(|file| lake::rows_of(file).len()).sum();
    assert_eq!(found, rows);
    app.sound_and_verified();
    assert_eq!(app.meetlake(&["run"]).code, 0);
}

#[test]
fn a_ledger_from_before_a_re_cut_is_refused() {
    let app = company().only(&[MeetingList]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let files = ["meetlake.db", "meetlake.db-wal"];
    let kept = files.map(|name| fs::read(app.path(name)).unwrap_or_default());
    configure(&app, SHANGHAI, NEW_YORK);
    assert_eq!(app.meetlake(&["replay", "--re-cut"]).code, 0);
    let _ = fs::remove_file(app.path("meetlake.db-shm"));
    for (name, bytes) in files.iter().zip(kept) {
        fs::write(app.path(name), bytes).expect("put back");
    }
    refused(
        &app,
        &["run"],
        &["is from before", "`meetlake ledger rebuild`"],
    );
    app.lose_ledger();
    app.rebuild();
    app.teach_pace();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    app.sound_and_verified();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_record_that_is_lost_in_the_middle_of_a_re_cut_is_made_anew_with_what_is_under_way() {
    let app = company().only(&[DailyReport, MeetingList]).start();
    app.teach_pace();
    assert_eq!(app.backfill(&[]).code, 0);
    let before = all_standing(&app);
    configure(&app, SHANGHAI, NEW_YORK);
    let mut command = app.command(&["replay", "--re-cut"]);
    let killed = command
        .env("FAILPOINTS", "w10-manifest-put=4*off->return")
        .output();
    assert_eq!(killed.expect("the binary starts").status.code(), None);
    fs::remove_file(app.lake().join(format!("_meetlake/tenant={TENANT}.json"))).expect("removed");
    refused(
        &app,
        &["replay", "--re-cut"],
        &["is gone", "`meetlake ledger rebuild`"],
    );
    app.lose_ledger();
    app.rebuild();
    refused(
        &app,
        &["run"],
        &["are being made again", "`meetlake replay --re-cut`"],
    );
    assert_eq!(app.meetlake(&["replay", "--re-cut"]).code, 0);
    assert_cut(&app, NEW_YORK, &before);
    app.sound_and_verified();
}

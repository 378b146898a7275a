//! `/metrics`: what Prometheus is told is what the ledger and the simulator say, in its own parser's words.

use std::collections::{BTreeMap, BTreeSet};

use meetlake::testing::dataset::Dataset;
use serde_json::{Value, json};

use crate::app::{SHEETS_AND_REPORTS, Setup, TENANT};
use crate::frames::lines_of;
use crate::serving::Serving;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Lines that the script prints; `None` without its Python.
fn script(args: &[&str], input: &str) -> Option<Vec<Value>> {
    let Some(python) = std::env::var_os("MEETLAKE_TEST_PYTHON") else {
        println!("skipped: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
        return None;
    };
    let path = format!("{ROOT}/tests/metrics_check.py");
    Some(lines_of(&python, &path, args, input))
}

/// The families of a text by their names.
fn families(text: &str) -> Option<BTreeMap<String, Value>> {
    let named = |family: Value| Some((family["name"].as_str()?.to_owned(), family));
    let families = script(&["text"], text)?;
    Some(families.into_iter().filter_map(named).collect())
}

/// The sum of the numbers of a family whose labels have these words.
fn sum(family: &Value, labels: &Value) -> f64 {
    let samples = family["samples"].as_array().expect("a list");
    let wanted = labels.as_object().expect("an object");
    let is_wanted = |sample: &&Value| wanted.iter().all(|(name, word)| sample[1][name] == *word);
    let value = |sample: &Value| sample[2].as_f64().expect("a number");
    samples.iter().filter(is_wanted).map(value).sum()
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of a story")]
fn what_is_told_is_what_happened() {
    let app = Setup::fast().start();
    assert!(app.reconcile().is_settled());
    let serving = Serving::start(&app);
    let (status, text) = serving.get("/metrics").expect("an answer");
    assert_eq!(status, 200);
    let Some(families) = families(&text) else {
        return;
    };
    let is_known = |name: &str| families.contains_key(name);
    assert!(is_known("meetlake_build") && !text.contains("simulator-secret"));
    for dataset in SHEETS_AND_REPORTS {
        let of = json!({ "tenant": TENANT, "dataset": dataset.as_str() });
        let late = &families["meetlake_late_seconds"];
        assert_eq!(sum(late, &of), 0.0, "{dataset}");
        let days = app
            .content_hashes()
            .keys()
            .filter(|(name, _)| name == dataset.as_str())
            .count();
        assert_eq!(
            sum(&families["meetlake_partitions"], &of),
            days as f64,
            "{dataset}"
        );
        let rows = crate::lake::rows(&app.lake(), dataset).len();
        assert_eq!(
            sum(&families["meetlake_lake_rows"], &of),
            rows as f64,
            "{dataset}"
        );
    }
    assert_eq!(sum(&families["meetlake_ledger_up"], &json!({})), 1.0);
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of a story")]
fn calls_and_refusals_are_counted_by_endpoint() {
    let app = Setup::fast()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .start();
    app.set_faults(&["permission-denied@meeting_list:1"]);
    let serving = Serving::start(&app);
    let told = || {
        serving
            .get("/metrics")
            .map_or(String::new(), |(_, text)| text)
    };
    serving.until(|| told().contains("code=\"121005\""), "the refusal is told");
    serving.until(|| told().contains("outcome=\"held\""), "the task is held");
    let published = || told().contains("meetlake_partitions_published_total");
    serving.until(published, "the reports are published");
    let calls = |endpoint: &str| {
        let endpoints = app.report().endpoints;
        endpoints.get(endpoint).map_or(0, |of| of.calls) as f64
    };
    let simulated = ["get_daily", "meeting_list"];
    let before = simulated.map(calls);
    let text = told();
    let after = simulated.map(calls);
    let Some(families) = families(&text) else {
        return;
    };
    let requests = &families["meetlake_api_requests"];
    let told = [
        json!({ "endpoint": "daily_report" }),
        json!({ "endpoint": "submit_meeting_list", "status": "403", "code": "121005" }),
    ]
    .map(|of| sum(requests, &of));
    for (told, (before, after)) in told.into_iter().zip(before.into_iter().zip(after)) {
        assert!(told > 0.0 && (before..=after).contains(&told), "{requests}");
    }
    let took = &families["meetlake_api_request_duration_seconds"];
    assert_eq!(took["type"], "histogram");
    let held = json!({ "dataset": "meeting_list", "outcome": "held" });
    assert!(sum(&families["meetlake_task_attempts"], &held) >= 1.0);
    // Every label is a name or a word of ours.
    let labels: BTreeSet<&str> = families
        .values()
        .flat_map(|family| family["samples"].as_array().expect("a list"))
        .flat_map(|sample| sample[1].as_object().expect("an object").keys())
        .map(String::as_str)
        .collect();
    let known = [
        "cause",
        "code",
        "dataset",
        "endpoint",
        "le",
        "needs_a_person",
        "outcome",
        "phase",
        "result",
        "state",
        "status",
        "tenant",
        "type",
        "version",
        "what",
    ];
    assert!(labels.is_subset(&BTreeSet::from(known)), "{labels:?}");
}

/// The names of metrics in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let names = words.filter(|word| word.starts_with("meetlake_"));
    names.map(str::to_owned).collect()
}

#[test]
fn the_page_of_metrics_lists_what_the_code_tells_and_rules_ask_for_nothing_else() {
    let page = std::fs::read_to_string(format!("{ROOT}/deploy/metrics.md")).expect("a page");
    let listed: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| names_in(line.split('|').nth(1).unwrap_or_default()))
        .collect();
    let mut told = BTreeSet::new();
    for file in ["calls", "counts", "families", "lake", "../metrics"] {
        let code = std::fs::read_to_string(format!("{ROOT}/src/metrics/{file}.rs")).expect("code");
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        told.extend(names_in(code));
    }
    // The ends that kinds and units give to a name.
    let ends = [
        "",
        "_total",
        "_info",
        "_seconds",
        "_bytes",
        "_seconds_total",
    ];
    let is_listed = |name: &String| {
        ends.iter()
            .any(|end| listed.contains(&format!("{name}{end}")))
    };
    let missing: Vec<_> = told.iter().filter(|name| !is_listed(name)).collect();
    assert!(missing.is_empty(), "not in deploy/metrics.md: {missing:?}");
    let is_told = |name: &&String| {
        ends.iter()
            .any(|end| told.contains(name.strip_suffix(end).unwrap_or("")))
    };
    let gone: Vec<_> = listed.iter().filter(|name| !is_told(name)).collect();
    assert!(
        gone.is_empty(),
        "in deploy/metrics.md and not told: {gone:?}"
    );
    let rules = format!("{ROOT}/deploy/prometheus/meetlake.rules.yaml");
    let Some(rules) = script(&["rules", &rules], "") else {
        return;
    };
    assert!(rules.len() >= 10, "{rules:?}");
    for rule in rules {
        let asked = rule["metrics"].as_array().expect("a list");
        assert!(!asked.is_empty(), "{rule}");
        for name in asked {
            assert!(listed.contains(name.as_str().expect("a name")), "{rule}");
        }
    }
}

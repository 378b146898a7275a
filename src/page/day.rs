//! One day of a dataset: what is in the lake, of what it is made, what is missing, what to type.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::{command_line, lateness, local, shell, tried};
use crate::record::{Coverage, Input, InputOutcome, PartitionRow, Phase, TaskRow};
use crate::status::DayOutcome;
use crate::status::day::{DayStory, RejectedCell, RejectedCells, Rejects};
use crate::status::text::{bytes, compared, left_out, number};
use crate::status::verdict::command;
use crate::text::count;

/// Tasks and inputs that are shown one by one.
const SHOWN: usize = 50;

/// The page of a day, in the zone of its tenant.
#[must_use]
pub fn html(story: &DayStory, zone: &TimeZone, now: Timestamp) -> String {
    let id = &story.id;
    let title = format!("{} {} of {}", id.dataset, id.dt, id.tenant);
    let before = id.dt.yesterday().ok();
    let after = id.dt.tomorrow().ok();
    let neighbour = |dt| super::day_path(&id.tenant, id.dataset, dt);
    let content = html! {
        (answer(story, zone, now))
        nav aria-label="Days beside it" {
            @if let Some(dt) = before { a rel="prev" href=(neighbour(dt)) { "← " (dt) } " " }
            a href=(format!("/?tenant={}", id.tenant)) { (id.tenant) }
            @if let Some(dt) = after { " " a rel="next" href=(neighbour(dt)) { (dt) " →" } }
        }
        (what_to_type(story, zone))
        (in_the_lake(story, zone))
        (windows(story, zone))
        (tasks(story, zone, now))
        (rejects(&story.rejects))
        (inputs(&story.inputs, zone))
        p.when { "As of " (local(now, zone)) }
    };
    shell(&title, &content)
}

fn answer(story: &DayStory, zone: &TimeZone, now: Timestamp) -> Markup {
    let id = &story.id;
    let class = match &story.status {
        Some(day) if day.late_s.is_some() => "answer needed",
        Some(day) if day.outcome == DayOutcome::Waiting => "answer waiting",
        _ => "answer well",
    };
    let reasons = story.reasons.iter().map(ToString::to_string);
    let why = story.status.as_ref().and_then(|day| day.why.clone());
    // Of a partial day the reasons say the same one by one.
    let reasons: Vec<String> = match story.reasons.is_empty() {
        true => why.into_iter().collect(),
        false => reasons.collect(),
    };
    html! {
        div.(class) role="status" {
            h1 { (id.dataset) " " (id.dt.strftime("%a %F")) }
            p {
                "Tenant " b { (id.tenant) } ": "
                @match &story.status {
                    Some(day) => {
                        b { (day.outcome.as_str()) }
                        ", " (number(day.rows)) " rows"
                        @if let Some(late_s) = day.late_s {
                            ", late for " (lateness(late_s)) " (expected by " (local(day.expected_at, zone)) ")"
                        }
                        "."
                    },
                    None => "this day is not expected: no job asks for it, or it is not due.",
                }
            }
            @if !reasons.is_empty() {
                ul { @for reason in reasons { li { (reason) } } }
            }
            @if let Some(last) = story.status.as_ref().and_then(|day| day.last_try.as_ref()) {
                (tried(last, zone, now))
            }
        }
    }
}

fn what_to_type(story: &DayStory, zone: &TimeZone) -> Markup {
    let id = &story.id;
    let after = id.dt.tomorrow().unwrap_or(id.dt);
    let range = format!("--from {} --to {after}", id.dt);
    let of_outcome = story
        .status
        .as_ref()
        .map(|day| command(&id.tenant, id.dataset, day.outcome, day.cause, id.dt, after));
    let is_published = story.partition.as_ref().is_some_and(|row| row.revision > 0);
    html! {
        section {
            h2 { "What to type" }
            dl.facts {
                @if let Some(command) = of_outcome {
                    dt { "ask Feishu for it once more" } dd { (command_line(&command)) }
                }
                @if is_published {
                    dt { "make it again from its originals" }
                    dd { (command_line(&format!("meetlake replay {} {range}", id.dataset))) }
                    dt { "compare the lake with its records" }
                    dd { (command_line("meetlake verify")) }
                }
                @if let Some(command) = withdraw(story, zone) {
                    dt { "take back that it was asked for" } dd { (command_line(&command)) }
                }
            }
            (super::beside_serve())
        }
    }
}

/// What takes the windows of a day back, where that may be done.
fn withdraw(story: &DayStory, zone: &TimeZone) -> Option<String> {
    if !story.may_be_withdrawn {
        return None;
    }
    let dates = story.windows.iter().flat_map(|row| row.window.dates(zone));
    let (first, last) = (dates.clone().min()?, dates.max()?);
    Some(format!(
        "meetlake backfill --withdraw --tenant {} --dataset {} --from {first} --to {}",
        story.id.tenant,
        story.id.dataset,
        last.tomorrow().ok()?
    ))
}

fn in_the_lake(story: &DayStory, zone: &TimeZone) -> Markup {
    html! {
        section {
            h2 { "In the lake" }
            @match story.partition.as_ref().filter(|row| row.revision > 0) {
                None => p { "Nothing yet." },
                Some(row) => (partition(row, story, zone)),
            }
            @if let Some(intent) = story.partition.as_ref().and_then(|row| row.intent.as_ref()) {
                p { "Revision " (intent.revision) " is being published." }
            }
        }
    }
}

fn partition(row: &PartitionRow, story: &DayStory, zone: &TimeZone) -> Markup {
    html! {
        dl.facts {
            dt { "revision" }
            dd { (row.revision) ", " @if row.complete { "complete" } @else { "partial" } }
            dt { "rows" } dd { (number(row.rows)) }
            dt { "size" } dd { (bytes(row.size_bytes)) }
            @if let Some(at) = row.published_at { dt { "published" } dd { (local(at, zone)) } }
            @if let Some(at) = row.checked_at {
                dt { "exported again, the same" } dd { (local(at, zone)) }
            }
            @if let Some(hash) = &row.content_hash {
                dt { "content hash" } dd { code { (hash) } }
            }
            @if let Some(sha256) = &row.manifest_sha256 {
                dt { "SHA-256 of its manifest" } dd { code { (sha256) } }
            }
            @for path in &story.objects { dt { "object" } dd { code { (path) } } }
        }
    }
}

fn windows(story: &DayStory, zone: &TimeZone) -> Markup {
    let coverage = Coverage::sum(&story.windows);
    html! {
        section {
            h2 { "Windows" }
            @if story.windows.is_empty() { p { "None overlaps the day." } }
            ul {
                @for row in &story.windows {
                    li {
                        (local(row.window.start(), zone)) " to " (local(row.window.end(), zone))
                        ": " b { (row.state.as_str()) } ", generation " (row.generation)
                        ", due from " (local(row.due_at, zone))
                    }
                }
            }
            @if let Some(coverage) = &coverage {
                @if coverage.parents > 0 { p { "Coverage: " (left_out(coverage)) "." } }
                @if let Some(found) = &coverage.compared { p { (compared(found)) "." } }
            }
        }
    }
}

fn tasks(story: &DayStory, zone: &TimeZone, now: Timestamp) -> Markup {
    let phases = story.phases();
    let counted = Phase::ALL.map(|phase| (phase.as_str(), phases.of(phase)));
    let counted = counted.into_iter().filter(|(_, tasks)| *tasks > 0);
    let counted: Vec<String> = counted
        .map(|(phase, n)| format!("{} {phase}", number(n)))
        .collect();
    html! {
        section {
            h2 { "Tasks" }
            @if counted.is_empty() {
                p { "None." }
            } @else {
                p { (counted.join(", ")) }
                div.wide tabindex="0" role="region" aria-label="Tasks" {
                    table {
                        thead { tr {
                            th { "task" } th { "state" } th.n { "attempts" } th.n { "rows" }
                            th { "what happened" }
                        } }
                        tbody {
                            @for task in story.tasks.iter().take(SHOWN) { (task_row(task, zone, now)) }
                        }
                    }
                }
                (more(story.tasks.len()))
            }
        }
    }
}

fn task_row(task: &TaskRow, zone: &TimeZone, now: Timestamp) -> Markup {
    html! {
        tr {
            td { code { (task.spec.key) } }
            td { (task.phase.as_str()) }
            td.n { (task.attempts) }
            td.n { (task.rows.map_or(String::new(), number)) }
            td.why {
                @if let Some(failure) = &task.failure {
                    (failure.message)
                    (tried(&task.last_try, zone, now))
                }
            }
        }
    }
}

fn more(all: usize) -> Markup {
    html! { @if all > SHOWN { p { "… and " (number((all - SHOWN) as u64)) " more." } } }
}

fn rejects(rejects: &Rejects) -> Markup {
    let list = |names: &std::collections::BTreeSet<String>| {
        names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    html! {
        @if !rejects.is_empty() {
            section {
                h2 { "What does not fit the contract" }
                ul {
                    @for ((column, what), cells) in &rejects.cells {
                        li { (rejected(column, what, cells)) }
                    }
                    @if rejects.more > 0 { li { (number(rejects.more)) " more cells" } }
                    @if rejects.rows > 0 { li { (number(rejects.rows)) " rows left out, because they lack a key" } }
                    @if !rejects.unknown_columns.is_empty() {
                        li { "unknown columns, kept in _extra: " (list(&rejects.unknown_columns)) }
                    }
                    @if !rejects.missing_columns.is_empty() {
                        li { "columns that were not there: " (list(&rejects.missing_columns)) }
                    }
                }
                @if !rejects.cells.is_empty() {
                    p.note { "These cells are null, and their text is kept in _extra." }
                }
            }
        }
    }
}

/// The cells of a column with one fault, and where the first of them are.
fn rejected(column: &str, what: &str, cells: &RejectedCells) -> Markup {
    let more = cells.count.saturating_sub(cells.first.len() as u64);
    html! {
        code { (column) } " " (what) ": " (count(cells.count, "cell"))
        ul {
            @for RejectedCell { task_key, sheet, cell } in &cells.first {
                li { b { (cell) } " of " (sheet) " of task " code { (task_key) } }
            }
            @if more > 0 { li { (number(more)) " more" } }
        }
    }
}

fn inputs(inputs: &[Input], zone: &TimeZone) -> Markup {
    html! {
        @if !inputs.is_empty() {
            section {
                h2 { "Made of" }
                p {
                    @match inputs.len() {
                        1 => "1 task",
                        tasks => { (number(tasks as u64)) " tasks" },
                    }
                }
                div.wide tabindex="0" role="region" aria-label="Inputs" {
                    table {
                        thead { tr {
                            th { "task" } th.n { "generation" } th { "outcome" } th.n { "rows" }
                            th { "exported" } th { "original, SHA-256" }
                        } }
                        tbody { @for input in inputs.iter().take(SHOWN) { (input_row(input, zone)) } }
                    }
                }
                (more(inputs.len()))
            }
        }
    }
}

fn input_row(input: &Input, zone: &TimeZone) -> Markup {
    html! {
        tr {
            td { code { (input.task_key) } }
            td.n { (input.generation) }
            td { (outcome(input.outcome)) }
            td.n { (number(input.rows)) }
            td { @if let Some(at) = input.extracted_at { (local(at, zone)) } }
            td { @if let Some(sha256) = &input.source_sha256 { code { (sha256) } } }
        }
    }
}

const fn outcome(outcome: InputOutcome) -> &'static str {
    match outcome {
        InputOutcome::Published => "published",
        InputOutcome::Empty => "empty",
        InputOutcome::Quarantined => "quarantined",
        InputOutcome::Failed => "failed",
        InputOutcome::Missing => "missing",
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::cause::Cause;
    use crate::datasets::Dataset;
    use crate::record::{LastTry, PartitionId, WindowRow, WindowState};
    use crate::status::DayStatus;
    use crate::task::TaskKey;
    use crate::window::Window;

    /// A day that waits for a task that failed.
    fn story() -> DayStory {
        let id = PartitionId {
            dataset: Dataset::MeetingList,
            tenant: "acme".into(),
            dt: date(2026, 11, 10),
        };
        let window = Window::day(&TimeZone::UTC, id.dt).expect("a day");
        let row = WindowRow {
            tenant: id.tenant.clone(),
            dataset: id.dataset,
            window,
            job: "meeting_list".into(),
            due_at: window.end(),
            state: WindowState::Planned,
            generation: 1,
            covered_at: window.end(),
            parents: None,
            coverage: None,
        };
        DayStory {
            status: Some(DayStatus {
                tenant: id.tenant.clone(),
                dataset: id.dataset,
                dt: id.dt,
                outcome: DayOutcome::Waiting,
                rows: 0,
                expected_at: window.end(),
                late_s: Some(7_200),
                why: Some("its task is not fetched yet: no <file>".into()),
                last_try: Some(LastTry {
                    at: window.end(),
                    next: Some(window.end()),
                }),
                cause: Some(Cause::Retry),
                asked_at: None,
                is_on_its_way: false,
            }),
            id,
            partition: None,
            reasons: vec![],
            windows: vec![row],
            may_be_withdrawn: false,
            tasks: vec![],
            inputs: vec![],
            rejects: Rejects::default(),
            objects: vec![],
        }
    }

    fn page(story: &DayStory) -> String {
        let now = "2026-11-28T04:00:00Z".parse().expect("an instant");
        html(story, &TimeZone::UTC, now)
    }

    #[test]
    fn a_late_day_says_why_when_it_was_tried_and_what_to_type() {
        let page = page(&story());
        for part in [
            "<li>its task is not fetched yet: no &lt;file&gt;</li>",
            "<p class=\"why\">It was last tried 2026-11-11 00:00 +00:00, again with the next run.</p>",
            "<dd><code class=\"command\">meetlake run --tenant acme</code></dd>",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("--withdraw") && !page.contains("does not fit"));
    }

    #[test]
    fn what_may_be_taken_back_has_its_command() {
        let story = DayStory {
            may_be_withdrawn: true,
            ..story()
        };
        let command = "meetlake backfill --withdraw --tenant acme --dataset meeting_list \
                       --from 2026-11-10 --to 2026-11-11</code>";
        assert!(page(&story).contains(command), "{}", page(&story));
    }

    #[test]
    fn cells_that_do_not_fit_are_named_and_the_rest_is_counted() {
        let mut story = story();
        let cell = RejectedCell {
            task_key: TaskKey::from_stored("ab12".to_owned()),
            sheet: "<S>".into(),
            cell: "F12".into(),
        };
        let cells = RejectedCells {
            count: 1_001,
            first: vec![cell],
        };
        let what = ("start_time".to_owned(), "is no date-time".to_owned());
        story.rejects.cells.insert(what, cells);
        let part = "<li><code>start_time</code> is no date-time: 1,001 cells<ul><li><b>F12</b> of \
                    &lt;S&gt; of task <code>ab12</code></li><li>1,000 more</li></ul></li>";
        assert!(page(&story).contains(part), "{}", page(&story));
    }
}

//! Reads a file in `jobs/` as a [`JobSpec`], and checks the rules between jobs.
//!
//! It takes the TOML and the tenants by name. It gives the job with the positions of its keys,
//! because rules between jobs are checked after all jobs were read. It does not know how a job is
//! planned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::document::{Document, Field, Section, nearest};
use super::ids;
use super::problem::{Position, Problem};
use super::text;
use crate::datasets::{
    Dataset, DurationUnit, RequestOption, RequestOptions, SourceMode, UserIdType,
};
use crate::job::{Check, FanOut, FanOutOrder, JobSpec, MissedPolicy, OverlapPolicy};
use crate::plan::due::FIRST_DAY;
use crate::schedule::Schedule;

/// Names and zones of the tenants. A zone is missing if the tenant's entry is wrong, which is
/// reported there and not again for each job.
pub(super) type TenantZones = BTreeMap<String, Option<TimeZone>>;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Six hours. By then the data of late meetings and corrections of the evening are there, and a run
/// before breakfast still gets the day before.
const SETTLE_DELAY: Duration = Duration::from_secs(6 * 3600);
/// Eight hours. Feishu sends an event that was not acknowledged again for seven hours and five
/// minutes (resources, 5.1).
const EVENTS_SETTLE: Duration = Duration::from_secs(8 * 3600);
/// Three days. They cover a weekend of late data, and each costs one more export a day.
const LOOKBACK_DAYS: u16 = 3;
/// Two hours. Exports take minutes; one that takes longer is stuck at Feishu.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// A job with the positions that a rule between jobs may have to name.
pub(super) struct JobDraft<'p> {
    pub(super) spec: JobSpec,
    /// Whether the job is switched on.
    pub(super) is_enabled: bool,
    file: &'p Path,
    dataset_at: Position,
    time_zone_at: Position,
    window_at: Position,
    start_at: Position,
}

impl JobDraft<'_> {
    /// The job, and whether it is switched on.
    pub(super) fn into_spec(self) -> (JobSpec, bool) {
        (self.spec, self.is_enabled)
    }
}

/// Reads one job file. Problems are recorded in `document`.
pub(super) fn read<'p>(
    document: &Document<'_>,
    file: &'p Path,
    tenants: &TenantZones,
) -> Option<JobDraft<'p>> {
    let table = document.parse();
    let root = document.root(&table);
    let name = name_of(&root, file);
    root.required("version", |field| field.integer(1..=1));
    let is_enabled = root.optional("enabled", Field::boolean).unwrap_or(true);
    let dataset = root.required("dataset", |field| field.parse(dataset));
    let tenant_names = tenant_names(&root, tenants);
    let time_zone = time_zone(&root, dataset, tenants, tenant_names.as_deref());
    let cron = cron(&root, time_zone.as_ref());
    let window_days = root.optional("window", |field| field.parse(|t| text::days(t, 1, 31)));
    let settle_delay = within(&root, "settle_delay", Duration::ZERO, 30 * DAY);
    let lookback_days = root.optional("lookback", |field| field.parse(|t| text::days(t, 0, 89)));
    let start = root.optional("start", first_day);
    let missed = root.optional("missed", |field| field.parse(missed_policy));
    let overlap = root.optional("overlap", |field| field.parse(overlap_policy));
    let jitter = within(&root, "jitter", Duration::ZERO, 6 * HOUR);
    let deadline = within(&root, "deadline", MINUTE, 7 * DAY);
    let destination = root.optional("destination", |field| field.parse(destination));
    let fan_out = fan_out(root.section("fan_out"), dataset);
    // What a job reads beside itself need not be there while it is off.
    let folder = file.parent().filter(|_| is_enabled);
    let options = request_options(root.section("request"), dataset, folder);
    let check = check(root.section("check"), dataset);
    check_days(
        &root,
        dataset,
        time_zone.as_ref(),
        tenants,
        tenant_names.as_deref(),
    );
    let [dataset_at, time_zone_at, window_at, start_at] =
        ["dataset", "time_zone", "window", "start"].map(|key| root.at(key));
    let root_has_zone = root.has("time_zone");
    root.finish();
    let dataset = dataset?;
    // A snapshot is due when it fires, and once; a day of events when nothing of it comes again.
    let (settle, lookback) = match (dataset.has_history(), dataset.is_received()) {
        (true, _) => (SETTLE_DELAY, LOOKBACK_DAYS),
        (false, true) => (EVENTS_SETTLE, 0),
        (false, false) => (Duration::ZERO, 0),
    };
    let spec = JobSpec {
        name: name?,
        dataset,
        tenants: tenant_names?,
        cron: cron?,
        time_zone: time_zone?,
        has_own_zone: root_has_zone,
        window_days: window_days.unwrap_or(1),
        settle_delay: settle_delay.unwrap_or(settle),
        lookback_days: lookback_days.unwrap_or(lookback),
        start,
        missed: missed.unwrap_or(match dataset.has_history() {
            true => MissedPolicy::default(),
            false => MissedPolicy::None,
        }),
        overlap: overlap.unwrap_or_default(),
        jitter: jitter.unwrap_or_default(),
        deadline: deadline.unwrap_or(DEADLINE),
        destination: destination.unwrap_or_default(),
        fan_out,
        options: options?,
        check: check?,
    };
    Some(JobDraft {
        spec,
        is_enabled,
        file,
        dataset_at,
        time_zone_at,
        window_at,
        start_at,
    })
}

fn name_of(root: &Section<'_>, file: &Path) -> Option<String> {
    let name = file.file_stem()?.to_string_lossy().into_owned();
    text::check_name(&name)
        .inspect_err(|rule| {
            root.problem_here(format!("the file's name is the job's name and {rule}"))
        })
        .ok()?;
    Some(name)
}

fn dataset(text: &str) -> Result<Dataset, String> {
    text::word(
        text,
        &Dataset::ALL.map(|dataset| (dataset.as_str(), dataset)),
    )
}

/// A folder of another dataset's name would mix the two for whoever reads with a glob.
fn destination(text: &str) -> Result<String, String> {
    let folder = text::destination(text)?;
    match folder.split('/').next().map(str::parse::<Dataset>) {
        Some(Ok(dataset)) => Err(format!("begins with the folder of {dataset}")),
        _ => Ok(folder),
    }
}

fn missed_policy(text: &str) -> Result<MissedPolicy, String> {
    let words = [
        ("all", MissedPolicy::All),
        ("latest", MissedPolicy::Latest),
        ("none", MissedPolicy::None),
    ];
    text::word(text, &words)
}

fn overlap_policy(text: &str) -> Result<OverlapPolicy, String> {
    let words = [
        ("skip", OverlapPolicy::Skip),
        ("queue", OverlapPolicy::Queue),
    ];
    text::word(text, &words)
}

fn within(
    root: &Section<'_>,
    key: &'static str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    root.optional(key, |field| {
        field.parse(|text| text::duration_within(text, least, most))
    })
}

/// The tenants of the job: those listed, or all tenants.
fn tenant_names(root: &Section<'_>, tenants: &TenantZones) -> Option<Vec<String>> {
    let all = || Some(tenants.keys().cloned().collect());
    root.optional_or("tenants", |field| listed_tenants(field, tenants), all)
}

/// Reads each name. A wrong name is reported at its own position and left out.
fn listed_tenants(field: &Field<'_>, tenants: &TenantZones) -> Result<Vec<String>, String> {
    let items = field.items()?;
    if items.is_empty() {
        return Err("is empty; leave the key out for all tenants".to_owned());
    }
    let mut names = Vec::new();
    for item in &items {
        match tenant_name(item, tenants, &names) {
            Ok(name) => names.push(name),
            Err(message) => item.problem(message),
        }
    }
    Ok(names)
}

fn tenant_name(
    item: &Field<'_>,
    tenants: &TenantZones,
    before: &[String],
) -> Result<String, String> {
    item.parse(|name| {
        if before.iter().any(|earlier| earlier == name) {
            return Err("is listed twice".to_owned());
        }
        if tenants.contains_key(name) {
            return Ok(name.to_owned());
        }
        let near = nearest(name, tenants.keys().map(String::as_str));
        let near = near.map_or_else(
            || "there is no section for it in the configuration".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Err(format!("is not a tenant; {near}"))
    })
}

/// The job's own zone, or the zone that its tenants have in common.
fn time_zone(
    root: &Section<'_>,
    dataset: Option<Dataset>,
    tenants: &TenantZones,
    names: Option<&[String]>,
) -> Option<TimeZone> {
    let read = |field: &Field<'_>| field.parse(text::time_zone);
    root.optional_or("time_zone", read, || {
        common_zone(root, dataset, tenants, names?)
    })
}

fn common_zone(
    root: &Section<'_>,
    dataset: Option<Dataset>,
    tenants: &TenantZones,
    names: &[String],
) -> Option<TimeZone> {
    let zones: Option<Vec<&TimeZone>> = names.iter().map(|name| tenants[name].as_ref()).collect();
    let zones = zones?;
    let (first, others) = zones.split_first()?;
    if others.iter().all(|zone| zone == first) {
        return Some((*first).clone());
    }
    // A civil day is its tenant's.
    let way_out = match dataset.is_some_and(Dataset::is_by_civil_day) {
        true => "write a job for each zone",
        false => "add `time_zone`, or write a job for each zone",
    };
    let what = "the tenants of this job are in different time zones";
    root.problem("tenants", format!("{what}; {way_out}"));
    None
}

/// The expression, checked that it fires. If the zone is wrong, the expression is checked in UTC,
/// so that its own mistakes are still reported.
fn cron(root: &Section<'_>, zone: Option<&TimeZone>) -> Option<String> {
    root.required("cron", |field| {
        field.parse(|text| {
            let zone = zone.cloned().unwrap_or(TimeZone::UTC);
            Schedule::parse(text, zone).map_err(|error| error.to_string())?;
            Ok(text.to_owned())
        })
    })
}

/// What is asked for by civil day has the days of its tenant. A snapshot is the state of its day:
/// there is nothing to wait for, to look back on or to catch up with.
fn check_days(
    root: &Section<'_>,
    dataset: Option<Dataset>,
    zone: Option<&TimeZone>,
    tenants: &TenantZones,
    names: Option<&[String]>,
) {
    let is_own = |name: &String| tenants.get(name).is_some_and(|own| own.as_ref() == zone);
    if let Some(dataset) = dataset.filter(|dataset| dataset.is_by_civil_day())
        && root.has("time_zone")
        && !names.unwrap_or_default().iter().all(is_own)
    {
        root.problem(
            "time_zone",
            format!("the days of {dataset} are the tenant's; remove `time_zone`"),
        );
    }
    let Some(dataset) = dataset.filter(|dataset| !dataset.has_history()) else {
        return;
    };
    for key in ["window", "settle_delay", "lookback", "start", "missed"] {
        if root.has(key) {
            root.problem(
                key,
                format!(
                    "`{key}` has no meaning for {dataset}, of which the API has no history; \
                     remove it"
                ),
            );
        }
    }
}

fn fan_out(section: Section<'_>, dataset: Option<Dataset>) -> FanOut {
    if let Some(dataset) = dataset.filter(|d| d.parent().is_none() && section.is_present()) {
        section.problem_here(format!(
            "[fan_out] has no meaning for {dataset}, which has no parent dataset; remove the \
             section"
        ));
        return FanOut::default();
    }
    let order = [
        ("newest", FanOutOrder::Newest),
        ("largest", FanOutOrder::Largest),
    ];
    let fan_out = FanOut {
        min_participants: section.optional("min_participants", |f| f.integer(1..=1_000_000)),
        sample: section.optional("sample", Field::share),
        max_tasks_per_run: section
            .optional("max_tasks_per_run", |field| {
                field.integer(1..=u32::MAX.into())
            })
            .and_then(|tasks| u32::try_from(tasks).ok()),
        order: section
            .optional("order", |field| field.parse(|t| text::word(t, &order)))
            .unwrap_or_default(),
        early: early(&section, dataset),
    };
    section.finish();
    fan_out
}

/// Whether meetings are asked for before their night.
fn early(section: &Section<'_>, dataset: Option<Dataset>) -> Option<bool> {
    let never = dataset.filter(|dataset| dataset.definition().early.is_none());
    if let Some(dataset) = never.filter(|_| section.has("early")) {
        let told =
            format!("`early` has no meaning for {dataset}, of which no event tells; remove it");
        section.problem("early", told);
        return None;
    }
    section.optional("early", Field::boolean)
}

/// How many rows may be missing, compared with a count from elsewhere. What a key counts may be
/// counted of several datasets.
fn check(section: Section<'_>, dataset: Option<Dataset>) -> Option<Check> {
    let key_of = |owner: Dataset| Some(owner.definition().plausibility.check()?.0);
    let keys: BTreeSet<&str> = Dataset::ALL.into_iter().filter_map(key_of).collect();
    let shares: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let share = section.optional(key, |field| field.parse(text::percent));
            (key, share)
        })
        .collect();
    let dataset = dataset?;
    let mut check = Check::for_dataset(dataset);
    for (key, share) in shares {
        if key_of(dataset) == Some(key) {
            check.may_miss = share.unwrap_or(check.may_miss);
        } else if section.has(key) {
            let owners = Dataset::ALL
                .into_iter()
                .filter(|owner| key_of(*owner) == Some(key));
            let owners: Vec<&str> = owners.map(Dataset::as_str).collect();
            let owners = owners.join(" and ");
            section.problem(
                key,
                format!("`{key}` is a check of {owners}, not of {dataset}"),
            );
        }
    }
    section.finish();
    Some(check)
}

/// The options of the dataset's endpoint. An option of another endpoint is refused by name. A file
/// of ids lies in `folder`; without one, it is not read.
fn request_options(
    section: Section<'_>,
    dataset: Option<Dataset>,
    folder: Option<&Path>,
) -> Option<RequestOptions> {
    let user_id_type = section.optional("user_id_type", |field| field.parse(user_id_type));
    let limit = section.optional("limit", |field| field.integer(1..=100));
    let duration_unit = section.optional("duration_unit", |field| field.parse(duration_unit));
    let need_topic = section.optional("need_topic", Field::boolean);
    let per_room = section.optional("per_room", Field::boolean);
    let mode = section.optional("mode", |field| field.parse(source_mode));
    let tenant_user_ids = section.optional("tenant_user_ids", Field::boolean);
    let artifacts = section.optional("artifacts", Field::boolean);
    let dataset = dataset?;
    let (mode, is_compared) = mode.map_or((None, false), |(mode, both)| (Some(mode), both));
    let has_mode = dataset.definition().options.contains(&RequestOption::Mode);
    if is_compared && has_mode && dataset.compared().is_none() {
        let why = format!(
            "`both` compares row by row, and an export of {dataset} names no id that tells its \
             rows apart; write export or query"
        );
        section.problem("mode", why);
    }
    let has_ids = |owner: Dataset| owner.definition().options.contains(&RequestOption::IdsFile);
    let of_file = |field: &Field<'_>| {
        field.parse(|name| match folder.filter(|_| has_ids(dataset)) {
            Some(folder) => ids::read(&folder.join(name)),
            None => Ok(Vec::new()),
        })
    };
    let needs_ids = has_ids(dataset) && folder.is_some();
    if needs_ids && !section.is_present() {
        section.problem_here("`ids_file` is missing; add [request] with the file of the ids in it");
    }
    let ids = match needs_ids {
        true => Some(section.required("ids_file", of_file)?),
        false => section.optional("ids_file", of_file),
    };
    for option in RequestOption::ALL {
        let key = option.key();
        let has_it = |owner: &Dataset| owner.definition().options.contains(&option);
        if section.has(key) && !has_it(&dataset) {
            let owners = Dataset::ALL.into_iter().filter(has_it);
            let owners: Vec<&str> = owners.map(Dataset::as_str).collect();
            let owners = owners.join(", ");
            section.problem(
                key,
                format!("`{key}` is an option of {owners}, not of {dataset}"),
            );
        }
    }
    if mode == Some(SourceMode::Query) && per_room == Some(true) {
        let why = "`per_room` is for exports; by query each row names its room: remove it";
        section.problem("per_room", why.to_owned());
    }
    section.finish();
    let defaults = RequestOptions::for_dataset(dataset);
    Some(RequestOptions {
        user_id_type: user_id_type.unwrap_or(defaults.user_id_type),
        top_user_limit: limit
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(defaults.top_user_limit),
        top_user_duration_unit: duration_unit.unwrap_or(defaults.top_user_duration_unit),
        need_topic: need_topic.unwrap_or(defaults.need_topic),
        per_room: per_room.unwrap_or(defaults.per_room),
        reserve_ids: ids.unwrap_or(defaults.reserve_ids),
        mode: mode.unwrap_or(defaults.mode),
        tenant_user_ids: tenant_user_ids.unwrap_or(defaults.tenant_user_ids),
        artifacts: artifacts.unwrap_or(defaults.artifacts),
        is_compared,
    })
}

fn user_id_type(text: &str) -> Result<UserIdType, String> {
    let kinds = [UserIdType::OpenId, UserIdType::UnionId, UserIdType::UserId];
    text::word(text, &kinds.map(|kind| (kind.as_str(), kind)))
}

/// The source whose rows are published, and whether the other one is asked too.
fn source_mode(text: &str) -> Result<(SourceMode, bool), String> {
    let [export, query] = [SourceMode::Export, SourceMode::Query];
    let modes = [
        (export.as_str(), (export, false)),
        (query.as_str(), (query, false)),
        ("both", (export, true)),
    ];
    text::word(text, &modes)
}

fn duration_unit(text: &str) -> Result<DurationUnit, String> {
    let words = [DurationUnit::Minutes, DurationUnit::Seconds];
    text::word(text, &words.map(|unit| (unit.as_str(), unit)))
}

/// Problems between jobs that are each right by themselves. If one of the `files` could not be
/// read, a missing parent is not reported: it may be in that file.
pub(super) fn check_together(drafts: &[JobDraft<'_>], files: usize) -> Vec<Problem> {
    let all_read = drafts.len() == files;
    let mut problems = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        problems.extend(check_start(draft));
        // What is off is in nobody's way, and waits for nobody.
        if !draft.is_enabled {
            continue;
        }
        for tenant in &draft.spec.tenants {
            problems.extend(check_only(draft, &drafts[..index], tenant));
            problems.extend(check_parent(draft, drafts, tenant, all_read));
        }
    }
    problems
}

fn first_day(field: &Field<'_>) -> Result<Date, String> {
    let date = field.date()?;
    match date < FIRST_DAY {
        true => Err(format!(
            "{date} is a mistake: there is no meeting before {FIRST_DAY}, which is older than \
             Feishu and Lark"
        )),
        false => Ok(date),
    }
}

/// Windows longer than a day are counted from `start`. Without it, a later first run would cut
/// different windows.
fn check_start(draft: &JobDraft<'_>) -> Option<Problem> {
    let spec = &draft.spec;
    (spec.window_days > 1 && spec.start.is_none()).then(|| {
        let message = "windows longer than a day are counted from `start`; add it";
        Problem::new(draft.file, draft.window_at, message)
    })
}

fn check_only(draft: &JobDraft<'_>, earlier: &[JobDraft<'_>], tenant: &str) -> Option<Problem> {
    let dataset = draft.spec.dataset;
    let other = job_of(earlier, dataset, tenant)?;
    let message = format!(
        "{dataset} of tenant `{tenant}` is already exported by the job `{}`; one partition has \
         one job",
        other.spec.name
    );
    Some(Problem::new(draft.file, draft.dataset_at, message))
}

fn check_parent(
    draft: &JobDraft<'_>,
    drafts: &[JobDraft<'_>],
    tenant: &str,
    all_read: bool,
) -> Option<Problem> {
    let dataset = draft.spec.dataset;
    let parent_dataset = dataset.parent()?;
    let Some(parent) = job_of(drafts, parent_dataset, tenant) else {
        let is_of_parent = |draft: &&JobDraft<'_>| draft.spec.dataset == parent_dataset;
        let way_out = match drafts.iter().find(is_of_parent) {
            Some(off) if !off.is_enabled => format!("switch on the job `{}`", off.spec.name),
            _ => "add one".to_owned(),
        };
        let message = format!(
            "{dataset} is exported for each row of {parent_dataset}, and no job exports that for \
             tenant `{tenant}`; {way_out}"
        );
        return all_read.then(|| Problem::new(draft.file, draft.dataset_at, message));
    };
    check_same_windows(draft, parent, tenant)
}

/// A child's window is due when the parent's window is published, so both jobs must cut the same
/// windows.
fn check_same_windows(
    draft: &JobDraft<'_>,
    parent: &JobDraft<'_>,
    tenant: &str,
) -> Option<Problem> {
    let (child, parent) = (&draft.spec, &parent.spec);
    let (at, key) = if child.time_zone != parent.time_zone {
        (draft.time_zone_at, "time_zone")
    } else if child.window_days != parent.window_days {
        (draft.window_at, "window")
    } else if child.window_days > 1 && child.start != parent.start {
        (draft.start_at, "start")
    } else {
        return None;
    };
    let message = format!(
        "`{key}` differs from the job `{}`, which exports the parent rows of tenant `{tenant}`; \
         both must cut the same windows",
        parent.name
    );
    Some(Problem::new(draft.file, at, message))
}

fn job_of<'d, 'p>(
    drafts: &'d [JobDraft<'p>],
    dataset: Dataset,
    tenant: &str,
) -> Option<&'d JobDraft<'p>> {
    drafts.iter().find(|draft| {
        draft.is_enabled
            && draft.spec.dataset == dataset
            && draft.spec.tenants.iter().any(|name| name == tenant)
    })
}

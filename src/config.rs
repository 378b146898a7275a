//! The configuration: one TOML file with tenants, lake, ledger and limits, and a folder of job
//! files beside it.
//!
//! [`load`] reads everything, checks everything and reports all problems at once, by file and line.
//! Nothing else reads the environment, except for the store's own library, which finds credentials
//! there. Debug output shows no secret.
//!
//! ```text
//! meetlake.toml ─► document (sections, fields) ─► tenant, job_file ─► rules between jobs
//!     ─► Config or Problems
//! ```

mod document;
mod events;
mod ids;
mod job_file;
mod problem;
mod tenant;
mod text;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use events::InletConfig;
pub use problem::{Position, Problem, Problems};
pub use tenant::{TenantConfig, WriteApp};
pub use text::show_duration;

use crate::datasets::{CallLimits, Dataset};
use crate::decode;
use crate::job::JobSpec;
use crate::lake_key::{KeySource, LakeKey};
pub use crate::network::Environment;
use crate::network::{self, Proxies};
use crate::store::options::{self, OptionProblem};
use document::{Document, Field, Section};
use job_file::TenantZones;

/// The file that is read when none is given.
pub const FILE_NAME: &str = "meetlake.toml";

/// A configuration or job file is a page or two. A larger file is something else.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

/// One column of text has to fit into an Arrow array with 31-bit offsets.
const LARGEST_TEXT: u64 = 2047 << 20;
/// With less memory, the process that reads unusual workbooks cannot even start on its first one.
const LEAST_MEMORY: u64 = 256 << 20;

/// Everything that `meetlake.toml` and the job files say, validated.
#[derive(Debug)]
pub struct Config {
    /// Where the Parquet goes.
    pub lake: LakeConfig,
    /// The ledger's database.
    pub ledger_path: PathBuf,
    /// Folder for results that wait to be published.
    pub spool_path: PathBuf,
    /// How much at once, and how much at most.
    pub limits: LimitsConfig,
    /// The web server of `serve`.
    pub serve: ServeConfig,
    /// The proxies that the environment names.
    pub proxies: Proxies,
    /// The tenants by name; at least one.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// The jobs that are on, in the order of their names.
    pub jobs: Vec<JobSpec>,
    /// The jobs that are off, and why.
    pub jobs_off: Vec<JobOff>,
    /// What works but should be looked at, such as a secret file that others can read.
    pub warnings: Vec<Problem>,
}

/// A job that is not run.
#[derive(Clone, Debug)]
pub struct JobOff {
    /// What it would be.
    pub spec: JobSpec,
    /// Why.
    pub why: WhyOff,
}

/// Why a job is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyOff {
    /// Its file says so.
    Disabled,
    /// It is of events, and none of its tenants has an inlet.
    NoInlet,
}

impl fmt::Display for WhyOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "its file says enabled = false",
            Self::NoInlet => "events come in once a tenant has [tenants.NAME.events]",
        })
    }
}

/// Where the lake is, and how its store is reached.
#[derive(Clone)]
pub struct LakeConfig {
    /// `file://`, `s3://`, `gs://`, `az://` or `memory://`.
    pub url: Url,
    /// Hosts of the store that may be asked without encryption, such as one inside a cluster.
    pub allow_http: Vec<String>,
    /// Options of the store, named as in `object_store`. Any of them may be a secret.
    pub options: BTreeMap<String, SecretString>,
    /// Where its key is kept.
    pub key: KeySource,
}

impl fmt::Debug for LakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeConfig")
            .field("url", &self.url.as_str())
            .field("options", &self.options.keys())
            .finish()
    }
}

/// How much at once, and how much at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Calls a minute that we allow ourselves.
    pub calls: CallLimits,
    /// Tasks that are under way at the same time. With 100 submits a minute and exports that take a
    /// minute, 128 keep the quota in use.
    pub tasks_in_flight: usize,
    /// What a workbook may cost before it is refused.
    pub workbook: decode::WorkbookLimits,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            calls: CallLimits::default(),
            tasks_in_flight: 128,
            workbook: decode::WorkbookLimits::default(),
        }
    }
}

/// The web server of `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where it listens. An address that others can reach needs `allow_public`.
    pub listen: SocketAddr,
    /// Names under which the pages answer, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8642),
            hosts: Vec::new(),
        }
    }
}

/// Looks a variable up in the environment of this process.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the configuration and all its job files.
///
/// # Errors
/// All problems of all files, if there is any.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let diagnostics = RefCell::default();
    let config = read_config(path, environment, &diagnostics);
    let Diagnostics { problems, warnings } = diagnostics.into_inner();
    match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Problems::new(problems)),
    }
}

/// The problems and warnings of all files.
#[derive(Default)]
struct Diagnostics {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Diagnostics {
    fn take(&mut self, document: Document<'_>) {
        let (problems, warnings) = document.into_diagnostics();
        self.problems.extend(problems);
        self.warnings.extend(warnings);
    }
}

fn read_config(
    path: &Path,
    environment: Environment<'_>,
    diagnostics: &RefCell<Diagnostics>,
) -> Option<Config> {
    let text = read_file(path)
        .inspect_err(|message| {
            let hint = "`meetlake init` writes one";
            let problem = Problem::new(path, Position::START, format!("{message}; {hint}"));
            diagnostics.borrow_mut().problems.push(problem);
        })
        .ok()?;
    let document = Document::new(path, &text, environment);
    let config = read_sections(&document, path, environment, diagnostics);
    diagnostics.borrow_mut().take(document);
    config
}

fn read_sections(
    document: &Document<'_>,
    path: &Path,
    environment: Environment<'_>,
    diagnostics: &RefCell<Diagnostics>,
) -> Option<Config> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = document.parse();
    let root = document.root(&table);
    root.required("version", |field| field.integer(1..=1));
    let proxies = proxies(&root, environment);
    let (ledger_path, spool_path) = ledger(root.section("ledger"), folder);
    let home = |name| environment(name);
    let default_key = KeySource::of_home(home("XDG_DATA_HOME"), home("HOME"));
    let lake = lake(
        root.required_section("lake"),
        folder,
        &ledger_path,
        default_key,
    );
    let limits = limits(root.section("limits"));
    let serve = serve(root.section("serve"));
    let (tenants, zones) = tenants(root.required_section("tenants"), folder);
    let jobs = jobs(&root, folder, environment, &zones, diagnostics);
    let (jobs, jobs_off) = on_and_off(jobs, &tenants);
    check_inlets(&root, &jobs, &tenants);
    let is_s3 = lake.as_ref().is_some_and(|lake| lake.url.scheme() == "s3");
    for warning in network::unread_certificates(environment, is_s3) {
        root.warning("lake", warning);
    }
    root.finish();
    Some(Config {
        lake: lake?,
        ledger_path,
        spool_path,
        limits,
        serve,
        proxies: proxies?,
        tenants,
        jobs,
        jobs_off,
        warnings: Vec::new(),
    })
}

/// The proxies and certificates that the environment names. What it names is no part of the file,
/// but nothing that the file names can be reached without it.
fn proxies(root: &Section<'_>, environment: Environment<'_>) -> Option<Proxies> {
    for problem in network::certificate_problems(environment) {
        root.problem_here(problem);
    }
    let report = |problems: Vec<String>| {
        for problem in problems {
            root.problem_here(problem);
        }
    };
    Proxies::read(environment).map_err(report).ok()
}

fn lake(
    section: Section<'_>,
    folder: &Path,
    ledger: &Path,
    default_key: KeySource,
) -> Option<LakeConfig> {
    let url = section.required("url", |field| field.parse(|text| lake_url(text, folder)));
    let key = key_source(&section, folder, ledger).unwrap_or(default_key);
    let allow_http = section.optional("allow_http", |field| {
        let items = field.items()?;
        let names = items.iter().map(|item| item.parse(text::host));
        names.collect::<Result<Vec<String>, String>>()
    });
    let allow_http = allow_http.unwrap_or_default();
    let scheme = url.as_ref().map(|url| url.scheme());
    let mut options = BTreeMap::new();
    for (name, field) in section.section("options").fields() {
        match option(name, &field, scheme, &allow_http) {
            Ok(value) => drop(options.insert(name.to_owned(), value)),
            Err(message) => field.problem(format!("`{name}` {message}")),
        }
    }
    if let Some(url) = &url {
        warn_of_host_without_bucket(&section, url, &options);
    }
    section.finish();
    Some(LakeConfig {
        url: url?,
        options,
        allow_http,
        key,
    })
}

/// With the bucket in the host's name, the store's client takes the endpoint as it is. Other
/// programs put the bucket in front of it.
fn warn_of_host_without_bucket(
    section: &Section<'_>,
    url: &Url,
    options: &BTreeMap<String, SecretString>,
) {
    let option = |name: &str| {
        let names = [name.to_owned(), format!("aws_{name}")];
        let value = names.iter().find_map(|name| options.get(name))?;
        Some(value.expose_secret().to_owned())
    };
    let is_on = option("virtual_hosted_style_request").is_some_and(|on| options::is_on(&on));
    let endpoint = option("endpoint").and_then(|endpoint| Url::parse(&endpoint).ok());
    let (Some(bucket), Some(endpoint), true) = (url.host_str(), endpoint, is_on) else {
        return;
    };
    let host = endpoint.host_str().unwrap_or_default();
    if host != bucket && !host.starts_with(&format!("{bucket}.")) {
        section.warning(
            "options",
            format!(
                "`virtual_hosted_style_request` is on, and `endpoint` does not name the bucket; \
                 write https://{bucket}.{host}, unless {host} is a name of the bucket itself"
            ),
        );
    }
}

/// Where the lake's key is kept, if the configuration says so. Not in the ledger's folder: whoever
/// copies that, or loses it, would copy or lose both.
fn key_source(section: &Section<'_>, folder: &Path, ledger: &Path) -> Option<KeySource> {
    let secret = section.optional("key", |field| {
        if !field.raw()?.contains("${") {
            return Err(
                "stands in the file itself; write key = \"${NAME}\" and set that variable, or use \
                 key_file"
                    .to_owned(),
            );
        }
        let text = field.text()?;
        LakeKey::parse(&text).map_err(|error| error.to_string())?;
        Ok(SecretString::from(text))
    });
    let file = section.optional("key_file", |field| {
        field.parse(|text| {
            let path = folder.join(text::path(text)?);
            match path.parent() == ledger.parent() {
                true => Err(
                    "must not lie in the ledger's folder: a copy of that folder would hold \
                             the ids and the key to them"
                        .to_owned(),
                ),
                false => Ok(path),
            }
        })
    });
    if let Some(path) = &file {
        tenant::warn_of_mode(section, "key_file", path);
    }
    if section.has("key") && section.has("key_file") {
        section.problem("key_file", "`key` and `key_file` are both there; keep one");
    }
    secret
        .map(KeySource::Secret)
        .or_else(|| file.map(KeySource::File))
}

/// The lake's URL. A relative path is a folder beside the configuration.
///
/// # Errors
/// A fragment for people.
pub fn lake_url(text: &str, folder: &Path) -> Result<Url, String> {
    text::path(text)?;
    const SCHEMES: [&str; 5] = ["file", "s3", "gs", "az", "memory"];
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => folder_url(&folder.join(text))?,
        Err(_) => {
            return Err(
                "is not a URL; write file:///…, s3://BUCKET/…, gs://…, az://… or a folder"
                    .to_owned(),
            );
        }
    };
    if !SCHEMES.contains(&url.scheme()) {
        return Err(format!(
            "must begin with one of {}://",
            SCHEMES.join("://, ")
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(
            "must not carry credentials or a query; put them into [lake.options]".to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err("must not have a `#`; in a path it is written %23".to_owned());
    }
    Ok(url)
}

fn folder_url(folder: &Path) -> Result<Url, String> {
    let absolute =
        std::path::absolute(folder).map_err(|error| format!("has no absolute path: {error}"))?;
    Url::from_directory_path(absolute).map_err(|()| "is not a folder".to_owned())
}

/// An option of the store as text. What looks like a credential must come from the environment.
fn option(
    name: &str,
    field: &Field<'_>,
    scheme: Option<&str>,
    allow_http: &[String],
) -> Result<SecretString, String> {
    const CREDENTIALS: [&str; 7] = [
        "secret",
        "token",
        "password",
        "account_key",
        "storage_access_key",
        "master_key",
        "sas",
    ];
    let lower = name.to_lowercase();
    let is_credential =
        CREDENTIALS.iter().any(|word| lower.contains(word)) && !lower.ends_with("_file");
    if is_credential && !field.raw()?.contains("${") {
        return Err(format!(
            "is a credential and stands in the file itself; write {name} = \"${{NAME}}\" and set \
             that variable"
        ));
    }
    // A service account's key is JSON, which may have lines.
    let text = match lower.contains("service_account_key") {
        true => field.long_text(),
        false => field.text(),
    };
    let text = text?;
    let problem = scheme.and_then(|scheme| {
        let problem = options::problem(scheme, name, &text, allow_http)?;
        Some(describe(problem, scheme, name))
    });
    match problem {
        Some(problem) => Err(problem),
        None => Ok(SecretString::from(text)),
    }
}

/// Continues "`name` …", and repeats no value.
fn describe(problem: OptionProblem, scheme: &str, name: &str) -> String {
    match problem {
        OptionProblem::NoneHere => format!("has no meaning: `{scheme}://` has no options"),
        OptionProblem::Unknown => {
            let hint = document::suggestion(name, options::usual(scheme));
            format!("is not an option of `{scheme}://`; {hint}")
        }
        OptionProblem::NotYours(why) => format!("is not for you to set: {why}"),
        OptionProblem::NotABoolean => "must be \"true\" or \"false\"".to_owned(),
        OptionProblem::NotAnAddress => "is not an address; write https://HOST".to_owned(),
        OptionProblem::NotAProxy(why) => why.to_owned(),
        OptionProblem::PlainHttp => "must use https; plain http is for this machine, and for \
                                     hosts named in allow_http of [lake]"
            .to_owned(),
    }
}

fn ledger(section: Section<'_>, folder: &Path) -> (PathBuf, PathBuf) {
    let path = |key| {
        section.optional(key, |field| {
            field.parse(|path| text::path(path).map(|path| folder.join(path)))
        })
    };
    let ledger = path("path").unwrap_or_else(|| folder.join("meetlake.db"));
    let spool = path("spool").unwrap_or_else(|| ledger.with_file_name("spool"));
    section.finish();
    (ledger, spool)
}

fn limits(section: Section<'_>) -> LimitsConfig {
    let defaults = LimitsConfig::default();
    let per_minute = |key| {
        section
            .optional(key, |field| field.integer(1..=1_000_000))
            .and_then(|calls| u32::try_from(calls).ok())
    };
    let limits = LimitsConfig {
        calls: CallLimits {
            exports: per_minute("exports_per_minute").unwrap_or(defaults.calls.exports),
            directory: per_minute("rooms_per_minute").unwrap_or(defaults.calls.directory),
            reports: per_minute("reports_per_minute"),
            share: section
                .optional("share", |field| field.parse(share))
                .unwrap_or(defaults.calls.share),
        },
        tasks_in_flight: section
            .optional("tasks_in_flight", |field| field.integer(1..=4096))
            .and_then(|tasks| usize::try_from(tasks).ok())
            .unwrap_or(defaults.tasks_in_flight),
        workbook: workbook_limits(section.section("workbook")),
    };
    section.finish();
    limits
}

/// A share of the quota: a few percent at least, since nothing would be done with none.
fn share(text: &str) -> Result<u32, String> {
    // It comes from whole percent.
    let percent = text::percent(text).map(|share| (share * 100.0).round() as u32);
    match percent {
        Ok(percent @ 1..) => Ok(percent),
        _ => Err(
            "must be whole percent, from 1% to 100%, such as 50%; with none, nothing is done"
                .to_owned(),
        ),
    }
}

fn workbook_limits(section: Section<'_>) -> decode::WorkbookLimits {
    let mut limits = decode::WorkbookLimits::default();
    let size = |key, limit: &mut u64, least: u64, most: u64| {
        let found = section.optional(key, |field| {
            field.parse(|text| text::size_within(text, least, most))
        });
        *limit = found.unwrap_or(*limit);
    };
    size("size", &mut limits.container_bytes, 1, u64::MAX);
    size("inflated", &mut limits.entry_bytes, 1, u64::MAX);
    size("inflated_total", &mut limits.total_bytes, 1, u64::MAX);
    let mut text = limits.text_bytes as u64;
    size("text", &mut text, 1, LARGEST_TEXT);
    limits.text_bytes = usize::try_from(text).unwrap_or(limits.text_bytes);
    size("text_total", &mut limits.total_text_bytes, 1, LARGEST_TEXT);
    size("memory", &mut limits.memory_bytes, LEAST_MEMORY, u64::MAX);
    let count = |key, most: u32, otherwise: u64| {
        let found = section.optional(key, |field| field.integer(1..=i64::from(most)));
        found.map_or(otherwise, i64::unsigned_abs)
    };
    let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    limits.ratio = count("ratio", 1_032, limits.ratio);
    limits.entries = small(count("parts", 65_535, limits.entries as u64)) as usize;
    limits.rows = small(count("rows", 1_048_576, limits.rows.into()));
    limits.columns = small(count("columns", 16_384, limits.columns.into()));
    limits.cells = count("cells", u32::MAX, limits.cells);
    limits.shared_strings = count("strings", u32::MAX, limits.shared_strings);
    limits.formats = count("formats", u32::MAX, limits.formats);
    let time = section.optional("time", |field| {
        field.parse(|text| {
            text::duration_within(text, Duration::from_secs(1), Duration::from_secs(3600))
        })
    });
    limits.time = time.unwrap_or(limits.time);
    section.finish();
    limits
}

fn serve(section: Section<'_>) -> ServeConfig {
    const MESSAGE: &str = "is not an address with a port; write 127.0.0.1:8642";
    let listen = section.optional("listen", |field| {
        field.parse(|t| text::parsed::<SocketAddr>(t, MESSAGE))
    });
    let allows_public = section.optional("allow_public", Field::boolean) == Some(true);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !allows_public {
        section.problem(
            "listen",
            "`listen` is reachable by others, and the status page asks for no password; listen on \
             127.0.0.1, or add allow_public = true behind a proxy or inside a container",
        );
    }
    let hosts = section.optional("hosts", |field| {
        let items = field.items()?;
        let names = items.iter().map(|item| item.parse(text::host));
        names.collect::<Result<Vec<String>, String>>()
    });
    section.finish();
    let default = ServeConfig::default();
    ServeConfig {
        listen: listen.unwrap_or(default.listen),
        hosts: hosts.unwrap_or_default(),
    }
}

fn tenants(section: Section<'_>, folder: &Path) -> (BTreeMap<String, TenantConfig>, TenantZones) {
    let (mut tenants, mut zones) = (BTreeMap::new(), TenantZones::new());
    for (name, entry) in section.subsections() {
        let (tenant, zone) = tenant::read(name, entry, folder);
        zones.insert(name.to_owned(), zone);
        tenants.extend(tenant.map(|tenant| (name.to_owned(), tenant)));
    }
    if section.is_present() && zones.is_empty() {
        section.problem_here("there is no tenant; add a section such as [tenants.acme]");
    }
    (tenants, zones)
}

/// Parts the jobs that are run from those that are not. Of the jobs of events only what can come in
/// is left.
fn on_and_off(
    jobs: Vec<(JobSpec, bool)>,
    tenants: &BTreeMap<String, TenantConfig>,
) -> (Vec<JobSpec>, Vec<JobOff>) {
    let has_inlet = |name: &String| tenants.get(name).is_some_and(|of| of.events.is_some());
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for (mut spec, is_enabled) in jobs {
        if spec.dataset.is_received() {
            spec.tenants.retain(has_inlet);
        }
        let why = match (is_enabled, spec.tenants.is_empty()) {
            (false, _) => WhyOff::Disabled,
            (true, true) => WhyOff::NoInlet,
            (true, false) => {
                on.push(spec);
                continue;
            }
        };
        off.push(JobOff { spec, why });
    }
    (on, off)
}

/// Events that no job takes would come in for nothing.
fn check_inlets(root: &Section<'_>, jobs: &[JobSpec], tenants: &BTreeMap<String, TenantConfig>) {
    for tenant in tenants.values().filter(|tenant| tenant.events.is_some()) {
        let takes = |job: &JobSpec| job.dataset.is_received() && job.tenants.contains(&tenant.name);
        if !jobs.iter().any(takes) {
            let datasets = Dataset::ALL
                .into_iter()
                .filter(|dataset| dataset.is_received());
            let names: Vec<String> = datasets.map(|dataset| format!("`{dataset}`")).collect();
            let name = &tenant.name;
            root.problem(
                "tenants",
                format!(
                    "[tenants.{name}.events] brings events, and no job takes them; add a job of {} \
                     (`meetlake init` writes them), or remove the section",
                    names.join(" or ")
                ),
            );
        }
    }
}

/// Reads every job file of the folder. A problem of the folder is reported at the key that names
/// it, a problem of a file in that file.
fn jobs(
    root: &Section<'_>,
    folder: &Path,
    environment: Environment<'_>,
    zones: &TenantZones,
    diagnostics: &RefCell<Diagnostics>,
) -> Vec<(JobSpec, bool)> {
    let read = |field: &Field<'_>| field.parse(|name| job_files(&folder.join(name)));
    let in_default_folder = || {
        job_files(&folder.join("jobs"))
            .inspect_err(|message| root.problem("jobs", format!("the folder `jobs` {message}")))
            .ok()
    };
    let files = root.optional_or("jobs", read, in_default_folder);
    let files = files.unwrap_or_default();
    let mut diagnostics = diagnostics.borrow_mut();
    let drafts: Vec<_> = files
        .iter()
        .filter_map(|file| read_job(file, environment, zones, &mut diagnostics))
        .collect();
    let between = job_file::check_together(&drafts, files.len());
    diagnostics.problems.extend(between);
    drafts
        .into_iter()
        .map(job_file::JobDraft::into_spec)
        .collect()
}

/// The job files of a folder, in the order of their names; an error if there is none.
fn job_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| format!("cannot be read: {error}"))?;
    let paths = entries.iter().map(fs::DirEntry::path);
    let mut files: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err("holds no .toml file; `meetlake init` writes one for each dataset".to_owned());
    }
    Ok(files)
}

fn read_job<'p>(
    file: &'p Path,
    environment: Environment<'_>,
    zones: &TenantZones,
    diagnostics: &mut Diagnostics,
) -> Option<job_file::JobDraft<'p>> {
    let text = read_file(file)
        .inspect_err(|message| {
            diagnostics
                .problems
                .push(Problem::new(file, Position::START, message.as_str()));
        })
        .ok()?;
    let document = Document::new(file, &text, environment);
    let draft = job_file::read(&document, file, zones);
    diagnostics.take(document);
    draft
}

/// The text of a file of at most a mebibyte.
fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(LONGEST_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > LONGEST_FILE_BYTES => {
            Err("the file is larger than 1 MiB".to_owned())
        }
        Ok(_) => Ok(text),
        Err(error) => Err(format!("the file cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-51c2d7";

    /// A configuration in a folder of its own.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new(config: &str, jobs: &[(&str, &str)]) -> Self {
            let files = Self(tempfile::tempdir().expect("a folder"));
            fs::create_dir(files.0.path().join("jobs")).expect("made");
            files.write(FILE_NAME, config);
            for (name, text) in jobs {
                files.write(
                    &format!("jobs/{name}.toml"),
                    &format!("version = 1\n{text}"),
                );
            }
            files
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).expect("written");
        }

        fn load(&self) -> Result<Config, Problems> {
            load(&self.0.path().join(FILE_NAME), &environment)
        }

        /// The problems without the path of the folder.
        fn problems(&self) -> String {
            let problems = self.load().expect_err("a configuration with problems");
            let folder = format!("{}/", self.0.path().display());
            problems.to_string().replace(&folder, "")
        }
    }

    fn environment(name: &str) -> Option<String> {
        name.starts_with("SET_").then(|| CANARY.to_owned())
    }

    const TENANT: &str = "version = 1\nlake.url = 'memory:///'\n[tenants.acme]\nhost = 'feishu'\n\
                          app_id = 'cli_1'\napp_secret = '${SET_SECRET}'\n";
    const MEETINGS: (&str, &str) = (
        "meetings",
        "dataset = 'meeting_list'\ncron = '20 3 * * *'\n",
    );

    #[test]
    fn a_share_is_whole_percent_and_some_of_the_quota() {
        for (text, expected) in [("1%", Some(1)), ("50 %", Some(50)), ("100%", Some(100))] {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
        for text in ["0%", "101%", "300%", "-1%", "2.5%", "50", "%", ""] {
            let why = share(text).expect_err(text);
            assert!(why.contains("from 1% to 100%"), "{text}: {why}");
        }
    }

    #[test]
    fn a_small_configuration_gets_every_default() {
        let files = Files::new(TENANT, &[MEETINGS]);
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        let acme = &config.tenants["acme"];
        assert_eq!(acme.host.as_str(), "https://open.feishu.cn/");
        assert_eq!(acme.time_zone.iana_name(), Some("Asia/Shanghai"));
        assert_eq!(config.ledger_path, files.0.path().join("meetlake.db"));
        assert_eq!(config.spool_path, files.0.path().join("spool"));
        assert_eq!(config.limits, LimitsConfig::default());
        assert_eq!(config.jobs[0].tenants, ["acme"]);
        assert_eq!(config.jobs[0].time_zone, acme.time_zone);
    }

    #[test]
    fn what_other_programs_would_do_with_a_bucket_is_warned_of() {
        let warnings = |lake: &str, bundle: &str| {
            let tenant = TENANT.replace("lake.url = 'memory:///'", lake);
            let files = Files::new(&tenant, &[MEETINGS]);
            let environment = |name: &str| match name {
                "AWS_CA_BUNDLE" => Some(bundle.to_owned()),
                name => environment(name),
            };
            let config = load(&files.0.path().join(FILE_NAME), &environment);
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            let messages = config
                .warnings
                .iter()
                .map(|warning| warning.message.clone());
            messages.collect::<Vec<_>>().join("\n")
        };
        let on = |endpoint: &str| {
            format!(
                "lake = {{ url = 's3://b/x', options = {{ endpoint = '{endpoint}', \
                 virtual_hosted_style_request = 'on' }} }}"
            )
        };
        let without = warnings(&on("https://store.example"), "");
        assert!(
            without.contains("write https://b.store.example,"),
            "{without}"
        );
        assert_eq!(warnings(&on("https://b.store.example"), ""), "");
        assert_eq!(
            warnings(&on("https://store.example").replace("'on'", "'off'"), ""),
            ""
        );
        let bundle = warnings("lake.url = 's3://b'", "/etc/ca.pem");
        assert!(
            bundle.contains("name the file in SSL_CERT_FILE"),
            "{bundle}"
        );
        assert_eq!(warnings("lake.url = 'memory:///'", "/etc/ca.pem"), "");
    }

    #[test]
    fn every_problem_of_all_files_is_told_at_once() {
        let config = r#"
version = 2
jbos = "jobs"

[lake]
bukcet = "meetings"

[ledger]
path = 7

[limits]
exports_per_minute = 0
[limits.workbook]
size = "256MB"
cels = 5
text_total = "4GiB"

[serve]
listen = "0.0.0.0:8642"

[tenants.acme]
host = "larc"
app_id = "${MISSING_ID}"
app_secret = "literal-canary-51c2d7"
time_zone = "Asia/Shangai"
unit = 4

[tenants.Beta]
host = "http://example.com"
app_secret_file = "nowhere"
"#;
        let jobs = [
            (
                "meetings",
                "dataset = 'meeting_lits'\ncron = '61 3 * * *'\nwindow = '36h'\n\
                 settle_delay = '6'\ntenants = ['acne']\n",
            ),
            (
                "quality",
                "dataset = 'participant_quality_list'\ncorn = '0 4 * * *'\nstart = 2026-02-30\n\
                 [fan_out]\nsample = 2.0\n[request]\nlimit = 10\n",
            ),
        ];
        let files = Files::new(config, &jobs);
        insta::assert_snapshot!(files.problems(), @r#"
        jobs/meetings.toml:2:11: `dataset` `meeting_lits` is not one of daily_report, top_user, meeting_list, participant_list, participant_quality_list, resource_reservation_list, room, room_level, room_config, reserve_config, reserve, alert, meeting, meeting_participant, recording, meeting_event, room_event; did you mean `meeting_list`?
        jobs/meetings.toml:3:8: `cron` `61 3 * * *` has a wrong minute; it may be 0 to 59, *, lists, ranges and steps of them
        jobs/meetings.toml:4:10: `window` `36h` must be whole days, from 1d to 31d
        jobs/meetings.toml:5:16: `settle_delay` `6` is not a duration; write a whole number and a unit: 30s, 15m, 6h, 1d
        jobs/meetings.toml:6:12: `acne` is not a tenant; did you mean `acme`?
        jobs/quality.toml:3:1: unknown key `corn`; did you mean `cron`?
        jobs/quality.toml:4:9: invalid date, expected day between 01 and 28
        jobs/quality.toml:6:10: `sample` must be more than 0 and at most 1, not 2.0
        jobs/quality.toml:8:9: `limit` is an option of top_user, not of participant_quality_list
        meetlake.toml:2:11: `version` must be 1, not 2
        meetlake.toml:3:1: unknown key `jbos`; did you mean `jobs`?
        meetlake.toml:5:1: `url` is missing in [lake]
        meetlake.toml:6:1: unknown key `bukcet` in [lake]; known here: `url`, `key`, `key_file`, `allow_http`, `options`
        meetlake.toml:9:8: `path` must be text in quotes, not a number
        meetlake.toml:12:22: `exports_per_minute` must be from 1 to 1000000, not 0
        meetlake.toml:14:8: `size` `256MB` is not a size; write a whole number and a unit: 64KiB, 256MiB, 2GiB
        meetlake.toml:15:1: unknown key `cels` in [limits.workbook]; did you mean `cells`?
        meetlake.toml:16:14: `text_total` `4GiB` is too much; the most is 2047MiB
        meetlake.toml:19:10: `listen` is reachable by others, and the status page asks for no password; listen on 127.0.0.1, or add allow_public = true behind a proxy or inside a container
        meetlake.toml:22:8: `host` `larc` is not a host; write feishu, lark, https://HOST, or http://127.0.0.1:PORT for a simulator
        meetlake.toml:23:10: `app_id` needs the environment variable `MISSING_ID`, which is not set
        meetlake.toml:24:14: `app_secret` stands in the file itself; write app_secret = "${NAME}" and set that variable, or use app_secret_file; for a simulator, allow_inline_secret = true beside it permits it
        meetlake.toml:25:13: `time_zone` `Asia/Shangai` is not a zone of the IANA database; did you mean `Asia/Shanghai`?
        meetlake.toml:26:8: `unit` must be from 0 to 3, not 4
        meetlake.toml:28:1: `app_id` is missing in [tenants.Beta]
        meetlake.toml:28:1: the name of a tenant must be lower-case letters, digits, `-` and `_`, start with a letter or digit, and have at most 64 characters
        meetlake.toml:29:8: `host` `http://example.com` must use https; http is for this machine only
        meetlake.toml:30:19: `app_secret_file` `nowhere` cannot be read: No such file or directory (os error 2)
        "#);
    }

    #[test]
    fn options_of_the_store_and_paths_are_checked_offline() {
        for (lines, expected) in [
            ("url = 's3://b'\n[lake.options]\nregoin = 'x'", "`region`"),
            (
                "url = 's3://b'\n[lake.options]\nskip_signature = 'ture'",
                "\"true\" or",
            ),
            (
                "url = 's3://b'\n[lake.options]\nconditional_put = 'disabled'",
                "If-None-Match",
            ),
            ("url = 's3://b'\n[lake.options]\nbucket = 'c'", "[lake] url"),
            (
                "url = 's3://b'\n[lake.options]\nendpoint = 'http://10.0.0.1'",
                "allow_http",
            ),
            (
                "url = 's3://b'\nallow_http = ['10.0.0.1']\n[lake.options]\n\
                 endpoint = 'http://10.0.0.1'",
                "",
            ),
            (
                "url = 'lake'\n[lake.options]\nregion = 'x'",
                "has no options",
            ),
            ("url = '~/lake'", "begins with `~`"),
            ("url = 'file:///x#y'", "%23"),
            ("url = 'lake'\nkey_file = '~/k'", "begins with `~`"),
            (
                "url = 'lake'\n[ledger]\npath = '~/ledger.db'",
                "begins with `~`",
            ),
        ] {
            let config = format!(
                "version = 1\n[lake]\n{lines}\n[tenants.acme]\nhost = 'feishu'\n\
                 app_id = 'cli_1'\napp_secret = '${{SET_SECRET}}'\n"
            );
            let files = Files::new(
                &config,
                &[("m", "dataset = 'daily_report'\ncron = '1 1 * * *'\n")],
            );
            let found = match files.load() {
                Ok(_) => String::new(),
                Err(problems) => problems.to_string(),
            };
            assert!(found.contains(expected), "{lines}: {found}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{lines}: {found}");
        }
    }

    #[test]
    fn the_lakes_key_is_a_secret_or_a_file_apart_from_the_ledger() {
        let key = "0f".repeat(32);
        let config = |lines: &str| {
            format!(
                "version = 1\n[lake]\nurl = 'lake'\n{lines}\n[tenants.acme]\nhost = 'feishu'\n\
                 app_id = 'cli_1'\napp_secret = '${{SECRET}}'\n"
            )
        };
        let jobs = [("meetings", "dataset = 'meeting_list'\ncron = '0 3 * * *'\n")];
        let load = |lines: &str| {
            let files = Files::new(&config(lines), &jobs);
            let environment = |name: &str| match name {
                "KEY" => Some(key.clone()),
                "SECRET" => Some("a-secret".to_owned()),
                "BROKEN" => Some("no-key-canary".to_owned()),
                "HOME" => Some("/home/somebody".to_owned()),
                _ => None,
            };
            load(&files.0.path().join(FILE_NAME), &environment)
        };
        let source = |lines: &str| load(lines).expect("valid").lake.key;
        let default = source("").file("1").expect("a file");
        assert_eq!(
            default,
            Path::new("/home/somebody/.local/share/meetlake/keys/1.key")
        );
        let file = source("key_file = 'keys/lake.key'").file("1");
        assert!(file.expect("a file").ends_with("keys/lake.key"));
        assert!(matches!(source("key = '${KEY}'"), KeySource::Secret(_)));
        for (lines, said) in [
            ("key_file = 'lake.key'", "the ledger's folder"),
            ("key = '0f0f'", "stands in the file itself"),
            ("key = '${BROKEN}'", "64 hex digits"),
            ("key = '${KEY}'\nkey_file = 'keys/k'", "keep one"),
        ] {
            let problems = load(lines).expect_err("refused").to_string();
            assert!(problems.contains(said), "{lines}: {problems}");
            assert!(!problems.contains("canary"), "{problems}");
        }
    }

    #[test]
    fn jobs_must_agree_with_one_another() {
        let jobs = [
            MEETINGS,
            ("again", MEETINGS.1),
            (
                "participants",
                "dataset = 'participant_list'\ncron = '40 3 * * *'\ntime_zone = 'UTC'\n",
            ),
            (
                "quality",
                "dataset = 'participant_quality_list'\ncron = '10 4 * * *'\ntime_zone = 'UTC'\n\
                 window = '2d'\n",
            ),
            (
                "rooms",
                "dataset = 'resource_reservation_list'\ncron = '10 4 * * *'\n[fan_out]\n\
                 sample = 0.5\n[request]\nuser_id_type = 'open_id'\n",
            ),
        ];
        let files = Files::new(TENANT, &jobs);
        insta::assert_snapshot!(files.problems(), @r#"
        jobs/meetings.toml:2:11: meeting_list of tenant `acme` is already exported by the job `again`; one partition has one job
        jobs/participants.toml:4:13: `time_zone` differs from the job `again`, which exports the parent rows of tenant `acme`; both must cut the same windows
        jobs/quality.toml:5:10: `window` differs from the job `participants`, which exports the parent rows of tenant `acme`; both must cut the same windows
        jobs/quality.toml:5:10: windows longer than a day are counted from `start`; add it
        jobs/rooms.toml:4:1: [fan_out] has no meaning for resource_reservation_list, which has no parent dataset; remove the section
        jobs/rooms.toml:7:16: `user_id_type` is an option of top_user, meeting_list, participant_list, participant_quality_list, room, room_config, reserve_config, reserve, not of resource_reservation_list
        "#);
    }

    #[test]
    fn a_child_needs_its_parent_for_each_tenant() {
        let config = format!(
            "{TENANT}[tenants.beta]\nhost = 'lark'\ntime_zone = 'Asia/Tokyo'\napp_id = 'b'\n\
             app_secret = '${{SET_B}}'\n"
        );
        let jobs = [
            (
                "meetings",
                "dataset = 'meeting_list'\ntenants = ['acme']\ncron = '20 3 * * *'\n",
            ),
            (
                "both",
                "dataset = 'participant_list'\ntime_zone = 'Asia/Shanghai'\ncron = '20 3 * * *'\n",
            ),
            ("top", "dataset = 'top_user'\ncron = '20 3 * * *'\n"),
        ];
        let files = Files::new(&config, &jobs[..2]);
        assert_eq!(
            files.problems(),
            "jobs/both.toml:2:11: participant_list is exported for each row of meeting_list, and \
             no job exports that for tenant `beta`; add one"
        );
        let files = Files::new(&config, &jobs[2..]);
        assert_eq!(
            files.problems(),
            "jobs/top.toml:1:1: the tenants of this job are in different time zones; write a job \
             for each zone"
        );
        // A ranking is of a civil day, and that is the tenant's.
        let own_zone = "dataset = 'top_user'\ntime_zone = 'UTC'\ncron = '20 3 * * *'\n";
        assert_eq!(
            Files::new(&config, &[("top", own_zone)]).problems(),
            "jobs/top.toml:3:13: the days of top_user are the tenant's; remove `time_zone`"
        );
    }

    #[test]
    fn no_secret_is_in_debug_output_or_in_any_problem() {
        let good = format!(
            "{TENANT}[lake.options]\naws_secret_access_key = '${{SET_KEY}}'\naws_region = 'x'\n"
        );
        let good = good.replace("lake.url = 'memory:///'\n", "[lake]\nurl = 's3://bucket'\n");
        let config = Files::new(&good, &[MEETINGS])
            .load()
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!format!("{config:?}").contains(CANARY));

        // Puts the secret into every wrong place, from the environment and literally.
        let places = [
            "version = 'S'",
            "jobs = 'S'",
            "lake.url = 'S'",
            "lake.url = 'https://S'",
            "lake.url = 's3://S@b'",
            "lake = 'S'",
            "ledger.path = ['S']",
            "serve.listen = 'S'",
            "limits.workbook.size = 'S'",
            "tenants.acme.host = 'S'",
            "tenants.acme.time_zone = 'S'",
            "tenants.acme.app_secret_file = 'S'",
            "tenants.acme.unit = 'S'",
            "tenants.acme.app_secret = 'S",
            "lake.options.aws_secret_access_key = ['S']",
        ];
        for place in places {
            let text = place.replace('S', "${SET_SECRET}");
            let problems = Files::new(&text, &[MEETINGS]).problems();
            assert!(!problems.contains(CANARY), "{place}: {problems}");
        }
        for place in [
            "tenants.acme.app_secret = 'S'",
            "tenants.acme.app_secret = S",
            "tenants.acme.app_secret = 'S",
            "lake.options.aws_secret_access_key = 'S'",
        ] {
            let text = place.replace('S', CANARY);
            let problems = Files::new(&text, &[MEETINGS]).problems();
            assert!(!problems.contains(CANARY), "{place}: {problems}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn secrets_come_from_files_and_an_open_file_is_warned_about() {
        use std::os::unix::fs::PermissionsExt;

        use secrecy::ExposeSecret;

        let config = TENANT.replace("app_secret = '${SET_SECRET}'", "app_secret_file = 'secret'");
        let files = Files::new(&config, &[MEETINGS]);
        files.write("secret", "from-a-file\n");
        let set_mode = |mode| {
            let path = files.0.path().join("secret");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        };
        set_mode(0o600);
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(
            config.tenants["acme"].app_secret.expose_secret(),
            "from-a-file"
        );
        assert!(config.warnings.is_empty());
        set_mode(0o644);
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        assert!(
            config.warnings[0].message.contains("mode 0644"),
            "{:?}",
            config.warnings
        );
        files.write("secret", "");
        assert!(
            files
                .problems()
                .ends_with("`app_secret_file` `secret` is an empty file")
        );
    }

    #[test]
    fn a_literal_secret_needs_permission_and_plain_http_needs_this_machine() {
        let simulator = "version = 1\nlake.url = 'lake'\n[tenants.sim]\n\
                         host = 'http://127.0.0.1:8080'\ntime_zone = 'Asia/Shanghai'\n\
                         app_id = 'cli_a000000000000001'\napp_secret = 'simulator-secret'\n";
        let files = Files::new(simulator, &[MEETINGS]);
        assert!(files.problems().contains("stands in the file itself"));
        let files = Files::new(
            &format!("{simulator}allow_inline_secret = true\n"),
            &[MEETINGS],
        );
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.lake.url.scheme(), "file");
        assert!(config.lake.url.path().ends_with("/lake/"));
    }

    #[test]
    fn jobs_of_events_are_on_where_events_come_in() {
        let events = ("events", "dataset = 'meeting_event'\ncron = '0 9 * * *'\n");
        let load = |inlet: &str, jobs: &[(&str, &str)]| {
            let files = Files::new(&format!("{TENANT}[tenants.acme.events]\n{inlet}"), jobs);
            files.load().map_err(|problems| problems.to_string())
        };
        let without = Files::new(TENANT, &[MEETINGS, events])
            .load()
            .expect("valid");
        assert_eq!(
            (without.jobs.len(), without.jobs_off[0].spec.name.as_str()),
            (1, "events")
        );
        assert_eq!(without.jobs_off[0].why, WhyOff::NoInlet);
        let with = load("inlet = 'long_connection'", &[MEETINGS, events]).expect("valid");
        assert_eq!((with.jobs.len(), with.jobs_off.len()), (2, 0));
        assert_eq!(with.jobs[0].settle_delay, Duration::from_secs(8 * 3600));
        let hook =
            "inlet = 'webhook'\nlisten = '0.0.0.0:8643'\nverification_token = '${SET_TOKEN}'\n";
        let unsigned = load(hook, &[events]).expect("valid");
        assert_eq!(unsigned.warnings.len(), 1, "{:?}", unsigned.warnings);
        let signed =
            load(&format!("{hook}encrypt_key = '${{SET_KEY}}'"), &[events]).expect("valid");
        assert_eq!(signed.warnings.len(), 0, "{:?}", signed.warnings);
        assert!(!format!("{signed:?}").contains(CANARY));
        for (inlet, jobs, expected) in [
            (
                "",
                &[events][..],
                "`inlet` is missing in [tenants.acme.events]",
            ),
            (
                "inlet = 'post'",
                &[events][..],
                "is not one of long_connection, webhook",
            ),
            (
                "inlet = 'long_connection'",
                &[MEETINGS][..],
                "and no job takes them",
            ),
            (
                "inlet = 'long_connection'\nlisten = '127.0.0.1:1'",
                &[events][..],
                "is of the webhook",
            ),
            (
                "inlet = 'webhook'\nverification_token = '${SET_TOKEN}'",
                &[events][..],
                "`listen` is missing",
            ),
            (
                "inlet = 'webhook'\nlisten = '127.0.0.1:1'",
                &[events][..],
                "`verification_token` or `verification_token_file` is missing",
            ),
            (
                "inlet = 'webhook'\nlisten = '127.0.0.1:1'\nverification_token = 'canary-51c2d7'",
                &[events][..],
                "write verification_token = \"${NAME}\"",
            ),
            (
                "inlet = 'long_connection'",
                &[(
                    "events",
                    "dataset = 'meeting_event'\ncron = '0 9 * * *'\nlookback = '3d'\n",
                )][..],
                "`lookback` has no meaning for meeting_event",
            ),
        ] {
            let problems = load(inlet, jobs).expect_err(expected);
            assert!(problems.contains(expected), "{inlet}: {problems}");
            assert!(!problems.contains(CANARY), "{problems}");
        }
    }

    /// It is read all the same, so that a mistake is not found on the day it is switched on.
    #[test]
    fn a_job_that_is_switched_off_is_valid_and_in_nobody_s_way() {
        let off = "enabled = false\ndataset = 'meeting_list'\ncron = '0 4 * * *'\n";
        let files = Files::new(TENANT, &[MEETINGS, ("off", off)]);
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((config.jobs.len(), config.jobs_off.len()), (1, 1));
        assert_eq!(config.jobs_off[0].why, WhyOff::Disabled);
        let child = "dataset = 'participant_list'\ncron = '0 5 * * *'\n";
        for (jobs, expected) in [
            (
                &[("off", off), ("child", child)][..],
                "switch on the job `off`",
            ),
            (
                &[(
                    "off",
                    "enabled = 'no'\ndataset = 'room'\ncron = '0 5 * * *'\n",
                )][..],
                "`enabled`",
            ),
            (
                &[(
                    "off",
                    "enabled = false\ndataset = 'room'\ncron = '61 5 * * *'\n",
                )][..],
                "wrong minute",
            ),
        ] {
            let problems = Files::new(TENANT, jobs).problems();
            assert!(problems.contains(expected), "{problems}");
        }
    }

    #[test]
    fn ids_are_read_from_a_file_beside_the_job() {
        let job = |lines: &str| format!("{lines}dataset = 'reserve'\ncron = '0 5 * * *'\n");
        let named = job("") + "[request]\nids_file = 'ids.txt'\n";
        let files = Files::new(TENANT, &[("reserve", &named)]);
        let missing = files.problems();
        assert!(
            missing.contains("reserve.toml:5:12: `ids_file` `ids.txt` ("),
            "{missing}"
        );
        assert!(missing.contains("the file cannot be read"), "{missing}");
        files.write("jobs/ids.txt", "# mine\n6911188411932033028\n");
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.jobs[0].options.reserve_ids, ["6911188411932033028"]);
        files.write("jobs/ids.txt", "1\n2 3\n");
        assert!(
            files.problems().contains("has no id in line 2"),
            "{}",
            files.problems()
        );
        let unnamed = Files::new(TENANT, &[("reserve", &job(""))]).problems();
        assert!(unnamed.contains("`ids_file` is missing"), "{unnamed}");
        let off = Files::new(
            TENANT,
            &[(
                "reserve",
                &(job("enabled = false\n") + "[request]\nids_file = 'ids.txt'\n"),
            )],
        );
        assert!(off.load().is_ok());
        let elsewhere = "dataset = 'room'\ncron = '0 5 * * *'\n[request]\nids_file = 'x'\n";
        let elsewhere = Files::new(TENANT, &[("room", elsewhere)]).problems();
        assert!(
            elsewhere.contains("is an option of reserve, not of room"),
            "{elsewhere}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_one_problem_with_a_way_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let problems = load(&dir.path().join(FILE_NAME), &environment).expect_err("nothing there");
        assert_eq!(problems.as_slice().len(), 1);
        assert!(
            problems.to_string().contains("`meetlake init`"),
            "{problems}"
        );
        let files = Files::new(TENANT, &[]);
        assert!(files.problems().contains("holds no .toml file"));
    }

    #[test]
    fn the_shipped_jobs_load_and_children_fire_after_their_parents() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
        let config = format!("jobs = '{}'\n{TENANT}", shipped.display());
        let files = Files::new(&config, &[]);
        let config = files.load().unwrap_or_else(|problems| panic!("{problems}"));
        let jobs = config.jobs.len() + config.jobs_off.len();
        assert_eq!(jobs, Dataset::ALL.len());
        let midnight = "2026-11-18T16:00:00Z"
            .parse()
            .expect("midnight in Shanghai");
        let first = |job: &JobSpec| {
            let schedule = crate::schedule::Schedule::parse(&job.cron, job.time_zone.clone());
            schedule.expect("it fires").next_after(midnight)
        };
        for job in &config.jobs {
            assert_eq!(job.name, job.dataset.as_str());
            let parent = config
                .jobs
                .iter()
                .find(|other| Some(other.dataset) == job.dataset.parent());
            assert!(
                parent.is_none_or(|parent| first(parent) < first(job)),
                "{}",
                job.name
            );
        }
    }

    #[test]
    fn the_configurations_in_deploy_load() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let read = |name: &str| fs::read_to_string(deploy.join(name)).expect("it is shipped");
        let manifests = read("kubernetes/base.yaml");
        let (_, from_here) = manifests
            .split_once("meetlake.toml: |\n")
            .expect("a ConfigMap");
        let (in_manifest, _) = from_here.split_once("---").expect("more manifests");
        let in_manifest = in_manifest.replace("\n    ", "\n");
        for text in [read("compose/meetlake.toml"), in_manifest] {
            let text = text
                .replace("/etc/meetlake/jobs", "jobs")
                .replace("/etc/meetlake-jobs", "jobs")
                .replace("/run/secrets/meetlake/app_secret", "secret")
                .replace("${FEISHU_", "${SET_")
                .replace("${AWS_", "${SET_");
            let files = Files::new(&text, &[MEETINGS]);
            files.write("secret", "one");
            files.load().unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}

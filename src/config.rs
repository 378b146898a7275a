//! The configuration: one TOML file with tenants, lake, ledger and limits, and a folder of job files beside it.
//!
//! [`load`] reads everything, checks everything and reports every problem at once, by file and line. Nothing else reads the environment,
//! except for the credentials that the store's own library finds there. Debug output shows no secret.
//!
//! ```text
//! meetlake.toml ─► document (sections, fields, places) ─► tenant, job_file ─► rules between jobs ─► Config or Problems
//! ```

mod document;
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

use secrecy::SecretString;
use url::Url;

pub use document::Environment;
pub use problem::{Position, Problem, Problems};
pub use tenant::TenantConfig;
pub use text::show_duration;

use crate::job::JobSpec;
use document::{Field, Section, Source};
use job_file::TenantZones;

/// Name of the file that is looked for when none is given.
pub const FILE_NAME: &str = "meetlake.toml";

/// A configuration or job file is a page or two; a larger one is something else.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

/// Everything that `meetlake.toml` and the job files say, validated.
#[derive(Debug)]
pub struct Config {
    /// The file that was read.
    pub path: PathBuf,
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
    /// The tenants by name; at least one.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// The jobs, in the order of their names; at least one.
    pub jobs: Vec<JobSpec>,
    /// What works but deserves a look, such as a secret file that others can read.
    pub warnings: Vec<Problem>,
}

/// Where the lake is, and how its store is reached.
#[derive(Clone)]
pub struct LakeConfig {
    /// `file://`, `s3://`, `gs://`, `az://` or `memory://`.
    pub url: Url,
    /// Options of the store by the names of `object_store`; any of them may be a secret.
    pub options: BTreeMap<String, SecretString>,
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
    /// Calls a minute to each of the six export endpoints; Feishu allows 100. Lower it where another program shares the app.
    pub exports_per_minute: u32,
    /// Calls a minute to rooms and to room levels; Feishu allows 1,000.
    pub rooms_per_minute: u32,
    /// Calls a minute to each report; Feishu publishes no limit, and without one here its headers are followed.
    pub reports_per_minute: Option<u32>,
    /// Tasks that are under way at the same time. 128: with 100 submits a minute and exports that take a minute, the quota stays used.
    pub tasks_in_flight: usize,
    /// What a workbook may be.
    pub workbook: WorkbookLimits,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            exports_per_minute: 100,
            rooms_per_minute: 1000,
            reports_per_minute: None,
            tasks_in_flight: 128,
            workbook: WorkbookLimits::default(),
        }
    }
}

/// What a workbook may be before it is refused; see the design, "Spreadsheets are hostile until proven".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkbookLimits {
    /// Size of the file, bytes.
    pub max_bytes: u64,
    /// Inflated size of one entry, bytes.
    pub max_inflated_bytes: u64,
    /// Number of cells.
    pub max_cells: u64,
}

impl Default for WorkbookLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_inflated_bytes: 2 << 30,
            max_cells: 50_000_000,
        }
    }
}

/// The web server of `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where it listens; an address that others can reach only with `allow_public`.
    pub listen: SocketAddr,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8642),
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
    let findings = RefCell::default();
    let config = read_config(path, environment, &findings);
    let Findings { problems, warnings } = findings.into_inner();
    match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Problems::new(problems)),
    }
}

/// What was found in all files.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Findings {
    fn take(&mut self, source: Source<'_>) {
        let (problems, warnings) = source.into_findings();
        self.problems.extend(problems);
        self.warnings.extend(warnings);
    }
}

fn read_config(
    path: &Path,
    environment: Environment<'_>,
    findings: &RefCell<Findings>,
) -> Option<Config> {
    let text = read_file(path)
        .inspect_err(|message| {
            let hint = "`meetlake init` writes one";
            let problem = Problem::new(path, Position::START, format!("{message}; {hint}"));
            findings.borrow_mut().problems.push(problem);
        })
        .ok()?;
    let source = Source::new(path, &text, environment);
    let config = read_sections(&source, path, environment, findings);
    findings.borrow_mut().take(source);
    config
}

fn read_sections(
    source: &Source<'_>,
    path: &Path,
    environment: Environment<'_>,
    findings: &RefCell<Findings>,
) -> Option<Config> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = source.parse()?;
    let root = source.root(&table);
    root.required("version", |field| field.integer(1..=1));
    let lake = lake(root.required_section("lake"), folder);
    let (ledger_path, spool_path) = ledger(root.section("ledger"), folder);
    let limits = limits(root.section("limits"));
    let serve = serve(root.section("serve"));
    let (tenants, zones) = tenants(root.required_section("tenants"), folder);
    let jobs = jobs(&root, folder, environment, &zones, findings);
    root.finish();
    Some(Config {
        path: path.to_owned(),
        lake: lake?,
        ledger_path,
        spool_path,
        limits,
        serve,
        tenants,
        jobs,
        warnings: Vec::new(),
    })
}

fn lake(section: Section<'_>, folder: &Path) -> Option<LakeConfig> {
    let url = section.required("url", |field| field.parse(|text| lake_url(text, folder)));
    let mut options = BTreeMap::new();
    for (name, field) in section.section("options").fields() {
        match option(name, &field) {
            Ok(value) => drop(options.insert(name.to_owned(), value)),
            Err(message) => field.problem(format!("`{name}` {message}")),
        }
    }
    section.finish();
    Some(LakeConfig { url: url?, options })
}

/// The lake's URL; a relative path, or `file:` with one, is a folder beside the configuration.
fn lake_url(text: &str, folder: &Path) -> Result<Url, String> {
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
    Ok(url)
}

fn folder_url(folder: &Path) -> Result<Url, String> {
    let absolute =
        std::path::absolute(folder).map_err(|error| format!("has no absolute path: {error}"))?;
    Url::from_directory_path(absolute).map_err(|()| "is not a folder".to_owned())
}

/// An option of the store as text. What looks like a credential must come from the environment.
fn option(name: &str, field: &Field<'_>) -> Result<SecretString, String> {
    const CREDENTIALS: [&str; 6] = [
        "secret",
        "token",
        "password",
        "account_key",
        "master_key",
        "sas",
    ];
    let lower = name.to_lowercase();
    let is_credential =
        CREDENTIALS.iter().any(|word| lower.contains(word)) && !lower.ends_with("_file");
    if is_credential && !field.raw()?.contains("${") {
        return Err(format!(
            "is a credential and stands in the file itself; write {name} = \"${{NAME}}\" and set that variable"
        ));
    }
    field.text().map(SecretString::from)
}

fn ledger(section: Section<'_>, folder: &Path) -> (PathBuf, PathBuf) {
    let path = |key| section.optional(key, |field| field.text().map(|path| folder.join(path)));
    let ledger = path("path").unwrap_or_else(|| folder.join("meetlake.db"));
    let spool = path("spool").unwrap_or_else(|| ledger.with_file_name("spool"));
    section.finish();
    (ledger, spool)
}

fn limits(section: Section<'_>) -> LimitsConfig {
    let defaults = LimitsConfig::default();
    let per_minute = |key| {
        section
            .optional(key, |field| field.integer(1..=10_000))
            .and_then(|calls| u32::try_from(calls).ok())
    };
    let limits = LimitsConfig {
        exports_per_minute: per_minute("exports_per_minute").unwrap_or(defaults.exports_per_minute),
        rooms_per_minute: per_minute("rooms_per_minute").unwrap_or(defaults.rooms_per_minute),
        reports_per_minute: per_minute("reports_per_minute"),
        tasks_in_flight: section
            .optional("tasks_in_flight", |field| field.integer(1..=4096))
            .and_then(|tasks| usize::try_from(tasks).ok())
            .unwrap_or(defaults.tasks_in_flight),
        workbook: workbook_limits(&section),
    };
    section.finish();
    limits
}

fn workbook_limits(section: &Section<'_>) -> WorkbookLimits {
    let defaults = WorkbookLimits::default();
    let size = |key| section.optional(key, |field| field.parse(text::size));
    WorkbookLimits {
        max_bytes: size("workbook_size").unwrap_or(defaults.max_bytes),
        max_inflated_bytes: size("workbook_inflated").unwrap_or(defaults.max_inflated_bytes),
        max_cells: section
            .optional("workbook_cells", |field| field.integer(1..=i64::MAX))
            .and_then(|cells| u64::try_from(cells).ok())
            .unwrap_or(defaults.max_cells),
    }
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
            "`listen` is reachable by others, and the status page asks for no password; listen on 127.0.0.1, or add allow_public = true behind a proxy or inside a container",
        );
    }
    section.finish();
    listen.map_or_else(ServeConfig::default, |listen| ServeConfig { listen })
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

/// Reads every job file of the folder. Problems of the folder are told at the key that names it, those of a file in the file.
fn jobs(
    root: &Section<'_>,
    folder: &Path,
    environment: Environment<'_>,
    zones: &TenantZones,
    findings: &RefCell<Findings>,
) -> Vec<JobSpec> {
    let name = root
        .optional("jobs", Field::text)
        .unwrap_or_else(|| "jobs".to_owned());
    let folder = folder.join(name);
    let files = job_files(&folder).unwrap_or_else(|error| {
        let folder = document::quoted(&folder.to_string_lossy());
        root.problem(
            "jobs",
            format!("the folder of jobs {folder} cannot be read: {error}"),
        );
        Vec::new()
    });
    let mut findings = findings.borrow_mut();
    let drafts: Vec<_> = files
        .iter()
        .filter_map(|file| read_job(file, environment, zones, &mut findings))
        .collect();
    findings
        .problems
        .extend(job_file::check_together(&drafts, files.len()));
    drafts.into_iter().map(job_file::Draft::into_spec).collect()
}

/// The job files of a folder, in the order of their names; an error if there is none.
fn job_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::other(
            "it holds no .toml file; `meetlake init` writes one for each dataset",
        ));
    }
    Ok(files)
}

fn read_job<'p>(
    file: &'p Path,
    environment: Environment<'_>,
    zones: &TenantZones,
    findings: &mut Findings,
) -> Option<job_file::Draft<'p>> {
    let text = read_file(file)
        .inspect_err(|message| {
            findings
                .problems
                .push(Problem::new(file, Position::START, message.as_str()));
        })
        .ok()?;
    let source = Source::new(file, &text, environment);
    let draft = job_file::read(&source, file, zones);
    findings.take(source);
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

//! A tenant of the configuration: the address of its Feishu or Lark, and our credentials there.
//!
//! The secret comes from the environment or from a file. It may stand in the configuration only if
//! the tenant's entry allows that.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use secrecy::SecretString;
use url::Url;

use super::document::{Field, Section};
use super::events::{self, InletConfig};
use super::text;
use crate::network;
use crate::text::control_characters;

/// A secret is one line. A larger file is not a secret.
const LONGEST_SECRET_BYTES: u64 = 4096;

/// One tenant: an organisation in Feishu or Lark, seen by one app.
#[derive(Clone)]
pub struct TenantConfig {
    /// The name in the lake (`tenant=…`) and in job files.
    pub name: String,
    /// Address of the open platform, without a path: `https://open.feishu.cn`.
    pub host: Url,
    /// Id of the app (`cli_…`).
    pub app_id: String,
    /// Secret of the app.
    pub app_secret: SecretString,
    /// File with the refresh token of a user, rewritten at each refresh. Without one, the app's own
    /// token is used.
    pub refresh_token_file: Option<PathBuf>,
    /// Another app, in whose name `meetlake api` may change something. Nothing else uses it.
    pub write_app: Option<WriteApp>,
    /// The zone in which the tenant's days begin and end.
    pub time_zone: TimeZone,
    /// Where the data of a multi-geo tenant resides: 0 mainland China, 1 US, 2 Singapore, 3 Japan.
    pub unit: Option<i32>,
    /// How its events come in; `None` if they do not.
    pub events: Option<InletConfig>,
}

/// An app that may change things.
#[derive(Clone)]
pub struct WriteApp {
    /// Id of the app (`cli_…`).
    pub app_id: String,
    /// Secret of the app.
    pub app_secret: SecretString,
}

impl fmt::Debug for WriteApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteApp")
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TenantConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantConfig")
            .field("name", &self.name)
            .field("host", &self.host.as_str())
            .field("app_id", &self.app_id)
            .field("write_app", &self.write_app)
            .field("time_zone", &self.time_zone.iana_name())
            .field("unit", &self.unit)
            .finish_non_exhaustive()
    }
}

/// Reads `[tenants.NAME]`. File names are relative to `folder`, the folder of the configuration.
/// The zone is also returned by itself, for the jobs of a tenant whose entry has other mistakes.
pub(super) fn read(
    name: &str,
    section: Section<'_>,
    folder: &Path,
) -> (Option<TenantConfig>, Option<TimeZone>) {
    if let Err(rule) = text::check_name(name) {
        section.problem_here(format!("the name of a tenant {rule}"));
    }
    let host = section.required("host", |field| field.parse(host));
    let app_id = section.required("app_id", Field::text);
    let places = SecretPlaces::of(&section, folder);
    let app_secret = secret(&section, APP_SECRET, places);
    let refresh_token_file = section.optional("refresh_token_file", |field| {
        field.parse(|path| text::path(path).map(|path| folder.join(path)))
    });
    if let Some(path) = &refresh_token_file {
        warn_of_mode(&section, "refresh_token_file", path);
    }
    let write_app = write_app(section.section("write_app"), app_id.as_deref(), folder);
    let time_zone = time_zone(&section);
    let unit = section.optional("unit", |field| field.integer(0..=3));
    let events = events::read(section.section("events"), places);
    section.finish();
    let tenant = || {
        Some(TenantConfig {
            name: name.to_owned(),
            host: host?,
            app_id: app_id?,
            app_secret: app_secret?,
            refresh_token_file,
            write_app,
            time_zone: time_zone.clone()?,
            unit: unit.and_then(|unit| i32::try_from(unit).ok()),
            events,
        })
    };
    (tenant(), time_zone)
}

/// Reads `[tenants.NAME.write_app]`. It must be another app than the one that reads, which would
/// otherwise carry the rights to write through every run.
fn write_app(section: Section<'_>, reading: Option<&str>, folder: &Path) -> Option<WriteApp> {
    if !section.is_present() {
        section.finish();
        return None;
    }
    let app_id = section.required("app_id", Field::text);
    let app_secret = secret(&section, APP_SECRET, SecretPlaces::of(&section, folder));
    if app_id.is_some() && app_id.as_deref() == reading {
        section.problem("app_id", "is the app that reads; let another one write");
    }
    section.finish();
    Some(WriteApp {
        app_id: app_id?,
        app_secret: app_secret?,
    })
}

/// `feishu`, `lark`, or an address: that of a simulator on this machine, or of a gateway over TLS.
/// The app secret is sent there, so plain HTTP is accepted for this machine only.
fn host(text: &str) -> Result<Url, String> {
    const MESSAGE: &str =
        "is not a host; write feishu, lark, https://HOST, or http://127.0.0.1:PORT for a simulator";
    let address = match text {
        "feishu" => "https://open.feishu.cn",
        "lark" => "https://open.larksuite.com",
        other => other,
    };
    let url: Url = text::parsed(address, MESSAGE)?;
    let is_bare =
        matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return Err("must be an address without a path, a query or credentials".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if network::is_loopback(&url) => Ok(url),
        "http" => Err("must use https; http is for this machine only".to_owned()),
        _ => Err(MESSAGE.to_owned()),
    }
}

/// The tenant's zone. Feishu serves mainland China, which has one zone. The simulated company, the
/// only one behind plain HTTP, is there too. A Lark tenant can be anywhere, so it must name its
/// zone.
fn time_zone(section: &Section<'_>) -> Option<TimeZone> {
    let read = |field: &Field<'_>| field.parse(text::time_zone);
    section.optional_or("time_zone", read, || {
        let host = section.raw("host");
        if host == Some("feishu") || host.is_some_and(|host| host.starts_with("http://")) {
            return text::time_zone("Asia/Shanghai").ok();
        }
        section.missing("time_zone");
        None
    })
}

/// A secret that stands in the environment or in a file: the keys of the two.
#[derive(Clone, Copy)]
pub(super) struct SecretKeys {
    pub(super) inline: &'static str,
    pub(super) file: &'static str,
}

const APP_SECRET: SecretKeys = SecretKeys {
    inline: "app_secret",
    file: "app_secret_file",
};

/// Where secrets of a tenant may stand.
#[derive(Clone, Copy)]
pub(super) struct SecretPlaces<'a> {
    /// The folder of the configuration, to which files are relative.
    pub(super) folder: &'a Path,
    /// Whether the configuration itself is one.
    pub(super) allows_inline: bool,
}

impl<'a> SecretPlaces<'a> {
    /// As the section of an app has it.
    fn of(section: &Section<'_>, folder: &'a Path) -> Self {
        let allows_inline = section.optional("allow_inline_secret", Field::boolean);
        Self {
            folder,
            allows_inline: allows_inline == Some(true),
        }
    }
}

/// Reads a secret that has to be there.
pub(super) fn secret(
    section: &Section<'_>,
    keys: SecretKeys,
    places: SecretPlaces<'_>,
) -> Option<SecretString> {
    if !section.has(keys.inline) && !section.has(keys.file) {
        section.missing(&format!("{}` or `{}", keys.inline, keys.file));
    }
    optional_secret(section, keys, places)
}

/// Reads a secret that may be there.
pub(super) fn optional_secret(
    section: &Section<'_>,
    keys: SecretKeys,
    places: SecretPlaces<'_>,
) -> Option<SecretString> {
    let allows_inline = places.allows_inline;
    let inline = section.optional(keys.inline, |field| {
        inline_secret(field, keys, allows_inline)
    });
    let from_file = section.optional(keys.file, |field| {
        field.parse(|path| {
            let path = places.folder.join(path);
            let secret = read_secret(&path)?;
            warn_of_mode(section, keys.file, &path);
            Ok(secret)
        })
    });
    if section.has(keys.inline) && section.has(keys.file) {
        let SecretKeys { inline, file } = keys;
        let message = format!("`{inline}` and `{file}` are both there; keep one");
        section.problem(file, message);
    }
    inline.or(from_file)
}

fn inline_secret(
    field: &Field<'_>,
    keys: SecretKeys,
    is_allowed: bool,
) -> Result<SecretString, String> {
    if !is_allowed && !field.raw()?.contains("${") {
        let SecretKeys { inline, file } = keys;
        return Err(format!(
            "stands in the file itself; write {inline} = \"${{NAME}}\" and set that variable, or \
             use {file}; for a simulator, allow_inline_secret = true beside it permits it"
        ));
    }
    field.text().map(SecretString::from)
}

/// The content of a secret file without its last line break. Messages name no content.
fn read_secret(path: &Path) -> Result<SecretString, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            file.take(LONGEST_SECRET_BYTES + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| format!("cannot be read: {error}"))?;
    let secret = text.trim_start_matches('\u{feff}');
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err("is an empty file".to_owned());
    }
    if text.len() as u64 > LONGEST_SECRET_BYTES || secret.contains('\n') {
        return Err("is not a secret: it must hold one line of at most 4 KiB".to_owned());
    }
    match control_characters(secret) {
        Some(wrong) => Err(wrong.to_owned()),
        None => Ok(SecretString::from(secret)),
    }
}

/// Warns of a secret file that others may read, or that not only its owner may write. The group may
/// read it: Kubernetes mounts secrets with mode 0440 for a process that is not root.
#[cfg(unix)]
pub(super) fn warn_of_mode(section: &Section<'_>, key: &str, path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    const TOO_WIDE: u32 = 0o027;
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & TOO_WIDE != 0 {
        let path = path.display();
        section.warning(
            key,
            format!(
                "the file of `{key}` is open to others (mode {mode:04o}); run chmod 600 {path}"
            ),
        );
    }
}

#[cfg(not(unix))]
pub(super) fn warn_of_mode(_: &Section<'_>, _: &str, _: &Path) {}

//! Where every object of the lake lies; the only file that forms object paths.
//!
//! Takes names (destination, dataset, tenant, date, revision, content hash) and gives paths below the lake's root. Tenant names are written
//! as Hive writes partition values: whatever is not an ASCII letter, a digit or one of `-_.` becomes `%XX` of its UTF-8 bytes, so that no
//! name can leave its folder, hide (`_`, `.` in front) or collide with another. It does not know which store the paths are used in.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;

/// Hive's name for a null partition value; a tenant of that name would be read back as null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// The longest folder name that every file system takes, bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// One (dataset, tenant, dt) of the lake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// Whose columns.
    pub dataset: Dataset,
    /// Whose data, as the configuration names it.
    pub tenant: String,
    /// The civil date of the events.
    pub dt: Date,
}

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.dataset, self.tenant, self.dt)
    }
}

/// A name that cannot become part of an object path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} cannot be part of an object path: {why}")]
pub struct Error {
    what: &'static str,
    name: String,
    why: &'static str,
}

/// The one object of a partition: `<destination>/<dataset>/tenant=<t>/dt=<d>/part-0.parquet`; `destination` may be empty.
///
/// # Errors
/// If the destination or the tenant's name cannot be part of a path.
pub fn object(destination: &str, id: &PartitionId) -> Result<Path, Error> {
    let mut folders = destination_folders(destination)?;
    folders.push(partition(id)?);
    Ok(path(&folders.join("/"), "part-0.parquet"))
}

/// The folder of a partition's manifests.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn manifests(id: &PartitionId) -> Result<Path, Error> {
    Ok(path("_manifest", &partition(id)?))
}

/// The folder of a dataset's manifests, or of all manifests.
#[must_use]
pub fn all_manifests(dataset: Option<Dataset>) -> Path {
    match dataset {
        Some(dataset) => path("_manifest", dataset.as_str()),
        None => Path::from("_manifest"),
    }
}

/// The manifest of one revision: `_manifest/<dataset>/tenant=<t>/dt=<d>/r000003.json`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn manifest(id: &PartitionId, revision: u32) -> Result<Path, Error> {
    Ok(path(
        manifests(id)?.as_ref(),
        &format!("r{revision:06}.json"),
    ))
}

/// The revision that a manifest's path names; `None` for every other object.
#[must_use]
pub fn revision(path: &Path) -> Option<u32> {
    let digits = path.filename()?.strip_prefix('r')?.strip_suffix(".json")?;
    let all_digits = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// The coverage record beside a manifest: `r000003.coverage.json`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn coverage(id: &PartitionId, revision: u32) -> Result<Path, Error> {
    Ok(path(
        manifests(id)?.as_ref(),
        &format!("r{revision:06}.coverage.json"),
    ))
}

/// A chunk of a manifest's input list, named by its content: `inputs/<sha256>.json` beside the manifests.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn inputs(id: &PartitionId, sha256: &str) -> Result<Path, Error> {
    Ok(path(
        manifests(id)?.as_ref(),
        &format!("inputs/{sha256}.json"),
    ))
}

/// A pack of originals, named by its content: `_raw/tenant=<t>/<sha256>.zip`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn pack(tenant: &str, sha256: &str) -> Result<Path, Error> {
    Ok(path(
        &format!("_raw/{}", tenant_folder(tenant)?),
        &format!("{sha256}.zip"),
    ))
}

/// A quarantined original, or with extension `json` the reason: `_quarantine/<dataset>/tenant=<t>/<sha256>.<extension>`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn quarantine(
    dataset: Dataset,
    tenant: &str,
    sha256: &str,
    extension: &str,
) -> Result<Path, Error> {
    Ok(path(
        &format!("_quarantine/{dataset}/{}", tenant_folder(tenant)?),
        &format!("{sha256}.{extension}"),
    ))
}

/// A throw-away object for `doctor`; `at` keeps it apart from that of another probe.
#[must_use]
pub fn probe(at: Timestamp) -> Path {
    path("_doctor", &format!("probe-{}", at.as_nanosecond()))
}

/// Whether `name` can be a tenant's folder; for validating configuration before anything is sent.
///
/// # Errors
/// If it cannot, with the reason.
pub fn check_tenant(name: &str) -> Result<(), Error> {
    tenant_folder(name).map(drop)
}

/// Whether `destination` can be the folder that holds a job's datasets; for validating job files.
///
/// # Errors
/// If it cannot, with the reason.
pub fn check_destination(destination: &str) -> Result<(), Error> {
    destination_folders(destination).map(drop)
}

fn partition(id: &PartitionId) -> Result<String, Error> {
    Ok(format!(
        "{}/{}/dt={}",
        id.dataset,
        tenant_folder(&id.tenant)?,
        id.dt
    ))
}

fn tenant_folder(name: &str) -> Result<String, Error> {
    let refuse = |why| {
        Err(Error {
            what: "tenant",
            name: name.to_owned(),
            why,
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    if matches!(name, "." | "..") {
        return refuse("it names a folder above");
    }
    if name == HIVE_NULL {
        return refuse("readers take it for a missing value");
    }
    let folder = format!("tenant={}", escape(name));
    if folder.len() > MAX_SEGMENT_BYTES {
        return refuse("it is too long for a folder name");
    }
    Ok(folder)
}

fn destination_folders(destination: &str) -> Result<Vec<String>, Error> {
    let refuse = |why| {
        Err(Error {
            what: "destination",
            name: destination.to_owned(),
            why,
        })
    };
    let mut folders = Vec::new();
    for segment in destination.split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return refuse("it leaves the lake");
        }
        if segment.starts_with(['_', '.']) {
            return refuse("readers skip folders that begin with `_` or `.`");
        }
        if segment.contains('=') {
            return refuse("readers take `name=value` for a partition column");
        }
        if !segment.bytes().all(is_plain) || segment.len() > MAX_SEGMENT_BYTES {
            return refuse("only ASCII letters, digits, `-`, `_` and `.` are allowed");
        }
        folders.push(segment.to_owned());
    }
    Ok(folders)
}

fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string");
        }
    }
    escaped
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn path(folder: &str, name: &str) -> Path {
    Path::parse(format!("{folder}/{name}"))
        .expect("folders are escaped and names are hex digits and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn id(tenant: &str) -> PartitionId {
        PartitionId {
            dataset: Dataset::MeetingList,
            tenant: tenant.into(),
            dt: date(2026, 11, 19),
        }
    }

    #[test]
    fn objects_lie_where_the_design_says() {
        assert_eq!(
            object("", &id("acme")).expect("path").as_ref(),
            "meeting_list/tenant=acme/dt=2026-11-19/part-0.parquet"
        );
        assert_eq!(
            object("eu/hr", &id("acme")).expect("path").as_ref(),
            "eu/hr/meeting_list/tenant=acme/dt=2026-11-19/part-0.parquet"
        );
        assert_eq!(
            manifest(&id("acme"), 3).expect("path").as_ref(),
            "_manifest/meeting_list/tenant=acme/dt=2026-11-19/r000003.json"
        );
        assert_eq!(
            coverage(&id("acme"), 3).expect("path").as_ref(),
            "_manifest/meeting_list/tenant=acme/dt=2026-11-19/r000003.coverage.json"
        );
        assert_eq!(
            pack("acme", "ab").expect("path").as_ref(),
            "_raw/tenant=acme/ab.zip"
        );
        assert_eq!(
            quarantine(Dataset::TopUser, "acme", "ab", "xlsx")
                .expect("path")
                .as_ref(),
            "_quarantine/top_user/tenant=acme/ab.xlsx"
        );
    }

    #[test]
    fn tenants_are_written_as_hive_writes_them() {
        for (tenant, folder) in [
            ("公司", "tenant=%E5%85%AC%E5%8F%B8"),
            ("a/b", "tenant=a%2Fb"),
            ("a=b c%", "tenant=a%3Db%20c%25"),
            ("...", "tenant=..."),
            ("a\\b:*?\"<>|", "tenant=a%5Cb%3A%2A%3F%22%3C%3E%7C"),
        ] {
            assert_eq!(tenant_folder(tenant).expect("a folder"), folder);
        }
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for tenant in ["", "..", ".", "a\nb", "a\0", HIVE_NULL] {
            assert!(object("", &id(tenant)).is_err(), "{tenant:?}");
        }
        assert!(check_tenant(&"x".repeat(300)).is_err());
        for destination in ["../x", "a/../b", "_raw", ".git", "tenant=x", "a b", "a\n"] {
            assert!(check_destination(destination).is_err(), "{destination:?}");
        }
        assert!(check_destination("/a//b/").is_ok());
    }

    #[test]
    fn a_manifest_is_told_from_what_lies_beside_it() {
        let r = |name: &str| revision(&Path::from(name));
        assert_eq!(r("x/r000003.json"), Some(3));
        assert_eq!(r("x/r1234567.json"), Some(1_234_567));
        assert_eq!(r("x/r000003.coverage.json"), None);
        assert_eq!(r("x/inputs/ab.json"), None);
        assert_eq!(r("x/r+00003.json"), None);
    }

    proptest! {
        #[test]
        fn two_tenants_never_share_a_folder(a in any::<String>(), b in any::<String>()) {
            if let (Ok(x), Ok(y)) = (tenant_folder(&a), tenant_folder(&b)) {
                prop_assert_eq!(x == y, a == b);
                prop_assert!(!x.contains('/'));
            }
        }
    }
}

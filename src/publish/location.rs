//! The path of every object of the lake. Only this file forms object paths.
//!
//! Takes names (destination, dataset, tenant, date, revision, content hash) and gives paths below
//! the lake's root. Tenant names are written as Hive writes partition values: whatever is not an
//! ASCII letter, a digit or one of `-_.` becomes `%XX` of its UTF-8 bytes. So no name can leave its
//! folder, hide (`_` or `.` in front) or collide with another. This module does not know which
//! store the paths are used in.

use jiff::Timestamp;
use object_store::path::Path;

use crate::datasets::Dataset;
use crate::record::{PackId, PartitionId};
use crate::text::{is_plain, partition_value};

/// Hive's name for a null partition value. A tenant with that name would be read back as null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Folder of what the lake says of itself.
const IDENTITY: &str = "_meetlake";
const LAKE_RECORD: &str = "lake.json";
/// Name of a partition's one object.
const OBJECT: &str = "part-0.parquet";
/// The longest folder name that every file system takes, bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// A name that cannot become part of an object path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} cannot be part of an object path: {why}")]
pub struct Error {
    what: &'static str,
    name: String,
    why: &'static str,
}

/// The one object of a partition: `<destination>/<dataset>/tenant=<t>/dt=<d>/part-0.parquet`;
/// `destination` may be empty.
///
/// # Errors
/// If the destination or the tenant's name cannot be part of a path.
pub fn object(destination: &str, id: &PartitionId) -> Result<Path, Error> {
    let mut folders = destination_folders(destination)?;
    folders.push(partition(id)?);
    Ok(path(&folders.join("/"), OBJECT))
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

/// A chunk of a manifest's input list, named by its content: `inputs/<sha256>.json` beside the
/// manifests.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn inputs(id: &PartitionId, sha256: &str) -> Result<Path, Error> {
    Ok(path(
        manifests(id)?.as_ref(),
        &format!("inputs/{sha256}.json"),
    ))
}

/// Where the lake says of itself and of its tenants: `_meetlake`.
#[must_use]
pub fn identities() -> Path {
    Path::from(IDENTITY)
}

/// What the lake says of itself: `_meetlake/lake.json`.
#[must_use]
pub fn lake_record() -> Path {
    path(IDENTITY, LAKE_RECORD)
}

/// What the lake says of a tenant: `_meetlake/tenant=<t>.json`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn tenant_record(tenant: &str) -> Result<Path, Error> {
    Ok(path(IDENTITY, &format!("{}.json", tenant_folder(tenant)?)))
}

/// A pack of originals, named by its content:
/// `_raw/tenant=<t>/<dataset>/dt=<d>/<sha256>.zip`. So a day can be kept, locked or shredded by
/// itself.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn pack(tenant: &str, dataset: Dataset, id: &PackId) -> Result<Path, Error> {
    Ok(path(
        &format!("_raw/{}/{dataset}/dt={}", tenant_folder(tenant)?, id.dt),
        &format!("{}.zip", id.sha256),
    ))
}

/// A pack of a lake of format 1: `_raw/tenant=<t>/<sha256>.zip`.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn pack_of_format_1(tenant: &str, sha256: &str) -> Result<Path, Error> {
    Ok(path(
        &format!("_raw/{}", tenant_folder(tenant)?),
        &format!("{sha256}.zip"),
    ))
}

/// A quarantined original, or the reason if the extension is `json`:
/// `_quarantine/<dataset>/tenant=<t>/<sha256>.<extension>`.
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

/// The folder of everything in quarantine.
#[must_use]
pub fn all_quarantined() -> Path {
    Path::from("_quarantine")
}

/// What an object of the lake is, read from its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The object of a partition, below a destination, or another file in its folder.
    Partition {
        /// Which partition.
        id: PartitionId,
        /// Whether it has the name of the partition's one object.
        is_object: bool,
    },
    /// The manifest of a revision.
    Manifest(PartitionId, u32),
    /// The coverage record beside a manifest.
    Coverage(PartitionId, u32),
    /// A chunk of an input list, by its content.
    Inputs(PartitionId, String),
    /// What the lake says of itself.
    LakeRecord,
    /// What the lake says of a tenant.
    TenantRecord(String),
    /// A pack of originals: whose, of which dataset, and its name.
    Pack(String, Dataset, PackId),
    /// A quarantined workbook or its record.
    Quarantine {
        /// Whose columns it should have had.
        dataset: Dataset,
        /// Whose data.
        tenant: String,
        /// SHA-256 of the workbook.
        sha256: String,
        /// `json` is the record, anything else the workbook.
        extension: String,
    },
    /// An object that `doctor` writes to test the store.
    Probe,
    /// Not ours.
    Other,
}

/// What the object at `path` is; the inverse of the functions above.
#[must_use]
pub fn place(path: &Path) -> Place {
    let parts: Vec<&str> = path.as_ref().split('/').collect();
    let found = match parts.as_slice() {
        ["_manifest", dataset, tenant, dt, name] => in_manifests(path, dataset, tenant, dt, name),
        ["_manifest", dataset, tenant, dt, "inputs", name] => partition_of(dataset, tenant, dt)
            .zip(name.strip_suffix(".json"))
            .map(|(id, sha256)| Place::Inputs(id, sha256.to_owned())),
        ["_raw", tenant, dataset, dt, name] => in_pack_folder(tenant, dataset, dt, name),
        [IDENTITY, LAKE_RECORD] => Some(Place::LakeRecord),
        [IDENTITY, name] => name
            .strip_suffix(".json")
            .and_then(tenant_of)
            .map(Place::TenantRecord),
        ["_quarantine", dataset, tenant, name] => quarantined(dataset, tenant, name),
        ["_doctor", _] => Some(Place::Probe),
        [first, ..] if first.starts_with('_') => None,
        [.., dataset, tenant, dt, name] => {
            partition_of(dataset, tenant, dt).map(|id| Place::Partition {
                id,
                is_object: *name == OBJECT,
            })
        }
        _ => None,
    };
    found.unwrap_or(Place::Other)
}

fn in_manifests(path: &Path, dataset: &str, tenant: &str, dt: &str, name: &str) -> Option<Place> {
    let id = partition_of(dataset, tenant, dt)?;
    if let Some(revision) = revision(path) {
        return Some(Place::Manifest(id, revision));
    }
    let digits = name.strip_prefix('r')?.strip_suffix(".coverage.json")?;
    Some(Place::Coverage(id, digits.parse().ok()?))
}

fn in_pack_folder(tenant: &str, dataset: &str, dt: &str, name: &str) -> Option<Place> {
    let of_day = partition_of(dataset, tenant, dt)?;
    let id = PackId {
        dt: of_day.dt,
        sha256: name.strip_suffix(".zip")?.to_owned(),
    };
    Some(Place::Pack(of_day.tenant, of_day.dataset, id))
}

fn quarantined(dataset: &str, tenant: &str, name: &str) -> Option<Place> {
    let (sha256, extension) = name.split_once('.')?;
    Some(Place::Quarantine {
        dataset: dataset.parse().ok()?,
        tenant: tenant_of(tenant)?,
        sha256: sha256.to_owned(),
        extension: extension.to_owned(),
    })
}

fn partition_of(dataset: &str, tenant: &str, dt: &str) -> Option<PartitionId> {
    Some(PartitionId {
        dataset: dataset.parse().ok()?,
        tenant: tenant_of(tenant)?,
        dt: dt.strip_prefix("dt=")?.parse().ok()?,
    })
}

fn tenant_of(folder: &str) -> Option<String> {
    let escaped = folder.strip_prefix("tenant=")?;
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A throw-away object for `doctor`. `at` keeps it apart from the object of another probe.
#[must_use]
pub fn probe(at: Timestamp) -> Path {
    path("_doctor", &format!("probe-{}", at.as_nanosecond()))
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
    let folder = format!("tenant={}", partition_value(name));
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

    fn pack_id() -> PackId {
        PackId {
            dt: date(2026, 11, 19),
            sha256: "ab".into(),
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
            pack("acme", Dataset::TopUser, &pack_id())
                .expect("path")
                .as_ref(),
            "_raw/tenant=acme/top_user/dt=2026-11-19/ab.zip"
        );
        assert_eq!(lake_record().as_ref(), "_meetlake/lake.json");
        assert_eq!(
            tenant_record("a b").expect("path").as_ref(),
            "_meetlake/tenant=a%20b.json"
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
        assert!(tenant_folder(&"x".repeat(300)).is_err());
        for destination in ["../x", "a/../b", "_raw", ".git", "tenant=x", "a b", "a\n"] {
            assert!(destination_folders(destination).is_err(), "{destination:?}");
        }
        assert!(destination_folders("/a//b/").is_ok());
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

    #[test]
    fn what_an_object_is_can_be_read_from_its_path() {
        let (id, sha256) = (id("a/公司"), "ab".to_owned());
        let tenant = id.tenant.clone();
        let all = [
            (
                object("eu/hr", &id),
                Place::Partition {
                    id: id.clone(),
                    is_object: true,
                },
            ),
            (manifest(&id, 3), Place::Manifest(id.clone(), 3)),
            (coverage(&id, 3), Place::Coverage(id.clone(), 3)),
            (inputs(&id, "ab"), Place::Inputs(id.clone(), sha256.clone())),
            (
                pack(&tenant, Dataset::TopUser, &pack_id()),
                Place::Pack(tenant.clone(), Dataset::TopUser, pack_id()),
            ),
            (Ok(lake_record()), Place::LakeRecord),
            (tenant_record(&tenant), Place::TenantRecord(tenant.clone())),
            (Ok(Path::from("_meetlake/notes.json")), Place::Other),
            // Where packs of format 1 lie.
            (Ok(Path::from("_raw/tenant=acme/ab.zip")), Place::Other),
            (
                quarantine(Dataset::TopUser, &tenant, "ab", "xlsx"),
                Place::Quarantine {
                    dataset: Dataset::TopUser,
                    tenant: tenant.clone(),
                    sha256,
                    extension: "xlsx".into(),
                },
            ),
            (Ok(probe(Timestamp::UNIX_EPOCH)), Place::Probe),
            (Ok(Path::from("notes/readme.txt")), Place::Other),
            (Ok(Path::from("_manifest/x")), Place::Other),
        ];
        for (path, expected) in all {
            assert_eq!(place(&path.expect("a path")), expected);
        }
    }

    proptest! {
        #[test]
        fn a_tenant_is_read_back_from_its_folder(tenant in any::<String>()) {
            if let Ok(folder) = tenant_folder(&tenant) {
                prop_assert_eq!(tenant_of(&folder), Some(tenant));
            }
        }

        #[test]
        fn two_tenants_never_share_a_folder(a in any::<String>(), b in any::<String>()) {
            if let (Ok(x), Ok(y)) = (tenant_folder(&a), tenant_folder(&b)) {
                prop_assert_eq!(x == y, a == b);
                prop_assert!(!x.contains('/'));
            }
        }
    }
}

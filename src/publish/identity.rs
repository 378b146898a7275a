//! What a lake says of itself: which one it is, its format and its key, and in which zone each
//! tenant's days are cut.
//!
//! ```text
//! _meetlake/lake.json         made with the lake; replaced when its key is
//! _meetlake/tenant=acme.json  made at the tenant's first publish
//! ```
//! A lake of format 1 has neither. It is known by its manifests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::location::{self, Place};
use super::manifest::{MANIFEST_BYTES, Manifest};
use super::{Error, manifest};
use crate::datasets::Dataset;
use crate::lake_key::LakeKey;
use crate::record::TenantSettings;
use crate::store::{Lake, StoreErrorKind, Version};

/// The format of a lake that this meetlake writes.
pub const FORMAT: u32 = 2;

/// No record of a lake or tenant is larger: a tenant's has some hundred bytes for each dataset.
const RECORD_BYTES: u64 = 1 << 20;

/// What a lake says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeRecord {
    /// Layout of the whole lake.
    pub format: u32,
    /// Which lake it is, wherever it is copied to.
    pub lake_id: String,
    /// The key under which ids are hashed.
    pub key: KeyRecord,
    /// The ledger that the lake belongs to.
    pub ledger_id: String,
}

/// Which key it is, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// As manifests name it.
    pub id: String,
    /// Tells it from every other key.
    pub fingerprint: String,
}

impl From<&LakeKey> for KeyRecord {
    fn from(key: &LakeKey) -> Self {
        Self {
            id: key.id(),
            fingerprint: key.fingerprint().to_owned(),
        }
    }
}

/// What a lake says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// The tenant.
    pub tenant: String,
    /// The first instant of the first day that was ever asked for when the tenant's first day was
    /// published.
    pub first_instant: Timestamp,
    /// Which app asks, as a hash under the key of the lake: so a tenant under a new name is known.
    /// The first records lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What its days are made with.
    #[serde(flatten)]
    pub settings: TenantSettings,
    /// What they are being made again with. Until that is done, some are, and some are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remake: Option<TenantSettings>,
}

/// What is found where a lake should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LakeState {
    /// A lake of this format, and the state in which its record was read.
    Known(LakeRecord, Version),
    /// A lake of format 1.
    OfFormat1,
    /// A lake of this format whose record is gone.
    RecordLost,
    /// No lake yet.
    Nothing,
}

/// Looks for a lake.
///
/// # Errors
/// If the store cannot be read, or the record is damaged or of a later format.
pub async fn find(lake: &Lake) -> Result<LakeState, Error> {
    let path = location::lake_record();
    if let Some(found) = lake.get_with_version(&path, RECORD_BYTES).await? {
        let damaged = |problem| Error::Record {
            path: path.to_string(),
            problem,
        };
        let format = manifest::format_of(&path, &found.bytes)?;
        if format != FORMAT {
            return Err(damaged(format!(
                "the lake has format {format}, this meetlake reads format {FORMAT}; use the newer \
                 meetlake"
            )));
        }
        let record = read_json(&found.bytes).map_err(damaged)?;
        return Ok(LakeState::Known(record, found.version));
    }
    let manifests = lake.list(&location::all_manifests(None)).await?;
    let is_manifest = |path: &&Path| matches!(location::place(path), Place::Manifest(..));
    let Some(path) = manifests.iter().find(is_manifest) else {
        return Ok(LakeState::Nothing);
    };
    let format = match lake.get(path, MANIFEST_BYTES).await? {
        Some(bytes) => manifest::format_of(path, &bytes)?,
        None => FORMAT,
    };
    Ok(match format {
        manifest::format_1::FORMAT => LakeState::OfFormat1,
        _ => LakeState::RecordLost,
    })
}

/// Makes the record of a new lake. If another process was faster, gives that one's.
///
/// # Errors
/// If the lake cannot be written.
pub async fn create(lake: &Lake, record: LakeRecord) -> Result<LakeRecord, Error> {
    let path = location::lake_record();
    match lake
        .put_create(&path, manifest::to_json(&record).into())
        .await
    {
        Ok(_) => Ok(record),
        Err(error) if error.kind() == StoreErrorKind::Conflict => match find(lake).await? {
            LakeState::Known(other, _) => Ok(other),
            LakeState::OfFormat1 | LakeState::RecordLost | LakeState::Nothing => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Replaces the record that was read in state `seen`.
///
/// # Errors
/// If somebody else replaced it meanwhile, or the lake cannot be written.
pub async fn replace(lake: &Lake, record: &LakeRecord, seen: &Version) -> Result<(), Error> {
    let bytes = manifest::to_json(record).into();
    lake.put_if_unchanged(&location::lake_record(), bytes, seen)
        .await?;
    Ok(())
}

/// What is found where a tenant's record should be.
#[derive(Clone, Debug, PartialEq)]
pub enum TenantState {
    /// The record, and the state in which it was read.
    Known(TenantRecord, Version),
    /// The lake has days of the tenant, and no record.
    Lost {
        /// Its first day there.
        first_day: Date,
        /// The zone that the newest manifest names that names one.
        time_zone: Option<String>,
        /// The newest manifest of each dataset.
        newest: BTreeMap<Dataset, Manifest>,
        /// The zones from and to which days were being cut anew, if some are and some are not.
        moved: Option<(String, String)>,
    },
    /// Nothing of the tenant was published yet.
    New,
}

/// The record of a tenant; `None` if there is none.
///
/// # Errors
/// If the lake cannot be read, or the record is damaged or another tenant's.
pub async fn tenant_record(
    lake: &Lake,
    name: &str,
) -> Result<Option<(TenantRecord, Version)>, Error> {
    let path = location::tenant_record(name)?;
    let damaged = |problem| Error::Record {
        path: path.to_string(),
        problem,
    };
    let Some(found) = lake.get_with_version(&path, RECORD_BYTES).await? else {
        return Ok(None);
    };
    let record: TenantRecord = read_json(&found.bytes).map_err(damaged)?;
    match record.tenant == name {
        true => Ok(Some((record, found.version))),
        false => Err(damaged(format!("it names the tenant {}", record.tenant))),
    }
}

/// The records of all tenants of the lake.
///
/// # Errors
/// As for [`tenant_record`].
pub async fn tenants(lake: &Lake) -> Result<Vec<TenantRecord>, Error> {
    let mut records = Vec::new();
    for path in lake.list(&location::identities()).await? {
        if let Place::TenantRecord(name) = location::place(&path) {
            records.extend(tenant_record(lake, &name).await?.map(|(record, _)| record));
        }
    }
    Ok(records)
}

/// What the lake says of a tenant. Where there is no record, it lists all manifests.
///
/// # Errors
/// As for [`tenant_record`].
pub async fn tenant(lake: &Lake, name: &str) -> Result<TenantState, Error> {
    if let Some((record, seen)) = tenant_record(lake, name).await? {
        return Ok(TenantState::Known(record, seen));
    }
    let all = manifest::all(lake).await?;
    let of_tenant = || all.iter().filter(|(id, _)| id.tenant == name);
    let Some(first_day) = of_tenant().map(|(id, _)| id.dt).min() else {
        return Ok(TenantState::New);
    };
    // The first records of this format name no zone.
    let mut by_age: Vec<_> = of_tenant().collect();
    by_age.sort_by_key(|(id, _)| std::cmp::Reverse(id.dt));
    let mut time_zone = None;
    let mut zones = BTreeSet::new();
    let mut moved = None;
    let mut newest: BTreeMap<Dataset, Manifest> = BTreeMap::new();
    for (id, records) in by_age {
        let Some(path) = records.values().next_back() else {
            continue;
        };
        let Some(found) = manifest::read(lake, path).await? else {
            continue;
        };
        let zone = found.manifest.time_zone.clone();
        time_zone = time_zone.or_else(|| zone.clone());
        zones.extend(zone.clone());
        let before = records.values().rev().nth(1);
        if let (None, Some(zone), Some(before)) = (&moved, zone, before) {
            let before = manifest::read(lake, before).await?;
            let before = before.and_then(|before| before.manifest.time_zone);
            moved = before
                .filter(|before| *before != zone)
                .map(|from| (from, zone));
        }
        newest.entry(id.dataset).or_insert(found.manifest);
    }
    Ok(TenantState::Lost {
        first_day,
        time_zone,
        newest,
        // Where all days have one zone, moving them is done.
        moved: moved.filter(|_| zones.len() > 1),
    })
}

/// Makes the record of a tenant, unless there is one. Gives the one that stands.
///
/// # Errors
/// If the lake cannot be written.
pub async fn create_tenant(lake: &Lake, record: TenantRecord) -> Result<TenantRecord, Error> {
    let path = location::tenant_record(&record.tenant)?;
    match lake
        .put_create(&path, manifest::to_json(&record).into())
        .await
    {
        Ok(_) => Ok(record),
        Err(error) if error.kind() == StoreErrorKind::Conflict => {
            let standing = tenant_record(lake, &record.tenant).await?;
            let standing = standing.map(|(record, _)| record);
            standing.ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Replaces the record of a tenant that was read in state `seen`.
///
/// # Errors
/// [`StoreErrorKind::Conflict`] if somebody else replaced it meanwhile; otherwise if the lake
/// cannot be written.
pub async fn replace_tenant(
    lake: &Lake,
    record: &TenantRecord,
    seen: &Version,
) -> Result<(), Error> {
    let path = location::tenant_record(&record.tenant)?;
    let bytes = manifest::to_json(record).into();
    lake.put_if_unchanged(&path, bytes, seen).await?;
    Ok(())
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lake(name: &str) -> Lake {
        Lake::open(&format!("memory:///identity/{name}"), &BTreeMap::new()).expect("a lake")
    }

    fn record(lake_id: &str) -> LakeRecord {
        LakeRecord {
            format: FORMAT,
            lake_id: lake_id.into(),
            key: KeyRecord::from(&LakeKey::of_tests()),
            ledger_id: "l".into(),
        }
    }

    #[tokio::test]
    async fn of_two_that_make_a_lake_the_first_one_counts() {
        let lake = lake("first");
        assert_eq!(find(&lake).await.expect("found"), LakeState::Nothing);
        let first = create(&lake, record("a")).await.expect("made");
        let second = create(&lake, record("b")).await.expect("made already");
        assert_eq!((first.lake_id.as_str(), &second), ("a", &first));
        let LakeState::Known(known, seen) = find(&lake).await.expect("found") else {
            panic!("no lake");
        };
        assert_eq!(known, first);
        let ledger_id = "other".to_owned();
        let taken_over = LakeRecord { ledger_id, ..known };
        replace(&lake, &taken_over, &seen).await.expect("replaced");
        // Whoever read the record before that is refused.
        replace(&lake, &record("c"), &seen)
            .await
            .expect_err("stale");
        let LakeState::Known(known, _) = find(&lake).await.expect("found") else {
            panic!("no lake");
        };
        assert_eq!(known, taken_over);
    }

    #[tokio::test]
    async fn a_lake_of_another_format_is_known() {
        let old = lake("format-1");
        let manifest = "_manifest/meeting_list/tenant=a/dt=2026-11-19/r000001.json";
        let path = object_store::path::Path::from(manifest);
        old.put_create(&path, r#"{"format": 1}"#.into())
            .await
            .expect("put");
        assert_eq!(find(&old).await.expect("found"), LakeState::OfFormat1);
        let headless = lake("headless");
        headless
            .put_create(&path, r#"{"format": 2}"#.into())
            .await
            .expect("put");
        assert_eq!(find(&headless).await.expect("found"), LakeState::RecordLost);
        let newer = lake("format-3");
        let bytes = r#"{"format": 3, "what": "nobody knows"}"#;
        let path = location::lake_record();
        newer.put_create(&path, bytes.into()).await.expect("put");
        let error = find(&newer).await.expect_err("newer").to_string();
        assert!(error.contains("format 3"), "{error}");
    }

    #[tokio::test]
    async fn a_tenants_record_is_made_once() {
        let lake = lake("tenant");
        let of = |zone: &str| TenantRecord {
            tenant: "公司".into(),
            first_instant: Timestamp::UNIX_EPOCH,
            app: None,
            settings: TenantSettings {
                time_zone: zone.into(),
                datasets: BTreeMap::new(),
            },
            remake: None,
        };
        let none = tenant(&lake, "公司").await.expect("none");
        assert_eq!(none, TenantState::New);
        let first = create_tenant(&lake, of("Asia/Shanghai"))
            .await
            .expect("made");
        let again = create_tenant(&lake, of("America/New_York")).await;
        assert_eq!(again.expect("it stands"), first);
    }
}

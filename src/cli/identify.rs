//! Which lake it is, and whether its ledger and its key are the ones at hand.
//!
//! Decided before anything is written: a lake of another format, another lake under this ledger, a
//! lake with another key or zone is refused by name, with what to do.

mod belonging;
mod tenants;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, TenantConfig};
use crate::keyring;
use crate::lake_key::LakeKey;
use crate::ledger::{self, Ledger};
use crate::pipeline;
use crate::publish;
use crate::publish::identity::{self, FORMAT, KeyRecord, LakeRecord, LakeState, TenantRecord};
use crate::record::Remake;
use crate::store::Lake;
use belonging::{LakeFound, Whose, whose};
use tenants::Compared;
pub use tenants::{ExportAgain, TenantChanges, bring_plans_under, remade};

/// Under this name the ledger keeps which lake it belongs to.
const LAKE: &str = "lake";
/// Under this name the ledger keeps its own id.
const LEDGER_ID: &str = "ledger_id";

/// Why lake, ledger and key do not go together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lake was written by an earlier meetlake.
    #[error(
        "the lake {url} has format 1; `meetlake replay --into URL` writes its data into a new lake \
         of format {FORMAT}, from the archived originals and without asking Feishu; the old lake \
         stays as it is"
    )]
    OfFormat1 {
        /// The lake.
        url: String,
    },
    /// The ledger was made for another lake.
    #[error(
        "the ledger {} belongs to {known}, and {url} is {found}; set [lake] url back, or, if the \
         lake was moved on purpose, copy all of it; to begin anew with this lake, move the ledger \
         away together with its -wal and -shm files{}",
        ledger.display(),
        if *.has_lake { ", then `meetlake ledger rebuild` takes over what is published" } else { "" }
    )]
    AnotherLake {
        /// The ledger.
        ledger: PathBuf,
        /// The lake that it knows.
        known: String,
        /// The lake at hand.
        url: String,
        /// Which that is.
        found: String,
        /// Whether there is a lake at all.
        has_lake: bool,
    },
    /// The lake belongs to another ledger.
    #[error(
        "the lake {url} belongs to the ledger {theirs}, and {} is the ledger {ours}; two of them would \
         export and publish the same days; run meetlake where that one is; {}",
        ledger.display(),
        if *.is_blank {
            "if it is lost, `meetlake ledger rebuild` takes over what is published"
        } else {
            "if that one will never run again, `meetlake ledger take-over` makes the lake this one's"
        }
    )]
    AnotherLedger {
        /// The lake.
        url: String,
        /// The ledger that it names.
        theirs: String,
        /// The ledger at hand.
        ledger: PathBuf,
        /// Its id.
        ours: String,
        /// Whether nothing is in it.
        is_blank: bool,
    },
    /// The lake's own record is gone.
    #[error(
        "_meetlake/lake.json of the lake {url} is gone; bring it back from a copy; if there is \
         none, move the ledger away and run `meetlake ledger rebuild`, which makes it anew"
    )]
    RecordLost {
        /// The lake.
        url: String,
    },
    /// The record of a tenant is gone.
    #[error(
        "_meetlake/tenant={tenant}.json of the lake {url} is gone, which says in which zone the \
         tenant's days are cut; bring it back from a copy; if there is none, move the ledger away \
         and run `meetlake ledger rebuild`, which makes it anew"
    )]
    TenantRecordLost {
        /// The lake.
        url: String,
        /// The tenant.
        tenant: String,
    },
    /// The key is not where it should be.
    #[error(
        "the key {id} of the lake {url} is not at {place}; bring it back from its copy; if it is \
         lost, move the ledger away and run `meetlake ledger rebuild --new-key`, which exports \
         nothing again"
    )]
    KeyLost {
        /// The lake.
        url: String,
        /// The key that the lake names.
        id: String,
        /// Where it should be.
        place: String,
    },
    /// The key is another one.
    #[error(
        "the lake {url} has the key {id}, and the key at {place} is {found}; under another key, \
         tasks and meetings would have other names; set key or key_file in [lake] to the right one"
    )]
    AnotherKey {
        /// The lake.
        url: String,
        /// The key that the lake names.
        id: String,
        /// Where a key was found.
        place: String,
        /// Which.
        found: String,
    },
    /// Other settings than those that the days in the lake were made with.
    #[error(
        "the configuration differs from what the lake {url} was made with, so that meetings would \
         stand in two days, or mean something else: {changes}"
    )]
    OtherSettings {
        /// The lake.
        url: String,
        /// Which, and what to do.
        changes: TenantChanges,
    },
    /// All days are being made again, and that was cut off.
    #[error(
        "the days of tenant {tenant} in the lake {url} are being made again, cut in {time_zone}, \
         and some are not yet; `meetlake replay {flags}` goes on with it, with the configuration \
         that it began with"
    )]
    RemakeUnderWay {
        /// The lake.
        url: String,
        /// The tenant.
        tenant: String,
        /// The zone in which its days are to be cut.
        time_zone: String,
        /// What was asked for.
        flags: String,
    },
    /// A ledger that was copied before all days were made again.
    #[error(
        "the ledger {} is from before the days of tenant {tenant} were cut in {time_zone}: its \
         windows are cut in {known}; move it away together with its -wal and -shm files, then \
         `meetlake ledger rebuild` makes it anew from the lake {url}",
        ledger.display()
    )]
    LedgerFromBefore {
        /// The lake.
        url: String,
        /// The tenant.
        tenant: String,
        /// The zone of the lake.
        time_zone: String,
        /// The zone of the ledger.
        known: String,
        /// The ledger.
        ledger: PathBuf,
    },
    /// A tenant that the lake knows under another name.
    #[error(
        "the lake {url} has the days of the same app under the tenant {known}, which is not in the \
         configuration any more; under the name {tenant} all of it would be exported once more; set \
         the name back: it stands in every path, and in the keys that join rows"
    )]
    Renamed {
        /// The lake.
        url: String,
        /// The name in the lake.
        known: String,
        /// The name in the configuration.
        tenant: String,
    },
}

/// The lake that a ledger belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Binding {
    lake_id: String,
    key: KeyRecord,
}

impl From<&LakeRecord> for Binding {
    fn from(record: &LakeRecord) -> Self {
        Self {
            lake_id: record.lake_id.clone(),
            key: record.key.clone(),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lake {} (key {})", self.lake_id, self.key.id)
    }
}

impl From<&LakeState> for LakeFound {
    fn from(state: &LakeState) -> Self {
        match state {
            LakeState::Known(record, _) => Self::Lake(record.into()),
            LakeState::RecordLost => Self::RecordLost,
            LakeState::Nothing | LakeState::OfFormat1 => Self::Nothing,
        }
    }
}

/// What lake and ledger are opened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The lake's own ledger goes on.
    Run,
    /// The same, and days are exported once more.
    ExportAgain(ExportAgain),
    /// All days are made again under other settings, from the archived originals.
    Remake(Remake),
    /// An empty ledger takes over the lake.
    Rebuild,
    /// The same, and a key that is lost is replaced by a new one.
    RebuildWithNewKey,
    /// The lake becomes this ledger's, whose ever it was.
    TakeOver,
    /// Data of an old lake is written into it, and it stays whose it is.
    ReplayInto,
}

/// What lake and ledger are bound by.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Which lake it is.
    pub lake_id: String,
    /// The ledger that the lake names.
    pub ledger_id: String,
    /// The lake's key.
    pub key: LakeKey,
    /// What the lake says of its tenants.
    pub tenants: BTreeMap<String, TenantRecord>,
}

impl Bound {
    /// The name under which the lake knows the app of a tenant.
    #[must_use]
    pub fn app_of(&self, tenant: &TenantConfig) -> String {
        tenants::app_of(&self.key, tenant)
    }
}

impl Purpose {
    const fn is_rebuild(&self) -> bool {
        matches!(self, Self::Rebuild | Self::RebuildWithNewKey)
    }

    /// Whether what is exported may wait until the lake can be reached.
    pub(super) const fn may_go_ahead(&self) -> bool {
        matches!(self, Self::Run | Self::ExportAgain(_))
    }

    /// Whether Feishu may be called, so that the calls of the last minute count.
    pub(super) const fn may_call(&self) -> bool {
        matches!(self, Self::Run | Self::ExportAgain(_))
    }

    const fn is_of_owner(&self) -> bool {
        matches!(self, Self::Run | Self::ExportAgain(_) | Self::Remake(_))
    }
}

/// Looks for the lake, and refuses one that this meetlake does not write.
///
/// # Errors
/// [`Error::OfFormat1`], or if the lake cannot be read.
pub async fn find(lake: &Lake) -> Result<LakeState> {
    match identity::find(lake).await? {
        LakeState::OfFormat1 => {
            let url = lake.url().to_owned();
            Err(Error::OfFormat1 { url }.into())
        }
        found => Ok(found),
    }
}

/// Brings the lake that was found, its ledger and its key together for a verb that writes, and
/// makes what is new.
///
/// # Errors
/// [`Error`] if they do not go together; otherwise if one of them cannot be used.
pub async fn bind(
    config: &Config,
    lake: &Lake,
    found: LakeState,
    ledger: &Ledger,
    purpose: &Purpose,
    now: Timestamp,
) -> Result<Bound> {
    let ledger_id = match ledger.meta(LEDGER_ID).await? {
        Some(id) => id,
        None => {
            let id = keyring::new_id()?;
            ledger.set_meta(LEDGER_ID, &id).await?;
            id
        }
    };
    let bound = binding(ledger).await?;
    let compared = |key| Compared {
        config,
        ledger,
        key,
        purpose,
        now,
    };
    let tenants;
    let (record, key) = match found {
        LakeState::Known(record, seen) => {
            check_lake(
                lake,
                ledger,
                bound.as_ref(),
                &LakeFound::Lake((&record).into()),
            )
            .await?;
            let is_rebuild = purpose.is_rebuild() && ledger.is_blank().await?;
            // An empty ledger would have everything exported again; a rebuild is for it.
            let is_empty_handed = *purpose == Purpose::TakeOver && ledger.is_blank().await?;
            if purpose.is_of_owner() || is_empty_handed {
                check_owner(lake, &record, &ledger_id, ledger).await?;
            }
            let key = match own_key(config, lake, &record.lake_id, &record.key) {
                Err(_) if is_rebuild && *purpose == Purpose::RebuildWithNewKey => {
                    keyring::load_or_make(&config.lake.key, &record.lake_id)?
                }
                key => key?,
            };
            tenants = tenants::check(&compared(Some(&key)), lake).await?;
            let mut taken_over = record.clone();
            if is_rebuild {
                taken_over.key = (&key).into();
            }
            if is_rebuild || *purpose == Purpose::TakeOver {
                taken_over.ledger_id = ledger_id;
            }
            if taken_over != record {
                identity::replace(lake, &taken_over, &seen).await?;
            }
            (taken_over, key)
        }
        LakeState::RecordLost if !purpose.is_rebuild() || !ledger.is_blank().await? => {
            let url = lake.url().to_owned();
            return Err(Error::RecordLost { url }.into());
        }
        LakeState::Nothing | LakeState::OfFormat1 | LakeState::RecordLost => {
            check_lake(lake, ledger, bound.as_ref(), &LakeFound::Nothing).await?;
            tenants = tenants::check(&compared(None), lake).await?;
            let lake_id = keyring::new_id()?;
            let key = keyring::load_or_make(&config.lake.key, &lake_id)?;
            let record = LakeRecord {
                format: FORMAT,
                lake_id,
                key: (&key).into(),
                ledger_id: ledger_id.clone(),
            };
            let made = identity::create(lake, record).await?;
            // Another process may have made it.
            check_owner(lake, &made, &ledger_id, ledger).await?;
            let key = own_key(config, lake, &made.lake_id, &made.key)?;
            (made, key)
        }
    };
    if bound.as_ref() != Some(&Binding::from(&record)) {
        ledger.rename_tasks(&key).await?;
        ledger.set_meta_value(LAKE, &Binding::from(&record)).await?;
    }
    // A remake changes the ledger and what it remembers together.
    if !matches!(purpose, Purpose::Remake(_)) {
        for record in tenants.values() {
            pipeline::remember(ledger, record).await?;
        }
    }
    Ok(Bound {
        lake_id: record.lake_id,
        ledger_id: record.ledger_id,
        key,
        tenants,
    })
}

/// Refuses a lake that names another ledger.
async fn check_owner(
    lake: &Lake,
    record: &LakeRecord,
    ledger_id: &str,
    ledger: &Ledger,
) -> Result<()> {
    if record.ledger_id == ledger_id {
        return Ok(());
    }
    Err(Error::AnotherLedger {
        url: lake.url().to_owned(),
        theirs: record.ledger_id.clone(),
        ledger: ledger.path().to_owned(),
        ours: ledger_id.to_owned(),
        is_blank: ledger.is_blank().await?,
    }
    .into())
}

/// Whether a lake that was looked for in vain may answer later.
pub fn may_pass(error: &anyhow::Error) -> bool {
    let is_of_store = |cause: &publish::Error| matches!(cause, publish::Error::Store(_));
    error.downcast_ref().is_some_and(is_of_store)
}

/// The key of the lake that the ledger knows, while the lake itself cannot be read: what is due can
/// be exported meanwhile.
///
/// # Errors
/// `error` if the ledger knows no lake yet; [`Error`] if the key is not that lake's.
pub async fn last_known(
    config: &Config,
    lake: &Lake,
    ledger: &Ledger,
    purpose: &Purpose,
    now: Timestamp,
    error: anyhow::Error,
) -> Result<Bound> {
    let Some(bound) = binding(ledger).await? else {
        return Err(error);
    };
    let key = own_key(config, lake, &bound.lake_id, &bound.key)?;
    let ledger_id = ledger.meta(LEDGER_ID).await?;
    let compared = Compared {
        config,
        ledger,
        key: Some(&key),
        purpose,
        now,
    };
    let tenants = tenants::check_remembered(&compared, lake).await?;
    Ok(Bound {
        lake_id: bound.lake_id,
        ledger_id: ledger_id.unwrap_or_default(),
        key,
        tenants,
    })
}

/// Refuses a ledger of an earlier format that is not the lake's, before it is migrated: the earlier
/// meetlake may still need it.
///
/// # Errors
/// [`Error::AnotherLake`], or if the ledger cannot be read.
pub async fn refuse_older(config: &Config, lake: &Lake, found: Option<&LakeState>) -> Result<()> {
    let Some(ledger) = Ledger::open_older(&config.ledger_path).await? else {
        return Ok(());
    };
    let found = found.map_or(LakeFound::OutOfReach, LakeFound::from);
    check_lake(lake, &ledger, binding(&ledger).await?.as_ref(), &found).await
}

/// Opens the ledger for a verb that only reads it; `None` if there is none yet. Of one that an
/// earlier meetlake wrote, it is said first if it cannot be migrated for the lake.
///
/// # Errors
/// As for [`Ledger::open_for_reading`]; [`Error::OfFormat1`], [`Error::AnotherLake`].
pub async fn ledger_for_reading(config: &Config) -> Result<Option<Ledger>> {
    match Ledger::open_for_reading(&config.ledger_path).await {
        Err(error @ ledger::Error::Older { .. }) => {
            let lake = super::open::lake(config)?;
            let found = match find(&lake).await {
                Err(error) if !may_pass(&error) => return Err(error),
                found => found.ok(),
            };
            refuse_older(config, &lake, found.as_ref()).await?;
            Err(error.into())
        }
        ledger => Ok(ledger?),
    }
}

/// The same for a verb that says something of days: the ledger must have them cut as the
/// configuration says.
///
/// # Errors
/// As for [`ledger_for_reading`]; [`Error::OtherSettings`].
pub async fn ledger_of_days(config: &Config) -> Result<Option<Ledger>> {
    let ledger = ledger_for_reading(config).await?;
    if let Some(ledger) = &ledger {
        tenants::check_zones(config, ledger).await?;
    }
    Ok(ledger)
}

/// The same for a verb that is about to write, under its name: a ledger of an earlier format is
/// migrated first.
///
/// # Errors
/// As for [`ledger_of_days`]; those of [`Ledger::open`].
pub async fn ledger_before_writing(config: &Config, verb: &str) -> Result<Option<Ledger>> {
    match ledger_of_days(config).await {
        Err(error) if matches!(error.downcast_ref(), Some(ledger::Error::Older { .. })) => {
            drop(Ledger::open(&config.ledger_path, verb).await?);
            ledger_of_days(config).await
        }
        ledger => ledger,
    }
}

/// Refuses a ledger that is not the lake's: what another one does not name is not nobody's.
///
/// # Errors
/// [`Error::AnotherLedger`], or if the ledger cannot be read.
pub async fn check_ledger_owns(lake: &Lake, found: &LakeState, ledger: &Ledger) -> Result<()> {
    let (LakeState::Known(record, _), Some(id)) = (found, ledger.meta(LEDGER_ID).await?) else {
        return Ok(());
    };
    check_owner(lake, record, &id, ledger).await
}

/// Refuses a lake that is not the ledger's.
///
/// # Errors
/// [`Error::AnotherLake`], or if the ledger cannot be read.
pub async fn check_ledger(lake: &Lake, found: &LakeState, ledger: &Ledger) -> Result<()> {
    if *found == LakeState::RecordLost {
        let url = lake.url().to_owned();
        return Err(Error::RecordLost { url }.into());
    }
    check_lake(lake, ledger, binding(ledger).await?.as_ref(), &found.into()).await
}

/// Says which lake it is and whether its key is at hand, for people.
///
/// # Errors
/// [`Error`] if the lake cannot be used with this configuration; otherwise if it cannot be read.
pub async fn examine(config: &Config, lake: &Lake) -> Result<String> {
    match find(lake).await? {
        LakeState::Known(record, _) => {
            let key = own_key(config, lake, &record.lake_id, &record.key)?;
            tenants::check_known(config, lake).await?;
            let id = &record.lake_id[..8.min(record.lake_id.len())];
            Ok(format!(
                "lake {id} of format {FORMAT}; its key {} is at hand",
                key.id()
            ))
        }
        LakeState::RecordLost => {
            let url = lake.url().to_owned();
            Err(Error::RecordLost { url }.into())
        }
        LakeState::Nothing | LakeState::OfFormat1 => {
            Ok("there is no lake yet; the first run makes it, and its key".to_owned())
        }
    }
}

/// The key for a verb that only reads the ledger, and sends nothing. Where nothing ever ran there
/// is none yet, and no task has a name: any key will do.
///
/// # Errors
/// [`Error`] if the key is not the ledger's; [`Error::OfFormat1`] if a ledger that knows no lake
/// stands beside a lake of format 1.
pub async fn key_for_reading(config: &Config, ledger: Option<&Ledger>) -> Result<LakeKey> {
    let lake = super::open::lake(config)?;
    let bound = match ledger {
        Some(ledger) => binding(ledger).await?,
        None => None,
    };
    match bound {
        Some(bound) => own_key(config, &lake, &bound.lake_id, &bound.key),
        None => {
            find(&lake).await?;
            Ok(LakeKey::new(&[0; crate::lake_key::KEY_BYTES]))
        }
    }
}

async fn binding(ledger: &Ledger) -> Result<Option<Binding>> {
    Ok(ledger.meta_value(LAKE).await?)
}

/// Refuses a lake that is not the ledger's.
async fn check_lake(
    lake: &Lake,
    ledger: &Ledger,
    bound: Option<&Binding>,
    found: &LakeFound,
) -> Result<()> {
    let known = match (whose(bound, found, ledger.has_published().await?), bound) {
        (Whose::ThisLake, _) => return Ok(()),
        (Whose::AnotherLake, Some(bound)) => bound.to_string(),
        (Whose::AnotherLake | Whose::LakeOfFormat1, _) => "a lake of format 1".to_owned(),
    };
    Err(Error::AnotherLake {
        ledger: ledger.path().to_owned(),
        known,
        url: lake.url().to_owned(),
        found: match found {
            LakeFound::Lake(lake) => lake.to_string(),
            LakeFound::RecordLost => format!("a lake of format {FORMAT}"),
            LakeFound::Nothing => "empty".to_owned(),
            LakeFound::OutOfReach => "out of reach".to_owned(),
        },
        has_lake: matches!(found, LakeFound::Lake(_) | LakeFound::RecordLost),
    }
    .into())
}

/// The key that a lake names.
fn own_key(config: &Config, lake: &Lake, lake_id: &str, named: &KeyRecord) -> Result<LakeKey> {
    let source = &config.lake.key;
    let place = match source.file(lake_id) {
        Some(path) => path.display().to_string(),
        None => "`key` in [lake]".to_owned(),
    };
    let url = lake.url().to_owned();
    let id = named.id.clone();
    let Some(key) = keyring::load(source, lake_id)? else {
        return Err(Error::KeyLost { url, id, place }.into());
    };
    if key.fingerprint() != named.fingerprint {
        let found = key.id();
        return Err(Error::AnotherKey {
            url,
            id,
            place,
            found,
        }
        .into());
    }
    Ok(key)
}

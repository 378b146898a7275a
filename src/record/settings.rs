//! What decides where a dataset's rows land in the lake and what they are, beside what Feishu says.
//!
//! The lake keeps these settings, tenant by tenant. A configuration that says something else would
//! publish the next days by other rules than the ones before, and a meeting could stand in two
//! days, or in none. So a change is refused, with the command that brings the days that are there
//! under it.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::datasets::{Dataset, DurationUnit, RequestOption, UserIdType};
use crate::job::JobSpec;

/// The settings of one tenant's dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSettings {
    /// Folder below the lake's root that holds the dataset; empty for the root.
    pub destination: String,
    /// How its originals are read.
    pub reading: ReadingSettings,
    /// Whether the zone in which they are read was the job's own, and not that of its tenants.
    #[serde(default)]
    pub reads_in_own_zone: bool,
    /// Kind of user ids that was asked for; `None` for a dataset without a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id_type: Option<UserIdType>,
    /// The data residency that was asked for, of a multi-geo tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<i32>,
}

/// How originals are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingSettings {
    /// The zone in which date-times without a zone, and the days of a report, are understood: an
    /// IANA name.
    pub time_zone: String,
    /// Unit of the durations in an answer; `None` for a dataset without a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_unit: Option<DurationUnit>,
}

impl RowSettings {
    /// What the configuration says: the job, and the data residency of the tenant.
    #[must_use]
    pub fn of(job: &JobSpec, unit: Option<i32>) -> Self {
        let definition = job.dataset.definition();
        let has = |option| definition.options.contains(&option);
        Self {
            destination: job.destination.clone(),
            reading: ReadingSettings {
                time_zone: zone_name(&job.time_zone),
                duration_unit: has(RequestOption::DurationUnit)
                    .then_some(job.options.top_user_duration_unit),
            },
            reads_in_own_zone: job.has_own_zone,
            // Of a snapshot there is no day that could be asked for again.
            user_id_type: (has(RequestOption::UserIdType) && !job.dataset.is_snapshot())
                .then_some(job.options.user_id_type),
            unit: unit.filter(|_| job.dataset.has_unit()),
        }
    }

    /// What the configuration wants. A job that never had a zone of its own reads as the lake does,
    /// whatever the zone of its tenants is by now: that is about days, and not about texts.
    #[must_use]
    pub fn wanted(&self, job: &JobSpec, unit: Option<i32>) -> Self {
        let mut wanted = Self::of(job, unit);
        if !job.has_own_zone && !self.reads_in_own_zone {
            wanted.reading.time_zone.clone_from(&self.reading.time_zone);
        }
        wanted
    }

    /// The settings with the changes made that `remake` makes.
    #[must_use]
    pub fn remade(&self, job: &JobSpec, unit: Option<i32>, remake: Remake) -> Self {
        let config = Self::of(job, unit);
        Self {
            destination: match remake.re_cut {
                true => config.destination,
                false => self.destination.clone(),
            },
            reading: match remake.re_read {
                true => config.reading,
                false => self.reading.clone(),
            },
            reads_in_own_zone: match remake.re_read {
                true => job.has_own_zone,
                false => self.reads_in_own_zone,
            },
            ..self.clone()
        }
    }

    /// What differs between the lake and what is wanted, in the order of the fields.
    #[must_use]
    pub fn changes(&self, wanted: &Self) -> Vec<SettingChange> {
        let kind = |kind: Option<UserIdType>| kind.map_or("none", UserIdType::as_str).to_owned();
        let unit =
            |unit: Option<DurationUnit>| unit.map_or("none", DurationUnit::as_str).to_owned();
        let residency =
            |unit: Option<i32>| unit.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let folder = |folder: &str| format!("\"{folder}\"");
        let (of_lake, now) = (&self.reading, &wanted.reading);
        let all = [
            (
                "destination",
                folder(&self.destination),
                folder(&wanted.destination),
                Remedy::ReCut,
            ),
            (
                "time_zone",
                of_lake.time_zone.clone(),
                now.time_zone.clone(),
                Remedy::ReRead,
            ),
            (
                "duration_unit",
                unit(of_lake.duration_unit),
                unit(now.duration_unit),
                Remedy::ReRead,
            ),
            (
                "user_id_type",
                kind(self.user_id_type),
                kind(wanted.user_id_type),
                Remedy::ExportAgain,
            ),
            (
                "unit",
                residency(self.unit),
                residency(wanted.unit),
                Remedy::ExportAgain,
            ),
        ];
        let differ = all
            .into_iter()
            .filter(|(_, lake, config, _)| lake != config);
        differ
            .map(|(setting, of_lake, wanted, remedy)| SettingChange {
                setting,
                of_lake,
                wanted,
                remedy,
            })
            .collect()
    }
}

/// A setting that is not what the lake was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Its key in the configuration.
    pub setting: &'static str,
    /// The value in the lake.
    pub of_lake: String,
    /// The value in the configuration.
    pub wanted: String,
    /// What brings the days that are there under it.
    pub remedy: Remedy,
}

/// What brings the days that are in the lake under another setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The originals are cut into days anew, and put where the days belong.
    ReCut,
    /// The originals are read anew.
    ReRead,
    /// The originals do not say it, so Feishu has to be asked again.
    ExportAgain,
}

/// Which settings all days of a lake are brought under, from the archived originals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remake {
    /// Where rows land: the zone of the tenant, and the folder of a dataset.
    pub re_cut: bool,
    /// How originals are read.
    pub re_read: bool,
}

impl Remake {
    /// Whether it brings the days under a change with this remedy.
    #[must_use]
    pub const fn makes(self, remedy: Remedy) -> bool {
        match remedy {
            Remedy::ReCut => self.re_cut,
            Remedy::ReRead => self.re_read,
            Remedy::ExportAgain => false,
        }
    }
}

/// The settings under which all days of a tenant are to be, or are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSettings {
    /// The zone in which its days are cut: an IANA name.
    pub time_zone: String,
    /// Those of each dataset that has days. A lake that an earlier meetlake made has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub datasets: BTreeMap<Dataset, RowSettings>,
}

/// The name of a zone in records.
#[must_use]
pub fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::job;

    fn with_zone(zone: &str, is_own: bool) -> JobSpec {
        let mut job = job(Dataset::TopUser);
        job.time_zone = TimeZone::get(zone).expect("a zone");
        job.has_own_zone = is_own;
        job
    }

    #[test]
    fn each_change_names_what_brings_the_days_under_it() {
        let lake = RowSettings::of(&with_zone("Asia/Shanghai", false), None);
        let change = |change: fn(&mut JobSpec), unit| {
            let mut job = with_zone("Asia/Shanghai", true);
            change(&mut job);
            let changes = lake.changes(&lake.wanted(&job, unit)).into_iter();
            let told = changes.map(|c| (c.setting, c.of_lake, c.wanted, c.remedy));
            told.collect::<Vec<_>>()
        };
        let new_york = TimeZone::get("America/New_York").expect("a zone");
        assert_eq!(lake.changes(&lake), []);
        for (change, expected) in [
            (change(|_| (), None), None),
            (change(|job| job.window_days = 7, None), None),
            (
                change(|job| job.destination = "bi".into(), None),
                Some(("destination", "\"\"", "\"bi\"", Remedy::ReCut)),
            ),
            (
                change(
                    |job| job.time_zone = TimeZone::get("America/New_York").expect("a zone"),
                    None,
                ),
                Some((
                    "time_zone",
                    "Asia/Shanghai",
                    "America/New_York",
                    Remedy::ReRead,
                )),
            ),
            (
                change(
                    |job| job.options.top_user_duration_unit = DurationUnit::Seconds,
                    None,
                ),
                Some(("duration_unit", "minutes", "seconds", Remedy::ReRead)),
            ),
            (
                change(|job| job.options.user_id_type = UserIdType::UnionId, None),
                Some(("user_id_type", "open_id", "union_id", Remedy::ExportAgain)),
            ),
            (
                change(|_| (), Some(2)),
                Some(("unit", "none", "2", Remedy::ExportAgain)),
            ),
        ] {
            let expected: Vec<_> = expected
                .map(|(setting, lake, now, remedy)| {
                    (setting, lake.to_owned(), now.to_owned(), remedy)
                })
                .into_iter()
                .collect();
            assert_eq!(change, expected);
        }
        // The zone of the tenants changes the days, and not how texts are read.
        let mut of_tenants = with_zone("Asia/Shanghai", false);
        of_tenants.time_zone = new_york;
        assert_eq!(lake.changes(&lake.wanted(&of_tenants, None)), []);
        // A zone that was the job's own and is taken away is another matter.
        let of_job = RowSettings::of(&with_zone("Asia/Tokyo", true), None);
        let changes = of_job.changes(&of_job.wanted(&of_tenants, None));
        assert_eq!(changes[0].wanted, "America/New_York");
    }

    #[test]
    fn a_remake_changes_what_it_is_for() {
        let lake = RowSettings::of(&with_zone("Asia/Shanghai", false), None);
        let mut job = with_zone("America/New_York", false);
        job.destination = "bi".into();
        job.options.user_id_type = UserIdType::UnionId;
        for (re_cut, re_read) in [(true, false), (false, true), (true, true)] {
            let remake = Remake { re_cut, re_read };
            let remade = lake.remade(&job, Some(2), remake);
            assert_eq!(remade.destination == "bi", re_cut);
            assert_eq!(remade.reading.time_zone == "America/New_York", re_read);
            // The originals do not say it.
            assert_eq!(
                (remade.user_id_type, remade.unit),
                (lake.user_id_type, None)
            );
        }
    }
}

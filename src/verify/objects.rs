//! The lake's objects, sorted by what they are.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;

use crate::datasets::Dataset;
use crate::publish::location::{self, Place};
use crate::record::{PackId, PartitionId};
use crate::store::ObjectEntry;

/// A pack: whose, of which dataset, and its name.
pub(super) type PackOf = (String, Dataset, PackId);

/// The lake's objects, sorted by what they are.
#[derive(Default)]
pub(super) struct LakeObjects {
    pub(super) manifests: BTreeMap<PartitionId, BTreeMap<u32, Path>>,
    /// Everything in the folders of partitions: path, length, and whether it has the object's name.
    pub(super) partitions: BTreeMap<PartitionId, Vec<(Path, u64, bool)>>,
    pub(super) packs: BTreeSet<PackOf>,
    /// From the path without its extension to the workbook's hash and the extensions found.
    pub(super) quarantine: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl LakeObjects {
    pub(super) fn sort(entries: Vec<ObjectEntry>) -> Self {
        let mut objects = Self::default();
        for ObjectEntry {
            path, size_bytes, ..
        } in entries
        {
            match location::place(&path) {
                Place::Manifest(id, revision) => {
                    objects
                        .manifests
                        .entry(id)
                        .or_default()
                        .insert(revision, path);
                }
                Place::Partition { id, is_object } => {
                    let files = objects.partitions.entry(id).or_default();
                    files.push((path, size_bytes, is_object));
                }
                Place::Pack(tenant, dataset, id) => {
                    objects.packs.insert((tenant, dataset, id));
                }
                Place::Quarantine {
                    sha256, extension, ..
                } => {
                    let name = path.as_ref().strip_suffix(&extension).unwrap_or_default();
                    let (_, extensions) = objects
                        .quarantine
                        .entry(name.to_owned())
                        .or_insert_with(|| (sha256, BTreeSet::new()));
                    extensions.insert(extension);
                }
                Place::Coverage(..)
                | Place::Inputs(..)
                | Place::LakeRecord
                | Place::TenantRecord(_)
                | Place::Probe
                | Place::Other => {}
            }
        }
        objects
    }
}

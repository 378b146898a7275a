//! What the lake says, compared with what the ledger says.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;

use super::{FindingKind, Verifier};
use crate::ledger::Ledger;
use crate::publish;
use crate::publish::location;
use crate::publish::manifest::{self, Completeness, Found};
use crate::record::{Input, PartitionId, PartitionRow};

impl Verifier<'_> {
    /// Checks that the ledger says of each partition what its newest manifest says.
    pub(super) async fn compare_with_ledger(
        &mut self,
        ledger: &Ledger,
        known: &[PartitionRow],
        newest: &BTreeMap<PartitionId, Found>,
    ) -> Result<()> {
        let published: BTreeMap<PartitionId, &PartitionRow> = known
            .iter()
            .filter(|row| row.revision > 0)
            .map(|row| (row.id(), row))
            .collect();
        for (id, found) in newest {
            let path = location::manifest(id, found.manifest.revision)?;
            let Some(row) = published.get(id) else {
                let why = "the ledger does not know the partition; a publish that was cut off is \
                           completed by `meetlake run`, \
                           a lost ledger is rebuilt by `meetlake ledger rebuild`";
                self.add_finding(FindingKind::Ledger, path.as_ref(), why.to_owned());
                continue;
            };
            let mut differs = ledger_differences(row, found);
            differs.extend(self.inputs_differ(ledger, found).await?);
            if !differs.is_empty() {
                let why = format!("the ledger differs in {}", differs.join(", "));
                self.add_finding(FindingKind::Ledger, path.as_ref(), why);
            }
        }
        for id in published.keys().filter(|id| !newest.contains_key(id)) {
            let path = location::manifests(id)?;
            let why =
                "the ledger says the partition is published, and its newest manifest is not there"
                    .to_owned();
            self.add_finding(FindingKind::Ledger, path.as_ref(), why);
        }
        Ok(())
    }

    async fn inputs_differ(&self, ledger: &Ledger, found: &Found) -> Result<Option<&'static str>> {
        let id = found.manifest.id();
        let named = match manifest::inputs(self.lake, &found.manifest).await {
            Err(publish::Error::Record { .. }) => return Ok(None),
            inputs => inputs?,
        };
        let recorded = ledger.inputs(&id.tenant, id.dataset, id.dt).await?;
        let named = named.iter().filter(|input| input.is_answered());
        let agrees = match &self.key_id {
            // After its key was lost, the ledger has other names for the same tasks until the
            // partition is published again.
            Some(key_id) if *key_id != found.manifest.key_id => {
                let original = |input: &Input| (input.source_sha256.clone(), input.generation);
                let recorded: HashSet<_> = recorded.iter().map(original).collect();
                named.map(original).all(|input| recorded.contains(&input))
            }
            _ => {
                let by_key = |input: Input| (input.task_key.clone(), input);
                let recorded: HashMap<_, Input> = recorded.into_iter().map(by_key).collect();
                let mut named = named;
                named.all(|input| recorded.get(&input.task_key) == Some(input))
            }
        };
        Ok((!agrees).then_some("its list of inputs"))
    }
}

fn ledger_differences(row: &PartitionRow, found: &Found) -> Vec<&'static str> {
    let manifest = &found.manifest;
    let pairs = [
        (row.revision == u64::from(manifest.revision), "its revision"),
        (
            row.manifest_sha256.as_ref() == Some(&found.sha256),
            "the hash of its manifest",
        ),
        (
            row.content_hash.as_ref() == Some(&manifest.content_hash),
            "its content hash",
        ),
        (row.rows == manifest.rows, "its rows"),
        (
            row.size_bytes == manifest.object.size_bytes,
            "the length of its object",
        ),
        (
            row.complete == (manifest.state == Completeness::Complete),
            "whether it is complete",
        ),
    ];
    pairs
        .into_iter()
        .filter(|(agrees, _)| !agrees)
        .map(|(_, what)| what)
        .collect()
}

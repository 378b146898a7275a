//! Archived originals, read again: decoded and normalized as on the day they came, without asking
//! Feishu for anything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use jiff::civil::Date;

use super::reading::{Reading, RowSource, run_blocking, split};
use super::{Tenant, parents};
use crate::datasets::Parent;
use crate::findings::Findings;
use crate::job::JobSpec;
use crate::publish::{self, pack::Pack};
use crate::record::{Input, PassedRows, ReportedDay, SpooledTask};
use crate::task::TaskSpec;
use crate::task::disposition::Blame;

const NO_ORIGINAL: &str = "it has no archived original";

/// What an archived original holds.
pub(crate) struct Reread {
    /// Length of the original, bytes.
    pub(crate) size_bytes: u64,
    /// Its rows by the partition they fall into.
    pub(crate) by_date: BTreeMap<Date, PassedRows>,
    /// What normalizing found.
    pub(crate) findings: Findings,
    /// What children need of its rows.
    pub(crate) parents: Vec<Parent>,
    /// What it says of single days, if it is a daily report.
    pub(crate) reported: Vec<ReportedDay>,
}

impl Reread {
    /// The partitions its rows fall into.
    pub(crate) fn dts(&self) -> BTreeSet<Date> {
        self.by_date.keys().copied().collect()
    }
}

/// Reads the originals of `inputs` again, pack by pack, and hands each to `each`; where an original
/// cannot be read, with the reason.
///
/// # Errors
/// When the lake cannot be read, or `each` fails. A pack that is gone or damaged is a reason, not
/// an error.
pub(crate) async fn reread(
    tenant: &Tenant,
    job: &JobSpec,
    inputs: impl IntoIterator<Item = &Input>,
    mut each: impl FnMut(&Input, Result<Reread>) -> Result<()>,
) -> Result<()> {
    let mut by_pack: BTreeMap<&str, Vec<&Input>> = BTreeMap::new();
    for input in inputs {
        match &input.pack {
            Some(pack) => by_pack.entry(pack).or_default().push(input),
            None => each(input, Err(anyhow!(NO_ORIGINAL)))?,
        }
    }
    for (name, inputs) in by_pack {
        let mut pack = match tenant.publisher.open_pack(&tenant.name, name).await {
            Ok(pack) => pack,
            Err(publish::Error::Record { path, problem }) => {
                for input in inputs {
                    let (path, problem) = (path.clone(), problem.clone());
                    each(input, Err(publish::Error::Record { path, problem }.into()))?;
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for input in inputs {
            each(input, reread_one(tenant, job, input, &mut pack).await?)?;
        }
    }
    Ok(())
}

async fn reread_one(
    tenant: &Tenant,
    job: &JobSpec,
    input: &Input,
    pack: &mut Pack,
) -> Result<Result<Reread>> {
    let (Some(sha256), Some(window)) = (&input.source_sha256, input.window()) else {
        return Ok(Err(anyhow!(NO_ORIGINAL)));
    };
    let original = match pack.original(sha256) {
        Ok(original) => original,
        Err(error) => return Ok(Err(error.into())),
    };
    let size_bytes = original.len() as u64;
    let (request, lineage) = (input.request.clone(), input.lineage.clone());
    let spec = TaskSpec::new(&tenant.name, window, request, lineage);
    let source = RowSource {
        export_id: input.export_id.clone(),
        sha256: sha256.clone(),
        extracted_at: input.extracted_at,
    };
    let reader = Reading::new(tenant, job, &spec, source);
    let normalized = match run_blocking(move || reader.read(&original)).await? {
        Ok(normalized) => normalized,
        Err(unread) if unread.blame == Blame::Machine => return Err(anyhow!(unread.reason)),
        Err(unread) => return Ok(Err(anyhow!(unread.reason))),
    };
    let parents = parents::of_batch(spec.dataset(), &normalized.batch);
    let reported = parents::reported_days(&tenant.time_zone, &normalized.batch);
    let passed = tenant.policy.apply(normalized.batch);
    Ok(Ok(Reread {
        size_bytes,
        by_date: split(tenant, &spec, &passed)?,
        parents,
        reported,
        findings: normalized.findings,
    }))
}

/// Puts the rows of archived originals back into the spool, and names those with rows of `dt`.
pub(super) async fn spool_again(
    tenant: &Tenant,
    job: &JobSpec,
    inputs: &[Input],
    dt: Date,
) -> Result<Vec<SpooledTask>> {
    let mut spooled = Vec::new();
    reread(tenant, job, inputs, |input, read| {
        let (key, generation) = (input.task_key.clone(), input.generation);
        let read =
            read.with_context(|| format!("the archived original of task {key} cannot be read"))?;
        tenant.spool.put_rows(&key, generation, &read.by_date)?;
        if read.by_date.contains_key(&dt) {
            spooled.push(SpooledTask { key, generation });
        }
        Ok(())
    })
    .await?;
    Ok(spooled)
}

//! Archived originals, read again: decoded and normalised as on the day they came, without asking Feishu for anything.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use arrow::array::RecordBatch;
use jiff::civil::Date;

use super::{Blame, Broken, Source, Tenant, context_of, decode_and_normalize, parents, split};
use crate::job::JobSpec;
use crate::ledger::Parent;
use crate::normalize::Findings;
use crate::publish::manifest::Input;
use crate::publish::{self, pack::Pack};
use crate::task::TaskSpec;

const NO_ORIGINAL: &str = "it has no archived original";

/// What an archived original holds.
pub(crate) struct Reread {
    /// Length of the original, bytes.
    pub(crate) size_bytes: u64,
    /// Its rows by the partition they fall into.
    pub(crate) by_date: BTreeMap<Date, RecordBatch>,
    /// What normalising found.
    pub(crate) findings: Findings,
    /// What children need of its rows.
    pub(crate) parents: Vec<Parent>,
}

/// Reads the originals of `inputs` again, pack by pack, and hands each to `each`; where an original cannot be read, with the reason.
///
/// # Errors
/// When the lake cannot be read, or `each` fails. A pack that is gone or damaged is a reason, not an error.
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
    let spec = TaskSpec::new(
        &tenant.name,
        window,
        input.request.clone(),
        input.lineage.clone(),
    );
    let source = Source {
        export_id: input.export_id.clone(),
        sha256: sha256.clone(),
        extracted_at: input.extracted_at,
    };
    let (limits, fallback, context) = (
        tenant.workbook_limits.clone(),
        tenant.fallback.clone(),
        context_of(tenant, job, &spec, source),
    );
    let work = move || decode_and_normalize(&original, &limits, &fallback, &context);
    let read = match tokio::task::spawn_blocking(work).await {
        Err(error) if error.is_panic() => Err(Broken::by_a_panic()),
        read => read?,
    };
    let normalized = match read {
        Ok(normalized) => normalized,
        Err(broken) if broken.blame == Blame::Machine => return Err(anyhow!(broken.reason)),
        Err(broken) => return Ok(Err(anyhow!(broken.reason))),
    };
    Ok(Ok(Reread {
        size_bytes,
        by_date: split(tenant, &spec, &normalized)?,
        parents: parents::of_batch(spec.dataset(), &normalized.batch),
        findings: normalized.findings,
    }))
}

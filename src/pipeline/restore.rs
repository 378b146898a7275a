//! Archived originals, read again: decoded and normalized as on the day they came, without asking
//! Feishu for anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use jiff::civil::Date;

use super::Tenant;
use super::reading::{ReadFailure, Reading, RowSource, run_blocking};
use super::rows::OriginalFacts;
use crate::job::JobSpec;
use crate::publish::{self, pack::Pack};
use crate::record::{Input, PackId, SpooledTask};
use crate::spool::{Spool, SpooledOriginal, TempFile};
use crate::task::TaskSpec;
use crate::task::disposition::Blame;

const NO_ORIGINAL: &str = "it has no archived original";

/// What an archived original holds.
pub(crate) struct Reread {
    /// The task that it answers, under the key that the lake has now.
    pub(crate) spec: TaskSpec,
    /// Length of the original, bytes.
    pub(crate) size_bytes: u64,
    /// What reading it gave.
    pub(crate) read: OriginalFacts,
}

/// What becomes of the rows of archived originals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RereadRows {
    /// They go back into the spool.
    Spooled,
    /// Only what they say is wanted.
    Forgotten,
}

/// Reads the originals of `inputs` again, pack by pack, and hands what came of each to `each`, or
/// the reason why it cannot be read.
///
/// # Errors
/// When the lake cannot be read, or `each` fails. A pack that is gone or damaged is a reason, not
/// an error.
pub(crate) async fn reread(
    tenant: &Tenant,
    job: &JobSpec,
    inputs: impl IntoIterator<Item = &Input>,
    rows: RereadRows,
    mut each: impl FnMut(&Input, Result<Reread>) -> Result<()>,
) -> Result<()> {
    let mut by_pack: BTreeMap<&PackId, Vec<&Input>> = BTreeMap::new();
    for input in inputs {
        match &input.pack {
            Some(pack) => by_pack.entry(pack).or_default().push(input),
            None => each(input, Err(anyhow!(NO_ORIGINAL)))?,
        }
    }
    for (name, inputs) in by_pack {
        let opened = tenant.publisher.open_pack(&tenant.name, job.dataset, name);
        let pack = match opened.await {
            Ok(pack) => Arc::new(Mutex::new(pack)),
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
            each(input, reread_one(tenant, job, input, rows, &pack).await?)?;
        }
    }
    Ok(())
}

async fn reread_one(
    tenant: &Tenant,
    job: &JobSpec,
    input: &Input,
    rows: RereadRows,
    pack: &Arc<Mutex<Pack>>,
) -> Result<Result<Reread>> {
    let (Some(sha256), Some(window)) = (&input.source_sha256, input.window()) else {
        return Ok(Err(anyhow!(NO_ORIGINAL)));
    };
    let archived = {
        let pack = pack.lock().unwrap_or_else(PoisonError::into_inner);
        pack.task(&input.task_key, tenant.owner()).cloned()
    };
    let archived = match archived {
        Ok(archived) => archived,
        Err(error) => return Ok(Err(error.into())),
    };
    let (request, lineage, witness) = (archived.request, archived.lineage, archived.witness);
    let spec = TaskSpec::new(tenant.owner(), window, request, lineage);
    let source = RowSource {
        export_id: input.export_id.clone(),
        sha256: sha256.clone(),
        extracted_at: input.extracted_at,
    };
    let reading = Reading::new(tenant, job, &spec, source).comparing(witness.is_some());
    let (spool, pack, sha256) = (tenant.spool.clone(), Arc::clone(pack), sha256.clone());
    let (key, generation) = (input.task_key.clone(), input.generation);
    let read = run_blocking(move || {
        let (_copy, original) = extract(&spool, &pack, &sha256)?;
        let size_bytes = original.size_bytes;
        let spooling = match rows {
            RereadRows::Spooled => Some(spool.begin_rows(&key, generation)),
            RereadRows::Forgotten => None,
        };
        let spooling = spooling.transpose().map_err(ReadFailure::NotKept)?;
        // What is archived was accepted as the task's when it came.
        let mut read = reading.read(&original, spooling, false)?;
        if let Some(witness) = witness {
            let sha256 = witness.sha256();
            let extracted = sha256.as_ref().map(|sha256| extract(&spool, &pack, sha256));
            let (_copy, original) = extracted.transpose()?.unzip();
            reading.compare(sha256.zip(original), &mut read);
        }
        Ok(Reread {
            spec: reading.spec,
            size_bytes,
            read,
        })
    });
    archived_or_reason(read.await?)
}

/// A copy of an original of a pack. It is there as long as the file is.
fn extract(
    spool: &Spool,
    pack: &Mutex<Pack>,
    sha256: &str,
) -> Result<(TempFile, SpooledOriginal), ReadFailure> {
    let copy = spool.temp_file();
    // Whoever panicked while reading from it left it as it was.
    let mut pack = pack.lock().unwrap_or_else(PoisonError::into_inner);
    let size_bytes = pack.extract(sha256, copy.path());
    let size_bytes = size_bytes.map_err(ReadFailure::NotExtracted)?;
    drop(pack);
    let opened = File::open(copy.path());
    let file = opened.map_err(|error| ReadFailure::Mistake(error.into()))?;
    let original = SpooledOriginal {
        path: copy.path().to_owned(),
        file,
        size_bytes,
    };
    Ok((copy, original))
}

/// What reading an archived original gave, or the reason why it cannot be read.
///
/// # Errors
/// When this machine is at fault.
pub(super) fn archived_or_reason<T>(read: Result<T, ReadFailure>) -> Result<Result<T>> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(ReadFailure::NotExtracted(error @ publish::Error::Record { .. })) => {
            Ok(Err(error.into()))
        }
        Err(ReadFailure::NotExtracted(error)) => Err(error.into()),
        Err(ReadFailure::Unread(unread)) if unread.blame == Blame::Machine => {
            Err(anyhow!(unread.reason))
        }
        Err(ReadFailure::Unread(unread)) => Ok(Err(anyhow!(unread.reason))),
        Err(ReadFailure::NotKept(error) | ReadFailure::OriginalNotOpened(error)) => {
            Err(error.into())
        }
        Err(ReadFailure::OriginalLost) => Err(anyhow!("the copy of an original is gone")),
        Err(ReadFailure::Mistake(error)) => Err(error),
        Err(ReadFailure::Panicked(panic)) => resume_unwind(panic),
    }
}

/// Puts the rows of archived originals back into the spool, and names those with rows of `dt`.
pub(super) async fn spool_again(
    tenant: &Tenant,
    job: &JobSpec,
    inputs: &[Input],
    dt: Date,
) -> Result<Vec<SpooledTask>> {
    let mut spooled = Vec::new();
    reread(tenant, job, inputs, RereadRows::Spooled, |input, reread| {
        let (key, generation) = (input.task_key.clone(), input.generation);
        let reread = reread
            .with_context(|| format!("the archived original of task {key} cannot be read"))?;
        if reread.read.dts.contains(&dt) {
            spooled.push(SpooledTask { key, generation });
        }
        Ok(())
    })
    .await?;
    Ok(spooled)
}

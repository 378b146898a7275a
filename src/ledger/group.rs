//! Group commit: the steps of many tasks go to disk in one transaction, and each caller waits until
//! its own is there.
//!
//! With a hundred tasks under way, a commit an event would be a disk flush an event. This way the
//! flushes are as many as the disk can do, and each carries whatever was waiting.

use std::path::{Path, PathBuf};

use sqlx::AnyPool;
use tokio::sync::{mpsc, oneshot};

use super::steps::TaskStep;
use super::{Error, check_fence, commit, sql};

/// A step, and who waits for it.
type WaitingStep = (TaskStep, oneshot::Sender<Result<(), Error>>);

/// Takes steps and writes them in groups; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct StepWriter {
    queue: mpsc::Sender<WaitingStep>,
    path: PathBuf,
}

/// Steps in one transaction at most; bounds what one failure takes with it.
const LARGEST_GROUP: usize = 256;

impl StepWriter {
    /// Starts to write. It ends with the last clone.
    pub(super) fn start(path: PathBuf, pool: AnyPool, fence: i64) -> Self {
        let (queue, mut waiting) = mpsc::channel::<WaitingStep>(LARGEST_GROUP);
        let writer = Self {
            queue,
            path: path.clone(),
        };
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(LARGEST_GROUP);
            while waiting.recv_many(&mut group, LARGEST_GROUP).await > 0 {
                let steps: Vec<&TaskStep> = group.iter().map(|(step, _)| step).collect();
                match write_group(&path, &pool, fence, &steps).await {
                    Ok(()) => group
                        .drain(..)
                        .for_each(|(_, done)| drop(done.send(Ok(())))),
                    // One bad step must not take the others with it: each gets a transaction, and
                    // an answer, of its own.
                    Err(_) => {
                        for (step, done) in group.drain(..) {
                            let _ = done.send(write_group(&path, &pool, fence, &[&step]).await);
                        }
                    }
                }
            }
        });
        writer
    }

    /// Writes a step; returns when it is on disk.
    pub(super) async fn write(&self, step: TaskStep) -> Result<(), Error> {
        let gone = || Error::Fenced {
            path: self.path.clone(),
        };
        let (done, answer) = oneshot::channel();
        self.queue.send((step, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn write_group(
    path: &Path,
    pool: &AnyPool,
    fence: i64,
    steps: &[&TaskStep],
) -> Result<(), Error> {
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    check_fence(path, &mut transaction, fence).await?;
    for step in steps {
        step.write(&mut transaction).await?;
    }
    commit(transaction).await
}

//! Group commit: the steps of many tasks go to disk in one transaction, and each caller waits until its own is there.
//!
//! With a hundred tasks under way, a commit an event would be a disk flush an event; this way the flushes are as many as the disk can do,
//! and each carries whatever was waiting.

use std::path::PathBuf;

use jiff::Timestamp;
use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::tasks::{Parent, Phase, SpooledResult};
use super::{Error, check_fence, commit, micros, sql};
use crate::dataset::Dataset;
use crate::task::TaskKey;

/// A step of one task.
#[derive(Debug)]
pub(super) enum Op {
    Advance {
        key: TaskKey,
        machine: String,
        submitted: bool,
        polled: bool,
        now: Timestamp,
    },
    Spool {
        key: TaskKey,
        tenant: String,
        of: Dataset,
        machine: String,
        result: SpooledResult,
        now: Timestamp,
    },
    Defer {
        key: TaskKey,
        machine: String,
        run_at: Timestamp,
        kind: String,
        error: String,
        now: Timestamp,
    },
    End {
        key: TaskKey,
        phase: Phase,
        machine: String,
        kind: String,
        error: String,
        now: Timestamp,
    },
}

type Waiting = (Op, oneshot::Sender<Result<(), Error>>);

#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Waiting>,
    path: PathBuf,
}

/// Steps in one transaction at most; bounds what one failure takes with it.
const LARGEST_GROUP: usize = 256;

impl Writer {
    pub(super) fn start(path: PathBuf, pool: AnyPool, fence: i64) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting>(LARGEST_GROUP);
        let writer = Self {
            queue,
            path: path.clone(),
        };
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(LARGEST_GROUP);
            while waiting.recv_many(&mut group, LARGEST_GROUP).await > 0 {
                let ops: Vec<&Op> = group.iter().map(|(op, _)| op).collect();
                match write_group(&path, &pool, fence, &ops).await {
                    Ok(()) => group
                        .drain(..)
                        .for_each(|(_, done)| drop(done.send(Ok(())))),
                    // One bad step must not take the others with it: each gets a transaction, and an answer, of its own.
                    Err(_) => {
                        for (op, done) in group.drain(..) {
                            let _ = done.send(write_group(&path, &pool, fence, &[&op]).await);
                        }
                    }
                }
            }
        });
        writer
    }

    pub(super) async fn write(&self, op: Op) -> Result<(), Error> {
        let gone = || Error::Fenced {
            path: self.path.clone(),
        };
        let (done, answer) = oneshot::channel();
        self.queue.send((op, done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn write_group(
    path: &std::path::Path,
    pool: &AnyPool,
    fence: i64,
    ops: &[&Op],
) -> Result<(), Error> {
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    check_fence(path, &mut transaction, fence).await?;
    for op in ops {
        write_one(&mut transaction, op).await?;
    }
    commit(transaction).await
}

async fn write_one(transaction: &mut Transaction<'static, Any>, op: &Op) -> Result<(), Error> {
    match op {
        Op::Advance {
            key,
            machine,
            submitted,
            polled,
            now,
        } => {
            sqlx::query("UPDATE task SET machine = $1, submits = submits + $2, polls = polls + $3, updated_at = $4 WHERE key = $5")
                .bind(machine.as_str().to_owned())
                .bind(i64::from(*submitted))
                .bind(i64::from(*polled))
                .bind(micros(*now))
                .bind(key.as_str().to_owned())
                .execute(&mut **transaction)
                .await
                .map_err(sql("record where an export stands"))?;
        }
        Op::Defer {
            key,
            machine,
            run_at,
            kind,
            error,
            now,
        } => {
            sqlx::query(
                "UPDATE task SET machine = $1, attempts = attempts + 1, run_at = $2, error_kind = $3, error = $4, updated_at = $5 \
                 WHERE key = $6",
            )
            .bind(machine.as_str().to_owned())
            .bind(micros(*run_at))
            .bind(kind.as_str().to_owned())
            .bind(error.as_str().to_owned())
            .bind(micros(*now))
            .bind(key.as_str().to_owned())
            .execute(&mut **transaction)
            .await
            .map_err(sql("defer a task"))?;
        }
        Op::End {
            key,
            phase,
            machine,
            kind,
            error,
            now,
        } => {
            sqlx::query(
                "UPDATE task SET phase = $1, machine = $2, attempts = attempts + 1, error_kind = $3, error = $4, updated_at = $5 \
                 WHERE key = $6",
            )
            .bind(phase.as_str())
            .bind(machine.as_str().to_owned())
            .bind(kind.as_str().to_owned())
            .bind(error.as_str().to_owned())
            .bind(micros(*now))
            .bind(key.as_str().to_owned())
            .execute(&mut **transaction)
            .await
            .map_err(sql("end a task"))?;
        }
        Op::Spool {
            key,
            tenant,
            of,
            machine,
            result,
            now,
        } => {
            write_spooled(transaction, key, tenant, *of, machine, result, *now).await?;
        }
    }
    Ok(())
}

async fn write_spooled(
    transaction: &mut Transaction<'static, Any>,
    key: &TaskKey,
    tenant: &str,
    of: Dataset,
    machine: &str,
    result: &SpooledResult,
    now: Timestamp,
) -> Result<(), Error> {
    // A pack that is named already may hold other bytes of this task, and the spool forgets what is said to be in a pack.
    sqlx::query(
        "UPDATE task SET phase = 'spooled', machine = $1, rows_out = $2, dts = $3, pack = NULL, result = $4, error_kind = NULL, \
         error = NULL, updated_at = $5 WHERE key = $6",
    )
    .bind(machine.to_owned())
    .bind(i64::try_from(result.rows).unwrap_or(i64::MAX))
    .bind(result.dts.clone())
    .bind(result.result.clone())
    .bind(micros(now))
    .bind(key.as_str().to_owned())
    .execute(&mut **transaction)
    .await
    .map_err(sql("record spooled rows"))?;
    sqlx::query("DELETE FROM parent WHERE task_key = $1")
        .bind(key.as_str().to_owned())
        .execute(&mut **transaction)
        .await
        .map_err(sql("replace parent rows"))?;
    for parent in &result.parents {
        insert_parent(transaction, key, tenant, of, parent).await?;
    }
    Ok(())
}

pub(super) async fn insert_parent(
    transaction: &mut Transaction<'static, Any>,
    key: &TaskKey,
    tenant: &str,
    of: Dataset,
    parent: &Parent,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO parent (task_key, source_row, tenant, dataset, meeting_no, start_at, end_at, participant_count, join_at, stay_s, \
         user_id, room_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key.as_str().to_owned())
    .bind(parent.source_row)
    .bind(tenant.to_owned())
    .bind(of.as_str())
    .bind(parent.meeting_no.clone())
    .bind(micros(parent.start))
    .bind(parent.end.map(micros))
    .bind(parent.participant_count)
    .bind(parent.join_time.map(micros))
    .bind(parent.stay_s)
    .bind(parent.user_id.clone())
    .bind(parent.room_id.clone())
    .execute(&mut **transaction)
    .await
    .map_err(sql("record parent rows"))?;
    Ok(())
}

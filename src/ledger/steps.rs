//! What a task's life records, one step at a time.
//!
//! Steps of tasks that are under way go through [`super::group`]. What is recorded of many tasks
//! together has a transaction of its own.

use jiff::Timestamp;

use super::parents::{insert_parents, keep_reported_day};
use super::received::forget_bodies;
use super::stored::{integer, micros, to_json};
use super::{Error, Ledger, Transaction, commit, sql};
use crate::cause::Failure;
use crate::datasets::Dataset;
use crate::record::{Damage, PackId, Phase, SpooledResult, TaskRow};
use crate::task::TaskKey;
use crate::task::machine::State;

/// A step of one task.
#[derive(Debug)]
pub(super) struct TaskStep {
    key: TaskKey,
    /// JSON of where its export stands afterwards.
    machine: String,
    change: Change,
    now: Timestamp,
}

#[derive(Debug)]
enum Change {
    Advanced {
        submitted: bool,
        polled: bool,
    },
    Deferred {
        run_at: Timestamp,
        failure: Failure,
        damage: Option<Damage>,
    },
    Ended {
        phase: Phase,
        failure: Failure,
    },
    Spooled {
        tenant: String,
        of: Dataset,
        result: Box<SpooledResult>,
    },
}

impl Ledger {
    /// Records where an export stands, before the next effect is performed, and counts the call
    /// that led there.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn advance(
        &self,
        task: &TaskRow,
        machine: &State,
        submitted: bool,
        polled: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let change = Change::Advanced { submitted, polled };
        self.step(task, machine, change, now).await
    }

    /// Records that a task's rows are in the spool, together with what its children need and what
    /// it reports of single days.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn spool(
        &self,
        task: &TaskRow,
        machine: &State,
        result: SpooledResult,
        now: Timestamp,
    ) -> Result<(), Error> {
        let change = Change::Spooled {
            tenant: task.spec.tenant.clone(),
            of: task.spec.dataset(),
            result: Box::new(result),
        };
        self.step(task, machine, change, now).await
    }

    /// Records a given-up attempt, and when the next one may start. Without a `damage`, what is
    /// known of damaged bytes stays.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn defer(
        &self,
        task: &TaskRow,
        machine: &State,
        run_at: Timestamp,
        failure: &Failure,
        damage: Option<&Damage>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let change = Change::Deferred {
            run_at,
            failure: failure.clone(),
            damage: damage.cloned(),
        };
        self.step(task, machine, change, now).await
    }

    /// Records that a task ended without rows to publish: quarantined or failed.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn end(
        &self,
        task: &TaskRow,
        phase: Phase,
        machine: &State,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<(), Error> {
        let failure = failure.clone();
        self.step(task, machine, Change::Ended { phase, failure }, now)
            .await
    }

    async fn step(
        &self,
        task: &TaskRow,
        machine: &State,
        change: Change,
        now: Timestamp,
    ) -> Result<(), Error> {
        let step = TaskStep {
            key: task.spec.key.clone(),
            machine: to_json(machine),
            change,
            now,
        };
        match &self.steps {
            Some(steps) => steps.write(step).await,
            None => Err(self.fenced()),
        }
    }

    /// Records in which pack each original is.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_packs(&self, packs: &[(TaskKey, PackId)]) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for (key, pack) in packs {
            sqlx::query("UPDATE task SET pack = $1 WHERE key = $2")
                .bind(pack.to_string())
                .bind(key.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(sql("record a pack"))?;
        }
        commit(transaction).await
    }

    /// Records that the rows of these tasks are in the lake, each with the generation that is.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn tasks_published(
        &self,
        tasks: &[(TaskKey, u32)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for (key, generation) in tasks {
            sqlx::query(
                "UPDATE task SET phase = 'published', updated_at = $1 \
                 WHERE key = $2 AND generation = $3 AND phase = 'spooled'",
            )
            .bind(micros(now))
            .bind(key.as_str())
            .bind(i64::from(*generation))
            .execute(&mut *transaction)
            .await
            .map_err(sql("record published tasks"))?;
            forget_bodies(&mut transaction, key).await?;
        }
        commit(transaction).await
    }
}

impl TaskStep {
    pub(super) async fn write(&self, transaction: &mut Transaction) -> Result<(), Error> {
        // $1 to $3 are the same in every statement.
        let query = |statement: &'static str| {
            sqlx::query(statement)
                .bind(self.machine.as_str())
                .bind(micros(self.now))
                .bind(self.key.as_str())
        };
        let (query, action) = match &self.change {
            Change::Advanced { submitted, polled } => {
                let advanced = query(
                    "UPDATE task SET machine = $1, updated_at = $2, submits = submits + $4, \
                     polls = polls + $5 WHERE key = $3",
                )
                .bind(i64::from(*submitted))
                .bind(i64::from(*polled));
                (advanced, "record where an export stands")
            }
            Change::Deferred {
                run_at,
                failure,
                damage,
            } => {
                let (sha256, times) = damage
                    .as_ref()
                    .map(|damage| (damage.sha256.as_str(), i64::from(damage.times)))
                    .unzip();
                let deferred = query(
                    "UPDATE task SET machine = $1, updated_at = $2, attempts = attempts + 1, \
                     error_kind = $4, error = $5, run_at = $6, \
                     damaged_sha256 = COALESCE($7, damaged_sha256), \
                     damaged_times = COALESCE($8, damaged_times) WHERE key = $3",
                )
                .bind(failure.cause.as_str())
                .bind(failure.message.as_str())
                .bind(micros(*run_at))
                .bind(sha256)
                .bind(times);
                (deferred, "defer a task")
            }
            Change::Ended { phase, failure } => {
                let ended = query(
                    "UPDATE task SET machine = $1, updated_at = $2, attempts = attempts + 1, \
                     error_kind = $4, error = $5, phase = $6 WHERE key = $3",
                )
                .bind(failure.cause.as_str())
                .bind(failure.message.as_str())
                .bind(phase.as_str());
                (ended, "end a task")
            }
            Change::Spooled { result, .. } => {
                // A pack that is named already may hold other bytes of this task, and the spool
                // forgets what is said to be in a pack.
                let spooled = query(
                    "UPDATE task SET machine = $1, updated_at = $2, phase = 'spooled', \
                     rows_out = $4, dts = $5, result = $6, pack = NULL, error_kind = NULL, \
                     error = NULL, damaged_sha256 = NULL, damaged_times = NULL WHERE key = $3",
                )
                .bind(integer(result.findings.rows_out))
                .bind(to_json(&result.dts))
                .bind(to_json(&result.findings));
                (spooled, "record spooled rows")
            }
        };
        query
            .execute(&mut **transaction)
            .await
            .map_err(sql(action))?;
        if let Change::Spooled { tenant, of, result } = &self.change {
            self.tell_others(transaction, tenant, *of, result).await?;
        }
        Ok(())
    }

    /// Replaces what other datasets know of the task's rows.
    async fn tell_others(
        &self,
        transaction: &mut Transaction,
        tenant: &str,
        of: Dataset,
        result: &SpooledResult,
    ) -> Result<(), Error> {
        sqlx::query("DELETE FROM parent WHERE task_key = $1")
            .bind(self.key.as_str())
            .execute(&mut **transaction)
            .await
            .map_err(sql("replace parent rows"))?;
        let parents = result.parents.iter();
        insert_parents(transaction, &self.key, tenant, of, parents).await?;
        for day in &result.reported {
            keep_reported_day(transaction, tenant, day).await?;
        }
        Ok(())
    }
}

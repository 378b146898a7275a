//! Events that Feishu sent. What is kept here is on disk before it is acknowledged, and its id stays
//! for as long as Feishu may send it again.

use jiff::{SignedDuration, Timestamp};

use super::planning::insert_tasks;
use super::stored::{StoredRow, integer, micros};
use super::{Error, Ledger, Transaction, bind_window, commit, sql};
use crate::datasets::Dataset;
use crate::record::{
    EventTypeRecord, KeptEvent, MissingEnds, OpenTask, ReceivedEvent, WaitingEvent, WindowRow,
    end_of,
};
use crate::task::TaskKey;

/// Feishu sends an event again for some seven hours. A program that was stopped in between is no
/// reason to forget it earlier.
const IDS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is on disk.
    Kept,
    /// It was there.
    Repeated,
}

impl Ledger {
    /// Keeps an event, unless it was kept before. Once this returns, it is on disk.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over: the event is not kept then.
    pub async fn keep_event(&self, tenant: &str, event: &ReceivedEvent) -> Result<Keeping, Error> {
        let mut transaction = self.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO event (tenant, event_id, dataset, event_at, received_at, event_type, \
             body) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, event_id) DO NOTHING",
        )
        .bind(tenant)
        .bind(event.id.as_str())
        .bind(event.dataset.as_str())
        .bind(micros(event.at))
        .bind(micros(event.received_at))
        .bind(event.event_type.as_str())
        .bind(event.body.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(sql("keep an event"))?;
        let keeping = match inserted.rows_affected() {
            0 => Keeping::Repeated,
            _ => Keeping::Kept,
        };
        let counted = match keeping {
            Keeping::Kept => CountedEvent::Kept(event.at),
            Keeping::Repeated => CountedEvent::Repeated,
        };
        let received_at = event.received_at;
        count(
            &mut transaction,
            tenant,
            &event.event_type,
            counted,
            received_at,
        )
        .await?;
        commit(transaction).await?;
        Ok(keeping)
    }

    /// Counts an event that is acknowledged and not kept.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn leave_event_out(
        &self,
        tenant: &str,
        event_type: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        count(
            &mut transaction,
            tenant,
            event_type,
            CountedEvent::LeftOut,
            now,
        )
        .await?;
        commit(transaction).await
    }

    /// Up to `limit` events of a dataset that are in no batch yet, those that happened first.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn waiting_events(
        &self,
        tenant: &str,
        of: Dataset,
        limit: u32,
    ) -> Result<Vec<WaitingEvent>, Error> {
        sqlx::query(
            "SELECT tenant, event_id, event_at, OCTET_LENGTH(body) AS size_bytes FROM event \
             WHERE tenant = $1 AND dataset = $2 AND task_key IS NULL AND body IS NOT NULL \
             ORDER BY event_at, event_id LIMIT $3",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await
        .map_err(sql("list events"))?
        .iter()
        .map(StoredRow::event)
        .map(|row| {
            Ok(WaitingEvent {
                id: row.get("event_id")?,
                at: row.instant("event_at")?,
                size_bytes: row.count("size_bytes")?,
            })
        })
        .collect()
    }

    /// Makes the task of a batch and assigns its events to it, in one transaction. The window is
    /// made if it is not there, and opened again if it was settled.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn plan_batch(
        &self,
        window: &WindowRow,
        task: &OpenTask,
        ids: &[String],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let query = sqlx::query(
            "INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, \
             generation, covered_at) VALUES ($1, $2, $3, $4, $5, $6, 'planned', 1, $7) \
             ON CONFLICT (tenant, dataset, start_at, end_at) DO UPDATE SET state = 'planned'",
        );
        bind_window(query, &window.tenant, window.dataset, window.window)
            .bind(window.job.as_str())
            .bind(micros(window.due_at))
            .bind(micros(now))
            .execute(&mut *transaction)
            .await
            .map_err(sql("open the day of an event"))?;
        let tasks = std::slice::from_ref(task);
        insert_tasks(&mut transaction, window, tasks, now, now).await?;
        for id in ids {
            sqlx::query(
                "UPDATE event SET task_key = $1 \
                 WHERE tenant = $2 AND event_id = $3 AND task_key IS NULL",
            )
            .bind(task.spec.key.as_str())
            .bind(window.tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("assign an event"))?;
        }
        // A ledger that was lost may know the batch from the lake.
        forget_bodies(&mut transaction, &task.spec.key).await?;
        commit(transaction).await
    }

    /// The events of a batch whose bodies are still here, in the order in which they happened.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn events_of(&self, task: &TaskKey) -> Result<Vec<KeptEvent>, Error> {
        sqlx::query(
            "SELECT tenant, event_id, received_at, body FROM event \
             WHERE task_key = $1 AND body IS NOT NULL ORDER BY event_at, event_id",
        )
        .bind(task.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(sql("read the events of a batch"))?
        .iter()
        .map(StoredRow::event)
        .map(|row| {
            Ok(KeptEvent {
                body: row.get("body")?,
                received_at: row.instant("received_at")?,
            })
        })
        .collect()
    }

    /// Forgets the ids of events that were received long ago and are in the lake.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn forget_old_events(&self, now: Timestamp) -> Result<(), Error> {
        let oldest = now.checked_sub(IDS_KEPT).unwrap_or(Timestamp::MIN);
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM event WHERE body IS NULL AND received_at < $1")
            .bind(micros(oldest))
            .execute(&mut *transaction)
            .await
            .map_err(sql("forget old events"))?;
        commit(transaction).await
    }

    /// What is known of the types of events that a tenant received, by name.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn event_types(&self, tenant: &str) -> Result<Vec<EventTypeRecord>, Error> {
        sqlx::query(
            "SELECT tenant, event_type, last_received_at, last_event_at, kept, repeated, left_out \
             FROM event_type WHERE tenant = $1 ORDER BY event_type",
        )
        .bind(tenant)
        .fetch_all(&self.read)
        .await
        .map_err(sql("list types of events"))?
        .iter()
        .map(StoredRow::event_type)
        .map(|row| {
            Ok(EventTypeRecord {
                tenant: row.get("tenant")?,
                event_type: row.get("event_type")?,
                last_received_at: row.instant("last_received_at")?,
                last_event_at: row.optional_instant("last_event_at")?,
                kept: row.count("kept")?,
                repeated: row.count("repeated")?,
                left_out: row.count("left_out")?,
            })
        })
        .collect()
    }
}

impl Ledger {
    /// What a tenant's events say began, and not that it ended.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn missing_ends(
        &self,
        tenant: &str,
        now: Timestamp,
    ) -> Result<Vec<MissingEnds>, Error> {
        let types = self.event_types(tenant).await?;
        let mut missing = Vec::new();
        for started in &types {
            let Some(ended) = end_of(&started.event_type) else {
                continue;
            };
            let last_end = types.iter().find(|of| of.event_type == ended);
            // One that no job takes has come all the same.
            let last_end = last_end.map(|of| of.last_event_at.unwrap_or(of.last_received_at));
            let row = sqlx::query(
                "SELECT COUNT(*) AS starts, MIN(event_at) AS since FROM event \
                 WHERE tenant = $1 AND event_type = $2 AND event_at > $3",
            )
            .bind(tenant)
            .bind(started.event_type.as_str())
            .bind(last_end.map_or(i64::MIN, micros))
            .fetch_one(&self.read)
            .await
            .map_err(sql("look for the ends of meetings"))?;
            let row = StoredRow::event_type(&row);
            let Some(since) = row.optional_instant("since")? else {
                continue;
            };
            let ends = MissingEnds {
                started: started.event_type.clone(),
                ended,
                count: row.count("starts")?,
                since,
            };
            if ends.is_certain(now) {
                missing.push(ends);
            }
        }
        Ok(missing)
    }
}

/// Forgets the bodies of events whose originals are in the lake by now. Their ids stay.
pub(super) async fn forget_bodies(
    transaction: &mut Transaction,
    task: &TaskKey,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE event SET body = NULL WHERE task_key = $1 AND EXISTS \
         (SELECT 1 FROM task t WHERE t.key = $1 AND t.phase = 'published')",
    )
    .bind(task.as_str())
    .execute(&mut **transaction)
    .await
    .map_err(sql("forget events that are in the lake"))?;
    Ok(())
}

/// How an event is counted.
#[derive(Clone, Copy)]
enum CountedEvent {
    /// It happened then.
    Kept(Timestamp),
    Repeated,
    LeftOut,
}

async fn count(
    transaction: &mut Transaction,
    tenant: &str,
    event_type: &str,
    counted: CountedEvent,
    received_at: Timestamp,
) -> Result<(), Error> {
    let (happened_at, counts) = match counted {
        CountedEvent::Kept(at) => (Some(micros(at)), [1, 0, 0]),
        CountedEvent::Repeated => (None, [0, 1, 0]),
        CountedEvent::LeftOut => (None, [0, 0, 1]),
    };
    let mut query = sqlx::query(
        "INSERT INTO event_type (tenant, event_type, last_received_at, last_event_at, kept, \
         repeated, left_out) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (tenant, event_type) DO UPDATE SET \
         last_received_at = excluded.last_received_at, \
         last_event_at = CASE WHEN excluded.last_event_at IS NULL \
         OR excluded.last_event_at < event_type.last_event_at THEN event_type.last_event_at \
         ELSE excluded.last_event_at END, \
         kept = event_type.kept + excluded.kept, \
         repeated = event_type.repeated + excluded.repeated, \
         left_out = event_type.left_out + excluded.left_out",
    )
    .bind(tenant)
    .bind(event_type)
    .bind(micros(received_at))
    .bind(happened_at);
    for number in counts {
        query = query.bind(integer(number));
    }
    query
        .execute(&mut **transaction)
        .await
        .map_err(sql("count an event"))?;
    Ok(())
}

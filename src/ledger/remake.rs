//! What the ledger changes when all days of a tenant are made again under other settings.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::{AssertSqlSafe, Row as _};

use super::parents::{insert_parents, keep_reported_day};
use super::stored::{StoredRow, micros};
use super::{Error, Ledger, Transaction, commit, put_meta, sql};
use crate::datasets::Dataset;
use crate::record::{ParentRows, ReportedDay};
use crate::task::TaskKey;
use crate::window::{Window, date_of, start_of_day};

/// Other settings of a tenant, as far as the ledger is concerned.
#[derive(Clone, Copy, Debug)]
pub struct NewSettings<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// The zone in which days were cut.
    pub from: &'a TimeZone,
    /// The zone in which they are to be.
    pub to: &'a TimeZone,
    /// The jobs of datasets that are asked for by civil day, whose days stay what they are.
    pub by_civil_day: &'a [(Dataset, &'a str)],
    /// What to keep under a name. An attempt that finds the first one there has come so far before.
    pub kept: &'a [(String, String)],
}

impl Ledger {
    /// Brings the ledger under other settings, in one transaction. Windows of civil days become the
    /// same days of the new zone; all others are ranges of time, and stay. Rows in the spool are
    /// cut into days of the old zone, so what waits there is read again from its original.
    ///
    /// # Errors
    /// When the database refuses, a stored value cannot be read, or another process has taken over.
    pub async fn bring_under(&self, new: &NewSettings<'_>, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        if let Some((name, value)) = new.kept.first() {
            let known = sqlx::query("SELECT name, value FROM meta WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(sql("read a value"))?;
            let known: Option<String> = match &known {
                Some(row) => Some(StoredRow::meta(row).get("value")?),
                None => None,
            };
            if known.as_ref() == Some(value) {
                return Ok(());
            }
        }
        for (dataset, job) in new.by_civil_day {
            for table in MOVED {
                move_windows(&mut transaction, new, *dataset, table).await?;
            }
            move_schedule(&mut transaction, new, job).await?;
        }
        sqlx::query(
            "UPDATE task SET phase = 'open', pack = NULL, updated_at = $1 \
             WHERE tenant = $2 AND phase = 'spooled'",
        )
        .bind(micros(now))
        .bind(new.tenant)
        .execute(&mut *transaction)
        .await
        .map_err(sql("open tasks whose rows wait"))?;
        for (name, value) in new.kept {
            put_meta(&mut transaction, name, value).await?;
        }
        commit(transaction).await
    }

    /// Replaces what other datasets know of the rows of a task whose original was read anew, unless
    /// another generation of it has begun.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn read_again(
        &self,
        (tenant, of): (&str, Dataset),
        (key, generation): (&TaskKey, u32),
        parents: &ParentRows,
        reported: &[ReportedDay],
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT COUNT(*) FROM task WHERE key = $1 AND generation = $2")
            .bind(key.as_str())
            .bind(i64::from(generation))
            .fetch_one(&mut *transaction)
            .await
            .map_err(sql("look for a task"))?;
        if row.get::<i64, _>(0) == 0 {
            return Ok(());
        }
        sqlx::query("DELETE FROM parent WHERE task_key = $1")
            .bind(key.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(sql("replace parent rows"))?;
        insert_parents(&mut transaction, key, tenant, of, parents.iter()).await?;
        for day in reported {
            keep_reported_day(&mut transaction, tenant, day).await?;
        }
        commit(transaction).await
    }
}

/// A table with windows: its name, and the columns of start and end.
type WindowColumns = (&'static str, &'static str, &'static str);

/// Where windows stand.
const MOVED: [WindowColumns; 3] = [
    ("job_window", "start_at", "end_at"),
    ("task", "job_start", "job_end"),
    ("task", "window_start", "window_end"),
];

async fn move_windows(
    transaction: &mut Transaction,
    new: &NewSettings<'_>,
    of: Dataset,
    (table, start, end): WindowColumns,
) -> Result<(), Error> {
    let statement = format!(
        "SELECT DISTINCT tenant, dataset, {start} AS start_at, {end} AS end_at FROM {table} \
         WHERE tenant = $1 AND dataset = $2 ORDER BY {start}"
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(new.tenant)
        .bind(of.as_str())
        .fetch_all(&mut **transaction)
        .await
        .map_err(sql("list windows"))?;
    let mut moves = Vec::new();
    for row in &rows {
        let window: Window = StoredRow::window(row).window_of("start_at", "end_at")?;
        moves.extend(window.in_zone(new.from, new.to).map(|to| (window, to)));
    }
    // A window never takes the place of one that has still to make room.
    if moves
        .first()
        .is_some_and(|(from, to)| from.start() < to.start())
    {
        moves.reverse();
    }
    let statement = format!(
        "UPDATE {table} SET {start} = $5, {end} = $6 \
         WHERE tenant = $1 AND dataset = $2 AND {start} = $3 AND {end} = $4"
    );
    for (from, to) in moves {
        // A day ends at another instant, and is due so much later or earlier.
        if table == "job_window" {
            let query = sqlx::query(
                "UPDATE job_window SET due_at = due_at + $5 WHERE tenant = $1 AND dataset = $2 \
                 AND start_at = $3 AND end_at = $4",
            );
            super::bind_window(query, new.tenant, of, from)
                .bind(micros(to.end()) - micros(from.end()))
                .execute(&mut **transaction)
                .await
                .map_err(sql("move when a window is due"))?;
        }
        let query = sqlx::query(AssertSqlSafe(statement.clone()));
        super::bind_window(query, new.tenant, of, from)
            .bind(micros(to.start()))
            .bind(micros(to.end()))
            .execute(&mut **transaction)
            .await
            .map_err(sql("move a window"))?;
    }
    Ok(())
}

async fn move_schedule(
    transaction: &mut Transaction,
    new: &NewSettings<'_>,
    job: &str,
) -> Result<(), Error> {
    let row =
        sqlx::query("SELECT job, tenant, watermark FROM schedule WHERE job = $1 AND tenant = $2")
            .bind(job)
            .bind(new.tenant)
            .fetch_optional(&mut **transaction)
            .await
            .map_err(sql("read a schedule"))?;
    let Some(row) = &row else {
        return Ok(());
    };
    let watermark = StoredRow::schedule(row).instant("watermark")?;
    let moved = start_of_day(new.to, date_of(new.from, watermark));
    sqlx::query("UPDATE schedule SET watermark = $3 WHERE job = $1 AND tenant = $2")
        .bind(job)
        .bind(new.tenant)
        .bind(micros(moved))
        .execute(&mut **transaction)
        .await
        .map_err(sql("move a schedule"))?;
    Ok(())
}

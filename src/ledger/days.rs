//! What pages ask for: one tenant's history at once, and of all tenants only what is not as it
//! should be. Each is one statement, however many tenants there are.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::AssertSqlSafe;

use super::partitions::{COLUMNS as PARTITION_COLUMNS, partition_row};
use super::stored::{StoredRow, micros};
use super::windows::{COLUMNS as WINDOW_COLUMNS, window_row};
use super::{Error, Ledger, Statement, sql};
use crate::datasets::Dataset;
use crate::record::{PartitionId, PartitionRow, ScheduleState, WindowRow};

/// Partitions in one statement: 3 values each, and SQLite takes 32,766.
const PARTITIONS_IN_ONE: usize = 1_000;

impl Ledger {
    /// How far each job's schedule has been looked at, by job and tenant.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn schedules(&self) -> Result<HashMap<(String, String), ScheduleState>, Error> {
        let query = sqlx::query("SELECT job, tenant, watermark, last_firing FROM schedule");
        self.schedule_list(query).await
    }

    /// How far each job's schedule has been looked at for one tenant, by job and tenant.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn schedules_of(
        &self,
        tenant: &str,
    ) -> Result<HashMap<(String, String), ScheduleState>, Error> {
        let query = sqlx::query(
            "SELECT job, tenant, watermark, last_firing FROM schedule WHERE tenant = $1",
        );
        self.schedule_list(query.bind(tenant)).await
    }

    async fn schedule_list(
        &self,
        query: Statement<'_>,
    ) -> Result<HashMap<(String, String), ScheduleState>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list schedules"))?
            .iter()
            .map(StoredRow::schedule)
            .map(|row| {
                let state = ScheduleState {
                    watermark: row.instant("watermark")?,
                    last_firing: row.instant("last_firing")?,
                };
                Ok(((row.get("job")?, row.get("tenant")?), state))
            })
            .collect()
    }

    /// The windows of all datasets of a tenant that end after `from`, or all of them: by dataset,
    /// and in order.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn tenant_windows(
        &self,
        tenant: &str,
        from: Option<Timestamp>,
    ) -> Result<Vec<WindowRow>, Error> {
        let statement = format!(
            "SELECT {WINDOW_COLUMNS} FROM job_window WHERE tenant = $1 AND end_at > $2 \
             ORDER BY dataset, start_at, end_at"
        );
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(from.map_or(i64::MIN, micros));
        self.window_list(query).await
    }

    /// The windows of all tenants whose tasks did not all end well: by tenant and dataset, and in
    /// order.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn open_windows(&self) -> Result<Vec<WindowRow>, Error> {
        let statement = format!(
            "SELECT {WINDOW_COLUMNS} FROM job_window WHERE state IN ('due', 'planned', 'stuck') \
             ORDER BY tenant, dataset, start_at, end_at"
        );
        self.window_list(sqlx::query(AssertSqlSafe(statement)))
            .await
    }

    pub(super) async fn window_list(&self, query: Statement<'_>) -> Result<Vec<WindowRow>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list windows"))?
            .iter()
            .map(|row| window_row(&StoredRow::window(row)))
            .collect()
    }

    /// The partitions of a tenant from a date on, by dataset and date.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partitions_from(
        &self,
        tenant: &str,
        from: Date,
    ) -> Result<Vec<PartitionRow>, Error> {
        let statement = format!(
            "SELECT {PARTITION_COLUMNS} FROM partition WHERE tenant = $1 AND dt >= $2 \
             ORDER BY dataset, dt"
        );
        let query = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant)
            .bind(from.to_string());
        self.partition_list(query).await
    }

    /// The partial partitions of all tenants, by tenant, dataset and date.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partial_partitions(&self) -> Result<Vec<PartitionRow>, Error> {
        let statement = format!(
            "SELECT {PARTITION_COLUMNS} FROM partition WHERE state = 'partial' \
             ORDER BY tenant, dataset, dt"
        );
        self.partition_list(sqlx::query(AssertSqlSafe(statement)))
            .await
    }

    /// Those of the named partitions that are recorded.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn partitions_at(&self, ids: &[PartitionId]) -> Result<Vec<PartitionRow>, Error> {
        let mut found = Vec::new();
        for some in ids.chunks(PARTITIONS_IN_ONE) {
            let values: Vec<String> = (0..some.len())
                .map(|index| 1 + index * 3)
                .map(|own| format!("(${own}, ${}, ${})", own + 1, own + 2))
                .collect();
            let statement = format!(
                "SELECT {PARTITION_COLUMNS} FROM partition WHERE (tenant, dataset, dt) IN \
                 (VALUES {}) ORDER BY tenant, dataset, dt",
                values.join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for id in some {
                query = query
                    .bind(&id.tenant)
                    .bind(id.dataset.as_str())
                    .bind(id.dt.to_string());
            }
            found.extend(self.partition_list(query).await?);
        }
        Ok(found)
    }

    /// The rows of a query for partitions.
    pub(super) async fn partition_list(
        &self,
        query: Statement<'_>,
    ) -> Result<Vec<PartitionRow>, Error> {
        query
            .fetch_all(&self.read)
            .await
            .map_err(sql("list partitions"))?
            .iter()
            .map(|row| partition_row(&StoredRow::partition(row)))
            .collect()
    }

    /// Tasks whose rows are still to come to the lake, by tenant and dataset.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn open_tasks(&self) -> Result<HashMap<(String, Dataset), u64>, Error> {
        sqlx::query(
            "SELECT tenant, dataset, COUNT(*) AS tasks FROM task \
             WHERE phase IN ('open', 'spooled') GROUP BY tenant, dataset",
        )
        .fetch_all(&self.read)
        .await
        .map_err(sql("count open tasks"))?
        .iter()
        .map(StoredRow::task)
        .map(|row| Ok(((row.get("tenant")?, row.dataset()?), row.count("tasks")?)))
        .collect()
    }

    /// Tasks whose rows wait in the spool.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn spooled_tasks(&self) -> Result<u64, Error> {
        let row = sqlx::query("SELECT COUNT(*) AS tasks FROM task WHERE phase = 'spooled'")
            .fetch_one(&self.read)
            .await
            .map_err(sql("count spooled tasks"))?;
        StoredRow::task(&row).count("tasks")
    }
}

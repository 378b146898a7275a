//! What rows of one dataset tell another: parents their children, the list of rooms the
//! reservations, and the daily report the meeting list.

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::QueryBuilder;

use super::stored::{StoredRow, integer, micros};
use super::{Error, Ledger, Transaction, commit, sql};
use crate::datasets::{Dataset, Parent};
use crate::record::ReportedDay;
use crate::task::TaskKey;
use crate::window::Window;

impl Ledger {
    /// The parent rows of a dataset whose meetings start in `range`, in a fixed order. The same
    /// meeting seen by two tasks appears twice. Those of withdrawn tasks are left out, of which the
    /// lake may have rows still.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn parents(
        &self,
        tenant: &str,
        of: Dataset,
        range: Window,
    ) -> Result<Vec<Parent>, Error> {
        sqlx::query(
            "SELECT task_key, source_row, meeting_no, start_at, end_at, participant_count, \
             join_at, stay_s, user_id, room_id, device, meeting_id, was_recorded FROM parent \
             WHERE tenant = $1 AND dataset = $2 AND start_at >= $3 AND start_at < $4 \
             AND NOT EXISTS (SELECT 1 FROM task \
             WHERE key = parent.task_key AND phase = 'withdrawn') \
             ORDER BY start_at, meeting_no, task_key, source_row",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(range.start()))
        .bind(micros(range.end()))
        .fetch_all(&self.read)
        .await
        .map_err(sql("read parent rows"))?
        .iter()
        .map(StoredRow::parent)
        .map(|row| {
            Ok(Parent {
                source_row: row.get("source_row")?,
                meeting_no: row.get("meeting_no")?,
                start: row.instant("start_at")?,
                end: row.optional_instant("end_at")?,
                participant_count: row.get("participant_count")?,
                join_time: row.optional_instant("join_at")?,
                stay_s: row.get("stay_s")?,
                user_id: row.get("user_id")?,
                room_id: row.get("room_id")?,
                device: row.get("device")?,
                meeting_id: row.get("meeting_id")?,
                was_recorded: row
                    .get::<Option<i64>>("was_recorded")?
                    .map(|stored| stored != 0),
            })
        })
        .collect()
    }

    /// Ids of the meetings that a dataset knows by id, the latest first.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn known_meetings(
        &self,
        tenant: &str,
        of: Dataset,
        most: u32,
    ) -> Result<Vec<String>, Error> {
        sqlx::query(
            "SELECT meeting_id FROM parent WHERE tenant = $1 AND dataset = $2 \
             AND meeting_id IS NOT NULL ORDER BY start_at DESC LIMIT $3",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(i64::from(most))
        .fetch_all(&self.read)
        .await
        .map_err(sql("read ids of meetings"))?
        .iter()
        .map(StoredRow::parent)
        .map(|row| row.get("meeting_id"))
        .collect()
    }

    /// Whether a dataset has a row of the meeting with this id that starts in `range`, be it of a
    /// withdrawn task.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn knows_meeting(
        &self,
        tenant: &str,
        of: Dataset,
        range: Window,
        id: &str,
    ) -> Result<bool, Error> {
        let found = sqlx::query(
            "SELECT 1 FROM parent WHERE tenant = $1 AND dataset = $2 AND start_at >= $3 \
             AND start_at < $4 AND meeting_id = $5 LIMIT 1",
        )
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(range.start()))
        .bind(micros(range.end()))
        .bind(id)
        .fetch_optional(&self.read)
        .await
        .map_err(sql("look for a meeting"))?;
        Ok(found.is_some())
    }

    /// The rooms of a tenant as last listed: room id and the level that owns it.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn rooms(&self, tenant: &str) -> Result<Vec<(String, String)>, Error> {
        sqlx::query(
            "SELECT room_id, room_level_id FROM room WHERE tenant = $1 \
             ORDER BY room_level_id, room_id",
        )
        .bind(tenant)
        .fetch_all(&self.read)
        .await
        .map_err(sql("read the rooms"))?
        .iter()
        .map(StoredRow::room)
        .map(|row| Ok((row.get("room_id")?, row.get("room_level_id")?)))
        .collect()
    }

    /// Replaces the list of a tenant's rooms.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_rooms(
        &self,
        tenant: &str,
        rooms: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM room WHERE tenant = $1")
            .bind(tenant)
            .execute(&mut *transaction)
            .await
            .map_err(sql("forget rooms"))?;
        for (room, level) in rooms {
            sqlx::query(
                "INSERT INTO room (tenant, room_id, room_level_id, seen_at) \
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(tenant)
            .bind(room)
            .bind(level)
            .bind(micros(now))
            .execute(&mut *transaction)
            .await
            .map_err(sql("record a room"))?;
        }
        commit(transaction).await
    }

    /// What a daily report last said of a day; `None` if no report counted it.
    ///
    /// # Errors
    /// When the database refuses, or a stored value cannot be read.
    pub async fn reported_day(
        &self,
        tenant: &str,
        date: Date,
    ) -> Result<Option<ReportedDay>, Error> {
        let row = sqlx::query(
            "SELECT tenant, date, start_at, meetings FROM reported_day \
             WHERE tenant = $1 AND date = $2",
        )
        .bind(tenant)
        .bind(date.to_string())
        .fetch_optional(&self.read)
        .await
        .map_err(sql("read what a report counted"))?;
        let Some(row) = row.as_ref().map(StoredRow::reported_day) else {
            return Ok(None);
        };
        Ok(Some(ReportedDay {
            date: row.date("date")?,
            start: row.instant("start_at")?,
            meetings: row.count("meetings")?,
        }))
    }
}

/// Parent rows that one statement inserts: enough that the statement's own cost does not count, and
/// few enough for every database's limit of bound values.
const PARENTS_AT_ONCE: usize = 500;

/// Inserts the parent rows of a task.
pub(super) async fn insert_parents(
    transaction: &mut Transaction,
    key: &TaskKey,
    tenant: &str,
    of: Dataset,
    mut parents: impl Iterator<Item = Parent>,
) -> Result<(), Error> {
    loop {
        let parents: Vec<Parent> = parents.by_ref().take(PARENTS_AT_ONCE).collect();
        if parents.is_empty() {
            return Ok(());
        }
        let mut insert = QueryBuilder::new(
            "INSERT INTO parent (task_key, source_row, tenant, dataset, meeting_no, start_at, \
             end_at, participant_count, join_at, stay_s, user_id, room_id, device, meeting_id, \
             was_recorded) ",
        );
        insert.push_values(&parents, |mut row, parent| {
            row.push_bind(key.as_str())
                .push_bind(parent.source_row)
                .push_bind(tenant)
                .push_bind(of.as_str())
                .push_bind(&parent.meeting_no)
                .push_bind(micros(parent.start))
                .push_bind(parent.end.map(micros))
                .push_bind(parent.participant_count)
                .push_bind(parent.join_time.map(micros))
                .push_bind(parent.stay_s)
                .push_bind(parent.user_id.as_deref())
                .push_bind(parent.room_id.as_deref())
                .push_bind(parent.device.as_deref())
                .push_bind(parent.meeting_id.as_deref())
                .push_bind(parent.was_recorded.map(i64::from));
        });
        // Its text differs with the number of rows. Kept, it would push out statements that recur.
        insert
            .build()
            .persistent(false)
            .execute(&mut **transaction)
            .await
            .map_err(sql("record parent rows"))?;
    }
}

/// Keeps what a report says of a day, in place of what an earlier one said.
pub(super) async fn keep_reported_day(
    transaction: &mut Transaction,
    tenant: &str,
    day: &ReportedDay,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO reported_day (tenant, date, start_at, meetings) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant, date) \
         DO UPDATE SET start_at = excluded.start_at, meetings = excluded.meetings",
    )
    .bind(tenant)
    .bind(day.date.to_string())
    .bind(micros(day.start))
    .bind(integer(day.meetings))
    .execute(&mut **transaction)
    .await
    .map_err(sql("keep what a report counted"))?;
    Ok(())
}

//! quick stand-in
pub mod location;
use crate::clock::Clock;
use crate::contract::{Contract, lineage};
use crate::dataset::Dataset;
use crate::spool::Spool;
use crate::store::Lake;
use crate::task::{ExportId, Lineage, Request, TaskKey, hex};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{
    SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use bytes::Bytes;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
pub use location::PartitionId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
pub type Error = anyhow::Error;
#[derive(Clone, Debug)]
pub struct Publisher {
    lake: Lake,
    spool: Spool,
    #[allow(dead_code)]
    clock: Clock,
}
#[derive(Clone, Debug, Serialize)]
pub struct Quarantined {
    pub task_key: TaskKey,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub export_id: Option<ExportId>,
    pub reason: String,
    pub findings: serde_json::Value,
}
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputEntry {
    pub task_key: TaskKey,
    pub generation: u32,
    pub request: Request,
    pub lineage: Lineage,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub export_id: Option<ExportId>,
    pub submitted_at: Timestamp,
    pub extracted_at: Timestamp,
    pub source_sha256: String,
    pub pack: Option<String>,
    pub rows: u64,
}
#[derive(Clone, Debug)]
pub struct Previous {
    pub revision: u32,
    pub content_hash: String,
    pub manifest_sha256: String,
}
#[derive(Clone, Debug)]
pub struct PartitionPlan {
    pub id: PartitionId,
    pub destination: String,
    pub revision: u32,
    pub previous: Option<Previous>,
    pub add: Vec<(TaskKey, u32)>,
    pub drop: HashSet<TaskKey>,
    pub ranks: HashMap<TaskKey, i64>,
    pub complete: bool,
    pub coverage: Vec<serde_json::Value>,
    pub inputs: Vec<InputEntry>,
}
#[derive(Clone, Debug)]
pub struct Staged {
    pub content_hash: String,
    pub rows: u64,
    pub object_sha256: String,
    pub bytes: Bytes,
    pub on_lake: bool,
}
pub fn split_by_dt(
    batch: &RecordBatch,
    contract: &Contract,
    zone: &TimeZone,
    home: Date,
) -> Result<BTreeMap<Date, RecordBatch>, Error> {
    let epoch = jiff::civil::date(1970, 1, 1);
    let dts: Vec<Date> = match contract.partition_column {
        None => vec![home; batch.num_rows()],
        Some(name) => {
            let column = batch.column_by_name(name).expect("contract");
            (0..batch.num_rows())
                .map(|row| {
                    if let Some(c) = column.as_primitive_opt::<Date32Type>() {
                        epoch
                            .checked_add(i64::from(c.value(row)).days())
                            .expect("date")
                    } else {
                        let c = column.as_primitive::<TimestampMicrosecondType>();
                        crate::window::date_of(
                            zone,
                            Timestamp::from_microsecond(c.value(row)).expect("ts"),
                        )
                    }
                })
                .collect()
        }
    };
    let mut out: BTreeMap<Date, Vec<u32>> = BTreeMap::new();
    for (i, dt) in dts.into_iter().enumerate() {
        out.entry(dt).or_default().push(u32::try_from(i)?);
    }
    out.into_iter()
        .map(|(dt, rows)| Ok((dt, take_record_batch(batch, &UInt32Array::from(rows))?)))
        .collect()
}
impl Publisher {
    pub fn new(lake: Lake, spool: Spool, clock: Clock) -> Self {
        Self { lake, spool, clock }
    }
    pub async fn quarantine(
        &self,
        dataset: Dataset,
        tenant: &str,
        sha: &str,
        bytes: Bytes,
        record: &Quarantined,
    ) -> Result<(), Error> {
        self.lake
            .create(&location::quarantine(dataset, tenant, sha, "xlsx")?, bytes)
            .await?;
        self.lake
            .put(
                &location::quarantine(dataset, tenant, sha, "json")?,
                serde_json::to_vec_pretty(record)?.into(),
            )
            .await?;
        Ok(())
    }
    pub async fn pack(
        &self,
        _tenant: &str,
        originals: &[String],
    ) -> Result<HashMap<String, String>, Error> {
        Ok(originals
            .iter()
            .map(|o| (o.clone(), "pack".to_owned()))
            .collect())
    }
    pub async fn stage(&self, plan: &PartitionPlan) -> Result<Staged, Error> {
        let contract = Contract::of(plan.id.dataset);
        let path = location::object(&plan.destination, &plan.id)?;
        let mut batches = Vec::new();
        let current = self.lake.get(&path).await?;
        if let Some(bytes) = &current {
            for batch in parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
                bytes.clone(),
            )?
            .build()?
            {
                let batch = batch?;
                let keys = batch
                    .column_by_name(lineage::TASK_KEY)
                    .expect("lineage")
                    .as_string::<i32>();
                let keep: BooleanArray = (0..batch.num_rows())
                    .map(|i| Some(!plan.drop.contains(&TaskKey::from_stored(keys.value(i)))))
                    .collect();
                let batch = filter_record_batch(&batch, &keep)?;
                let columns: Result<Vec<ArrayRef>, _> = batch
                    .columns()
                    .iter()
                    .zip(contract.schema().fields())
                    .map(|(c, f)| arrow::compute::cast(c, f.data_type()))
                    .collect();
                batches.push(RecordBatch::try_new(contract.schema(), columns?)?);
            }
        }
        for (key, generation) in &plan.add {
            if let Some(rows) = self.spool.read_rows(key, *generation, plan.id.dt)? {
                batches.push(rows.batch);
            }
        }
        let all = concat_batches(&contract.schema(), &batches)?;
        let sort: Vec<SortColumn> = contract
            .key_columns()
            .chain([lineage::TASK_KEY, lineage::SOURCE_ROW])
            .map(|n| {
                let c = all.column_by_name(n).expect("c");
                let values = if matches!(c.data_type(), arrow::datatypes::DataType::Dictionary(..))
                {
                    arrow::compute::cast(c, &arrow::datatypes::DataType::Utf8).expect("cast")
                } else {
                    Arc::clone(c)
                };
                SortColumn {
                    values,
                    options: None,
                }
            })
            .collect();
        let all = if all.num_rows() == 0 {
            all
        } else {
            take_record_batch(&all, &lexsort_to_indices(&sort, None)?)?
        };
        let mut bytes = Vec::new();
        let props = parquet::file::properties::WriterProperties::builder()
            .set_compression(parquet::basic::Compression::ZSTD(
                parquet::basic::ZstdLevel::try_new(3)?,
            ))
            .build();
        let mut w =
            parquet::arrow::ArrowWriter::try_new(&mut bytes, contract.schema(), Some(props))?;
        w.write(&all)?;
        w.close()?;
        let mut hash = Sha256::new();
        for (c, f) in all.columns().iter().zip(contract.schema().fields()) {
            if !f.name().starts_with('_') {
                let c = &if matches!(c.data_type(), arrow::datatypes::DataType::Timestamp(..)) {
                    arrow::compute::cast(c, &arrow::datatypes::DataType::Int64)?
                } else {
                    Arc::clone(c)
                };
                let fm = arrow::util::display::ArrayFormatter::try_new(c, &Default::default())?;
                for i in 0..c.len() {
                    hash.update(fm.value(i).to_string());
                    hash.update([0]);
                }
            }
        }
        let on_lake = current.is_some_and(|c| c == bytes);
        Ok(Staged {
            content_hash: hex(&hash.finalize()),
            rows: all.num_rows() as u64,
            object_sha256: hex(&Sha256::digest(&bytes)),
            bytes: bytes.into(),
            on_lake,
        })
    }
    pub async fn put_object(&self, plan: &PartitionPlan, staged: &Staged) -> Result<(), Error> {
        self.lake
            .put(
                &location::object(&plan.destination, &plan.id)?,
                staged.bytes.clone(),
            )
            .await?;
        Ok(())
    }
    pub async fn put_manifest(
        &self,
        plan: &PartitionPlan,
        staged: &Staged,
    ) -> Result<String, Error> {
        let m = serde_json::json!({"revision": plan.revision, "rows": staged.rows, "content_hash": staged.content_hash, "previous_sha256": plan.previous.as_ref().map(|p| &p.manifest_sha256), "object": {"sha256": staged.object_sha256}, "coverage": plan.coverage, "complete": plan.complete, "inputs": plan.inputs.len()});
        let bytes = serde_json::to_vec_pretty(&m)?;
        let sha = hex(&Sha256::digest(&bytes));
        self.lake
            .create(&location::manifest(&plan.id, plan.revision)?, bytes.into())
            .await?;
        Ok(sha)
    }
}

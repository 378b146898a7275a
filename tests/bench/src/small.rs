//! What the many small exports of a day cost: a sheet of 10 participants, a sheet of 45 minutes of quality.
//!
//! CPU is the kernel's account of this process; what is not the export's (making its bytes) is not counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use arrow::array::RecordBatch;
use jiff::civil::date;
use jiff::tz::TimeZone;
use meetlake::testing::contract::Contract;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, Fallback, WorkbookLimits};
use meetlake::testing::job::DurationUnit;
use meetlake::testing::lake_key::LakeKey;
use meetlake::testing::normalize::{
    ConstantColumns, Context, Normalizer, NormalizerOutput, RowKeys, Stamp,
};
use meetlake::testing::policy::Policy;
use meetlake::testing::publish::{PartitionPlan, Publisher, split_by_dt};
use meetlake::testing::record::{ArchivedTask, PartitionId, SpooledTask};
use meetlake::testing::spool::Spool;
use meetlake::testing::store::{self, Lake};
use meetlake::testing::task::{Lineage, Request, TaskKey};
use stats_alloc::Region;

use crate::ALLOCATIONS;
use crate::layout::{Layout, Order};
use crate::workbook::{self, Strings};

const DAY: jiff::civil::Date = date(2026, 10, 12);

fn export(layout: Layout) -> anyhow::Result<(Vec<u8>, Dataset, u32)> {
    let (dataset, rows) = match layout {
        Layout::Participants => (Dataset::ParticipantList, 10),
        Layout::Quality => (Dataset::ParticipantQualityList, 45),
        Layout::Meeting | Layout::Day => anyhow::bail!("meetings come in one large sheet"),
    };
    let mut bytes = Vec::new();
    let sheet = layout.rows(rows, Order::Time);
    workbook::write(&mut bytes, layout.header(), sheet, Strings::Shared)?;
    Ok((bytes, dataset, rows))
}

const TENANT: &str = "acme";

fn context(dataset: Dataset, number: u64) -> anyhow::Result<Context> {
    let start = "2026-10-12T02:00:00Z".parse()?;
    Ok(Context {
        contract: Contract::of(dataset),
        time_zone: TimeZone::get("Asia/Shanghai")?,
        tenant_zone: TimeZone::get("Asia/Shanghai")?,
        lineage: Lineage {
            meeting_no: Some(format!("{}", 100_000_000 + number)),
            meeting_start_time: Some(start),
            meeting_end_time: Some(start),
            join_time: Some(start),
            user_id: Some("48beab13".to_owned()),
            ..Lineage::default()
        },
        stamp: Stamp {
            task_key: Some(key(number)),
            source_sha256: "0".repeat(64),
            ..Stamp::default()
        },
        buckets: None,
        top_user_duration: DurationUnit::Minutes,
        keys_from_task_required: true,
        keys: Some(RowKeys {
            tenant: TENANT.to_owned(),
            key: LakeKey::of_tests(),
        }),
    })
}

fn key(number: u64) -> TaskKey {
    TaskKey::from_stored(format!("{number:032x}"))
}

fn to_batch(bytes: &[u8], context: &Context) -> anyhow::Result<RecordBatch> {
    let mut batches = Vec::new();
    let mut normalizer = Normalizer::new(context, |output| match output {
        NormalizerOutput::Rows(batch) => batches.push(batch),
        NormalizerOutput::Restart => batches.clear(),
    });
    let limits = WorkbookLimits::default();
    decode::workbook(
        bytes,
        context.contract,
        &limits,
        &Fallback::in_this_process(),
        &mut normalizer,
    )?;
    normalizer.finish()?;
    let batch = batches.pop().context("a sheet without rows")?;
    let constants = ConstantColumns::new(context, &context.stamp, batch.num_rows());
    Ok(constants.complete(&batch))
}

/// From bytes to record batch, `repeat` times; prints milliseconds of CPU and allocations of one.
pub(crate) fn batch(layout: Layout, repeat: u32) -> anyhow::Result<()> {
    let (bytes, dataset, rows) = export(layout)?;
    let context = context(dataset, 1)?;
    let (before, region) = (thread_ns()?, Region::new(ALLOCATIONS));
    for _ in 0..repeat {
        let batch = to_batch(&bytes, &context)?;
        anyhow::ensure!(batch.num_rows() == rows as usize, "a row is missing");
    }
    let ms = (thread_ns()? - before) as f64 / 1e6 / f64::from(repeat.max(1));
    let made = region.change();
    let each = |n: usize| n as f64 / f64::from(repeat.max(1));
    println!(
        "{layout:?}: {ms:.4} ms of CPU, {:.0} allocations of {:.0} bytes together, from {} bytes to {rows} rows",
        each(made.allocations + made.reallocations),
        each(made.bytes_allocated),
        bytes.len()
    );
    Ok(())
}

/// From bytes to published rows, `exports` of one day; prints milliseconds of CPU for one, by step, and the objects that appeared.
pub(crate) fn publish(layout: Layout, exports: u32, folder: &Path) -> anyhow::Result<()> {
    let (bytes, dataset, _) = export(layout)?;
    let spool = Spool::open(folder.join("spool"))?;
    let lake = Lake::open(&store::file_url(&folder.join("lake"))?, &BTreeMap::new())?;
    let publisher = Publisher::new(lake, spool.clone());
    let mut steps = Steps::begin()?;
    let (mut add, mut originals) = (Vec::new(), Vec::new());
    for number in 0..u64::from(exports) {
        let context = context(dataset, number)?;
        // Every original is another one: bytes behind the end of a zip are its comment.
        let original = [bytes.as_slice(), &number.to_le_bytes()].concat();
        let (start, end) = ("2026-10-12T02:00:00Z", "2026-10-12T03:00:00Z");
        originals.push(ArchivedTask {
            task_key: key(number),
            source_sha256: spool.put_original(&original)?,
            window_start: start.parse()?,
            window_end: end.parse()?,
            request: Request::between(dataset, 1, 2),
            lineage: context.lineage.clone(),
            redacted: Vec::new(),
            witness: None,
        });
        let rows = to_batch(&bytes, &context)?;
        let passed = Policy::Keep.apply(rows);
        let (contract, zone) = (context.contract, &context.tenant_zone);
        let by_date = passed.cut(|rows| split_by_dt(rows, contract, zone, DAY))?;
        let task = SpooledTask {
            key: key(number),
            generation: 1,
        };
        let mut spooling = spool.begin_rows(&task.key, task.generation)?;
        for (dt, rows) in &by_date {
            spooling.add(*dt, rows)?;
        }
        spooling.keep()?;
        add.push(task);
    }
    steps.end("decode, normalize, spool")?;
    let id = PartitionId {
        dataset,
        tenant: TENANT.to_owned(),
        dt: DAY,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let days = BTreeMap::from([(DAY, originals)]);
        publisher.pack(TENANT, dataset, days).await?;
        steps.end("pack")?;
        let plan = PartitionPlan {
            id: id.clone(),
            destination: String::new(),
            previous_content_hash: None,
            ranks: add
                .iter()
                .map(|task| (task.key.clone(), 1))
                .collect::<HashMap<_, _>>(),
            add,
            drop: HashSet::new(),
            key_id: None,
            from_scratch: false,
            known_objects: Vec::new(),
        };
        let staged = publisher.stage(plan).await?;
        steps.end("merge, encode")?;
        publisher.put_object("", &id, &staged).await?;
        steps.end("put")?;
        anyhow::Ok(())
    })?;
    let objects = count(&folder.join("lake"))?;
    steps.print(layout, exports, objects);
    Ok(())
}

/// CPU of the whole process by step.
struct Steps {
    last_ms: f64,
    began: Instant,
    ended: Vec<(&'static str, f64)>,
}

impl Steps {
    fn begin() -> anyhow::Result<Self> {
        Ok(Self {
            last_ms: process_ms()?,
            began: Instant::now(),
            ended: Vec::new(),
        })
    }

    fn end(&mut self, step: &'static str) -> anyhow::Result<()> {
        let now = process_ms()?;
        self.ended.push((step, now - self.last_ms));
        self.last_ms = now;
        Ok(())
    }

    fn print(&self, layout: Layout, exports: u32, objects: u64) {
        let each = |ms: f64| ms / f64::from(exports.max(1));
        let total: f64 = self.ended.iter().map(|step| step.1).sum();
        print!(
            "{layout:?} x {exports}: {:.3} ms of CPU each (",
            each(total)
        );
        for (step, ms) in &self.ended {
            print!("{step} {:.3}; ", each(*ms));
        }
        println!(
            "wall {:.3}), {objects} objects",
            each(self.began.elapsed().as_secs_f64() * 1e3)
        );
    }
}

fn count(folder: &Path) -> anyhow::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files += if path.is_dir() { count(&path)? } else { 1 };
    }
    Ok(files)
}

/// CPU of this thread so far, nanoseconds.
fn thread_ns() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next();
    first
        .context("an empty account")?
        .parse()
        .context("no number")
}

/// CPU of this process so far, milliseconds, in the kernel's steps of ten.
fn process_ms() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        let field = fields
            .get(index)
            .ok_or_else(|| anyhow!("a short account"))?;
        Ok(field.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) * 10.0)
}

//! What `tests/bench/run` needs beside the converter: workbooks of any size, and the floor.
//!
//! ```text
//! meetlake-bench generate LAYOUT STRINGS ORDER ROWS FILE.xlsx   LAYOUT meeting, day (meetings of one day), participants, quality;
//!                                                               STRINGS shared, inline; ORDER time, key
//! meetlake-bench inflate FILE.xlsx                              inflates every part and forgets it
//! meetlake-bench batch LAYOUT REPEAT                            a small export, from bytes to record batch; LAYOUT participants, quality
//! meetlake-bench publish LAYOUT EXPORTS FOLDER                  so many small exports, from bytes to a partition below FOLDER
//! meetlake-bench serve FILE.xlsx FOLDER                         answers every export with the file, until it is killed; FOLDER gets a
//!                                                               configuration for it, of one job
//! ```

mod layout;
mod nightly;
mod random;
mod small;
mod workbook;

use std::alloc::System;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use layout::{Layout, Order};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use workbook::Strings;

/// The system's allocator, and how often it was asked.
#[global_allocator]
static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["generate", layout, strings, order, rows, file] => {
            let rows = rows.parse().context("ROWS is no number")?;
            generate(
                layout.parse()?,
                strings.parse()?,
                order.parse()?,
                rows,
                file.as_ref(),
            )
        }
        ["inflate", file] => inflate(file.as_ref()),
        ["batch", layout, repeat] => small::batch(
            layout.parse()?,
            repeat.parse().context("REPEAT is no number")?,
        ),
        ["publish", layout, exports, folder] => {
            let exports = exports.parse().context("EXPORTS is no number")?;
            small::publish(layout.parse()?, exports, folder.as_ref())
        }
        ["serve", file, folder] => nightly::serve(file.as_ref(), folder.as_ref()),
        _ => bail!(
            "say `generate LAYOUT STRINGS ORDER ROWS FILE`, `inflate FILE`, `batch LAYOUT REPEAT`,\n\
             `publish LAYOUT EXPORTS FOLDER` or `serve FILE FOLDER`"
        ),
    }
}

/// Writes the workbook beside its name and renames it, so that one that is there is whole.
fn generate(
    layout: Layout,
    strings: Strings,
    order: Order,
    rows: u32,
    path: &Path,
) -> anyhow::Result<()> {
    let beside = path.with_extension("tmp");
    let file =
        File::create(&beside).with_context(|| format!("cannot make {}", beside.display()))?;
    let mut file = BufWriter::new(file);
    workbook::write(
        &mut file,
        layout.header(),
        layout.rows(rows, order),
        strings,
    )
    .and_then(|()| file.flush())
    .with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot name {}", path.display()))
}

fn inflate(path: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let inflated = workbook::inflate(&bytes)
        .with_context(|| format!("{} is no workbook of `generate`", path.display()))?;
    println!("{inflated}");
    Ok(())
}

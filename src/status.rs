//! What is there, what is missing and what would come next: read models for people and machines.
//!
//! ```text
//! ledger, jobs, now ─► plausible ─► days ─► overview ─► `status`, the end of a run
//!                 │                  └► late ─► verdict, day ─► the pages
//!                 └──► forecast ─► `plan`
//! ```
//! Reads the ledger and asks `plan`, which takes the same decisions for a run. Changes nothing, and
//! knows neither the command line nor HTTP.

pub mod day;
mod days;
pub mod forecast;
mod job_record;
mod late;
pub mod overview;
mod plausible;
pub mod text;
pub mod verdict;
mod withdraw;

#[cfg(test)]
mod tests;

pub use days::{DayOutcome, DayStatus, all_days, days_from};
pub use late::LateDays;
pub use plausible::{against, implausible, reasons_now};
pub use withdraw::{has_children, withdrawable};

use crate::datasets::Dataset;
use crate::job::JobSpec;

/// The jobs of a tenant, in the order of their datasets: parents before children.
pub fn jobs_of<'j>(jobs: &'j [JobSpec], tenant: &str) -> impl Iterator<Item = &'j JobSpec> {
    let of_tenant: Vec<&JobSpec> = jobs
        .iter()
        .filter(|job| job.tenants.iter().any(|name| name == tenant))
        .collect();
    Dataset::ALL.into_iter().flat_map(move |dataset| {
        let of_dataset = of_tenant.iter().filter(|job| job.dataset == dataset);
        of_dataset.copied().collect::<Vec<_>>()
    })
}

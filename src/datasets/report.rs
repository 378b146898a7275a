//! What the reports share.

use std::time::Duration;

use super::{Parameters, Request};

/// How far back reports are answered (API reference, 2).
pub(super) const HORIZON: Duration = Duration::from_secs(90 * 86_400);

/// The parameters that both reports have.
pub(super) fn parameters(request: &Request) -> Parameters {
    Parameters::default()
        .with("start_time", request.start)
        .with("end_time", request.end)
        .with("unit", request.unit)
}

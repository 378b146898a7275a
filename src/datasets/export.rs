//! What the exports share.

use super::{DAY, Extent, Pieces};

/// Scopes of which every export needs one (API reference, 3).
pub(super) const EXPORT_SCOPES: &[&str] = &["vc:export", "vc:meeting:export"];

/// Windows of an export: a day at a time, as far back as there is data.
pub(super) const DAILY: Extent = Extent::Windows {
    pieces: Pieces::Spans(DAY),
    horizon: None,
    utc_buckets: false,
};

/// An instant in the body of an export: Unix seconds as text.
pub(super) fn second(second: Option<i64>) -> String {
    second.unwrap_or_default().to_string()
}

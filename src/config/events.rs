//! `[tenants.NAME.events]`: how the events of a tenant come in.

use super::document::Section;
use super::text;

/// How events come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InletConfig {
    /// Over a connection that we open: no public address and no keys are needed. Only self-built
    /// apps have it.
    LongConnection,
}

/// Reads the section; `None` if it is not there, or wrong.
pub(super) fn read(section: Section<'_>) -> Option<InletConfig> {
    if !section.is_present() {
        return None;
    }
    let kinds = [("long_connection", InletConfig::LongConnection)];
    let inlet = section.required("inlet", |field| field.parse(|t| text::word(t, &kinds)));
    section.finish();
    inlet
}

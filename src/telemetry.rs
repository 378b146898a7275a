//! Logs on standard error: a line for people, or JSON for machines.
//!
//! Text from outside (sheet headers, answers of servers) can reach a log. Its control characters
//! are replaced, so that it can neither colour a terminal nor forge a line. The caller chooses the
//! filter: `--log`, else `RUST_LOG`, else [`DEFAULT_FILTER`].

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

use crate::text::printable;

/// The default filter: our own steps, and warnings of other crates. The database's own are that a
/// statement was slow, which happens where other programs keep the disk busy; nobody has to do
/// anything then.
pub const DEFAULT_FILTER: &str = "warn,sqlx=error,meetlake=info";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Compact,
    /// One JSON object a line, spans included.
    Json,
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// `filter` is not a filter, as for `meetlake=loud`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let dispatch = dispatch(filter, format, io::stderr);
    // This fails only if logging was started before, as a test may have done.
    let _ = tracing::dispatcher::set_global_default(dispatch);
    Ok(())
}

fn dispatch<M>(filter: EnvFilter, format: LogFormat, writer: M) -> tracing::Dispatch
where
    M: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // It would panic where standard error takes nothing. A server goes on without a log.
        .log_internal_errors(false)
        .with_writer(OneLine(writer));
    match format {
        LogFormat::Compact => builder.compact().with_target(false).into(),
        LogFormat::Json => builder.json().into(),
    }
}

/// Makes writers that put each event on one line of printable characters.
struct OneLine<M>(M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for OneLine<M> {
    type Writer = OneLineWriter<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    /// Takes one whole event at a time, with its line break at the end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut printable: String = line.chars().map(printable).collect();
        printable.push('\n');
        self.0.write_all(printable.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let log = LogBuffer::default();
        let writer = log.clone();
        let dispatch = dispatch(EnvFilter::new("info"), format, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            let hostile = "a\x1b[31mred\r\n2026-11-21 INFO forged\u{9b}31m";
            tracing::info!(sheet = hostile, shown = %hostile, "read {hostile}");
        });
        let bytes = log.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn text_from_outside_cannot_forge_a_line_or_colour_a_terminal() {
        for format in [LogFormat::Compact, LogFormat::Json] {
            let text = logged(format);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            let line = text.trim_end_matches('\n');
            assert!(!line.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json)).expect("JSON");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_wrong_filter_is_an_error() {
        assert!(start("meetlake=loud", LogFormat::Compact).is_err());
    }
}

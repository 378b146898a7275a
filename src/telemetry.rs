//! Logs on standard error: a line for people, or JSON for machines.
//!
//! Text from outside (sheet headers, answers of servers) can reach a log; control characters in it are replaced, so that it can neither
//! colour a terminal nor forge a line. Which filter holds is the caller's to say: `--log`, else `RUST_LOG`, else [`DEFAULT_FILTER`].

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless told otherwise: our own steps, and what others warn of.
pub const DEFAULT_FILTER: &str = "warn,meetlake=info";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    #[default]
    Compact,
    /// One JSON object a line, spans included.
    Json,
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// `filter` is not one, such as `meetlake=loud`.
pub fn start(filter: &str, format: Format) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let dispatch = dispatch(filter, format, io::stderr);
    // Fails only where logging has been started before, which a test may have done.
    let _ = tracing::dispatcher::set_global_default(dispatch);
    Ok(())
}

fn dispatch<M>(filter: EnvFilter, format: Format, writer: M) -> tracing::Dispatch
where
    M: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(OneLine(writer));
    match format {
        Format::Compact => builder.compact().with_target(false).into(),
        Format::Json => builder.json().into(),
    }
}

/// Makes writers that keep each event on one line of printable characters.
struct OneLine<M>(M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for OneLine<M> {
    type Writer = OneLineWriter<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    /// The formatter hands over a whole event at a time, its line break at the end.
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

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// `text` without the characters that a terminal obeys, or that turn the direction of a line; for texts from outside that are shown or kept
/// anywhere but in a log.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(printable)
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let log = Log::default();
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
        for format in [Format::Compact, Format::Json] {
            let text = logged(format);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            let line = text.trim_end_matches('\n');
            assert!(!line.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json)).expect("JSON");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_wrong_filter_is_an_error() {
        assert!(start("meetlake=loud", Format::Compact).is_err());
    }
}

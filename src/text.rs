//! Text from outside, made harmless before it is shown or kept.

/// `text` without control characters and without characters that change the direction of a line.
/// For texts from outside that are shown or kept anywhere but in a log.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(printable)
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

/// A blank in place of a control character, which could colour a terminal or forge a line.
#[must_use]
pub fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

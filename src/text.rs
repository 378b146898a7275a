//! Text from outside, made harmless before it is shown or kept; and things that are counted in a
//! sentence.

/// A count with thousands separators: `12,345`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, as a sentence has it: `1 task`, `2,000 tasks`. The thing's name takes an
/// `s`.
#[must_use]
pub fn count(of: u64, thing: &str) -> String {
    let plural = if of == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(of))
}

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

/// A name as Hive writes the value of a partition: whatever is not [plain](is_plain) becomes `%XX`
/// of its UTF-8 bytes. So no name can leave its folder.
#[must_use]
pub fn partition_value(name: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string");
        }
    }
    escaped
}

/// Whether a byte stands for itself in a path: an ASCII letter, a digit or one of `-_.`.
#[must_use]
pub const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Whether a text is hex digits and nothing else, as every name by content is.
#[must_use]
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Lower-case hex digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string");
            text
        })
}

/// What is wrong with a value that goes into a request or a path; `None` if nothing is. The message
/// continues "… {message}" and never repeats the value.
#[must_use]
pub fn control_characters(value: &str) -> Option<&'static str> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let is_wrong = |c: char| c.is_control() || c == BYTE_ORDER_MARK;
    let without_end = value.trim_end_matches(['\r', '\n']);
    if without_end.contains(is_wrong) {
        return Some("holds a control character; set it anew, as one line of plain text");
    }
    (without_end.len() < value.len()).then_some(
        "ends in a line end; remove it (`echo` adds one, `printf %s` does not; lines of a file \
         made on Windows end in two)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_things() {
        let counted = [0, 1, 2_000].map(|of| count(of, "day"));
        assert_eq!(counted, ["0 days", "1 day", "2,000 days"]);
    }

    #[test]
    fn a_control_character_is_told_from_a_line_end() {
        for (value, expected) in [
            ("AKIA123", None),
            ("a b/c+d=\u{e9}", None),
            ("AKIA123\n", Some("ends in a line end")),
            ("AKIA123\r\n", Some("ends in a line end")),
            ("\u{feff}AKIA123", Some("holds a control character")),
            ("AKIA\n123", Some("holds a control character")),
            ("AKIA\t123\n", Some("holds a control character")),
            ("AKIA\0", Some("holds a control character")),
        ] {
            let found = control_characters(value);
            let is_right = match (found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected),
                (None, None) => true,
                _ => false,
            };
            assert!(is_right, "{value:?}: {found:?}");
        }
    }
}

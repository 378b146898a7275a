//! A file of ids beside a job file: one id a line; what follows a `#` is a comment.

use std::collections::HashSet;
use std::path::Path;

use super::read_file;

/// The most ids of one file: each is one call or two a day.
const MOST_IDS: usize = 10_000;
/// Ids that are known have 19 digits.
const LONGEST_ID: usize = 64;

/// The ids of a file, in their order.
///
/// # Errors
/// What is wrong, as the end of a sentence about the file's name.
pub(super) fn read(path: &Path) -> Result<Vec<String>, String> {
    let text = read_file(path).map_err(|error| format!("({}): {error}", path.display()))?;
    ids_of(&text).map_err(|error| format!("({}) {error}", path.display()))
}

fn ids_of(text: &str) -> Result<Vec<String>, String> {
    let mut ids: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = match number {
            1 => line.trim_start_matches('\u{feff}'),
            _ => line,
        };
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.is_empty() {
            continue;
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !id.bytes().all(is_part) || id.len() > LONGEST_ID {
            return Err(format!(
                "has no id in line {number}; write one id a line, of letters, digits, `_` and `-`"
            ));
        }
        if !seen.insert(id) {
            return Err(format!(
                "has the id of line {number} twice; remove one of the two"
            ));
        }
        ids.push(id.to_owned());
    }
    match ids.len() {
        0 => Err("holds no id; write one id a line".to_owned()),
        count if count > MOST_IDS => Err(format!(
            "holds {count} ids, more than {MOST_IDS}; divide them over days"
        )),
        _ => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_id_or_a_comment() {
        let text = "\u{feff}# of the training rooms\n6911188411932033028 # Monday\r\n\n  a_b-1\n";
        assert_eq!(
            ids_of(text),
            Ok(vec!["6911188411932033028".to_owned(), "a_b-1".to_owned()])
        );
        for (text, problem) in [
            ("", "holds no id"),
            ("# none\n", "holds no id"),
            ("1\nhttps://vc.feishu.cn/j/1\n", "has no id in line 2"),
            ("1 2\n", "has no id in line 1"),
            ("1\n2\n1\n", "has the id of line 3 twice"),
        ] {
            let found = ids_of(text).expect_err(problem);
            assert!(found.starts_with(problem), "{found}");
        }
        let long = "7".repeat(LONGEST_ID + 1);
        assert!(ids_of(&long).is_err_and(|error| !error.contains(&long)));
        let many: String = (0..=MOST_IDS).map(|n| format!("{n}\n")).collect();
        assert!(ids_of(&many).is_err_and(|error| error.contains("more than 10000")));
    }
}

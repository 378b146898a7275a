//! What is wrong in a file, and where.
//!
//! A problem names its file, line and column and says what to do. It never holds the value of a
//! variable or of a secret file: texts are quoted as they stand in the file, before `${…}` is
//! replaced.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A position in a file. Lines and columns count from 1; columns are in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The position of a byte of `text`.
    #[must_use]
    pub fn of_byte(text: &str, byte: usize) -> Self {
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One thing that is wrong, or that deserves a warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: PathBuf,
    /// Where in the file.
    #[serde(flatten)]
    pub at: Position,
    /// What is wrong and what to do, a lower-case fragment.
    pub message: String,
}

impl Problem {
    /// A problem in `file` at a position.
    #[must_use]
    pub fn new(file: &Path, at: Position, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            at,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.at;
        let file = self.file.display();
        write!(f, "{file}:{line}:{column}: {}", self.message)
    }
}

/// All problems of a configuration and its job files, sorted by file and position; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order of their positions, each once.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// The problems in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_not_bytes() {
        let text = "名 = 1\nb = 2";
        assert_eq!(Position::of_byte(text, 0), Position::START);
        let of_one = text.find('1').expect("there is a 1");
        assert_eq!(Position::of_byte(text, of_one).column, 5);
        let of_b = text.find('b').expect("there is a b");
        assert_eq!(
            Position::of_byte(text, of_b),
            Position { line: 2, column: 1 }
        );
        assert_eq!(Position::of_byte(text, 999).line, 2);
    }
}

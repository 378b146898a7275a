//! A TOML file as sections and fields that know their position. It reads both `meetlake.toml` and
//! the job files.
//!
//! A reader asks a [`Section`] for its keys and says how each is read. A value that does not fit is
//! recorded with its position and the reader goes on, so that one pass finds every problem. A key
//! that was never asked for is unknown. `${VAR}` in texts is replaced from the given environment.
//! This module knows nothing of tenants, jobs or any other meaning.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Position, Problem};
use crate::network::Environment;
use crate::text::control_characters;

/// A file that is being read, and the problems found in it so far.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    environment: Environment<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// Lines with syntax errors. Further problems there are only consequences and are not reported.
    broken_lines: RefCell<BTreeSet<usize>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str, environment: Environment<'a>) -> Self {
        Self {
            path,
            text,
            environment,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            broken_lines: RefCell::default(),
        }
    }

    /// Parses the text. Syntax errors become problems, and reading goes on with what the parser
    /// could recover.
    pub(super) fn parse(&self) -> Spanned<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.problem(error.span().unwrap_or(0..0), one_line(error.message()));
        }
        let problems = self.problems.borrow();
        let lines = problems.iter().map(|problem| problem.at.line);
        self.broken_lines.borrow_mut().extend(lines);
        drop(problems);
        table
    }

    /// The top of the file as a section.
    pub(super) fn root<'s>(&'s self, table: &'s Spanned<DeTable<'s>>) -> Section<'s> {
        Section {
            document: self,
            title: String::new(),
            table: Some(table.get_ref()),
            span: 0..0,
            asked: RefCell::default(),
        }
    }

    fn problem(&self, span: Range<usize>, message: impl Into<String>) {
        let at = self.position(&span);
        if !self.broken_lines.borrow().contains(&at.line) {
            let problem = Problem::new(self.path, at, message);
            self.problems.borrow_mut().push(problem);
        }
    }

    fn position(&self, span: &Range<usize>) -> Position {
        Position::of_byte(self.text, span.start)
    }

    /// The problems, then the warnings.
    pub(super) fn into_diagnostics(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }
}

/// One table of the file. An absent optional section has no keys and no missing keys.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    title: String,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The value of `key`, if it is there and `read` accepts it.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let field = self.field(key)?;
        read(&field)
            .inspect_err(|message| {
                self.document
                    .problem(field.span(), format!("`{key}` {message}"))
            })
            .ok()
    }

    /// The value of `key` if `read` accepts it, or what `otherwise` gives if the key is absent.
    pub(super) fn optional_or<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Result<T, String>,
        otherwise: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(key, read);
        if self.has(key) { value } else { otherwise() }
    }

    /// The value of `key`; a problem if it is absent.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key);
        }
        self.optional(key, read)
    }

    /// Records that `key` is missing, unless the section is absent or a broken line may have held
    /// the key.
    pub(super) fn missing(&self, key: &str) {
        let is_whole = self.document.broken_lines.borrow().is_empty();
        if self.is_present() && is_whole {
            self.problem_here(format!("`{key}` is missing{}", self.in_section()));
        }
    }

    /// The text of `key` as it stands in the file.
    pub(super) fn raw(&self, key: &str) -> Option<&'a str> {
        let value = self.table?.get(key)?;
        let document = self.document;
        Field { document, value }.raw().ok()
    }

    /// The table under `key`, empty if absent.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let Some(field) = self.field(key) else {
            return self.absent_section(key);
        };
        self.as_section(key, field.value)
    }

    /// The table under `key`; a problem if it is absent.
    pub(super) fn required_section(&self, key: &'static str) -> Self {
        if !self.has(key) {
            self.missing(key);
        }
        self.section(key)
    }

    /// All tables below this section, in the order of their names; for sections whose keys the user
    /// chooses.
    pub(super) fn subsections(&self) -> Vec<(&'a str, Self)> {
        let entries = self.table.into_iter().flatten();
        entries
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                (name, self.as_section(name, value))
            })
            .collect()
    }

    /// All fields below this section by name; for sections whose keys the user chooses.
    pub(super) fn fields(&self) -> Vec<(&'a str, Field<'a>)> {
        let entries = self.table.into_iter().flatten();
        let document = self.document;
        entries
            .map(|(key, value)| (&**key.get_ref(), Field { document, value }))
            .collect()
    }

    /// Reports the keys that were never asked for. Call it when all keys were read.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !asked.contains(&name) {
                let hint = suggestion(name, &asked);
                let message = format!("unknown key `{name}`{}; {hint}", self.in_section());
                self.document.problem(key.span(), message);
            }
        }
    }

    /// Whether the section has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the section is in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Where the value of `key` stands, or the section if it is absent.
    pub(super) fn at(&self, key: &str) -> Position {
        self.document.position(&self.span_of(key))
    }

    fn span_of(&self, key: &str) -> Range<usize> {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Records a problem with the value of `key`.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.document.problem(self.span_of(key), message);
    }

    /// Records a warning about the value of `key`.
    pub(super) fn warning(&self, key: &str, message: impl Into<String>) {
        let at = self.at(key);
        let warning = Problem::new(self.document.path, at, message);
        self.document.warnings.borrow_mut().push(warning);
    }

    /// Records a problem with the section as a whole.
    pub(super) fn problem_here(&self, message: impl Into<String>) {
        self.document.problem(self.span.clone(), message);
    }

    fn field(&self, key: &'static str) -> Option<Field<'a>> {
        self.asked.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        let document = self.document;
        Some(Field { document, value })
    }

    fn as_section(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Self {
        let title = self.title_of(key);
        let DeValue::Table(table) = value.get_ref() else {
            let kind = kind_of(value.get_ref());
            let message = format!("`{key}` must be a section [{title}], not {kind}");
            self.document.problem(value.span(), message);
            return self.absent_section(key);
        };
        Self {
            title,
            table: Some(table),
            span: value.span(),
            ..self.absent_section(key)
        }
    }

    fn absent_section(&self, key: &str) -> Self {
        Self {
            document: self.document,
            title: self.title_of(key),
            table: None,
            span: self.span.clone(),
            asked: RefCell::default(),
        }
    }

    fn title_of(&self, key: &str) -> String {
        if self.title.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.title)
        }
    }

    fn in_section(&self) -> String {
        if self.title.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.title)
        }
    }
}

/// One value. Readers return messages that continue "`key` …".
pub(super) struct Field<'a> {
    document: &'a Document<'a>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// The text as it stands in the file, with `${VAR}` unreplaced. A message may quote only this
    /// form.
    pub(super) fn raw(&self) -> Result<&'a str, String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.type_error("text in quotes")),
        }
    }

    /// The text with `${VAR}` replaced; one line, and may hold a secret.
    pub(super) fn text(&self) -> Result<String, String> {
        let raw = self.raw()?;
        if let Some(wrong) = control_characters(raw) {
            return Err(wrong.to_owned());
        }
        let environment = self.document.environment;
        for name in variables(raw) {
            let value = environment(name).unwrap_or_default();
            if let Some(wrong) = control_characters(&value) {
                return Err(format!(
                    "needs the environment variable `{name}`, which {wrong}"
                ));
            }
        }
        expand(raw, environment)
    }

    /// The same for what may have several lines, such as a key in JSON.
    pub(super) fn long_text(&self) -> Result<String, String> {
        expand(self.raw()?, self.document.environment)
    }

    /// The text parsed by `parse`. Its error continues "`text` …" and must not repeat the text.
    pub(super) fn parse<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let raw = self.raw()?;
        parse(&self.text()?).map_err(|message| format!("{} {message}", quoted(raw)))
    }

    /// A whole number in `range`.
    pub(super) fn integer(&self, range: RangeInclusive<i64>) -> Result<i64, String> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return Err(self.type_error("a whole number"));
        };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = range.into_inner();
                if least == most {
                    return format!("must be {least}, not {integer}");
                }
                format!("must be from {least} to {most}, not {integer}")
            })
    }

    /// A share in (0, 1].
    pub(super) fn share(&self) -> Result<f64, String> {
        let text = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => return Err(self.type_error("a number")),
        };
        text.parse()
            .ok()
            .filter(|share| *share > 0.0 && *share <= 1.0)
            .ok_or_else(|| format!("must be more than 0 and at most 1, not {text}"))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self.value.get_ref() {
            DeValue::Boolean(boolean) => Ok(*boolean),
            _ => Err(self.type_error("true or false, without quotes")),
        }
    }

    /// A civil date: TOML's own, or text.
    pub(super) fn date(&self) -> Result<Date, String> {
        const MESSAGE: &str = "is not a date; write YYYY-MM-DD";
        match self.value.get_ref() {
            DeValue::Datetime(literal) if literal.time.is_none() => literal
                .to_string()
                .parse()
                .map_err(|_| format!("{literal} {MESSAGE}")),
            DeValue::String(_) => self.parse(|text| text.parse().map_err(|_| MESSAGE.to_owned())),
            _ => Err(self.type_error("a date such as 2026-01-31")),
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<Self>, String> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return Err(self.type_error("a list"));
        };
        let document = self.document;
        Ok(items
            .iter()
            .map(|value| Field { document, value })
            .collect())
    }

    /// Records a problem at this value; for items of lists and for keys that the user chose.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.document.problem(self.span(), message);
    }

    fn span(&self) -> Range<usize> {
        self.value.span()
    }

    fn type_error(&self, expected: &str) -> String {
        format!("must be {expected}, not {}", kind_of(self.value.get_ref()))
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The names in `${NAME}`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| Some(part.split_once('}')?.0))
}

/// Replaces each `${NAME}`; names every variable that is not set.
fn expand(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let (mut expanded, mut missing) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else {
            return Err("has a `${` without its `}`".to_owned());
        };
        let name = &rest[start + 2..start + length];
        expanded.push_str(&rest[..start]);
        match environment(name).filter(|value| !value.is_empty()) {
            Some(value) => expanded.push_str(&value),
            None => missing.push(format!("`{name}`")),
        }
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    if missing.is_empty() {
        return Ok(expanded);
    }
    let missing = missing.join(", ");
    Err(format!(
        "needs the environment variable {missing}, which is not set"
    ))
}

/// The nearest of `known`, or all of them if none is near.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("known here: {}", known.join(", "))
}

/// The word most similar to `name`, if any is similar enough.
pub(super) fn nearest<'w>(name: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // 0.8: `bukcet` finds `bucket`, `tenent` finds `tenants`, and `bucket` does not find `jobs`.
    const LIKE: f64 = 0.8;
    let name = name.to_lowercase();
    words
        .map(|word| (strsim::jaro_winkler(&name, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// A text for a message: in backticks, on one line, at most 80 characters, and without the
/// credentials that an address may carry.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let text = without_credentials(text);
    let mut shown: String = one_line(&text).chars().take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// An address with `***` for its user and its query; other texts as they are.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (address, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], "?***"),
        None => (rest, ""),
    };
    match address.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{query}"),
        None => format!("{scheme}://{address}{query}"),
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/canary".to_owned())
    }

    fn findings(text: &str, read: impl FnOnce(&Section<'_>)) -> Vec<String> {
        let document = Document::new(Path::new("a.toml"), text, &environment);
        let table = document.parse();
        let root = document.root(&table);
        read(&root);
        root.finish();
        let (problems, _) = document.into_diagnostics();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_of_a_section_is_found_in_one_pass() {
        let text = "limit = \"ten\"\nshare = 1.5\nwrnog = 1\nname = \"${NOPE}${HOME}\"\n";
        let found = findings(text, |root| {
            root.optional("limit", |field| field.integer(1..=9));
            root.optional("share", Field::share);
            root.optional("wrong", Field::boolean);
            root.optional("name", Field::text);
            root.required("url", Field::text);
        });
        assert_eq!(
            found,
            [
                "a.toml:1:9: `limit` must be a whole number, not text",
                "a.toml:2:9: `share` must be more than 0 and at most 1, not 1.5",
                "a.toml:4:8: `name` needs the environment variable `NOPE`, which is not set",
                "a.toml:1:1: `url` is missing",
                "a.toml:3:1: unknown key `wrnog`; did you mean `wrong`?",
            ]
        );
    }

    #[test]
    fn messages_quote_the_file_and_never_the_environment() {
        let found = findings("name = \"${HOME}\"", |root| {
            root.optional("name", |field| {
                field.parse(|_| Err::<(), _>("is bad".to_owned()))
            });
        });
        assert_eq!(found, ["a.toml:1:8: `name` `${HOME}` is bad"]);
    }

    #[test]
    fn syntax_errors_name_their_line_and_not_the_value_and_the_rest_is_read() {
        let text = "a = 'x'\nsecret = canary-value\nb = [1,\nc = 'x\n";
        let found = findings(text, |root| {
            root.optional("a", Field::boolean);
            root.required("secret", Field::boolean);
            root.required("gone", Field::boolean);
        });
        assert!(
            found
                .iter()
                .any(|p| p.starts_with("a.toml:1:5: `a` must be")),
            "{found:?}"
        );
        assert!(!found.join("").contains("is missing"), "{found:?}");
        assert!(
            found.iter().any(|p| p.starts_with("a.toml:2:10: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|p| p.starts_with("a.toml:4:")),
            "{found:?}"
        );
        assert!(!found.join("").contains("canary"), "{found:?}");
    }

    #[test]
    fn dates_are_read_from_literals_and_texts() {
        let found = findings(
            "a = 2026-02-28\nb = '2026-02-28'\nc = '2026-02-30'\n",
            |root| {
                assert_eq!(
                    root.optional("a", Field::date),
                    root.optional("b", Field::date)
                );
                root.optional("c", Field::date);
            },
        );
        assert_eq!(
            found,
            ["a.toml:3:5: `c` `2026-02-30` is not a date; write YYYY-MM-DD"]
        );
    }
}

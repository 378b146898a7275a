//! How the parts of a workbook are found: by the relations between them, never by their names.
//!
//! ```text
//! _rels/.rels ─► workbook ─► its relations ─► sheets, shared strings, styles
//! ```
//! The names that most programs use (`xl/sharedStrings.xml`) are a habit and no rule (ECMA-376,
//! part 2, 8.3 and 9.3). A part that no relation leads to is not read. Knows nothing of what is
//! inside the parts.

/// Path of the package's relations, the only fixed one.
pub(super) const PACKAGE: &str = "_rels/.rels";

/// What a relation leads to, as far as reading needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The package's document: the workbook.
    Document,
    /// A sheet of cells.
    Worksheet,
    /// The table of shared strings.
    Strings,
    /// The cell formats.
    Styles,
    /// Anything that holds no cells: a theme, a chart, another workbook.
    Other,
}

impl Role {
    /// The role in the `Type` of a relation. Its namespace depends on the edition of the standard.
    pub(super) fn of(kind: &str) -> Self {
        let last = kind
            .rsplit_once("/relationships/")
            .map_or_else(|| kind.rsplit('/').next(), |(_, last)| Some(last));
        match last {
            Some("officeDocument") => Self::Document,
            Some("worksheet") => Self::Worksheet,
            Some("sharedStrings") => Self::Strings,
            Some("styles") => Self::Styles,
            _ => Self::Other,
        }
    }
}

/// Path of the relations of a part: `xl/_rels/workbook.xml.rels`.
pub(super) fn relations_of(part: &str) -> String {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    match folder {
        "" => format!("_rels/{name}.rels"),
        folder => format!("{folder}/_rels/{name}.rels"),
    }
}

/// The path that a relation of `source` leads to; the source of the package's relations is empty.
/// A target is relative to the folder of its source unless it begins with a slash. `None` if it
/// leads out of the package.
pub(super) fn target_of(source: &str, target: &str) -> Option<String> {
    let target = target.replace('\\', "/");
    let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut steps: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|step| !step.is_empty()).collect(),
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()?),
            step => steps.push(step),
        }
    }
    (!steps.is_empty()).then(|| steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_resolved_from_the_folder_of_their_source() {
        for (source, target, path) in [
            ("", "xl/workbook.xml", Some("xl/workbook.xml")),
            ("", "/xl/workbook.xml", Some("xl/workbook.xml")),
            (
                "xl/workbook.xml",
                "worksheets/s.xml",
                Some("xl/worksheets/s.xml"),
            ),
            (
                "xl/workbook.xml",
                "./worksheets/s.xml",
                Some("xl/worksheets/s.xml"),
            ),
            (
                "xl/workbook.xml",
                "../xl/worksheets/s.xml",
                Some("xl/worksheets/s.xml"),
            ),
            ("xl/workbook.xml", "../sheets/s.xml", Some("sheets/s.xml")),
            ("xl/workbook.xml", "/data/s.xml", Some("data/s.xml")),
            ("xl/workbook.xml", "/xl/../data/s.xml", Some("data/s.xml")),
            (
                "xl/workbook.xml",
                "worksheets\\s.xml",
                Some("xl/worksheets/s.xml"),
            ),
            ("book.xml", "s.xml", Some("s.xml")),
            ("xl/workbook.xml", "../../s.xml", None),
            ("xl/workbook.xml", "..", None),
            ("book.xml", "", None),
        ] {
            assert_eq!(
                target_of(source, target).as_deref(),
                path,
                "{source} {target}"
            );
        }
    }

    #[test]
    fn relations_lie_beside_their_part() {
        assert_eq!(
            relations_of("xl/workbook.xml"),
            "xl/_rels/workbook.xml.rels"
        );
        assert_eq!(relations_of("a/b/c.xml"), "a/b/_rels/c.xml.rels");
        assert_eq!(relations_of("book.xml"), "_rels/book.xml.rels");
    }

    #[test]
    fn roles_do_not_depend_on_the_edition_of_the_standard() {
        for namespace in [
            "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            "http://purl.oclc.org/ooxml/officeDocument/relationships",
        ] {
            let role = |kind: &str| Role::of(&format!("{namespace}/{kind}"));
            assert_eq!(role("officeDocument"), Role::Document);
            assert_eq!(role("worksheet"), Role::Worksheet);
            assert_eq!(role("sharedStrings"), Role::Strings);
            assert_eq!(role("styles"), Role::Styles);
            assert_eq!(role("externalLink"), Role::Other);
        }
    }
}

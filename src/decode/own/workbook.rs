//! Reads the package's relations and `workbook.xml`: which sheets there are, in which parts they
//! are, and which epoch their dates have.

use std::collections::{HashMap, HashSet};

use super::tags::{Tag, Tags, Token};
use super::{FastResult, Unsupported};

/// Path of the workbook in every export.
pub(super) const WORKBOOK: &str = "xl/workbook.xml";
/// Path of the workbook's relations.
pub(super) const RELATIONS: &str = "xl/_rels/workbook.xml.rels";
/// Path of the package's relations.
pub(super) const PACKAGE: &str = "_rels/.rels";

/// A worksheet.
#[derive(Debug)]
pub(super) struct SheetPart {
    pub(super) name: String,
    /// Path of its part.
    pub(super) path: String,
}

/// What `workbook.xml` says.
#[derive(Debug, Default)]
pub(super) struct Workbook {
    /// In the order of the workbook.
    pub(super) sheets: Vec<SheetPart>,
    pub(super) is_1904: bool,
}

/// Checks that the package's only document is the workbook at its usual place.
pub(super) fn check_package(text: &str) -> FastResult<()> {
    let mut documents = 0;
    relations(text, |tag| {
        let kind = plain(tag.raw_value("Type")?)?;
        if kind.ends_with("/relationships/officeDocument") {
            let target = plain(tag.raw_value("Target")?)?;
            if target.strip_prefix('/').unwrap_or(target) != WORKBOOK {
                return Err(Unsupported("the workbook is at an unusual place"));
            }
            documents += 1;
        }
        Ok(())
    })?;
    if documents != 1 {
        return Err(Unsupported("the package has several documents or none"));
    }
    Ok(())
}

/// Paths of the worksheets, by the ids of their relations.
pub(super) fn sheet_paths(text: &str) -> FastResult<HashMap<String, String>> {
    let mut identifiers = HashSet::new();
    let mut paths = HashMap::new();
    relations(text, |tag| {
        let id = plain(tag.raw_value("Id")?)?;
        let (kind, target) = (
            plain(tag.raw_value("Type")?)?,
            plain(tag.raw_value("Target")?)?,
        );
        if !identifiers.insert(id) {
            return Err(Unsupported("two relations have the same name"));
        }
        if kind.ends_with("/worksheet") {
            let path = match target.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => format!("xl/{target}"),
            };
            paths.insert(id.to_owned(), path);
        }
        Ok(())
    })?;
    Ok(paths)
}

fn relations<'t>(
    text: &'t str,
    mut each: impl FnMut(&Tag<'t>) -> FastResult<()>,
) -> FastResult<()> {
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.name) {
            (1, "Relationships") => {}
            (2, "Relationship") => each(&tag)?,
            _ => return Err(Unsupported("a list of relations holds something else")),
        }
    }
    Ok(())
}

/// A value without entities and line ends.
fn plain(value: Option<&str>) -> FastResult<&str> {
    value
        .filter(|value| !value.contains(['&', '\r', '\n']))
        .ok_or(Unsupported("a relation is incomplete or holds an entity"))
}

/// Reads `workbook.xml`. `paths` are the worksheets from its relations.
pub(super) fn workbook(text: &str, paths: &HashMap<String, String>) -> FastResult<Workbook> {
    let mut workbook = Workbook::default();
    let (mut names, mut taken) = (HashSet::new(), HashSet::new());
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.name) {
            (1, "workbook") | (2, "sheets") => {}
            (3, "sheet") => {
                let sheet = sheet(&tag, paths)?;
                if !names.insert(sheet.name.clone()) || !taken.insert(sheet.path.clone()) {
                    return Err(Unsupported("two sheets share a name or a part"));
                }
                workbook.sheets.push(sheet);
            }
            (2, "workbookPr") => {
                // An element without the attribute leaves the epoch unchanged.
                if let Some(epoch) = tag.raw_value("date1904")? {
                    workbook.is_1904 = matches!(epoch, "1" | "true");
                }
            }
            // Checks the entities in the name. `Tags` has checked the text of the element.
            (3, "definedName") => drop(tag.value("name")?),
            (depth, name) => check_other(depth, name, &tag)?,
        }
    }
    Ok(workbook)
}

fn check_other(depth: usize, name: &str, tag: &Tag<'_>) -> FastResult<()> {
    let is_telling = matches!(
        tag.local_name(),
        "workbook" | "sheets" | "sheet" | "definedName"
    );
    let is_epoch = tag.local_name() == "workbookPr" && tag.raw_value("date1904")?.is_some();
    if depth == 1 || is_telling || is_epoch || name == "workbookPr" {
        return Err(Unsupported("workbook.xml is built in an unusual way"));
    }
    Ok(())
}

fn sheet(tag: &Tag<'_>, paths: &HashMap<String, String>) -> FastResult<SheetPart> {
    let name = tag
        .value("name")?
        .ok_or(Unsupported("a sheet has no name"))?;
    let state = tag.raw_value("state")?;
    if !matches!(state, None | Some("visible" | "hidden" | "veryHidden")) {
        return Err(Unsupported("a sheet has an unknown state"));
    }
    let id = tag.raw_value_by_local_name("id")?;
    // Otherwise the sheet is a chart or a dialog, or its part is missing.
    let path = id
        .and_then(|id| paths.get(id))
        .ok_or(Unsupported("a sheet is no worksheet"))?;
    Ok(SheetPart {
        name: name.into_owned(),
        path: path.clone(),
    })
}

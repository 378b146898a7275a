//! Reads the package's relations and `workbook.xml`: which sheets there are, in which parts they
//! are, and which epoch their dates have.

use std::collections::{HashMap, HashSet};

use super::tags::{Tag, Tags, Token};
use super::{FastResult, Unsupported};
use crate::decode::package::{self, Role};

/// A worksheet.
#[derive(Debug)]
pub(super) struct SheetPart {
    pub(super) name: String,
    /// Path of its part.
    pub(super) path: String,
    /// Whether the program that shows the workbook hides it.
    pub(super) is_hidden: bool,
}

/// What `workbook.xml` says.
#[derive(Debug, Default)]
pub(super) struct Workbook {
    /// In the order of the workbook.
    pub(super) sheets: Vec<SheetPart>,
    pub(super) is_1904: bool,
}

/// Where the relations of a workbook lead.
#[derive(Debug, Default)]
pub(super) struct WorkbookRelations {
    /// Paths of the worksheets, by the ids of their relations.
    sheets: HashMap<String, String>,
    /// Path of the shared strings. Without the relation there are none.
    pub(super) strings: Option<String>,
    /// Path of the cell formats.
    pub(super) styles: Option<String>,
}

/// Path of the package's only document.
pub(super) fn document(text: &str) -> FastResult<String> {
    const ODD: Unsupported = Unsupported("the package has several documents or none");
    let mut documents = Vec::new();
    relations(text, |tag| {
        if Role::of(plain(tag.raw_value("Type")?)?) == Role::Document {
            documents.push(target("", tag)?);
        }
        Ok(())
    })?;
    let first = documents.pop().ok_or(ODD)?;
    documents.is_empty().then_some(first).ok_or(ODD)
}

/// Reads the relations of the workbook at `path`.
pub(super) fn workbook_relations(path: &str, text: &str) -> FastResult<WorkbookRelations> {
    let mut identifiers = HashSet::new();
    let mut found = WorkbookRelations::default();
    relations(text, |tag| {
        let id = plain(tag.raw_value("Id")?)?;
        if !identifiers.insert(id) {
            return Err(Unsupported("two relations have the same name"));
        }
        let slot = match Role::of(plain(tag.raw_value("Type")?)?) {
            Role::Worksheet => {
                found.sheets.insert(id.to_owned(), target(path, tag)?);
                return Ok(());
            }
            Role::Strings => &mut found.strings,
            Role::Styles => &mut found.styles,
            Role::Document | Role::Other => return Ok(()),
        };
        match slot.replace(target(path, tag)?) {
            None => Ok(()),
            Some(_) => Err(Unsupported("two parts hold the strings or the formats")),
        }
    })?;
    Ok(found)
}

/// The path that a relation of the part `source` leads to.
fn target(source: &str, tag: &Tag<'_>) -> FastResult<String> {
    let target = plain(tag.raw_value("Target")?)?;
    let is_inside = matches!(tag.raw_value("TargetMode")?, None | Some("Internal"));
    let path = package::target_of(source, target).filter(|_| is_inside);
    path.ok_or(Unsupported("a relation leads out of the workbook"))
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

/// Reads `workbook.xml`.
pub(super) fn workbook(text: &str, relations: &WorkbookRelations) -> FastResult<Workbook> {
    let mut workbook = Workbook::default();
    let (mut names, mut taken) = (HashSet::new(), HashSet::new());
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.name) {
            (1, "workbook") | (2, "sheets") => {}
            (3, "sheet") => {
                let sheet = sheet(&tag, &relations.sheets)?;
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
        is_hidden: matches!(state, Some("hidden" | "veryHidden")),
    })
}

//! Which sheets there are, in which parts they lie and which epoch their dates have: the package's relations and `workbook.xml`.

use std::collections::{HashMap, HashSet};

use super::tags::{Tag, Tags, Token};
use super::{Known, Unknown};

/// Where the workbook lies in every export.
pub(super) const WORKBOOK: &str = "xl/workbook.xml";
/// Where its relations lie.
pub(super) const RELATIONS: &str = "xl/_rels/workbook.xml.rels";
/// Where the package's relations lie.
pub(super) const PACKAGE: &str = "_rels/.rels";

/// A worksheet.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) name: String,
    /// Path of its part.
    pub(super) path: String,
}

/// What `workbook.xml` says.
#[derive(Debug, Default)]
pub(super) struct Workbook {
    /// In the order of the workbook.
    pub(super) sheets: Vec<Sheet>,
    pub(super) is_1904: bool,
}

/// Checks that the package's only document is the workbook at its usual place.
pub(super) fn check_package(text: &str) -> Known<()> {
    let mut documents = 0;
    relations(text, |tag| {
        let kind = plain(tag.raw("Type")?)?;
        if kind.ends_with("/relationships/officeDocument") {
            let target = plain(tag.raw("Target")?)?;
            if target.strip_prefix('/').unwrap_or(target) != WORKBOOK {
                return Err(Unknown("the workbook is at an unusual place"));
            }
            documents += 1;
        }
        Ok(())
    })?;
    if documents != 1 {
        return Err(Unknown("the package has several documents or none"));
    }
    Ok(())
}

/// Paths of the worksheets by the identifiers of their relations.
pub(super) fn sheet_paths(text: &str) -> Known<HashMap<String, String>> {
    let mut identifiers = HashSet::new();
    let mut paths = HashMap::new();
    relations(text, |tag| {
        let id = plain(tag.raw("Id")?)?;
        let (kind, target) = (plain(tag.raw("Type")?)?, plain(tag.raw("Target")?)?);
        if !identifiers.insert(id) {
            return Err(Unknown("two relations have the same name"));
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

fn relations<'t>(text: &'t str, mut each: impl FnMut(&Tag<'t>) -> Known<()>) -> Known<()> {
    let mut tags = Tags::new(text)?;
    while let Some(token) = tags.next()? {
        let Token::Start(tag) = token else { continue };
        match (tag.depth, tag.name) {
            (1, "Relationships") => {}
            (2, "Relationship") => each(&tag)?,
            _ => return Err(Unknown("a list of relations holds something else")),
        }
    }
    Ok(())
}

/// A value that means what it says.
fn plain(value: Option<&str>) -> Known<&str> {
    value
        .filter(|value| !value.contains(['&', '\r', '\n']))
        .ok_or(Unknown("a relation is incomplete or holds an entity"))
}

/// Reads `workbook.xml`; `paths` are the worksheets that its relations name.
pub(super) fn workbook(text: &str, paths: &HashMap<String, String>) -> Known<Workbook> {
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
                    return Err(Unknown("two sheets share a name or a part"));
                }
                workbook.sheets.push(sheet);
            }
            (2, "workbookPr") => {
                // One that says nothing of it leaves the epoch as it was.
                if let Some(epoch) = tag.raw("date1904")? {
                    workbook.is_1904 = matches!(epoch, "1" | "true");
                }
            }
            // The name and text of a defined name are never empty of surprises; its text was checked by the walk.
            (3, "definedName") => drop(tag.value("name")?),
            (depth, name) => check_other(depth, name, &tag)?,
        }
    }
    Ok(workbook)
}

fn check_other(depth: usize, name: &str, tag: &Tag<'_>) -> Known<()> {
    let is_telling = matches!(
        tag.local_name(),
        "workbook" | "sheets" | "sheet" | "definedName"
    );
    let is_epoch = tag.local_name() == "workbookPr" && tag.raw("date1904")?.is_some();
    if depth == 1 || is_telling || is_epoch || name == "workbookPr" {
        return Err(Unknown("workbook.xml is built in an unusual way"));
    }
    Ok(())
}

fn sheet(tag: &Tag<'_>, paths: &HashMap<String, String>) -> Known<Sheet> {
    let name = tag.value("name")?.ok_or(Unknown("a sheet has no name"))?;
    let state = tag.raw("state")?;
    if !matches!(state, None | Some("visible" | "hidden" | "veryHidden")) {
        return Err(Unknown("a sheet has an unknown state"));
    }
    let id = tag.raw_local("id")?;
    // A chart or a dialog, or nothing at all.
    let path = id
        .and_then(|id| paths.get(id))
        .ok_or(Unknown("a sheet is no worksheet"))?;
    Ok(Sheet {
        name: name.into_owned(),
        path: path.clone(),
    })
}

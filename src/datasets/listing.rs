//! A listing that is read page by page: which call comes next, and what a page holds.
//!
//! Pure: bodies in, calls and items out. The fetch asks Feishu with it. The decoder reads an
//! archived listing with it, body by body in the same order, so it notices a page that is missing.
//!
//! ```text
//! Pages   list ─► list, next page ─► …
//! Walk    root ─► list below the root ─► … ─► list below each item that has children ─► …
//! ```
//! A listing ends in any case: it fails on a repeated page token and beyond a number of pages.

use std::collections::{HashSet, VecDeque};

use serde_json::{Map, Value};

use super::endpoint::Parameters;

/// The most pages of one list.
const PAGE_LIMIT: usize = 1_000;

/// The most lists of a walk that are still to be read.
const LIST_LIMIT: usize = 10_000;

/// The most items of one listing, however large its pages are.
const ITEM_LIMIT: usize = 100_000;

/// What the pages of an endpoint hold.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The member of `data` that is the list.
    pub list: &'static str,
    /// The member of an item that identifies it.
    pub id: &'static str,
    /// Items to ask for on a page: the most that is allowed.
    pub page_size: u32,
    /// Paths of secret values in a body, such as `data.meeting.password`; a segment `[]` is every
    /// element of a list. They are blanked before a body is kept.
    pub secrets: &'static [&'static str],
    /// Adds what a page says only in a roundabout way to an item.
    pub derive: fn(&mut Map<String, Value>),
}

impl Listed {
    /// The calls that so many items take: their pages, and the first one again if there are
    /// several.
    #[must_use]
    pub fn calls(&self, items: u64) -> u64 {
        let pages = items.div_ceil(self.page_size.max(1).into()).max(1);
        pages + 2 * u64::from(pages > 1)
    }
}

/// How a tree of pages is walked.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// The id that stands for the root in the path of its call.
    pub root: &'static str,
    /// The member of `data` that is the root item.
    pub root_item: &'static str,
    /// The parameter that names the parent of a list.
    pub parent: &'static str,
    /// The member of an item that says whether it has children.
    pub has_child: &'static str,
}

/// Member that a walk adds to an item: its steps from the root.
pub const DEPTH: &str = "(walk) depth";
/// Member that a walk adds to an item: whether it is the root.
pub const IS_ROOT: &str = "(walk) is_root";

/// Why a listing cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A body is not what the API documents.
    #[error("{0}")]
    Garbled(String),
    /// The listing does not end.
    #[error("{0}")]
    Endless(String),
    /// There are more bodies than the listing has pages.
    #[error("there is a page after the last one")]
    TooManyPages,
    /// The first page was another one at the end, every time.
    #[error("the list changed every time while it was read")]
    Changed,
    /// The dataset is not read in pages.
    #[error("the dataset is not listed in pages")]
    NotListed,
}

/// One call of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PageCall {
    /// The item whose children are listed; `None` for all.
    parent: Option<String>,
    /// Steps from the root to the items of the page.
    depth: u32,
    /// The page after the first one.
    token: Option<String>,
    /// Pages of the list before this one.
    pages_before: usize,
    /// Whether this is the call of the root itself.
    is_root: bool,
}

/// A listing under way.
#[derive(Clone, Debug)]
pub struct Listing {
    listed: Listed,
    tree: Option<Tree>,
    query: Vec<(&'static str, String)>,
    next: VecDeque<PageCall>,
    tokens: HashSet<(Option<String>, String)>,
    ids: HashSet<String>,
    items: usize,
}

impl Listing {
    /// A listing before its first call. `query` are the parameters that every page is asked with.
    #[must_use]
    pub fn new(listed: Listed, tree: Option<Tree>, query: Vec<(&'static str, String)>) -> Self {
        let first = PageCall {
            parent: None,
            depth: 0,
            token: None,
            pages_before: 0,
            is_root: tree.is_some(),
        };
        Self {
            listed,
            tree,
            query,
            next: VecDeque::from([first]),
            tokens: HashSet::new(),
            ids: HashSet::new(),
            items: 0,
        }
    }

    /// The parameters of the next call; `None` if every page was taken.
    #[must_use]
    pub fn next_call(&self) -> Option<Parameters> {
        let call = self.next.front()?;
        if call.is_root {
            let root = self.tree.map(|tree| tree.root.to_owned());
            let query = self.query.clone();
            return Some(Parameters {
                segment: root,
                query,
                body: None,
            });
        }
        let mut query = vec![("page_size", self.listed.page_size.to_string())];
        query.extend(self.query.iter().cloned());
        if let (Some(tree), Some(parent)) = (self.tree, &call.parent) {
            query.push((tree.parent, parent.clone()));
        }
        query.extend(call.token.clone().map(|token| ("page_token", token)));
        Some(Parameters::query(query))
    }

    /// Whether the next call asks for the first page of a list: the page that is read again at the
    /// end, to notice a list that changed meanwhile.
    #[must_use]
    pub fn is_at_first_page(&self) -> bool {
        let first = self.next.front();
        first.is_some_and(|call| !call.is_root && call.token.is_none())
    }

    /// Takes the answer to the next call. Gives the items that were not seen before: an item can
    /// appear twice if the list changed between two pages.
    ///
    /// # Errors
    /// The body is not a page, or the listing does not end.
    pub fn take(&mut self, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        let call = self.next.pop_front().ok_or(Error::TooManyPages)?;
        let data = data_of(body)?;
        let items = match self.tree.filter(|_| call.is_root) {
            Some(tree) => vec![root_of(&data, tree.root_item)?],
            None => {
                self.plan_next_page(&call, &data)?;
                list_of(&data, self.listed.list)?
            }
        };
        self.items += items.len();
        let mut fresh = Vec::new();
        for mut item in items {
            match text(item.get(self.listed.id)) {
                Some(id) if !self.ids.insert(id.clone()) => continue,
                Some(id) => self.plan_children(&call, &item, id)?,
                // Whatever is below it would be missed.
                None if self.tree.is_some() => {
                    return Err(Error::Garbled(format!(
                        "an item has no `{}`",
                        self.listed.id
                    )));
                }
                None => {}
            }
            if self.tree.is_some() {
                item.insert(DEPTH.to_owned(), call.depth.into());
                item.insert(IS_ROOT.to_owned(), call.is_root.into());
            }
            (self.listed.derive)(&mut item);
            fresh.push(item);
        }
        for (count, most, what) in [
            (self.items, ITEM_LIMIT, "entries"),
            (self.next.len(), LIST_LIMIT, "lists to read"),
        ] {
            if count > most {
                let why = format!("the listing has more than {most} {what}");
                return Err(Error::Endless(why));
            }
        }
        Ok(fresh)
    }

    /// The ids on a page, in their order.
    ///
    /// # Errors
    /// The body is not a page.
    pub fn ids_on(&self, body: &[u8]) -> Result<Vec<String>, Error> {
        let items = list_of(&data_of(body)?, self.listed.list)?;
        let ids = items
            .iter()
            .filter_map(|item| text(item.get(self.listed.id)));
        Ok(ids.collect())
    }

    fn plan_next_page(&mut self, call: &PageCall, data: &Map<String, Value>) -> Result<(), Error> {
        let token = text(data.get("page_token")).filter(|token| !token.is_empty());
        match (flag(data, "has_more")?, &token) {
            (Some(true), _) => {}
            (None, Some(_)) => {
                let why = "a page has a page_token and does not say whether there is another page";
                return Err(Error::Garbled(why.to_owned()));
            }
            (Some(false), _) | (None, None) => return Ok(()),
        }
        let Some(token) = token else {
            let why = "there is another page, but no page_token";
            return Err(Error::Endless(why.to_owned()));
        };
        if !self.tokens.insert((call.parent.clone(), token.clone())) {
            return Err(Error::Endless(
                "the listing repeats a page_token".to_owned(),
            ));
        }
        if call.pages_before + 1 == PAGE_LIMIT {
            let why = format!("the listing has more than {PAGE_LIMIT} pages");
            return Err(Error::Endless(why));
        }
        // Before the lists of other parents: the pages of one list stay together.
        self.next.push_front(PageCall {
            token: Some(token),
            pages_before: call.pages_before + 1,
            ..call.clone()
        });
        Ok(())
    }

    fn plan_children(
        &mut self,
        call: &PageCall,
        item: &Map<String, Value>,
        id: String,
    ) -> Result<(), Error> {
        let Some(tree) = self.tree else {
            return Ok(());
        };
        // The root is always asked. So is an item that does not say whether it has children.
        let has_child = flag(item, tree.has_child)?.unwrap_or(true);
        if call.is_root || has_child {
            self.next.push_back(PageCall {
                parent: Some(id),
                depth: call.depth + 1,
                token: None,
                pages_before: 0,
                is_root: false,
            });
        }
        Ok(())
    }
}

/// `data` of a good envelope.
fn data_of(body: &[u8]) -> Result<Map<String, Value>, Error> {
    let garbled = |why: String| Error::Garbled(why);
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        garbled(format!("a page is no JSON (line {line}, column {column})"))
    })?;
    match body.get("code").and_then(Value::as_i64) {
        Some(0) => {}
        Some(code) => return Err(garbled(format!("the code of a page is {code}"))),
        None => return Err(garbled("a page has no code".to_owned())),
    }
    match body {
        Value::Object(mut body) => match body.remove("data") {
            Some(Value::Object(data)) => Ok(data),
            _ => Err(garbled("a page has no object `data`".to_owned())),
        },
        _ => Err(garbled("a page is no object".to_owned())),
    }
}

fn root_of(data: &Map<String, Value>, member: &str) -> Result<Map<String, Value>, Error> {
    match data.get(member) {
        Some(Value::Object(root)) => Ok(root.clone()),
        _ => Err(Error::Garbled(format!("a page has no object `{member}`"))),
    }
}

/// The objects of a list. An absent list is empty: Feishu leaves out empty lists. But where another
/// list has something in it, ours may only have got another name.
fn list_of(data: &Map<String, Value>, member: &str) -> Result<Vec<Map<String, Value>>, Error> {
    let items = match data.get(member) {
        None | Some(Value::Null) => {
            let is_filled = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
            return match data.values().any(is_filled) {
                false => Ok(Vec::new()),
                true => Err(Error::Garbled(format!(
                    "a page has a list, and it is not `{member}`"
                ))),
            };
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Error::Garbled(format!("`{member}` of a page is no list"))),
    };
    let objects = items.iter().map(|item| item.as_object().cloned());
    objects.collect::<Option<_>>().ok_or_else(|| {
        Error::Garbled(format!(
            "`{member}` of a page holds something else than objects"
        ))
    })
}

/// A member that says yes or no. Anything else could hide the rest of a list, so it is refused.
fn flag(members: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Error::Garbled(format!(
            "`{name}` of a page is neither true nor false"
        ))),
    }
}

/// A text or a number, as text.
#[must_use]
pub fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LISTED: Listed = Listed {
        list: "items",
        id: "id",
        page_size: 100,
        secrets: &[],
        derive: |_| {},
    };
    const TREE: Tree = Tree {
        root: "0",
        root_item: "root",
        parent: "below",
        has_child: "has_child",
    };

    fn page(ids: &[&str], token: Option<&str>) -> Vec<u8> {
        let items: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "id": id, "has_child": id.ends_with('+') }))
            .collect();
        let mut data = json!({ "items": items, "has_more": token.is_some() });
        if let Some(token) = token {
            data["page_token"] = token.into();
        }
        json!({ "code": 0, "data": data }).to_string().into_bytes()
    }

    fn ids(items: &[Map<String, Value>]) -> Vec<&str> {
        items
            .iter()
            .filter_map(|item| item["id"].as_str())
            .collect()
    }

    fn asked(listing: &Listing) -> String {
        let Some(call) = listing.next_call() else {
            return "nothing".to_owned();
        };
        let query = call
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let query = query.collect::<Vec<_>>().join("&");
        format!("{}?{query}", call.segment.unwrap_or_default())
    }

    #[test]
    fn pages_follow_one_another_and_an_item_that_moved_comes_once() {
        let mut listing = Listing::new(LISTED, None, vec![("user_id_type", "open_id".into())]);
        assert_eq!(asked(&listing), "?page_size=100&user_id_type=open_id");
        let first = listing
            .take(&page(&["a", "b"], Some("t1")))
            .expect("a page");
        assert_eq!(ids(&first), ["a", "b"]);
        assert_eq!(
            asked(&listing),
            "?page_size=100&user_id_type=open_id&page_token=t1"
        );
        let second = listing.take(&page(&["b", "c"], None)).expect("a page");
        assert_eq!(ids(&second), ["c"]);
        assert_eq!(asked(&listing), "nothing");
        assert_eq!(listing.take(&page(&[], None)), Err(Error::TooManyPages));
    }

    #[test]
    fn a_walk_asks_for_the_root_and_then_below_each_item_with_children() {
        let mut listing = Listing::new(LISTED, Some(TREE), Vec::new());
        assert_eq!(asked(&listing), "0?");
        let root = br#"{"code":0,"data":{"root":{"id":"r"}}}"#;
        let root = listing.take(root).expect("the root");
        assert_eq!(
            (root[0][DEPTH].clone(), root[0][IS_ROOT].clone()),
            (0.into(), true.into())
        );
        assert_eq!(asked(&listing), "?page_size=100&below=r");
        listing
            .take(&page(&["a+", "b"], Some("t")))
            .expect("a page");
        assert_eq!(asked(&listing), "?page_size=100&below=r&page_token=t");
        let more = listing.take(&page(&["c+"], None)).expect("a page");
        assert_eq!(
            (more[0][DEPTH].clone(), more[0][IS_ROOT].clone()),
            (1.into(), false.into())
        );
        assert_eq!(asked(&listing), "?page_size=100&below=a+");
        // A level below itself is seen once and not asked again.
        let below = listing.take(&page(&["d", "a+"], None)).expect("a page");
        assert_eq!(
            (ids(&below), below[0][DEPTH].clone()),
            (vec!["d"], 2.into())
        );
        assert_eq!(asked(&listing), "?page_size=100&below=c+");
        listing.take(&page(&[], None)).expect("a page");
        assert_eq!(asked(&listing), "nothing");
    }

    #[test]
    fn what_is_no_page_or_never_ends_is_refused() {
        let once = |body: &[u8]| {
            let mut listing = Listing::new(LISTED, None, Vec::new());
            listing.take(body).expect_err("refused").to_string()
        };
        assert!(once(b"<html>").starts_with("a page is no JSON"));
        assert_eq!(once(br#"{"code":7,"data":{}}"#), "the code of a page is 7");
        assert_eq!(once(br#"{"code":0}"#), "a page has no object `data`");
        let no_list = br#"{"code":0,"data":{"items":{}}}"#;
        assert_eq!(once(no_list), "`items` of a page is no list");
        let no_objects = br#"{"code":0,"data":{"items":[1]}}"#;
        assert!(once(no_objects).ends_with("something else than objects"));
        let has_more = br#"{"code":0,"data":{"items":[],"has_more":"true"}}"#;
        assert_eq!(
            once(has_more),
            "`has_more` of a page is neither true nor false"
        );
        let mut walk = Listing::new(LISTED, Some(TREE), Vec::new());
        let unsaid = br#"{"code":0,"data":{"items":[],"page_token":"t"}}"#;
        assert!(once(unsaid).ends_with("does not say whether there is another page"));
        let renamed = br#"{"code":0,"data":{"rooms":[{"id":"a"}]}}"#;
        assert_eq!(once(renamed), "a page has a list, and it is not `items`");
        let no_id = walk.take(br#"{"code":0,"data":{"root":{"has_child":true}}}"#);
        assert_eq!(
            no_id.expect_err("refused").to_string(),
            "an item has no `id`"
        );
        let no_token = br#"{"code":0,"data":{"items":[],"has_more":true}}"#;
        assert!(once(no_token).contains("no page_token"));

        let mut listing = Listing::new(LISTED, None, Vec::new());
        listing.take(&page(&["a"], Some("t"))).expect("a page");
        let again = listing
            .take(&page(&["b"], Some("t")))
            .expect_err("repeated");
        assert_eq!(again.to_string(), "the listing repeats a page_token");

        let mut listing = Listing::new(LISTED, None, Vec::new());
        let endless = (0..).find_map(|n| listing.take(&page(&[], Some(&n.to_string()))).err());
        let endless = endless.expect("an end").to_string();
        assert_eq!(endless, "the listing has more than 1000 pages");
    }
}

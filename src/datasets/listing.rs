//! A listing that is read page by page: which call comes next, and what a page holds.
//!
//! Pure: bodies in, calls and items out. The fetch asks Feishu with it. The decoder reads an
//! archived listing with it, body by body in the same order, so it notices a page that is missing.
//!
//! ```text
//! Pages     list ─► list, next page ─► …
//! Walk      root ─► list below the root ─► … ─► list below each item that has children ─► …
//! Details   list ─► list, next page ─► … ─► detail of each item, and what is told apart ─► …
//! Nodes     lists of these kinds ─► several calls for each item ─► …
//! Roles     list ─► the same list by each role, if its items have roles or there are none
//! ```
//! A listing ends in any case: it fails on a repeated page token and beyond a number of pages.

mod nodes;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value};

use super::endpoint::{Endpoint, Parameters};

pub use nodes::{CodeMeans, Node, NodeCall, NodeListing, NodeRows, Nodes, Told};

/// The most pages of one list.
const PAGE_LIMIT: usize = 1_000;

/// The most lists of a walk that are still to be read.
const LIST_LIMIT: usize = 10_000;

/// The most items of one listing, however large its pages are.
const ITEM_LIMIT: usize = 100_000;

/// Items of a list, or the rows that are made of them.
pub type Items = Vec<Map<String, Value>>;

/// What the pages of an endpoint hold.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The member of `data` that is the list.
    pub list: &'static str,
    /// The member of an item that identifies it. Without one, an item that is there twice is two:
    /// then only the pages themselves tell whether the list changed while it was read.
    pub id: Option<&'static str>,
    /// Items to ask for on a page: the most that is allowed.
    pub page_size: u32,
    /// Paths of secret values in a body, such as `data.meeting.password`; a segment `[]` is every
    /// element of a list. They are blanked before a body is kept.
    pub secrets: &'static [&'static str],
    /// Adds what a page says only in a roundabout way to an item.
    pub derive: fn(&mut Map<String, Value>),
    /// Makes the rows of all items, where an item is not a row.
    pub pivot: Option<fn(Items) -> Items>,
    /// The roles by which the list may have to be asked for once more.
    pub roles: Option<Roles>,
}

/// A list that may show all of its items only to who asks for each role of theirs.
///
/// It is asked for without a role first. If an item has a role, or there is no item at all, it is
/// asked for by each role too. An item of several of these lists is one.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// The member of an item that says its role, and the parameter that asks for it.
    pub member: &'static str,
    /// The roles.
    pub values: &'static [&'static str],
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

/// How a list of ids becomes a list of items: one more call for each id. What the list itself says
/// of them is not kept apart.
#[derive(Clone, Copy, Debug)]
pub struct Details {
    /// What is called, with the id in its path.
    pub endpoint: Endpoint,
    /// Scopes of which the app needs one for it, the narrowest first.
    pub scopes: &'static [&'static str],
    /// What each call sends besides.
    pub query: &'static [(&'static str, &'static str)],
    /// The member of `data` that is the item.
    pub item: &'static str,
    /// Codes that say that there is no such item. Then there is no row of it.
    pub gone: &'static [i64],
    /// Codes that say that the app is not shown the item, or no item at all. Where it is known that
    /// others are shown, there is no row of it either.
    pub hidden: &'static [i64],
    /// What is asked for by one more call, where the item may have it.
    pub apart: Option<Apart>,
}

/// A part of an item that the same endpoint tells only by a call of its own.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    /// What that call sends besides.
    pub query: &'static [(&'static str, &'static str)],
    /// The member of `data` that is the part. The item gets it under the same name.
    pub part: &'static str,
    /// Whether an item may have it.
    pub may_have: fn(&Map<String, Value>) -> bool,
    /// Codes that say that it is not told. The item is a row all the same.
    pub withheld: &'static [i64],
}

/// What is read beyond the pages of one list.
#[derive(Clone, Copy, Debug)]
pub enum Beyond {
    /// Nothing.
    Nothing,
    /// The lists below its items.
    Tree(Tree),
    /// Each item by itself.
    Details(Details),
    /// The list by each role.
    Roles(Roles),
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
    /// A call was refused for everything that it was made for.
    #[error("{what} was refused for all of {asked} with code {code}")]
    Refused {
        /// The endpoint.
        what: &'static str,
        /// For how many.
        asked: usize,
        /// The API's code.
        code: i64,
    },
}

/// A call that gets the next body of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct PageCall {
    /// What is called.
    pub endpoint: Endpoint,
    /// What it is called with.
    pub parameters: Parameters,
    /// Codes other than 0 with which the body is an answer all the same.
    pub answers: Vec<i64>,
    /// Codes that say that this one thing is hidden from the app, or that everything is. They are
    /// an answer where it is known that others are shown.
    pub hidden: Vec<i64>,
    /// Whether it asks for a part of a thing that was shown, which is a row without it too.
    pub is_of_part: bool,
    /// The one thing that it asks about, for people.
    pub about: Option<String>,
}

impl PageCall {
    /// The id of the one thing that it asks about, if that thing may be hidden.
    #[must_use]
    pub fn may_be_hidden(&self) -> Option<&str> {
        let id = self.parameters.segment.as_deref();
        id.filter(|_| !self.hidden.is_empty())
    }

    /// The same call, to which it is an answer that the thing is hidden.
    #[must_use]
    pub fn taking_hidden(mut self) -> Self {
        self.answers.append(&mut self.hidden);
        self
    }

    /// Asks whether another thing is shown, and for nothing else of it.
    #[must_use]
    pub fn of_another(&self, id: String) -> Self {
        Self {
            endpoint: self.endpoint,
            parameters: Parameters {
                segment: Some(id),
                ..Parameters::default()
            },
            answers: Vec::new(),
            hidden: Vec::new(),
            is_of_part: false,
            about: None,
        }
    }
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// The root of a tree.
    Root,
    /// A page of a list.
    List {
        /// The item whose children are listed, or the role; `None` for all.
        parent: Option<String>,
        /// Steps from the root to the items of the page.
        depth: u32,
        /// The page after the first one.
        token: Option<String>,
        /// Pages of the list before this one.
        pages_before: usize,
    },
    /// One item, by its id.
    Item(String),
    /// What is told apart of an item, which is kept until then.
    Apart(String, Box<Map<String, Value>>),
}

impl Wanted {
    /// The first page of the list of all items, or of those below `parent`.
    const fn first_page(parent: Option<String>, depth: u32) -> Self {
        Self::List {
            parent,
            depth,
            token: None,
            pages_before: 0,
        }
    }
}

/// A listing under way.
#[derive(Clone, Debug)]
pub enum Listing {
    /// One list, or a tree of lists.
    List(Box<List>),
    /// Lists, and calls for each of their items.
    Nodes(Box<NodeListing>),
}

impl Listing {
    /// The next call; `None` if every body was taken.
    #[must_use]
    pub fn next_call(&self) -> Option<PageCall> {
        match self {
            Self::List(list) => list.next_call(),
            Self::Nodes(nodes) => nodes.next_call(),
        }
    }

    /// The list of which the next call asks for a page, counted from 0; `None` if it asks for
    /// something else. The first page of a list and the last one are read again at the list's end,
    /// to notice one that changed meanwhile.
    #[must_use]
    pub fn list_of_next(&self) -> Option<usize> {
        match self {
            Self::List(list) => list.list_of_next(),
            Self::Nodes(nodes) => nodes.list_of_next(),
        }
    }

    /// Takes the answer to the next call. Gives the items that were not seen before: an item can
    /// appear twice if the list changed between two pages.
    ///
    /// # Errors
    /// The body is not a page, or the listing does not end.
    pub fn take(&mut self, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        match self {
            Self::List(list) => list.take(body),
            Self::Nodes(nodes) => nodes.take(body),
        }
    }

    /// Whether an archived listing may end before the next call.
    #[must_use]
    pub fn may_end(&self) -> bool {
        match self {
            Self::List(list) => list.may_end(),
            Self::Nodes(nodes) => nodes.next_call().is_none(),
        }
    }

    /// How many items are hidden from the app.
    #[must_use]
    pub const fn hidden(&self) -> u64 {
        match self {
            Self::List(list) => list.hidden,
            Self::Nodes(_) => 0,
        }
    }

    /// The ids on a page of a list, in their order.
    ///
    /// # Errors
    /// The body is not a page.
    pub fn ids_on(&self, list: usize, body: &[u8]) -> Result<Vec<String>, Error> {
        match self {
            Self::List(list) => list.ids_on(body),
            Self::Nodes(nodes) => nodes.ids_on(list, body),
        }
    }
}

/// One list under way, with what is read beyond its pages.
#[derive(Clone, Debug)]
pub struct List {
    endpoint: Endpoint,
    listed: Listed,
    beyond: Beyond,
    query: Vec<(&'static str, String)>,
    next: VecDeque<Wanted>,
    tokens: HashSet<(Option<String>, String)>,
    ids: HashSet<String>,
    items: usize,
    hidden: u64,
    by_role: ShownByRole,
}

impl List {
    /// A list before its first call, which is to `endpoint`. `query` are the parameters that
    /// every page is asked with.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        listed: Listed,
        beyond: Beyond,
        query: Vec<(&'static str, String)>,
    ) -> Self {
        let first = match beyond {
            Beyond::Tree(_) => Wanted::Root,
            Beyond::Nothing | Beyond::Details(_) | Beyond::Roles(_) => Wanted::first_page(None, 0),
        };
        Self {
            endpoint,
            listed,
            beyond,
            query,
            next: VecDeque::from([first]),
            tokens: HashSet::new(),
            ids: HashSet::new(),
            items: 0,
            hidden: 0,
            by_role: ShownByRole::default(),
        }
    }

    /// The next call; `None` if every body was taken.
    #[must_use]
    pub fn next_call(&self) -> Option<PageCall> {
        let own = |parameters| PageCall {
            endpoint: self.endpoint,
            parameters,
            answers: self.gone().to_vec(),
            hidden: Vec::new(),
            is_of_part: false,
            about: None,
        };
        let of_item = |details: Details, id: &str, query: &[(&'static str, &str)], answers| {
            let query = query
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            PageCall {
                endpoint: details.endpoint,
                parameters: Parameters {
                    segment: Some(id.to_owned()),
                    query: query.collect(),
                    body: None,
                },
                answers,
                hidden: details.hidden.to_vec(),
                is_of_part: matches!(self.next.front(), Some(Wanted::Apart(..))),
                about: None,
            }
        };
        Some(match (self.next.front()?, self.beyond) {
            (Wanted::Item(id), Beyond::Details(details)) => {
                of_item(details, id, details.query, details.gone.to_vec())
            }
            (Wanted::Apart(id, _), Beyond::Details(details)) => {
                let apart = details.apart.as_ref();
                let query = apart.map_or(&[][..], |apart| apart.query);
                let withheld = apart.map_or(&[][..], |apart| apart.withheld);
                let answers = [details.gone, withheld].concat();
                of_item(details, id, query, answers)
            }
            (Wanted::List { parent, token, .. }, beyond) => {
                let mut query = vec![("page_size", self.listed.page_size.to_string())];
                query.extend(self.query.iter().cloned());
                let named = match beyond {
                    Beyond::Tree(tree) => Some(tree.parent),
                    Beyond::Roles(roles) => Some(roles.member),
                    Beyond::Nothing | Beyond::Details(_) => None,
                };
                query.extend(named.zip(parent.clone()));
                query.extend(token.clone().map(|token| ("page_token", token)));
                own(Parameters::query(query))
            }
            (Wanted::Root | Wanted::Item(_) | Wanted::Apart(..), beyond) => own(Parameters {
                segment: match beyond {
                    Beyond::Tree(tree) => Some(tree.root.to_owned()),
                    Beyond::Nothing | Beyond::Details(_) | Beyond::Roles(_) => None,
                },
                query: self.query.clone(),
                body: None,
            }),
        })
    }

    /// Whether the next call asks for a page of a list.
    #[must_use]
    pub fn is_at_list(&self) -> bool {
        self.list_of_next().is_some()
    }

    /// See [`Listing::list_of_next`]: the list of all is 0, those by role follow.
    #[must_use]
    pub fn list_of_next(&self) -> Option<usize> {
        let Wanted::List { parent, .. } = self.next.front()? else {
            return None;
        };
        let Beyond::Roles(roles) = self.beyond else {
            return Some(0);
        };
        let is_it = |role: &&str| Some(*role) == parent.as_deref();
        Some(roles.values.iter().position(is_it).map_or(0, |at| at + 1))
    }

    /// Whether an archived listing may end before the next call: earlier ones lack lists by role.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.next.is_empty() || self.list_of_next() == Some(1) && self.is_at_first_page()
    }

    fn is_at_first_page(&self) -> bool {
        matches!(self.next.front(), Some(Wanted::List { token: None, .. }))
    }

    /// See [`Listing::take`].
    ///
    /// # Errors
    /// The body is not a page, or the list does not end.
    pub fn take(&mut self, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        let place = self.next.pop_front().ok_or(Error::TooManyPages)?;
        let mut items = match &place {
            Wanted::Item(id) => self.take_item(id, body)?,
            Wanted::Apart(_, item) => vec![self.take_apart((**item).clone(), body)?],
            Wanted::Root => self.take_root(body)?,
            Wanted::List { .. } => self.take_page(&place, body)?,
        };
        for (count, most, what) in [
            (self.items, ITEM_LIMIT, "entries"),
            (self.next.len(), LIST_LIMIT, "lists to read"),
        ] {
            if count > most {
                let why = format!("the listing has more than {most} {what}");
                return Err(Error::Endless(why));
            }
        }
        for item in &mut items {
            (self.listed.derive)(item);
        }
        Ok(items)
    }

    /// Codes that say that there is nothing of what was asked for.
    const fn gone(&self) -> &'static [i64] {
        match self.beyond {
            Beyond::Details(details) => details.gone,
            Beyond::Nothing | Beyond::Tree(_) | Beyond::Roles(_) => &[],
        }
    }

    fn is_gone(&self, body: &[u8]) -> Result<bool, Error> {
        let code = code_of(&json_of(body)?);
        Ok(code.is_some_and(|code| self.gone().contains(&code)))
    }

    fn take_root(&mut self, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        let Beyond::Tree(tree) = self.beyond else {
            return Err(Error::TooManyPages);
        };
        let root = item_of(&data_of(body)?, tree.root_item)?;
        self.items += 1;
        let id = self.id_of(&root)?;
        self.ids.insert(id.clone());
        // The root is always asked for what is below it.
        self.next.push_back(Wanted::first_page(Some(id), 1));
        Ok(vec![placed(root, 0, true)])
    }

    fn take_page(&mut self, place: &Wanted, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        if self.is_gone(body)? {
            return Ok(Vec::new());
        }
        let data = data_of(body)?;
        let waiting = self.next.len();
        self.plan_next_page(place, &data)?;
        let is_last = self.next.len() == waiting;
        let mut items = list_of(&data, self.listed.list)?;
        self.items += items.len();
        if let (Beyond::Roles(roles), Wanted::List { parent, .. }) = (self.beyond, place) {
            let of_list = parent.as_deref();
            items.retain(|item| self.by_role.is_new(roles, item, of_list));
            let has_roles = self.by_role.has_roles || self.items == 0;
            if is_last && parent.is_none() && has_roles {
                let by_role = roles.values.iter().map(|role| (*role).to_owned());
                let by_role = by_role.map(|role| Wanted::first_page(Some(role), 0));
                self.next.extend(by_role);
            }
        }
        let mut fresh: Vec<Map<String, Value>> = Vec::new();
        let mut of_page: HashMap<String, Vec<Map<String, Value>>> = HashMap::new();
        for item in items {
            let id = self.listed.id.and_then(|id| text(item.get(id)));
            if let Some(id) = &id {
                let is_new = self.ids.insert(id.clone());
                let same = of_page.entry(id.clone()).or_default();
                // A list that moves shows an item again on another page. Two items of one page that
                // differ are two, whatever their id says: none of them may be lost.
                let differs = matches!(self.beyond, Beyond::Nothing)
                    && !same.is_empty()
                    && !same.contains(&item);
                if !is_new && !differs {
                    continue;
                }
                same.push(item.clone());
            }
            match (self.beyond, place) {
                (Beyond::Details(_), _) => self.next.push_back(Wanted::Item(self.id_of(&item)?)),
                (Beyond::Tree(tree), Wanted::List { depth, .. }) => {
                    let id = self.id_of(&item)?;
                    // So is an item that does not say whether it has children.
                    if flag(&item, tree.has_child)?.unwrap_or(true) {
                        self.next.push_back(Wanted::first_page(Some(id), depth + 1));
                    }
                    fresh.push(placed(item, *depth, false));
                }
                _ => fresh.push(item),
            }
        }
        Ok(fresh)
    }

    fn take_item(&mut self, id: &str, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        let Beyond::Details(details) = self.beyond else {
            return Err(Error::TooManyPages);
        };
        if self.is_gone(body)? {
            return Ok(Vec::new());
        }
        let code = code_of(&json_of(body)?);
        if code.is_some_and(|code| details.hidden.contains(&code)) {
            self.hidden += 1;
            return Ok(Vec::new());
        }
        let item = item_of(&data_of(body)?, details.item)?;
        // Another one's detail would be published under this one's name.
        if self.id_of(&item)? != id {
            let name = self.listed.id.unwrap_or("id");
            let why = format!("`{}` has another `{name}`", details.item);
            return Err(Error::Garbled(why));
        }
        if details.apart.is_some_and(|apart| (apart.may_have)(&item)) {
            let wanted = Wanted::Apart(id.to_owned(), Box::new(item));
            self.next.push_front(wanted);
            return Ok(Vec::new());
        }
        Ok(vec![item])
    }

    /// The item with what is told apart of it. Where nothing is told, it is a row all the same.
    fn take_apart(
        &self,
        mut item: Map<String, Value>,
        body: &[u8],
    ) -> Result<Map<String, Value>, Error> {
        let Beyond::Details(details) = self.beyond else {
            return Err(Error::TooManyPages);
        };
        let apart = details.apart.ok_or(Error::TooManyPages)?;
        let code = code_of(&json_of(body)?);
        let untold = [details.gone, details.hidden, apart.withheld];
        if code.is_some_and(|code| untold.iter().any(|codes| codes.contains(&code))) {
            return Ok(item);
        }
        match data_of(body)?.remove(apart.part) {
            None | Some(Value::Null) => {}
            Some(part @ Value::Object(_)) => {
                item.insert(apart.part.to_owned(), part);
            }
            Some(_) => {
                let why = format!("`{}` of an answer is no object", apart.part);
                return Err(Error::Garbled(why));
            }
        }
        Ok(item)
    }

    /// The id of an item that more is asked for. Without it, that would be missed.
    fn id_of(&self, item: &Map<String, Value>) -> Result<String, Error> {
        let name = self.listed.id.unwrap_or("id");
        text(item.get(name)).ok_or_else(|| Error::Garbled(format!("an item has no `{name}`")))
    }

    /// What tells the items of a page apart, in their order: their ids, or all that they say.
    ///
    /// # Errors
    /// The body is not a page.
    pub fn ids_on(&self, body: &[u8]) -> Result<Vec<String>, Error> {
        let items = list_of(&data_of(body)?, self.listed.list)?;
        let ids = items.into_iter().filter_map(|item| match self.listed.id {
            Some(id) => text(item.get(id)),
            None => Some(Value::Object(item).to_string()),
        });
        Ok(ids.collect())
    }

    fn plan_next_page(&mut self, place: &Wanted, data: &Map<String, Value>) -> Result<(), Error> {
        let Wanted::List {
            parent,
            depth,
            pages_before,
            ..
        } = place
        else {
            return Ok(());
        };
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
        if !self.tokens.insert((parent.clone(), token.clone())) {
            return Err(Error::Endless(
                "the listing repeats a page_token".to_owned(),
            ));
        }
        if pages_before + 1 == PAGE_LIMIT {
            let why = format!("the listing has more than {PAGE_LIMIT} pages");
            return Err(Error::Endless(why));
        }
        // Before the lists of other parents: the pages of one list stay together.
        self.next.push_front(Wanted::List {
            parent: parent.clone(),
            depth: *depth,
            token: Some(token),
            pages_before: pages_before + 1,
        });
        Ok(())
    }
}

/// What lists by role have shown.
#[derive(Clone, Debug, Default)]
struct ShownByRole {
    /// Whether an item of the list of all has a role.
    has_roles: bool,
    /// A hash of each item without its role, and the role of the list that showed it first.
    items: HashMap<u64, Option<String>>,
}

impl ShownByRole {
    /// Whether no list before this one has shown an item. Two of one list are two.
    fn is_new(&mut self, roles: Roles, item: &Map<String, Value>, of_list: Option<&str>) -> bool {
        let role = text(item.get(roles.member)).filter(|role| !role.is_empty());
        self.has_roles |= of_list.is_none() && role.is_some();
        let mut hasher = DefaultHasher::new();
        let others = item.iter().filter(|(name, _)| *name != roles.member);
        for (name, value) in others {
            (name, value.to_string()).hash(&mut hasher);
        }
        let first = self.items.entry(hasher.finish());
        let first = first.or_insert_with(|| of_list.map(str::to_owned));
        first.as_deref() == of_list
    }
}

/// The item of a tree, with its place in it.
fn placed(mut item: Map<String, Value>, depth: u32, is_root: bool) -> Map<String, Value> {
    item.insert(DEPTH.to_owned(), depth.into());
    item.insert(IS_ROOT.to_owned(), is_root.into());
    item
}

fn json_of(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::Garbled(format!("a page is no JSON (line {line}, column {column})"))
    })
}

fn code_of(body: &Value) -> Option<i64> {
    body.get("code").and_then(Value::as_i64)
}

/// `data` of a good envelope.
fn data_of(body: &[u8]) -> Result<Map<String, Value>, Error> {
    let garbled = |why: String| Error::Garbled(why);
    let body = json_of(body)?;
    match code_of(&body) {
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

fn item_of(data: &Map<String, Value>, member: &str) -> Result<Map<String, Value>, Error> {
    match data.get(member) {
        Some(Value::Object(item)) => Ok(item.clone()),
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
    use super::super::endpoint::{Method, Tier};
    use super::*;
    use serde_json::json;

    const ENDPOINT: Endpoint = Endpoint {
        name: "things",
        method: Method::Get,
        path: "things",
        tier: Tier::Four,
    };
    const LISTED: Listed = Listed {
        list: "items",
        id: Some("id"),
        page_size: 100,
        secrets: &[],
        derive: |_| {},
        pivot: None,
        roles: None,
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

    #[test]
    fn two_items_of_a_page_that_share_an_id_are_two_unless_they_are_the_same() {
        let body = |items: Value, token: Option<&str>| {
            let mut data = json!({ "items": items, "has_more": token.is_some() });
            if let Some(token) = token {
                data["page_token"] = token.into();
            }
            json!({ "code": 0, "data": data }).to_string().into_bytes()
        };
        let (one, other) = (json!({"id": "a", "n": 1}), json!({"id": "a", "n": 2}));
        let mut listing = List::new(ENDPOINT, LISTED, Beyond::Nothing, Vec::new());
        let first = body(json!([one, other, one, other]), Some("t"));
        assert_eq!(listing.take(&first).expect("a page").len(), 2);
        // On another page it is the same one, which moved, and may have changed meanwhile.
        let second = body(json!([{"id": "a", "n": 3}, {"id": "b"}]), None);
        assert_eq!(ids(&listing.take(&second).expect("a page")), ["b"]);
    }

    fn asked(listing: &List) -> String {
        let Some(call) = listing.next_call() else {
            return "nothing".to_owned();
        };
        let Parameters { segment, query, .. } = call.parameters;
        let query = query.iter().map(|(name, value)| format!("{name}={value}"));
        let query = query.collect::<Vec<_>>().join("&");
        let path = call.endpoint.path;
        format!("{path} {}?{query}", segment.unwrap_or_default())
    }

    fn begun(beyond: Beyond, query: Vec<(&'static str, String)>) -> List {
        List::new(ENDPOINT, LISTED, beyond, query)
    }

    #[test]
    fn pages_follow_one_another_and_an_item_that_moved_comes_once() {
        let mut listing = begun(Beyond::Nothing, vec![("user_id_type", "open_id".into())]);
        assert_eq!(
            asked(&listing),
            "things ?page_size=100&user_id_type=open_id"
        );
        let first = listing
            .take(&page(&["a", "b"], Some("t1")))
            .expect("a page");
        assert_eq!(ids(&first), ["a", "b"]);
        assert_eq!(
            asked(&listing),
            "things ?page_size=100&user_id_type=open_id&page_token=t1"
        );
        let second = listing.take(&page(&["b", "c"], None)).expect("a page");
        assert_eq!(ids(&second), ["c"]);
        assert_eq!(asked(&listing), "nothing");
        assert_eq!(listing.take(&page(&[], None)), Err(Error::TooManyPages));
    }

    #[test]
    fn of_items_without_an_id_none_is_left_out_and_a_page_is_told_apart_by_all_it_says() {
        let listed = Listed { id: None, ..LISTED };
        let mut listing = List::new(ENDPOINT, listed, Beyond::Nothing, Vec::new());
        let first = page(&["a", "a"], Some("t1"));
        let items = listing.take(&first).expect("a page");
        assert_eq!(ids(&items), ["a", "a"]);
        let items = listing.take(&page(&["a"], None)).expect("a page");
        assert_eq!(ids(&items), ["a"]);
        let told = |body: &[u8]| listing.ids_on(body).expect("a page");
        assert_eq!(told(&first), told(&page(&["a", "a"], Some("t1"))));
        assert_ne!(told(&first), told(&page(&["a", "b"], Some("t1"))));
    }

    #[test]
    fn a_walk_asks_for_the_root_and_then_below_each_item_with_children() {
        let mut listing = begun(Beyond::Tree(TREE), Vec::new());
        assert_eq!(asked(&listing), "things 0?");
        let root = br#"{"code":0,"data":{"root":{"id":"r"}}}"#;
        let root = listing.take(root).expect("the root");
        assert_eq!(
            (root[0][DEPTH].clone(), root[0][IS_ROOT].clone()),
            (0.into(), true.into())
        );
        assert_eq!(asked(&listing), "things ?page_size=100&below=r");
        listing
            .take(&page(&["a+", "b"], Some("t")))
            .expect("a page");
        assert_eq!(
            asked(&listing),
            "things ?page_size=100&below=r&page_token=t"
        );
        let more = listing.take(&page(&["c+"], None)).expect("a page");
        assert_eq!(
            (more[0][DEPTH].clone(), more[0][IS_ROOT].clone()),
            (1.into(), false.into())
        );
        assert_eq!(asked(&listing), "things ?page_size=100&below=a+");
        // A level below itself is seen once and not asked again.
        let below = listing.take(&page(&["d", "a+"], None)).expect("a page");
        assert_eq!(
            (ids(&below), below[0][DEPTH].clone()),
            (vec!["d"], 2.into())
        );
        assert_eq!(asked(&listing), "things ?page_size=100&below=c+");
        listing.take(&page(&[], None)).expect("a page");
        assert_eq!(asked(&listing), "nothing");
    }

    const ROLES: Roles = Roles {
        member: "role",
        values: &["0", "3"],
    };

    /// A page of items with names and roles; no role is none.
    fn by_role(items: &[(&str, &str)]) -> Vec<u8> {
        let items: Vec<Value> = items
            .iter()
            .map(|(name, role)| json!({ "name": name, "role": role }))
            .collect();
        let data = json!({ "items": items, "has_more": false });
        json!({ "code": 0, "data": data }).to_string().into_bytes()
    }

    #[test]
    fn a_list_whose_items_have_roles_is_asked_for_by_each_and_shows_each_item_once() {
        let listed = Listed { id: None, ..LISTED };
        let all: &[(&str, &str)] = &[("a", "0"), ("a", "0"), ("b", "3")];
        type RoleCase<'c> = (&'c str, [&'c [(&'c str, &'c str)]; 3], Vec<&'c str>);
        let table: [RoleCase<'_>; 4] = [
            (
                "the list of all shows all",
                [all, &all[..2], &all[2..]],
                vec!["a", "a", "b"],
            ),
            (
                "it shows one role",
                [&all[..2], &all[..2], &all[2..]],
                vec!["a", "a", "b"],
            ),
            (
                "it shows nobody",
                [&[], &all[..2], &all[2..]],
                vec!["a", "a", "b"],
            ),
            (
                "who is asked for a role shows all the same",
                [all, all, all],
                vec!["a", "a", "b"],
            ),
        ];
        for (what, bodies, expected) in table {
            let mut listing = List::new(ENDPOINT, listed, Beyond::Roles(ROLES), Vec::new());
            let mut found = Vec::new();
            let mut calls = Vec::new();
            for (number, body) in bodies.iter().enumerate() {
                calls.push(asked(&listing));
                assert_eq!(listing.list_of_next(), Some(number), "{what}");
                assert!(number != 0 || !listing.may_end(), "{what}");
                let items = listing.take(&by_role(body)).expect("a page");
                found.extend(items.iter().map(|item| item["name"].clone()));
                // An archive from before lists were asked for by role ends here.
                assert_eq!(listing.may_end(), number != 1, "{what}");
            }
            assert_eq!(found, expected, "{what}");
            assert_eq!(
                calls,
                [
                    "things ?page_size=100",
                    "things ?page_size=100&role=0",
                    "things ?page_size=100&role=3"
                ]
            );
            assert_eq!(asked(&listing), "nothing");
        }
        // Without roles it is one list.
        let mut listing = List::new(ENDPOINT, listed, Beyond::Roles(ROLES), Vec::new());
        listing.take(&by_role(&[("a", "")])).expect("a page");
        assert_eq!(asked(&listing), "nothing");
    }

    const DETAILS: Details = Details {
        endpoint: Endpoint {
            name: "thing",
            method: Method::Get,
            path: "things/:id",
            tier: Tier::Four,
        },
        scopes: &[],
        query: &[("full", "true")],
        item: "thing",
        gone: &[7],
        hidden: &[5],
        apart: None,
    };

    #[test]
    fn each_item_of_a_list_is_asked_for_by_its_id() {
        let mut listing = begun(Beyond::Details(DETAILS), vec![("no", "123".into())]);
        assert_eq!(asked(&listing), "things ?page_size=100&no=123");
        let first = listing.take(&page(&["a", "b"], Some("t"))).expect("a page");
        assert!(first.is_empty(), "the list says nothing but ids");
        assert_eq!(asked(&listing), "things ?page_size=100&no=123&page_token=t");
        assert!(listing.is_at_list());
        // An item that moved to the next page is asked for once.
        listing.take(&page(&["b", "c"], None)).expect("a page");
        assert_eq!(asked(&listing), "things/:id a?full=true");
        assert!(!listing.is_at_list());
        let detail = |id: &str| json!({ "code": 0, "data": { "thing": { "id": id } } });
        let item = listing.take(detail("a").to_string().as_bytes());
        assert_eq!(ids(&item.expect("an item")), ["a"]);
        let call = listing.next_call().expect("a call");
        assert_eq!((&call.answers, &call.hidden), (&vec![7], &vec![5]));
        assert_eq!(call.taking_hidden().answers, [7, 5]);
        let gone = listing.take(br#"{"code":7,"msg":"not found"}"#);
        assert_eq!(gone.expect("an answer").len(), 0);
        let another = listing.clone().take(detail("a").to_string().as_bytes());
        assert_eq!(
            another.expect_err("refused").to_string(),
            "`thing` has another `id`"
        );
        let mut without_c = listing.clone();
        let hidden = without_c.take(br#"{"code":5}"#).expect("an answer");
        assert_eq!((hidden.len(), without_c.hidden), (0, 1));
        let refused = listing.clone().take(br#"{"code":8}"#);
        assert_eq!(
            refused.expect_err("refused").to_string(),
            "the code of a page is 8"
        );
        listing
            .take(detail("c").to_string().as_bytes())
            .expect("an item");
        assert_eq!(asked(&listing), "nothing");
    }

    #[test]
    fn what_is_told_apart_is_asked_for_where_an_item_may_have_it() {
        let details = Details {
            apart: Some(Apart {
                query: &[("mode", "1")],
                part: "more",
                may_have: |item| item.contains_key("note"),
                withheld: &[8],
            }),
            ..DETAILS
        };
        let mut listing = begun(Beyond::Details(details), Vec::new());
        listing.take(&page(&["a", "b"], None)).expect("a page");
        let with_note = json!({ "code": 0, "data": { "thing": { "id": "a", "note": "n" } } });
        let item = listing.take(with_note.to_string().as_bytes());
        assert_eq!(item.expect("an item").len(), 0, "it waits for the rest");
        assert_eq!(asked(&listing), "things/:id a?mode=1");
        let call = listing.next_call().expect("a call");
        assert_eq!((call.may_be_hidden(), call.is_of_part), (Some("a"), true));
        assert_eq!(call.of_another("b".into()).parameters.query, []);
        assert_eq!(call.answers, [7, 8]);
        assert_eq!(call.taking_hidden().answers, [7, 8, 5]);
        for (body, more) in [
            (r#"{"code":0,"data":{"more":{"x":""}}}"#, json!({ "x": "" })),
            (r#"{"code":0,"data":{"more":null}}"#, json!(null)),
            (r#"{"code":0,"data":{}}"#, json!(null)),
            (r#"{"code":7}"#, json!(null)),
            (r#"{"code":5}"#, json!(null)),
            (r#"{"code":8}"#, json!(null)),
        ] {
            let mut listing = listing.clone();
            let items = listing.take(body.as_bytes()).expect("an item");
            assert_eq!(ids(&items), ["a"]);
            let found = items[0].get("more").cloned().unwrap_or_default();
            assert_eq!(found, more, "{body}");
            // The next one has no note, and is complete.
            assert_eq!(asked(&listing), "things/:id b?full=true");
            let without = listing.take(br#"{"code":0,"data":{"thing":{"id":"b"}}}"#);
            assert_eq!(ids(&without.expect("an item")), ["b"]);
            assert_eq!(asked(&listing), "nothing");
        }
        for (body, why) in [
            (r#"{"code":9}"#, "the code of a page is 9"),
            (
                r#"{"code":0,"data":{"more":[]}}"#,
                "`more` of an answer is no object",
            ),
        ] {
            let refused = listing.clone().take(body.as_bytes());
            assert_eq!(refused.expect_err("refused").to_string(), why);
        }
    }

    #[test]
    fn what_is_no_page_or_never_ends_is_refused() {
        let once = |body: &[u8]| {
            let mut listing = begun(Beyond::Nothing, Vec::new());
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
        let mut walk = begun(Beyond::Tree(TREE), Vec::new());
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

        let mut listing = begun(Beyond::Nothing, Vec::new());
        listing.take(&page(&["a"], Some("t"))).expect("a page");
        let again = listing
            .take(&page(&["b"], Some("t")))
            .expect_err("repeated");
        assert_eq!(again.to_string(), "the listing repeats a page_token");

        let mut listing = begun(Beyond::Nothing, Vec::new());
        let endless = (0..).find_map(|n| listing.take(&page(&[], Some(&n.to_string()))).err());
        let endless = endless.expect("an end").to_string();
        assert_eq!(endless, "the listing has more than 1000 pages");
    }
}

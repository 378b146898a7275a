//! What is asked for one by one: every item of some lists, or the one thing that a request names;
//! several calls each.
//!
//! ```text
//! list ─► … ─► list of another kind ─► … ─► node: call ─► call ─► … ─► next node ─► …
//! ```
//! Pure, as the lists are: bodies in, calls and rows out.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::{Error, List, PageCall, code_of, data_of, json_of};
use crate::datasets::{Dataset, Endpoint, Parameters};

/// The rows of one node.
pub type NodeRows = Vec<Map<String, Value>>;

/// How nodes become rows.
#[derive(Clone, Copy, Debug)]
pub struct Nodes {
    /// The datasets whose lists name the nodes. Without one, the request names the only node.
    pub of: &'static [Dataset],
    /// What each node is asked for, one call after the other.
    pub calls: &'static [NodeCall],
    /// The rows of a node, from what each call told.
    pub rows: fn(&Node, &[Told]) -> Result<NodeRows, Error>,
    /// Paths of secret values in a body; see [`super::Listed::secrets`].
    pub secrets: &'static [&'static str],
}

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The dataset whose list names it.
    pub of: Dataset,
    /// Its id; empty where an archive is read and no list names it.
    pub id: String,
}

/// One call for each node.
#[derive(Clone, Copy, Debug)]
pub struct NodeCall {
    /// What is called.
    pub endpoint: Endpoint,
    /// What it is called with. What all calls of the request send is added, but for parameters of
    /// the same names.
    pub parameters: fn(&Node) -> Parameters,
    /// Codes other than 0 that are answers all the same, and what they say.
    pub codes: &'static [(i64, CodeMeans)],
    /// Whether it is made at all, given what the calls before it told.
    pub is_made: fn(&[Told]) -> bool,
}

/// What a code says, other than that the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeMeans {
    /// There is no such node (any more). Then there is no row of it.
    Gone,
    /// The node is there, and has nothing of this.
    Nothing,
    /// This of this node is not told.
    Withheld,
    /// The tenant does not have this at all. No other node is asked for it.
    NotOffered,
}

/// What a call told of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// `data` of a good answer.
    Data(Map<String, Value>),
    /// There is nothing, or the call was not made because it could tell nothing.
    Nothing,
    /// It is not known.
    Withheld,
}

/// How the calls of one endpoint went.
#[derive(Clone, Debug, Default)]
struct CallTally {
    is_offered: bool,
    has_answered: bool,
    /// How often it was withheld, and with which code first.
    withheld: usize,
    code: i64,
}

/// Nodes under way.
#[derive(Clone, Debug)]
pub struct NodeListing {
    nodes: Nodes,
    lists: Vec<(Dataset, List)>,
    /// Which list is being read.
    list: usize,
    /// What every call for a node sends.
    query: Vec<(&'static str, String)>,
    listed: HashSet<Node>,
    waiting: VecDeque<Node>,
    /// Of the first node that waits.
    told: Vec<Told>,
    calls: Vec<CallTally>,
    /// Lists of which a node was there, and how many were gone of the others.
    there: HashSet<Dataset>,
    gone: HashMap<Dataset, (usize, i64)>,
}

impl NodeListing {
    /// Nodes before the first call: those of `lists`, or the only `node`.
    #[must_use]
    pub fn new(
        nodes: Nodes,
        lists: Vec<(Dataset, List)>,
        node: Option<Node>,
        query: Vec<(&'static str, String)>,
    ) -> Self {
        let fresh = CallTally {
            is_offered: true,
            ..CallTally::default()
        };
        Self {
            nodes,
            lists,
            list: 0,
            query,
            listed: HashSet::new(),
            waiting: node.into_iter().collect(),
            told: Vec::new(),
            calls: vec![fresh; nodes.calls.len()],
            there: HashSet::new(),
            gone: HashMap::new(),
        }
    }

    /// See [`super::Listing::next_call`].
    #[must_use]
    pub fn next_call(&self) -> Option<PageCall> {
        if let Some((_, list)) = self.lists.get(self.list) {
            return list.next_call();
        }
        let node = self.waiting.front()?;
        let call = self.nodes.calls.get(self.told.len())?;
        let mut parameters = (call.parameters)(node);
        // What a call says itself goes before what all of them say.
        let own: HashSet<&str> = parameters.query.iter().map(|(name, _)| *name).collect();
        let of_all = self.query.iter().filter(|(name, _)| !own.contains(name));
        let of_all: Vec<_> = of_all.cloned().collect();
        parameters.query.extend(of_all);
        let about = match self.nodes.of {
            [] => node.id.clone(),
            _ => format!("{} {}", node.of.as_str().replace('_', " "), node.id),
        };
        Some(PageCall {
            endpoint: call.endpoint,
            parameters,
            answers: call.codes.iter().map(|(code, _)| *code).collect(),
            hidden: Vec::new(),
            is_of_part: false,
            about: Some(about),
        })
    }

    /// See [`super::Listing::list_of_next`].
    #[must_use]
    pub fn list_of_next(&self) -> Option<usize> {
        let (_, list) = self.lists.get(self.list)?;
        list.is_at_list().then_some(self.list)
    }

    /// See [`super::Listing::ids_on`].
    ///
    /// # Errors
    /// The body is not a page.
    pub fn ids_on(&self, list: usize, body: &[u8]) -> Result<Vec<String>, Error> {
        let list = self.lists.get(list).ok_or(Error::NotListed)?;
        list.1.ids_on(body)
    }

    /// Takes the answer to the next call. Gives the rows of a node that is complete with it.
    ///
    /// # Errors
    /// The body is not an answer, or a call told nothing of any node.
    pub fn take(&mut self, body: &[u8]) -> Result<Vec<Map<String, Value>>, Error> {
        if let Some((of, list)) = self.lists.get_mut(self.list) {
            for item in list.take(body)? {
                let (of, id) = (*of, list.id_of(&item)?);
                let node = Node { of, id };
                // Two items with one id are one node.
                if self.listed.insert(node.clone()) {
                    self.waiting.push_back(node);
                }
            }
            if list.next_call().is_none() {
                self.list += 1;
            }
            return match self.list == self.lists.len() {
                true => self.complete(),
                false => Ok(Vec::new()),
            };
        }
        let (Some(node), Some(call)) =
            (self.waiting.front(), self.nodes.calls.get(self.told.len()))
        else {
            return Err(Error::TooManyPages);
        };
        let tally = &mut self.calls[self.told.len()];
        let code = code_of(&json_of(body)?).unwrap_or_default();
        let means = call.codes.iter().find(|(of, _)| *of == code);
        let told = match means.map(|(_, means)| means) {
            None => Told::Data(data_of(body)?),
            Some(CodeMeans::Nothing) => Told::Nothing,
            Some(CodeMeans::Withheld) => Told::Withheld,
            Some(CodeMeans::NotOffered) => {
                tally.is_offered = false;
                Told::Withheld
            }
            Some(CodeMeans::Gone) => {
                self.gone.entry(node.of).or_insert((0, code)).0 += 1;
                self.waiting.pop_front();
                self.told.clear();
                return self.complete();
            }
        };
        match told {
            Told::Data(_) | Told::Nothing => tally.has_answered = true,
            Told::Withheld => {
                tally.withheld += 1;
                tally.code = code;
            }
        }
        self.told.push(told);
        self.complete()
    }

    /// Passes over the calls that are not made, and gives the rows of the nodes that are complete.
    fn complete(&mut self) -> Result<Vec<Map<String, Value>>, Error> {
        let mut rows = Vec::new();
        while let Some(node) = self.waiting.front() {
            while let Some(call) = self.nodes.calls.get(self.told.len()) {
                let is_offered = self.calls[self.told.len()].is_offered;
                match (is_offered, (call.is_made)(&self.told)) {
                    (true, true) => return Ok(rows),
                    (false, _) => self.told.push(Told::Withheld),
                    (true, false) => self.told.push(Told::Nothing),
                }
            }
            rows.extend((self.nodes.rows)(node, &self.told)?);
            self.there.insert(node.of);
            self.waiting.pop_front();
            self.told.clear();
        }
        self.check_end()?;
        Ok(rows)
    }

    /// A call that told nothing of any node is wrong itself, or may not be made: what it would have
    /// told is not missing of single nodes. So are nodes of which every one is said to be gone.
    fn check_end(&self) -> Result<(), Error> {
        if self.nodes.of.is_empty() {
            return Ok(());
        }
        let calls = self.nodes.calls.iter().zip(&self.calls);
        for (call, tally) in calls {
            if tally.is_offered && !tally.has_answered && tally.withheld > 0 {
                return Err(Error::Refused {
                    what: call.endpoint.path,
                    asked: tally.withheld,
                    code: tally.code,
                });
            }
        }
        let mut all_gone = self.gone.iter().filter(|(of, _)| !self.there.contains(of));
        match (all_gone.next(), self.nodes.calls.first()) {
            (Some((_, (asked, code))), Some(call)) => Err(Error::Refused {
                what: call.endpoint.path,
                asked: *asked,
                code: *code,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Beyond, Listed, Tree};
    use super::*;
    use crate::datasets::{Method, Tier};

    const fn endpoint(name: &'static str) -> Endpoint {
        Endpoint {
            name,
            method: Method::Get,
            path: name,
            tier: Tier::Three,
        }
    }

    const LISTED: Listed = Listed {
        list: "items",
        id: Some("id"),
        page_size: 100,
        pivot: None,
        roles: None,
        secrets: &[],
        derive: |_| {},
    };
    const TREE: Tree = Tree {
        root: "0",
        root_item: "root",
        parent: "parent",
        has_child: "has_child",
    };
    const fn call(name: &'static str) -> NodeCall {
        NodeCall {
            endpoint: endpoint(name),
            parameters: |node| Parameters::default().with("of", Some(&node.id)),
            codes: &[
                (1, CodeMeans::Gone),
                (2, CodeMeans::Nothing),
                (3, CodeMeans::Withheld),
                (4, CodeMeans::NotOffered),
            ],
            is_made: |_| true,
        }
    }
    const NODES: Nodes = Nodes {
        of: &[Dataset::Room, Dataset::RoomLevel],
        calls: &[call("first"), call("second")],
        rows: |node, told| {
            let told: Vec<Value> = told
                .iter()
                .map(|told| match told {
                    Told::Data(data) => data["v"].clone(),
                    Told::Nothing => "nothing".into(),
                    Told::Withheld => Value::Null,
                })
                .collect();
            Ok(vec![Map::from_iter([(node.id.clone(), told.into())])])
        },
        secrets: &[],
    };

    fn begun() -> NodeListing {
        let rooms = List::new(endpoint("rooms"), LISTED, Beyond::Nothing, Vec::new());
        let levels = List::new(endpoint("levels"), LISTED, Beyond::Tree(TREE), Vec::new());
        let lists = vec![(Dataset::Room, rooms), (Dataset::RoomLevel, levels)];
        NodeListing::new(NODES, lists, None, vec![("kind", "union".to_owned())])
    }

    fn asked(listing: &NodeListing) -> String {
        let Some(call) = listing.next_call() else {
            return "nothing".to_owned();
        };
        let query = call.parameters.query.iter();
        let query: Vec<String> = query
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let about = call
            .about
            .map_or(String::new(), |about| format!(" ({about})"));
        format!("{} {}{about}", call.endpoint.name, query.join("&"))
    }

    fn data(data: Value) -> Vec<u8> {
        json!({ "code": 0, "data": data }).to_string().into_bytes()
    }

    fn code(code: i64) -> Vec<u8> {
        json!({ "code": code, "msg": "no" })
            .to_string()
            .into_bytes()
    }

    /// Past the lists: the rooms a and b, and the root r.
    fn at_nodes() -> NodeListing {
        let mut listing = begun();
        for body in [
            json!({ "items": [{ "id": "a" }, { "id": "b" }, { "id": "a", "n": 1 }] }),
            json!({ "root": { "id": "r" } }),
            json!({ "items": [] }),
        ] {
            assert_eq!(listing.take(&data(body)).expect("a page"), []);
        }
        listing
    }

    /// What is asked and given until the end, and why it ended.
    fn walk(bodies: &[Vec<u8>]) -> (Vec<String>, String, Option<Error>) {
        let mut listing = at_nodes();
        let (mut calls, mut rows) = (Vec::new(), Vec::new());
        for body in bodies {
            calls.push(
                asked(&listing)
                    .split(' ')
                    .next()
                    .expect("a name")
                    .to_owned(),
            );
            match listing.take(body) {
                Ok(given) => rows.extend(given.into_iter().map(Value::from)),
                Err(error) => return (calls, Value::from(rows).to_string(), Some(error)),
            }
        }
        assert_eq!(asked(&listing), "nothing", "{calls:?}");
        (calls, Value::from(rows).to_string(), None)
    }

    #[test]
    fn lists_come_first_and_each_node_is_asked_for_everything() {
        let mut listing = begun();
        assert_eq!(asked(&listing), "rooms page_size=100");
        assert_eq!(listing.list_of_next(), Some(0));
        let page = data(json!({ "items": [{ "id": "a" }] }));
        assert_eq!(listing.ids_on(0, &page).expect("a page"), ["a"]);
        listing.take(&page).expect("a page");
        assert_eq!(
            (asked(&listing).as_str(), listing.list_of_next()),
            ("levels ", None)
        );
        let root = data(json!({ "root": { "id": "r" } }));
        listing.take(&root).expect("the root");
        assert_eq!(listing.list_of_next(), Some(1));
        listing.take(&data(json!({}))).expect("no level below");
        assert_eq!(listing.list_of_next(), None);
        assert_eq!(asked(&listing), "first of=a&kind=union (room a)");
        assert_eq!(listing.take(&data(json!({ "v": 1 }))).expect("told"), []);
        assert_eq!(asked(&listing), "second of=a&kind=union (room a)");
        let rows = listing.take(&data(json!({ "v": 2 }))).expect("told");
        assert_eq!(Value::from(rows[0].clone()), json!({ "a": [1, 2] }));
        assert_eq!(asked(&listing), "first of=r&kind=union (room level r)");
    }

    #[test]
    fn an_item_without_an_id_is_refused() {
        let refused = begun().take(&data(json!({ "items": [{ "name": "x" }] })));
        assert_eq!(
            refused.expect_err("refused").to_string(),
            "an item has no `id`"
        );
    }

    #[test]
    fn codes_say_what_there_is() {
        let v = || data(json!({ "v": 1 }));
        for (bodies, calls, rows) in [
            (
                vec![v(), v(), v(), v(), v(), v()],
                "first second first second first second",
                r#"[{"a":[1,1]},{"b":[1,1]},{"r":[1,1]}]"#,
            ),
            // Gone at the first call, and between two.
            (
                vec![code(1), v(), v(), v(), v()],
                "first first second first second",
                r#"[{"b":[1,1]},{"r":[1,1]}]"#,
            ),
            (
                vec![v(), code(1), v(), v(), v(), v()],
                "first second first second first second",
                r#"[{"b":[1,1]},{"r":[1,1]}]"#,
            ),
            (
                vec![v(), code(2), v(), code(3), v(), v()],
                "first second first second first second",
                r#"[{"a":[1,"nothing"]},{"b":[1,null]},{"r":[1,1]}]"#,
            ),
            // Nobody else is asked.
            (
                vec![v(), v(), v(), code(4), v()],
                "first second first second first",
                r#"[{"a":[1,1]},{"b":[1,null]},{"r":[1,null]}]"#,
            ),
            (
                vec![code(4), v(), v(), v()],
                "first second second second",
                r#"[{"a":[null,1]},{"b":[null,1]},{"r":[null,1]}]"#,
            ),
        ] {
            let (found, given, error) = walk(&bodies);
            assert_eq!(
                (found.join(" ").as_str(), given.as_str(), error),
                (calls, rows, None)
            );
        }
    }

    #[test]
    fn what_is_refused_for_every_node_fails_the_whole() {
        let v = || data(json!({ "v": 1 }));
        let refused = |what, asked, code| Some(Error::Refused { what, asked, code });
        for (bodies, expected) in [
            (
                vec![v(), code(3), v(), code(3), v(), code(3)],
                refused("second", 3, 3),
            ),
            // The levels are there, and no room is: their kind is asked for wrongly.
            (vec![code(1), code(1), v(), v()], refused("first", 2, 1)),
            (vec![v(), v(), v(), v(), code(1)], refused("first", 1, 1)),
            (
                vec![code(7)],
                Some(Error::Garbled("the code of a page is 7".to_owned())),
            ),
            (
                vec![b"<html>".to_vec()],
                Some(Error::Garbled(
                    "a page is no JSON (line 1, column 1)".to_owned(),
                )),
            ),
        ] {
            assert_eq!(walk(&bodies).2, expected);
        }
        let mut done = at_nodes();
        for _ in 0..6 {
            done.take(&v()).expect("told");
        }
        assert_eq!(done.take(&v()), Err(Error::TooManyPages));
    }

    #[test]
    fn a_request_names_the_only_node_and_it_may_be_gone() {
        const CALLS: &[NodeCall] = &[
            call("first"),
            NodeCall {
                is_made: |told| matches!(told, [Told::Data(data)] if data["v"] == 1),
                ..call("second")
            },
        ];
        let only = || {
            let node = Node {
                of: Dataset::Room,
                id: "x".to_owned(),
            };
            let nodes = Nodes {
                of: &[],
                calls: CALLS,
                ..NODES
            };
            NodeListing::new(nodes, Vec::new(), Some(node), Vec::new())
        };
        assert_eq!(asked(&only()), "first of=x (x)");
        let mut gone = only();
        assert_eq!(gone.take(&code(1)).expect("gone"), []);
        assert_eq!(asked(&gone), "nothing");
        for (v, rows) in [(0, json!([{ "x": [0, "nothing"] }])), (1, json!([]))] {
            let given = only().take(&data(json!({ "v": v }))).expect("told");
            assert_eq!(Value::from_iter(given), rows);
        }
    }
}

//! `doctor --deep`: asks the API what its documentation leaves open (resources, 9), as far as
//! reading can tell. Each answer is a fact of this tenant and this day; where nothing follows from
//! what came, it says so.
//!
//! It knows no dataset: what is asked is in `datasets::questions`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::cause::Cause;
use crate::client::{AskedAnswer, AskedCall, Client, Error};
use crate::config::Config;
use crate::datasets::ApiPath;
use crate::datasets::questions::{
    ALERTS, LEVELS, MEETING, MEETINGS, ONGOING, Paged, QUERIED_MEETINGS, ROOMS,
};
use crate::ledger::Ledger;

/// The most pages that are read of one list. 10,000 rooms are 100 pages.
const MOST_PAGES: usize = 200;
/// Days of alerts that are asked for at once, until they are refused.
const SPANS: [i64; 5] = [1, 7, 31, 90, 365];
const DAY: i64 = 86_400;

/// The answer to an open question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fact {
    /// The name under which it is kept.
    pub(super) name: &'static str,
    /// What was asked.
    pub(super) question: &'static str,
    /// What follows from what came.
    pub(super) answer: String,
    /// Whether anything follows.
    pub(super) is_known: bool,
}

/// Asks all questions of one tenant.
pub(super) async fn ask(client: &Client, now: Timestamp) -> Vec<Fact> {
    let (page_size, rate_headers) = first_page_of_rooms(client).await;
    vec![
        rooms_by_level(client).await,
        page_size,
        rate_headers,
        queried_meetings(client, now).await,
        end_of_an_ongoing_meeting(client, now).await,
        undocumented_meetings(client, now).await,
        span_of_alerts(client, now).await,
    ]
}

/// Keeps the facts in the ledger, if there is one and nobody else holds it. Says what stood in the
/// way.
pub(super) async fn keep(
    config: &Config,
    facts: &BTreeMap<String, Vec<Fact>>,
    now: Timestamp,
) -> Result<String, String> {
    #[derive(Serialize)]
    struct Kept<'f> {
        at: Timestamp,
        facts: &'f [Fact],
    }
    let path = &config.ledger_path;
    // It is neither made nor migrated for this.
    match Ledger::open_for_reading(path).await {
        Ok(Some(_)) => {}
        Ok(None) => return Err("there is no ledger yet".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let ledger = Ledger::open(path, "doctor").await;
    let ledger = ledger.map_err(|error| error.to_string())?;
    for (tenant, facts) in facts {
        let (name, kept) = (format!("facts:{tenant}"), Kept { at: now, facts });
        let written = ledger.set_meta_value(&name, &kept).await;
        written.map_err(|error| error.to_string())?;
    }
    Ok(format!("kept in {}", path.display()))
}

fn known(name: &'static str, question: &'static str, answer: impl Into<String>) -> Fact {
    Fact {
        name,
        question,
        answer: answer.into(),
        is_known: true,
    }
}

fn unknown(name: &'static str, question: &'static str, why: impl Into<String>) -> Fact {
    Fact {
        is_known: false,
        ..known(name, question, why)
    }
}

/// The answer to a `GET`, and its `data`.
async fn get(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
) -> Result<(AskedAnswer, Value), Error> {
    let path = ApiPath::parse(path).map_err(|why| Error::unreadable(&why))?;
    let answer = client.ask(&AskedCall::get(path, query)).await?;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // Nothing at all is not the same as an empty list.
    match body.get("data") {
        Some(data) if data.is_object() => Ok((answer, data.clone())),
        _ => Err(Error::unreadable("the answer holds no data")),
    }
}

/// Whether nothing follows from an error: Feishu did not refuse the call.
fn tells_nothing(error: &Error) -> bool {
    error.is_retryable() || error.code().is_none()
}

/// Why a call was refused, without advice: here it is an answer, and nothing is to be mended.
fn refusal(error: &Error) -> String {
    let why = match error.kind() {
        Cause::Scope => {
            "the scope is missing (new apps get some for use in the name of a user only)"
        }
        Cause::Role => "the role or the accessible data range is missing",
        Cause::BadRequest => "the parameters are refused",
        Cause::Gone => "it is not known",
        _ => return error.to_string(),
    };
    match error.code() {
        Some(code) => format!("{why}, {code}"),
        None => why.to_owned(),
    }
}

/// The items of all pages.
async fn items(client: &Client, paged: Paged, query: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
    let (mut items, mut token) = (Vec::new(), String::new());
    for _ in 0..MOST_PAGES {
        let mut query = query.to_vec();
        query.push(("page_size", "100"));
        if !token.is_empty() {
            query.push(("page_token", &token));
        }
        let (_, data) = get(client, paged.path, &query).await?;
        let listed = data[paged.list].as_array().cloned().unwrap_or_default();
        items.extend(listed);
        match data["page_token"]
            .as_str()
            .filter(|_| data["has_more"] == true)
        {
            Some(next) => token = next.to_owned(),
            None => return Ok(items),
        }
    }
    Err(Error::unreadable("the list does not end"))
}

fn ids(items: &[Value], paged: Paged) -> Vec<String> {
    let id = |item: &Value| Some(item[paged.id].as_str()?.to_owned());
    items.iter().filter_map(id).collect()
}

/// All levels, each with the one above it. The root's parent is itself.
async fn levels(client: &Client) -> Result<BTreeMap<String, String>, Error> {
    let (_, root) = get(client, LEVELS.root_path, &[]).await?;
    let root = root[LEVELS.root_item][LEVELS.paged.id].as_str();
    let root = root
        .ok_or_else(|| Error::unreadable("the root level has no id"))?
        .to_owned();
    let mut parents = BTreeMap::from([(root.clone(), root.clone())]);
    let mut next = vec![root];
    while let Some(level) = next.pop() {
        let below = items(client, LEVELS.paged, &[(LEVELS.paged.id, &level)]).await?;
        for id in ids(&below, LEVELS.paged) {
            if parents.insert(id.clone(), level.clone()).is_none() {
                next.push(id);
            }
        }
    }
    Ok(parents)
}

/// What is listed without a level, and below each of them.
async fn rooms_by_level(client: &Client) -> Fact {
    const NAME: &str = "rooms_by_level";
    const QUESTION: &str = "are the rooms without a level the sum over all levels?";
    let listed = async {
        let all = items(client, ROOMS, &[]).await?;
        let parents = levels(client).await?;
        let mut by_level = BTreeMap::new();
        for level in parents.keys() {
            let rooms = items(client, ROOMS, &[(LEVELS.paged.id, level)]).await?;
            by_level.insert(level.clone(), ids(&rooms, ROOMS));
        }
        Ok::<_, Error>((ids(&all, ROOMS), by_level))
    };
    match listed.await {
        Ok((all, by_level)) => compared(NAME, QUESTION, &all, &by_level),
        Err(error) => unknown(NAME, QUESTION, error.to_string()),
    }
}

/// Pure, for its table of tests.
fn compared(
    name: &'static str,
    question: &'static str,
    all: &[String],
    by_level: &BTreeMap<String, Vec<String>>,
) -> Fact {
    let whole: BTreeSet<&String> = all.iter().collect();
    let summed: BTreeSet<&String> = by_level.values().flatten().collect();
    let listed: usize = by_level.values().map(Vec::len).sum();
    if whole.is_empty() && summed.is_empty() {
        return unknown(name, question, "the tenant has no rooms");
    }
    let levels = by_level.len();
    let below = match listed > summed.len() {
        true => "a level lists those below it too",
        false => "each stands below one level only",
    };
    let (lacks, has) = (
        summed.difference(&whole).count(),
        whole.difference(&summed).count(),
    );
    match (lacks, has) {
        (0, 0) => {
            let rooms = whole.len();
            let answer = format!("yes: {rooms} rooms either way, of {levels} levels; {below}");
            known(name, question, answer)
        }
        _ => {
            let answer = format!(
                "no: {} without a level, {} over {levels} levels; {lacks} are below a level only, \
                 {has} without one only",
                whole.len(),
                summed.len()
            );
            known(name, question, answer)
        }
    }
}

/// How many rooms come if no number is asked for, and whether a good answer names the limit.
async fn first_page_of_rooms(client: &Client) -> (Fact, Fact) {
    const SIZE: (&str, &str) = (
        "default_page_size",
        "how many rooms are on a page by default?",
    );
    const LIMIT: (&str, &str) = ("rate_headers", "do good answers name the limit of calls?");
    let (answer, data) = match get(client, ROOMS.path, &[]).await {
        Ok(answered) => answered,
        Err(error) => {
            let why = error.to_string();
            return (
                unknown(SIZE.0, SIZE.1, why.clone()),
                unknown(LIMIT.0, LIMIT.1, why),
            );
        }
    };
    let rooms = data[ROOMS.list].as_array().map_or(0, Vec::len);
    let size = match data["has_more"] == true {
        true => known(SIZE.0, SIZE.1, rooms.to_string()),
        false => unknown(
            SIZE.0,
            SIZE.1,
            format!("all {rooms} rooms came on one page"),
        ),
    };
    let limit = match answer.call_limit {
        Some(limit) => known(
            LIMIT.0,
            LIMIT.1,
            format!("yes: x-ogw-ratelimit-limit is {limit}"),
        ),
        None => known(LIMIT.0, LIMIT.1, "no: one good answer was looked at"),
    };
    (size, limit)
}

/// A minute of yesterday.
fn a_minute(now: Timestamp) -> [(&'static str, String); 2] {
    let end = now.as_second() - DAY;
    [
        ("start_time", (end - 60).to_string()),
        ("end_time", end.to_string()),
    ]
}

/// Whether the list of meetings answers the app.
async fn queried_meetings(client: &Client, now: Timestamp) -> Fact {
    const NAME: &str = "meetings_by_query";
    const QUESTION: &str = "may this app list meetings by query, with its own token?";
    let [start, end] = a_minute(now);
    let query = [(start.0, &*start.1), (end.0, &*end.1), ("page_size", "20")];
    match get(client, QUERIED_MEETINGS.path, &query).await {
        Ok(_) => known(NAME, QUESTION, "yes"),
        Err(error) if tells_nothing(&error) => unknown(NAME, QUESTION, error.to_string()),
        Err(error) => known(NAME, QUESTION, format!("no: {}", refusal(&error))),
    }
}

/// What the end of a meeting is that has none yet.
async fn end_of_an_ongoing_meeting(client: &Client, now: Timestamp) -> Fact {
    const NAME: &str = "end_of_an_ongoing_meeting";
    const QUESTION: &str = "what is the end of a meeting that goes on?";
    let (start, end) = (
        (now.as_second() - DAY).to_string(),
        now.as_second().to_string(),
    );
    let query = [
        ("start_time", &*start),
        ("end_time", &*end),
        (ONGOING.0, ONGOING.1),
        ("page_size", "20"),
    ];
    let listed = match get(client, QUERIED_MEETINGS.path, &query).await {
        Ok((_, data)) => data[QUERIED_MEETINGS.list].as_array().cloned(),
        Err(error) => {
            let why = format!("no meeting can be found: {}", refusal(&error));
            return unknown(NAME, QUESTION, why);
        }
    };
    let Some(listed) = listed.filter(|listed| !listed.is_empty()) else {
        return unknown(NAME, QUESTION, "no meeting goes on now");
    };
    let Some(id) = ids(&listed, QUERIED_MEETINGS).into_iter().next() else {
        return unknown(NAME, QUESTION, "the list does not tell the ids of meetings");
    };
    match get(client, &format!("{}/{id}", MEETINGS.path), &[]).await {
        Ok((_, data)) => match data[MEETING].get("end_time") {
            Some(end) => known(NAME, QUESTION, end.to_string()),
            None => known(NAME, QUESTION, "it is left out"),
        },
        Err(error) => unknown(NAME, QUESTION, refusal(&error)),
    }
}

/// Whether the list of meetings that is in an SDK and in no documentation is there.
async fn undocumented_meetings(client: &Client, now: Timestamp) -> Fact {
    const NAME: &str = "undocumented_meetings";
    const QUESTION: &str = "does the undocumented list of meetings answer?";
    let [start, end] = a_minute(now);
    let query = [(start.0, &*start.1), (end.0, &*end.1), ("page_size", "20")];
    match get(client, MEETINGS.path, &query).await {
        Ok((_, data)) => {
            let listed = data[MEETINGS.list].as_array().map_or(0, Vec::len);
            known(
                NAME,
                QUESTION,
                format!("yes: {listed} meetings of one minute"),
            )
        }
        Err(error) if error.is_unknown_path() => known(NAME, QUESTION, "no: there is no such path"),
        Err(error) if tells_nothing(&error) => unknown(NAME, QUESTION, error.to_string()),
        Err(error) => known(NAME, QUESTION, format!("not this app: {}", refusal(&error))),
    }
}

/// The longest span of alerts that is taken.
async fn span_of_alerts(client: &Client, now: Timestamp) -> Fact {
    const NAME: &str = "span_of_alerts";
    const QUESTION: &str = "how many days of alerts are answered at once?";
    let end = now.as_second();
    let mut taken = None;
    for days in SPANS {
        let (start, end) = ((end - days * DAY).to_string(), end.to_string());
        let query = [
            ("start_time", &*start),
            ("end_time", &*end),
            ("page_size", "20"),
        ];
        match get(client, ALERTS.path, &query).await {
            Ok(_) => taken = Some(days),
            Err(error) => {
                return match taken.filter(|_| !tells_nothing(&error)) {
                    Some(taken) => known(
                        NAME,
                        QUESTION,
                        format!("{taken}, and not {days}: {}", refusal(&error)),
                    ),
                    None => unknown(NAME, QUESTION, error.to_string()),
                };
            }
        }
    }
    known(
        NAME,
        QUESTION,
        format!("at least {}", SPANS[SPANS.len() - 1]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_compared_in_both_directions() {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        for (all, by_level, expected, is_known) in [
            (
                &["a", "b"][..],
                &[("1", &["a"][..]), ("2", &["b"])][..],
                "yes: 2 rooms either way, of 2 levels; each stands below one level only",
                true,
            ),
            (
                &["a", "b"],
                &[("1", &["a", "b"]), ("2", &["b"])],
                "yes: 2 rooms either way, of 2 levels; a level lists those below it too",
                true,
            ),
            (
                &["a"],
                &[("1", &["a", "b"])],
                "no: 1 without a level, 2 over 1 levels; 1 are below a level only, \
                 0 without one only",
                true,
            ),
            (
                &["a", "b"],
                &[("1", &["a"])],
                "no: 2 without a level, 1 over 1 levels; 0 are below a level only, \
                 1 without one only",
                true,
            ),
            (&[], &[("1", &[])], "the tenant has no rooms", false),
        ] {
            let by_level = by_level.iter();
            let by_level = by_level.map(|(level, rooms)| ((*level).to_owned(), owned(rooms)));
            let fact = compared("name", "question", &owned(all), &by_level.collect());
            assert_eq!((fact.answer.as_str(), fact.is_known), (expected, is_known));
        }
    }
}

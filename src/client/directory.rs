//! The wire format of rooms and room levels: paged listings.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::http::{Answer, Call};
use super::lenient;

/// The largest page that is allowed (API reference, 6.1).
const PAGE_SIZE: u32 = 100;

/// The most pages of one listing: 100,000 rooms.
const PAGE_LIMIT: usize = 1000;

/// The most items of one listing, however large its pages are.
const ITEM_LIMIT: usize = PAGE_LIMIT * PAGE_SIZE as usize;

/// A meeting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// `omm_…`.
    pub room_id: String,
    /// The name that people see; not unique.
    pub name: String,
    /// The level that the room belongs to, `omb_…`.
    pub room_level_id: String,
    /// Ids of the levels from the root to the room's.
    pub path: Vec<String>,
    /// Whether it can be booked; true if Feishu does not say.
    pub enabled: bool,
}

/// A level of the room hierarchy: a country, a building, a floor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoomLevel {
    /// `omb_…`.
    #[serde(deserialize_with = "lenient::text")]
    pub room_level_id: String,
    /// The name that people see.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: String,
    /// The level above; empty at the root.
    #[serde(default, deserialize_with = "lenient::text")]
    pub parent_id: String,
    /// Ids of the levels from the root to this one.
    #[serde(default, deserialize_with = "lenient::list")]
    pub path: Vec<String>,
    /// Whether there are levels below.
    #[serde(default)]
    pub has_child: bool,
}

#[derive(Deserialize)]
pub(super) struct WireRoom {
    #[serde(deserialize_with = "lenient::text")]
    room_id: String,
    #[serde(default, deserialize_with = "lenient::text")]
    name: String,
    #[serde(default, deserialize_with = "lenient::text")]
    room_level_id: String,
    #[serde(default, deserialize_with = "lenient::list")]
    path: Vec<String>,
    #[serde(default)]
    room_status: Option<WireRoomStatus>,
}

#[derive(Deserialize)]
struct WireRoomStatus {
    #[serde(default)]
    status: Option<bool>,
}

impl From<WireRoom> for Room {
    fn from(wire: WireRoom) -> Self {
        Self {
            room_id: wire.room_id,
            name: wire.name,
            room_level_id: wire.room_level_id,
            path: wire.path,
            enabled: wire
                .room_status
                .and_then(|status| status.status)
                .unwrap_or(true),
        }
    }
}

/// One page of a listing. Rooms are in `rooms`, levels in `items`.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(
        alias = "rooms",
        default = "Vec::new",
        deserialize_with = "lenient::list",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    items: Vec<T>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default, deserialize_with = "lenient::text")]
    page_token: String,
}

/// A listing that is read page by page. To end in any case, it fails on a repeated page token and
/// after a thousand pages.
pub(super) struct Listing<T> {
    name: &'static str,
    parent: Option<String>,
    items: Vec<T>,
    seen: HashSet<String>,
    next: Option<String>,
}

impl<T: DeserializeOwned> Listing<T> {
    /// A listing of `name` (`rooms` or `room_levels`) below `parent`, or of the tenant's root.
    pub(super) fn new(name: &'static str, parent: Option<&str>) -> Self {
        Self {
            name,
            parent: parent.map(str::to_owned),
            items: Vec::new(),
            seen: HashSet::new(),
            next: None,
        }
    }

    /// The call of the next page.
    pub(super) fn call(&self) -> Call {
        let mut call = Call::get(
            self.name,
            format!("list {}", self.name),
            &["vc", "v1", self.name],
        )
        .with_query("page_size", PAGE_SIZE);
        if let Some(parent) = &self.parent {
            call = call.with_query("room_level_id", parent);
        }
        match &self.next {
            Some(token) => call.with_query("page_token", token),
            None => call,
        }
    }

    /// Adds a page; true if there is another.
    pub(super) fn take(&mut self, answer: &Answer) -> Result<bool, Error> {
        let page: Page<T> = answer.data()?;
        self.items.extend(page.items);
        let endless = |why| Error::other(&format!("list {}", self.name), why);
        if self.items.len() > ITEM_LIMIT {
            return Err(endless("the listing has more than 100000 entries"));
        }
        if page.has_more != Some(true) {
            return Ok(false);
        }
        if page.page_token.is_empty() {
            return Err(endless("there is another page, but no page_token"));
        }
        if self.seen.len() == PAGE_LIMIT - 1 {
            return Err(endless("the listing has more than 1000 pages"));
        }
        if !self.seen.insert(page.page_token.clone()) {
            return Err(endless("the listing repeats a page_token"));
        }
        self.next = Some(page.page_token);
        Ok(true)
    }

    /// All items, in the order they came.
    pub(super) fn into_items(self) -> Vec<T> {
        self.items
    }
}

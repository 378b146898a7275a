//! The tenant's rooms, for what is made from them: read with the fetch of their own dataset.

use std::convert::Infallible;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::listing::{self, PageSink};
use crate::client::{self, Client};
use crate::datasets::{ROOMS, Request, RoomOfLevel};

/// Every room with the level that owns it, ordered by room.
///
/// # Errors
/// What the API refused with, or why its pages are no list.
pub async fn list(client: &Client) -> Result<Vec<RoomOfLevel>, client::Error> {
    let mut rooms = RoomPages::default();
    match listing::read(client, &Request::of(ROOMS), &mut rooms).await {
        Ok(listed) => listed?,
        Err(never) => match never {},
    }
    rooms.0.sort_unstable();
    Ok(rooms.0)
}

#[derive(Default)]
struct RoomPages(Vec<RoomOfLevel>);

impl PageSink for RoomPages {
    type Error = Infallible;

    fn restart(&mut self) -> Result<(), Infallible> {
        self.0.clear();
        Ok(())
    }

    fn page(&mut self, _: &Bytes, items: Vec<Map<String, Value>>) -> Result<(), Infallible> {
        let text = |item: &Map<String, Value>, name: &str| {
            let text = item.get(name).and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let rooms = items.iter().filter_map(|item| {
            let level = text(item, "room_level_id").unwrap_or_default();
            Some((text(item, "room_id")?, level))
        });
        self.0.extend(rooms);
        Ok(())
    }
}

//! The tenant's rooms, for what is made from them: read with the fetch of their own dataset.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::listing::{self, PageSink};
use crate::client::{self, Client};
use crate::datasets::{ROOMS, Request, RoomOfLevel, listing as pages};

/// Every room with the level that owns it, ordered by room.
///
/// # Errors
/// What the API refused with, or why its pages are no list.
pub async fn list(client: &Client) -> Result<Vec<RoomOfLevel>, client::Error> {
    let mut rooms = RoomPages::default();
    let listed = listing::read(client, &Request::of(ROOMS), &mut rooms).await;
    listed.map_err(|error| client::Error::unlisted(&ROOMS.definition().endpoint, &error))??;
    rooms.0.sort_unstable();
    Ok(rooms.0)
}

#[derive(Default)]
struct RoomPages(Vec<RoomOfLevel>);

impl PageSink for RoomPages {
    type Error = pages::Error;

    fn restart(&mut self) -> Result<(), pages::Error> {
        self.0.clear();
        Ok(())
    }

    fn page(&mut self, _: &Bytes, items: Vec<Map<String, Value>>) -> Result<(), pages::Error> {
        for room in items {
            let text = |name| pages::text(room.get(name));
            // A room that is left out would lack its bookings without a word.
            let Some(id) = text("room_id") else {
                return Err(pages::Error::Garbled("a room has no `room_id`".to_owned()));
            };
            self.0.push((id, text("room_level_id").unwrap_or_default()));
        }
        Ok(())
    }
}

//! Rooms and room levels, page by page.
//!
//! A page token is opaque to the client: it is the offset in disguise, and anything else is
//! refused. So a room that changes its place between two pages is seen twice or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Options;
use crate::company::{Blanks, Company, DisableEnd, Room, RoomLevel};
use crate::exports::{IdType, belongs_to_level, id_type};
use crate::params::Params;
use crate::wire::{
    ApiError, LevelData, LevelItem, LevelsPage, RoomDevice, RoomItem, RoomStatus, RoomsPage,
};

/// Not documented; the documentation's example asks for 10.
const DEFAULT_PAGE_SIZE: i64 = 10;
const TOKEN_MASK: u64 = 0x5DEE_CE66_D1CE;

/// The order of the rooms, which the knob `rooms_move` lets change between two pages.
#[derive(Debug, Default)]
pub(crate) struct RoomOrder(Mutex<Moves>);

#[derive(Debug, Default)]
struct Moves {
    /// Moves so far; each one put the last room first.
    done: u32,
    /// A listing has begun and seen no move yet.
    is_due: bool,
}

impl RoomOrder {
    /// By how many places the rooms have moved on when a page is asked for, at most `most`.
    pub(crate) fn places_moved(&self, is_first_page: bool, most: u32) -> usize {
        let mut moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_first_page && moves.is_due && moves.done < most {
            moves.done += 1;
        }
        moves.is_due = is_first_page;
        moves.done as usize
    }
}

/// Answers `rooms`.
///
/// # Errors
/// 99992402 for a wrong page size or token, 99991672 for contacts by an id that the app may not
/// see, 121004 for an unknown level.
pub(crate) fn list(
    params: &mut Params,
    company: &Company,
    options: &Options,
    order: &RoomOrder,
) -> Result<RoomsPage, ApiError> {
    let level = params.text("room_level_id").unwrap_or_default();
    let id_type = id_type(params);
    let page = Page::of(params, options.knobs.page_size)?;
    id_type.check_scope(&options.knobs)?;
    let owner = company.room_level(&level).ok_or_else(ApiError::not_found)?;
    // No level at all is the whole tenant, whatever the knob says about its level.
    let owner_id = if level.is_empty() {
        ""
    } else {
        &owner.room_level_id
    };
    let mut rooms: Vec<Arc<Room>> = company.rooms_on(company.date_of(options.clock.now()));
    rooms.retain(|room| belongs_to_level(room, owner_id, &options.knobs));
    let places = order.places_moved(page.offset == 0, options.knobs.rooms_move);
    let places = places.checked_rem(rooms.len()).unwrap_or(0);
    rooms.rotate_right(places);
    let (rooms, page_token) = page.cut(&rooms);
    Ok(RoomsPage {
        rooms: rooms.iter().map(|room| room_item(room, id_type)).collect(),
        has_more: page_token.is_some(),
        page_token,
    })
}

/// Answers `rooms/mget`.
///
/// # Errors
/// 99992402 for ids that are no list.
pub(crate) fn mget(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<serde_json::Value, ApiError> {
    let ids = params.texts("room_ids");
    let id_type = id_type(params);
    params.check()?;
    let rooms = company.rooms_on(company.date_of(options.clock.now()));
    let asked = rooms.iter().filter(|room| ids.contains(&room.room_id));
    let items: Vec<RoomItem> = asked.map(|room| room_item(room, id_type)).collect();
    Ok(serde_json::json!({ "items": items }))
}

/// Answers `room_levels`: the children of a level, one generation.
///
/// # Errors
/// 99992402 for a wrong page size or token, 121004 for an unknown level.
pub(crate) fn levels(
    params: &mut Params,
    company: &Company,
    options: &Options,
) -> Result<LevelsPage, ApiError> {
    let level = params.text("room_level_id").unwrap_or_default();
    let page = Page::of(params, options.knobs.page_size)?;
    let parent = company.room_level(&level).ok_or_else(ApiError::not_found)?;
    let children: Vec<&RoomLevel> = company
        .room_levels()
        .iter()
        .filter(|level| level.parent_id == parent.room_level_id)
        .collect();
    let (items, page_token) = page.cut(&children);
    Ok(LevelsPage {
        items: items.iter().map(|level| level_item(level)).collect(),
        has_more: page_token.is_some(),
        page_token,
    })
}

/// Answers `room_levels/:id`; `0` is the tenant.
///
/// # Errors
/// 121004 for an unknown level.
pub(crate) fn level(id: &str, company: &Company) -> Result<LevelData, ApiError> {
    let level = company.room_level(id).ok_or_else(ApiError::not_found)?;
    Ok(LevelData {
        room_level: level_item(level),
    })
}

/// The part of a list that is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    offset: usize,
    size: usize,
}

impl Page {
    /// The page that is asked for, with at most `most` items.
    fn of(params: &mut Params, most: usize) -> Result<Self, ApiError> {
        Self::up_to(params, DEFAULT_PAGE_SIZE, 100, most)
    }

    /// The page that is asked for, of `default` items unless the client says how many; it may ask
    /// for `largest`, and gets at most `most`.
    pub(crate) fn up_to(
        params: &mut Params,
        default: i64,
        largest: i64,
        most: usize,
    ) -> Result<Self, ApiError> {
        let size = params
            .integer_in("page_size", 1, largest)
            .unwrap_or(default);
        let token = params.text("page_token");
        let offset = token.as_deref().map_or(Some(0), offset_of);
        if offset.is_none() {
            params.violation(
                "page_token",
                token.as_deref().unwrap_or(""),
                "is not a page token",
            );
        }
        params.check()?;
        Ok(Self {
            offset: offset.unwrap_or(0),
            size: usize::try_from(size).unwrap_or(1).min(most.max(1)),
        })
    }

    /// The page of `items`, and the token of the next one if there is one.
    pub(crate) fn cut<'a, T>(&self, items: &'a [T]) -> (&'a [T], Option<String>) {
        let start = self.offset.min(items.len());
        let end = (start + self.size).min(items.len());
        let token = (end < items.len()).then(|| token_of(end));
        (&items[start..end], token)
    }

    /// The same page with the item before it, if there is one.
    pub(crate) fn with_one_before(self) -> Self {
        let before = self.offset.min(1);
        Self {
            offset: self.offset - before,
            size: self.size + before,
        }
    }

    /// Whether it is the first one.
    pub(crate) const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// The token of this very page.
    pub(crate) fn own_token(&self) -> String {
        token_of(self.offset)
    }
}

fn token_of(offset: usize) -> String {
    format!("p{:012x}", offset as u64 ^ TOKEN_MASK)
}

fn offset_of(token: &str) -> Option<usize> {
    let digits = token
        .strip_prefix('p')
        .filter(|digits| digits.len() == 12)?;
    let offset = u64::from_str_radix(digits, 16).ok()? ^ TOKEN_MASK;
    usize::try_from(offset)
        .ok()
        .filter(|&offset| offset < 1_000_000)
}

fn room_item(room: &Room, id_type: IdType) -> RoomItem {
    RoomItem {
        room_id: room.room_id.clone(),
        name: room.name.clone(),
        capacity: room.capacity,
        description: text_or_blank(&room.description, room.blanks),
        display_id: room.display_id.clone(),
        custom_room_id: text_or_blank(&room.custom_room_id, room.blanks),
        room_level_id: room.room_level_id.clone(),
        path: room.path.clone(),
        room_status: room_status(room, id_type),
        device: list_or_blank(
            room.devices.iter().map(|&name| RoomDevice { name }),
            room.blanks,
        ),
    }
}

pub(crate) fn room_status(room: &Room, id_type: IdType) -> RoomStatus {
    let start = room.disable_start.map(|start| start.as_second());
    let end = match room.disable_end {
        DisableEnd::Unset => None,
        DisableEnd::Never => Some(0),
        DisableEnd::At(end) => Some(end.as_second()),
    };
    let contact_ids = room
        .contacts
        .iter()
        .map(|contact| id_type.of(contact).to_owned());
    RoomStatus {
        status: room.enabled,
        schedule_status: room.enabled_later,
        disable_start_time: time_or_blank(start, room.blanks),
        disable_end_time: time_or_blank(end, room.blanks),
        disable_reason: match room.blanks {
            Blanks::Usual | Blanks::LeftOut if room.disable_reason.is_empty() => None,
            _ => Some(room.disable_reason),
        },
        contact_ids: list_or_blank(contact_ids, room.blanks),
        disable_notice: room.notifies_on_disable,
        resume_notice: room.notifies_on_resume,
    }
}

fn time_or_blank(second: Option<i64>, blanks: Blanks) -> Option<String> {
    match (second, blanks) {
        (Some(second), _) => Some(second.to_string()),
        (None, Blanks::Usual | Blanks::LeftOut) => None,
        (None, Blanks::EmptyText) => Some(String::new()),
        (None, Blanks::Zero) => Some("0".to_owned()),
    }
}

fn text_or_blank(text: &str, blanks: Blanks) -> Option<String> {
    let is_left_out = text.is_empty() && blanks == Blanks::LeftOut;
    (!is_left_out).then(|| text.to_owned())
}

fn list_or_blank<T>(items: impl ExactSizeIterator<Item = T>, blanks: Blanks) -> Option<Vec<T>> {
    let is_left_out = items.len() == 0 && blanks == Blanks::LeftOut;
    (!is_left_out).then(|| items.collect())
}

fn level_item(level: &RoomLevel) -> LevelItem {
    LevelItem {
        room_level_id: level.room_level_id.clone(),
        name: level.name.clone(),
        parent_id: level.parent_id.clone(),
        path: level.path.clone(),
        has_child: level.has_child,
        custom_group_id: level.custom_group_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_a_gap() {
        let items: Vec<u32> = (0..25).collect();
        let mut seen = Vec::new();
        let mut query = "page_size=10&page_token=".to_owned();
        loop {
            let page = Page::of(&mut Params::from_query(&query), 100).unwrap();
            let (part, token) = page.cut(&items);
            seen.extend_from_slice(part);
            let Some(token) = token else { break };
            query = format!("page_size=10&page_token={token}");
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn foreign_tokens_and_wrong_sizes_are_refused() {
        for query in [
            "page_token=20",
            "page_token=p000000000000",
            "page_size=101",
            "page_size=0",
            "page_size=x",
        ] {
            assert!(
                Page::of(&mut Params::from_query(query), 100).is_err(),
                "{query}"
            );
        }
    }
}

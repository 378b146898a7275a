//! Rooms and room levels, page by page.
//!
//! A page token is opaque to the client: it is the offset in disguise, and anything else is refused.

use crate::Options;
use crate::company::{Company, Room, RoomLevel, RoomState};
use crate::exports::{IdType, id_type, rooms_of_level};
use crate::params::Params;
use crate::wire::{
    ApiError, LevelData, LevelItem, LevelsPage, RoomDevice, RoomItem, RoomStatus, RoomsPage,
};

/// Not documented; the documentation's example asks for 10.
const DEFAULT_PAGE_SIZE: i64 = 10;
const TOKEN_MASK: u64 = 0x5DEE_CE66_D1CE;

/// Answers `rooms`; `number` is the call's number on the endpoint, from 0.
///
/// # Errors
/// 99992402 for a wrong page size or token, 121004 for an unknown level.
pub(crate) fn list(
    params: &mut Params,
    company: &Company,
    options: &Options,
    number: u64,
) -> Result<RoomsPage, ApiError> {
    let level = params.text("room_level_id").unwrap_or_default();
    let id_type = id_type(params);
    let page = Page::of(params, options.knobs.page_size)?;
    let owner = company.room_level(&level).ok_or_else(ApiError::not_found)?;
    // No level at all is the whole tenant, whatever the knob says about its level.
    let owner_id = if level.is_empty() {
        ""
    } else {
        &owner.room_level_id
    };
    let mut rooms = rooms_of_level(company, owner_id, &options.knobs);
    let changes = options.knobs.rooms_change_before.iter();
    let changes = changes.filter(|&&before| before <= number).count();
    let moved = changes % rooms.len().max(1);
    rooms.rotate_left(moved);
    let (rooms, page_token) = page.cut(&rooms);
    let contact = match id_type {
        IdType::Open => &company.employees()[0].open_id,
        IdType::Union => &company.employees()[0].union_id,
        IdType::Employee => &company.employees()[0].user_id,
    };
    Ok(RoomsPage {
        rooms: rooms.iter().map(|room| room_item(room, contact)).collect(),
        has_more: page_token.is_some(),
        page_token,
    })
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

struct Page {
    offset: usize,
    size: usize,
}

impl Page {
    /// The page that is asked for, with at most `most` items.
    fn of(params: &mut Params, most: usize) -> Result<Self, ApiError> {
        let size = params
            .integer_in("page_size", 1, 100)
            .unwrap_or(DEFAULT_PAGE_SIZE);
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
    fn cut<'a, T>(&self, items: &'a [T]) -> (&'a [T], Option<String>) {
        let start = self.offset.min(items.len());
        let end = (start + self.size).min(items.len());
        let token = (end < items.len()).then(|| format!("p{:012x}", end as u64 ^ TOKEN_MASK));
        (&items[start..end], token)
    }
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

fn room_item(room: &Room, contact: &str) -> RoomItem {
    let state = room.state;
    let disabled_until = match state {
        RoomState::Disabled { until } => Some(until),
        _ => None,
    };
    RoomItem {
        room_id: room.room_id.clone(),
        name: room.name.clone(),
        capacity: room.capacity,
        description: room.description.clone(),
        display_id: room.display_id.clone(),
        custom_room_id: room.custom_room_id.clone(),
        room_level_id: room.room_level_id.clone(),
        path: room.path.clone(),
        room_status: RoomStatus {
            status: room.enabled,
            schedule_status: room.enabled && state != RoomState::DisabledSoon,
            disable_start_time: disabled_until.map(|_| "1735660800".to_owned()),
            disable_end_time: disabled_until.map(|until| until.to_string()),
            disable_reason: disabled_until.map(|_| "装修"),
            contact_ids: match disabled_until {
                Some(until) if until > 0 => vec![contact.to_owned()],
                _ => Vec::new(),
            },
            disable_notice: disabled_until.is_some(),
            resume_notice: false,
        },
        device: room
            .devices
            .iter()
            .map(|name| RoomDevice { name })
            .collect(),
    }
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

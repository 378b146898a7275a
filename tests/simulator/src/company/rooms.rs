//! Room levels and rooms: the tree that the company's buildings form.
//!
//! The shape is fixed and small on purpose, because it holds every special case once (a room owned by a building, by a city and by the
//! tenant; two rooms of one name; disabled rooms; a level without rooms); only the ids depend on the seed.

use std::sync::Arc;

use crate::random::Draw;

/// A node of the tree of places.
#[derive(Clone, Debug)]
pub struct RoomLevel {
    /// `omb_…`.
    pub room_level_id: String,
    /// Name shown to people.
    pub name: String,
    /// The level above; empty for the tenant itself.
    pub parent_id: String,
    /// Ids from the tenant down to this level.
    pub path: Vec<String>,
    /// There are levels below.
    pub has_child: bool,
    /// Number that the company gave to the level; may be empty.
    pub custom_group_id: String,
}

/// A meeting room.
#[derive(Clone, Debug)]
pub struct Room {
    /// `omm_…`.
    pub room_id: String,
    /// Name shown to people; not unique.
    pub name: String,
    /// Seats.
    pub capacity: u32,
    /// The level that owns the room; may be an inner one.
    pub room_level_id: String,
    /// Ids of the levels from the tenant down to the owner.
    pub path: Vec<String>,
    /// The room can be used.
    pub enabled: bool,
    /// Door-plate number such as `LM134742334`.
    pub display_id: String,
    /// Number that the company gave to the room; may be empty.
    pub custom_room_id: String,
    /// Free text.
    pub description: String,
    /// What its status says beyond that.
    pub state: RoomState,
    /// Names of its devices.
    pub devices: &'static [&'static str],
    /// `open_id` of the account with which the room's device joins meetings.
    pub account_open_id: String,
}

/// What a room's status says beyond whether it can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomState {
    /// Nothing.
    Plain,
    /// It is disabled until this Unix second; 0 is for ever.
    Disabled {
        /// When it can be used again.
        until: i64,
    },
    /// A schedule will disable it.
    DisabledSoon,
}

/// (name, index of the parent); the first is the tenant.
const LEVELS: [(&str, usize); 12] = [
    ("示例公司", 0),
    ("北京", 0),
    ("上海", 0),
    ("深圳", 0),
    ("北京-中关村大厦", 1),
    ("上海-张江一号楼", 2),
    ("上海-张江二号楼", 2),
    ("F3", 4),
    ("F5", 4),
    ("1F", 5),
    ("2F", 5),
    ("F2 (改造中)", 6),
];

/// (name, index of the owning level, seats, enabled)
const ROOMS: [(&str, usize, u32, bool); 16] = [
    ("朝阳", 7, 8, true),
    ("海淀", 7, 6, true),
    ("颐和园 (大)", 8, 20, true),
    ("Summer, \"Palace\"", 8, 10, true),
    ("报告厅", 4, 120, true),
    ("朝阳", 9, 12, true),
    ("浦江", 9, 6, true),
    ("外滩", 10, 8, true),
    ("陆家嘴", 10, 4, false),
    ("豫园", 10, 4, true),
    ("张江路演厅", 5, 60, true),
    ("创新工坊", 6, 16, true),
    ("上海前台会客室", 2, 4, true),
    ("深圳湾", 3, 8, true),
    ("测试专用rooms-1", 3, 2, false),
    ("云端会议室", 0, 30, true),
];

/// The tree of levels; the tenant comes first and parents before children.
pub(super) fn levels(root: Draw) -> Vec<RoomLevel> {
    let draw = root.label("room levels");
    let ids: Vec<String> = (0..LEVELS.len() as u64)
        .map(|index| format!("omb_{}", draw.at(index).hex(32)))
        .collect();
    let mut levels: Vec<RoomLevel> = Vec::with_capacity(LEVELS.len());
    for (index, (name, parent)) in LEVELS.into_iter().enumerate() {
        let is_tenant = index == 0;
        let mut path = if is_tenant {
            Vec::new()
        } else {
            levels[parent].path.clone()
        };
        path.push(ids[index].clone());
        levels.push(RoomLevel {
            room_level_id: ids[index].clone(),
            name: name.to_owned(),
            parent_id: if is_tenant {
                String::new()
            } else {
                ids[parent].clone()
            },
            path,
            has_child: LEVELS
                .iter()
                .enumerate()
                .any(|(child, level)| child != 0 && level.1 == index),
            custom_group_id: if index % 3 == 0 {
                String::new()
            } else {
                format!("{}", 1000 + index)
            },
        });
    }
    levels
}

/// The rooms, each owned by one of `levels`.
pub(super) fn rooms(root: Draw, levels: &[RoomLevel]) -> Vec<Arc<Room>> {
    let draw = root.label("rooms");
    let room = |(index, (name, level, capacity, enabled)): (usize, (&str, usize, u32, bool))| {
        let draw = draw.at(index as u64);
        Arc::new(Room {
            room_id: format!("omm_{}", draw.label("id").hex(32)),
            name: name.to_owned(),
            capacity,
            room_level_id: levels[level].room_level_id.clone(),
            path: levels[level].path.clone(),
            enabled,
            state: match (enabled, index) {
                (false, 8) => RoomState::Disabled { until: 0 },
                (false, _) => RoomState::Disabled {
                    until: 1_830_268_800,
                },
                (true, 5) => RoomState::DisabledSoon,
                (true, _) => RoomState::Plain,
            },
            devices: match index {
                2 => &["Rooms", "Rooms 控制器"],
                11 => &[],
                _ => &["Rooms"],
            },
            display_id: format!("LM{:09}", draw.label("display").below(1_000_000_000)),
            custom_room_id: if index % 4 == 0 {
                String::new()
            } else {
                format!("R{:03}", index + 1)
            },
            description: if index % 5 == 0 {
                "有投影仪".to_owned()
            } else {
                String::new()
            },
            account_open_id: format!("ou_{}", draw.label("account").hex(32)),
        })
    };
    ROOMS.into_iter().enumerate().map(room).collect()
}

//! Room levels and rooms: the tree that the company's buildings form.
//!
//! The shape is fixed and small on purpose, because it holds every special case once (a room owned
//! by a building, by a city and by the tenant; two rooms of one name; disabled rooms; a level
//! without rooms; every form of a room's status); only the ids depend on the seed. Further rooms
//! repeat the forms of the first ones. Rooms that come and go are there for four days each.

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::people::Employee;
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The room can be used after what is planned for it has happened.
    pub enabled_later: bool,
    /// When it was or will be disabled.
    pub disable_start: Option<Timestamp>,
    /// Until when it is or will be disabled.
    pub disable_end: DisableEnd,
    /// Why it is or will be disabled; may be empty.
    pub disable_reason: &'static str,
    /// Whom to ask about it.
    pub contacts: Vec<Arc<Employee>>,
    /// People with a booking are told when the room is disabled.
    pub notifies_on_disable: bool,
    /// They are told when it can be used again.
    pub notifies_on_resume: bool,
    /// Names of the devices in the room.
    pub devices: &'static [&'static str],
    /// How answers write what the room does not have.
    pub blanks: Blanks,
    /// Door-plate number such as `LM134742334`.
    pub display_id: String,
    /// Number that the company gave to the room; may be empty.
    pub custom_room_id: String,
    /// Free text.
    pub description: String,
    /// `open_id` of the account with which the room's device joins meetings.
    pub account_open_id: String,
}

/// Until when a room is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisableEnd {
    /// It is not, and nothing is planned.
    Unset,
    /// For ever; the wire says `0`.
    Never,
    /// Until this instant.
    At(Timestamp),
}

/// How answers write what a room does not have. The API's reference leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blanks {
    /// The times and the reason are left out; other texts and the lists are empty.
    Usual,
    /// Everything is an empty text or an empty list.
    EmptyText,
    /// As empty texts, but the times are `0`. Without a start, that is not "for ever".
    Zero,
    /// Everything is left out, but the devices are `null`.
    LeftOut,
}

/// What a room is like apart from its name, its place and its seats.
#[derive(Clone, Copy)]
struct Shape {
    enabled_later: bool,
    /// Unix seconds.
    disable_start: Option<i64>,
    disable_end: DisableEnd,
    disable_reason: &'static str,
    contacts: u64,
    notifies_on_disable: bool,
    notifies_on_resume: bool,
    devices: &'static [&'static str],
    blanks: Blanks,
}

/// A room without anything special.
const PLAIN: Shape = Shape {
    enabled_later: true,
    disable_start: None,
    disable_end: DisableEnd::Unset,
    disable_reason: "",
    contacts: 0,
    notifies_on_disable: false,
    notifies_on_resume: false,
    devices: &["Rooms"],
    blanks: Blanks::Usual,
};

/// 2025-01-01 00:00 in Shanghai.
const DISABLED_SINCE: i64 = 1_735_660_800;
/// 2030-01-01 00:00 in Shanghai: ahead of every day that is simulated.
const DISABLED_FROM: i64 = 1_893_427_200;
/// 2100-01-01 00:00 in Shanghai: does not fit into 32 bits.
const DISABLED_UNTIL: i64 = 4_102_416_000;

/// The special forms, each at one of the first rooms.
fn shape(index: usize) -> Shape {
    let until = Timestamp::constant(DISABLED_UNTIL, 0);
    match index % ROOMS.len() {
        2 => Shape {
            devices: &["Rooms", "签到板"],
            ..PLAIN
        },
        // It can be used, but a schedule will disable it.
        3 => Shape {
            enabled_later: false,
            disable_start: Some(DISABLED_FROM),
            disable_end: DisableEnd::At(until),
            disable_reason: "Renovation, \"phase 2\"",
            contacts: 1,
            notifies_on_disable: true,
            ..PLAIN
        },
        4 => Shape {
            blanks: Blanks::EmptyText,
            ..PLAIN
        },
        8 => Shape {
            enabled_later: false,
            disable_start: Some(DISABLED_SINCE),
            disable_end: DisableEnd::Never,
            disable_reason: "装修",
            ..PLAIN
        },
        9 => Shape {
            devices: &[],
            ..PLAIN
        },
        11 => Shape {
            devices: &[],
            blanks: Blanks::LeftOut,
            ..PLAIN
        },
        12 => Shape {
            blanks: Blanks::Zero,
            ..PLAIN
        },
        // It is disabled, but a schedule will enable it.
        14 => Shape {
            disable_start: Some(DISABLED_SINCE),
            disable_end: DisableEnd::At(until),
            disable_reason: "设备检修\n联系前台",
            contacts: 2,
            notifies_on_disable: true,
            notifies_on_resume: true,
            ..PLAIN
        },
        _ => PLAIN,
    }
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

/// How many rooms there always are. Only they have bookings and join meetings.
pub(crate) const FIRST_ROOMS: usize = ROOMS.len();

/// Levels that own further rooms: all but the last, which stays without any.
const OWNING_LEVELS: usize = LEVELS.len() - 1;

/// Each passing room is there for so many days, and half of them under its first name.
const PASSING_DAYS: u64 = 4;

/// Makes rooms, each owned by one of the levels.
pub(super) struct Builder<'a> {
    pub(super) root: Draw,
    pub(super) levels: &'a [RoomLevel],
    pub(super) employees: &'a [Arc<Employee>],
}

impl Builder<'_> {
    /// The lasting rooms with these positions.
    pub(super) fn rooms(&self, positions: Range<usize>) -> Vec<Arc<Room>> {
        let draw = self.root.label("rooms");
        let room = |index: usize| {
            let draw = draw.at(index as u64);
            let enabled = ROOMS[index % ROOMS.len()].3;
            let (name, level, capacity) = match ROOMS.get(index) {
                Some(&(name, level, capacity, _)) => (name.to_owned(), level, capacity),
                None => (
                    format!("会议室 {:04}", index + 1),
                    index % OWNING_LEVELS,
                    draw.label("capacity").between(2, 40) as u32,
                ),
            };
            let mut room = self.room(draw, name, level, shape(index));
            room.capacity = capacity;
            room.enabled = enabled;
            if !index.is_multiple_of(4) {
                room.custom_room_id = format!("R{:03}", index + 1);
            }
            if index.is_multiple_of(5) {
                "有投影仪".clone_into(&mut room.description);
            }
            Arc::new(room)
        };
        positions.map(room).collect()
    }

    /// The passing rooms of the day with this number.
    ///
    /// On every even day a room appears, the one that appeared two days ago gets another name, and
    /// the one that appeared four days ago is gone. So of two steps from day to day one changes
    /// something, and the other one does not.
    pub(super) fn passing(&self, day: u64) -> Vec<Arc<Room>> {
        let step = PASSING_DAYS / 2;
        let newest = day / step;
        let old = newest
            .checked_sub(1)
            .map(|number| self.passing_room(number, "项目室"));
        let new = self.passing_room(newest, "快闪室");
        old.into_iter().chain([new]).map(Arc::new).collect()
    }

    fn passing_room(&self, number: u64, kind: &str) -> Room {
        let draw = self.root.label("passing rooms").at(number);
        let level = (number % OWNING_LEVELS as u64) as usize;
        self.room(draw, format!("{kind} {number}"), level, PLAIN)
    }

    fn room(&self, draw: Draw, name: String, level: usize, shape: Shape) -> Room {
        let owner = &self.levels[level];
        let contact = |number: u64| {
            // From the first half or from the second one, so that two contacts differ.
            let half = self.employees.len() as u64 / 2;
            let position = number * half + draw.label("contact").at(number).below(half);
            Arc::clone(&self.employees[position as usize])
        };
        Room {
            room_id: format!("omm_{}", draw.label("id").hex(32)),
            name,
            capacity: 4,
            room_level_id: owner.room_level_id.clone(),
            path: owner.path.clone(),
            enabled: true,
            enabled_later: shape.enabled_later,
            disable_start: shape
                .disable_start
                .map(|second| Timestamp::constant(second, 0)),
            disable_end: shape.disable_end,
            disable_reason: shape.disable_reason,
            contacts: (0..shape.contacts).map(contact).collect(),
            notifies_on_disable: shape.notifies_on_disable,
            notifies_on_resume: shape.notifies_on_resume,
            devices: shape.devices,
            blanks: shape.blanks,
            display_id: format!("LM{:09}", draw.label("display").below(1_000_000_000)),
            custom_room_id: String::new(),
            description: String::new(),
            account_open_id: format!("ou_{}", draw.label("account").hex(32)),
        }
    }
}

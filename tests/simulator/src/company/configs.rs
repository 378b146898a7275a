//! What is set for rooms and levels: backgrounds, what screens show, and who may reserve when.
//!
//! The tenant has everything; below it some nodes have something of their own, decided by their id. What holds for a node is its own
//! value, else that of the nearest level above, value by value.

use std::sync::Arc;

use super::people::Employee;
use super::rooms::{Room, RoomLevel};
use crate::random::Draw;

/// What is set for a node. `None`: nothing of it is set here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name of the picture behind the screen.
    pub background: Option<String>,
    /// Name of the picture on the check-in board.
    pub board_background: Option<String>,
    /// What screens show.
    pub signage: Option<Signage>,
    /// What casting boxes show.
    pub box_signage: Option<Signage>,
}

/// What is shown while nobody meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signage {
    /// Something is shown.
    pub enabled: bool,
    /// Below too.
    pub covers_children: bool,
    /// Silently.
    pub muted: bool,
    /// Minutes after a meeting.
    pub start_min: u32,
    /// Minutes before a meeting.
    pub stop_min: u32,
    /// What; may be nothing.
    pub materials: Vec<Material>,
}

/// One picture or film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// 19 digits.
    pub id: String,
    /// Name shown to people.
    pub name: String,
    /// 1 image, 2 video, 3 gif.
    pub kind: u8,
    /// How long it is shown.
    pub duration_s: u32,
    /// Of its bytes.
    pub md5: String,
    /// Id of the film; may be empty.
    pub vid: String,
    /// May exceed 32 bits.
    pub size_bytes: u64,
}

/// How a node may be reserved.
#[derive(Clone, Debug)]
pub struct ReserveRules {
    /// Somebody approves.
    pub needs_approval: bool,
    /// 0 all, 1 longer than so many hours.
    pub approval_condition: u8,
    /// Hours.
    pub approval_over_hours: f64,
    /// Who approves.
    pub approvers: Vec<Arc<Employee>>,
    /// Times are limited.
    pub is_time_limited: bool,
    /// Days ahead.
    pub days_in_advance: u32,
    /// Seconds of the day: when the newest day opens, first and last.
    pub seconds: [u32; 3],
    /// Hours.
    pub max_duration_hours: u32,
    /// Everybody may.
    pub allows_all: bool,
    /// Who may, if not everybody.
    pub users: Vec<Arc<Employee>>,
    /// Whose people may, by `open_department_id`.
    pub departments: Vec<String>,
    /// A form, if there is one.
    pub form: Option<ReserveForm>,
    /// Who looks after it.
    pub admins: Vec<Arc<Employee>>,
    /// Whose people look after it.
    pub admin_departments: Vec<String>,
    /// People are told when it is disabled.
    pub informs: bool,
    /// Who is told.
    pub informed: Vec<Arc<Employee>>,
    /// All of it holds below too.
    pub covers_children: bool,
}

/// A form that is filled in with a reservation.
#[derive(Clone, Debug)]
pub struct ReserveForm {
    /// It is used.
    pub is_enabled: bool,
    /// Who is told.
    pub notified: Vec<Arc<Employee>>,
    /// How long before.
    pub time: u32,
    /// 1 minutes, 2 hours, 3 days; `None` is days.
    pub unit: Option<u8>,
    /// Titles of its questions.
    pub questions: Vec<String>,
}

/// Decides what is set.
pub(super) struct Setter<'a> {
    pub(super) root: Draw,
    pub(super) employees: &'a [Arc<Employee>],
}

impl Setter<'_> {
    pub(super) fn own(&self, id: &str, is_tenant: bool) -> NodeConfig {
        let draw = self.root.label("configs").label(id);
        let has = |what: &str| is_tenant || draw.label(what).chance(0.3);
        let picture = |what: &str| {
            has(what).then(|| format!("{what}-{}", draw.label(what).label("name").hex(8)))
        };
        NodeConfig {
            background: picture("background"),
            board_background: picture("board"),
            signage: has("signage").then(|| signage(draw.label("signage"))),
            box_signage: has("box").then(|| signage(draw.label("box"))),
        }
    }

    pub(super) fn rules(&self, id: &str, is_tenant: bool) -> ReserveRules {
        let draw = self.root.label("rules").label(id);
        let some = |what: &str| {
            let draw = draw.label(what);
            let count = draw.below(3);
            let of = |n: u64| {
                let place = (draw.at(n).below(30) + 30 * (n % 2)) as usize;
                Arc::clone(&self.employees[place % self.employees.len()])
            };
            (0..count).map(of).collect::<Vec<_>>()
        };
        let departments = |what: &str| {
            let draw = draw.label(what);
            (0..draw.below(3))
                .map(|n| format!("od-{}", draw.at(n).hex(32)))
                .collect()
        };
        let yes = |what: &str| draw.label(what).chance(0.5);
        let allows_all = yes("all");
        let form = ReserveForm {
            is_enabled: yes("form on"),
            notified: some("notified"),
            time: draw.label("time").between(1, 9) as u32,
            unit: [Some(1), Some(2), Some(3), None][draw.label("unit").below(4) as usize],
            questions: (0..draw.label("questions").below(3))
                .map(|n| format!("问题 {n} \"?\""))
                .collect(),
        };
        ReserveRules {
            needs_approval: yes("approval"),
            approval_condition: u8::from(yes("condition")),
            approval_over_hours: draw.label("hours").between(1, 990) as f64 / 10.0,
            approvers: some("approvers"),
            is_time_limited: yes("limited"),
            days_in_advance: draw.label("days").between(1, 730) as u32,
            seconds: [28_800, 0, 86_400],
            max_duration_hours: draw.label("longest").between(1, 99) as u32,
            allows_all,
            users: if allows_all {
                Vec::new()
            } else {
                some("users")
            },
            departments: if allows_all {
                Vec::new()
            } else {
                departments("departments")
            },
            form: (is_tenant || draw.label("form").chance(0.6)).then_some(form),
            admins: some("admins"),
            admin_departments: departments("admin departments"),
            informs: yes("informs"),
            informed: some("informed"),
            covers_children: yes("covers"),
        }
    }
}

fn signage(draw: Draw) -> Signage {
    let material = |n: u64| {
        let draw = draw.label("material").at(n);
        let kind = draw.label("kind").between(1, 3) as u8;
        Material {
            id: (7_000_000_000_000_000_000 + draw.below(1_000_000_000)).to_string(),
            name: format!("素材 {n}"),
            kind,
            duration_s: draw.label("duration").between(1, 43_200) as u32,
            md5: draw.label("md5").hex(32),
            vid: if kind == 2 {
                draw.label("vid").hex(16)
            } else {
                String::new()
            },
            size_bytes: draw.label("size").between(1_000, 9_000_000_000),
        }
    };
    Signage {
        enabled: draw.label("enabled").chance(0.7),
        covers_children: draw.label("covers").chance(0.5),
        muted: draw.label("muted").chance(0.5),
        start_min: draw.label("start").between(1, 720) as u32,
        stop_min: draw.label("stop").between(1, 720) as u32,
        materials: (0..draw.label("materials").below(3))
            .map(material)
            .collect(),
    }
}

impl NodeConfig {
    /// This, and what is not set here as it is above.
    #[must_use]
    pub(super) fn or(self, above: Self) -> Self {
        Self {
            background: self.background.or(above.background),
            board_background: self.board_background.or(above.board_background),
            signage: self.signage.or(above.signage),
            box_signage: self.box_signage.or(above.box_signage),
        }
    }

    /// Nothing is set here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A room, or a level of rooms.
#[derive(Clone, Debug)]
pub enum ConfigNode {
    /// `omb_…`.
    Level(RoomLevel),
    /// `omm_…`.
    Room(Arc<Room>),
}

impl ConfigNode {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Level(level) => &level.room_level_id,
            Self::Room(room) => &room.room_id,
        }
    }

    /// The levels above, the nearest first.
    #[must_use]
    pub fn above(&self) -> Vec<String> {
        let (path, own) = match self {
            Self::Level(level) => (&level.path, 1),
            Self::Room(room) => (&room.path, 0),
        };
        path.iter().rev().skip(own).cloned().collect()
    }

    pub(super) fn is_tenant(&self) -> bool {
        matches!(self, Self::Level(level) if level.parent_id.is_empty())
    }
}

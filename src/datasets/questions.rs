//! Where the open questions of the API are asked (resources, 9); for `doctor --deep`.

use super::Dataset;

/// A list in pages.
#[derive(Clone, Copy, Debug)]
pub struct Paged {
    /// Where it is.
    pub path: &'static str,
    /// The member of `data` that is the list.
    pub list: &'static str,
    /// The member of an item that identifies it.
    pub id: &'static str,
}

/// A tree of lists in pages.
#[derive(Clone, Copy, Debug)]
pub struct PagedTree {
    /// Its lists. The parameter that names the parent is called as the id.
    pub paged: Paged,
    /// Where its root is.
    pub root_path: &'static str,
    /// The member of `data` that is the root.
    pub root_item: &'static str,
}

const fn path_of(dataset: Dataset) -> &'static str {
    dataset.definition().endpoint.path
}

/// The rooms of a level, or of the tenant.
pub const ROOMS: Paged = Paged {
    path: path_of(Dataset::Room),
    list: "rooms",
    id: "room_id",
};

/// The room levels.
pub const LEVELS: PagedTree = PagedTree {
    paged: Paged {
        path: path_of(Dataset::RoomLevel),
        list: "items",
        id: "room_level_id",
    },
    root_path: "room_levels/0",
    root_item: "room_level",
};

/// Alerts of a span.
pub const ALERTS: Paged = Paged {
    path: path_of(Dataset::Alert),
    list: "items",
    id: "alert_id",
};

/// Meetings of a span, by query. Its `meeting_id` is the number.
pub const QUERIED_MEETINGS: Paged = Paged {
    path: "meeting_list",
    list: "meeting_list",
    id: "meeting_instance_id",
};

/// The parameter of [`QUERIED_MEETINGS`] that asks for those that go on.
pub const ONGOING: (&str, &str) = ("meeting_status", "1");

/// Meetings of a span: in an SDK, and in no documentation. Below it is each meeting by its id.
pub const MEETINGS: Paged = Paged {
    path: "meetings",
    list: "meetings",
    id: "id",
};

/// The member of `data` that is a meeting.
pub const MEETING: &str = "meeting";

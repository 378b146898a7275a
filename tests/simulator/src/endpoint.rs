//! The endpoints that exist here: their paths, names and published limits.
//!
//! Names are what a fault, the report and the README call an endpoint. An answer's content is not known here.

use axum::http::Method;

use crate::knobs::{Face, Knobs};

/// An endpoint as the service counts it: polling is one endpoint for all kinds of export, and so is downloading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    TenantToken,
    UserToken,
    GetDaily,
    GetTopUser,
    MeetingList,
    ParticipantList,
    ParticipantQualityList,
    ResourceReservationList,
    Poll,
    Download,
    Rooms,
    RoomLevels,
    RoomLevel,
    Alerts,
    Scopes,
    QueryMeetings,
    QueryParticipants,
    QueryQuality,
    QueryReservations,
    ListMeetings,
    MeetingListByNo,
    Meeting,
    Recording,
    MgetRooms,
    ScopeConfig,
    ReserveScope,
    ReserveForm,
    ReserveAdmin,
    ReserveDisableInform,
    ActiveMeeting,
    GetReserve,
    WriteReserve,
    WriteRooms,
}

/// Scopes that only Feishu's console has.
const FEISHU_SCOPES: [&str; 6] = [
    crate::auth::SCOPE_MEETING_EXPORT,
    crate::auth::SCOPE_DETAIL,
    "vc:rooms.room.basicinfo:read",
    "vc:rooms.roomlevel:read",
    "vc:meeting.meetingid:read",
    "vc:meeting.meetingevent:read",
];

/// How often an endpoint may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_minute: u32,
    pub(crate) per_second: Option<u32>,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 33] = [
        Self::TenantToken,
        Self::UserToken,
        Self::GetDaily,
        Self::GetTopUser,
        Self::MeetingList,
        Self::ParticipantList,
        Self::ParticipantQualityList,
        Self::ResourceReservationList,
        Self::Poll,
        Self::Download,
        Self::Rooms,
        Self::RoomLevels,
        Self::RoomLevel,
        Self::Alerts,
        Self::Scopes,
        Self::QueryMeetings,
        Self::QueryParticipants,
        Self::QueryQuality,
        Self::QueryReservations,
        Self::ListMeetings,
        Self::MeetingListByNo,
        Self::Meeting,
        Self::Recording,
        Self::MgetRooms,
        Self::ScopeConfig,
        Self::ReserveScope,
        Self::ReserveForm,
        Self::ReserveAdmin,
        Self::ReserveDisableInform,
        Self::ActiveMeeting,
        Self::GetReserve,
        Self::WriteReserve,
        Self::WriteRooms,
    ];

    /// The name in faults and in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TenantToken => "tenant_token",
            Self::UserToken => "user_token",
            Self::GetDaily => "get_daily",
            Self::GetTopUser => "get_top_user",
            Self::MeetingList => "meeting_list",
            Self::ParticipantList => "participant_list",
            Self::ParticipantQualityList => "participant_quality_list",
            Self::ResourceReservationList => "resource_reservation_list",
            Self::Poll => "poll",
            Self::Download => "download",
            Self::Rooms => "rooms",
            Self::RoomLevels => "room_levels",
            Self::RoomLevel => "room_level",
            Self::Alerts => "alerts",
            Self::Scopes => "scopes",
            Self::QueryMeetings => "query_meetings",
            Self::QueryParticipants => "query_participants",
            Self::QueryQuality => "query_quality",
            Self::QueryReservations => "query_reservations",
            Self::ListMeetings => "list_meetings",
            Self::MeetingListByNo => "meeting_list_by_no",
            Self::Meeting => "meeting",
            Self::Recording => "recording",
            Self::MgetRooms => "mget_rooms",
            Self::ScopeConfig => "scope_config",
            Self::ReserveScope => "reserve_scope",
            Self::ReserveForm => "reserve_form",
            Self::ReserveAdmin => "reserve_admin",
            Self::ReserveDisableInform => "reserve_disable_inform",
            Self::ActiveMeeting => "active_meeting",
            Self::GetReserve => "get_reserve",
            Self::WriteReserve => "write_reserve",
            Self::WriteRooms => "write_rooms",
        }
    }

    pub(crate) const fn is_token(self) -> bool {
        matches!(self, Self::TenantToken | Self::UserToken)
    }

    /// It begins an export.
    pub(crate) const fn is_submit(self) -> bool {
        matches!(
            self,
            Self::MeetingList
                | Self::ParticipantList
                | Self::ParticipantQualityList
                | Self::ResourceReservationList
        )
    }

    /// It may change something.
    pub(crate) const fn is_write(self) -> bool {
        matches!(self, Self::WriteReserve | Self::WriteRooms)
    }

    /// It belongs to the export family, which needs the admin role.
    pub(crate) const fn is_export(self) -> bool {
        self.is_submit() || matches!(self, Self::Poll | Self::Download)
    }

    /// It is a JSON list of what an export has too; it needs the admin role as well.
    pub(crate) const fn is_query(self) -> bool {
        matches!(
            self,
            Self::QueryMeetings
                | Self::QueryParticipants
                | Self::QueryQuality
                | Self::QueryReservations
        )
    }

    /// It accepts tenant tokens only.
    pub(crate) const fn refuses_user_tokens(self) -> bool {
        !self.is_export() && !self.is_query()
    }

    /// The published limit; `None` where none is known.
    pub(crate) const fn rate(self, knobs: &Knobs) -> Option<Rate> {
        match self {
            Self::TenantToken | Self::Scopes => None,
            Self::GetDaily | Self::GetTopUser => Some(Rate {
                per_minute: knobs.report_calls_per_minute,
                per_second: None,
            }),
            Self::WriteRooms => Some(Rate {
                per_minute: 20,
                per_second: None,
            }),
            Self::UserToken
            | Self::Rooms
            | Self::RoomLevels
            | Self::RoomLevel
            | Self::Meeting
            | Self::Recording
            | Self::MgetRooms
            | Self::ScopeConfig
            | Self::ActiveMeeting
            | Self::GetReserve
            | Self::WriteReserve => Some(Rate {
                per_minute: 1_000,
                per_second: Some(50),
            }),
            _ => Some(Rate {
                per_minute: 100,
                per_second: None,
            }),
        }
    }

    /// Parameters that exist on Feishu only: Lark's pages, which are of 2023, lack them (API reference, 2.1 and 3.2). Refusing them is the
    /// strict reading.
    pub(crate) const fn unknown_parameters(self, face: Face) -> &'static [&'static str] {
        match (face, self) {
            (Face::Lark, Self::GetDaily | Self::GetTopUser) => &["unit"],
            (Face::Lark, Self::Meeting) => &["query_mode"],
            (Face::Lark, Self::MeetingList) => &["meeting_status", "meeting_type"],
            _ => &[],
        }
    }

    /// Scopes of which one is required, under the names that a site has. The strict reading of what is known of Lark (resources, 6.3): it has
    /// the older, coarser names only.
    pub(crate) fn scopes(self, face: Face) -> Vec<&'static str> {
        let all = match (face, self) {
            (Face::Lark, Self::QueryMeetings) => &[crate::auth::SCOPE_ROOM_READONLY],
            _ => self.all_scopes(),
        };
        let is_known = |scope: &&str| face == Face::Feishu || !FEISHU_SCOPES.contains(scope);
        all.iter().copied().filter(is_known).collect()
    }

    const fn all_scopes(self) -> &'static [&'static str] {
        use crate::auth::{
            SCOPE_ALERT, SCOPE_DETAIL, SCOPE_EXPORT, SCOPE_MEETING_EXPORT, SCOPE_MEETING_READONLY,
            SCOPE_RECORD, SCOPE_REPORT, SCOPE_RESERVE_READONLY, SCOPE_ROOM, SCOPE_ROOM_READONLY,
        };
        match self {
            Self::TenantToken | Self::UserToken | Self::Scopes => &[],
            Self::QueryMeetings
            | Self::QueryParticipants
            | Self::QueryQuality
            | Self::QueryReservations => &[SCOPE_DETAIL],
            Self::ListMeetings => &["vc:meeting:readonly", "vc:meeting.meetingevent:read"],
            Self::GetDaily | Self::GetTopUser => &[SCOPE_REPORT],
            Self::Rooms => &[
                SCOPE_ROOM,
                SCOPE_ROOM_READONLY,
                "vc:rooms.room.basicinfo:read",
            ],
            Self::RoomLevels | Self::RoomLevel => {
                &[SCOPE_ROOM, SCOPE_ROOM_READONLY, "vc:rooms.roomlevel:read"]
            }
            Self::Alerts => &[SCOPE_ALERT],
            Self::MeetingListByNo => &["vc:meeting.meetingid:read", SCOPE_MEETING_READONLY],
            Self::Meeting => &["vc:meeting.meetingevent:read", SCOPE_MEETING_READONLY],
            Self::Recording => &[SCOPE_RECORD],
            Self::MgetRooms
            | Self::ScopeConfig
            | Self::ReserveScope
            | Self::ReserveForm
            | Self::ReserveAdmin
            | Self::ReserveDisableInform => Self::Rooms.all_scopes(),
            Self::GetReserve | Self::ActiveMeeting => &[SCOPE_RESERVE_READONLY],
            Self::WriteReserve => &["vc:reserve"],
            Self::WriteRooms => &[SCOPE_ROOM],
            _ => &[SCOPE_EXPORT, SCOPE_MEETING_EXPORT],
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// An endpoint of the API, with the id in its path if it has one.
    Api(Endpoint, String),
    /// `POST /callback/ws/endpoint`: where the long connection is.
    Discovery,
    /// `GET /_simulator/report`.
    Report,
    /// `GET /_simulator/company`.
    Company,
    /// `PUT /_simulator/faults`.
    Faults,
    /// `GET` and `POST /_simulator/events`.
    Events,
    /// The path exists, the method does not.
    WrongMethod,
    /// Nothing is there.
    NotFound,
}

impl Route {
    /// Where `method path` goes. A slash at the end makes no difference.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (allowed, route) = match path {
            crate::link::DISCOVERY => (Method::POST, Self::Discovery),
            "/_simulator/report" => (Method::GET, Self::Report),
            "/_simulator/company" => (Method::GET, Self::Company),
            "/_simulator/faults" => (Method::PUT, Self::Faults),
            "/_simulator/events" if method == Method::POST => (Method::POST, Self::Events),
            "/_simulator/events" => (Method::GET, Self::Events),
            _ => match path
                .strip_prefix("/open-apis/")
                .and_then(|path| write_route(method, path).or_else(|| api_route(path)))
            {
                Some((allowed, endpoint, id)) => (allowed, Self::Api(endpoint, id.to_owned())),
                None => return Self::NotFound,
            },
        };
        if method == allowed {
            route
        } else {
            Self::WrongMethod
        }
    }
}

/// The methods that change something, and one `POST` that does not.
fn write_route<'p>(method: &Method, path: &'p str) -> Option<(Method, Endpoint, &'p str)> {
    let path = path.strip_prefix("vc/v1/")?;
    let (list, id) = path.split_once('/').unwrap_or((path, ""));
    let endpoint = match (method.as_str(), list, id) {
        ("POST", "rooms", "mget") => Endpoint::MgetRooms,
        ("POST", "rooms" | "room_levels" | "scope_config", "") => Endpoint::WriteRooms,
        ("POST", "room_levels", "del") => Endpoint::WriteRooms,
        ("PATCH", "rooms" | "room_levels", id) if !id.is_empty() => Endpoint::WriteRooms,
        ("DELETE", "rooms", id) if !id.is_empty() => Endpoint::WriteRooms,
        ("GET", "reserves", id) if id.ends_with("/get_active_meeting") => {
            let id = id.trim_end_matches("/get_active_meeting");
            return Some((Method::GET, Endpoint::ActiveMeeting, id));
        }
        ("GET", "reserves", id) if !id.is_empty() => Endpoint::GetReserve,
        ("POST", "reserves", "apply") => Endpoint::WriteReserve,
        ("PUT" | "DELETE", "reserves", id) if !id.is_empty() => Endpoint::WriteReserve,
        _ => return None,
    };
    Some((method.clone(), endpoint, id))
}

fn api_route(path: &str) -> Option<(Method, Endpoint, &str)> {
    let found = match path {
        "auth/v3/tenant_access_token/internal" => (Method::POST, Endpoint::TenantToken, ""),
        "authen/v2/oauth/token" => (Method::POST, Endpoint::UserToken, ""),
        "vc/v1/reports/get_daily" => (Method::GET, Endpoint::GetDaily, ""),
        "vc/v1/reports/get_top_user" => (Method::GET, Endpoint::GetTopUser, ""),
        "vc/v1/exports/meeting_list" => (Method::POST, Endpoint::MeetingList, ""),
        "vc/v1/exports/participant_list" => (Method::POST, Endpoint::ParticipantList, ""),
        "vc/v1/exports/participant_quality_list" => {
            (Method::POST, Endpoint::ParticipantQualityList, "")
        }
        "vc/v1/exports/resource_reservation_list" => {
            (Method::POST, Endpoint::ResourceReservationList, "")
        }
        "vc/v1/exports/download" => (Method::GET, Endpoint::Download, ""),
        "vc/v1/rooms" => (Method::GET, Endpoint::Rooms, ""),
        "vc/v1/room_levels" => (Method::GET, Endpoint::RoomLevels, ""),
        "vc/v1/scope_config" => (Method::GET, Endpoint::ScopeConfig, ""),
        "vc/v1/reserve_configs/reserve_scope" => (Method::GET, Endpoint::ReserveScope, ""),
        "vc/v1/alerts" => (Method::GET, Endpoint::Alerts, ""),
        "vc/v1/meeting_list" => (Method::GET, Endpoint::QueryMeetings, ""),
        "vc/v1/participant_list" => (Method::GET, Endpoint::QueryParticipants, ""),
        "vc/v1/participant_quality_list" => (Method::GET, Endpoint::QueryQuality, ""),
        "vc/v1/resource_reservation_list" => (Method::GET, Endpoint::QueryReservations, ""),
        "vc/v1/meetings" => (Method::GET, Endpoint::ListMeetings, ""),
        "application/v6/scopes" => (Method::GET, Endpoint::Scopes, ""),
        "vc/v1/meetings/list_by_no" => (Method::GET, Endpoint::MeetingListByNo, ""),
        _ => {
            if let Some(id) = path.strip_prefix("vc/v1/exports/") {
                (Method::GET, Endpoint::Poll, id)
            } else if let Some(id) = path.strip_prefix("vc/v1/meetings/") {
                match id.split_once('/') {
                    None => (Method::GET, Endpoint::Meeting, id),
                    Some((id, "recording")) => (Method::GET, Endpoint::Recording, id),
                    Some(_) => return None,
                }
            } else if let Some(id) = path.strip_prefix("vc/v1/reserve_configs/") {
                let (id, part) = id.split_once('/')?;
                let endpoint = match part {
                    "form" => Endpoint::ReserveForm,
                    "admin" => Endpoint::ReserveAdmin,
                    "disable_inform" => Endpoint::ReserveDisableInform,
                    _ => return None,
                };
                (Method::GET, endpoint, id)
            } else {
                (
                    Method::GET,
                    Endpoint::RoomLevel,
                    path.strip_prefix("vc/v1/room_levels/")?,
                )
            }
        }
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoint() {
        let table = [
            (
                Method::POST,
                "/open-apis/auth/v3/tenant_access_token/internal/",
                Route::Api(Endpoint::TenantToken, String::new()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/exports/download",
                Route::Api(Endpoint::Download, String::new()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/exports/711",
                Route::Api(Endpoint::Poll, "711".to_owned()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/room_levels/0",
                Route::Api(Endpoint::RoomLevel, "0".to_owned()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/meetings/list_by_no",
                Route::Api(Endpoint::MeetingListByNo, String::new()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/meetings/7",
                Route::Api(Endpoint::Meeting, "7".to_owned()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/meetings/7/recording",
                Route::Api(Endpoint::Recording, "7".to_owned()),
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/meetings/7/x",
                Route::NotFound,
            ),
            (
                Method::GET,
                "/open-apis/vc/v1/exports/meeting_list",
                Route::WrongMethod,
            ),
            (Method::GET, "/open-apis/vc/v2/rooms", Route::NotFound),
            (Method::PUT, "/_simulator/faults", Route::Faults),
        ];
        for (method, path, expected) in table {
            assert_eq!(Route::of(&method, path), expected, "{path}");
        }
    }
}

//! What the JSON lists share that are a second source beside the exports (resources, 4).

use super::listing::Listed;
use super::{
    ComparedColumns, Endpoint, Fetch, Method, Parameters, Request, Source, Tier, UserIdType,
};

/// Scopes of which every list needs one (resources, 6.3). The first is granted for use in the name
/// of a user only; the second is no longer granted at all, and older apps have it.
const SCOPES: &[&str] = &["vc:rooms.room.detailinfo:read", "vc:room:readonly"];

/// Items of a page: the most that is allowed.
const PAGE_SIZE: u32 = 100;

/// A list as a source. `compared` says how its rows are compared with those of the export.
pub(super) const fn source(
    name: &'static str,
    path: &'static str,
    listed: Listed,
    parameters: fn(&Request) -> Parameters,
    compared: Option<&'static ComparedColumns>,
) -> Source {
    Source {
        endpoint: Endpoint {
            name,
            method: Method::Get,
            path,
            tier: Tier::Three,
        },
        scopes: SCOPES,
        fetch: Fetch::Pages(listed),
        parameters,
        compared,
    }
}

/// A list of which an item is a row, and no member tells items apart.
pub(super) const fn listed(list: &'static str) -> Listed {
    Listed {
        list,
        id: None,
        page_size: PAGE_SIZE,
        secrets: &[],
        derive: |_| {},
        pivot: None,
        roles: None,
    }
}

/// The parameters that name a meeting.
pub(super) fn meeting(request: &Request) -> Parameters {
    Parameters::default()
        .with("meeting_no", request.meeting_no.as_ref())
        .with("meeting_start_time", request.start)
        .with("meeting_end_time", request.end)
        .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

//! The datasets of the lake. Each is one value in one file: how it is asked for, what its rows are,
//! and what they are compared with.
//!
//! Nothing outside of this folder names a dataset. To add one: write its file, add a line to the
//! list below, write a job file, and let the simulator answer. A test looks for names elsewhere.

mod endpoint;
pub mod event;
mod export;
mod methods;
mod parent;
mod query;
mod report;
mod request;
mod room_node;
mod scopes;
mod secrets;
mod tenant_ids;

pub mod listing;
pub mod questions;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::column::Column;
use listing::{Beyond, Details, List, Listed, Listing, Node, NodeListing, Nodes, Tree};

pub use endpoint::{CallLimits, DOWNLOAD, Endpoint, Method, POLL, Parameters, Tier};
pub use meeting::ARTIFACT_SCOPES;
pub use methods::{ApiPath, all_methods};
pub use parent::{
    MeetingColumns, Parent, ParentColumns, ParentIdentity, ParticipantColumns, Siblings, Who,
};
pub use request::{
    DurationUnit, FoundBy, Lineage, LineageValue, ParticipantId, Request, RequestOption,
    RequestOptions, SourceMode, TopUserOrder, UserIdType,
};
pub use scopes::{EMPLOYEE_ID_SCOPE, Grant, GrantedScopes, accepted_scopes};
pub use secrets::{without_named_secrets, without_secrets};

const DAY: Duration = Duration::from_secs(86_400);

/// Makes the list of datasets: the enumeration, the modules, and each one's definition.
macro_rules! datasets {
    ($($(#[$doc:meta])* $name:ident in $module:ident,)+) => {
        $(mod $module;)+

        /// A dataset of the lake; named as its Feishu endpoint, and so is its directory.
        ///
        /// ```
        /// use meetlake::Dataset;
        ///
        /// let participants: Dataset = "participant_list".parse()?;
        /// assert_eq!(participants.parent(), Some(Dataset::MeetingList));
        /// assert!("participants".parse::<Dataset>().is_err());
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum Dataset {
            $($(#[$doc])* $name,)+
        }

        impl Dataset {
            /// All datasets; a parent stands before its children.
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];

            /// What is known of the dataset.
            #[must_use]
            pub const fn definition(self) -> &'static Definition {
                match self {
                    $(Self::$name => &$module::DEFINITION,)+
                }
            }
        }
    };
}

datasets! {
    /// `GET reports/get_daily`: meetings, minutes and participants of each day.
    DailyReport in daily_report,
    /// `GET reports/get_top_user`: who met most, by count and by duration.
    TopUser in top_user,
    /// `POST exports/meeting_list`: one row a meeting.
    MeetingList in meeting_list,
    /// `POST exports/participant_list`: one row a participant of one meeting.
    ParticipantList in participant_list,
    /// `POST exports/participant_quality_list`: one row a minute of one participant.
    ParticipantQualityList in participant_quality_list,
    /// `POST exports/resource_reservation_list`: one row a room booking.
    ResourceReservationList in resource_reservation_list,
    /// `GET rooms`: one row a room and day.
    Room in room,
    /// `GET room_levels`: one row a level of the room hierarchy and day.
    RoomLevel in room_level,
    /// `GET scope_config`: what is set for each room and level, two rows a node and day.
    RoomConfig in room_config,
    /// `GET reserve_configs/…`: how each room and level may be reserved, one row a node and day.
    ReserveConfig in reserve_config,
    /// `GET reserves/:reserve_id`: one row a reservation that the job names, and day.
    Reserve in reserve,
    /// `GET alerts`: one row an alert of the rooms' monitoring.
    Alert in alert,
    /// `GET meetings/:meeting_id`: one row a meeting, by its unique id.
    Meeting in meeting,
    /// `GET meetings/:meeting_id`: one row a participant of a meeting, over all of their stays.
    MeetingParticipant in meeting_participant,
    /// `GET meetings/:meeting_id/recording`: one row a recorded meeting.
    Recording in recording,
    /// Events of meetings: one row an event.
    MeetingEvent in meeting_event,
    /// Events of rooms, their levels and the limits of their reservation: one row an event.
    RoomEvent in room_event,
}

/// Everything that is known of a dataset.
#[derive(Debug)]
pub struct Definition {
    /// The name in configuration, in the lake and on the wire.
    pub name: &'static str,
    /// What is called first.
    pub endpoint: Endpoint,
    /// Scopes of which the app needs one, the narrowest first. None of them can change anything.
    pub scopes: &'static [&'static str],
    /// How an answer is got.
    pub fetch: Fetch,
    /// Which days there are.
    pub extent: Extent,
    /// What is asked for.
    pub ask: Ask,
    /// What the first call of a request sends.
    pub parameters: fn(&Request) -> Parameters,
    /// The JSON list of the same rows, beside an export.
    pub query: Option<Source>,
    /// How an answer is got that also has what takes a call of its own, such as the users' ids in
    /// the tenant; `None` if there is nothing of the kind.
    pub fuller: Option<Fetch>,
    /// What a job may choose.
    pub options: &'static [RequestOption],
    /// Kind of user ids, unless the job says otherwise.
    pub user_id_type: UserIdType,
    /// The columns, in the order of the file.
    pub columns: fn() -> Vec<Column>,
    /// The time or date column that gives a row its `dt`. Without one it is the day of the task's
    /// window.
    pub partition_column: Option<&'static str>,
    /// Columns of the natural key by which rows are sorted before all others.
    pub sort_first: &'static [&'static str],
    /// Columns that say when what a row tells of began and ended. Most rows must touch what was
    /// asked for.
    pub time_columns: Option<(&'static str, &'static str)>,
    /// Columns from which the rows become parents of other datasets' tasks.
    pub parent_columns: Option<ParentColumns>,
    /// What a day is compared with.
    pub plausibility: Plausibility,
    /// Rows that may say something else later, by a column and those of its values that do. They
    /// are asked for again at each look, as long as their meeting ended less than a day before the
    /// last answer.
    pub provisional: Option<(&'static str, &'static [&'static str])>,
    /// How rows are asked for before the day of their parents is published; `None` if they never
    /// are.
    pub early: Option<Early>,
    /// The job file that `init` writes.
    pub job_file: &'static str,
}

/// How a meeting is asked for minutes after its end, when an event told of it. The parents' own day
/// is the truth: once it is published, everything is planned from it.
#[derive(Clone, Copy, Debug)]
pub struct Early {
    /// The dataset whose rows tell of parents before the parents' own day does.
    pub by: Dataset,
    /// How long after that they are asked for.
    pub after: Duration,
    /// Whether a job asks early unless it says otherwise.
    pub by_default: bool,
}

/// Where rows come from, and how they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// What is called first.
    pub endpoint: Endpoint,
    /// Scopes of which the app needs one, the narrowest first.
    pub scopes: &'static [&'static str],
    /// How an answer is got.
    pub fetch: Fetch,
    /// What the first call of a request sends.
    pub parameters: fn(&Request) -> Parameters,
    /// How its rows are compared with those of the other source; `None` if they cannot be.
    pub compared: Option<&'static ComparedColumns>,
}

/// How rows of two sources are compared (resources, 4.2), by columns of the contract.
#[derive(Clone, Copy, Debug)]
pub struct ComparedColumns {
    /// The columns that identify a row, whoever it is of.
    pub identity: &'static [&'static str],
    /// The column with the id of whom it is of.
    pub user_id: Option<&'static str>,
    /// The columns that tell apart those without an id.
    pub otherwise: &'static [&'static str],
    /// The columns that are to be equal.
    pub columns: &'static [&'static str],
    /// Columns and their values, as text, of rows that an export may leave out.
    pub may_be_alone: &'static [(&'static str, &'static str)],
}

impl Source {
    /// Paths of the secrets that are blanked in an answer before it is kept.
    #[must_use]
    pub const fn secrets(&self) -> &'static [&'static str] {
        match self.fetch {
            Fetch::Export => &[],
            Fetch::Call(called) => called.secrets,
            Fetch::Pages(listed) | Fetch::Walk(listed, _) | Fetch::Details(listed, _) => {
                listed.secrets
            }
            Fetch::Nodes(nodes) => nodes.secrets,
            Fetch::Received { .. } => event::SECRETS,
        }
    }

    /// What an original is called.
    #[must_use]
    pub const fn original(&self) -> &'static str {
        match self.fetch {
            Fetch::Export => "workbook",
            Fetch::Call(_) => "answer",
            Fetch::Pages(_) | Fetch::Walk(..) | Fetch::Details(..) | Fetch::Nodes(_) => "listing",
            Fetch::Received { .. } => "batch of events",
        }
    }

    /// How the name of an archived original ends.
    #[must_use]
    pub const fn original_extension(&self) -> &'static str {
        match self.fetch {
            Fetch::Export => "xlsx",
            Fetch::Call(_) => "json",
            Fetch::Pages(_)
            | Fetch::Walk(..)
            | Fetch::Details(..)
            | Fetch::Nodes(_)
            | Fetch::Received { .. } => "zip",
        }
    }

    /// Whether the original is a workbook, which an export task made.
    #[must_use]
    pub const fn is_export(&self) -> bool {
        matches!(self.fetch, Fetch::Export)
    }

    /// The scopes that the endpoints need: one of each list.
    #[must_use]
    pub fn scopes_needed(&self) -> Vec<&'static [&'static str]> {
        match self.fetch {
            Fetch::Details(_, details) => vec![self.scopes, details.scopes],
            Fetch::Nodes(nodes) => {
                let mut needed = vec![self.scopes];
                needed.extend(nodes.of.iter().map(|of| of.definition().scopes));
                needed.dedup();
                needed
            }
            _ => vec![self.scopes],
        }
    }

    /// The endpoints that a task calls, and how often each if nothing fails and no poll comes too
    /// early. `rows` is what a day had lately, or how many nodes there are; a listing needs more
    /// calls the more it has.
    #[must_use]
    pub fn calls(&self, rows: u64) -> Vec<(Endpoint, u64)> {
        let own = |calls| (self.endpoint, calls);
        match self.fetch {
            Fetch::Export => vec![own(1), (POLL, 1), (DOWNLOAD, 1)],
            Fetch::Call(_) => vec![own(1)],
            // A number is listed on one page, and most days it is the number of one meeting. At
            // most: not every meeting has what is told apart.
            Fetch::Details(_, details) => {
                let of_an_item = 1 + u64::from(details.apart.is_some());
                vec![own(1), (details.endpoint, of_an_item)]
            }
            Fetch::Pages(listed) => vec![own(listed.calls(rows))],
            // At most: one below each item, and few pages are full.
            Fetch::Walk(..) => vec![own(rows.max(1) + 1 + 2 * u64::from(rows > 1))],
            // For a node each; the lists that name them are counted where those datasets are.
            Fetch::Nodes(nodes) => {
                let of_a_task = if nodes.of.is_empty() { 1 } else { rows };
                let calls = nodes.calls.iter();
                calls.map(|call| (call.endpoint, of_a_task)).collect()
            }
            Fetch::Received { .. } => Vec::new(),
        }
    }

    /// Calls that a list takes beside its pages if its items have roles, which only the answer
    /// says.
    #[must_use]
    pub fn calls_by_role(&self) -> u64 {
        let roles = match self.fetch {
            Fetch::Pages(listed) => listed.roles,
            _ => None,
        };
        roles.map_or(0, |roles| roles.values.len() as u64)
    }

    /// The listing that answers a request; `None` for what is not listed.
    #[must_use]
    pub fn listing(&self, request: &Request) -> Option<Listing> {
        self.listing_with(request.dataset, (self.parameters)(request))
    }

    /// The listing behind an archived original of a dataset. Nobody asks for its pages, so it has
    /// no parameters.
    #[must_use]
    pub fn archived_listing(&self, of: Dataset) -> Option<Listing> {
        self.listing_with(of, Parameters::default())
    }

    fn listing_with(&self, of: Dataset, parameters: Parameters) -> Option<Listing> {
        let Fetch::Nodes(nodes) = self.fetch else {
            return self
                .list_with(parameters.query)
                .map(|list| Listing::List(Box::new(list)));
        };
        let list = |of: Dataset| of.own_source().list_with(Vec::new());
        let lists = nodes.of.iter().filter_map(|of| Some((*of, list(*of)?)));
        let node = nodes.of.is_empty().then(|| Node {
            of,
            id: parameters.segment.unwrap_or_default(),
        });
        let listing = NodeListing::new(nodes, lists.collect(), node, parameters.query);
        Some(Listing::Nodes(Box::new(listing)))
    }

    fn list_with(&self, query: Vec<(&'static str, String)>) -> Option<List> {
        let (listed, beyond) = match self.fetch {
            Fetch::Pages(listed) => {
                let roles = listed.roles.map(Beyond::Roles);
                (listed, roles.unwrap_or(Beyond::Nothing))
            }
            Fetch::Walk(listed, tree) => (listed, Beyond::Tree(tree)),
            Fetch::Details(listed, details) => (listed, Beyond::Details(details)),
            Fetch::Export | Fetch::Call(_) | Fetch::Nodes(_) | Fetch::Received { .. } => {
                return None;
            }
        };
        Some(List::new(self.endpoint, listed, beyond, query))
    }
}

/// How the answer to a request is got.
#[derive(Clone, Copy, Debug)]
pub enum Fetch {
    /// An export task: submit, poll, download. The original is a workbook.
    Export,
    /// One call. The original is its body.
    Call(Called),
    /// A list in pages, all or nothing. The original is a zip of their bodies.
    Pages(Listed),
    /// A tree of lists in pages, all or nothing. The original is a zip of their bodies.
    Walk(Listed, Tree),
    /// A list in pages and one more call for each of its items, all or nothing. The original is a
    /// zip of their bodies.
    Details(Listed, Details),
    /// Several calls for each node, all or nothing. The original is a zip of their bodies.
    Nodes(Nodes),
    /// Events that Feishu sent. The original is a zip of their bodies, and a last page that says
    /// when each was received.
    Received {
        /// Whether events of a type are rows of the dataset.
        takes: fn(&str) -> bool,
        /// Adds what an event says only in a roundabout way to its row.
        derive: fn(&mut Map<String, Value>),
    },
}

/// What the body of one call holds.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// Its rows.
    pub rows: CalledRows,
    /// Codes other than 0 with which the body is an answer all the same, without rows in a list.
    pub answers: &'static [i64],
    /// Where the body says of which meeting it is, if it does.
    pub meeting_id: Option<&'static [&'static str]>,
    /// Paths of secret values in the body; see [`without_secrets`].
    pub secrets: &'static [&'static str],
}

impl Called {
    /// Whether a body is the answer for another meeting than the one that was asked for.
    #[must_use]
    pub fn is_of_another(&self, request: &Request, body: &[u8]) -> bool {
        let (Some(path), Some(asked)) = (self.meeting_id, &request.meeting_id) else {
            return false;
        };
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let told = body.and_then(|body| {
            let told = path.iter().try_fold(&body, |inner, step| inner.get(step))?;
            listing::text(Some(told))
        });
        told.is_some_and(|told| told != *asked)
    }
}

/// Where the rows of one body are.
#[derive(Clone, Copy, Debug)]
pub enum CalledRows {
    /// The objects of the list at this path.
    List(&'static [&'static str]),
    /// The body is one row, which this makes of it.
    One(fn(&Map<String, Value>) -> Map<String, Value>),
}

/// Which days a dataset has.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// Feishu can be asked for any day that is over.
    Windows {
        /// How a window is cut into requests.
        pieces: Pieces,
        /// How far back Feishu answers, where it says so.
        horizon: Option<Duration>,
        /// Whether a row may be of the UTC day of its date, and not of the local one. Then a
        /// request asks for a day more on each side, and rows of other days are left to other
        /// tasks.
        utc_buckets: bool,
    },
    /// The state at the time of asking. A day that was missed is lost, because the API has no
    /// history.
    Snapshot,
    /// What was sent on the day. Nothing replays what was missed.
    Received,
}

/// How a window is cut into requests.
#[derive(Clone, Copy, Debug)]
pub enum Pieces {
    /// By civil day, because a ranking or a count of half a day means nothing.
    CivilDays,
    /// Into spans that the API takes. The export pages publish none; where the JSON sibling of an
    /// export does (API reference, 3.3), we keep to it.
    Spans(Duration),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// These requests for each piece of a window.
    Windows(fn(&Piece<'_>) -> Vec<Asked>),
    /// One request for each row of another dataset.
    Parents {
        /// The other dataset.
        of: Dataset,
        /// What tells its rows apart.
        identity: for<'p> fn(&'p Parent) -> ParentIdentity<'p>,
        /// The request for rows with one identity; `None` if they have no id to ask for.
        request: fn(&Siblings<'_>, &RequestOptions) -> Option<Asked>,
        /// Which of the rows it is asked for at all.
        has_child: fn(&Parent) -> bool,
    },
    /// These requests for each piece of a window, made from the rooms of the tenant.
    Rooms(fn(&Piece<'_>, &[RoomOfLevel]) -> Vec<Asked>),
    /// Nothing: what there is comes by itself, and its tasks are the batches in which it is
    /// published.
    Nobody,
}

/// A request, and what its rows get from the task.
pub type Asked = (Request, Lineage);

/// A room and the level that owns it, by their ids.
pub type RoomOfLevel = (String, String);

/// What requests of a window are made of.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// First second.
    pub start: i64,
    /// First second after.
    pub end: i64,
    /// The civil day in which it begins, in the job's zone.
    pub date: Date,
    /// What the job chose.
    pub options: &'a RequestOptions,
    /// Where the tenant's data resides.
    pub unit: Option<i32>,
}

/// What a day of a dataset is compared with, before it is called complete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plausibility {
    /// With nothing.
    None,
    /// Its rows with the meetings that a report counted for the day.
    Reported {
        /// The report.
        by: Dataset,
        /// The key of the job's `[check]` section.
        key: &'static str,
        /// Share that may be missing, unless the job says otherwise.
        may_miss: f64,
    },
    /// The rows of each task with the participants that its parent's row counts.
    OfParent {
        /// The key of the job's `[check]` section.
        key: &'static str,
        /// Share that may be missing, unless the job says otherwise.
        may_miss: f64,
    },
}

impl Plausibility {
    /// Key and default of the job's `[check]` section.
    #[must_use]
    pub const fn check(&self) -> Option<(&'static str, f64)> {
        match self {
            Self::None => None,
            Self::Reported { key, may_miss, .. } | Self::OfParent { key, may_miss } => {
                Some((key, *may_miss))
            }
        }
    }
}

/// The dataset whose rows are the tenant's rooms. What is made from rooms lists them with the same
/// fetch.
pub const ROOMS: Dataset = Dataset::Room;

impl Dataset {
    /// The name in configuration, in the lake and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// The dataset whose rows this one is asked for, one task a row.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self.definition().ask {
            Ask::Parents { of, .. } => Some(of),
            Ask::Windows(_) | Ask::Rooms(_) | Ask::Nobody => None,
        }
    }

    /// The dataset whose rows this one finds the unique meetings of.
    #[must_use]
    pub fn resolves(self) -> Option<Self> {
        let columns = self.definition().parent_columns.as_ref()?;
        columns.meeting.as_ref()?;
        self.parent()
    }

    /// The datasets that are asked for by the rows of this one.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let is_child = move |child: &Self| child.parent() == Some(self);
        Self::ALL.into_iter().filter(is_child)
    }

    /// Whether the tenant's rooms must be known before the dataset can be asked for.
    #[must_use]
    pub const fn needs_rooms(self) -> bool {
        matches!(self.definition().ask, Ask::Rooms(_))
    }

    /// Whether a day is the state at the time of asking.
    #[must_use]
    pub const fn is_snapshot(self) -> bool {
        matches!(self.definition().extent, Extent::Snapshot)
    }

    /// Whether its rows are events that Feishu sends by itself.
    #[must_use]
    pub const fn is_received(self) -> bool {
        matches!(self.definition().extent, Extent::Received)
    }

    /// Whether Feishu can be asked for a day that is over.
    #[must_use]
    pub const fn has_history(self) -> bool {
        matches!(self.definition().extent, Extent::Windows { .. })
    }

    /// The first instant for which Feishu still answers at `now`; `None` where it names no limit.
    /// It is a day nearer than what Feishu names, because a request may ask for a day more than its
    /// window.
    #[must_use]
    pub fn answers_since(self, now: Timestamp) -> Option<Timestamp> {
        let Extent::Windows {
            horizon: Some(horizon),
            ..
        } = self.definition().extent
        else {
            return None;
        };
        let reach = SignedDuration::try_from(horizon.saturating_sub(DAY)).unwrap_or_default();
        now.checked_sub(reach).ok()
    }

    /// Whether what is asked for is a civil day, of whatever zone, and not a range of time: a day's
    /// count or ranking, or the state of a day. Cut in another zone, the answer would be another.
    #[must_use]
    pub const fn is_by_civil_day(self) -> bool {
        match self.definition().extent {
            Extent::Windows { pieces, .. } => matches!(pieces, Pieces::CivilDays),
            Extent::Snapshot | Extent::Received => true,
        }
    }

    /// Whether a request names the data residency of a multi-geo tenant.
    #[must_use]
    pub fn has_unit(self) -> bool {
        let Ask::Windows(requests) = self.definition().ask else {
            return false;
        };
        let piece = Piece {
            start: 0,
            end: 1,
            date: Date::constant(1970, 1, 1),
            options: &RequestOptions::for_dataset(self),
            unit: Some(0),
        };
        let asked = requests(&piece);
        asked.iter().any(|(request, _)| request.unit.is_some())
    }

    /// Why a day that is not in the lake can no longer be asked for.
    #[must_use]
    pub const fn why_lost(self) -> &'static str {
        match self.definition().extent {
            Extent::Windows { .. } => "Feishu no longer answers, and nothing was fetched before",
            Extent::Snapshot => "nothing was listed on the day itself, and the API has no history",
            Extent::Received => {
                "nothing was received on the day itself, and nothing replays events"
            }
        }
    }

    /// The source that is asked in this mode, and how, if what takes a call of its own is asked for
    /// too.
    #[must_use]
    pub const fn source(self, mode: SourceMode, is_fuller: bool) -> Source {
        let definition = self.definition();
        let fetch = match (is_fuller, definition.fuller) {
            (true, Some(fetch)) => fetch,
            _ => definition.fetch,
        };
        match (mode, definition.query) {
            (SourceMode::Query, Some(query)) => query,
            _ => Source {
                endpoint: definition.endpoint,
                scopes: definition.scopes,
                fetch,
                parameters: definition.parameters,
                compared: None,
            },
        }
    }

    /// The source that is asked if a job chooses nothing and a task makes as few calls as it can.
    #[must_use]
    pub const fn own_source(self) -> Source {
        self.source(SourceMode::Export, false)
    }

    /// How an export of the dataset is compared with its list; `None` if it cannot be.
    #[must_use]
    pub fn compared(self) -> Option<&'static ComparedColumns> {
        self.definition().query?.compared
    }

    /// All sources, with the mode in which each is asked.
    pub fn sources(self) -> impl Iterator<Item = (SourceMode, Source)> {
        let query = self.definition().query;
        let query = query.map(|query| (SourceMode::Query, query));
        [(SourceMode::Export, self.own_source())]
            .into_iter()
            .chain(query)
    }

    /// Whether a request asks for more than its day, so that an answer has rows of other days.
    #[must_use]
    pub const fn asks_for_more(self) -> bool {
        matches!(self.definition().extent, Extent::Windows { utc_buckets, .. } if utc_buckets)
    }

    /// Whether a tenant can do without it where calls are scarce: everything but the reports and
    /// the exports, for which people have a lake in the first place.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        !self.is_export() && !matches!(self, Self::DailyReport | Self::TopUser)
    }

    /// The datasets whose lists are read first, where each of their items is asked for.
    #[must_use]
    pub const fn nodes_of(self) -> &'static [Self] {
        match self.definition().fetch {
            Fetch::Nodes(nodes) => nodes.of,
            _ => &[],
        }
    }

    /// Whether its rows come from workbooks, unless a job asks the second source.
    #[must_use]
    pub const fn is_export(self) -> bool {
        matches!(self.definition().fetch, Fetch::Export)
    }

    /// Whether an endpoint is the second source of a dataset.
    #[must_use]
    pub fn is_queried(endpoint: &Endpoint) -> bool {
        let queries = Self::ALL.into_iter().map(|of| of.definition().query);
        queries.flatten().any(|query| query.endpoint == *endpoint)
    }

    /// How many datasets are asked for before this one, if everything is due at once: those without
    /// a parent come first, in the order of the list, then their children.
    #[must_use]
    pub fn rank(self) -> i64 {
        let generation = |of: Self| std::iter::successors(Some(of), |next| next.parent()).count();
        let place = |of: Self| (generation(of), of);
        let before = Self::ALL.into_iter().filter(|of| place(*of) < place(self));
        i64::try_from(before.count()).unwrap_or(i64::MAX)
    }

    /// The report that counts what this dataset lists.
    #[must_use]
    pub const fn counted_by(self) -> Option<Self> {
        match self.definition().plausibility {
            Plausibility::Reported { by, .. } => Some(by),
            Plausibility::None | Plausibility::OfParent { .. } => None,
        }
    }

    /// All endpoints that are ever called, each once.
    #[must_use]
    pub fn all_endpoints() -> Vec<Endpoint> {
        let sources = Self::ALL.into_iter().flat_map(Self::sources);
        let of_datasets = sources.flat_map(|(_, source)| source.calls(0));
        let of_datasets = of_datasets.map(|(endpoint, _)| endpoint);
        let mut endpoints: Vec<Endpoint> = of_datasets.chain([POLL, DOWNLOAD]).collect();
        let mut names = HashSet::new();
        endpoints.retain(|endpoint| names.insert(endpoint.name));
        endpoints
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no dataset's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a dataset; there are {}", Dataset::ALL.map(Dataset::as_str).join(", "))]
pub struct UnknownDataset {
    /// What was given.
    pub name: String,
}

impl FromStr for Dataset {
    type Err = UnknownDataset;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dataset| dataset.as_str() == name)
            .ok_or_else(|| UnknownDataset {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_parents_come_first() {
        for (index, dataset) in Dataset::ALL.into_iter().enumerate() {
            assert_eq!(dataset.as_str().parse(), Ok(dataset));
            let json = serde_json::to_string(&dataset).expect("JSON");
            assert_eq!(json, format!("\"{dataset}\""), "its name is its file's");
            let parent_index = dataset
                .parent()
                .and_then(|p| Dataset::ALL.iter().position(|d| *d == p));
            assert!(parent_index.is_none_or(|p| p < index));
        }
        assert!("meeting-list".parse::<Dataset>().is_err());
    }

    #[test]
    fn what_has_no_parent_is_asked_for_before_what_has_one() {
        let mut ranked = Dataset::ALL;
        ranked.sort_by_key(|dataset| dataset.rank());
        assert_eq!(
            ranked.map(Dataset::as_str),
            [
                "daily_report",
                "top_user",
                "meeting_list",
                "resource_reservation_list",
                "room",
                "room_level",
                "room_config",
                "reserve_config",
                "reserve",
                "alert",
                "meeting_event",
                "room_event",
                "participant_list",
                "meeting",
                "participant_quality_list",
                "meeting_participant",
                "recording",
            ]
        );
    }

    #[test]
    fn a_lake_is_kept_for_its_reports_and_exports() {
        let kept = Dataset::ALL
            .into_iter()
            .filter(|dataset| !dataset.is_optional());
        assert_eq!(
            kept.map(Dataset::as_str).collect::<Vec<_>>(),
            [
                "daily_report",
                "top_user",
                "meeting_list",
                "participant_list",
                "participant_quality_list",
                "resource_reservation_list",
            ]
        );
    }

    #[test]
    fn what_is_compared_are_columns_that_an_export_has() {
        for dataset in Dataset::ALL {
            let Some(compared) = dataset.compared() else {
                continue;
            };
            let columns = (dataset.definition().columns)();
            let find = |name: &str| columns.iter().find(|column| column.name == name);
            let groups = [compared.identity, compared.otherwise, compared.columns];
            let of_both = groups.into_iter().flatten().chain(&compared.user_id);
            for name in of_both {
                let column = find(name).unwrap_or_else(|| panic!("{dataset} has no {name}"));
                assert!(!column.is_sparse, "{dataset}: an export lacks {name}");
            }
            for (name, _) in compared.may_be_alone {
                assert!(find(name).is_some(), "{dataset} has no {name}");
            }
            assert!(!compared.identity.is_empty() && !compared.columns.is_empty());
        }
    }

    /// A limit is kept by the endpoint's name, so two endpoints with one name would share it.
    #[test]
    fn endpoints_have_names_of_their_own() {
        let sources = Dataset::ALL.into_iter().flat_map(Dataset::sources);
        let all = sources.flat_map(|(_, source)| source.calls(0));
        let all: Vec<Endpoint> = all.map(|(endpoint, _)| endpoint).collect();
        for endpoint in &all {
            let namesakes = all.iter().filter(|other| other.name == endpoint.name);
            assert!(namesakes.into_iter().all(|other| other == endpoint));
            let twins = all.iter().filter(|other| other.path == endpoint.path);
            assert!(twins.into_iter().all(|other| other == endpoint));
        }
    }
}

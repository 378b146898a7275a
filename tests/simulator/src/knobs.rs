//! Every reading of what the API leaves open, as a switch.
//!
//! The reference says which behaviours are documented, observed or unknown; an unknown one is a knob here, with the stricter or the
//! documented reading as its default. Plain values without behaviour: whoever is affected asks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use crate::company::Meeting;

/// Which of the two sites the simulator is.
///
/// Lark's pages are older than Feishu's: they lack parameters, and the console has only the older, coarser names of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Face {
    /// `open.feishu.cn`, for the mainland.
    #[default]
    Feishu,
    /// `open.larksuite.com`, for everybody else.
    Lark,
}

impl Face {
    /// Reads what [`Face::name`] gives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Feishu, Self::Lark]
            .into_iter()
            .find(|face| face.name() == name)
    }

    /// `feishu` or `lark`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feishu => "feishu",
            Self::Lark => "lark",
        }
    }

    /// IANA name of a zone in which a company of this site may sit. New York's has another offset in winter.
    #[must_use]
    pub const fn time_zone(self) -> &'static str {
        match self {
            Self::Feishu => "Asia/Shanghai",
            Self::Lark => "America/New_York",
        }
    }

    /// Where advice on an error is.
    pub(crate) const fn platform(self) -> &'static str {
        match self {
            Self::Feishu => "open.feishu.cn",
            Self::Lark => "open.larksuite.com",
        }
    }

    /// The company that events are of.
    pub(crate) const fn tenant_key(self) -> &'static str {
        match self {
            Self::Feishu => "2ca1d211f64f6438",
            Self::Lark => "7e05f1aa92c4b3d0",
        }
    }
}

/// Which rows a window selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Rows that begin inside the window.
    #[default]
    Start,
    /// Rows that share at least an instant with the window.
    Overlap,
}

/// Where the buckets of the daily report begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DayBucket {
    /// At 00:00 UTC, as in the only documented example.
    #[default]
    Utc,
    /// At midnight of the company's zone.
    Local,
}

/// Which header texts and columns a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The documented columns under their documented names.
    Documented,
    /// Other names, stray blanks and additional columns, as seen in real files.
    Observed,
    /// One of the two, decided by the request, so that the same request always gets the same one.
    #[default]
    Mixed,
}

/// Language of the headers and of the words in the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Simplified Chinese.
    #[default]
    Zh,
    /// English, with the vendor's spelling.
    En,
}

/// Sheets beyond the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtraSheets {
    /// One sheet.
    #[default]
    None,
    /// A second sheet of notes, without any known header.
    Notes,
    /// The rows are divided over two sheets, each with the header.
    Split,
}

/// What becomes of an export for a meeting or a participant that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownTarget {
    /// The task is done and its file has only the header.
    #[default]
    EmptyFile,
    /// The task fails (status 2) with `data not exist`.
    FailedTask,
}

/// Unit of `meeting_duration` in the top-user report, over which the documentation contradicts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopUserUnit {
    /// As the endpoint's page says.
    #[default]
    Minutes,
    /// As the overview says.
    Seconds,
}

/// How pages of alerts follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertPages {
    /// Each alert stands on one page.
    #[default]
    Sound,
    /// Each page but the first begins with the last alert of the page before.
    Overlapping,
    /// The last page says that there is another one, and names itself.
    Endless,
}

/// Whom a list by query shows of a webinar, if it asks for no role. Meetings with an even number are webinars; of their participants every
/// third one is a panelist, the others are attendees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebinarList {
    /// Everybody.
    Whole,
    /// The panelists.
    Panelists,
    /// Nobody.
    Nobody,
}

/// What the list of scopes is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScopeList {
    /// As documented: a name and whether it is granted.
    #[default]
    Plain,
    /// As seen: each scope twice, for the app and for users.
    Typed,
    /// Under other names than those that are documented.
    Renamed,
    /// The path does not exist, as on older sites.
    Absent,
    /// 212100: the app is not installed in the tenant.
    NotInstalled,
}

/// How long an export takes on average, in simulated time; each task takes between half and one and a half of it.
#[derive(Clone, Copy, Debug)]
pub struct ExportTimes {
    /// `meeting_list`, 8 s.
    pub meeting_list: Duration,
    /// `participant_list`, 5 s.
    pub participant_list: Duration,
    /// `participant_quality_list`, 6 s.
    pub participant_quality_list: Duration,
    /// `resource_reservation_list`, 10 s.
    pub resource_reservation_list: Duration,
}

impl Default for ExportTimes {
    /// Guesses: nothing is published. Long enough that a first poll usually comes too early.
    fn default() -> Self {
        Self {
            meeting_list: Duration::from_secs(8),
            participant_list: Duration::from_secs(5),
            participant_quality_list: Duration::from_secs(6),
            resource_reservation_list: Duration::from_secs(10),
        }
    }
}

/// All the switches. The defaults are what the reference documents, else the stricter reading.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Which of the two sites it is. Default: Feishu.
    pub face: Face,
    /// Which meetings and reservations a window selects. A participant list always takes every overlapping meeting of its number,
    /// because a window that begins after the meeting is known to work. Default: by start.
    pub selection: Selection,
    /// The instant `end_time` itself belongs to a window. Default: it does not.
    pub end_inclusive: bool,
    /// Where the daily report cuts its days. Default: UTC.
    pub day_bucket: DayBucket,
    /// A room level stands for itself and everything below it, in reservations and `rooms`. Default: for itself only. No level at all
    /// always means the whole tenant.
    pub with_descendants: bool,
    /// Windows longer than the limit of the JSON sibling endpoint (meeting list: a year, upcoming: 31 days, others: a day) are refused with
    /// 121003. Default: refused.
    pub refuse_long_spans: bool,
    /// Refuses too when the window is exactly one meeting that lasts longer than a day. Default: such a request is accepted.
    pub refuse_long_meetings: bool,
    /// Report windows that begin more than 90 days ago are refused with 121003; otherwise they only lack the older data. Default:
    /// refused.
    pub refuse_old_reports: bool,
    /// Longest report window in days, beyond which 121003. Default: none, as none is documented.
    pub longest_report_days: Option<u32>,
    /// Header texts and columns. Default: mixed.
    pub layout: Layout,
    /// Language of the files. Default: Chinese.
    pub language: Language,
    /// Sheets beyond the first. Default: none.
    pub extra_sheets: ExtraSheets,
    /// Date-times end in `(GMT+08:00)`. Default: they do.
    pub zone_suffix: bool,
    /// Counts are numeric cells instead of text. Default: text.
    pub numeric_counts: bool,
    /// Participant sheets carry a column 会议室ID, so that rooms have an id. Default: they do not.
    pub room_id_column: bool,
    /// An exceeded limit answers HTTP 400 instead of 429, as some old endpoints do. Default: 429.
    pub rate_limit_as_400: bool,
    /// Calls a minute to each of the two reports, whose "special" limit is not published. Default: 60.
    pub report_calls_per_minute: u32,
    /// Scopes granted to the app (and by the user). Default: all that the simulated endpoints need, under the names that both sites have.
    pub scopes: BTreeSet<String>,
    /// Scopes that are granted for use in the name of a user only. Default: none.
    pub user_scopes: BTreeSet<String>,
    /// Scopes granted to the app that may write. Default: those for rooms and reservations.
    pub write_scopes: BTreeSet<String>,
    /// What the list of scopes is like. Default: as documented.
    pub scope_list: ScopeList,
    /// Good answers have the headers of a limit too. Default: they have not, as nobody documents it.
    pub rate_headers: bool,
    /// `GET meetings` exists, which no documentation has. Default: it does not.
    pub lists_meetings: bool,
    /// The app's creator (and the user) may use Meeting management in the admin console; without it exports answer 403/121005. Default: yes.
    pub admin_role: bool,
    /// Every call but those for tokens is refused with 99991401, as if the caller's address were not on the app's list. Default: no.
    pub address_denied: bool,
    /// What an export for an unknown meeting or participant gives. Default: a header-only file.
    pub unknown_target: UnknownTarget,
    /// Unit of the top-user report's duration. Default: minutes.
    pub top_user_unit: TopUserUnit,
    /// Share of the finished tasks that carry `fail_msg: "no permission"` although they are done. Default: 0.3.
    pub misleading_fail_msg: f64,
    /// How long exports take.
    pub export_times: ExportTimes,
    /// A file that every export hands out byte for byte in place of the company's rows, such as a
    /// workbook of a million rows. Default: none.
    pub export_file: Option<PathBuf>,
    /// So many rooms in all, 16 to 100,000; the first 16 are always the same. Default: 16.
    pub rooms: Option<usize>,
    /// So many listings of rooms see the order change between their first and their second page,
    /// as it does when somebody creates or renames a room at that moment: every room moves on by
    /// one place and the last one becomes the first, so that the listing has one room twice and
    /// lacks another one. The first page read again shows other ids. A listing of one page does
    /// not count; listings of all clients and levels do. Default: none.
    pub rooms_move: u32,
    /// So many listings by query see the order change between their first and their second page, as
    /// `rooms_move` says of rooms. Default: none.
    pub queries_move: u32,
    /// So many items, the last ones, are missing in lists by query. Default: none.
    pub queries_lack: usize,
    /// What a list by query that asks for no role shows of a webinar's participants. Default: no meeting is a webinar.
    pub webinars: Option<WebinarList>,
    /// The member of which the first item of a list by query says something else than the sheet. Default: none.
    pub queries_differ: Option<String>,
    /// Two more rooms that change from day to day; [`Company::rooms_on`](crate::Company::rooms_on)
    /// says how. A listing across midnight sees both days. Default: rooms never change.
    pub rooms_change: bool,
    /// So many rooms, the last ones, are listed and are gone when their configuration is asked for.
    /// Default: none.
    pub rooms_vanish: usize,
    /// The tenant's edition has administrators of reservations; without it that part of a
    /// configuration answers 125002. Default: it has.
    pub admins_offered: bool,
    /// Of so many rooms, the first ones, the notice of a disabled room is withheld (403, 121005).
    /// Default: none.
    pub notices_withheld: usize,
    /// Most items on a page of `rooms`, `room_levels` and `alerts`, whatever the client asks for.
    /// Default: 100, as documented of the first two.
    pub page_size: usize,
    /// How pages of alerts and of the lists by query follow one another. Default: soundly.
    pub alert_pages: AlertPages,
    /// Which meetings of a number a range of time selects; not documented. Default: by start.
    pub meeting_filter: MeetingFilter,
    /// Meetings that the scope's accessible data range does not hold: their details answer
    /// 403/121005. Default: none.
    pub hidden_meetings: HiddenMeetings,
    /// A meeting's detail says that it began so many seconds later than the sheet does. Default: 0.
    pub meeting_drift_s: i64,
    /// How long after a meeting its recording is linked to it. Until then the answer has none, or
    /// is 124002. Default: 15 minutes.
    pub recording_after: SignedDuration,
    /// How long after its end a meeting's detail says that it goes on. Default: it does not.
    pub goes_on_for: SignedDuration,
}

/// Which meetings of a number a range of time selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeetingFilter {
    /// Those that begin in it.
    #[default]
    Start,
    /// Those that end in it.
    End,
    /// Those that share an instant with it.
    Overlap,
}

/// Which meetings the app may not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HiddenMeetings {
    /// None of them.
    #[default]
    None,
    /// Every fourth one, as if somebody outside of the tenant owned it.
    EveryFourth,
    /// All of them.
    All,
}

impl HiddenMeetings {
    /// Whether it is one of them.
    #[must_use]
    pub fn has(self, meeting: &Meeting) -> bool {
        match self {
            Self::None => false,
            Self::EveryFourth => meeting.id().bytes().map(u32::from).sum::<u32>() % 4 == 0,
            Self::All => true,
        }
    }
}

impl Knobs {
    /// The defaults of a site: Lark's files are in English.
    #[must_use]
    pub fn of(face: Face) -> Self {
        let language = match face {
            Face::Feishu => Language::Zh,
            Face::Lark => Language::En,
        };
        let mut knobs = Self {
            face,
            language,
            ..Self::default()
        };
        if face == Face::Lark {
            for unknown in [crate::auth::SCOPE_NOTE, crate::auth::SCOPE_VERBATIM] {
                knobs.scopes.remove(unknown);
            }
        }
        knobs
    }
}

impl Default for Knobs {
    fn default() -> Self {
        let scopes = [
            crate::auth::SCOPE_EXPORT,
            crate::auth::SCOPE_REPORT,
            crate::auth::SCOPE_ROOM_READONLY,
            crate::auth::SCOPE_ALERT,
            crate::auth::SCOPE_MEETING_READONLY,
            crate::auth::SCOPE_RECORD,
            crate::auth::SCOPE_RESERVE_READONLY,
            crate::auth::SCOPE_EMPLOYEE_ID,
            crate::auth::SCOPE_NOTE,
            crate::auth::SCOPE_VERBATIM,
        ];
        Self {
            face: Face::default(),
            selection: Selection::default(),
            end_inclusive: false,
            day_bucket: DayBucket::default(),
            with_descendants: false,
            refuse_long_spans: true,
            refuse_long_meetings: false,
            refuse_old_reports: true,
            longest_report_days: None,
            layout: Layout::default(),
            language: Language::default(),
            extra_sheets: ExtraSheets::default(),
            zone_suffix: true,
            numeric_counts: false,
            room_id_column: false,
            rate_limit_as_400: false,
            report_calls_per_minute: 60,
            scopes: scopes.map(str::to_owned).into(),
            user_scopes: BTreeSet::new(),
            write_scopes: ["vc:room", "vc:reserve"].map(str::to_owned).into(),
            scope_list: ScopeList::default(),
            rate_headers: false,
            lists_meetings: false,
            admin_role: true,
            address_denied: false,
            unknown_target: UnknownTarget::default(),
            top_user_unit: TopUserUnit::default(),
            misleading_fail_msg: 0.3,
            export_times: ExportTimes::default(),
            export_file: None,
            rooms: None,
            rooms_move: 0,
            queries_move: 0,
            queries_lack: 0,
            webinars: None,
            queries_differ: None,
            rooms_change: false,
            rooms_vanish: 0,
            admins_offered: true,
            notices_withheld: 0,
            page_size: 100,
            alert_pages: AlertPages::default(),
            meeting_filter: MeetingFilter::default(),
            hidden_meetings: HiddenMeetings::default(),
            meeting_drift_s: 0,
            recording_after: SignedDuration::from_mins(15),
            goes_on_for: SignedDuration::ZERO,
        }
    }
}

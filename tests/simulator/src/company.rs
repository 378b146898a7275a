//! The simulated company: the truth behind every endpoint.
//!
//! It is made once from a seed and a range of civil days, and never changes; what changes from day
//! to day in it is asked for with a date. Everything derives from the seed, the date and the
//! position in the day by hashing, so a day is the same whatever range it belongs to. It knows
//! nothing of HTTP, of files or of the clock; whether a meeting has ended is for the caller to ask
//! with an instant.

mod alerts;
mod configs;
mod meetings;
mod people;
mod quality;
mod reservations;
mod reserves;
mod rooms;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

pub use alerts::{Alert, AlertStatus};
pub use configs::{ConfigNode, Material, NodeConfig, ReserveForm, ReserveRules, Signage};
pub(crate) use meetings::MOST_MEETINGS_PER_DAY;
pub use meetings::{Attendee, LeaveReason, Meeting, MeetingKind, Participant};
pub use people::Employee;
pub use quality::{QUALITY_CELLS, QualityMinute};
pub use reservations::{CheckInDevice, CheckInStatus, Reservation, ReservationStatus};
pub use reserves::Reserve;
pub(crate) use rooms::FIRST_ROOMS;
pub use rooms::{Blanks, DisableEnd, Room, RoomLevel};

use crate::random::Draw;

/// Everything that is true of the company.
#[derive(Debug)]
pub struct Company {
    root: Draw,
    zone: TimeZone,
    first_day: Date,
    last_day: Date,
    employees: Vec<Arc<Employee>>,
    levels: Vec<RoomLevel>,
    /// Those that are there on every day.
    rooms: Vec<Arc<Room>>,
    /// Further rooms come and go.
    rooms_change: bool,
    /// By start.
    meetings: Vec<Arc<Meeting>>,
    by_number: HashMap<String, Vec<Arc<Meeting>>>,
    /// By start.
    reservations: Vec<Reservation>,
    /// By time.
    alerts: Vec<Alert>,
}

/// What one civil day holds, counted by start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DaySummary {
    /// The day in the company's zone, `YYYY-MM-DD`.
    pub date: String,
    /// Ended meetings.
    pub meetings: u64,
    /// Seconds of these meetings.
    pub meeting_duration_s: i64,
    /// People and rooms in these meetings, each once a meeting: what the daily report counts.
    pub participants: u64,
    /// Rows of their participant sheets: one for each device.
    pub participant_rows: u64,
    /// Participants for whom a quality export can be asked.
    pub quality_sheets: u64,
    /// Rows over all their quality sheets.
    pub quality_minutes: u64,
    /// Bookings of rooms.
    pub reservations: u64,
}

impl Company {
    /// The company of `seed` on the `days` civil days of `zone` that end with `last_day`, at least one.
    #[must_use]
    pub fn new(
        seed: u64,
        last_day: Date,
        days: u32,
        meetings_per_day: u32,
        zone: TimeZone,
    ) -> Self {
        let root = Draw::new(seed);
        let first_day = last_day.saturating_sub((i64::from(days.max(1)) - 1).days());
        let employees = people::employees(root);
        let levels = rooms::levels(root);
        let builder = rooms::Builder {
            root,
            levels: &levels,
            employees: &employees,
        };
        let rooms = builder.rooms(0..FIRST_ROOMS);
        let cast = meetings::Cast {
            root,
            employees: &employees,
            rooms: &rooms,
            zone: &zone,
        };
        let mut meetings = Vec::new();
        let mut reservations = Vec::new();
        let mut alerts = Vec::new();
        for date in first_day
            .series(1.day())
            .take_while(|&date| date <= last_day)
        {
            meetings.extend(
                cast.day(date, meetings_per_day.min(MOST_MEETINGS_PER_DAY))
                    .into_iter()
                    .map(Arc::new),
            );
            reservations.extend(reservations::day(root, date, &zone, &rooms, &employees));
            alerts.extend(alerts::day(root, date, &zone, &rooms, &employees));
        }
        meetings.sort_by_key(|meeting| (meeting.start, meeting.end));
        reservations.sort_by_key(|reservation| reservation.start);
        let mut by_number: HashMap<String, Vec<Arc<Meeting>>> = HashMap::new();
        for meeting in &meetings {
            by_number
                .entry(meeting.meeting_no.clone())
                .or_default()
                .push(Arc::clone(meeting));
        }
        Self {
            root,
            zone,
            first_day,
            last_day,
            employees,
            levels,
            rooms,
            rooms_change: false,
            meetings,
            by_number,
            reservations,
            alerts,
        }
    }

    /// The same company with `count` rooms in all, at least the 16 that it has anyway. The others
    /// are spread over the levels and have neither bookings nor meetings, so that everything else
    /// stays as it is.
    #[must_use]
    pub fn with_rooms(mut self, count: usize) -> Self {
        self.rooms.truncate(FIRST_ROOMS);
        let others = self.room_builder().rooms(FIRST_ROOMS..count);
        self.rooms.extend(others);
        self
    }

    /// The same company with two more rooms on every day, which change from day to day as
    /// [`Self::rooms_on`] says. They have neither bookings nor meetings.
    #[must_use]
    pub fn with_changing_rooms(mut self) -> Self {
        self.rooms_change = true;
        self
    }

    /// First civil day with data.
    #[must_use]
    pub fn first_day(&self) -> Date {
        self.first_day
    }

    /// Last civil day with data.
    #[must_use]
    pub fn last_day(&self) -> Date {
        self.last_day
    }

    /// The zone in which the company's days are cut and its files are written.
    #[must_use]
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Everybody who works here.
    #[must_use]
    pub fn employees(&self) -> &[Arc<Employee>] {
        &self.employees
    }

    /// All departments' names.
    #[must_use]
    pub fn departments(&self) -> &'static [&'static str] {
        &people::DEPARTMENTS
    }

    /// All levels, the tenant first and parents before children.
    #[must_use]
    pub fn room_levels(&self) -> &[RoomLevel] {
        &self.levels
    }

    /// All rooms that are there on every day, the disabled ones too.
    #[must_use]
    pub fn rooms(&self) -> &[Arc<Room>] {
        &self.rooms
    }

    /// All rooms of `date`, in the order of a listing. Without changes they are [`Self::rooms`].
    ///
    /// With changes, two more follow. On every second day (the even ones, counted from 1970-01-01)
    /// one room appears, one gets another name and one disappears; on the days between, nothing
    /// changes. So of three days in a row, two are alike and two differ in three rooms.
    #[must_use]
    pub fn rooms_on(&self, date: Date) -> Vec<Arc<Room>> {
        let mut rooms = self.rooms.clone();
        if self.rooms_change {
            rooms.extend(self.room_builder().passing(meetings::day_number(date)));
        }
        rooms
    }

    /// What is set for a node itself.
    #[must_use]
    pub fn own_config(&self, node: &ConfigNode) -> NodeConfig {
        self.setter().own(node.id(), node.is_tenant())
    }

    /// What holds for a node: its own values, else those of the nearest level above.
    #[must_use]
    pub fn effective_config(&self, node: &ConfigNode) -> NodeConfig {
        let above = node.above();
        let above = above.iter().filter_map(|id| self.room_level(id));
        above.fold(self.own_config(node), |config, level| {
            config.or(self.own_config(&ConfigNode::Level(level.clone())))
        })
    }

    /// How a node may be reserved.
    #[must_use]
    pub fn reserve_rules(&self, node: &ConfigNode) -> ReserveRules {
        self.setter().rules(node.id(), node.is_tenant())
    }

    /// The levels and the rooms of a day, each with a configuration.
    #[must_use]
    pub fn config_nodes(&self, date: Date) -> Vec<ConfigNode> {
        let levels = self.levels.iter().cloned().map(ConfigNode::Level);
        let rooms = self.rooms_on(date).into_iter().map(ConfigNode::Room);
        levels.chain(rooms).collect()
    }

    fn setter(&self) -> configs::Setter<'_> {
        configs::Setter {
            root: self.root,
            employees: &self.employees,
        }
    }

    /// Reservations that were made through the API.
    #[must_use]
    pub fn reserves(&self) -> Vec<Reserve> {
        let (first, last) = (
            self.start_of_day(self.first_day),
            self.start_of_day(self.last_day),
        );
        reserves::reserves(self.root, &self.employees, first, last)
    }

    fn room_builder(&self) -> rooms::Builder<'_> {
        rooms::Builder {
            root: self.root,
            levels: &self.levels,
            employees: &self.employees,
        }
    }

    /// All meetings of the simulated days, by start.
    #[must_use]
    pub fn meetings(&self) -> &[Arc<Meeting>] {
        &self.meetings
    }

    /// All bookings of the simulated days, by start.
    #[must_use]
    pub fn reservations(&self) -> &[Reservation] {
        &self.reservations
    }

    /// All alerts of the simulated days, by time.
    #[must_use]
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Meetings that begin in `[start, end)`.
    #[must_use]
    pub fn meetings_in(&self, start: Timestamp, end: Timestamp) -> &[Arc<Meeting>] {
        between(&self.meetings, start, end, |meeting| meeting.start)
    }

    /// Meetings that share an instant with `[start, end)`.
    pub fn meetings_overlapping(
        &self,
        start: Timestamp,
        end: Timestamp,
    ) -> impl Iterator<Item = &Arc<Meeting>> {
        let earliest = start
            .saturating_sub(meetings::LONGEST_MEETING)
            .unwrap_or(Timestamp::MIN);
        self.meetings_in(earliest, end)
            .iter()
            .filter(move |meeting| meeting.end > start)
    }

    /// All occurrences of the meeting with this number, by start.
    #[must_use]
    pub fn meetings_numbered(&self, meeting_no: &str) -> &[Arc<Meeting>] {
        self.by_number.get(meeting_no).map_or(&[], Vec::as_slice)
    }

    /// The meeting with this unique id.
    #[must_use]
    pub fn meeting(&self, id: &str) -> Option<&Arc<Meeting>> {
        // The number is a part of the id.
        let number = id.get(10..)?;
        let mut numbered = self.meetings_numbered(number).iter();
        numbered.find(|meeting| meeting.id() == id)
    }

    /// Meetings under way at `now` and ahead of it, beyond those of the simulated days. They belong to the hour of `now` and never become
    /// ended ones.
    #[must_use]
    pub fn live_meetings(&self, now: Timestamp) -> Vec<Arc<Meeting>> {
        let cast = meetings::Cast {
            root: self.root,
            employees: &self.employees,
            rooms: &self.rooms[..FIRST_ROOMS],
            zone: &self.zone,
        };
        cast.live(now).into_iter().map(Arc::new).collect()
    }

    /// Bookings that begin in `[start, end)`.
    #[must_use]
    pub fn reservations_in(&self, start: Timestamp, end: Timestamp) -> &[Reservation] {
        between(&self.reservations, start, end, |reservation| {
            reservation.start
        })
    }

    /// Bookings that share an instant with `[start, end)`.
    pub fn reservations_overlapping(
        &self,
        start: Timestamp,
        end: Timestamp,
    ) -> impl Iterator<Item = &Reservation> {
        let earliest = start
            .saturating_sub(meetings::LONGEST_MEETING)
            .unwrap_or(Timestamp::MIN);
        self.reservations_in(earliest, end)
            .iter()
            .filter(move |reservation| reservation.end > start)
    }

    /// The level with this id; `0` and the empty text are the tenant.
    #[must_use]
    pub fn room_level(&self, id: &str) -> Option<&RoomLevel> {
        if id.is_empty() || id == "0" {
            return self.levels.first();
        }
        self.levels.iter().find(|level| level.room_level_id == id)
    }

    /// The room with this id, of those that are there on every day.
    #[must_use]
    pub fn room(&self, id: &str) -> Option<&Arc<Room>> {
        self.rooms.iter().find(|room| room.room_id == id)
    }

    /// The civil day of `instant` in the company's zone.
    #[must_use]
    pub fn date_of(&self, instant: Timestamp) -> Date {
        instant.to_zoned(self.zone.clone()).date()
    }

    /// The first instant of `date`.
    #[must_use]
    pub fn start_of_day(&self, date: Date) -> Timestamp {
        date.to_zoned(self.zone.clone())
            .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    /// Every simulated day with what it holds, counting the meetings that have ended by `now`.
    #[must_use]
    pub fn day_summaries(&self, now: Timestamp) -> Vec<DaySummary> {
        let days = self
            .first_day
            .series(1.day())
            .take_while(|&date| date <= self.last_day);
        days.map(|date| self.day_summary(date, now)).collect()
    }

    fn day_summary(&self, date: Date, now: Timestamp) -> DaySummary {
        let start = self.start_of_day(date);
        let end = self.start_of_day(date.saturating_add(1.day()));
        let ended: Vec<_> = self
            .meetings_in(start, end)
            .iter()
            .filter(|meeting| meeting.end <= now)
            .collect();
        let rows = || ended.iter().flat_map(|meeting| &meeting.participants);
        DaySummary {
            date: date.to_string(),
            meetings: ended.len() as u64,
            meeting_duration_s: ended.iter().map(|meeting| meeting.duration_s()).sum(),
            participants: ended
                .iter()
                .map(|meeting| meeting.participant_count())
                .sum(),
            participant_rows: rows().count() as u64,
            quality_sheets: rows()
                .filter(|participant| participant.quality_minutes() > 0)
                .count() as u64,
            quality_minutes: ended.iter().map(|meeting| meeting.quality_minutes()).sum(),
            reservations: self.reservations_in(start, end).len() as u64,
        }
    }
}

/// The part of `sorted` whose instant lies in `[start, end)`.
fn between<T>(
    sorted: &[T],
    start: Timestamp,
    end: Timestamp,
    instant: impl Fn(&T) -> Timestamp,
) -> &[T] {
    let first = sorted.partition_point(|item| instant(item) < start);
    let last = sorted.partition_point(|item| instant(item) < end);
    sorted.get(first..last).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;

    use super::*;

    fn company(days: u32) -> Company {
        Company::new(
            42,
            date(2026, 10, 18),
            days,
            12,
            TimeZone::get("Asia/Shanghai").unwrap(),
        )
    }

    #[test]
    fn a_day_does_not_depend_on_the_range_it_belongs_to() {
        let (short, long) = (company(2), company(9));
        let start = short.start_of_day(short.first_day());
        let of_long = long.meetings_in(start, Timestamp::MAX);
        assert_eq!(format!("{:?}", short.meetings()), format!("{of_long:?}"));
        assert_eq!(
            format!("{:?}", short.reservations()),
            format!("{:?}", long.reservations_in(start, Timestamp::MAX))
        );
    }

    #[test]
    fn stays_lie_within_the_meeting_and_rows_of_a_person_differ() {
        for meeting in company(7).meetings() {
            let mut keys = HashSet::new();
            for participant in &meeting.participants {
                assert!(
                    meeting.start <= participant.join_time
                        && participant.join_time < participant.leave_time
                );
                assert!(participant.leave_time <= meeting.end);
                assert!(keys.insert((
                    participant.identity_key(),
                    participant.device,
                    participant.join_time
                )));
            }
        }
    }

    #[test]
    fn occurrences_of_a_number_never_overlap() {
        let company = company(30);
        for occurrences in company.by_number.values() {
            for pair in occurrences.windows(2) {
                assert!(
                    pair[0].end <= pair[1].start,
                    "{} {} {}",
                    pair[0].meeting_no,
                    pair[0].end,
                    pair[1].start
                );
            }
        }
    }

    #[test]
    fn one_off_meetings_never_share_a_number() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let company = Company::new(3, date(2026, 10, 18), 5, 3_000, zone);
        for occurrences in company.by_number.values() {
            assert!(
                occurrences.len() == 1 || occurrences.iter().all(|meeting| meeting.is_recurring)
            );
            assert_eq!(occurrences[0].meeting_no.len(), 9);
        }
    }

    #[test]
    fn the_special_cases_are_there() {
        let company = company(7);
        let meetings = company.meetings();
        assert_eq!(meetings.len(), 84);
        assert!(
            meetings
                .iter()
                .any(|meeting| meeting.duration_s() > 25 * 3_600)
        );
        let local = |instant: Timestamp| instant.to_zoned(company.zone.clone()).date();
        assert!(
            meetings
                .iter()
                .filter(|meeting| local(meeting.start) != local(meeting.end))
                .count()
                >= 7
        );
        assert!(
            company
                .by_number
                .values()
                .any(|occurrences| occurrences.len() == 14)
        );
        assert!(
            meetings.iter().any(|meeting| meeting.is_external())
                && meetings.iter().any(|meeting| meeting.used_phone())
        );
        assert!(
            meetings
                .iter()
                .any(|meeting| meeting.device_count() > meeting.participant_count())
        );
        assert!(
            meetings
                .iter()
                .flat_map(|meeting| &meeting.participants)
                .any(|participant| participant.room_id().is_some())
        );
        let rows = meetings
            .iter()
            .map(|meeting| meeting.device_count())
            .sum::<u64>() as f64
            / meetings.len() as f64;
        assert!((4.0..6.5).contains(&rows), "{rows}");
    }

    #[test]
    fn any_three_days_have_a_meeting_of_25_hours() {
        for day in 1..=9 {
            let company = Company::new(day, date(2026, 3, day as i8 + 2), 3, 5, TimeZone::UTC);
            assert!(
                company
                    .meetings()
                    .iter()
                    .any(|meeting| meeting.duration_s() > 25 * 3_600)
            );
        }
    }

    #[test]
    fn bookings_cover_every_status_and_repeat_a_slot() {
        let company = company(7);
        let statuses: HashSet<_> = company
            .reservations()
            .iter()
            .map(|booking| format!("{:?}", booking.status))
            .collect();
        assert_eq!(statuses.len(), 6);
        let mut slots = HashSet::new();
        let again = company
            .reservations()
            .iter()
            .filter(|booking| !slots.insert((&booking.room.room_id, booking.start)));
        assert!(again.count() > 3);
    }

    #[test]
    fn rooms_have_inner_owners_shared_names_and_disabled_ones() {
        let company = company(1);
        let inner = |room: &Room| {
            company
                .room_level(&room.room_level_id)
                .is_some_and(|level| level.has_child)
        };
        assert!(company.rooms().iter().any(|room| inner(room)));
        assert!(company.rooms().iter().any(|room| !room.enabled));
        assert_eq!(
            company
                .rooms()
                .iter()
                .filter(|room| room.name == "朝阳")
                .count(),
            2
        );
        assert_eq!(company.room_level("0").unwrap().parent_id, "");
    }

    #[test]
    fn live_meetings_are_under_way_or_ahead() {
        let company = company(1);
        for minute in 0..180 {
            let now: Timestamp = "2026-10-19T04:00:00Z".parse().unwrap();
            let now = now + jiff::SignedDuration::from_mins(minute);
            let live = company.live_meetings(now);
            assert!(live.iter().all(|meeting| meeting.end > now));
            assert!(
                live.iter().any(|meeting| meeting.start <= now)
                    && live.iter().any(|meeting| meeting.start > now)
            );
        }
    }

    impl Participant {
        fn identity_key(&self) -> String {
            format!("{}{:?}{:?}", self.name(), self.user_id(), self.room_id())
        }
    }
}

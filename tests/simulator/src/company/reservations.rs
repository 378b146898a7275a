//! Room bookings: what was reserved, given back and signed in to.
//!
//! Independent of the meetings, as in life: people book rooms and do not come. Some slots are booked, released and booked again, which
//! gives two rows with the same room and the same start.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::meetings::day_number;
use super::people::Employee;
use super::rooms::Room;
use crate::random::Draw;

const TOPICS: [&str; 10] = [
    "周会",
    "面试",
    "全员大会",
    "线上问题复盘, 第2次",
    "Roadmap\nsync",
    "  客户 来访  ",
    "=1+1",
    "<i>demo</i>",
    "🎂 生日会",
    "\"引号\" 评审",
];

/// What became of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationStatus {
    /// Somebody must still approve it.
    PendingApproval,
    /// It stands.
    Reserved,
    /// Somebody gave the room back.
    ReleasedManually,
    /// Given back because the meeting ended early.
    ReleasedAfterMeeting,
    /// Given back because nobody signed in.
    ReleasedNoCheckIn,
    /// Given back because the sensor saw nobody.
    ReleasedBySensor,
}

/// Whether and how people signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckInStatus {
    /// Booked on the spot.
    NotRequiredInstant,
    /// Switched off for the room.
    NotRequiredSettingOff,
    /// Not required.
    NotRequired,
    /// Nobody came in time.
    Missed,
    /// Still possible.
    Open,
    /// The room has no device for it.
    NotRequiredNoDevice,
    /// Somebody signed in.
    CheckedIn,
    /// Awaited.
    Awaiting,
    /// The room is disabled.
    RoomDisabled,
}

/// The device on which somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckInDevice {
    /// The board at the door.
    Board,
    /// A printed code.
    QrCode,
    /// The room's controller.
    Controller,
    /// The touch panel.
    TouchPanel,
    /// Nobody: the device was offline.
    OfflineAuto,
}

/// A booking of a room.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The room.
    pub room: Arc<Room>,
    /// What for; only shown when the request asks for topics.
    pub topic: String,
    /// Who booked.
    pub booker: Arc<Employee>,
    /// People invited.
    pub invitee_count: u32,
    /// People who accepted, at most the invited.
    pub accepted_count: u32,
    /// First instant of the slot.
    pub start: Timestamp,
    /// Last instant of the slot.
    pub end: Timestamp,
    /// What became of it.
    pub status: ReservationStatus,
    /// The device of the check-in, if there was one.
    pub check_in_device: Option<CheckInDevice>,
    /// How the check-in stands.
    pub check_in_status: CheckInStatus,
    /// When somebody signed in.
    pub check_in_time: Option<Timestamp>,
    /// Who gave the room back; empty when nobody or nothing did.
    pub releaser_name: String,
    /// When the room was given back.
    pub release_time: Option<Timestamp>,
}

/// The bookings of all `rooms` on `date`.
pub(super) fn day(
    root: Draw,
    date: Date,
    zone: &TimeZone,
    rooms: &[Arc<Room>],
    employees: &[Arc<Employee>],
) -> Vec<Reservation> {
    let draw = root.label("reservations").at(day_number(date));
    let mut reservations = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        let draw = draw.at(index as u64);
        // Every third hour from eight o'clock at most one slot, so that bookings of a room never overlap by accident.
        for slot in 0..5_u64 {
            let draw = draw.at(slot);
            if !draw
                .label("booked")
                .chance(if room.enabled { 0.45 } else { 0.08 })
            {
                continue;
            }
            let local = date.at(
                (8 + 3 * slot) as i8,
                15 * draw.label("quarter").below(4) as i8,
                0,
                0,
            );
            let Ok(start) = local.to_zoned(zone.clone()) else {
                continue;
            };
            let end = start.timestamp()
                + SignedDuration::from_mins(15 * draw.label("quarters").between(1, 8) as i64);
            if draw.label("released before").chance(0.12) {
                let mut first =
                    booking(draw.label("first"), room, employees, start.timestamp(), end);
                release(
                    &mut first,
                    ReservationStatus::ReleasedManually,
                    draw.label("first"),
                );
                reservations.push(first);
            }
            reservations.push(booking(draw, room, employees, start.timestamp(), end));
        }
    }
    reservations
}

fn booking(
    draw: Draw,
    room: &Arc<Room>,
    employees: &[Arc<Employee>],
    start: Timestamp,
    end: Timestamp,
) -> Reservation {
    let invitee_count = draw.label("invitees").between(1, 40) as u32;
    let mut reservation = Reservation {
        room: Arc::clone(room),
        topic: draw.label("topic").pick(&TOPICS).to_owned(),
        booker: Arc::clone(&employees[draw.label("booker").below(employees.len() as u64) as usize]),
        invitee_count,
        accepted_count: draw.label("accepted").below(u64::from(invitee_count) + 1) as u32,
        start,
        end,
        status: ReservationStatus::Reserved,
        check_in_device: None,
        check_in_status: CheckInStatus::NotRequired,
        check_in_time: None,
        releaser_name: String::new(),
        release_time: None,
    };
    use ReservationStatus as Status;
    let status = draw.label("status").pick(&[
        Status::Reserved,
        Status::Reserved,
        Status::Reserved,
        Status::Reserved,
        Status::ReleasedAfterMeeting,
        Status::ReleasedAfterMeeting,
        Status::ReleasedManually,
        Status::ReleasedNoCheckIn,
        Status::ReleasedBySensor,
        Status::PendingApproval,
    ]);
    match status {
        Status::PendingApproval => pend(&mut reservation, draw),
        Status::Reserved => check_in(&mut reservation, draw),
        Status::ReleasedAfterMeeting => {
            check_in(&mut reservation, draw);
            release(&mut reservation, status, draw);
        }
        Status::ReleasedManually | Status::ReleasedNoCheckIn | Status::ReleasedBySensor => {
            release(&mut reservation, status, draw)
        }
    }
    if !room.enabled {
        reservation.check_in_status = CheckInStatus::RoomDisabled;
        reservation.check_in_device = None;
        reservation.check_in_time = None;
    }
    reservation
}

fn pend(reservation: &mut Reservation, draw: Draw) {
    reservation.status = ReservationStatus::PendingApproval;
    reservation.check_in_status = draw
        .label("pending")
        .pick(&[CheckInStatus::Awaiting, CheckInStatus::Open]);
}

fn check_in(reservation: &mut Reservation, draw: Draw) {
    use CheckInDevice as Device;
    use CheckInStatus as Status;
    reservation.check_in_status = draw.label("check in").pick(&[
        Status::CheckedIn,
        Status::CheckedIn,
        Status::CheckedIn,
        Status::NotRequiredInstant,
        Status::NotRequiredSettingOff,
        Status::NotRequired,
        Status::NotRequiredNoDevice,
    ]);
    if reservation.check_in_status == Status::CheckedIn {
        let device = draw.label("check-in device");
        reservation.check_in_device = Some(device.pick(&[
            Device::Board,
            Device::QrCode,
            Device::Controller,
            Device::TouchPanel,
            Device::OfflineAuto,
        ]));
        let early_s = draw.label("check-in time").below(540) as i64 - 240;
        reservation.check_in_time = Some(reservation.start + SignedDuration::from_secs(early_s));
    }
}

fn release(reservation: &mut Reservation, status: ReservationStatus, draw: Draw) {
    use ReservationStatus as Status;
    reservation.status = status;
    let after_start =
        |seconds: u64| Some(reservation.start + SignedDuration::from_secs(seconds as i64));
    let length_s = (reservation.end.as_second() - reservation.start.as_second()) as u64;
    let (release_time, releaser_name) = match status {
        Status::ReleasedManually => {
            let ahead = SignedDuration::from_secs(draw.label("ahead").between(600, 86_400) as i64);
            (
                Some(reservation.start - ahead),
                reservation.booker.name.clone(),
            )
        }
        Status::ReleasedNoCheckIn => {
            reservation.check_in_status = CheckInStatus::Missed;
            (after_start(600), String::new())
        }
        Status::ReleasedBySensor => {
            reservation.check_in_status = CheckInStatus::NotRequiredNoDevice;
            (after_start(length_s / 2), String::new())
        }
        Status::ReleasedAfterMeeting => (
            after_start(length_s * 3 / 4),
            reservation.booker.name.clone(),
        ),
        Status::Reserved | Status::PendingApproval => (None, String::new()),
    };
    reservation.release_time = release_time;
    reservation.releaser_name = releaser_name;
}

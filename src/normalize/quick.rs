//! Fast paths for the texts that nearly every cell has: date-times and durations of fixed width,
//! plain digits, numbers with a unit.
//!
//! Every function returns exactly what its general counterpart in [`super::cell`] returns, or
//! `None`, which means that the counterpart must decide. The offset of a zone is looked up once for
//! each civil hour.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, civil};

const SECOND_US: i64 = 1_000_000;
/// Civil hours whose offset is kept. A month has fewer.
const CACHED_HOURS: usize = 1_024;
/// The powers of ten that are needed. A double holds all of them exactly.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The UTC offsets of a zone, in the hours that were asked for.
#[derive(Debug)]
pub(super) struct Offsets {
    zone: TimeZone,
    fixed_s: Option<i64>,
    hours: Vec<Hour>,
}

/// A civil hour and the offset of all its times.
#[derive(Clone, Copy, Debug)]
struct Hour {
    number: i64,
    /// Offset in seconds. `None` if it is not the same for all times of the hour.
    offset_s: Option<i64>,
}

impl Offsets {
    pub(super) fn new(zone: &TimeZone) -> Self {
        let fixed = zone.to_fixed_offset().ok();
        Self {
            zone: zone.clone(),
            fixed_s: fixed.map(|offset| i64::from(offset.seconds())),
            hours: Vec::new(),
        }
    }

    /// The offset, in seconds, of every civil time in an hour. `None` if it changes in the hour, or
    /// if a time has no offset or two.
    fn of_hour(&mut self, number: i64) -> Option<i64> {
        if self.fixed_s.is_some() {
            return self.fixed_s;
        }
        if self.hours.is_empty() {
            // No date-time has an hour with this number.
            let none = Hour {
                number: i64::MIN,
                offset_s: None,
            };
            self.hours = vec![none; CACHED_HOURS];
        }
        let place =
            usize::try_from(number.rem_euclid(CACHED_HOURS as i64)).expect("below CACHED_HOURS");
        if self.hours[place].number != number {
            let offset_s = self.look_up(number);
            self.hours[place] = Hour { number, offset_s };
        }
        self.hours[place].offset_s
    }

    fn look_up(&self, number: i64) -> Option<i64> {
        let first = civil::date(1970, 1, 1)
            .at(0, 0, 0, 0)
            .checked_add(SignedDuration::from_hours(number))
            .ok()?;
        let last = first.checked_add(SignedDuration::from_secs(3_599)).ok()?;
        let offset = self.only_offset(first)?;
        let is_steady = self.only_offset(last)? == offset && {
            let (from, to) = (
                offset.to_timestamp(first).ok()?,
                offset.to_timestamp(last).ok()?,
            );
            let next = self.zone.following(from).next();
            next.is_none_or(|change| change.timestamp() > to)
        };
        is_steady.then(|| i64::from(offset.seconds()))
    }

    fn only_offset(&self, civil: DateTime) -> Option<jiff::tz::Offset> {
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Some(offset),
            AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => None,
        }
    }
}

/// Microseconds since 1970 of `2022.07.21 11:01:40 (GMT+08:00)`, the same with `-` or `/`, or
/// without a zone.
pub(super) fn time(text: &str, offsets: &mut Offsets) -> Option<i64> {
    let (civil, suffix) = text.as_bytes().split_first_chunk::<19>()?;
    let separator = civil[4];
    if !matches!(separator, b'.' | b'-' | b'/')
        || [civil[7], civil[10], civil[13], civil[16]] != [separator, b' ', b':', b':']
    {
        return None;
    }
    let year = 100 * two_digits(civil, 0)? + two_digits(civil, 2)?;
    let (month, day) = (two_digits(civil, 5)?, two_digits(civil, 8)?);
    let (hour, minute, second) = (
        two_digits(civil, 11)?,
        two_digits(civil, 14)?,
        two_digits(civil, 17)?,
    );
    // Years near the limits of an instant are left to the general reader.
    if !(1_600..9_000).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let hours = days_since_1970(year, month, day) * 24 + hour;
    let offset_s = match suffix {
        [] => offsets.of_hour(hours)?,
        suffix => named_offset_s(suffix)?,
    };
    Some((hours * 3_600 + minute * 60 + second - offset_s) * SECOND_US)
}

/// Seconds of ` (GMT+08:00)`.
fn named_offset_s(suffix: &[u8]) -> Option<i64> {
    let suffix: &[u8; 12] = suffix.try_into().ok()?;
    let hours_minutes = suffix.strip_prefix(b" (GMT")?.strip_suffix(b")")?;
    let sign = match hours_minutes[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (two_digits(hours_minutes, 1)?, two_digits(hours_minutes, 4)?);
    (hours_minutes[3] == b':' && hours <= 14 && minutes <= 59)
        .then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Seconds of `01:02:03`.
pub(super) fn duration_s(text: &str) -> Option<i64> {
    let text: &[u8; 8] = text.as_bytes().try_into().ok()?;
    if [text[2], text[5]] != [b':', b':'] {
        return None;
    }
    let (hours, minutes, seconds) = (
        two_digits(text, 0)?,
        two_digits(text, 3)?,
        two_digits(text, 6)?,
    );
    (minutes <= 59 && seconds <= 59).then_some(hours * 3_600 + minutes * 60 + seconds)
}

/// One to fifteen digits.
pub(super) fn integer(text: &str) -> Option<i64> {
    let digits = text.as_bytes();
    if !(1..=15).contains(&digits.len()) {
        return None;
    }
    let mut number = 0;
    for byte in digits {
        number = number * 10 + digit(*byte)?;
    }
    Some(number)
}

/// The two words that exports use.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "是" => Some(true),
        "否" => Some(false),
        _ => None,
    }
}

/// A number of at most fifteen digits and one of `units`, with their powers of ten. Case does not
/// matter.
pub(super) fn measurement(text: &str, units: &[(&str, i32)]) -> Option<f64> {
    let bytes = text.as_bytes();
    let (mut mantissa, mut digits, mut decimals) = (0, 0, None);
    let mut length = 0;
    for byte in bytes {
        match (byte, decimals) {
            (b'.', None) if digits > 0 => decimals = Some(0),
            (byte, _) if byte.is_ascii_digit() => {
                mantissa = mantissa * 10 + digit(*byte)?;
                digits += 1;
                decimals = decimals.map(|count| count + 1);
                if digits > 15 {
                    return None;
                }
            }
            _ => break,
        }
        length += 1;
    }
    if digits == 0 || decimals == Some(0) {
        return None;
    }
    let unit = text.get(length..)?;
    let power = units
        .iter()
        .find(|known| known.0.eq_ignore_ascii_case(unit))?
        .1;
    // Both numbers are exact, so the one operation rounds once. The result is the nearest double,
    // as a parser of the decimal text gives it.
    let mantissa = mantissa as f64;
    let power = power - decimals.unwrap_or(0);
    let of_ten = POWERS.get(usize::try_from(power.unsigned_abs()).ok()?)?;
    Some(if power < 0 {
        mantissa / of_ten
    } else {
        mantissa * of_ten
    })
}

/// Whether a text begins and ends with an ASCII letter or digit. Then it is not a dash and has no
/// blanks around it.
pub(super) fn is_plain(text: &str) -> bool {
    match text.as_bytes() {
        [first, .., last] => first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric(),
        [only] => only.is_ascii_alphanumeric(),
        [] => false,
    }
}

/// Whether a text is one word of ASCII that is no dash: an id that reads as it is written.
pub(super) fn is_one_word(text: &str) -> bool {
    is_plain(text) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text is a run of digits.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

fn two_digits(text: &[u8], at: usize) -> Option<i64> {
    Some(10 * digit(text[at])? + digit(text[at + 1])?)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar. Years are counted from March, so that the leap day is the last
/// day.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::super::cell;
    use super::*;
    use crate::table::Cell;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use cell::KBPS;

    fn agrees<T: PartialEq + std::fmt::Debug>(
        quick: Option<T>,
        general: Result<Option<T>, crate::findings::Fault>,
        text: &str,
    ) {
        if let Some(value) = quick {
            assert_eq!(general, Ok(Some(value)), "{text}");
        }
    }

    fn check_time(text: &str, zone: &TimeZone, offsets: &mut Offsets) {
        let general = cell::time(&Cell::Text(text.into()), zone);
        let general = general.map(|time| time.map(Timestamp::as_microsecond));
        agrees(time(text, offsets), general, text);
    }

    #[test]
    fn the_usual_texts_are_read() {
        let mut shanghai = Offsets::new(&TimeZone::get("Asia/Shanghai").expect("a zone"));
        let with_zone = time("2022.07.21 11:01:40 (GMT+08:00)", &mut shanghai);
        assert_eq!(with_zone, Some(1_658_372_500_000_000));
        assert_eq!(time("2022-07-21 11:01:40", &mut shanghai), with_zone);
        assert_eq!(duration_s("01:02:03"), Some(3_723));
        assert_eq!(integer("1024"), Some(1_024));
        assert_eq!(measurement("1.1Mbps", KBPS), Some(1_100.0));
        assert_eq!(measurement("800bps", KBPS), Some(0.8));
        assert!(is_plain("48beab13") && !is_plain("-") && !is_plain(" 1") && !is_plain(""));
    }

    /// Every seventh second of days on which clocks change, in zones that change them by an hour,
    /// by half an hour, at midnight, and by a whole day.
    #[test]
    fn changes_of_the_clocks_are_no_exception() {
        let days = [
            ("Europe/Berlin", [(2026, 3, 29), (2026, 10, 25)]),
            ("America/New_York", [(2026, 3, 8), (2026, 11, 1)]),
            ("Australia/Lord_Howe", [(2026, 4, 5), (2026, 10, 4)]),
            ("America/Sao_Paulo", [(2018, 2, 17), (2018, 11, 4)]),
            ("Pacific/Apia", [(2011, 12, 29), (2011, 12, 30)]),
            ("Asia/Kathmandu", [(1985, 12, 31), (1986, 1, 1)]),
        ];
        for (name, days) in days {
            let zone = TimeZone::get(name).expect("a zone");
            let mut offsets = Offsets::new(&zone);
            for (year, month, day) in days {
                let midnight = civil::date(year, month, day).at(0, 0, 0, 0);
                for second in (-7_200..93_600).step_by(7) {
                    let at = midnight.saturating_add(SignedDuration::from_secs(second));
                    let text = at.strftime("%Y.%m.%d %H:%M:%S").to_string();
                    check_time(&text, &zone, &mut offsets);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn times_of_all_zones_agree(
            zone in 0usize..10_000,
            starts in prop::collection::vec(-3_000_000_000i64..7_000_000_000, 1..30),
        ) {
            let names = jiff::tz::db().available().map(|name| name.to_string());
            let names: Vec<String> = names.collect();
            let zone = TimeZone::get(&names[zone % names.len()]).expect("a zone");
            let mut offsets = Offsets::new(&zone);
            for start in starts {
                let at = Timestamp::from_second(start).expect("in range");
                // Also around the next change of the clocks.
                let change = zone.following(at).next().map_or(at, |change| change.timestamp());
                for at in [at, change] {
                    for second in [-3_700, -1_801, -1, 0, 1, 1_799, 3_599, 3_600, 7_300] {
                        let near = at + SignedDuration::from_secs(second);
                        let civil = TimeZone::UTC.to_datetime(near);
                        let local = zone.to_datetime(near);
                        for civil in [civil, local] {
                            let text = civil.strftime("%Y/%m/%d %H:%M:%S").to_string();
                            check_time(&text, &zone, &mut offsets);
                        }
                    }
                }
            }
        }

        #[test]
        fn whatever_stands_there_the_general_reader_agrees(
            text in "[0-9]{4}[.-/][0-9]{2}[.-/][0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\
                ( \\((GMT|UTC)[+-][01][0-9]:[0-9]{2}\\))?\
                |[0-2]{3}[0-9]\\.[01][0-9]\\.[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]\
                ( \\(GMT[+-][01][0-9]:[0-6][0-9]\\))?\
                |[0-9]{1,2}:[0-9]{2}:[0-9]{2}|[0-9]{0,17}|是|否\
                |[0-9]{0,9}\\.?[0-9]{0,9}([kMG]?bps| kbps|%)?",
        ) {
            let zone = TimeZone::get("Europe/Berlin").expect("a zone");
            check_time(&text, &zone, &mut Offsets::new(&zone));
            let filled = Cell::Text(text.as_str().into());
            agrees(duration_s(&text), cell::duration_s(&filled), &text);
            agrees(integer(&text), cell::integer(&filled), &text);
            agrees(boolean(&text), cell::boolean(&filled), &text);
            let general = cell::kbps(&filled).map(|number| number.map(f64::to_bits));
            agrees(measurement(&text, KBPS).map(f64::to_bits), general, &text);
        }
    }
}

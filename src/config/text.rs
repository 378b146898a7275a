//! Texts of the configuration as values: durations, sizes, names, zones, folders.
//!
//! Pure functions. Their errors are fragments that continue "`text` …" and never repeat the text,
//! which may come from the environment.

use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::document::nearest;

/// A duration: a whole number and one of s, m, h, d (24 hours).
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    quantity(text, &UNITS)
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "is not a duration; write a whole number and a unit: 30s, 15m, 6h, 1d".to_owned()
        })
}

/// A duration from `least` to `most`.
pub(super) fn duration_within(
    text: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, String> {
    let found = duration(text)?;
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    let (least, most) = (show_duration(least), show_duration(most));
    Err(format!("must be from {least} to {most}"))
}

/// A number of whole days from `least` to `most`.
pub(super) fn days(text: &str, least: u16, most: u16) -> Result<u16, String> {
    text.strip_suffix('d')
        .and_then(|days| days.trim_end().parse().ok())
        .filter(|days| (least..=most).contains(days))
        .ok_or_else(|| format!("must be whole days, from {least}d to {most}d"))
}

/// A size in bytes: a whole number and one of KiB, MiB, GiB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    quantity(text, &UNITS)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            "is not a size; write a whole number and a unit: 64KiB, 256MiB, 2GiB".to_owned()
        })
}

/// A size from `least` to `most` bytes.
pub(super) fn size_within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let found = size(text)?;
    if found < least {
        return Err(format!(
            "is too little; it takes at least {}MiB",
            least >> 20
        ));
    }
    if found > most {
        return Err(format!("is too much; the most is {}MiB", most >> 20));
    }
    Ok(found)
}

/// A share as a whole number of percent, 0 to 1.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|number| number.trim_end().parse::<u8>().ok())
        .filter(|percent| *percent <= 100)
        .map(|percent| f64::from(percent) / 100.0)
        .ok_or_else(|| "must be whole percent, from 0% to 100%".to_owned())
}

/// A path; one that begins with `~` would become a folder of that name.
pub(super) fn path(text: &str) -> Result<&str, String> {
    match text.starts_with('~') {
        true => Err("begins with `~`, which only a shell knows; write the whole path".to_owned()),
        false => Ok(text),
    }
}

/// A host by itself.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_bare = !text.is_empty() && !text.contains(['/', ':', '@', ' ']);
    match is_bare {
        true => Ok(text.to_owned()),
        false => Err("is not a host by itself; write it without scheme, port and path".to_owned()),
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits_end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration in its largest whole unit, as written in the configuration: `90m`, `6h`, `1d`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let whole = units
        .iter()
        .find(|(factor, _)| seconds > 0 && seconds.is_multiple_of(*factor));
    let (factor, unit) = whole.copied().unwrap_or((1, 's'));
    format!("{}{unit}", seconds / factor)
}

/// A zone of the IANA database.
pub(super) fn time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        let names: Vec<_> = jiff::tz::db().available().collect();
        let near = nearest(text, names.iter().map(|name| name.as_str()));
        let near = near.map_or_else(
            || "write one such as Asia/Shanghai".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        format!("is not a zone of the IANA database; {near}")
    })
}

/// Checks the name of a tenant or a job. It becomes part of object paths, so it may have only
/// lower-case letters, digits, `-` and `_`, and at most 64 characters.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(
        "must be lower-case letters, digits, `-` and `_`, start with a letter or digit, and have \
         at most 64 characters",
    )
}

/// A folder below the lake. Readers of the lake must not skip or misread any segment of it.
pub(super) fn destination(text: &str) -> Result<String, String> {
    let folder = text.trim_end_matches('/');
    if folder.is_empty() && text.is_empty() {
        return Ok(String::new());
    }
    match folder
        .split('/')
        .find(|segment| check_name(segment).is_err())
    {
        None => Ok(folder.to_owned()),
        Some(_) => Err(
            "is not a folder below the lake; each part must be lower-case letters, digits, `-` \
             and `_`, and start with a letter or digit"
                .to_owned(),
        ),
    }
}

/// The value of one of `words`. The error continues "`text` …".
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let near = nearest(text, known.iter().copied());
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("is not one of {}{hint}", known.join(", ")))
}

/// A text parsed as `T`. `otherwise` is the error.
pub(super) fn parsed<T: FromStr>(text: &str, otherwise: &str) -> Result<T, String> {
    text.parse().map_err(|_| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("6h"), Ok(Duration::from_secs(21_600)));
        assert_eq!(duration("90 m"), Ok(Duration::from_secs(5400)));
        for wrong in [
            "",
            "6",
            "h",
            "-1h",
            "1.5h",
            "6w",
            "1h30m",
            "99999999999999999999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0s", "45s", "90m", "6h", "3d"] {
            let read = duration(text).expect("a duration");
            assert_eq!(show_duration(read), text);
        }
    }

    #[test]
    fn sizes_and_days_are_bounded() {
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert!(size("0KiB").is_err());
        assert!(size("256").is_err());
        assert_eq!(days("1d", 1, 31), Ok(1));
        assert!(days("0d", 1, 31).is_err());
        assert!(days("24h", 1, 31).is_err());
    }

    #[test]
    fn a_misspelt_zone_gets_the_right_one() {
        assert!(time_zone("Asia/Shanghai").is_ok());
        let error = time_zone("Asia/Shangai").expect_err("no such zone");
        assert!(error.contains("`Asia/Shanghai`"), "{error}");
    }

    #[test]
    fn names_and_folders_stay_inside_the_lake() {
        for wrong in [
            "", "..", "_raw", "a b", "A", "a/../b", "/a", "a\\b", "a=b", "#1", "a//b",
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
            assert!(wrong.is_empty() || destination(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            destination("meetings/raw-2/"),
            Ok("meetings/raw-2".to_owned())
        );
        assert!(destination("/").is_err());
    }
}

//! Number formats that show a whole number with zeros in front: `000000` shows 123 as `000123`.
//! What people see there is an id, and the zeros belong to it.

/// Largest whole number up to which a double holds every one.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// How such a format shows a whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Padding(Vec<ShownPlace>);

/// One place of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownPlace {
    /// A digit, or a zero if there are none left.
    Digit,
    /// A digit, or nothing if there are none left.
    OptionalDigit,
    Literal(char),
}

impl Padding {
    /// The padding of a format code. `None` for a code that shows numbers in any other way. Only
    /// the section for positive numbers counts.
    pub(super) fn of(code: &str) -> Option<Self> {
        let mut places = Vec::new();
        let mut rest = code.chars();
        while let Some(c) = rest.next() {
            match c {
                ';' => break,
                '0' => places.push(ShownPlace::Digit),
                '#' => places.push(ShownPlace::OptionalDigit),
                '"' => {
                    let mut quoted = rest.by_ref().take_while(|c| *c != '"');
                    places.extend(quoted.by_ref().map(ShownPlace::Literal));
                }
                '\\' => places.push(ShownPlace::Literal(rest.next()?)),
                // As wide as the next character, or filled with it.
                '_' | '*' => drop(rest.next()?),
                '[' => {
                    let inner: String = rest.by_ref().take_while(|c| *c != ']').collect();
                    let is_colour = inner.chars().all(|c| c.is_ascii_alphabetic());
                    // A condition may choose another section.
                    (is_colour || inner.starts_with("$-")).then_some(())?;
                }
                '-' | '+' | ' ' | '(' | ')' | ':' => places.push(ShownPlace::Literal(c)),
                _ => return None,
            }
        }
        let zeros = places.iter().filter(|place| **place == ShownPlace::Digit);
        (zeros.count() >= 2).then_some(Self(places))
    }

    /// The number as it is shown. `None` if it is no whole number from 0 on.
    pub(super) fn shown(&self, number: f64) -> Option<String> {
        if number.fract() != 0.0 || !(0.0..=MAX_EXACT_INTEGER).contains(&number) {
            return None;
        }
        let digits = format!("{number:.0}");
        let mut left = digits.trim_start_matches('0').chars().rev();
        let first = self
            .0
            .iter()
            .position(|place| !matches!(place, ShownPlace::Literal(_)));
        let mut shown = Vec::new();
        for (at, place) in self.0.iter().enumerate().rev() {
            match place {
                ShownPlace::Literal(c) => shown.push(*c),
                ShownPlace::Digit => shown.push(left.next().unwrap_or('0')),
                ShownPlace::OptionalDigit => shown.extend(left.next()),
            }
            // What has no place stands at the first one.
            if Some(at) == first {
                shown.extend(left.by_ref());
            }
        }
        Some(shown.into_iter().rev().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_the_format_says() {
        for (code, number, shown) in [
            ("000000", 123.0, Some("000123")),
            ("000000", 0.0, Some("000000")),
            ("000000", 1_234_567.0, Some("1234567")),
            ("00000;-00000", 7.0, Some("00007")),
            ("0000_ ;[Red]-0000\\ ", 7.0, Some("0007")),
            ("[$-804]0000", 7.0, Some("0007")),
            ("\"E\"0000", 7.0, Some("E0007")),
            ("\\E0000", 12_345.0, Some("E12345")),
            ("000\\-00\\-0000", 123_456_789.0, Some("123-45-6789")),
            ("000-0000", 123.0, Some("000-0123")),
            ("##00", 7.0, Some("07")),
            ("##00", 1_234.0, Some("1234")),
            ("000", 1.5, None),
            ("000", -1.0, None),
            ("000", f64::NAN, None),
            ("000", 1e300, None),
        ] {
            let padding = Padding::of(code).expect(code);
            assert_eq!(padding.shown(number).as_deref(), shown, "{code} {number}");
        }
    }

    #[test]
    fn other_formats_pad_nothing() {
        for code in [
            "",
            "General",
            "0",
            "#",
            "#,##0",
            "0.00",
            "00.00",
            "0%",
            "00%",
            "0.00E+00",
            "@",
            "00/00",
            "[<=9999999]000-0000;(000) 000-0000",
            "yyyy",
            "00 ??",
            "\"000\"",
            "\\0\\0",
        ] {
            assert_eq!(Padding::of(code), None, "{code}");
        }
    }
}

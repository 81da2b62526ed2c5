//! The form of partition values that are times.
//!
//! A pattern has exactly the fields of its unit, from the year down, each of fixed width, so that
//! values sort as the times do: `yyyy-MM-dd` for days, `yyyy'Q'Q` for quarters. It is a subset of
//! what Java's `DateTimeFormatter` takes.

use jiff::civil::DateTime;

use super::super::names::check_new_name;
use super::super::options::TimeUnit;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePattern {
    pieces: Vec<Piece>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Year,
    Quarter,
    Month,
    Day,
    Hour,
    Literal(char),
}

/// The longest pattern that is read.
const PATTERN_BYTES_MAX: usize = 256;

impl TimePattern {
    /// The digits of a unit, such as `yyyyMMdd`.
    pub fn digits(unit: TimeUnit) -> Self {
        let text = match unit {
            TimeUnit::Year => "yyyy",
            TimeUnit::Quarter => "yyyyQ",
            TimeUnit::Month => "yyyyMM",
            TimeUnit::Day => "yyyyMMdd",
            TimeUnit::Hour => "yyyyMMddHH",
        };
        TimePattern {
            pieces: fields(unit).to_vec(),
            text: text.to_owned(),
        }
    }

    /// Reads a pattern for a unit.
    ///
    /// # Errors
    /// The text says what is wrong: a letter that is no field, other fields than those of the
    /// unit, another width, or text that cannot be part of a name.
    pub fn parse(text: &str, unit: TimeUnit) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let pieces = split(text)?;
        let found: Vec<Piece> = pieces
            .iter()
            .copied()
            .filter(|piece| !matches!(piece, Piece::Literal(_)))
            .collect();
        if found != fields(unit) {
            return Err(format!(
                "does not have exactly the fields of {unit}, the year first"
            ));
        }
        let pattern = TimePattern {
            pieces,
            text: text.to_owned(),
        };
        let example = pattern.format(DateTime::constant(2024, 11, 11, 11, 0, 0, 0));
        match check_new_name(&example) {
            Ok(()) => Ok(pattern),
            Err(reason) => Err(format!(
                "makes the partition value '{example}', which {reason}"
            )),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of a time. Its year has four digits.
    pub fn format(&self, time: DateTime) -> String {
        use std::fmt::Write;
        let mut out = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            let written = match piece {
                Piece::Year => write!(out, "{:04}", time.year()),
                Piece::Quarter => write!(out, "{}", (time.month() - 1) / 3 + 1),
                Piece::Month => write!(out, "{:02}", time.month()),
                Piece::Day => write!(out, "{:02}", time.day()),
                Piece::Hour => write!(out, "{:02}", time.hour()),
                Piece::Literal(literal) => out.write_char(*literal),
            };
            written.expect("a String takes all that is written");
        }
        out
    }

    /// True when a value has this form and its fields are in range. The 31st of any month passes,
    /// as in Fluss: values are compared as text.
    pub fn accepts(&self, value: &str) -> bool {
        let mut rest = value;
        for piece in &self.pieces {
            let taken = match piece {
                Piece::Year => number(&mut rest, 4, 1..=9999),
                Piece::Quarter => number(&mut rest, 1, 1..=4),
                Piece::Month => number(&mut rest, 2, 1..=12),
                Piece::Day => number(&mut rest, 2, 1..=31),
                Piece::Hour => number(&mut rest, 2, 0..=23),
                Piece::Literal(literal) => rest.strip_prefix(*literal).map(|after| rest = after),
            };
            if taken.is_none() {
                return false;
            }
        }
        rest.is_empty()
    }
}

fn number(rest: &mut &str, width: usize, range: std::ops::RangeInclusive<u32>) -> Option<()> {
    let (digits, after) = rest.split_at_checked(width)?;
    let value = digits.bytes().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })?;
    *rest = after;
    range.contains(&value).then_some(())
}

fn fields(unit: TimeUnit) -> &'static [Piece] {
    match unit {
        TimeUnit::Year => &[Piece::Year],
        TimeUnit::Quarter => &[Piece::Year, Piece::Quarter],
        TimeUnit::Month => &[Piece::Year, Piece::Month],
        TimeUnit::Day => &[Piece::Year, Piece::Month, Piece::Day],
        TimeUnit::Hour => &[Piece::Year, Piece::Month, Piece::Day, Piece::Hour],
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\'' if rest.next_if_eq(&'\'').is_some() => pieces.push(Piece::Literal('\'')),
            '\'' => quoted = !quoted,
            _ if quoted => pieces.push(Piece::Literal(letter)),
            '[' | ']' | '{' | '}' | '#' => {
                return Err(format!("has the unsupported character '{letter}'"));
            }
            _ if !letter.is_ascii_alphabetic() => pieces.push(Piece::Literal(letter)),
            _ => {
                let mut width = 1;
                while rest.next_if_eq(&letter).is_some() {
                    width += 1;
                }
                let (field, expected) = match letter {
                    'y' | 'u' => (Piece::Year, 4),
                    'Q' | 'q' => (Piece::Quarter, 1),
                    'M' | 'L' => (Piece::Month, 2),
                    'd' => (Piece::Day, 2),
                    'H' => (Piece::Hour, 2),
                    _ => return Err(format!("has the unsupported time field '{letter}'")),
                };
                if width != expected {
                    return Err(format!(
                        "has field '{letter}' {width} wide instead of {expected}"
                    ));
                }
                pieces.push(field);
            }
        }
    }
    if quoted {
        Err("has a quote without an end".to_owned())
    } else {
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_taken_and_refused_as_java_does() {
        for line in include_str!("../golden/time_formats.txt").lines() {
            let [unit, text, expected] = line.split('|').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let pattern = TimePattern::parse(text, TimeUnit::from_text(unit).unwrap());
            let ours =
                pattern.map(|pattern| pattern.format(DateTime::constant(2024, 11, 5, 7, 0, 0, 0)));
            match expected.strip_prefix("ok ") {
                Some(value) => assert_eq!(ours.as_deref(), Ok(value), "{line}"),
                None => assert!(ours.is_err(), "{line}"),
            }
        }
    }

    #[test]
    fn values_are_taken_and_refused_as_java_does() {
        // Java refuses every quarter, as its year is of open width there, and checks months and
        // hours only beside a day.
        let exceptions = ["20241", "202400", "2024022924"];
        for line in include_str!("../golden/partition_times.txt").lines() {
            let [unit, value, expected] = line.split('|').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let pattern = TimePattern::digits(TimeUnit::from_text(unit).unwrap());
            let expected = (expected == "true") != exceptions.contains(&value);
            assert_eq!(pattern.accepts(value), expected, "{line}");
        }
    }

    #[test]
    fn digits_are_the_pattern_that_they_say() {
        for unit in [
            TimeUnit::Year,
            TimeUnit::Quarter,
            TimeUnit::Month,
            TimeUnit::Day,
            TimeUnit::Hour,
        ] {
            let digits = TimePattern::digits(unit);
            assert_eq!(TimePattern::parse(digits.as_str(), unit), Ok(digits));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_patterns_and_values_never_panic(text in "[yQMdH'\\[é-]{0,14}", value in ".{0,12}") {
            for unit in [TimeUnit::Quarter, TimeUnit::Day] {
                if let Ok(pattern) = TimePattern::parse(&text, unit) {
                    let _ = pattern.accepts(&value);
                }
                let _ = TimePattern::digits(unit).accepts(&value);
            }
        }
    }
}

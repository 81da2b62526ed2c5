//! Text to checked values and back.

use super::key::{Kind, Unit, Width};

/// The value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Not set, and without a default.
    Unset,
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::Integer`], in the setting's own unit.
    Integer(i64),
    /// Of [`Kind::Double`].
    Double(f64),
    /// Of [`Kind::Text`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::List`] and [`Kind::Replicas`].
    List(Vec<String>),
}

/// How strictly text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// As Kafka reads it: numbers are digits.
    Kafka,
    /// As people write it: `10 min`, `1 gb` and upper case are understood too.
    Friendly,
}

/// Why a text is not a value of a setting; worded as Kafka words it, because clients show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

impl Kind {
    /// Reads and checks `text`.
    pub fn parse(&self, text: &str, spelling: Spelling) -> Result<Value, Unfit> {
        let trimmed = text.trim();
        match *self {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err(Unfit("Expected value to be either true or false".into())),
            Kind::Integer {
                width,
                min,
                max,
                or,
                unit,
            } => {
                let number = integer(trimmed, width, unit, spelling)?;
                if or == Some(number) {
                    return Ok(Value::Integer(number));
                }
                check_limits(number, min, max, or).map(Value::Integer)
            }
            Kind::Double { min, max } => {
                let number: f64 = trimmed
                    .parse()
                    .ok()
                    .filter(|number: &f64| !number.is_nan())
                    .ok_or_else(|| Unfit("Not a number of type DOUBLE".into()))?;
                if number < min {
                    return Err(Unfit(format!("Value must be at least {min}")));
                }
                if number > max {
                    return Err(Unfit(format!("Value must be no more than {max}")));
                }
                Ok(Value::Double(number))
            }
            Kind::Text => Ok(Value::Text(trimmed.to_owned())),
            Kind::Choice(words) => one_of(trimmed, words, spelling).map(Value::Text),
            Kind::List(words) => {
                let parts = split(trimmed)?;
                if words.is_empty() {
                    return Ok(Value::List(parts));
                }
                let parts = parts.iter().map(|part| one_of(part, words, spelling));
                Ok(Value::List(parts.collect::<Result<_, _>>()?))
            }
            Kind::Replicas => {
                let parts = split(trimmed)?;
                let is_pair = |part: &String| {
                    part.split_once(':').is_some_and(|(partition, broker)| {
                        [partition, broker]
                            .iter()
                            .all(|n| n.trim().parse::<u32>().is_ok())
                    })
                };
                if parts.iter().all(is_pair) || parts == ["*"] {
                    return Ok(Value::List(parts));
                }
                Err(Unfit(
                    "it must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        .into(),
                ))
            }
        }
    }

    /// What is allowed, in words, for messages and documentation.
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Boolean => "true or false".into(),
            Kind::Integer {
                width,
                min,
                max,
                or,
                unit,
            } => {
                let largest = match width {
                    Width::Int => i64::from(i32::MAX),
                    Width::Long => i64::MAX,
                };
                let range = match (min, max) {
                    (i64::MIN, _) => "any whole number".into(),
                    (min, max) if max == largest => format!("{min} or more"),
                    (min, max) => format!("{min} to {max}"),
                };
                let or = or.map_or(String::new(), |or| format!(", or {or}"));
                let unit = match unit.name() {
                    "" => String::new(),
                    unit => format!(" ({unit})"),
                };
                format!("{range}{or}{unit}")
            }
            Kind::Double { min, max } if max == f64::MAX => format!("{min} or more"),
            Kind::Double { min, max } => format!("{min} to {max}"),
            Kind::Text => "text".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::List([]) => "a list".into(),
            Kind::List(words) => format!("a list of {}", words.join(", ")),
            Kind::Replicas => "*, or a list of partition:broker".into(),
        }
    }

    /// An example of the friendly spelling, where there is one.
    pub(crate) fn example(&self) -> Option<&'static str> {
        match self {
            Kind::Integer {
                unit: Unit::Bytes, ..
            } => Some("\"64 mb\""),
            Kind::Integer {
                unit: Unit::Millis, ..
            } => Some("\"10 min\""),
            _ => None,
        }
    }
}

impl Value {
    /// As Kafka writes it; `None` when unset.
    pub fn to_kafka(&self) -> Option<String> {
        match self {
            Value::Unset => None,
            Value::Boolean(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Double(value) if value.fract() == 0.0 => Some(format!("{value:.1}")),
            Value::Double(value) => Some(value.to_string()),
            Value::Text(value) => Some(value.clone()),
            Value::List(values) => Some(values.join(",")),
        }
    }

    /// As Fluss writes it, `7 d` and `64 mb`; `None` when unset.
    pub fn to_fluss(&self, kind: &Kind) -> Option<String> {
        match (self, kind) {
            (Value::Integer(value), Kind::Integer { unit, .. }) => Some(spell_out(*value, *unit)),
            _ => self.to_kafka(),
        }
    }
}

fn integer(text: &str, width: Width, unit: Unit, spelling: Spelling) -> Result<i64, Unfit> {
    let number = match text.parse::<i64>() {
        Ok(number) => Some(number),
        Err(_) if spelling == Spelling::Friendly => with_unit(text, unit),
        Err(_) => None,
    };
    match (number, width) {
        (Some(number), Width::Int) if i32::try_from(number).is_err() => {
            Err(Unfit("Not a number of type INT".into()))
        }
        (Some(number), _) => Ok(number),
        (None, Width::Int) => Err(Unfit("Not a number of type INT".into())),
        (None, Width::Long) => Err(Unfit("Not a number of type LONG".into())),
    }
}

fn check_limits(number: i64, min: i64, max: i64, or: Option<i64>) -> Result<i64, Unfit> {
    match or {
        Some(or) if number < min || number > max => Err(Unfit(format!(
            "Value must be between {min} and {max} or equal to {or}"
        ))),
        _ if number < min => Err(Unfit(format!("Value must be at least {min}"))),
        _ if number > max => Err(Unfit(format!("Value must be no more than {max}"))),
        _ => Ok(number),
    }
}

fn one_of(text: &str, words: &[&str], spelling: Spelling) -> Result<String, Unfit> {
    let fits = |word: &&&str| match spelling {
        Spelling::Kafka => **word == text,
        Spelling::Friendly => word.eq_ignore_ascii_case(text),
    };
    match words.iter().find(fits) {
        Some(word) => Ok((*word).to_owned()),
        None => Err(Unfit(format!(
            "String must be one of: {}",
            words.join(", ")
        ))),
    }
}

/// The parts between commas; an empty text is an empty list, an empty part an error.
fn split(text: &str) -> Result<Vec<String>, Unfit> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(Unfit("values must not be empty".into()));
    }
    Ok(parts)
}

/// Suffixes that are understood, with the number of milliseconds or bytes in one; the first
/// spelling of each is the one that is written.
const DURATIONS: &[(&[&str], i64)] = &[
    (&["d", "day", "days"], 86_400_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["min", "m", "minute", "minutes"], 60_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000),
    (&["ms", "milli", "millis", "millisecond", "milliseconds"], 1),
];
const SIZES: &[(&[&str], i64)] = &[
    (&["tb", "t", "tib", "terabytes"], 1 << 40),
    (&["gb", "g", "gib", "gigabytes"], 1 << 30),
    (&["mb", "m", "mib", "megabytes"], 1 << 20),
    (&["kb", "k", "kib", "kilobytes"], 1 << 10),
    (&["bytes", "b"], 1),
];

/// `10 min` in minutes, hours or milliseconds; `1 gb` in bytes.
fn with_unit(text: &str, unit: Unit) -> Option<i64> {
    let suffixes = match unit {
        Unit::Count => return None,
        Unit::Bytes => SIZES,
        Unit::Millis | Unit::Minutes | Unit::Hours => DURATIONS,
    };
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, suffix) = text.split_at(digits);
    let suffix = suffix.trim();
    let (_, factor) = suffixes
        .iter()
        .find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(suffix)))?;
    let total = number.parse::<i64>().ok()?.checked_mul(*factor)?;
    (total % unit.scale() == 0).then(|| total / unit.scale())
}

/// The number with the largest suffix that leaves it whole.
fn spell_out(value: i64, unit: Unit) -> String {
    let suffixes = match unit {
        Unit::Count => return value.to_string(),
        Unit::Bytes => SIZES,
        Unit::Millis | Unit::Minutes | Unit::Hours => DURATIONS,
    };
    let Some(total) = value.checked_mul(unit.scale()).filter(|total| *total > 0) else {
        return value.to_string();
    };
    suffixes
        .iter()
        .find(|(_, factor)| total % factor == 0)
        .map_or(value.to_string(), |(names, factor)| {
            format!("{} {}", total / factor, names[0])
        })
}

#[cfg(test)]
mod tests {
    use super::super::key::{int_from, long_from};
    use super::*;

    const SIZE: Kind = int_from(0).of(Unit::Bytes);
    const TIME: Kind = long_from(-1).of(Unit::Millis);

    #[test]
    fn friendly_spellings_are_understood_in_files_only() {
        let friendly = |kind: Kind, text| kind.parse(text, Spelling::Friendly);
        assert_eq!(friendly(SIZE, "120b"), Ok(Value::Integer(120)));
        assert_eq!(friendly(SIZE, "64 KB"), Ok(Value::Integer(65_536)));
        assert_eq!(friendly(TIME, "7 d"), Ok(Value::Integer(604_800_000)));
        assert_eq!(friendly(TIME, "-1"), Ok(Value::Integer(-1)));
        assert!(friendly(TIME, "7 parsecs").is_err());
        assert!(friendly(TIME, "9223372036854775807 d").is_err());
        assert!(TIME.parse("7 d", Spelling::Kafka).is_err());
    }

    #[test]
    fn a_value_out_of_range_is_refused_in_kafkas_words() {
        let refusal = |kind: Kind, text| match kind.parse(text, Spelling::Kafka) {
            Err(Unfit(reason)) => reason,
            Ok(value) => panic!("{text} was read as {value:?}"),
        };
        assert_eq!(refusal(TIME, "-2"), "Value must be at least -1");
        assert_eq!(refusal(TIME, "abc"), "Not a number of type LONG");
        assert_eq!(refusal(SIZE, "99999999999"), "Not a number of type INT");
        let level = Kind::Integer {
            width: Width::Int,
            min: 1,
            max: 9,
            or: Some(-1),
            unit: Unit::Count,
        };
        assert_eq!(
            refusal(level, "0"),
            "Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            refusal(Kind::Choice(&["a", "b"]), "A"),
            "String must be one of: a, b"
        );
        assert_eq!(
            refusal(Kind::List(&["a", "b"]), "a,,b"),
            "values must not be empty"
        );
        assert_eq!(
            refusal(Kind::Double { min: 0.0, max: 1.0 }, "1.5"),
            "Value must be no more than 1"
        );
    }

    #[test]
    fn fluss_sees_the_largest_whole_unit() {
        assert_eq!(spell_out(604_800_000, Unit::Millis), "7 d");
        assert_eq!(spell_out(1_500, Unit::Millis), "1500 ms");
        assert_eq!(spell_out(65_536, Unit::Bytes), "64 kb");
        assert_eq!(spell_out(168, Unit::Hours), "7 d");
        assert_eq!(spell_out(-1, Unit::Millis), "-1");
    }
}

//! Values of columns, owned, and what they are on the wires.

use std::fmt;

use protocol::row::{Datum, Timestamp};
use protocol::schema::TypeKind;
use serde_json::Value as Json;
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

/// The largest number that every JSON reader takes exactly.
const EXACT_MAX: i64 = (1 << 53) - 1;

/// A value. Null is the smallest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// Epoch milliseconds.
    Time(i64),
    /// The headers of a record: one, which is always the same.
    Headers,
    /// Those of the tombstone that a Fluss client's delete becomes.
    NoHeaders,
}

/// The columns of a row, those that its writer did not know yet null.
pub(crate) type Row = Vec<Cell>;

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("-"),
            Cell::Bool(value) => write!(f, "{value}"),
            Cell::Int(value) => write!(f, "{value}"),
            Cell::Long(value) => write!(f, "{value}L"),
            Cell::Text(value) => write!(f, "{value:?}"),
            Cell::Bytes(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Cell::Time(value) => write!(f, "@{value}"),
            Cell::Headers => f.write_str("headers"),
            Cell::NoHeaders => f.write_str("no headers"),
        }
    }
}

impl Cell {
    pub(crate) fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    /// For the batches of Fluss clients.
    pub(crate) fn datum(&self) -> Datum<'_> {
        match self {
            Cell::Null => Datum::Null,
            Cell::Bool(value) => Datum::Boolean(*value),
            Cell::Int(value) => Datum::Int(*value),
            Cell::Long(value) => Datum::BigInt(*value),
            Cell::Text(value) => Datum::String(value),
            Cell::Bytes(value) => Datum::Bytes(value),
            Cell::Time(millis) => Datum::Timestamp(Timestamp {
                millis: *millis,
                nanos: 0,
            }),
            Cell::Headers => Datum::Array(vec![header()]),
            Cell::NoHeaders => Datum::Array(Vec::new()),
        }
    }

    /// From the answers to Fluss clients.
    pub(crate) fn of(datum: &Datum<'_>) -> Cell {
        match datum {
            Datum::Null => Cell::Null,
            Datum::Boolean(value) => Cell::Bool(*value),
            Datum::Int(value) => Cell::Int(*value),
            Datum::BigInt(value) => Cell::Long(*value),
            Datum::String(value) => Cell::text(value),
            Datum::Bytes(value) => Cell::Bytes(value.to_vec()),
            Datum::Timestamp(time) => {
                assert_eq!(time.nanos, 0);
                Cell::Time(time.millis)
            }
            Datum::Array(headers) if *headers == [header()] => Cell::Headers,
            Datum::Array(headers) if headers.is_empty() => Cell::NoHeaders,
            other => panic!("nobody wrote {other:?}"),
        }
    }

    /// As `docs/formats/json.md` has it.
    pub(crate) fn json(&self) -> Json {
        match self {
            Cell::Null => Json::Null,
            Cell::Bool(value) => Json::from(*value),
            Cell::Int(value) => Json::from(*value),
            Cell::Long(value) if (-EXACT_MAX..=EXACT_MAX).contains(value) => Json::from(*value),
            Cell::Long(value) => Json::from(value.to_string()),
            Cell::Text(value) => Json::from(value.as_str()),
            Cell::Bytes(value) => Json::from(base64(value)),
            Cell::Time(_) | Cell::Headers | Cell::NoHeaders => {
                panic!("no table has such a column")
            }
        }
    }

    /// A value of a column; null once in four times.
    pub(crate) fn random(kind: &TypeKind, random: &SeededRandomness) -> Cell {
        if random.once_in(4) {
            return Cell::Null;
        }
        match kind {
            TypeKind::Boolean => Cell::Bool(random.once_in(2)),
            TypeKind::Int => Cell::Int(random.below(40) as i32 - 20),
            TypeKind::BigInt if random.once_in(8) => Cell::Long(random.next_u64() as i64),
            TypeKind::BigInt => Cell::Long(random.below(40) as i64 - 20),
            TypeKind::String => {
                let texts = ["", "a", "b", "long enough to be a text", "é\"\\\n", "🜂"];
                Cell::text(texts[random.below(texts.len() as u64) as usize])
            }
            TypeKind::Bytes => {
                let numbers = (0..1 + random.below(3)).map(|_| random.below(1 << 18) as u32);
                Cell::Bytes(super::bitmap::encode(&numbers.collect()))
            }
            other => panic!("no table has a column of {other:?}"),
        }
    }
}

fn header() -> Datum<'static> {
    Datum::Row(vec![Datum::String("h"), Datum::Bytes(b"x")])
}

/// With padding, in the standard alphabet.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(*three.get(place).unwrap_or(&0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let six = bits >> (18 - 6 * place) & 63;
            text.push(match place <= three.len() {
                true => char::from(ALPHABET[six as usize]),
                false => '=',
            });
        }
    }
    text
}

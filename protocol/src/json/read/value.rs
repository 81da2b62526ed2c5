//! One value: what a JSON text says, as the type of its column demands.

use std::borrow::Cow;

use super::lexer::Lexer;
use super::{Fault, ReadError};
use crate::columnar::time_unit;
use crate::json::{number, text, time};
use crate::row::{Datum, ELEMENTS_MAX};
use crate::schema::{DataType, TypeKind};

/// A value that was read: it owns what the text has in another form than rows.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue<'a> {
    /// A value without parts.
    Plain(Datum<'static>),
    /// CHAR and STRING.
    Text(Cow<'a, str>),
    /// BINARY and BYTES.
    Bytes(Vec<u8>),
    /// ARRAY.
    Array(Vec<JsonValue<'a>>),
    /// MAP.
    Map(Vec<(JsonValue<'a>, JsonValue<'a>)>),
    /// ROW.
    Row(Vec<JsonValue<'a>>),
}

impl JsonValue<'_> {
    /// The null of any type.
    pub const NULL: JsonValue<'static> = JsonValue::Plain(Datum::Null);

    /// The value as rows have it.
    pub fn datum(&self) -> Datum<'_> {
        match self {
            JsonValue::Plain(value) => value.clone(),
            JsonValue::Text(text) => Datum::String(text),
            JsonValue::Bytes(bytes) => Datum::Bytes(bytes),
            JsonValue::Array(values) => Datum::Array(values.iter().map(Self::datum).collect()),
            JsonValue::Map(entries) => {
                let entries = entries.iter();
                Datum::Map(entries.map(|(k, v)| (k.datum(), v.datum())).collect())
            }
            JsonValue::Row(values) => Datum::Row(values.iter().map(Self::datum).collect()),
        }
    }

    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self, JsonValue::Plain(Datum::Null))
    }
}

/// Reads the values of one row.
pub(super) struct Values<'l, 'a> {
    pub(super) lexer: &'l mut Lexer<'a>,
    /// Nested values that the row may still have.
    left: usize,
}

/// Why a value is none of its column. The column's name is added where it is known.
pub(super) enum Refused {
    Syntax(ReadError),
    Fault(Fault),
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Refused::Syntax(error)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::Fault(fault)
    }
}

impl<'l, 'a> Values<'l, 'a> {
    pub(super) fn new(lexer: &'l mut Lexer<'a>) -> Self {
        Values {
            lexer,
            left: ELEMENTS_MAX,
        }
    }

    /// The value that comes next, of this type.
    pub(super) fn read(&mut self, data_type: &DataType) -> Result<JsonValue<'a>, Refused> {
        match self.lexer.peek() {
            Some(b'n') => {
                self.lexer.literal("null")?;
                match data_type.nullable {
                    true => Ok(JsonValue::NULL),
                    false => Err(Fault::Null.into()),
                }
            }
            Some(b'"') => {
                let text = self.lexer.string()?;
                Ok(of_text(text, &data_type.kind)?)
            }
            Some(b't') => {
                self.lexer.literal("true")?;
                Ok(of_boolean(true, &data_type.kind)?)
            }
            Some(b'f') => {
                self.lexer.literal("false")?;
                Ok(of_boolean(false, &data_type.kind)?)
            }
            Some(b'[') => self.list(&data_type.kind),
            Some(b'{') => self.object(&data_type.kind),
            Some(b'-' | b'0'..=b'9') => {
                let number = self.lexer.number()?;
                Ok(JsonValue::Plain(of_number(number, &data_type.kind)?))
            }
            _ => Err(self.lexer.error("a value").into()),
        }
    }

    fn list(&mut self, kind: &TypeKind) -> Result<JsonValue<'a>, Refused> {
        match kind {
            TypeKind::Array(element) => {
                let mut values = Vec::new();
                self.items(b'[', b']', |this| {
                    values.push(this.read(element)?);
                    Ok(())
                })?;
                Ok(JsonValue::Array(values))
            }
            TypeKind::Map { key, value } if !has_text_keys(key) => {
                let entry = [("key", &**key), ("value", &**value)];
                let mut entries = Vec::new();
                self.items(b'[', b']', |this| {
                    let mut values = this.fields(&entry)?.into_iter();
                    let (key, value) = (values.next(), values.next());
                    entries.extend(key.zip(value));
                    Ok(())
                })?;
                Ok(JsonValue::Map(entries))
            }
            other => Err(Fault::kind(other, "an array").into()),
        }
    }

    fn object(&mut self, kind: &TypeKind) -> Result<JsonValue<'a>, Refused> {
        match kind {
            TypeKind::Map { key, value } if has_text_keys(key) => {
                let mut entries = Vec::new();
                self.items(b'{', b'}', |this| {
                    let name = this.lexer.string()?;
                    let name = of_text(name, &key.kind)?;
                    this.lexer.expect(b':', "a colon")?;
                    entries.push((name, this.read(value)?));
                    Ok(())
                })?;
                Ok(JsonValue::Map(entries))
            }
            TypeKind::Row(fields) => {
                let fields = fields.iter().map(|f| (f.name.as_str(), &f.data_type));
                let fields: Vec<_> = fields.collect();
                Ok(JsonValue::Row(self.fields(&fields)?))
            }
            other => Err(Fault::kind(other, "an object").into()),
        }
    }

    /// The fields of an object, in the order of their types; those that it lacks are null.
    fn fields(&mut self, types: &[(&str, &DataType)]) -> Result<Vec<JsonValue<'a>>, Refused> {
        let mut values: Vec<Option<JsonValue<'a>>> = types.iter().map(|_| None).collect();
        self.items(b'{', b'}', |this| {
            let name = this.lexer.string()?;
            let at = types.iter().position(|(known, _)| *known == name);
            let at = at.ok_or_else(|| Fault::Field(name.into_owned()))?;
            this.lexer.expect(b':', "a colon")?;
            let value = this.read(types[at].1)?;
            match values[at].replace(value) {
                None => Ok(()),
                Some(_) => Err(Fault::Twice(types[at].0.to_owned()).into()),
            }
        })?;
        let missing = |(value, (name, data_type)): (Option<_>, &(&str, &DataType))| match value {
            Some(value) => Ok(value),
            None if data_type.nullable => Ok(JsonValue::NULL),
            None => Err(Fault::Missing((*name).to_owned()).into()),
        };
        values.into_iter().zip(types).map(missing).collect()
    }

    /// What stands between two brackets, parted by commas.
    pub(super) fn items(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        self.lexer.expect(open, "an object")?;
        if self.lexer.take(close) {
            return Ok(());
        }
        loop {
            self.left = self.left.checked_sub(1).ok_or(Fault::Elements)?;
            item(self)?;
            if self.lexer.take(close) {
                return Ok(());
            }
            self.lexer.expect(b',', "a comma or the end")?;
        }
    }
}

fn has_text_keys(key: &DataType) -> bool {
    matches!(key.kind, TypeKind::Char { .. } | TypeKind::String)
}

fn of_boolean(value: bool, kind: &TypeKind) -> Result<JsonValue<'static>, Fault> {
    match kind {
        TypeKind::Boolean => Ok(JsonValue::Plain(Datum::Boolean(value))),
        other => Err(Fault::kind(other, "a boolean")),
    }
}

fn of_number(text: &str, kind: &TypeKind) -> Result<Datum<'static>, Fault> {
    let value = || Fault::value(kind, text);
    let finite = |is_finite: bool| is_finite.then_some(()).ok_or_else(value);
    Ok(match kind {
        TypeKind::TinyInt => Datum::TinyInt(text.parse().map_err(|_| value())?),
        TypeKind::SmallInt => Datum::SmallInt(text.parse().map_err(|_| value())?),
        TypeKind::Int => Datum::Int(text.parse().map_err(|_| value())?),
        TypeKind::BigInt => Datum::BigInt(text.parse().map_err(|_| value())?),
        TypeKind::Float => {
            let number: f32 = text.parse().map_err(|_| value())?;
            finite(number.is_finite())?;
            Datum::Float(number)
        }
        TypeKind::Double => {
            let number: f64 = text.parse().map_err(|_| value())?;
            finite(number.is_finite())?;
            Datum::Double(number)
        }
        TypeKind::Decimal { precision, scale } => {
            Datum::Decimal(number::read_decimal(text, *precision, *scale).ok_or_else(value)?)
        }
        other => return Err(Fault::kind(other, "a number")),
    })
}

fn of_text<'a>(found: Cow<'a, str>, kind: &TypeKind) -> Result<JsonValue<'a>, Fault> {
    let value = || Fault::value(kind, &found);
    let special = match &*found {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    };
    Ok(JsonValue::Plain(match kind {
        TypeKind::String => return Ok(JsonValue::Text(found)),
        TypeKind::Char { length } => {
            let fits = found.chars().nth(*length as usize).is_none();
            return match fits {
                true => Ok(JsonValue::Text(found)),
                false => Err(value()),
            };
        }
        TypeKind::Bytes => {
            return Ok(JsonValue::Bytes(
                text::read_base64(&found).ok_or_else(value)?,
            ));
        }
        TypeKind::Binary { length } => {
            let bytes = text::read_base64(&found).filter(|b| b.len() == *length as usize);
            return Ok(JsonValue::Bytes(bytes.ok_or_else(value)?));
        }
        TypeKind::BigInt => match found.strip_prefix('+') {
            None => Datum::BigInt(found.parse().map_err(|_| value())?),
            Some(_) => return Err(value()),
        },
        TypeKind::Float => Datum::Float(special.ok_or_else(value)? as f32),
        TypeKind::Double => Datum::Double(special.ok_or_else(value)?),
        TypeKind::Decimal { precision, scale } => {
            Datum::Decimal(number::read_decimal(&found, *precision, *scale).ok_or_else(value)?)
        }
        TypeKind::Date => Datum::Date(time::read_date(&found).ok_or_else(value)?),
        TypeKind::Time { precision } => {
            Datum::Time(time::read_time(&found, time_unit(*precision)).ok_or_else(value)?)
        }
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let zoned = matches!(kind, TypeKind::TimestampLtz { .. });
            let read = time::read_timestamp(&found, time_unit(*precision), zoned);
            Datum::Timestamp(read.ok_or_else(value)?)
        }
        other => return Err(Fault::kind(other, "a string")),
    }))
}

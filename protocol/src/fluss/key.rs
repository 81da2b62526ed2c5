//! The bytes of keys: what primary keys are stored under and buckets are chosen by.
//!
//! Key columns are the primary key without partition columns, in primary-key order. Which encoder
//! a table uses follows its properties `table.datalake.format` and `table.kv.format-version`.
//! Facts: Fluss log format, keys; `KeyEncoder.java`.

use thiserror::Error;

use crate::row::{Datum, RowError, Timestamp, aligned, append_decimal, compacted, decimal_from};
use crate::schema::{DataType, TypeKind};

/// The lake that a table is, or may be, tiered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the products' own")]
pub enum LakeFormat {
    Paimon,
    Iceberg,
    Lance,
    Hudi,
}

impl LakeFormat {
    /// The format that `table.datalake.format` names, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            ("paimon", LakeFormat::Paimon),
            ("iceberg", LakeFormat::Iceberg),
            ("lance", LakeFormat::Lance),
            ("hudi", LakeFormat::Hudi),
        ]
        .into_iter()
        .find_map(|(known, format)| known.eq_ignore_ascii_case(name).then_some(format))
    }
}

/// Why a key has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KeyError {
    #[error("key column {0} is null")]
    Null(usize),
    #[error("an iceberg key has one column, not {0}")]
    Columns(usize),
    #[error("type of key column {0} has no place in such a key")]
    Type(usize),
    #[error("keys of hudi tables are not encoded here")]
    Hudi,
    #[error("key column does not fit its type")]
    Value(#[from] RowError),
}

/// How key columns become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyEncoder {
    /// COMPACTED values one behind the other, without null bits.
    Compacted,
    /// An aligned row with row kind insert (0) in its header.
    Paimon,
    /// The single value as Iceberg hashes it.
    Iceberg,
    /// Hashes of texts, only for choosing buckets.
    Hudi,
}

impl KeyEncoder {
    /// The encoder of bucket keys.
    pub fn of_bucket_key(lake: Option<LakeFormat>) -> Self {
        match lake {
            None | Some(LakeFormat::Lance) => KeyEncoder::Compacted,
            Some(LakeFormat::Paimon) => KeyEncoder::Paimon,
            Some(LakeFormat::Iceberg) => KeyEncoder::Iceberg,
            Some(LakeFormat::Hudi) => KeyEncoder::Hudi,
        }
    }

    /// The encoder of primary keys. `format_version` is `table.kv.format-version`, 1 when absent;
    /// `default_bucket_key` tells that the bucket key is the primary key.
    pub fn of_primary_key(
        lake: Option<LakeFormat>,
        format_version: u32,
        default_bucket_key: bool,
    ) -> Self {
        match KeyEncoder::of_bucket_key(lake) {
            encoder @ (KeyEncoder::Paimon | KeyEncoder::Iceberg)
                if format_version < 2 || default_bucket_key =>
            {
                encoder
            }
            _ => KeyEncoder::Compacted,
        }
    }

    /// Appends the key of these values to `out`.
    pub fn encode<'t>(
        self,
        values: &[Datum<'_>],
        types: impl ExactSizeIterator<Item = &'t DataType>,
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        if let Some(i) = values.iter().position(Datum::is_null) {
            return Err(KeyError::Null(i));
        }
        if values.len() != types.len() {
            let (expected, found) = (types.len(), values.len());
            return Err(RowError::Width { expected, found }.into());
        }
        match self {
            KeyEncoder::Compacted => {
                for (value, data_type) in values.iter().zip(types) {
                    compacted::write_value(value, data_type, out)?;
                }
            }
            KeyEncoder::Paimon => {
                let types: Vec<_> = types.collect();
                let nested = |t: &&DataType| {
                    matches!(
                        t.kind,
                        TypeKind::Array(_) | TypeKind::Map { .. } | TypeKind::Row(_)
                    )
                };
                if let Some(i) = types.iter().position(nested) {
                    return Err(KeyError::Type(i));
                }
                aligned::write(values, types.into_iter(), out)?;
            }
            KeyEncoder::Iceberg => match values {
                [value] => iceberg(value, out)?,
                _ => return Err(KeyError::Columns(values.len())),
            },
            KeyEncoder::Hudi => return Err(KeyError::Hudi),
        }
        Ok(())
    }
}

impl KeyEncoder {
    /// Reads the values of a key; `out` is cleared first.
    ///
    /// # Errors
    /// The bytes are no such key, or the encoder's keys cannot be read back.
    pub fn decode<'a, 't>(
        self,
        key: &'a [u8],
        types: impl ExactSizeIterator<Item = &'t DataType>,
        out: &mut Vec<Datum<'a>>,
    ) -> Result<(), KeyError> {
        match self {
            KeyEncoder::Compacted => compacted::read_values(key, types, out)?,
            KeyEncoder::Paimon => {
                aligned::read(key, types, out)?;
                if let Some(i) = out.iter().position(Datum::is_null) {
                    return Err(KeyError::Null(i));
                }
            }
            KeyEncoder::Iceberg => {
                out.clear();
                let mut types = types;
                match (types.next(), types.len()) {
                    (Some(data_type), 0) => out.push(iceberg_value(key, &data_type.kind)?),
                    (_, more) => return Err(KeyError::Columns(more + 1)),
                }
            }
            KeyEncoder::Hudi => return Err(KeyError::Hudi),
        }
        Ok(())
    }

    /// How many bytes of a key its first columns take, whose types these are; none when the key
    /// has no such columns. Only [`KeyEncoder::Compacted`] puts columns one behind the other.
    pub fn prefix_len<'t>(
        self,
        key: &[u8],
        types: impl Iterator<Item = &'t DataType>,
    ) -> Option<usize> {
        match self {
            KeyEncoder::Compacted => compacted::values_len(key, types).ok(),
            _ => None,
        }
    }
}

/// The value that [`iceberg`] wrote.
fn iceberg_value<'a>(bytes: &'a [u8], kind: &TypeKind) -> Result<Datum<'a>, KeyError> {
    let long = || match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => Ok(i64::from_le_bytes(bytes)),
        Err(_) => Err(RowError::Cut),
    };
    let int = || long().map(|v| v as i32);
    Ok(match kind {
        TypeKind::Int => Datum::Int(int()?),
        TypeKind::Date => Datum::Date(int()?),
        TypeKind::Time { .. } => Datum::Time((long()? / 1000) as i32),
        TypeKind::BigInt => Datum::BigInt(long()?),
        TypeKind::Timestamp { .. } => {
            let micros = long()?;
            Datum::Timestamp(Timestamp {
                millis: micros.div_euclid(1000),
                nanos: micros.rem_euclid(1000) as i32 * 1000,
            })
        }
        TypeKind::Decimal { .. } => Datum::Decimal(decimal_from(bytes)?),
        TypeKind::Char { .. } | TypeKind::String => {
            Datum::String(std::str::from_utf8(bytes).map_err(|_| RowError::Utf8)?)
        }
        TypeKind::Binary { .. } | TypeKind::Bytes => Datum::Bytes(bytes),
        _ => return Err(KeyError::Type(0)),
    })
}

/// One value as the Iceberg specification hashes it: integers, dates and times as 64-bit numbers,
/// times in microseconds.
fn iceberg(value: &Datum<'_>, out: &mut Vec<u8>) -> Result<(), KeyError> {
    let long = match value {
        Datum::Int(v) | Datum::Date(v) => i64::from(*v),
        Datum::BigInt(v) => *v,
        Datum::Time(v) => i64::from(*v) * 1000,
        // The type decides between TIMESTAMP, which is allowed, and TIMESTAMP_LTZ: clients refuse
        // the latter before they come here.
        Datum::Timestamp(v) => v
            .millis
            .wrapping_mul(1000)
            .wrapping_add(i64::from(v.nanos) / 1000),
        Datum::Float(v) => {
            out.extend_from_slice(&v.to_le_bytes());
            return Ok(());
        }
        Datum::Double(v) => {
            out.extend_from_slice(&v.to_le_bytes());
            return Ok(());
        }
        Datum::Decimal(v) => {
            append_decimal(*v, out);
            return Ok(());
        }
        Datum::String(v) => {
            out.extend_from_slice(v.as_bytes());
            return Ok(());
        }
        Datum::Bytes(v) => {
            out.extend_from_slice(v);
            return Ok(());
        }
        _ => return Err(KeyError::Type(0)),
    };
    out.extend_from_slice(&long.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fluss::bucketing::BucketFunction;
    use crate::fluss::vectors::hex;
    use crate::row::Timestamp;

    fn encode(encoder: KeyEncoder, row: &[(TypeKind, Datum<'_>)]) -> Result<Vec<u8>, KeyError> {
        let types: Vec<_> = row
            .iter()
            .map(|(k, _)| DataType::not_null(k.clone()))
            .collect();
        let values: Vec<_> = row.iter().map(|(_, v)| v.clone()).collect();
        let mut out = Vec::new();
        encoder
            .encode(&values, types.iter(), &mut out)
            .map(|()| out)
    }

    fn values<'a>(row: &[(TypeKind, Datum<'a>)]) -> Vec<Datum<'a>> {
        row.iter().map(|(_, v)| v.clone()).collect()
    }

    /// The values of a key with the types of this row.
    fn decode<'a>(
        encoder: KeyEncoder,
        key: &'a [u8],
        row: &[(TypeKind, Datum<'_>)],
    ) -> Result<Vec<Datum<'a>>, KeyError> {
        let types: Vec<_> = row
            .iter()
            .map(|(k, _)| DataType::not_null(k.clone()))
            .collect();
        let mut out = Vec::new();
        encoder.decode(key, types.iter(), &mut out).map(|()| out)
    }

    fn key() -> Vec<(TypeKind, Datum<'static>)> {
        vec![
            (TypeKind::Int, Datum::Int(-5)),
            (TypeKind::String, Datum::String("short")),
            (TypeKind::String, Datum::String("a longer key")),
            (TypeKind::BigInt, Datum::BigInt(1_234_567_890_123)),
        ]
    }

    #[test]
    fn keys_equal_those_of_the_java_client() {
        for (encoder, row, expected, bucket_function, bucket) in [
            (
                KeyEncoder::Compacted,
                key(),
                "fbffffff0f0573686f72740c61206c6f6e676572206b6579cb89ec8ff723",
                BucketFunction::Fluss,
                1,
            ),
            (
                KeyEncoder::Paimon,
                key(),
                "0000000000000000fbffffff0000000073686f72740000850c00000028000000cb04fb711f010000\
                 61206c6f6e676572206b657900000000",
                BucketFunction::Paimon,
                5,
            ),
            (
                KeyEncoder::Iceberg,
                key()[..1].to_vec(),
                "fbffffffffffffff",
                BucketFunction::Iceberg,
                14,
            ),
        ] {
            let bytes = encode(encoder, &row).unwrap();
            assert_eq!(bytes, hex(expected), "{encoder:?}");
            assert_eq!(decode(encoder, &bytes, &row).unwrap(), values(&row));
            assert_eq!(bucket_function.bucket(&bytes, 16), bucket, "{encoder:?}");
        }
        let text = encode(KeyEncoder::Iceberg, &key()[1..2]).unwrap();
        assert_eq!(text, b"short");
    }

    #[test]
    fn iceberg_keys_hash_as_its_specification_says() {
        // Iceberg specification, appendix B.
        let time = |nanos| {
            Datum::Timestamp(Timestamp {
                millis: 1_510_871_468_000,
                nanos,
            })
        };
        let decimal = TypeKind::Decimal {
            precision: 4,
            scale: 2,
        };
        for (kind, value, hash) in [
            (TypeKind::Int, Datum::Int(34), 2_017_239_379),
            (TypeKind::BigInt, Datum::BigInt(34), 2_017_239_379),
            (decimal, Datum::Decimal(1420), -500_754_589),
            (TypeKind::Date, Datum::Date(17_486), -653_330_422),
            (
                TypeKind::Time { precision: 0 },
                Datum::Time(81_068_000),
                -662_762_989,
            ),
            (
                TypeKind::Timestamp { precision: 6 },
                time(0),
                -2_047_944_441,
            ),
            (
                TypeKind::Timestamp { precision: 6 },
                time(1000),
                -1_207_196_810,
            ),
            (TypeKind::String, Datum::String("iceberg"), 1_210_000_089),
            (TypeKind::Bytes, Datum::Bytes(&[0, 1, 2, 3]), -188_683_207),
        ] {
            let row = [(kind, value)];
            let bytes = encode(KeyEncoder::Iceberg, &row).unwrap();
            assert_eq!(
                decode(KeyEncoder::Iceberg, &bytes, &row).unwrap(),
                values(&row)
            );
            // With so many buckets the bucket is the hash without its sign.
            let bucket = BucketFunction::Iceberg.bucket(&bytes, i32::MAX);
            assert_eq!(bucket, hash & i32::MAX);
        }
    }

    #[test]
    fn keys_without_bytes_are_refused() {
        let null = [(TypeKind::Int, Datum::Null)];
        assert_eq!(encode(KeyEncoder::Compacted, &null), Err(KeyError::Null(0)));
        assert_eq!(
            encode(KeyEncoder::Iceberg, &key()),
            Err(KeyError::Columns(4))
        );
        assert_eq!(encode(KeyEncoder::Hudi, &key()), Err(KeyError::Hudi));
        let list = TypeKind::Array(Box::new(DataType::nullable(TypeKind::Int)));
        let list = [(list, Datum::Array(vec![]))];
        assert_eq!(encode(KeyEncoder::Paimon, &list), Err(KeyError::Type(0)));
        assert_eq!(encode(KeyEncoder::Iceberg, &list), Err(KeyError::Type(0)));
    }

    #[test]
    fn the_first_columns_are_a_prefix_of_the_bytes() {
        let bytes = encode(KeyEncoder::Compacted, &key()).unwrap();
        let types: Vec<_> = key()
            .into_iter()
            .map(|(k, _)| DataType::not_null(k))
            .collect();
        let len = |encoder: KeyEncoder, columns: usize| {
            encoder.prefix_len(&bytes, types[..columns].iter())
        };
        let first_two = encode(KeyEncoder::Compacted, &key()[..2]).unwrap();
        assert_eq!(len(KeyEncoder::Compacted, 2), Some(first_two.len()));
        assert_eq!(len(KeyEncoder::Compacted, 4), Some(bytes.len()));
        assert_eq!(len(KeyEncoder::Paimon, 2), None);
        let cut = KeyEncoder::Compacted.prefix_len(&bytes[..6], types[..2].iter());
        assert_eq!(cut, None);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let bytes = encode(KeyEncoder::Compacted, &key()).unwrap();
        let longer = [&bytes[..], &[0]].concat();
        for broken in [&bytes[..bytes.len() - 1], &longer] {
            let decoded = decode(KeyEncoder::Compacted, broken, &key());
            assert!(matches!(decoded, Err(KeyError::Value(_))));
        }
        let decoded = decode(KeyEncoder::Iceberg, &[1, 2], &key()[..1]);
        assert_eq!(decoded, Err(KeyError::Value(RowError::Cut)));
        let decoded = decode(KeyEncoder::Iceberg, &[1, 2], &key());
        assert_eq!(decoded, Err(KeyError::Columns(4)));
        let decoded = decode(KeyEncoder::Paimon, &[0; 8], &key());
        assert!(matches!(decoded, Err(KeyError::Value(_))));
    }

    #[test]
    fn the_encoder_follows_lake_and_version() {
        use KeyEncoder::{Compacted, Paimon};
        let paimon = Some(LakeFormat::Paimon);
        assert_eq!(KeyEncoder::of_primary_key(None, 2, true), Compacted);
        assert_eq!(KeyEncoder::of_primary_key(paimon, 1, false), Paimon);
        assert_eq!(KeyEncoder::of_primary_key(paimon, 2, true), Paimon);
        assert_eq!(KeyEncoder::of_primary_key(paimon, 2, false), Compacted);
        assert_eq!(
            KeyEncoder::of_primary_key(Some(LakeFormat::Hudi), 1, true),
            Compacted
        );
        assert_eq!(
            KeyEncoder::of_bucket_key(Some(LakeFormat::Lance)),
            Compacted
        );
        assert_eq!(LakeFormat::from_name("Paimon"), paimon);
        assert_eq!(LakeFormat::from_name("delta"), None);
    }
}

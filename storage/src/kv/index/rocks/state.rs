//! How far an index is, as its database keeps it.
//!
//! ```text
//! version u8 = 1 | identity, 16 bytes | applied offset i64 | rows i64, -1 where not counted
//! | epoch i32 of the offset before the applied one, -1 where there is none
//! ```
//!
//! Numbers are little-endian. The version is also that of the whole index: rows in another form get
//! another one, and the index is made again.

use protocol::ids::{LeaderEpoch, Offset};

use super::super::{IndexState, Rebuild};

const VERSION: u8 = 1;
const LEN: usize = 1 + 16 + 8 + 8 + 4;
const NOT_COUNTED: i64 = -1;
const NO_EPOCH: i32 = -1;

pub(super) fn encode(identity: &[u8; 16], state: IndexState) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[0] = VERSION;
    out[1..17].copy_from_slice(identity);
    out[17..25].copy_from_slice(&state.applied.value().to_le_bytes());
    let rows = state.row_count.unwrap_or(NOT_COUNTED);
    out[25..33].copy_from_slice(&rows.to_le_bytes());
    let epoch = state.epoch.map_or(NO_EPOCH, LeaderEpoch::value);
    out[33..].copy_from_slice(&epoch.to_le_bytes());
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<([u8; 16], IndexState), Rebuild> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Err(Rebuild::Corrupt("its state is empty".to_owned()));
    };
    if version != VERSION {
        return Err(Rebuild::Foreign(format!("its form has version {version}")));
    }
    let cut = || Rebuild::Corrupt(format!("its state has {} bytes", bytes.len()));
    let (identity, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
    let (applied, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (rows, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let epoch = <[u8; 4]>::try_from(rest).map_err(|_| cut())?;
    let (applied, rows) = (i64::from_le_bytes(*applied), i64::from_le_bytes(*rows));
    let epoch = i32::from_le_bytes(epoch);
    if applied < 0 || rows < NOT_COUNTED || epoch < NO_EPOCH {
        let message = format!("its state is offset {applied} of epoch {epoch} with {rows} rows");
        return Err(Rebuild::Corrupt(message));
    }
    let state = IndexState {
        applied: Offset::new(applied),
        epoch: (epoch != NO_EPOCH).then(|| LeaderEpoch::new(epoch)),
        row_count: (rows != NOT_COUNTED).then_some(rows),
    };
    Ok((*identity, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_damage_is_named() {
        let identity = *b"0123456789abcdef";
        for row_count in [None, Some(0), Some(7)] {
            let state = IndexState {
                applied: Offset::new(1 << 40),
                epoch: row_count.map(|_| LeaderEpoch::new(3)),
                row_count,
            };
            let bytes = encode(&identity, state);
            assert_eq!(decode(&bytes), Ok((identity, state)));
            for len in 0..LEN {
                assert!(matches!(decode(&bytes[..len]), Err(Rebuild::Corrupt(_))));
            }
            let mut other = bytes;
            other[0] = 2;
            assert!(matches!(decode(&other), Err(Rebuild::Foreign(_))));
            other = bytes;
            other[24] = 0x80;
            assert!(matches!(decode(&other), Err(Rebuild::Corrupt(_))));
        }
    }
}

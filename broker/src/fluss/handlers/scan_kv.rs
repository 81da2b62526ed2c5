//! SCAN_KV (1061): all rows of a bucket as they are at one moment, in as many answers as the client
//! wants. What is wrong stands in the answer, and ends the scan.

use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{PbScanReqForBucket, ScanKvRequest, ScanKvResponse};
use protocol::fluss::records_answer::encode_scan_kv;
use protocol::ids::TabletId;
use storage::kv::scan::{Piece, Scan};

use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::scanners::Turn;
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;

/// One call of a scan, answered.
#[derive(Default)]
struct Answered {
    response: ScanKvResponse,
    records: Option<Bytes>,
    grant: Option<Grant>,
}

/// What a request asks for.
enum Call<'r> {
    Open(&'r PbScanReqForBucket, usize),
    Next(&'r [u8], usize),
    Close(&'r [u8]),
}

/// Opens a scan, goes on with one, or closes it.
pub async fn handle(context: &Context, request: ScanKvRequest) -> Result<Records, Failure> {
    let mut tablet = request.bucket_scan_req.as_ref().map(id_of);
    let answered = match serve(context, &request, &mut tablet).await {
        Ok(answered) => answered,
        Err(failure) => {
            Refusals::new(context).note_of(tablet, &failure);
            let response = ScanKvResponse {
                error_code: Some(failure.code.code()),
                error_message: Some(failure.message),
                ..ScanKvResponse::default()
            };
            Answered {
                response,
                ..Answered::default()
            }
        }
    };
    let records = answered.records.map(|records| vec![records]);
    Ok(Records {
        chunks: encode_scan_kv(context.request_id, answered.response, records),
        grant: answered.grant,
    })
}

fn id_of(bucket: &PbScanReqForBucket) -> TabletId {
    resolve::tablet_id(bucket.table_id, bucket.partition_id, bucket.bucket_id)
}

fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidScanRequest, text)
}

/// What the fields say together.
fn call_of(request: &ScanKvRequest) -> Result<Call<'_>, Failure> {
    let closes = request.close_scanner == Some(true);
    let bytes = || match request.batch_size_bytes.map(usize::try_from) {
        Some(Ok(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err(invalid("batch_size_bytes is missing or not above 0")),
    };
    match (&request.bucket_scan_req, &request.scanner_id) {
        (Some(_), Some(_)) => Err(invalid("a scan is opened or gone on with, not both")),
        (None, None) => Err(invalid("neither a bucket nor a scanner id")),
        (Some(_), None) if closes => Err(invalid("a scan cannot be opened and closed at once")),
        (Some(bucket), None) => Ok(Call::Open(bucket, bytes()?)),
        (None, Some(id)) if closes => Ok(Call::Close(id)),
        (None, Some(id)) => Ok(Call::Next(id, bytes()?)),
    }
}

async fn serve(
    context: &Context,
    request: &ScanKvRequest,
    tablet: &mut Option<TabletId>,
) -> Result<Answered, Failure> {
    let scanners = &context.shared.scanners;
    match call_of(request)? {
        Call::Close(id) => {
            scanners.end(id);
            let response = ScanKvResponse {
                scanner_id: Some(Bytes::copy_from_slice(id)),
                has_more_results: Some(false),
                ..ScanKvResponse::default()
            };
            Ok(Answered {
                response,
                ..Answered::default()
            })
        }
        Call::Open(bucket, bytes) => open(context, bucket, request.call_seq_id, bytes).await,
        Call::Next(id, bytes) => {
            let call = match request.call_seq_id {
                Some(call) => call,
                None => {
                    scanners.end(id);
                    return Err(invalid("call_seq_id is missing"));
                }
            };
            let turn = scanners.take(id, call)?;
            *tablet = Some(turn.tablet);
            next(context, id, turn, bytes)
                .await
                .inspect_err(|_| scanners.end(id))
        }
    }
}

async fn open(
    context: &Context,
    bucket: &PbScanReqForBucket,
    call: Option<i32>,
    bytes: usize,
) -> Result<Answered, Failure> {
    if call != Some(0) {
        return Err(invalid("call_seq_id of the first call is not 0"));
    }
    let asked = Asked {
        id: id_of(bucket),
        routing_bucket_count: bucket.routing_bucket_count,
    };
    let (_, kv) = keyed::bucket(context, asked).await?;
    let scanners = &context.shared.scanners;
    let slot = scanners.slot(asked.id)?;
    let rows_max = bucket.limit.and_then(|limit| u64::try_from(limit).ok());
    let rows_max = rows_max.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let scan = match kv {
        Keys::Table(kv) => {
            let rows = kv.rows().await.map_err(|error| Failure::from(&error))?;
            let scan = Scan::open(Arc::new(rows), kv.table().layout(), rows_max, slot).await;
            scan.map_err(|error| Failure::from(&error))?
        }
        Keys::Topic(topic) => topic.scan(rows_max, slot).await?,
    };
    let log_offset = Some(scan.offset().value());
    let turn = Turn {
        tablet: asked.id,
        scan,
    };
    let (piece, grant) = piece(context, &turn, bytes).await?;
    let scanner_id = piece
        .more
        .then(|| Bytes::copy_from_slice(&scanners.keep(turn)));
    Ok(Answered {
        response: ScanKvResponse {
            scanner_id,
            has_more_results: Some(piece.more),
            log_offset,
            ..ScanKvResponse::default()
        },
        records: piece.records,
        grant: Some(grant),
    })
}

async fn next(context: &Context, id: &[u8], turn: Turn, bytes: usize) -> Result<Answered, Failure> {
    // The table may be gone.
    resolve::bucket(context.broker(), turn.tablet).await?;
    let (piece, grant) = piece(context, &turn, bytes).await?;
    match piece.more {
        true => context.shared.scanners.put_back(id, turn),
        false => context.shared.scanners.end(id),
    }
    Ok(Answered {
        response: ScanKvResponse {
            scanner_id: Some(Bytes::copy_from_slice(id)),
            has_more_results: Some(piece.more),
            ..ScanKvResponse::default()
        },
        records: piece.records,
        grant: Some(grant),
    })
}

async fn piece(context: &Context, turn: &Turn, bytes: usize) -> Result<(Piece, Grant), Failure> {
    let bytes_max = context.shared.scanners.batch_bytes(bytes);
    let grant = context.memory(bytes_max).await?;
    let piece = turn.scan.next(bytes_max.min(grant.bytes())).await;
    let piece = piece.map_err(|error| Failure::from(&error))?;
    let grant = grant.settle(piece.records.as_ref().map_or(0, Bytes::len));
    Ok((piece, grant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_opens_goes_on_or_closes() {
        let open = ScanKvRequest {
            bucket_scan_req: Some(PbScanReqForBucket::default()),
            batch_size_bytes: Some(9),
            ..ScanKvRequest::default()
        };
        let next = ScanKvRequest {
            scanner_id: Some(Bytes::from_static(b"id")),
            bucket_scan_req: None,
            ..open.clone()
        };
        assert!(matches!(call_of(&open), Ok(Call::Open(_, 9))));
        assert!(matches!(call_of(&next), Ok(Call::Next(b"id", 9))));
        let close = |request: &ScanKvRequest| ScanKvRequest {
            close_scanner: Some(true),
            batch_size_bytes: None,
            ..request.clone()
        };
        assert!(matches!(call_of(&close(&next)), Ok(Call::Close(b"id"))));
        let with = |batch_size_bytes| ScanKvRequest {
            batch_size_bytes,
            ..next.clone()
        };
        for wrong in [
            close(&open),
            ScanKvRequest::default(),
            ScanKvRequest {
                scanner_id: next.scanner_id.clone(),
                ..open.clone()
            },
            with(None),
            with(Some(0)),
            with(Some(-1)),
        ] {
            let refused = call_of(&wrong).err().map(|failure| failure.code);
            assert_eq!(refused, Some(ErrorCode::InvalidScanRequest), "{wrong:?}");
        }
    }
}

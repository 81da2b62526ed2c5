//! Requests of Fluss clients, rows and Arrow metadata.

use bytes::Bytes;
use protocol::columnar::RowsBuilder;
use protocol::fluss::api::{ApiKey, Request};
use protocol::fluss::arrow_message::{ArrowMessage, BufferCodec, body_start};
use protocol::fluss::buffer_codec::Decompressor;
use protocol::fluss::frame::RequestFrame;
use protocol::fluss::messages::*;
use protocol::fluss::shape::decode;
use protocol::row::{aligned, compacted, indexed};

use super::{Reader, schemas};

/// What decoding a request may take beside the frame; smaller than the broker's, so that a request
/// past it is found with a short input.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// What buffers may be decompressed to.
const BUFFERS_BYTES_MAX: usize = 8 << 20;

macro_rules! decode_as {
    ($key:ident, $body:ident: $($request:ident,)*) => {
        match $key {
            $(<$request as Request>::KEY => drop(decode::<$request>($body, DECODED_BYTES_MAX)),)*
        }
    };
}

/// A frame, without its length: header and body of any API.
pub fn request(data: &[u8]) {
    let Ok(frame) = RequestFrame::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let Some(key) = ApiKey::from_code(frame.api_key) else {
        return;
    };
    let body = frame.body;
    decode_as! { key, body:
        ApiVersionsRequest,
        CreateDatabaseRequest,
        DropDatabaseRequest,
        ListDatabasesRequest,
        DatabaseExistsRequest,
        CreateTableRequest,
        DropTableRequest,
        GetTableInfoRequest,
        ListTablesRequest,
        ListPartitionInfosRequest,
        TableExistsRequest,
        GetTableSchemaRequest,
        MetadataRequest,
        ProduceLogRequest,
        FetchLogRequest,
        PutKvRequest,
        LookupRequest,
        ListOffsetsRequest,
        GetLatestKvSnapshotsRequest,
        GetKvSnapshotMetadataRequest,
        GetFileSystemSecurityTokenRequest,
        InitWriterRequest,
        CommitLakeTableSnapshotRequest,
        GetLakeSnapshotRequest,
        LimitScanRequest,
        PrefixLookupRequest,
        GetDatabaseInfoRequest,
        CreatePartitionRequest,
        DropPartitionRequest,
        AuthenticateRequest,
        CreateAclsRequest,
        ListAclsRequest,
        DropAclsRequest,
        LakeTieringHeartbeatRequest,
        AlterTableRequest,
        DescribeClusterConfigsRequest,
        AlterClusterConfigsRequest,
        AddServerTagRequest,
        RemoveServerTagRequest,
        RebalanceRequest,
        ListRebalanceProgressRequest,
        CancelRebalanceRequest,
        PrepareLakeTableSnapshotRequest,
        RegisterProducerOffsetsRequest,
        GetProducerOffsetsRequest,
        DeleteProducerOffsetsRequest,
        AcquireKvSnapshotLeaseRequest,
        ReleaseKvSnapshotLeaseRequest,
        DropKvSnapshotLeaseRequest,
        GetTableStatsRequest,
        AlterDatabaseRequest,
        ScanKvRequest,
        GetClusterHealthRequest,
        ListRemoteLogManifestsRequest,
        ListKvSnapshotsRequest,
        AddServerTagByRackRequest,
        RemoveServerTagByRackRequest,
    }
}

/// A schema and a row form, then a row.
pub fn rows(data: &[u8]) {
    let mut input = Reader(data);
    let schema = input.choose(schemas());
    let form = input.byte() % 3;
    let bytes = input.rest();
    let types = || schema.columns.iter().map(|column| &column.data_type);
    let mut row = Vec::new();
    let read = match form {
        0 => compacted::read(bytes, types(), &mut row),
        1 => indexed::read(bytes, types(), &mut row),
        _ => aligned::read(bytes, types(), &mut row),
    };
    if read.is_err() {
        return;
    }
    let mut builder = RowsBuilder::new(types().cloned(), BUFFERS_BYTES_MAX);
    if builder.append(row.iter()).is_ok() {
        let columns = builder.finish().expect("rows that were taken make columns");
        assert!(columns.iter().all(|column| column.len() == 1));
    }
}

/// An encapsulated Arrow message; or a codec, and a buffer of such a message.
pub fn arrow(data: &[u8]) {
    let _ = body_start(data);
    let _ = ArrowMessage::parse(data);
    let mut input = Reader(data);
    let codec = *input.choose(&[None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)]);
    let mut left = BUFFERS_BYTES_MAX;
    let mut scratch = Vec::new();
    let plain = Decompressor::default()
        .plain(codec, input.rest(), &mut left, &mut scratch)
        .map(<[u8]>::len);
    if let Ok(length) = plain {
        assert_eq!(length + left, BUFFERS_BYTES_MAX);
    }
}

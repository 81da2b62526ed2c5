//! Writing the metadata of a record-batch message.
//!
//! The layout is the one that the Java flatbuffers builder produces, so that a projected batch is
//! byte for byte what a Fluss server sends:
//!
//! ```text
//!                                        no compression   compressed
//! root offset                                  0               0
//! vtable of Message                            8               8
//! Message: body length, version, header       20              20
//! vtable of RecordBatch                       42              44
//! RecordBatch: offsets, row count             52              56
//! BodyCompression with its vtable              -              86
//! buffers: count, 16 bytes each               76             100
//! nodes: count, 16 bytes each            84 + 16b       108 + 16b
//! ```

use super::{ArrowMessage, BufferCodec, PREFIX_LEN};

/// Everything up to the buffers of a message without compression; fields still to fill are 0.
const PLAIN: [u8; 76] = {
    let mut t = [0u8; 76];
    t[0] = 20;
    t = put(t, 8, &[12, 0, 22, 0, 14, 0, 21, 0, 16, 0, 4, 0]);
    t[20] = 12;
    t[34] = 4; // Metadata version 5 is number 4.
    t[36] = 16;
    t[41] = 3; // RecordBatch.
    t = put(t, 42, &[10, 0, 24, 0, 12, 0, 8, 0, 4, 0]);
    t[52] = 10;
    t[56] = 20;
    t
};

/// The same with a BodyCompression table.
const COMPRESSED: [u8; 100] = {
    let mut t = [0u8; 100];
    t[0] = 20;
    t = put(t, 8, &[12, 0, 24, 0, 14, 0, 23, 0, 16, 0, 4, 0]);
    t[20] = 12;
    t[34] = 4;
    t[36] = 20;
    t[43] = 3;
    t = put(t, 44, &[12, 0, 30, 0, 16, 0, 12, 0, 8, 0, 4, 0]);
    t[56] = 12;
    t[60] = 32;
    t[64] = 36;
    t = put(t, 86, &[6, 0, 8, 0, 7, 0]);
    t[92] = 6;
    t
};

const BODY_LENGTH_AT: usize = 24;

const fn put<const N: usize>(mut to: [u8; N], at: usize, bytes: &[u8]) -> [u8; N] {
    let mut i = 0;
    while i < bytes.len() {
        to[at + i] = bytes[i];
        i += 1;
    }
    to
}

/// The length of prefix and metadata of a message with so many nodes and buffers.
pub fn metadata_len(nodes: usize, buffers: usize, codec: Option<BufferCodec>) -> usize {
    let head = if codec.is_some() {
        COMPRESSED.len()
    } else {
        PLAIN.len()
    };
    PREFIX_LEN + head + 12 + 16 * (nodes + buffers)
}

/// Appends prefix and metadata of `message`, [`metadata_len`] bytes. The body follows.
pub fn write_metadata(message: &ArrowMessage, out: &mut Vec<u8>) {
    let len = metadata_len(message.nodes.len(), message.buffers.len(), message.codec);
    out.reserve(len);
    out.extend_from_slice(&[0xff; 4]);
    put_u32(out, len - PREFIX_LEN);
    let start = out.len();
    let nodes_at = match message.codec {
        None => {
            out.extend_from_slice(&PLAIN);
            patch(out, start + 64, message.row_count);
            60
        }
        Some(codec) => {
            out.extend_from_slice(&COMPRESSED);
            patch(out, start + 72, message.row_count);
            out[start + 99] = match codec {
                BufferCodec::Lz4Frame => 0,
                BufferCodec::Zstd => 1,
            };
            68
        }
    };
    patch(out, start + BODY_LENGTH_AT, message.body_len);
    put_u32(out, message.buffers.len());
    for buffer in &message.buffers {
        put_u64(out, buffer.offset);
        put_u64(out, buffer.length);
    }
    // Nodes hold 64-bit numbers: their count stands 4 bytes before a multiple of 8.
    put_u32(out, 0);
    let nodes_offset = out.len() - start - nodes_at;
    let nodes_at = start + nodes_at;
    out[nodes_at..nodes_at + 4].copy_from_slice(&u32_of(nodes_offset).to_le_bytes());
    put_u32(out, message.nodes.len());
    for node in &message.nodes {
        put_u64(out, node.length);
        put_u64(out, node.null_count);
    }
}

fn patch(out: &mut [u8], at: usize, value: usize) {
    out[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u32_of(value).to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u64).to_le_bytes());
}

fn u32_of(value: usize) -> u32 {
    u32::try_from(value).expect("counts come from a schema, far below 2^32")
}

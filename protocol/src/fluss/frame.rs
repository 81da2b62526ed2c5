//! Frames of the Fluss wire: a length, a small header, one protobuf message.
//!
//! ```text
//! request   length i32 | api key i16 | version i16 | request id i32 | message
//! answer    length i32 | kind i8 = 0 | request id i32 | message
//! error     length i32 | kind i8 = 1 | request id i32 | ErrorResponse
//! failure   length i32 | kind i8 = 2 | ErrorResponse
//! ```
//!
//! Numbers are big endian; the length counts what follows it. Kind 2 has no request id and
//! `fluss-rs` misreads it, so it is never sent: an unreadable connection is closed instead.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

use super::error::ErrorCode;
use super::messages::ErrorResponse;

/// Bytes of a request header after the length.
pub const REQUEST_HEADER_BYTES: usize = 8;

/// Bytes of an answer's header after the length.
pub(super) const ANSWER_HEADER_BYTES: usize = 5;

const KIND_SUCCESS: u8 = 0;
const KIND_ERROR: u8 = 1;

/// A request as it came in, its message still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFrame {
    /// What is asked; see [`super::api::ServedApis::resolve`].
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// Unique on its connection; the answer repeats it.
    pub request_id: i32,
    /// The message, a slice of the frame.
    pub body: Bytes,
}

/// A frame is shorter than its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("request frame of {0} bytes has no whole header")]
pub struct ShortFrame(pub usize);

impl RequestFrame {
    /// Splits what follows the length field of a request.
    ///
    /// # Errors
    /// The frame is shorter than a header. Nothing can be answered, as there is no request id.
    pub fn parse(mut frame: Bytes) -> Result<Self, ShortFrame> {
        if frame.len() < REQUEST_HEADER_BYTES {
            return Err(ShortFrame(frame.len()));
        }
        Ok(RequestFrame {
            api_key: frame.get_i16(),
            api_version: frame.get_i16(),
            request_id: frame.get_i32(),
            body: frame,
        })
    }
}

/// A message does not fit a frame, whose length is an `i32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("answer of {0} bytes does not fit a frame")]
pub struct FrameTooLong(pub usize);

/// A whole answer frame of a request that succeeded.
///
/// # Errors
/// The message is larger than 2 GiB.
pub fn encode_success(request_id: i32, message: &impl Message) -> Result<Bytes, FrameTooLong> {
    let body = message.encoded_len();
    let mut frame = BytesMut::with_capacity(4 + ANSWER_HEADER_BYTES + body);
    put_success_header(&mut frame, request_id, body)?;
    message
        .encode(&mut frame)
        .expect("a BytesMut grows as needed");
    Ok(frame.freeze())
}

/// A whole answer frame of a request that failed. Without a message the client shows its own text
/// for the code. A message is cut at [`ERROR_TEXT_BYTES_MAX`].
pub fn encode_error(request_id: i32, code: ErrorCode, message: Option<&str>) -> Bytes {
    let response = error_response(code, message);
    let body = response.encoded_len();
    let mut frame = BytesMut::with_capacity(4 + ANSWER_HEADER_BYTES + body);
    frame.put_u32((ANSWER_HEADER_BYTES + body) as u32);
    frame.put_u8(KIND_ERROR);
    frame.put_i32(request_id);
    response
        .encode(&mut frame)
        .expect("a BytesMut grows as needed");
    frame.freeze()
}

/// The longest error text that is sent, in bytes: names of hostile lengths may stand in it.
pub const ERROR_TEXT_BYTES_MAX: usize = 2048;

fn error_response(code: ErrorCode, message: Option<&str>) -> ErrorResponse {
    let cut = |text: &str| text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned();
    ErrorResponse {
        error_code: code.code(),
        error_message: message.map(cut),
    }
}

/// Writes length, kind and request id of a successful answer with a body of this size.
pub(super) fn put_success_header(
    frame: &mut BytesMut,
    request_id: i32,
    body: usize,
) -> Result<(), FrameTooLong> {
    let length = i32::try_from(ANSWER_HEADER_BYTES + body).map_err(|_| FrameTooLong(body))?;
    frame.put_i32(length);
    frame.put_u8(KIND_SUCCESS);
    frame.put_i32(request_id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::{InitWriterResponse, TableExistsResponse};
    use super::*;

    #[test]
    fn a_request_is_split_without_copying() {
        let frame = Bytes::from_static(&[0x03, 0xf4, 0, 0, 0, 0, 0, 9, 1, 2, 3]);
        let request = RequestFrame::parse(frame.clone()).unwrap();
        assert_eq!(
            (request.api_key, request.api_version, request.request_id),
            (1012, 0, 9)
        );
        assert_eq!(request.body.as_ptr(), frame[8..].as_ptr());
        assert_eq!(request.body, frame.slice(8..));
    }

    #[test]
    fn a_frame_without_a_whole_header_is_refused() {
        assert_eq!(
            RequestFrame::parse(Bytes::from_static(&[0; 7])),
            Err(ShortFrame(7))
        );
    }

    #[test]
    fn an_answer_has_length_kind_and_request_id() {
        let frame = encode_success(0x01020304, &TableExistsResponse { exists: true }).unwrap();
        assert_eq!(frame.as_ref(), [0, 0, 0, 7, 0, 1, 2, 3, 4, 0x08, 1]);
        // Required fields are written also when they are zero.
        let frame = encode_success(1, &InitWriterResponse { writer_id: 0 }).unwrap();
        assert_eq!(frame.as_ref(), [0, 0, 0, 7, 0, 0, 0, 0, 1, 0x08, 0]);
    }

    #[test]
    fn an_error_without_text_leaves_it_to_the_client() {
        let frame = encode_error(5, ErrorCode::TableNotExist, None);
        assert_eq!(frame.as_ref(), [0, 0, 0, 7, 1, 0, 0, 0, 5, 0x08, 7]);
        let frame = encode_error(5, ErrorCode::TableNotExist, Some("db.t"));
        assert_eq!(&frame[9..], b"\x08\x07\x12\x04db.t");
    }

    #[test]
    fn long_error_texts_are_cut_between_characters() {
        let text = "é".repeat(2000) + "x";
        let frame = encode_error(5, ErrorCode::InvalidTable, Some(&("a".to_owned() + &text)));
        let response = ErrorResponse::decode(&frame[9..]).unwrap();
        assert_eq!(response.error_message.unwrap().len(), 2047);
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = RequestFrame::parse(bytes.into());
        }
    }
}

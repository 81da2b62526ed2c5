//! Strings and base64.

/// A string with quotes. Only what JSON demands is escaped: quote, backslash, control characters.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..i]);
        plain_from = i + 1;
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                let hex = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(hex[usize::from(byte >> 4)]);
                out.push(hex[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as a base64 string with padding (RFC 4648, the standard alphabet).
pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.reserve(bytes.len().div_ceil(3) * 4 + 1);
    let digit = |bits: u32| BASE64[(bits & 63) as usize];
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let mut four = [
            digit(bits >> 18),
            digit(bits >> 12),
            digit(bits >> 6),
            digit(bits),
        ];
        four[group.len() + 1..].fill(b'=');
        out.extend_from_slice(&four);
    }
    out.push(b'"');
}

/// The bytes of a base64 text as [`write_base64`] writes it; none for any other spelling.
pub(super) fn read_base64(text: &str) -> Option<Vec<u8>> {
    let groups = text.as_bytes().chunks_exact(4);
    if !groups.remainder().is_empty() {
        return None;
    }
    let last = groups.len().checked_sub(1);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (i, group) in groups.enumerate() {
        let padding = match (group, Some(i) == last) {
            ([_, _, b'=', b'='], true) => 2,
            ([_, _, _, b'='], true) => 1,
            _ => 0,
        };
        let mut bits = 0u32;
        for byte in &group[..4 - padding] {
            bits = bits << 6 | sextet(*byte)?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        // What padding stands for is zero: one text for each value.
        if bytes[4 - padding..].iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - padding]);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    let bits = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(bits.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_pads() {
        // The examples of RFC 4648.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            write_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, format!("\"{expected}\"").as_bytes());
        }
        let mut out = Vec::new();
        write_base64(&[0xfb, 0xff], &mut out);
        assert_eq!(out, b"\"+/8=\"");
    }

    #[test]
    fn one_base64_text_stands_for_each_value() {
        for text in [
            "Zg=", "Zg", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9-", "Zm9v\n", "é=",
        ] {
            assert_eq!(read_base64(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn base64_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut out = Vec::new();
            write_base64(&bytes, &mut out);
            let text = std::str::from_utf8(&out).unwrap().trim_matches('"');
            prop_assert_eq!(read_base64(text), Some(bytes));
        }

        #[test]
        fn strings_read_back(text in proptest::collection::vec(any::<char>(), 0..20)) {
            let text: String = text.into_iter().collect();
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn control_characters_read_back(bytes in proptest::collection::vec(0u8..0x80, 0..20)) {
            let text = String::from_utf8(bytes).unwrap();
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}

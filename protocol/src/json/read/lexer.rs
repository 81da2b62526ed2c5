//! The tokens of a JSON text (RFC 8259), read one after the other from the text itself.
//!
//! Numbers are given as they are spelled: what a 64-bit float cannot hold is not lost. Strings
//! borrow from the text unless something in them is escaped.

use std::borrow::Cow;

use super::ReadError;

/// A place in a JSON text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, ReadError> {
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Lexer { text, at: 0 }),
            Err(error) => Err(ReadError::Syntax {
                at: error.valid_up_to(),
                expected: "UTF-8",
            }),
        }
    }

    /// The byte that the next token begins with.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|b| blank(b)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next token if it is this mark.
    pub(super) fn take(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(mark);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, mark: u8, expected: &'static str) -> Result<(), ReadError> {
        match self.take(mark) {
            true => Ok(()),
            false => Err(self.error(expected)),
        }
    }

    /// Takes a literal name, whose first byte was seen.
    pub(super) fn literal(&mut self, name: &'static str) -> Result<(), ReadError> {
        if self.text[self.at..].starts_with(name) {
            self.at += name.len();
            Ok(())
        } else {
            Err(self.error(name))
        }
    }

    /// A number as it is spelled.
    pub(super) fn number(&mut self) -> Result<&'a str, ReadError> {
        let start = self.at;
        self.skip(b'-');
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            if !self.skip(b'+') {
                self.skip(b'-');
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), ReadError> {
        let rest = &self.text.as_bytes()[self.at..];
        match rest.iter().take_while(|b| b.is_ascii_digit()).count() {
            0 => Err(self.error("a digit")),
            count => {
                self.at += count;
                Ok(())
            }
        }
    }

    /// A string without its quotes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, ReadError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        self.plain();
        if self.skip(b'"') {
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let mut out = self.text[start..self.at].to_owned();
        loop {
            if self.skip(b'"') {
                return Ok(Cow::Owned(out));
            }
            if !self.skip(b'\\') {
                return Err(self.error("no control character"));
            }
            out.push(self.escaped()?);
            let from = self.at;
            self.plain();
            out.push_str(&self.text[from..self.at]);
        }
    }

    /// Goes on to the next byte of a string that does not stand for itself.
    fn plain(&mut self) {
        let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(special).unwrap_or(rest.len());
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char, ReadError> {
        let plain = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.error("an escaped character")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The character of four hexadecimal digits, or of two such units of UTF-16.
    fn unicode(&mut self) -> Result<char, ReadError> {
        let lone = "a whole character, not half of one";
        let first = self.unit()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.error(lone));
        }
        if !(self.skip(b'\\') && self.skip(b'u')) {
            return Err(self.error(lone));
        }
        let second = self.unit()?;
        let is_pair = first < 0xdc00 && (0xdc00..0xe000).contains(&second);
        let code = 0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
        char::from_u32(code)
            .filter(|_| is_pair)
            .ok_or_else(|| self.error(lone))
    }

    fn unit(&mut self) -> Result<u32, ReadError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for digit in digits.unwrap_or(b"?") {
            match char::from(*digit).to_digit(16) {
                Some(value) => unit = unit << 4 | value,
                None => return Err(self.error("four hexadecimal digits")),
            }
        }
        self.at += 4;
        Ok(unit)
    }

    /// Nothing but blanks may follow.
    pub(super) fn finish(&mut self) -> Result<(), ReadError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("nothing more")),
        }
    }

    /// What the text has where it should go on as `expected`.
    pub(super) fn error(&self, expected: &'static str) -> ReadError {
        ReadError::Syntax {
            at: self.at,
            expected,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> Option<String> {
        let mut lexer = Lexer::new(text.as_bytes()).ok()?;
        let string = lexer.string().ok()?.into_owned();
        lexer.finish().ok().map(|()| string)
    }

    fn number(text: &str) -> Option<&str> {
        let mut lexer = Lexer::new(text.as_bytes()).ok()?;
        let number = lexer.number().ok()?;
        (number.len() == text.len()).then_some(number)
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        let text = r#""a\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00z""#;
        let expected = "a\"\\/\u{8}\u{c}\n\r\té😀z";
        assert_eq!(string(text).as_deref(), Some(expected));
        for wrong in [
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\u0041""#,
            r#""\ude00\ud83d""#,
            r#""open"#,
            "\"a\nb\"",
            r#""\"#,
            "x",
            r#""a" b"#,
        ] {
            assert_eq!(string(wrong), None, "{wrong}");
        }
        assert!(Lexer::new(b"\"\xff\"").is_err());
    }

    #[test]
    fn what_is_plain_is_borrowed() {
        let mut lexer = Lexer::new(" \"plain\"".as_bytes()).unwrap();
        assert!(matches!(lexer.string(), Ok(Cow::Borrowed("plain"))));
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde(text in "\"[a-c\u{e9}\"\\\\\\\\u0-9dD/\n]{0,12}\"") {
            let expected = serde_json::from_str::<String>(&text).ok();
            prop_assert_eq!(string(&text), expected);
        }

        #[test]
        fn numbers_are_those_of_serde(text in "[-+.eE0-9]{1,8}") {
            let is_number = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // A float may be too large for serde, but is spelled well.
            let too_large = text.contains(['e', 'E']);
            if is_number || !too_large {
                prop_assert_eq!(number(&text).is_some(), is_number, "{}", text);
            }
        }
    }
}

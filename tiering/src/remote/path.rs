//! Where an object is.

use std::fmt;

/// Longest path in bytes: what all the cloud stores take.
const PATH_BYTES_MAX: usize = 1024;
/// Longest part of a path in bytes: a file name, with room for the suffixes of half-written files.
const PART_BYTES_MAX: usize = 240;

/// A path of parts with `/` between them, such as `wal/1/7/00000000000000000042`.
///
/// A part consists of ASCII letters, digits, `_`, `-`, `=`, `$` and `.`, and does not start with a
/// dot: such names mean the same in every store and on every file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

/// Why a string is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectPathError {
    /// It has an empty part: it is empty, or starts or ends with `/`, or has two in a row.
    #[error("path {0:?} has an empty part")]
    EmptyPart(String),
    /// A part starts with a dot.
    #[error("path {0:?} has a part that starts with a dot")]
    Dot(String),
    /// It has a character that paths do not have.
    #[error("path {path:?} contains {character:?}")]
    Character {
        /// The path.
        path: String,
        /// The first such character.
        character: char,
    },
    /// It has more than 1024 bytes, or a part has more than 240.
    #[error("path of {0} bytes is too long")]
    TooLong(usize),
}

impl ObjectPath {
    /// Checks a path.
    pub fn parse(path: &str) -> Result<Self, ObjectPathError> {
        let is_allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '=' | '$' | '.');
        for part in path.split('/') {
            if part.is_empty() {
                return Err(ObjectPathError::EmptyPart(path.to_owned()));
            }
            if part.starts_with('.') {
                return Err(ObjectPathError::Dot(path.to_owned()));
            }
            if let Some(character) = part.chars().find(|c| !is_allowed(*c)) {
                return Err(ObjectPathError::Character {
                    path: path.to_owned(),
                    character,
                });
            }
            if part.len() > PART_BYTES_MAX {
                return Err(ObjectPathError::TooLong(path.len()));
            }
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(ObjectPathError::TooLong(path.len()));
        }
        Ok(ObjectPath(path.to_owned()))
    }

    /// The path `part` below this one; `part` may have several parts itself.
    pub fn join(&self, part: &str) -> Result<Self, ObjectPathError> {
        ObjectPath::parse(&format!("{}/{part}", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn legal_paths_are_taken_as_they_are() {
        for path in [
            "a",
            "wal/1/7/00000042",
            "log/d/t-3/2024$cz/p=1/x.log",
            "_/-",
        ] {
            assert_eq!(ObjectPath::parse(path).unwrap().as_str(), path);
        }
        let a = ObjectPath::parse("a").unwrap();
        assert_eq!(a.join("b/c"), ObjectPath::parse("a/b/c"));
        assert!(a.join("").is_err() && a.join("../b").is_err());
    }

    #[test]
    fn illegal_paths_are_refused_with_their_reason() {
        for path in ["", "/a", "a/", "a//b"] {
            assert_eq!(
                ObjectPath::parse(path),
                Err(ObjectPathError::EmptyPart(path.to_owned()))
            );
        }
        for path in [".", "..", "a/../b", ".hidden"] {
            assert_eq!(
                ObjectPath::parse(path),
                Err(ObjectPathError::Dot(path.to_owned()))
            );
        }
        for path in ["a b", "a%20", "ä", "a\\b", "a#1", "a\0"] {
            assert!(matches!(
                ObjectPath::parse(path),
                Err(ObjectPathError::Character { .. })
            ));
        }
        assert_eq!(
            ObjectPath::parse(&"a".repeat(241)),
            Err(ObjectPathError::TooLong(241))
        );
        let long = vec!["a".repeat(100); 11].join("/");
        assert_eq!(
            ObjectPath::parse(&long),
            Err(ObjectPathError::TooLong(1110))
        );
    }

    proptest! {
        /// The library must not rewrite what we call legal.
        #[test]
        fn a_legal_path_is_itself_to_the_library(path in "[a-zA-Z0-9_=$.-]{1,20}(/[a-z.$]{1,9}){0,4}") {
            if let Ok(path) = ObjectPath::parse(&path) {
                let library = object_store::path::Path::parse(path.as_str()).unwrap();
                prop_assert_eq!(library.as_ref(), path.as_str());
            }
        }
    }
}

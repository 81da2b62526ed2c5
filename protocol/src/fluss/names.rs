//! Which names databases, tables and partition values may have.
//!
//! Source of the rules: Fluss `metadata/TablePath.java`.

use thiserror::Error;

/// The longest name, so that folders made of names stay below what file systems allow.
pub const NAME_BYTES_MAX: usize = 200;

/// Names that begin so belong to the server.
pub const RESERVED_PREFIX: &str = "__";

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is no character.
    #[error("is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("is '.' or '..'")]
    Dots,
    /// It has more than [`NAME_BYTES_MAX`] characters.
    #[error("is longer than {NAME_BYTES_MAX} characters")]
    TooLong,
    /// It has a character that is not allowed.
    #[error("has characters other than ASCII letters, digits, '_' and '-'")]
    Character,
    /// It begins with [`RESERVED_PREFIX`].
    #[error("begins with '{RESERVED_PREFIX}', which is reserved")]
    Reserved,
}

/// Checks a name that may belong to the server.
///
/// # Errors
/// The name breaks a rule of this page.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match name {
        "" => Err(NameError::Empty),
        "." | ".." => Err(NameError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ if !name.bytes().all(allowed) => Err(NameError::Character),
        _ => Ok(()),
    }
}

/// Checks a name that a client wants to give.
///
/// # Errors
/// The name breaks a rule of this page, or is reserved.
pub fn check_new_name(name: &str) -> Result<(), NameError> {
    check_name(name)?;
    if name.starts_with(RESERVED_PREFIX) {
        Err(NameError::Reserved)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_underscore_and_hyphen_make_a_name() {
        assert_eq!(check_new_name("a"), Ok(()));
        assert_eq!(check_new_name("_Order-2024"), Ok(()));
        assert_eq!(check_new_name(&"x".repeat(200)), Ok(()));
    }

    #[test]
    fn other_names_are_refused_with_a_reason() {
        assert_eq!(check_new_name(""), Err(NameError::Empty));
        assert_eq!(check_new_name(".."), Err(NameError::Dots));
        assert_eq!(check_new_name(&"x".repeat(201)), Err(NameError::TooLong));
        assert_eq!(check_new_name("a.b"), Err(NameError::Character));
        assert_eq!(check_new_name("řeka"), Err(NameError::Character));
        assert_eq!(check_new_name("__a"), Err(NameError::Reserved));
        assert_eq!(check_name("__historical__"), Ok(()));
    }
}

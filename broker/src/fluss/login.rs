//! Who a client is: anonymous, or logged in with SASL/PLAIN.
//!
//! Facts: Fluss RPC, authentication; RFC 4616.

use std::sync::Arc;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{AuthenticateRequest, AuthenticateResponse};

use super::error::Failure;
use crate::config::SaslUser;

/// The only mechanism.
const PLAIN: &str = "PLAIN";
/// What clients of a listener without login may say that they speak.
const PLAINTEXT: &str = "PLAINTEXT";

/// What a connection has said about its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The listener asks nobody.
    Anonymous,
    /// The listener asks, the client has not answered yet.
    Missing,
    /// This user has shown its password.
    User(Arc<str>),
}

impl Login {
    /// The state of a new connection.
    pub fn new(needed: bool) -> Login {
        if needed {
            Login::Missing
        } else {
            Login::Anonymous
        }
    }

    /// True when the client may ask for more than a login.
    pub fn is_done(&self) -> bool {
        *self != Login::Missing
    }

    /// Takes an AUTHENTICATE. The answer has no challenge: `fluss-rs` would answer one, even an
    /// empty one, with a second round.
    pub fn authenticate(
        &mut self,
        request: &AuthenticateRequest,
        users: &[SaslUser],
    ) -> Result<AuthenticateResponse, Failure> {
        let expected = if *self == Login::Anonymous {
            PLAINTEXT
        } else {
            PLAIN
        };
        if !request.protocol.eq_ignore_ascii_case(expected) {
            return Err(refused(format!(
                "authentication protocol '{}' is not the {expected} of this listener",
                request.protocol
            )));
        }
        if *self == Login::Missing {
            *self = Login::User(user_of(&request.token, users)?);
        }
        Ok(AuthenticateResponse::default())
    }
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Authenticate, text)
}

/// The user of a token: authorization id, NUL, user, NUL, password.
fn user_of(token: &[u8], users: &[SaslUser]) -> Result<Arc<str>, Failure> {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == 0).collect();
    let [authorization, user, password] = parts[..] else {
        return Err(refused("the token is not that of SASL/PLAIN"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(refused("user or password is empty"));
    }
    // All users are compared, whole, so that the time says nothing about a guess.
    let mut found = None;
    for known in users {
        let name = same(known.name.as_bytes(), user);
        let secret = same(known.password.as_bytes(), password);
        if name & secret {
            found = Some(known);
        }
    }
    match found {
        Some(known) if authorization.is_empty() || authorization == user => {
            Ok(known.name.as_str().into())
        }
        _ => Err(refused("invalid user or password")),
    }
}

/// Compares in a time that depends on the guess's length alone.
fn same(known: &[u8], guess: &[u8]) -> bool {
    let mut difference = known.len() ^ guess.len();
    for (i, byte) in guess.iter().enumerate() {
        let other = known.get(i).copied().unwrap_or(!byte);
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<SaslUser> {
        let user = |name: &str, password: &str| SaslUser {
            name: name.into(),
            password: password.into(),
        };
        vec![user("admin", "admin-secret"), user("alice", "alice-secret")]
    }

    fn request(protocol: &str, token: &'static [u8]) -> AuthenticateRequest {
        AuthenticateRequest {
            protocol: protocol.into(),
            token: token.into(),
        }
    }

    fn code_of(login: &mut Login, protocol: &str, token: &'static [u8]) -> Option<ErrorCode> {
        login
            .authenticate(&request(protocol, token), &users())
            .err()
            .map(|failure| failure.code)
    }

    #[test]
    fn a_right_password_logs_in_without_a_challenge() {
        let mut login = Login::new(true);
        assert!(!login.is_done());
        let answer = login.authenticate(&request("plain", b"\0alice\0alice-secret"), &users());
        assert_eq!(answer, Ok(AuthenticateResponse { challenge: None }));
        assert_eq!(login, Login::User("alice".into()));
        // A second round, as clients make it that were challenged.
        assert_eq!(code_of(&mut login, "PLAIN", b""), None);
    }

    #[test]
    fn whatever_else_does_not_log_in() {
        for token in [
            &b"\0alice\0admin-secret"[..],
            b"\0alice\0alice-secret2",
            b"\0alice\0alice-secre",
            b"\0nobody\0x",
            b"\0\0alice-secret",
            b"\0alice\0",
            b"admin\0alice\0alice-secret",
            b"alice",
            b"",
            b"\0alice\0alice-secret\0",
        ] {
            let mut login = Login::new(true);
            let found = code_of(&mut login, "PLAIN", token);
            assert_eq!(found, Some(ErrorCode::Authenticate), "{token:?}");
            assert!(!login.is_done());
        }
        assert!(
            code_of(
                &mut Login::new(true),
                "SCRAM-SHA-256",
                b"\0alice\0alice-secret"
            )
            .is_some()
        );
    }

    #[test]
    fn an_open_listener_answers_to_its_own_name_only() {
        let mut login = Login::new(false);
        assert_eq!(code_of(&mut login, "PLAINTEXT", b""), None);
        assert!(code_of(&mut login, "PLAIN", b"\0alice\0alice-secret").is_some());
        assert!(login.is_done());
    }
}

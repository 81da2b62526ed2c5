//! Errors of a program that only reports them.

/// Any error, as a message.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What may fail.
pub type Outcome<T> = Result<T, Failure>;

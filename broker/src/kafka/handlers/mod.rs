//! A file per API: from the message to the core, and from its outcome to the answer.

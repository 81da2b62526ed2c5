//! Names as types, so that a member id is never taken for an instance id. Cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(Arc::from(text))
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Names a group.
    GroupId
);
name!(
    /// Names a member of a group. Handed out by the coordinator; empty before that.
    MemberId
);
name!(
    /// The name that a static member keeps over restarts (`group.instance.id`).
    InstanceId
);
name!(
    /// A topic, as committed offsets name it.
    TopicName
);

impl MemberId {
    /// The id of a client that has none yet.
    pub fn unknown() -> Self {
        MemberId::from("")
    }

    /// True for the id of a client that has none yet.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }
}

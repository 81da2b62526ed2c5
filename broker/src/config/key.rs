//! What is known about one setting.

/// One setting: all that validation, documentation and both wires need to know about it.
///
/// Made in the tables of [`keys`](super::keys) and nowhere else.
#[derive(Debug)]
pub struct Key {
    /// The name: Kafka's when Kafka has the setting, else Fluss's, else ours (`vltava.…`).
    pub name: &'static str,
    /// The section of the documentation.
    pub section: Section,
    /// What the setting belongs to.
    pub scope: Scope,
    /// Type and limits.
    pub kind: Kind,
    /// The default, as one would write it; `None` when the setting is unset by default.
    pub default: Option<&'static str>,
    /// One or more sentences for the documentation and for Kafka's DescribeConfigs.
    pub about: &'static str,
    /// The name on the Kafka wire; `None` when Kafka has no such setting and does not see it.
    pub kafka: Option<&'static str>,
    /// The name in Fluss's configuration; `None` when Fluss has no such setting.
    pub fluss: Option<&'static str>,
    /// Further names that are understood in files, variables and flags.
    pub aliases: &'static [&'static str],
    /// May be changed while the broker runs.
    pub dynamic: bool,
    /// Never shown.
    pub secret: bool,
    /// For a topic's setting: the broker settings that its default is taken from, the first one
    /// that is set.
    pub inherits: &'static [&'static str],
    /// Set when the setting is understood and changes nothing, with the reason.
    pub without_effect: Option<&'static str>,
}

/// What a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The process.
    Broker,
    /// A topic or a table.
    Topic,
}

/// A heading of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the titles say it")]
pub enum Section {
    Process,
    Listeners,
    Connections,
    Topics,
    Log,
    Cleaner,
    Fetch,
    Producers,
    Groups,
    Transcoder,
    PrimaryKeys,
    TopicSettings,
}

impl Section {
    /// In the order of the documentation.
    pub const ALL: [Section; 12] = [
        Section::Process,
        Section::Listeners,
        Section::Connections,
        Section::Topics,
        Section::Log,
        Section::Cleaner,
        Section::Fetch,
        Section::Producers,
        Section::Groups,
        Section::Transcoder,
        Section::PrimaryKeys,
        Section::TopicSettings,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Process => "Process",
            Section::Listeners => "Listeners and users",
            Section::Connections => "Connections and requests",
            Section::Topics => "Topics and tables",
            Section::Log => "Log",
            Section::Cleaner => "Cleaner",
            Section::Fetch => "Reading",
            Section::Producers => "Producers",
            Section::Groups => "Consumer groups",
            Section::Transcoder => "Reading over the other wire",
            Section::PrimaryKeys => "Primary-key tables",
            Section::TopicSettings => "Settings of a topic",
        }
    }
}

/// Type and limits of a setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number between the limits, or exactly `or`.
    Integer {
        /// Kafka's type for it.
        width: Width,
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
        /// A value outside the limits that is allowed as well.
        or: Option<i64>,
        /// What is counted.
        unit: Unit,
    },
    /// A number between the limits.
    Double {
        /// The smallest value.
        min: f64,
        /// The largest value.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words between commas; of these, unless the list is empty.
    List(&'static [&'static str]),
    /// Kafka's list of throttled replicas: `*`, or pairs `partition:broker` between commas.
    Replicas,
}

/// Kafka's type of a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
}

/// What a whole number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Just a number.
    Count,
    /// Bytes; `64 kb`, `1 gb` (powers of 1024) are understood.
    Bytes,
    /// Milliseconds; `500 ms`, `10 min`, `7 d` are understood.
    Millis,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl Unit {
    /// Milliseconds or bytes in one of it.
    pub(crate) fn scale(self) -> i64 {
        match self {
            Unit::Count | Unit::Bytes | Unit::Millis => 1,
            Unit::Minutes => 60_000,
            Unit::Hours => 3_600_000,
        }
    }

    /// The unit's name; empty for a mere number.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => "bytes",
            Unit::Millis => "ms",
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
        }
    }
}

impl Key {
    /// All names under which the setting may be written, its own first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let others = [self.kafka, self.fluss].into_iter().flatten();
        let others = others.chain(self.aliases.iter().copied());
        let name = self.name;
        std::iter::once(name).chain(others.filter(move |other| *other != name))
    }

    const fn new(
        scope: Scope,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            section: Section::TopicSettings,
            scope,
            kind,
            default,
            about,
            kafka: None,
            fluss: None,
            aliases: &[],
            dynamic: false,
            secret: false,
            inherits: &[],
            without_effect: None,
        }
    }
}

// The words of the tables. Each takes a key and returns it with one thing more said about it.

/// A setting of ours.
pub(super) const fn ours(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key::new(Scope::Broker, name, kind, default, about)
}

/// A setting under Kafka's name.
pub(super) const fn kafka(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    let mut key = Key::new(Scope::Broker, name, kind, default, about);
    key.kafka = Some(name);
    key
}

/// A setting under Fluss's name.
pub(super) const fn fluss(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    let mut key = Key::new(Scope::Broker, name, kind, default, about);
    key.fluss = Some(name);
    key
}

/// A setting of a topic; all of them may be changed at any time.
pub(super) const fn topic(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    let mut key = Key::new(Scope::Topic, name, kind, default, about);
    key.kafka = Some(name);
    key.dynamic = true;
    key
}

impl Key {
    pub(super) const fn within(mut self, section: Section) -> Self {
        self.section = section;
        self
    }

    pub(super) const fn on_kafka(mut self, name: &'static str) -> Self {
        self.kafka = Some(name);
        self
    }

    pub(super) const fn on_fluss(mut self, name: &'static str) -> Self {
        self.fluss = Some(name);
        self
    }

    pub(super) const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn inherits(mut self, broker_keys: &'static [&'static str]) -> Self {
        self.inherits = broker_keys;
        self
    }

    pub(super) const fn without_effect(mut self, why: &'static str) -> Self {
        self.without_effect = Some(why);
        self
    }
}

/// A 32-bit number.
pub(super) const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer {
        width: Width::Int,
        min,
        max,
        or: None,
        unit: Unit::Count,
    }
}

/// A 32-bit number from `min` up.
pub(super) const fn int_from(min: i64) -> Kind {
    int(min, i32::MAX as i64)
}

/// A 64-bit number from `min` up.
pub(super) const fn long_from(min: i64) -> Kind {
    Kind::Integer {
        width: Width::Long,
        min,
        max: i64::MAX,
        or: None,
        unit: Unit::Count,
    }
}

impl Kind {
    pub(super) const fn of(self, unit: Unit) -> Kind {
        match self {
            Kind::Integer {
                width,
                min,
                max,
                or,
                ..
            } => Kind::Integer {
                width,
                min,
                max,
                or,
                unit,
            },
            other => other,
        }
    }

    pub(super) const fn or(self, value: i64) -> Kind {
        match self {
            Kind::Integer {
                width,
                min,
                max,
                unit,
                ..
            } => Kind::Integer {
                width,
                min,
                max,
                or: Some(value),
                unit,
            },
            other => other,
        }
    }
}

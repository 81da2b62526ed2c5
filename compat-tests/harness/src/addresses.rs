//! Where a running server listens, and how a suite in any language learns it: by environment variables.

use std::env;

/// What a suite runs against. Suites that hold only for one of them look at it; most do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `vltava serve`.
    Vltava,
    /// Apache Kafka for the Kafka suites, Apache Fluss for the Fluss suites.
    Peers,
    /// Whatever answers at the addresses in the environment.
    Given,
}

impl Target {
    /// The name in `COMPAT_TARGET` and of the file in `expected/`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Vltava => "vltava",
            Target::Peers => "peers",
            Target::Given => "given",
        }
    }
}

/// Addresses as `host:port`, each absent when the server does not speak that protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Kafka wire.
    pub kafka: Option<String>,
    /// Fluss wire without authentication.
    pub fluss: Option<String>,
    /// Fluss wire with SASL/PLAIN; may equal [`Self::fluss`] when one listener serves both.
    pub fluss_sasl: Option<String>,
    /// Fluss wire of a tablet server; equals [`Self::fluss`] when one process is coordinator and tablet server.
    pub fluss_tablet: Option<String>,
    /// Metrics and health.
    pub http: Option<String>,
}

const KAFKA: &str = "KAFKA_BOOTSTRAP";
const FLUSS: &str = "FLUSS_BOOTSTRAP";
const FLUSS_SASL: &str = "FLUSS_SASL_BOOTSTRAP";
const FLUSS_TABLET: &str = "FLUSS_TABLET_BOOTSTRAP";
const HTTP: &str = "VLTAVA_HTTP";

impl Addresses {
    /// Reads the environment. The SASL and the tablet address fall back to the plain one.
    pub fn from_env() -> Self {
        let fluss = variable(FLUSS);
        Self {
            kafka: variable(KAFKA),
            fluss_sasl: variable(FLUSS_SASL).or_else(|| fluss.clone()),
            fluss_tablet: variable(FLUSS_TABLET).or_else(|| fluss.clone()),
            fluss,
            http: variable(HTTP),
        }
    }

    /// Reads a line such as `ready kafka=127.0.0.1:9092 fluss=127.0.0.1:9123 http=127.0.0.1:9180`; `None` for any
    /// other line. Unknown names are skipped, so that a later broker may add listeners.
    pub fn from_ready_line(line: &str) -> Option<Self> {
        let rest = line.trim_end().strip_prefix("ready ")?;
        let mut found = Self::default();
        for (name, address) in rest
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
        {
            let slot = match name {
                "kafka" => &mut found.kafka,
                "fluss" => &mut found.fluss,
                "fluss-sasl" => &mut found.fluss_sasl,
                "http" => &mut found.http,
                _ => continue,
            };
            *slot = Some(address.to_owned());
        }
        found.fluss_sasl = found.fluss_sasl.or_else(|| found.fluss.clone());
        found.fluss_tablet.clone_from(&found.fluss);
        Some(found)
    }

    /// The variables that hand these addresses to a suite.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        [
            (KAFKA, &self.kafka),
            (FLUSS, &self.fluss),
            (FLUSS_SASL, &self.fluss_sasl),
            (FLUSS_TABLET, &self.fluss_tablet),
            (HTTP, &self.http),
        ]
        .into_iter()
        .filter_map(|(name, address)| Some((name, address.clone()?)))
        .collect()
    }
}

/// The Kafka address of this run; panics with the variable's name when it is missing, as a test should.
pub fn kafka() -> String {
    Addresses::from_env()
        .kafka
        .unwrap_or_else(|| panic!("set {KAFKA} to host:port, or use compat-tests/run"))
}

/// The plain Fluss address of this run; panics with the variable's name when it is missing.
pub fn fluss() -> String {
    Addresses::from_env()
        .fluss
        .unwrap_or_else(|| panic!("set {FLUSS} to host:port, or use compat-tests/run"))
}

/// The Fluss address that wants SASL/PLAIN (users `admin`/`admin-secret` and `alice`/`alice-secret`).
pub fn fluss_sasl() -> String {
    Addresses::from_env()
        .fluss_sasl
        .unwrap_or_else(|| panic!("set {FLUSS_SASL} to host:port, or use compat-tests/run"))
}

/// An empty variable counts as absent, because shells make those easily.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_line_names_every_listener() {
        let found = Addresses::from_ready_line(
            "ready kafka=127.0.0.1:1 fluss=127.0.0.1:2 http=127.0.0.1:3 new=x\n",
        );
        let found = found.expect("a ready line");
        assert_eq!(found.kafka.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(found.fluss.as_deref(), Some("127.0.0.1:2"));
        assert_eq!(
            found.fluss_sasl.as_deref(),
            Some("127.0.0.1:2"),
            "one listener serves both"
        );
        assert_eq!(found.fluss_tablet.as_deref(), Some("127.0.0.1:2"));
        assert_eq!(found.http.as_deref(), Some("127.0.0.1:3"));
    }

    #[test]
    fn other_lines_are_not_ready_lines() {
        assert_eq!(
            Addresses::from_ready_line("already kafka=127.0.0.1:1"),
            None
        );
        assert_eq!(Addresses::from_ready_line(""), None);
    }
}

//! A broker in the test's own process, on free ports and a temporary directory.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod fluss;
pub mod kafka;
pub mod kafka_peer;
pub mod keyed;
pub mod process;
pub mod records;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use storage::env::Env;
use tempfile::TempDir;
use vltava::config::Config;
use vltava::metrics::Metrics;
use vltava::server::{Server, StartError};

/// A running broker whose data goes with it.
pub struct TestBroker {
    server: Server,
    settings: BTreeMap<String, String>,
    data: TempDir,
}

impl TestBroker {
    /// A broker with the defaults.
    pub async fn start() -> Self {
        Self::start_with([]).await
    }

    /// A broker with these settings.
    pub async fn start_with<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut all: BTreeMap<_, _> = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("bind.listeners", "FLUSS://127.0.0.1:0"),
            ("vltava.http.listen", "127.0.0.1:0"),
            ("data.dir", data.path().to_str().expect("a path in UTF-8")),
            ("vltava.shutdown.timeout.ms", "5000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        all.extend(
            settings
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let server = start(&all).await.expect("the broker starts");
        Self {
            server,
            settings: all,
            data,
        }
    }

    /// Stops the broker as SIGTERM does, and starts it again on the same data and other ports.
    pub async fn restart(self) -> Self {
        self.restart_after(|| {}).await
    }

    /// The same, with something done to the data in between.
    pub async fn restart_after(self, meanwhile: impl FnOnce()) -> Self {
        self.server.stop().await;
        meanwhile();
        let server = start(&self.settings)
            .await
            .expect("the broker starts again");
        Self { server, ..self }
    }

    /// Stops the broker.
    pub async fn stop(self) {
        self.server.stop().await;
    }

    /// Where Kafka clients connect.
    pub fn kafka(&self) -> SocketAddr {
        self.server.addresses().kafka[0].1
    }

    /// Where Fluss clients connect.
    pub fn fluss(&self) -> SocketAddr {
        self.server.addresses().fluss[0].1
    }

    /// Where metrics and health are read.
    pub fn http(&self) -> SocketAddr {
        self.server.addresses().http
    }

    /// The settings that it was started with.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }
}

/// Starts a broker with all these settings.
pub async fn start(settings: &BTreeMap<String, String>) -> Result<Server, StartError> {
    let settings = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let config = Config::with(settings).expect("sound settings");
    let metrics = Metrics::new().expect("sound metrics");
    Server::start(config, Env::real(), metrics).await
}

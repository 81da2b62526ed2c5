//! The suite inside fluss-rs asks a helper crate of this name for a cluster and gets one in containers. This one gives it
//! the server at the addresses in the environment and starts nothing. The names are the suite's choice.

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::error::Result;
use harness::{Addresses, addresses};
use std::collections::HashMap;
use std::path::PathBuf;

/// Collects what the suite wants of a cluster. Only the users matter here: the server runs already.
#[derive(Default)]
pub struct FlussTestingClusterBuilder {
    users: Vec<(String, String)>,
}

impl FlussTestingClusterBuilder {
    /// A cluster by name; there is only the one.
    pub fn new(_name: impl Into<String>) -> Self {
        Self::default()
    }

    /// A cluster with server settings; the one that runs was started with them.
    pub fn new_with_cluster_conf(
        name: impl Into<String>,
        _settings: &HashMap<String, String>,
    ) -> Self {
        Self::new(name)
    }

    /// The server has its own directory for remote data.
    pub fn with_remote_data_dir(self, _directory: PathBuf) -> Self {
        self
    }

    /// Users and passwords that the suite signs in with.
    pub fn with_sasl(mut self, users: Vec<(String, String)>) -> Self {
        self.users = users;
        self
    }

    /// The cluster.
    pub async fn build(&mut self) -> FlussTestingCluster {
        let users = std::mem::take(&mut self.users);
        FlussTestingCluster {
            users,
            plain: addresses::fluss(),
            tablet: Addresses::from_env().fluss_tablet,
        }
    }
}

/// The server that runs.
#[derive(Clone)]
pub struct FlussTestingCluster {
    users: Vec<(String, String)>,
    plain: String,
    tablet: Option<String>,
}

impl FlussTestingCluster {
    /// It is not ours to stop.
    pub fn stop(&self) {}

    /// As given to the builder.
    pub fn sasl_users(&self) -> &[(String, String)] {
        &self.users
    }

    /// The listener without authentication.
    pub fn plaintext_bootstrap_servers(&self) -> &str {
        &self.plain
    }

    /// The listener without authentication of the only tablet server.
    pub fn plaintext_tablet_bootstrap_server(&self, _server: u16) -> Option<&str> {
        self.tablet.as_deref()
    }

    /// A connection without authentication.
    pub async fn get_fluss_connection(&self) -> FlussConnection {
        FlussConnection::new(self.configuration())
            .await
            .expect("the server answers without authentication")
    }

    /// A connection that signs in.
    pub async fn get_fluss_connection_with_sasl(
        &self,
        user: &str,
        password: &str,
    ) -> FlussConnection {
        self.try_fluss_connection_with_sasl(user, password)
            .await
            .expect("the server accepts this user")
    }

    /// A connection that signs in, or the server's refusal.
    pub async fn try_fluss_connection_with_sasl(
        &self,
        user: &str,
        password: &str,
    ) -> Result<FlussConnection> {
        FlussConnection::new(Config {
            bootstrap_servers: addresses::fluss_sasl(),
            security_protocol: "sasl".to_owned(),
            security_sasl_mechanism: "PLAIN".to_owned(),
            security_sasl_username: user.to_owned(),
            security_sasl_password: password.to_owned(),
            ..self.configuration()
        })
        .await
    }

    fn configuration(&self) -> Config {
        Config {
            bootstrap_servers: self.plain.clone(),
            writer_acks: "all".to_owned(),
            ..Config::default()
        }
    }
}

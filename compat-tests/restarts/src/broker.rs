//! The broker that is killed.

use std::path::PathBuf;

use harness::vltava::{Running, Vltava};
use harness::{cache, ports};

/// A broker whose addresses and data outlive its process.
pub struct Broker {
    how: Vltava,
    running: Running,
    _data: tempfile::TempDir,
}

impl Broker {
    /// Starts `$COMPAT_VLTAVA` on an empty data directory.
    pub fn start() -> Broker {
        Broker::start_with([])
    }

    /// As [`Broker::start`], with settings besides those of the suite.
    pub fn start_with(settings: impl IntoIterator<Item = String>) -> Broker {
        let program = std::env::var_os("COMPAT_VLTAVA").expect("COMPAT_VLTAVA names the broker");
        let data = tempfile::tempdir().expect("a directory");
        let ports = ports::free(2).expect("two ports");
        let own = [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", ports[0]),
            format!("bind.listeners=FLUSS://127.0.0.1:{}", ports[1]),
            "group.initial.rebalance.delay.ms=0".to_owned(),
        ];
        let how = Vltava {
            program: PathBuf::from(program),
            data: data.path().to_owned(),
            settings: own.into_iter().chain(settings).collect(),
            log: cache::directory("results")
                .expect("a cache directory")
                .join(format!("restarts-{}.log", std::process::id())),
        };
        let running = how.start().expect("a broker");
        Broker {
            how,
            running,
            _data: data,
        }
    }

    /// Where Kafka clients go.
    pub fn kafka(&self) -> String {
        self.running
            .addresses
            .kafka
            .clone()
            .expect("the ready line names it")
    }

    /// Where Fluss clients go.
    pub fn fluss(&self) -> String {
        self.running
            .addresses
            .fluss
            .clone()
            .expect("the ready line names it")
    }

    /// `kill -9`, and a start on the same data and addresses.
    pub fn kill_and_start(&mut self) {
        self.kill_and(|| {});
    }

    /// As [`Broker::kill_and_start`], with something done while there is no broker.
    pub fn kill_and(&mut self, meanwhile: impl FnOnce()) {
        self.running.process.kill();
        meanwhile();
        self.running = self.how.start().expect("a broker on the old data");
    }
}

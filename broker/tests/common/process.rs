//! The broker as a process of its own, which can be killed.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker.
pub struct Broker {
    child: Child,
    /// Where Kafka clients connect.
    pub kafka: SocketAddr,
    /// Where Fluss clients connect.
    pub fluss: SocketAddr,
    /// Where metrics are read.
    pub http: SocketAddr,
    /// From the start of the process to the ready line.
    pub took: Duration,
}

/// Names of settings and their values.
pub type Settings = [(&'static str, String)];

fn serve(data: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vltava"));
    command.arg("serve").arg("--data-dir").arg(data);
    for listener in ["--kafka-listen", "--fluss-listen", "--http-listen"] {
        command.arg(listener).arg("127.0.0.1:0");
    }
    for (name, value) in settings {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    // All lives of the broker in one file, to be read after a failure.
    let log = File::options()
        .create(true)
        .append(true)
        .open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill.log"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("a log file"));
    command
}

impl Broker {
    /// Starts the broker on free ports and waits until it is ready.
    pub fn start(data: &Path, settings: &Settings) -> Broker {
        let began = Instant::now();
        let mut child = serve(data, settings).spawn().expect("the binary starts");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("standard output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = |name: &str| {
            let found = line.split_whitespace().find_map(|w| w.strip_prefix(name));
            found.and_then(|address| address.parse().ok())
        };
        let found = (address("kafka="), address("fluss="), address("http="));
        let (Some(kafka), Some(fluss), Some(http)) = found else {
            panic!("not ready: {line:?}, {:?}", child.wait());
        };
        Broker {
            child,
            kafka,
            fluss,
            http,
            took: began.elapsed(),
        }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        let status = self.child.wait().expect("waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that failed leaves no process behind; an error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a broker that is starting.
pub fn start_and_kill(data: &Path, settings: &Settings, after: Duration) {
    let mut child = serve(data, settings).spawn().expect("the binary starts");
    std::thread::sleep(after);
    child.kill().expect("killed");
    child.wait().expect("waited for");
}

/// `vltava check` finds no damage, and after a clean stop no torn tail either.
pub fn check(data: &Path, stopped: bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_vltava"))
        .arg("check")
        .arg(data)
        .output()
        .expect("it runs");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert!(output.status.success(), "{}: {text}", output.status);
    let clean = text.contains("0 damaged, 0 with a torn tail");
    assert!(!stopped || clean, "{text}");
}

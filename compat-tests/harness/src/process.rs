//! A child process that is always stopped: on request, or when its handle is dropped.

use crate::wait;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a server may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running child. Signals go to this one process, by its id.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Self::adopt(name, command)
    }

    /// Starts `command` with the streams that the caller set up.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn adopt(name: &str, mut command: Command) -> io::Result<Self> {
        let child = command.spawn().map_err(|cause| {
            io::Error::new(
                cause.kind(),
                format!("{}: {cause}", command.get_program().to_string_lossy()),
            )
        })?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// The child's handle, for its streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the caller named it, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; `None` when `limit` has passed first.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait::until(limit, || self.ended())
    }

    /// SIGTERM, then SIGKILL when it does not end in time. True when it ended by itself after SIGTERM.
    pub fn stop(&mut self) -> bool {
        if self.ended().is_some() {
            return true;
        }
        self.signal(Signal::TERM);
        if self.wait(STOP_LIMIT).is_some() {
            return true;
        }
        self.kill();
        false
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// SIGKILL to it and to all that it started; only for a command that began a process group of its own
    /// (`CommandExt::process_group(0)`).
    pub fn kill_group(&mut self) {
        if let (None, Some(pid)) = (self.ended(), self.pid()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // A child that is not waited for yet keeps its id, so the signal cannot reach another process.
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A frozen process would never see SIGTERM.
        if self.ended().is_none() {
            self.thaw();
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::adopt("sleeper", command).expect("sleep starts")
    }

    #[test]
    fn stop_ends_a_process_that_listens_to_sigterm() {
        let mut process = sleeper();
        assert!(process.ended().is_none());
        assert!(process.stop());
        assert!(process.ended().is_some());
    }

    #[test]
    fn a_frozen_process_is_stopped_when_dropped() {
        let process = sleeper();
        process.freeze();
        drop(process);
    }
}

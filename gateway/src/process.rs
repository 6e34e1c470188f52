//! A child process with a thread of its own.
//!
//! Envoy asks the kernel for a SIGTERM when the *thread* that started it ends (`PR_SET_PDEATHSIG`).
//! A test's thread may end before the Envoy that it shares with other tests; this one ends with the
//! child. And should the whole test process be killed, the kernel ends the child with it.

use std::{
    io,
    process::{Command, ExitStatus},
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How late the end of the child is noticed, at most.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Owns a running child, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    exit: Arc<OnceLock<ExitStatus>>,
    id: u32,
    /// Closing this channel is the order to kill.
    leash: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let exit = Arc::new(OnceLock::new());
        let (leash, held) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("envoy".into()).spawn({
            let exit = Arc::clone(&exit);
            move || supervise(command, &tell, &held, &exit)
        })?;
        let id = told.recv().map_err(io::Error::other)??;
        Ok(Self { exit, id, leash: Some(leash), thread: Some(thread) })
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Returns how the child ended, if it has.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        self.exit.get().copied()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.leash.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn supervise(
    mut command: Command,
    tell: &Sender<io::Result<u32>>,
    held: &Receiver<()>,
    exit: &OnceLock<ExitStatus>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return tell.send(Err(error)).unwrap_or_default(),
    };
    let _ = tell.send(Ok(child.id()));
    let status = loop {
        if let Some(status) = child.try_wait().transpose() {
            break status;
        }
        if held.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            let _ = child.kill();
            break child.wait();
        }
    };
    if let Ok(status) = status {
        let _ = exit.set(status);
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command, thread, time::Duration};

    use super::Process;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        assert!(Process::spawn(Command::new("/nowhere/envoy")).is_err());
    }

    #[test]
    fn the_end_of_the_child_is_noticed() {
        let process = Process::spawn(sh("exit 3")).unwrap();
        while process.exit().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(process.exit().unwrap().code(), Some(3));
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let process = Process::spawn(sh("exec sleep 600")).unwrap();
        assert!(Path::new("/proc").join(process.id().to_string()).is_dir());
        let exit = process.exit.clone();
        drop(process);
        assert!(exit.get().is_some_and(|status| !status.success()));
    }
}

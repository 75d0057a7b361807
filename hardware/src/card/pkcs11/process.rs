//! The process of a module, as this program sees it: started, asked, and killed.

use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::CardError;
use super::wire::{read_frame, write_frame};

/// Whatever carries a request to a module and its answer back.
pub trait Line: Send {
    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// `None` where there is no answer and will never be one; [`Late`] where there is none within `limit`.
    fn exchange(&mut self, request: &[u8], limit: Duration) -> Result<Option<Zeroizing<Vec<u8>>>, Late>;

    /// What kills the process at the other end, where there is one.
    fn interrupt(&self) -> Option<Interrupt> {
        None
    }
}

/// There was no answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late;

/// Kills the process of a module, from any thread. Clones are the same process.
#[derive(Clone)]
pub struct Interrupt(Arc<Mutex<Child>>);

impl Interrupt {
    /// Kills the process, and returns when it is gone. Harmless where it is gone already.
    pub fn kill(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only for a process that was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A running process of a module. Dropping it kills the process: the reader service then resets the card, which forgets the
/// PIN.
pub struct Process {
    interrupt: Interrupt,
    requests: BufWriter<ChildStdin>,
    answers: Receiver<Zeroizing<Vec<u8>>>,
}

impl Process {
    /// Starts the program, with nothing of a secret on its command line or in its environment. Its standard error is not
    /// kept: modules write there what they like, APDUs included.
    pub(super) fn start(program: &Path) -> Result<Self, CardError> {
        let cannot = |source| CardError::NoModuleProgram { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let (requests, answered) = (child.stdin.take(), child.stdout.take());
        let interrupt = Interrupt(Arc::new(Mutex::new(child)));
        let (Some(requests), Some(answered)) = (requests, answered) else {
            interrupt.kill();
            return Err(cannot(std::io::ErrorKind::BrokenPipe.into()));
        };
        // One answer for each request; whoever sends more than it was asked for waits here until it is killed.
        let (arrived, answers) = sync_channel(1);
        std::thread::spawn(move || {
            let mut answered = BufReader::new(answered);
            while let Ok(Some(frame)) = read_frame(&mut answered) {
                if arrived.send(frame).is_err() {
                    return;
                }
            }
        });
        Ok(Self { interrupt, requests: BufWriter::new(requests), answers })
    }
}

impl Line for Process {
    fn exchange(&mut self, request: &[u8], limit: Duration) -> Result<Option<Zeroizing<Vec<u8>>>, Late> {
        // Never waits: one request at a time fits into the pipe, or is taken by the thread that waits for it there.
        if write_frame(&mut self.requests, request).is_err() {
            return Ok(None);
        }
        match self.answers.recv_timeout(limit) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                self.interrupt.kill();
                Err(Late)
            }
        }
    }

    fn interrupt(&self) -> Option<Interrupt> {
        Some(self.interrupt.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.interrupt.kill();
    }
}

/// Where `warifu-card-module` is: beside this program.
///
/// # Errors
/// Where this program's own place cannot be found.
pub fn beside_this_program() -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.with_file_name("warifu-card-module"))
}

//! Watching the tokens of a module: most modules have no events that can be waited for, so they are asked.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::process::{Interrupt, Line, Process};
use super::wire::{Answer, Request, TokenInSlot};
use super::{CardError, ModuleConfig, ask, load, shown};

/// How often the module is asked what is there: a card that is taken out is noticed within a second.
const EVERY: Duration = Duration::from_millis(250);
/// How long it may take to answer. A module that hangs is a card that does not answer.
const LIMIT: Duration = Duration::from_millis(500);
/// How often more a token is looked for before it has gone: SoftHSM cannot read one while another process writes to it.
const FURTHER_LOOKS: u8 = 3;
/// How long after one such look comes the next.
const LOOK_AGAIN: Duration = Duration::from_millis(30);
/// How long a module that failed is left alone.
const AGAIN: Duration = Duration::from_secs(2);

/// What happened at a module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleEvent {
    /// The module works.
    Up,
    /// It cannot be used, or has stopped answering; before this, all its tokens are reported as removed.
    Down {
        /// Whether it was loaded and then did not answer in time.
        hung: bool,
    },
    /// A token is there.
    TokenInserted {
        /// The description of the slot it is in.
        reader: String,
    },
    /// A token has gone.
    TokenRemoved {
        /// The description of the slot it was in.
        reader: String,
    },
}

/// Watches the tokens of a module, in a process of its own, until it is dropped.
pub struct ModuleWatcher {
    /// Closed when it is time to stop.
    stop: Option<Sender<()>>,
    running: Running,
    thread: Option<JoinHandle<()>>,
}

/// The process that runs now.
type Running = Arc<Mutex<Option<Interrupt>>>;

fn held(running: &Running) -> MutexGuard<'_, Option<Interrupt>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModuleWatcher {
    /// Calls `on_event` for each event, in order, on the watcher's thread.
    pub fn start(config: ModuleConfig, on_event: impl FnMut(ModuleEvent) + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        let running = Running::default();
        let watch =
            Watch { config, on_event, there: BTreeSet::new(), running: running.clone(), stopped, down: None };
        let thread = std::thread::spawn(move || watch.run());
        Self { stop: Some(stop), running, thread: Some(thread) }
    }
}

impl Drop for ModuleWatcher {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(interrupt) = held(&self.running).take() {
            // Whatever the module is at.
            interrupt.kill();
        }
        if let Some(thread) = self.thread.take() {
            // Fails only where `on_event` has panicked, and said so.
            let _ = thread.join();
        }
    }
}

struct Watch<E> {
    config: ModuleConfig,
    on_event: E,
    there: BTreeSet<TokenInSlot>,
    running: Running,
    stopped: Receiver<()>,
    /// What was said last, if that the module is down.
    down: Option<bool>,
}

impl<E: FnMut(ModuleEvent)> Watch<E> {
    fn run(mut self) {
        loop {
            let hung = self.follow().is_some_and(|error| matches!(error, CardError::ModuleHung { .. }));
            *held(&self.running) = None;
            self.compare(Vec::new());
            if self.down != Some(hung) {
                self.down = Some(hung);
                (self.on_event)(ModuleEvent::Down { hung });
            }
            if self.is_over_within(AGAIN) {
                return;
            }
        }
    }

    fn is_over_within(&self, wait: Duration) -> bool {
        !matches!(self.stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }

    /// Asks the module until that fails, or until it is time to stop.
    fn follow(&mut self) -> Option<CardError> {
        let mut process = match Process::start(&self.config.program) {
            Ok(process) => process,
            Err(error) => return Some(error),
        };
        *held(&self.running) = process.interrupt();
        if let Err(error) = load(&mut process, &self.config) {
            return Some(error);
        }
        // The first time, the module reads what lies in all its readers.
        let mut limit = self.config.longer();
        let mut first = true;
        let mut looks = 0;
        loop {
            let wait = match ask(&mut process, &self.config, "C_GetSlotList", &Request::Tokens {}, limit) {
                Ok(Answer::Tokens { tokens }) => {
                    if std::mem::take(&mut first) {
                        self.down = None;
                        (self.on_event)(ModuleEvent::Up);
                    }
                    if self.misses_one_of(&tokens) && looks < FURTHER_LOOKS {
                        looks += 1;
                        LOOK_AGAIN
                    } else {
                        looks = 0;
                        self.compare(tokens);
                        EVERY
                    }
                }
                Ok(_) => return Some(CardError::Malformed { command: "C_GetSlotList" }),
                Err(error) => return Some(error),
            };
            limit = LIMIT;
            if self.is_over_within(wait) {
                return None;
            }
        }
    }

    fn misses_one_of(&self, seen: &[TokenInSlot]) -> bool {
        self.there.iter().any(|token| !seen.contains(token))
    }

    /// Tells what has come and gone. A token that was changed for another one in the same slot has done both.
    fn compare(&mut self, tokens: Vec<TokenInSlot>) {
        let wanted =
            |token: &TokenInSlot| self.config.label.as_ref().is_none_or(|label| *label == token.label);
        let now: BTreeSet<TokenInSlot> = tokens.into_iter().filter(wanted).collect();
        let before = std::mem::replace(&mut self.there, now);
        for token in before.difference(&self.there) {
            (self.on_event)(ModuleEvent::TokenRemoved { reader: shown(&token.reader) });
        }
        for token in self.there.difference(&before) {
            (self.on_event)(ModuleEvent::TokenInserted { reader: shown(&token.reader) });
        }
    }
}

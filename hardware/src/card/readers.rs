//! Watching readers: hot-plug, insertion and removal, and the reader service itself coming and going.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pcsc::{Context, PNP_NOTIFICATION, ReaderState, Scope, State};

/// How often a missing reader service is looked for.
const RETRY: Duration = Duration::from_millis(200);
/// The longest wait for the reader service, which answers at once when something happens.
const WAIT: Duration = Duration::from_secs(5);
/// How often a watcher that is told to stop is told again: one that was not waiting yet did not hear it.
const CANCEL_EVERY: Duration = Duration::from_millis(5);

/// What happened. Whoever listens from the start knows the state: what there is already is reported as added and
/// inserted, and before a reader or the service goes, what is in it is reported as removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderEvent {
    /// The reader service runs.
    ServiceUp,
    /// The reader service does not run: reported at the start, or when it goes.
    ServiceDown,
    /// A reader was plugged in.
    ReaderAdded {
        /// Its PC/SC name.
        reader: String,
    },
    /// A reader was unplugged.
    ReaderRemoved {
        /// Its PC/SC name.
        reader: String,
    },
    /// A card was inserted, of whatever kind.
    CardInserted {
        /// The reader it is in.
        reader: String,
    },
    /// A card was pulled out.
    CardRemoved {
        /// The reader it was in.
        reader: String,
    },
}

/// Watches the readers on a thread of its own until it is dropped.
pub struct Watcher {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Control {
    state: Mutex<Stop>,
    changed: Condvar,
}

#[derive(Default)]
struct Stop {
    stopping: bool,
    /// What the thread waits in.
    context: Option<Context>,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Stop> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    fn pause(&self) {
        let state = self.lock();
        if !state.stopping {
            // Woken early or late, the caller looks again.
            drop(self.changed.wait_timeout(state, RETRY));
        }
    }
}

impl Watcher {
    /// Watches the readers whose PC/SC name `filter` accepts, and calls `on_event` for each event, in order, on the
    /// watcher's thread.
    pub fn start(
        filter: impl Fn(&str) -> bool + Send + 'static,
        on_event: impl FnMut(ReaderEvent) + Send + 'static,
    ) -> Self {
        let control = Arc::new(Control::default());
        let watch = Watch {
            control: Arc::clone(&control),
            filter,
            on_event,
            readers: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        let thread = std::thread::spawn(move || watch.run());
        Self { control, thread: Some(thread) }
    }

    /// Like [`Watcher::start`], with the events in a channel. It closes after the watcher was dropped.
    pub fn channel(filter: impl Fn(&str) -> bool + Send + 'static) -> (Self, Receiver<ReaderEvent>) {
        let (sender, receiver) = channel();
        // Nobody listens any more where sending fails, and the watcher is about to be dropped.
        let watcher = Self::start(filter, move |event| drop(sender.send(event)));
        (watcher, receiver)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.control.lock();
        state.stopping = true;
        self.control.changed.notify_all();
        while !thread.is_finished() {
            if let Some(context) = &state.context {
                // Fails where the service has gone, which ends the waiting as well.
                let _ = context.cancel();
            }
            state = match self.control.changed.wait_timeout(state, CANCEL_EVERY) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(state);
        // Fails only where `on_event` has panicked, and said so.
        let _ = thread.join();
    }
}

struct Watch<F, E> {
    control: Arc<Control>,
    filter: F,
    on_event: E,
    readers: BTreeMap<CString, ReaderState>,
    /// How often a card has come or gone in each reader, as counted by the reader service.
    counts: BTreeMap<CString, u32>,
}

impl<F: Fn(&str) -> bool, E: FnMut(ReaderEvent)> Watch<F, E> {
    fn run(mut self) {
        let mut down = false;
        while !self.control.is_stopping() {
            match Context::establish(Scope::User) {
                Ok(context) => {
                    (self.on_event)(ReaderEvent::ServiceUp);
                    self.control.lock().context = Some(context.clone());
                    // Ends with an error when the service goes, or when it is time to stop.
                    let _ = self.follow(&context);
                    self.control.lock().context = None;
                    if self.control.is_stopping() {
                        break;
                    }
                }
                Err(_) if down => {
                    self.control.pause();
                    continue;
                }
                Err(_) => {}
            }
            self.forget_all();
            down = true;
            (self.on_event)(ReaderEvent::ServiceDown);
        }
        self.control.changed.notify_all();
    }

    fn follow(&mut self, context: &Context) -> Result<(), pcsc::Error> {
        let mut plug_and_play = ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE);
        while !self.control.is_stopping() {
            self.list(context)?;
            let mut states: Vec<_> = std::mem::take(&mut self.readers).into_values().collect();
            states.push(plug_and_play);
            let waited = context.get_status_change(WAIT, &mut states);
            // The last is the one that was pushed.
            plug_and_play =
                states.pop().unwrap_or_else(|| ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE));
            plug_and_play.sync_current_state();
            match waited {
                Ok(()) => states.iter_mut().for_each(|state| self.compare(state)),
                // A reader that has just gone: listing them will tell.
                Err(pcsc::Error::Timeout | pcsc::Error::UnknownReader) => {}
                Err(error) => {
                    self.keep(states);
                    return Err(error);
                }
            }
            self.keep(states);
        }
        Ok(())
    }

    fn keep(&mut self, states: Vec<ReaderState>) {
        self.readers = states.into_iter().map(|state| (state.name().to_owned(), state)).collect();
    }

    /// Takes note of readers that have come or gone.
    fn list(&mut self, context: &Context) -> Result<(), pcsc::Error> {
        let mut names = match context.list_readers_owned() {
            Err(pcsc::Error::NoReadersAvailable) => Vec::new(),
            names => names?,
        };
        names.retain(|name| (self.filter)(&name.to_string_lossy()));
        let gone: Vec<_> = self.readers.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            self.forget(&name);
        }
        for name in names {
            if !self.readers.contains_key(&name) {
                (self.on_event)(ReaderEvent::ReaderAdded { reader: name.to_string_lossy().into_owned() });
                self.readers.insert(name.clone(), ReaderState::new(name, State::UNAWARE));
            }
        }
        Ok(())
    }

    fn compare(&mut self, state: &mut ReaderState) {
        let reader = state.name().to_string_lossy().into_owned();
        let was = state.current_state().contains(State::PRESENT);
        let is = state.event_state().contains(State::PRESENT);
        let count = state.event_count();
        let before = self.counts.insert(state.name().to_owned(), count).unwrap_or(count);
        // One event for a card that came or went; two for one that did both while nobody looked.
        let swapped = was && is && count.wrapping_sub(before) >= 2;
        if was && (!is || swapped) {
            (self.on_event)(ReaderEvent::CardRemoved { reader: reader.clone() });
        }
        if is && (!was || swapped) {
            (self.on_event)(ReaderEvent::CardInserted { reader });
        }
        state.sync_current_state();
    }

    fn forget(&mut self, name: &CString) {
        let Some(state) = self.readers.remove(name) else { return };
        self.counts.remove(name);
        let reader = name.to_string_lossy().into_owned();
        if state.current_state().contains(State::PRESENT) {
            (self.on_event)(ReaderEvent::CardRemoved { reader: reader.clone() });
        }
        (self.on_event)(ReaderEvent::ReaderRemoved { reader });
    }

    fn forget_all(&mut self) {
        let names: Vec<_> = self.readers.keys().cloned().collect();
        for name in names {
            self.forget(&name);
        }
    }
}

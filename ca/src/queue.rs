//! What is to be done, in which order, and when to try again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use warifu_api::wire::authority::{CertificateKind, CrlIssuer};
use warifu_ledger::Id;

/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// One thing to do. In the order of its urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    Unit(Id),
    Grant(Id),
    Crl(CrlIssuer),
    Certificate(CertificateKind, Id),
}

#[derive(Clone, Copy)]
enum Place {
    Ready,
    Waiting(Instant),
    Running,
    /// It runs, and what it is about has changed since.
    Outrun,
}

/// Jobs, each at most once. Those that were tried less often come first, so that one site that is off keeps nobody else
/// waiting.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: BTreeMap<Job, (u32, Place)>,
    ready: BTreeSet<(u32, Job)>,
    waiting: BTreeSet<(Instant, Job)>,
}

impl Queue {
    /// Adds a job, unless it is there; one that runs is done again then.
    pub(crate) fn add(&mut self, job: Job) {
        match self.jobs.get(&job) {
            None => self.put(job, 0, Place::Ready),
            Some(&(tries, Place::Running)) => self.put(job, tries, Place::Outrun),
            Some(_) => {}
        }
    }

    /// A job came back, and is done: unless it was added once more meanwhile.
    pub(crate) fn done(&mut self, job: Job) {
        match self.jobs.get(&job) {
            Some((_, Place::Outrun)) => self.put(job, 0, Place::Ready),
            Some((_, Place::Running)) => {
                self.jobs.remove(&job);
            }
            // It was dropped, and added as another one.
            _ => {}
        }
    }

    /// Drops a job; one that runs is dropped when it comes back.
    pub(crate) fn remove(&mut self, job: Job) {
        if let Some((tries, place)) = self.jobs.remove(&job) {
            self.leave(job, tries, place);
        }
    }

    /// The next job, which runs from now on.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Job> {
        while let Some(&(due, job)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, job));
            let tries = self.jobs.get(&job).map_or(0, |(tries, _)| *tries);
            self.put(job, tries, Place::Ready);
        }
        let (tries, job) = self.ready.pop_first()?;
        self.jobs.insert(job, (tries, Place::Running));
        Some(job)
    }

    /// A job came back and is to be tried again.
    pub(crate) fn again(&mut self, job: Job, now: Instant) {
        if let Some(&(tries, Place::Running | Place::Outrun)) = self.jobs.get(&job) {
            let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LONGEST_PAUSE);
            self.put(job, tries.saturating_add(1), Place::Waiting(now + pause));
        }
    }

    /// Something happened that jobs may have waited for: what waits is tried now.
    pub(crate) fn wake(&mut self) {
        for (_, job) in std::mem::take(&mut self.waiting) {
            self.put(job, 0, Place::Ready);
        }
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// When the first job that waits is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    fn put(&mut self, job: Job, tries: u32, place: Place) {
        match place {
            Place::Ready => {
                self.ready.insert((tries, job));
            }
            Place::Waiting(due) => {
                self.waiting.insert((due, job));
            }
            Place::Running | Place::Outrun => {}
        }
        self.jobs.insert(job, (tries, place));
    }

    fn leave(&mut self, job: Job, tries: u32, place: Place) {
        match place {
            Place::Ready => {
                self.ready.remove(&(tries, job));
            }
            Place::Waiting(due) => {
                self.waiting.remove(&(due, job));
            }
            Place::Running | Place::Outrun => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(n: u8) -> Job {
        Job::Grant(Id([n; 16]))
    }

    #[test]
    fn a_job_runs_once_at_a_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(grant(1));
        queue.add(grant(1));
        assert_eq!(queue.next(now), Some(grant(1)));
        queue.add(grant(1));
        assert_eq!(queue.next(now), None);
        queue.remove(grant(1));
        queue.again(grant(1), now);
        assert_eq!(queue.next(now + LONGEST_PAUSE), None, "a job that is done came back");
    }

    #[test]
    fn what_changes_while_a_job_runs_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(grant(1));
        assert_eq!(queue.next(now), Some(grant(1)));
        queue.add(grant(1));
        assert_eq!(queue.next(now), None, "twice at a time");
        queue.done(grant(1));
        assert_eq!(queue.next(now), Some(grant(1)));
        queue.done(grant(1));
        assert_eq!(queue.next(now), None);
    }

    #[test]
    fn what_fails_waits_longer_each_time_and_lets_others_pass() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(grant(1));
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            assert_eq!(queue.next(now), Some(grant(1)));
            queue.again(grant(1), now);
            let pause = queue.due().unwrap() - now;
            assert!(pause >= last && pause <= LONGEST_PAUSE);
            last = pause;
            now += pause;
        }
        queue.add(grant(2));
        assert_eq!(queue.next(now), Some(grant(2)));
        assert_eq!(queue.next(now), Some(grant(1)));
        queue.again(grant(1), now);
        queue.wake();
        assert_eq!(queue.next(now), Some(grant(1)));
    }

    #[test]
    fn secrets_come_before_certificates() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let id = Id([1; 16]);
        queue.add(Job::Certificate(CertificateKind::Authority, id));
        queue.add(Job::Grant(id));
        queue.add(Job::Unit(id));
        let order: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
        assert!(matches!(order[..], [Job::Unit(_), Job::Grant(_), Job::Certificate(..)]));
    }
}

//! What the ca shows to whoever watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;
use warifu_console::monitor::{self, Figure, Watched};
use warifu_hardware::hsm::Hsm;
use warifu_replica::follow::Follower;

/// What is measured as it happens. Clones are the same figures.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures {
    jobs: Arc<AtomicU64>,
    cosigned: Arc<AtomicU64>,
}

impl Figures {
    /// So many things are to be done.
    pub(crate) fn to_do(&self, jobs: usize) {
        self.jobs.store(jobs as u64, Ordering::Relaxed);
    }

    /// So many leaves were cosigned.
    pub(crate) fn cosigned(&self, leaves: u64) {
        self.cosigned.store(leaves, Ordering::Relaxed);
    }
}

/// A running ca, as it is watched.
pub(crate) struct Watching {
    pub(crate) figures: Figures,
    pub(crate) follower: Arc<Follower>,
    pub(crate) hsm: Hsm,
}

impl Watched for Watching {
    fn register(&self, _: &mut Registry) {}

    fn figures(&self) -> Vec<Figure> {
        let Figures { jobs, cosigned } = &self.figures;
        let (jobs, cosigned) = (jobs.load(Ordering::Relaxed), cosigned.load(Ordering::Relaxed));
        let mut figures = monitor::of_follower(&self.follower);
        figures.push(Figure::count(
            "jobs",
            "Keys, certificates and CRLs that are to be made or handed over",
            jobs,
        ));
        figures.push(Figure::count("cosigned_leaves", "Entries of the ledger that were cosigned", cosigned));
        figures
    }

    fn hsm_failures(&self) -> u64 {
        self.hsm.failures()
    }

    fn hindrance(&self) -> Option<&'static str> {
        monitor::hindrance_of_follower(&self.follower)
    }
}

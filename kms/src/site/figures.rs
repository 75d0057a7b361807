//! What a site shows to whoever watches it.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::wire::site::{PartialOutcome, PartialsAnswer};
use warifu_console::monitor::{self, Figure, Watched};

use super::error::SiteError;
use super::refusal;
use super::service::Core;

/// From half a millisecond to some four seconds.
const BUCKETS: (f64, u16) = (0.0005, 14);

/// What is counted as it happens.
#[derive(Clone)]
pub(super) struct Figures {
    partials: Counter,
    refusals: Family<Refusal, Counter>,
    pub(super) receipts: Counter,
    answers: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: String,
}

impl Default for Figures {
    fn default() -> Self {
        let (first, count) = BUCKETS;
        Self {
            partials: Counter::default(),
            refusals: Family::default(),
            receipts: Counter::default(),
            answers: Histogram::new(exponential_buckets(first, 2.0, count)),
        }
    }
}

impl Figures {
    /// A request for partials was answered after so long.
    pub(super) fn answered(&self, answer: Result<&PartialsAnswer, &SiteError>, after: Duration) {
        match answer {
            Ok(answer) => {
                for item in &answer.items {
                    match item {
                        PartialOutcome::Partial { .. } => drop(self.partials.inc()),
                        PartialOutcome::Refused { code } => self.refused(*code),
                    }
                }
                self.answers.observe(after.as_secs_f64());
            }
            Err(error) => {
                let ErrorBody { code, .. } = refusal::of_error(error);
                self.refused(code);
            }
        }
    }

    fn refused(&self, code: ErrorCode) {
        self.refusals.get_or_create(&Refusal { reason: code.to_string() }).inc();
    }
}

impl Watched for Core {
    fn register(&self, registry: &mut Registry) {
        let Figures { partials, refusals, receipts, answers } = self.figures.clone();
        registry.register("partials", "Partials that were computed for cards", partials);
        registry.register("refusals", "Partials that were refused, by the reason", refusals);
        registry.register("receipts", "Receipts that were signed", receipts);
        let help = "How long requests for partials took";
        registry.register_with_unit("answer", help, Unit::Seconds, answers);
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = match self.follower() {
            Some(follower) => monitor::of_follower(&follower),
            None => vec![monitor::of_replica(&self.replica)],
        };
        let (acted, agents) = (*self.acted.borrow(), self.streams.cards().len() as u64);
        figures.push(Figure::count("acted_on_leaves", "Entries of the ledger that were acted on", acted));
        figures.push(Figure::count("agents", "Agents that would be told of a revocation at once", agents));
        figures
    }

    fn hsm_failures(&self) -> u64 {
        self.vault.failures()
    }

    fn hindrance(&self) -> Option<&'static str> {
        let Some(now) = self.now() else { return Some("not-founded") };
        if self.site_id(&now.state).is_none() {
            return Some("not-joined");
        }
        self.follower().map_or(Some("no-lease"), |follower| monitor::hindrance_of_follower(&follower))
    }
}

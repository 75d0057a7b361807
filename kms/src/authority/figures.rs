//! What the authority shows to whoever watches it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use warifu_api::ErrorBody;
use warifu_api::wire::authority::CrlIssuer;
use warifu_console::monitor::{self, Figure, Watched};
use warifu_ledger::Id;
use warifu_ledger::statement::Millis;

use super::Authority;

/// What is counted, or measured, as it happens. Clones are the same figures.
#[derive(Default, Clone)]
pub(crate) struct Figures {
    orders: Family<Outcome, Counter>,
    pub(crate) receipts: Counter,
    streams: Family<Follower, Gauge>,
    sent: Family<Follower, Gauge>,
    stamped: Family<Follower, Gauge>,
    cosigned: Gauge,
    crl_ends: Family<Issuer, Gauge>,
    offers: Family<Outcome, Counter>,
    arrived: Family<Signed, Counter>,
    carried: Family<Direction, Counter>,
    box_bytes: Gauge,
    box_waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Follower {
    /// The site's id; zeros for the ca.
    site: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signed {
    signed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issuer {
    issuer: &'static str,
}

impl Follower {
    fn of(site: &Id) -> Self {
        Self { site: site.to_string() }
    }
}

fn gauged(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A stream of the ledger, while it is open.
pub(crate) struct OpenStream {
    figures: Figures,
    follower: Follower,
}

impl OpenStream {
    /// It has been sent this many leaves of the ledger.
    pub(crate) fn sent(&self, leaves: u64) {
        self.figures.sent.get_or_create(&self.follower).set(gauged(leaves));
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.figures.streams.get_or_create(&self.follower).dec();
    }
}

impl Figures {
    /// An order came, and was appended or refused.
    pub(crate) fn ordered<T>(&self, outcome: &Result<T, ErrorBody>) {
        let outcome =
            outcome.as_ref().err().map_or_else(|| "appended".to_owned(), |body| body.code.to_string());
        self.orders.get_or_create(&Outcome { outcome }).inc();
    }

    /// A delivery was offered, and may come or was refused.
    pub(crate) fn offered<T>(&self, outcome: &Result<T, ErrorBody>) {
        let outcome = outcome.as_ref().err().map_or_else(|| "taken".to_owned(), |body| body.code.to_string());
        self.offers.get_or_create(&Outcome { outcome }).inc();
    }

    /// A delivery is here, whole.
    pub(crate) fn delivery_arrived(&self, signed: bool) {
        let signed = if signed { "yes" } else { "no" };
        self.arrived.get_or_create(&Signed { signed }).inc();
    }

    /// A part of a delivery came.
    pub(crate) fn part_came(&self, bytes: u64) {
        self.carried.get_or_create(&Direction { direction: "in" }).inc_by(bytes);
    }

    /// A part of a delivery was taken.
    pub(crate) fn part_left(&self, bytes: u64) {
        self.carried.get_or_create(&Direction { direction: "out" }).inc_by(bytes);
    }

    /// The box holds so many bytes, or has promised them, and so many deliveries wait at their units.
    pub(crate) fn box_holds(&self, bytes: u64, waiting: u64) {
        self.box_bytes.set(gauged(bytes));
        self.box_waiting.set(gauged(waiting));
    }

    /// A follower has opened a stream.
    pub(crate) fn stream_opened(&self, site: &Id) -> OpenStream {
        let follower = Follower::of(site);
        self.streams.get_or_create(&follower).inc();
        OpenStream { figures: self.clone(), follower }
    }

    /// A follower has got a stamp of this time.
    pub(crate) fn stamped(&self, site: &Id, time: Millis) {
        self.stamped.get_or_create(&Follower::of(site)).set(gauged(time / 1000));
    }

    /// The ca has cosigned so many leaves.
    pub(crate) fn cosigned(&self, leaves: u64) {
        self.cosigned.set(gauged(leaves));
    }

    /// The newest CRL of this issuer is good until then.
    pub(crate) fn crl_ends(&self, issuer: CrlIssuer, at: Millis) {
        self.crl_ends.get_or_create(&Issuer { issuer: issuer.name() }).set(gauged(at / 1000));
    }
}

impl Watched for Authority {
    fn register(&self, registry: &mut Registry) {
        let figures = self.figures.clone();
        registry.register("orders", "Orders that came, by what became of them", figures.orders);
        registry.register("receipts", "Receipts that came from sites", figures.receipts);
        registry.register("streams", "Open streams of the ledger, by site", figures.streams);
        registry.register("sent_leaves", "Entries of the ledger that a site was sent", figures.sent);
        let help = "When a site got its last stamp, since 1970";
        registry.register_with_unit("stamped", help, Unit::Seconds, figures.stamped);
        registry.register(
            "cosigned_leaves",
            "Entries of the ledger that the ca has cosigned",
            figures.cosigned,
        );
        // Who watches how they grow sees them from nothing on.
        drop(figures.offers.get_or_create(&Outcome { outcome: "taken".to_owned() }));
        for signed in ["yes", "no"] {
            drop(figures.arrived.get_or_create(&Signed { signed }));
        }
        for direction in ["in", "out"] {
            drop(figures.carried.get_or_create(&Direction { direction }));
        }
        registry.register(
            "deliveries_offered",
            "Deliveries that were offered, by what became of them",
            figures.offers,
        );
        let help = "Deliveries that came whole, by whether a card signed them";
        registry.register("deliveries_arrived", help, figures.arrived);
        let help = "Bytes of deliveries that came, and that were taken";
        registry.register_with_unit("deliveries_carried", help, Unit::Bytes, figures.carried);
        let help = "Bytes of deliveries that lie here, or that are promised room";
        registry.register_with_unit("deliveries_kept", help, Unit::Bytes, figures.box_bytes);
        registry.register("deliveries_waiting", "Deliveries that wait at their units", figures.box_waiting);
        let help = "Until when the newest CRL is good, since 1970";
        registry.register_with_unit("crl_ends", help, Unit::Seconds, figures.crl_ends);
    }

    fn figures(&self) -> Vec<Figure> {
        vec![monitor::of_replica(&self.replica)]
    }

    fn hsm_failures(&self) -> u64 {
        self.hsm.failures()
    }

    fn hindrance(&self) -> Option<&'static str> {
        if self.replica.state().is_none() {
            return Some("not-founded");
        }
        self.is_recovering().then_some("recovering")
    }
}

//! What a service shows to whoever watches it: figures for Prometheus (OpenMetrics), whether it lives, and whether it can do
//! its work. What they mean, and which are worth an alarm: `docs/operations/monitoring.md`.
//!
//! Plain HTTP, and only where the configuration says `[monitor]`: for loopback or a network of operators. Nothing in it names
//! a person, a card, a file or a unit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use warifu_api::server::{Limits, serve_plain};
use warifu_replica::Replica;
use warifu_replica::follow::Follower;

use crate::ConsoleError;
use crate::process::{self, Port};

/// Those who watch are few.
const WATCHERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
/// What the OpenMetrics specification (section "Protocol Negotiation") calls its text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How all figures of this product begin.
const PREFIX: &str = "warifu";

/// `[monitor]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// `address:port` to serve `/metrics`, `/healthz` and `/readyz` on, over plain HTTP to anybody who comes.
    pub listen: String,
}

/// A figure of the moment at which it is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name, without [`PREFIX`] and its unit.
    pub name: &'static str,
    /// What it says, one sentence without the full stop.
    pub help: &'static str,
    /// The figure.
    pub value: f64,
}

impl Figure {
    /// A number of things.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "below 2^53, as all that is counted here")]
    pub fn count(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value: value as f64 }
    }

    /// Seconds, of so many milliseconds.
    #[must_use]
    pub fn seconds(name: &'static str, help: &'static str, milliseconds: u64) -> Self {
        let Self { value, .. } = Self::count(name, help, milliseconds);
        Self { name, help, value: value / 1000.0 }
    }

    /// 1 for yes, 0 for no.
    #[must_use]
    pub fn whether(name: &'static str, help: &'static str, yes: bool) -> Self {
        Self::count(name, help, u64::from(yes))
    }
}

/// A service that can be watched.
pub trait Watched: Send + Sync + 'static {
    /// What is counted as it happens.
    fn register(&self, registry: &mut Registry);

    /// The figures of this moment.
    fn figures(&self) -> Vec<Figure>;

    /// Operations that its HSM has failed since the start.
    fn hsm_failures(&self) -> u64;

    /// Why it cannot do its work now, in a word for programs; none where it can.
    fn hindrance(&self) -> Option<&'static str>;
}

/// The ledger's length, which every service shows.
#[must_use]
pub fn of_replica(replica: &Replica) -> Figure {
    Figure::count("ledger_leaves", "Entries of the ledger that were folded", replica.size())
}

/// How a service follows the ledger.
#[must_use]
pub fn of_follower(follower: &Follower) -> Vec<Figure> {
    let left_ms = follower.fresh().map_or(0, |fresh| fresh.left_ms);
    let status = follower.status();
    let status = status.borrow();
    vec![
        of_replica(follower.replica()),
        Figure::seconds("lease_seconds", "How long the service may still work without news", left_ms),
        Figure::whether("kms_connected", "Whether the ledger's stream is open", status.connected),
        Figure::whether("halted", "Whether a fork or a rollback was found", status.halted.is_some()),
    ]
}

/// Why a service that follows the ledger cannot do its work.
#[must_use]
pub fn hindrance_of_follower(follower: &Follower) -> Option<&'static str> {
    if follower.status().borrow().halted.is_some() {
        return Some("halted");
    }
    follower.fresh().is_none().then_some("no-lease")
}

/// Takes the port, if one is configured, for as long as the program runs: nobody else gets it while a service begins anew, whom that
/// would end.
///
/// # Errors
/// [`ConsoleError::Listen`].
pub async fn listen(monitor: Option<&Monitor>) -> Result<Option<Port>, ConsoleError> {
    let Some(monitor) = monitor else { return Ok(None) };
    let port = Port::of(process::bind(&monitor.listen).await?)?;
    tracing::info!(address = monitor.listen, "figures are served");
    Ok(Some(port))
}

/// Serves what `watched` shows until this is dropped; without a port, does nothing for ever. `service` is what the figures call it.
///
/// # Errors
/// [`ConsoleError::System`].
pub async fn serve(
    port: Option<&Port>,
    service: &'static str,
    watched: Arc<dyn Watched>,
) -> Result<(), ConsoleError> {
    let Some(port) = port else { return std::future::pending().await };
    let listener = port.listener()?;
    let limits = Limits {
        strangers: WATCHERS,
        header: PATIENCE,
        stall: PATIENCE,
        strangers_lifetime: PATIENCE,
        ..Limits::default()
    };
    serve_plain(listener, router(service, watched), limits, std::future::pending()).await;
    Ok(())
}

fn router(service: &'static str, watched: Arc<dyn Watched>) -> Router {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = vec![("service", service), ("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The program that runs", Info::new(build));
    watched.register(&mut registry);
    registry.register_collector(Box::new(OfNow(watched.clone())));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(Shown { registry: Arc::new(registry), watched })
}

#[derive(Clone)]
struct Shown {
    registry: Arc<Registry>,
    watched: Arc<dyn Watched>,
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &shown.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the figures could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(shown): State<Shown>) -> Response {
    match shown.watched.hindrance() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// What is read at the moment at which it is asked for.
struct OfNow(Arc<dyn Watched>);

impl fmt::Debug for OfNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfNow")
    }
}

impl Collector for OfNow {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let failures = encoder.encode_descriptor(
            "hsm_failures",
            "Operations that the HSM failed, but for refusals of what it was given",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.0.hsm_failures()).encode(failures)?;
        let ready = self.0.hindrance().is_none();
        let ready = Figure::whether("ready", "Whether the service can do its work", ready);
        for Figure { name, help, value } in self.0.figures().into_iter().chain([ready]) {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

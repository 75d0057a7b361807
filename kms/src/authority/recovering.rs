//! A kms that was restored from a backup (protocol P-4.16): its token has other keys than the ledger names, so it is nobody
//! yet. It shows its ledger, takes the leaves that the ca has beyond the backup, and waits for the one order by which
//! officers say that it is the kms from now on. Nothing else is appended, stamped or signed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State as Shared};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use warifu_api::tls::PeerKey;
use warifu_api::wire::authority::{BroughtLeaves, Status};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, HalfHolder, Order, Statement as _};

use super::error::AuthorityError;
use super::store::{self, Entry};
use super::{Authority, Result, whole};

/// What is answered while it waits: what officers need to look at the ledger and order, and what the ca brings.
const ANSWERED: [(&Method, &str); 8] = [
    (&Method::GET, "/v1/status"),
    (&Method::GET, "/v1/checkpoint"),
    (&Method::GET, "/v1/ledger"),
    (&Method::POST, "/v1/ledger"),
    (&Method::GET, "/v1/register"),
    (&Method::GET, "/v1/proposals"),
    (&Method::POST, "/v1/proposals"),
    (&Method::POST, "/v1/orders"),
];

/// Refuses what is nobody's to answer while another kms's keys are in the ledger.
pub(super) async fn only_for_the_kms(
    Shared(authority): Shared<Arc<Authority>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let a_proposal = *method == Method::GET && path.starts_with("/v1/proposals/");
    let answered = a_proposal || ANSWERED.contains(&(method, path));
    match authority.state() {
        Ok(state) if !answered && !authority.is_the_kms(&state) => {
            AuthorityError::NotTheKms.into_body().into_response()
        }
        _ => next.run(request).await,
    }
}

impl Authority {
    /// Whether the ledger names the keys of this token.
    pub(super) fn is_the_kms(&self, state: &State) -> bool {
        *state.kms() == self.keys.public()
    }

    /// Whether it waits for the officers' order, or another kms has taken its place.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.state().is_ok_and(|state| !self.is_the_kms(&state))
    }

    /// The operator says that the ca was lost as well, and brings nothing.
    pub fn do_not_wait_for_the_ca(&self) {
        self.heard_the_ca.store(true, Ordering::SeqCst);
    }

    /// A kms that is none appends one order: that it is.
    pub(super) fn may_append(&self, state: &State, envelope: &Envelope) -> Result<()> {
        if self.is_the_kms(state) {
            return Ok(());
        }
        let order = Some(envelope).filter(|it| it.payload_type == Order::PAYLOAD_TYPE);
        let order: Option<Order> = order.and_then(|order| order.statement().ok());
        let keys = self.keys.public();
        let is_ours = |act: &Act| matches!(act, Act::AuthorityRecovered { service: HalfHolder::Kms, keys: new } if *new == keys);
        if !order.is_some_and(|order| order.acts.iter().any(is_ours)) {
            return Err(AuthorityError::NotTheKms);
        }
        // What the ca has cosigned and this kms does not have would be lost.
        if !self.heard_the_ca.load(Ordering::SeqCst) {
            return Err(AuthorityError::NotYet { what: "the ca has not brought its copy of the ledger" });
        }
        Ok(())
    }

    /// Appends what the ca has beyond this ledger. The fold asks for every signature; that the leaves stand where and when they
    /// stand is the ca's word, which has cosigned them.
    pub(crate) async fn brought(
        self: &Arc<Self>,
        PeerKey(by): PeerKey,
        brought: BroughtLeaves,
    ) -> Result<Status> {
        let this = self.clone();
        whole(async move {
            let _serialized = this.in_turn().await;
            if this.is_the_kms(&this.state()?) {
                return Err(AuthorityError::NothingToBring);
            }
            if brought.from != this.replica.size() {
                return Err(AuthorityError::NotFound { what: "place in the ledger" });
            }
            let all = brought.leaves.is_empty();
            let before = this.state()?;
            let (mut after, mut leaves) = (before.clone(), Vec::new());
            for bytes in brought.leaves {
                let leaf = Leaf::from_bytes(bytes.0)?;
                after = after.apply(&leaf)?;
                leaves.push(leaf);
            }
            // The backup may be older than the keys of a ca that was itself recovered: then what it brings says who it is.
            if ![&before, &after].iter().any(|state| state.ca().tls.0 == by) {
                return Err(AuthorityError::NotAllowed { allowed: "ca" });
            }
            for leaf in leaves {
                let mut turn = this.replica.turn().await?;
                let state = turn.state().ok_or(AuthorityError::NotFounded)?;
                let envelope = leaf.envelope();
                let entry = Entry {
                    digest: envelope.digest(),
                    position: state.tree().size(),
                    at: leaf.at(),
                    is_order: envelope.payload_type == Order::PAYLOAD_TYPE,
                    lease_ms: state.policy().lease_ms,
                };
                store::put_entry(turn.transaction(), &entry, &[]).await?;
                let appended = turn.append(leaf).await?;
                this.forget_what_ended(&appended).await;
            }
            if all {
                this.heard_the_ca.store(true, Ordering::SeqCst);
            }
            this.progressed();
            Ok(this.status())
        })
        .await
    }
}

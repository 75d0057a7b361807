//! What a site does with slips (protocol section 15), with software keys; and how it misbehaves.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use tokio::sync::Notify;
use warifu_api::server::Peer;
use warifu_api::tls::PeerKey;
use warifu_api::wire::routing::{
    Batch, RefusedSlip, ReleasedPart, Routed, RoutedItem, RoutedOutcome, ShownSlip,
};
use warifu_api::{ErrorBody, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::key::PublicKey;
use warifu_ledger::slip::SlipId;
use warifu_ledger::statement::{Right, Slips as Statement};

use crate::services::{Member, Site, refusal, x_of};

/// What a site has of slips, and what it does wrong.
#[derive(Default)]
pub(crate) struct Slips {
    /// The batches that were brought, each time.
    pub(crate) brought: Vec<Batch>,
    /// Every slip is refused with this.
    pub(crate) refuse: Option<ErrorCode>,
    /// So many answers break off, after everything was done.
    pub(crate) break_off: usize,
    /// Nothing about slips is answered before this says so.
    pub(crate) hold: Option<Arc<Notify>>,
    /// What it makes of what it releases.
    #[allow(clippy::type_complexity, reason = "said once")]
    pub(crate) alter: Option<Box<dyn Fn(&mut Vec<ReleasedPart>) + Send>>,
    /// How many files were asked for in each request that asked for any.
    pub(crate) asked: Vec<usize>,
    taken: Vec<Taken>,
}

/// A slip that was taken.
struct Taken {
    way: Vec<ShownSlip>,
    unit_key: PublicKey,
    file_x: [u8; 32],
}

impl Taken {
    fn id(&self) -> SlipId {
        SlipId { slips: self.way[0].slips.digest(), index: self.way[0].slip.slip.index }
    }
}

/// `POST /v1/routes`.
pub(crate) async fn routes(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    Json(batch): Json<Batch>,
) -> Result<Response, ErrorBody> {
    let key = peer.key.ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let hold = {
        let mut state = site.state();
        state.slips.brought.push(batch.clone());
        state.slips.hold.clone()
    };
    if let Some(hold) = hold {
        hold.notified().await;
    }
    let mut state = site.state();
    if let Some(code) = state.refuse {
        return Err(refusal(code));
    }
    let routed = take(&mut state, &key, batch)?;
    state.told.push((key, serde_json::to_string(&routed).unwrap()));
    if state.slips.break_off > 0 {
        state.slips.break_off -= 1;
        let broken = futures_util::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("broken")) });
        return Ok(Body::from_stream(broken).into_response());
    }
    Ok(Json(routed).into_response())
}

fn take(state: &mut crate::services::SiteState, key: &PeerKey, batch: Batch) -> Result<Routed, ErrorBody> {
    let Batch { slips: envelope, items } = batch;
    let malformed = || refusal(ErrorCode::Malformed);
    let member = state.members.get(key).ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let statement: Statement = envelope.statement().map_err(|_| malformed())?;
    envelope.verify(&member.signature.unwrap().into()).map_err(|_| malformed())?;
    let grant = member.grants.iter().find(|(grant, _)| grant.grant == statement.grant);
    let (grant, share) = grant.ok_or_else(|| refusal(ErrorCode::GrantNotLive))?;
    if !statement.are(&items) || grant.unit != statement.unit || statement.expires_at <= state.time {
        return Err(malformed());
    }
    if state.slips.taken.iter().any(|taken| taken.id().slips == envelope.digest()) {
        return Ok(Routed { refused: Vec::new() });
    }
    let (mut refused, mut taken) = (Vec::new(), Vec::new());
    for proved in statement.prove(items).unwrap() {
        let slip = &proved.slip;
        let origin = slip.origin.map(|origin| state.slips.taken.iter().find(|taken| taken.id() == origin));
        let target_is_wrong = grant.right == Right::Route && !grant.routes_to.contains(&slip.target);
        let code = match &origin {
            _ if state.slips.refuse.is_some() => state.slips.refuse,
            _ if target_is_wrong => Some(ErrorCode::NotATarget),
            Some(None) => Some(ErrorCode::NotFound),
            _ => None,
        };
        if let Some(code) = code {
            refused.push(RefusedSlip { index: slip.index, code });
            continue;
        }
        let (before, unit_key, file_x) = match origin.flatten() {
            Some(before) => (before.way.clone(), before.unit_key, before.file_x),
            None => (Vec::new(), grant.unit_key, *x_of(share, &slip.ephemeral.0.to_uncompressed()).0),
        };
        let way =
            std::iter::once(ShownSlip { slips: envelope.clone(), slip: proved }).chain(before).collect();
        taken.push(Taken { way, unit_key, file_x });
    }
    state.slips.taken.extend(taken);
    Ok(Routed { refused })
}

/// The answer for one file of `PartialsRequest::routed`.
pub(crate) fn release(slips: &Slips, member: &Member, item: &RoutedItem) -> RoutedOutcome {
    let is_it = |taken: &&Taken| {
        let slip = &taken.way[0].slip.slip;
        slip.ephemeral.0.to_uncompressed()[..] == item.encapsulated.0 && slip.stanza == item.stanza
    };
    let part = |taken: &Taken| {
        let slip = &taken.way[0].slip.slip;
        let opens = |(grant, _): &&(warifu_api::wire::site::MyGrant, _)| {
            grant.unit == slip.target && grant.right == Right::Open
        };
        let (grant, share) = member.grants.iter().find(opens)?;
        Some(ReleasedPart {
            grant: grant.grant,
            way: taken.way.clone(),
            unit_key: taken.unit_key,
            seal_x: x_of(share, &slip.seal.0[..65]),
            file_x: secret(taken.file_x),
        })
    };
    let mut parts: Vec<ReleasedPart> = slips.taken.iter().filter(is_it).filter_map(part).collect();
    if parts.is_empty() {
        return RoutedOutcome::Refused { code: ErrorCode::NotFound };
    }
    if let Some(alter) = &slips.alter {
        alter(&mut parts);
    }
    RoutedOutcome::Released { parts }
}

pub(crate) fn secret(bytes: [u8; 32]) -> warifu_api::wire::SecretBytes {
    warifu_api::wire::SecretBytes(zeroize::Zeroizing::new(bytes))
}

/// By what a batch is called.
pub(crate) fn digest(batch: &Batch) -> Digest {
    batch.slips.digest()
}

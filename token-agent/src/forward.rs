//! Passing requests on to the kms and to sites, with a card's 9A key or without one.

use hyper::Method;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use warifu_api::wire::agent::{AgentFault, Forward, ForwardTo, Forwarded};
use warifu_api::wire::authority::Directory;
use warifu_api::{Client, ClientError};
use warifu_directory::units;
use warifu_split_key::point::Point;

use crate::agent::Agent;
use crate::fault;
use crate::session::Phase;

/// Passes a request on. What the service answers, refusals included, is the answer. Where the kms shows another key than this PC
/// knows, and has got it (P-4.18), the request goes there.
pub(crate) async fn forward(agent: &Agent, request: Forward) -> Result<Forwarded, AgentFault> {
    let knew = agent.authority_address();
    let to_kms = matches!(request.target, ForwardTo::Authority);
    match pass_on(agent, &request).await {
        Err(AgentFault::NotTrustworthy { .. }) if to_kms && has_learnt(agent, knew).await => {
            pass_on(agent, &request).await
        }
        answered => answered,
    }
}

/// Whether the kms has got another key since this PC `knew` one.
async fn has_learnt(agent: &Agent, knew: Result<(String, Point), AgentFault>) -> bool {
    if let Err(why) = agent.refresh_profile().await {
        tracing::info!(?why, "no new profile, though the kms shows another key");
    }
    agent.authority_address() != knew
}

async fn pass_on(agent: &Agent, request: &Forward) -> Result<Forwarded, AgentFault> {
    let malformed = |why: &str| AgentFault::Malformed { why: why.to_owned() };
    let method = match request.method.as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "DELETE" => Method::DELETE,
        _ => return Err(malformed("the method is GET, POST or DELETE")),
    };
    if !is_passed_on(&request.target, &method, &request.path) {
        return Err(malformed("such a request is not passed on"));
    }
    let (address, key, of_error): (_, _, fn(ClientError) -> AgentFault) = match &request.target {
        ForwardTo::Authority => {
            let (address, key) = agent.authority_address()?;
            (address, key, fault::of_authority)
        }
        // Whoever asks names the address, so no card shows itself there.
        ForwardTo::Site { .. } if request.serial.is_some() => {
            return Err(malformed("a card's key is shown to the kms alone"));
        }
        ForwardTo::Site { address, key } => (address.clone(), key.0, fault::of_site),
    };
    let body = match &request.body {
        Some(body) => serde_json::to_vec(body).map_err(|e| malformed(&e.to_string()))?,
        None => Vec::new(),
    };
    let answer = match request.serial {
        None => {
            let client = Client::new(address, key, None).map_err(of_error)?;
            client.forward(method, &request.path, Bytes::from(body)).await
        }
        Some(serial) => with_card(agent, serial, &address, key, method, &request.path, body).await?,
    };
    let (status, bytes) = answer.map_err(of_error)?;
    let body = serde_json::from_slice(&bytes)
        .map_err(|e| AgentFault::NotTrustworthy { why: format!("the answer is not JSON: {e}") })?;
    Ok(Forwarded { status: status.as_u16(), body })
}

/// What programs on this PC may have sent: what an officer's desk reads, and what the signatures inside decide about. What the
/// agent does for a card by itself, partials before all, and what would never end is not among it.
fn is_passed_on(target: &ForwardTo, method: &Method, path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let plain = |text: &str, extra: &[u8]| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || extra.contains(&b))
    };
    if !path.starts_with("/v1/") || !plain(path, b"/") || !plain(query, b"=&_") {
        return false;
    }
    match target {
        ForwardTo::Authority if *method == Method::GET => path != "/v1/ledger/stream",
        ForwardTo::Authority if *method == Method::DELETE => path.starts_with("/v1/proposals/"),
        ForwardTo::Authority => path == "/v1/orders" || path == "/v1/proposals" || is_puk(path),
        ForwardTo::Site { .. } if *method == Method::GET => path == "/v1/status",
        ForwardTo::Site { .. } => path == "/v1/revocations",
    }
}

/// A card's PUK, which whoever opened it seals anew; the kms takes it sealed to officers alone.
fn is_puk(path: &str) -> bool {
    let card = path.strip_prefix("/v1/cards/").and_then(|rest| rest.strip_suffix("/puk"));
    card.is_some_and(|card| !card.contains('/'))
}

/// Sends with the card's 9A key, but not beyond the card's presence.
async fn with_card(
    agent: &Agent,
    serial: u32,
    address: &str,
    key: Point,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Result<(hyper::StatusCode, Bytes), ClientError>, AgentFault> {
    let session = agent.session(serial)?;
    let unlocked = match session.phase() {
        Phase::Open(unlocked) => unlocked,
        Phase::Refused(code) => return Err(AgentFault::SiteRefused { code }),
        Phase::Locked => return Err(session.pin_needed().await),
    };
    let mut ending = unlocked.ending();
    let client = match unlocked.client(address, key) {
        Ok(client) => client,
        Err(error) => return Ok(Err(error)),
    };
    tokio::select! {
        answer = client.forward(method, path, Bytes::from(body)) => Ok(answer),
        _ = ending.wait_for(|over| *over) => Err(AgentFault::CardRemoved),
    }
}

/// What the kms says to anybody. Where it shows another key than this PC knows, and has got it (P-4.18), it is asked there.
pub(crate) async fn of_authority<A: DeserializeOwned>(agent: &Agent, path: &str) -> Result<A, AgentFault> {
    let knew = agent.authority_address();
    let found = match agent.authority(None)?.get(path).await {
        Err(ClientError::NotTrusted { .. }) if has_learnt(agent, knew).await => {
            agent.authority(None)?.get(path).await
        }
        found => found,
    };
    found.map_err(fault::of_authority)
}

/// The directory, as far as it can be proved.
pub(crate) async fn directory(agent: &Agent) -> Result<Directory, AgentFault> {
    let found: Directory = of_authority(agent, "/v1/directory").await?;
    let profile = agent.profile().ok_or(AgentFault::NoProfile)?;
    if found.organization != profile.organization {
        return Err(AgentFault::NotTrustworthy { why: "the directory is another organization's".to_owned() });
    }
    let proved = units::proved(found.clone(), &profile.organization_keys());
    // What cannot be proved may be proved by keys that the ca has got since.
    if proved.units.len() < found.units.len()
        && agent.refresh_profile().await.is_ok()
        && let Some(newer) =
            agent.profile().filter(|newer| newer.ca != profile.ca || newer.kms != profile.kms)
    {
        return Ok(units::proved(found, &newer.organization_keys()));
    }
    Ok(proved)
}

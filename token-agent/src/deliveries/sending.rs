//! Sending files: sealed, signed with one PIN entry, and brought to the box of their units' organization.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::{
    AgentFault, NamedUnit, SEND_LIMIT, SendAnswer, SendOutcome, SendRequest, SentFile,
};
use warifu_api::wire::deliveries::Offer;
use warifu_ledger::delivery::{ADDRESSEES_LIMIT, LARGEST, SUFFIX, Sender, Unfit, is_file_name};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Addressees, Delivery, Millis, Received};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;

use super::carrying::{Carrier, NotBrought, Pace};
use super::outbox::{Outbox, Outgoing};
use super::receiver::{NotProved, Receiver};
use super::sealing::{Sealed, seal_file};
use super::sent::{AT_ONCE, by_organization};
use super::{Holder, now};
use crate::agent::Agent;
use crate::opening::Measured;
use crate::sources::while_open;
use crate::{fault, forward, others, rng, signing};

/// How long a delivery is good, in milliseconds: a box keeps it for no longer than its own settings say.
const LIFE_MS: Millis = 90 * 24 * 60 * 60 * 1000;
/// How often the kms is asked for the proof of a card that the ca has not cosigned yet, and how long after.
const PROOF_TRIES: usize = 5;
const PROOF_PAUSE: Duration = Duration::from_secs(1);

/// The units that files go to, with their proved keys.
struct To {
    organization: Digest,
    units: Vec<NamedUnit>,
    keys: Vec<Point>,
}

/// Seals, signs and brings files.
///
/// # Errors
/// [`AgentFault`] where nothing was sent at all.
pub(crate) async fn send(agent: &Arc<Agent>, request: SendRequest) -> Result<SendAnswer, AgentFault> {
    check(&request)?;
    let holder = Holder::named(agent, request.serial).await?;
    // Before anything is done for it.
    let pin = signing::verify(&holder.session, &holder.ending, &request.pin, request.spend_last_try).await?;
    let to = while_open(&holder.ending, addressees(agent, &holder, &request)).await??;
    let sender = while_open(&holder.ending, proof(&holder)).await??;
    let mut drafts = Vec::new();
    for path in &request.files {
        drafts.push(draft(agent, &holder, &request, &to, Path::new(path)).await);
    }

    let envelopes: Vec<Envelope> = drafts.iter().flatten().map(|draft| draft.envelope.clone()).collect();
    let digests = envelopes.iter().map(Envelope::digest).collect();
    let signed = signing::sign(&holder.session, &holder.ending, pin, digests).await;
    let (key, signatures) = match signed {
        Ok(signed) => signed,
        Err(fault) => {
            drafts.iter().flatten().for_each(|draft| agent.outbox.forget(&draft.id));
            return Err(fault);
        }
    };
    let mut signatures = signatures.into_iter();
    let mut kept = Vec::new();
    for draft in drafts {
        kept.push(draft.and_then(|mut draft| {
            let signature = signatures.next().ok_or(AgentFault::CardRemoved)?;
            draft.envelope.add_signature(&key, signature);
            let offer = Offer { delivery: draft.envelope, sender: sender.clone() };
            let outgoing = Outgoing { offer, organization: request.organization, to: to.units.clone() };
            agent.outbox.keep(&draft.id, &outgoing).map_err(|error| {
                agent.outbox.forget(&draft.id);
                AgentFault::OutputUnwritable { why: fault::chain(&error) }
            })?;
            Ok(outgoing)
        }));
    }
    let mut files = Vec::new();
    for (file, outgoing) in request.files.into_iter().zip(kept) {
        let outcome = match outgoing {
            Ok(outgoing) => bring(agent, &holder, &outgoing).await,
            Err(fault) => SendOutcome::Failed { fault },
        };
        files.push(SentFile { file, outcome });
    }
    Ok(SendAnswer { files })
}

/// Brings what is not proved to have arrived: to several boxes at once, so that none waits for another one.
pub(crate) async fn resume(agent: &Arc<Agent>) -> Result<SendAnswer, AgentFault> {
    let holders = Holder::all(agent).await?;
    // With any card: that of the sender has signed it already.
    let Some(holder) = holders.first() else { return Err(agent.why_not_open().await) };
    let mut kept = agent.outbox.all(now());
    kept.retain(|(delivery, _)| agent.outbox.is_here(&delivery.id));
    let bringing: Vec<_> =
        by_organization(kept).into_values().map(|kept| bring_in_turn(agent, holder, kept)).collect();
    let files = futures_util::stream::iter(bringing).buffered(AT_ONCE).concat().await;
    Ok(SendAnswer { files })
}

async fn bring_in_turn(
    agent: &Arc<Agent>,
    holder: &Holder,
    kept: Vec<(Delivery, Outgoing)>,
) -> Vec<SentFile> {
    let mut files = Vec::new();
    for (delivery, outgoing) in kept {
        let outcome = bring(agent, holder, &outgoing).await;
        files.push(SentFile { file: delivery.name, outcome });
    }
    files
}

fn check(request: &SendRequest) -> Result<(), AgentFault> {
    let malformed = |why: &str| Err(AgentFault::Malformed { why: why.to_owned() });
    if request.files.is_empty() || request.files.len() > SEND_LIMIT {
        return malformed("a request sends 1 to 64 files");
    }
    if request.files.iter().any(|path| !Path::new(path).is_absolute()) {
        return malformed("paths have to be absolute");
    }
    // Before hours go by in which files are sealed.
    if !(1..=ADDRESSEES_LIMIT).contains(&request.to.len()) {
        return malformed("a delivery is for 1 to 16 units");
    }
    if !warifu_ledger::delivery::is_line(&request.title) {
        return Err(AgentFault::TitleUnfit);
    }
    Ok(())
}

/// The units, as their directory proves them.
async fn addressees(agent: &Agent, holder: &Holder, request: &SendRequest) -> Result<To, AgentFault> {
    let unknown =
        || AgentFault::Malformed { why: "the directory has no such unit, or no key of it".to_owned() };
    let mut found: Vec<(NamedUnit, Point)> = Vec::new();
    let organization = match request.organization {
        None => {
            let units = forward::directory(agent).await?.units;
            for id in &request.to {
                let entry = units.iter().find(|entry| entry.unit == *id).ok_or_else(unknown)?;
                let key = key_of(entry.recipient.as_deref()).ok_or_else(unknown)?;
                found.push((NamedUnit { unit: *id, name: entry.name.clone() }, key));
            }
            holder.organization
        }
        Some(organization) => {
            let all = others::others(agent).await?.organizations;
            let other = all.into_iter().find(|it| it.organization == organization).ok_or_else(unknown)?;
            for id in &request.to {
                let unit = other.units.iter().find(|unit| unit.unit == *id).ok_or_else(unknown)?;
                let key = key_of(Some(&unit.recipient)).ok_or_else(unknown)?;
                let name = format!("{} / {}", other.name, unit.name);
                found.push((NamedUnit { unit: *id, name }, key));
            }
            organization
        }
    };
    let (units, keys) = found.into_iter().unzip();
    Ok(To { organization, units, keys })
}

fn key_of(recipient: Option<&str>) -> Option<Point> {
    warifu_envelope::UnitRecipient::parse(recipient?).ok()
}

/// The proof of who holds the card, to travel with what it signs.
async fn proof(holder: &Holder) -> Result<Sender, AgentFault> {
    let path = format!("/v1/cards/{}/sender", holder.card);
    let mut tries = 0;
    loop {
        tries += 1;
        match holder.kms.get(&path).await {
            Ok(sender) => return Ok(sender),
            Err(error) if error.code() == Some(ErrorCode::NotReady) && tries < PROOF_TRIES => {}
            Err(error) => return Err(fault::of_authority(error)),
        }
        tokio::time::sleep(PROOF_PAUSE).await;
    }
}

/// A delivery that waits for its signature; its file is sealed.
struct Draft {
    id: Id,
    envelope: Envelope,
}

async fn draft(
    agent: &Arc<Agent>,
    holder: &Holder,
    request: &SendRequest,
    to: &To,
    path: &Path,
) -> Result<Draft, AgentFault> {
    let name = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}{SUFFIX}"));
    let name = name.filter(|name| is_file_name(name)).ok_or(AgentFault::FileNameUnfit)?;
    let id = Id::draw(&mut rng());
    let drafted = seal(agent, holder, id, path.to_owned(), to.keys.clone()).await.and_then(|sealed| {
        let sent_at = now();
        let delivery = Delivery {
            organization: holder.organization,
            id,
            card: holder.card,
            to: Addressees {
                organization: to.organization,
                units: to.units.iter().map(|unit| unit.unit).collect(),
            },
            title: request.title.clone(),
            name,
            size: sealed.size,
            digest: sealed.digest,
            sent_at,
            reply_to: request.reply_to,
            expires_at: sent_at.saturating_add(LIFE_MS),
        };
        delivery.fits().map_err(unfit)?;
        let malformed =
            |error: warifu_ledger::dsse::EnvelopeError| AgentFault::Malformed { why: fault::chain(&error) };
        Ok(Draft { id, envelope: Envelope::unsigned(&delivery).map_err(malformed)? })
    });
    drafted.inspect_err(|_| agent.outbox.forget(&id))
}

fn unfit(unfit: Unfit) -> AgentFault {
    match unfit {
        Unfit::Title => AgentFault::TitleUnfit,
        Unfit::FileName => AgentFault::FileNameUnfit,
        Unfit::Size { size } if size > LARGEST => {
            AgentFault::AuthorityRefused { code: ErrorCode::TooLarge, message: format!("{size} bytes") }
        }
        other => AgentFault::Malformed { why: fault::chain(&other) },
    }
}

async fn seal(
    agent: &Arc<Agent>,
    holder: &Holder,
    id: Id,
    path: PathBuf,
    keys: Vec<Point>,
) -> Result<Sealed, AgentFault> {
    let (agent, ending) = (agent.clone(), holder.ending.clone());
    let sealing = tokio::task::spawn_blocking(move || {
        let length = std::fs::metadata(&path).map_or(0, |found| found.len());
        let mut measured = Measured::new(&agent.carrying, length);
        let output = agent.outbox.begin(&id).map_err(unwritable)?;
        seal_file(&path, &keys, output, &ending, &mut measured)
    });
    sealing.await.unwrap_or_else(|error| Err(AgentFault::OutputUnwritable { why: error.to_string() }))
}

fn unwritable(error: std::io::Error) -> AgentFault {
    AgentFault::OutputUnwritable { why: error.to_string() }
}

/// Brings a delivery that was kept. It stays here until the organization that it is for has signed that it has it.
async fn bring(agent: &Arc<Agent>, holder: &Holder, outgoing: &Outgoing) -> SendOutcome {
    let Some(delivery) = outgoing.delivery() else {
        return SendOutcome::Failed { fault: AgentFault::FileDamaged };
    };
    let id = delivery.id;
    let turn = agent.bringing.of(&id);
    let _turn = turn.lock().await;
    let outbox: &Outbox = &agent.outbox;
    if !outbox.is_here(&id) {
        return SendOutcome::Arrived { id };
    }
    let bringing = async {
        let receiver =
            Receiver::of(agent, holder, outgoing.organization).await.map_err(NotBrought::NotYet)?;
        let sealed = outbox.sealed(&id);
        let mut measured = Measured::new(&agent.carrying, delivery.size);
        let (receiver, sealed, pace) = (&receiver, &*sealed, Pace::USUAL);
        let carrier = Carrier { receiver, outgoing, delivery: &delivery, sealed, pace };
        let answer = carrier.bring(&mut measured).await?;
        Ok(receiver.proved(outgoing, &answer))
    };
    let brought = while_open(&holder.ending, bringing).await;
    let brought = brought.unwrap_or_else(|fault| Err(NotBrought::NotYet(fault)));
    conclude(outbox, id, outgoing, brought)
}

/// What that is for the file that lies here.
pub(super) fn conclude(
    outbox: &Outbox,
    id: Id,
    outgoing: &Outgoing,
    brought: Result<Result<Received, NotProved>, NotBrought>,
) -> SendOutcome {
    match brought {
        Ok(Ok(_)) => {
            outbox.arrived(&id);
            SendOutcome::Arrived { id }
        }
        Ok(Err(why)) => {
            tracing::error!(delivery = %id, %why, "that a delivery has arrived is not proved");
            SendOutcome::Unproved { id }
        }
        Err(NotBrought::NotYet(fault)) => SendOutcome::Kept { id, fault },
        // Nobody has signed that it is not taken, either.
        Err(NotBrought::Refused(fault)) if outgoing.organization.is_some() => SendOutcome::Kept { id, fault },
        Err(NotBrought::Refused(fault) | NotBrought::Lost(fault)) => {
            outbox.forget(&id);
            SendOutcome::Failed { fault }
        }
    }
}

//! Cards at the officer's desk: bringing shares and certificates onto them, giving them a PUK, and signing with them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use warifu_api::tls::key_of_certificate;
use warifu_api::wire::Done;
use warifu_api::wire::agent::{
    AgentFault, OpenPuk, OpenedPuk, Personalize, Personalized, PinText, SignAnswer, SignRequest,
};
use warifu_api::wire::authority::{Package, PackagedShare};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::card::{AgreementKey, CardError, Custody, KeyRole, LastTry, Pin, PinEntry};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::statement::{Founding, Order, Statement as _};
use warifu_ledger::{Digest, Id};
use warifu_split_key::hpke;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::session::Session;
use crate::{fault, puk, rng};

/// How long what has to go onto a card is waited for.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked for.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// P-6.3.
const SHARE_INFO: &[u8] = b"warifu/card-share/v1";
/// Bytes of encapsulated key and ciphertext of a sealed share (P-6.3).
const ENCAPSULATED: usize = 65;
const SEALED: usize = ENCAPSULATED + 48;

/// One 9C signature; the PIN is used for it and not kept.
pub(crate) async fn sign(agent: &Agent, request: SignRequest) -> Result<SignAnswer, AgentFault> {
    let session = agent.session(request.serial)?;
    let key = session.facts().signature.ok_or(AgentFault::ForeignCard)?;
    let digest = signable(&request.envelope, agent.profile().map(|profile| profile.organization))?;
    let pin = Pin::new(request.pin.0.as_bytes()).map_err(|_| AgentFault::PinMalformed)?;
    let signature = session
        .actor
        .run(move |seat| seat.card()?.sign(KeyRole::Signature, &digest.0, Some(PinEntry::new(&pin))))
        .await
        .map_err(fault::of_card)?;
    reached(CrashPoint::AgentOrderSigned).await;
    if session.unlocked().is_none() {
        // The PIN opened 9A and 9D as well, which nobody asked for.
        let _ = session
            .actor
            .run(|seat| {
                seat.lock();
                Ok(())
            })
            .await;
    }
    Ok(SignAnswer { key: key.into(), signature: Base64(signature) })
}

/// The digest of what people sign: a founding, or an order of this organization. Whoever has this PC's token is refused
/// anything else, in which a person's key never speaks: facts, receipts, or what another protocol would take it for.
fn signable(envelope: &Envelope, organization: Option<Digest>) -> Result<Digest, AgentFault> {
    let malformed = |why: String| AgentFault::Malformed { why };
    if envelope.payload_type == Founding::PAYLOAD_TYPE {
        envelope.statement::<Founding>().map_err(|e| malformed(e.to_string()))?;
    } else {
        let order: Order = envelope.statement().map_err(|e| malformed(e.to_string()))?;
        if organization.is_some_and(|ours| ours != order.organization) {
            return Err(malformed("the order is for another organization".to_owned()));
        }
    }
    Ok(envelope.digest())
}

/// Fetches what waits for a card at the kms and writes it onto the card. May be repeated: what is there already is
/// only confirmed.
pub(crate) async fn personalize(agent: &Agent, request: Personalize) -> Result<Personalized, AgentFault> {
    let session = agent.session(request.serial)?;
    let _gate = session.gate.lock().await;
    let was_open = session.unlocked().is_some();
    session.verify(request.pin.0, LastTry::Keep).await?;
    let dead: BTreeSet<Point> = request.dead.iter().map(|point| point.0).collect();
    let wanted = request.grants.into_iter().collect();
    tidy(&session, &dead).await?;
    let done = bring(agent, &session, request.card, &wanted, &request.officers).await;
    let reread = session.reread().await.map_err(fault::of_card);
    if !was_open {
        session.end(None).await;
    }
    reread?;
    done
}

/// What needs no kms: a management key of the card's own, for a card that came to the ledger without one, and room for shares.
async fn tidy(session: &Session, dead: &BTreeSet<Point>) -> Result<(), AgentFault> {
    let held = session.facts().shares;
    let slots: Vec<_> =
        held.into_iter().filter(|(point, _)| dead.contains(point)).map(|(_, slot)| slot).collect();
    let tidied = session.actor.run(move |seat| {
        seat.with_pin(|card| card.protect_management(&mut rng()))?;
        for slot in slots {
            seat.card()?.delete_share(slot)?;
        }
        Ok(())
    });
    tidied.await.map_err(fault::of_card)
}

async fn bring(
    agent: &Agent,
    session: &Session,
    card: Id,
    wanted: &BTreeSet<Id>,
    officers: &[PublicKey],
) -> Result<Personalized, AgentFault> {
    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let client = agent.authority(Some(&session.tls_identity().await?))?;
    let path = format!("/v1/cards/{card}/package");
    let deadline = Instant::now() + DEADLINE;
    let mut imported = Vec::new();
    let mut settled = BTreeSet::new();
    let mut certified = false;
    let mut puk_replaced = None;
    loop {
        agent.session(session.serial).map_err(|_| AgentFault::CardRemoved)?;
        let package: Package = match client.get(&path).await {
            Ok(package) => package,
            // The kms may learn of the card a moment after its order was accepted.
            Err(error) if not_yet(&error) && Instant::now() < deadline => {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(error) => return Err(fault::of_authority(error)),
        };
        // First, as the kms knows the card now: whatever is interrupted later, the officers can unblock it.
        if puk_replaced.is_none() {
            puk_replaced = Some(replace_puk(session, &client, organization, card, officers).await?);
        }
        if !certified {
            certified = write_certificates(session, &package).await?;
            if certified {
                reached(CrashPoint::AgentCertificatesWritten).await;
            }
        }
        let pending: BTreeSet<Id> = package.pending.iter().copied().collect();
        for share in package.shares {
            let grant = share.grant;
            if import(session, organization, share).await? {
                reached(CrashPoint::AgentShareImported).await;
                imported.push(grant);
            }
            // Only now, with share and certificate on the card, may the kms forget it (P-6.5).
            let _: Done = client.delete(&format!("{path}/{grant}")).await.map_err(fault::of_authority)?;
            reached(CrashPoint::AgentImportConfirmed).await;
            settled.insert(grant);
        }
        // A grant that is neither waiting nor pending was settled in an earlier, interrupted run.
        let all =
            wanted.iter().all(|grant| settled.contains(grant) || (certified && !pending.contains(grant)));
        if certified && all {
            return Ok(Personalized { imported, puk_replaced: puk_replaced.unwrap_or_default() });
        }
        if Instant::now() >= deadline {
            let message =
                "the ca has not certified the card, or a site has not confirmed its share".to_owned();
            return Err(AgentFault::AuthorityRefused { code: ErrorCode::NotReady, message });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Gives a card that has the factory's PUK one that the officers alone can open. The kms has it before the card does: where
/// the card is pulled in between, it still has the factory's, and another one takes this one's place.
async fn replace_puk(
    session: &Session,
    client: &Client,
    organization: Digest,
    card: Id,
    officers: &[PublicKey],
) -> Result<bool, AgentFault> {
    let secrets = session.actor.run(|seat| seat.card()?.secrets()).await.map_err(fault::of_card)?;
    if officers.is_empty() || !secrets.factory_puk {
        return Ok(false);
    }
    let puk = Pin::draw(&mut rng());
    let escrow = puk::seal(&mut rng(), &organization, &card, puk.expose(), officers)
        .map_err(|error| AgentFault::CardFault { why: error.to_string() })?;
    let _: Done =
        client.post(&format!("/v1/cards/{card}/puk"), &escrow).await.map_err(fault::of_authority)?;
    reached(CrashPoint::AgentPukEscrowed).await;
    let change =
        session.actor.run(move |seat| seat.card()?.change_puk(PinEntry::new(&Pin::factory_puk()), &puk));
    change.await.map_err(fault::of_card)?;
    reached(CrashPoint::AgentPukChanged).await;
    Ok(true)
}

/// Has an officer's unlocked card open the PUK of another card.
pub(crate) async fn open_puk(agent: &Agent, request: OpenPuk) -> Result<OpenedPuk, AgentFault> {
    let session = agent.session(request.serial)?;
    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let transport = session.facts().transport.ok_or(AgentFault::ForeignCard)?;
    let seal = puk::Seal::find(&request.escrow, &transport, &organization, &request.card)
        .ok_or(AgentFault::PukNotForThisCard)?;
    let encapsulated = *seal.encapsulated();
    let agreed = session
        .actor
        .run(move |seat| seat.with_pin(|card| card.agree(AgreementKey::Transport, &encapsulated)));
    let x = match agreed.await {
        Ok(x) => x,
        Err(CardError::PinNeeded) => return Err(session.pin_needed().await),
        Err(error) => return Err(fault::of_card(error)),
    };
    let puk = seal.open(&x).map_err(|_| AgentFault::PukNotForThisCard)?;
    let digits = puk.expose().iter().map(|digit| char::from(*digit));
    let mut text = Zeroizing::new(String::with_capacity(8));
    text.extend(digits);
    Ok(OpenedPuk { puk: PinText(text) })
}

fn not_yet(error: &ClientError) -> bool {
    matches!(error.code(), Some(ErrorCode::NotReady | ErrorCode::NotFound))
}

/// Writes the 9A and 9C certificates, once both are there.
async fn write_certificates(session: &Session, package: &Package) -> Result<bool, AgentFault> {
    let first = |chain: &Option<Vec<warifu_ledger::key::Bytes>>| {
        chain.as_ref().and_then(|chain| chain.first()).map(|der| der.0.clone())
    };
    let (Some(authentication), Some(signature)) = (first(&package.authentication), first(&package.signature))
    else {
        return Ok(false);
    };
    session
        .actor
        .run(move |seat| {
            for (role, der) in [(KeyRole::Authentication, authentication), (KeyRole::Signature, signature)] {
                if seat.card()?.certificate(role)?.as_ref() != Some(&der) {
                    seat.with_pin(|card| card.open_management())?;
                    seat.card()?.write_certificate(role, &der)?;
                }
            }
            Ok(())
        })
        .await
        .map_err(of_writing)?;
    Ok(true)
}

/// A certificate that does not fit is the sender's fault, not the card's.
fn of_writing(error: CardError) -> AgentFault {
    match error {
        CardError::CertificateMismatch => {
            AgentFault::NotTrustworthy { why: "a certificate is not for the key it came with".to_owned() }
        }
        CardError::ShareRefused => AgentFault::NotTrustworthy {
            why: "a wrapped share is not for this card, or not the one that ca and kms agreed on".to_owned(),
        },
        other => fault::of_card(other),
    }
}

/// Brings a share onto the card, in the way that the card takes shares. False if it was there already.
pub(crate) async fn import(
    session: &Session,
    organization: Digest,
    share: PackagedShare,
) -> Result<bool, AgentFault> {
    let on_card = share.certificate.0.clone();
    let there = session
        .actor
        .run(move |seat| Ok(seat.card()?.shares()?.iter().any(|held| held.certificate == on_card)));
    if there.await.map_err(fault::of_card)? {
        return Ok(false);
    }
    match session.actor.custody() {
        Custody::HostMemory => import_opened(session, organization, share).await?,
        Custody::TokenUnwrap => import_wrapped(session, share).await?,
    }
    Ok(true)
}

/// Has the card unwrap a share, which this PC never sees (P-6.3b).
async fn import_wrapped(session: &Session, share: PackagedShare) -> Result<(), AgentFault> {
    let certificate = share.certificate.0;
    let key = key_of_certificate(&CertificateDer::from(certificate.as_slice()));
    if key.ok() != Some(share.card_point.0) {
        return Err(of_writing(CardError::CertificateMismatch));
    }
    let wrapped =
        WrappedShare::from_bytes(&share.sealed.0).map_err(|_| of_writing(CardError::ShareRefused))?;
    session
        .actor
        .run(move |seat| {
            seat.with_pin(|card| {
                let slot = card.free_share_slot()?;
                card.unwrap_share(slot, &wrapped, &certificate)
            })
        })
        .await
        .map_err(of_writing)
}

/// Opens a sealed share with the card's 9D key, checks it (P-6.3) and imports it.
async fn import_opened(
    session: &Session,
    organization: Digest,
    share: PackagedShare,
) -> Result<(), AgentFault> {
    let untrusted = |why: &str| AgentFault::NotTrustworthy { why: why.to_owned() };
    let transport = session.facts().transport.ok_or_else(|| fault::of_card(CardError::KeyMissing))?;
    if share.sealed.0.len() != SEALED {
        return Err(untrusted("a sealed share has another length"));
    }
    let (encapsulated, ciphertext) = share.sealed.0.split_at(ENCAPSULATED);
    let encapsulated =
        Point::from_sec1(encapsulated).map_err(|_| untrusted("a sealed share holds no point"))?;
    let ciphertext = ciphertext.to_vec();
    let certificate = share.certificate.0;
    let info = [SHARE_INFO, organization.as_bytes(), share.grant.as_bytes()].concat();
    let expected = share.card_point.0;

    let x = session
        .actor
        .run(move |seat| seat.with_pin(|card| card.agree(AgreementKey::Transport, &encapsulated)))
        .await
        .map_err(fault::of_card)?;
    let opened = hpke::open_with_x(&x, &encapsulated, &transport, &info, &[], &ciphertext)
        .map_err(|_| untrusted("a sealed share is not for this card and grant"))?;
    let scalar: Zeroizing<[u8; 32]> = match opened.as_slice().try_into() {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(_) => return Err(untrusted("a sealed share holds no scalar")),
    };
    drop(opened);
    let secret = CardShare::from_bytes(&scalar).map_err(|_| untrusted("a sealed share holds no scalar"))?;
    drop(scalar);
    if secret.public() != expected {
        return Err(untrusted("a share is not the one that ca and kms agreed on"));
    }
    session
        .actor
        .run(move |seat| {
            seat.with_pin(|card| card.open_management())?;
            let card = seat.card()?;
            let slot = card.free_share_slot()?;
            card.import_share(slot, &secret, &certificate)
        })
        .await
        .map_err(of_writing)
}

impl Agent {
    /// A client of the kms, as told at the start, or from the profile.
    pub(crate) fn authority(
        &self,
        identity: Option<&warifu_api::tls::Identity>,
    ) -> Result<Client, AgentFault> {
        let (address, key) = self.authority_address()?;
        Client::new(address, key, identity).map_err(fault::of_authority)
    }

    /// Where the kms is, and its TLS key.
    pub(crate) fn authority_address(&self) -> Result<(String, Point), AgentFault> {
        match (self.profile(), &self.config.kms) {
            (Some(profile), told) if told.is_none() || self.told_kms_is_over.load(Ordering::Relaxed) => {
                Ok((profile.kms_address.clone(), profile.kms.tls.0))
            }
            (_, Some((address, key))) => Ok((address.clone(), *key)),
            (_, None) => Err(AgentFault::NoProfile),
        }
    }
}

//! What is on its way to the kms and back.

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::{Method, Request, StatusCode};
use tower::ServiceExt as _;
use warifu_api::server::Peer;
use warifu_api::tls::PeerKey;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::authority::ShareRequest;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes as JsonBytes;
use warifu_ledger::statement::Stamp;
use warifu_split_key::issuer::CardShare;

use super::{Doing, Who, World};
use crate::liar::Question;
use crate::life::{Asked, TaskId};
use crate::model::Heard;
use crate::work::Done;
use crate::{base, fixture, keys};

/// Who sends something to the kms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A task of a service.
    Service(Who),
    /// The ledger stream of a service.
    Stream(Who),
    Desk,
}

impl Sender {
    pub(crate) fn service(self) -> Option<Who> {
        match self {
            Self::Service(who) | Self::Stream(who) => Some(who),
            Self::Desk => None,
        }
    }

    pub(super) fn key(self) -> PeerKey {
        PeerKey(match self.service() {
            Some(who) => keys::public(&format!("{} tls", who.name())),
            None => keys::public("sakura 9A"),
        })
    }
}

/// Where a letter is.
pub(crate) enum Place {
    Sent,
    AtKms(TaskId),
    Back(StatusCode, Bytes),
    Lost,
}

/// A request to the kms, and its answer.
pub(crate) struct Letter {
    pub(crate) number: u64,
    pub(crate) from: Sender,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// Who waits for the answer, in which life.
    pub(super) asked: Option<(u64, Asked)>,
    pub(crate) place: Place,
}

impl World {
    pub(crate) fn send(&mut self, from: Sender, method: Method, path: String, body: Vec<u8>) {
        self.written += 1;
        let letter = Letter {
            number: self.written,
            from,
            method,
            path,
            body: body.into(),
            asked: None,
            place: Place::Sent,
        };
        self.letters.push(letter);
    }

    /// The same request once more, whose answer nobody hears.
    pub(crate) fn double(&mut self, index: usize) -> Result<()> {
        let letter = self.letters.get(index).context("no such letter")?;
        let (from, method) = (letter.from, letter.method.clone());
        let (path, body) = (letter.path.clone(), letter.body.to_vec());
        self.send(from, method, path, body);
        if let Some(Letter { from: from @ Sender::Stream(_), .. }) = self.letters.last_mut() {
            *from = Sender::Desk;
        }
        Ok(())
    }

    pub(crate) fn lose(&mut self, index: usize) -> Result<()> {
        self.letters.get_mut(index).context("no such letter")?.place = Place::Lost;
        self.deliver(index)
    }

    /// Brings a letter, or its answer, to where it goes.
    pub(crate) fn deliver(&mut self, index: usize) -> Result<()> {
        let letter = self.letters.get(index).context("no such letter")?;
        match letter.place {
            Place::AtKms(_) => Ok(()),
            Place::Sent => match self.kms.clone() {
                Some((_, router, _)) => self.comes_in(index, router),
                None => {
                    self.letters.get_mut(index).context("no such letter")?.place = Place::Lost;
                    self.deliver(index)
                }
            },
            Place::Back(..) | Place::Lost => {
                let letter = self.letters.remove(index);
                self.comes_back(letter)
            }
        }
    }

    pub(super) fn comes_in(&mut self, index: usize, router: Router) -> Result<()> {
        let letter = self.letters.get(index).context("no such letter")?;
        let number = letter.number;
        let work =
            answered(router, letter.from.key(), letter.method.clone(), &letter.path, letter.body.clone());
        let work = work?;
        let task = self.life(Who::Kms)?.start(work)?;
        self.doing.insert((Who::Kms, task), Doing::Serving);
        if let Some(letter) = self.letters.iter_mut().find(|letter| letter.number == number) {
            letter.place = Place::AtKms(task);
        }
        self.observe(Who::Kms)
    }

    pub(super) fn comes_back(&mut self, letter: Letter) -> Result<()> {
        let answer = match letter.place {
            Place::Back(status, body) => Some((status, body)),
            _ => None,
        };
        let now = self.wall();
        let answer = match (letter.from.service(), &mut self.liar, answer) {
            (Some(who), Some(liar), Some((status, body))) => {
                let question =
                    Question { from: who, path: &letter.path, body: &letter.body, truth: &body, now };
                let lie = liar.answers(&mut self.draw, &self.honest, question)?;
                Some(lie.map_or((status, body), |lie| (StatusCode::OK, lie.into())))
            }
            (_, _, answer) => answer,
        };
        match letter.from {
            Sender::Desk => Ok(()),
            Sender::Stream(who) => match answer {
                Some((StatusCode::OK, body)) if self.is_up(who) => {
                    self.hear(who, serde_json::from_slice(&body)?)
                }
                _ => Ok(()),
            },
            Sender::Service(who) => {
                let Some((life, asked)) = letter.asked else { return Ok(()) };
                if life != self.number(who) || !self.lives.contains_key(&who) {
                    return Ok(());
                }
                if let Some((StatusCode::OK, body)) = &answer
                    && letter.path == "/v1/stamps"
                {
                    self.is_stamped(who, body)?;
                }
                self.life(who)?.answer(asked, answer)?;
                self.observe(who)
            }
        }
    }

    pub(super) fn is_stamped(&mut self, who: Who, body: &[u8]) -> Result<()> {
        if !Who::SITES.contains(&who) {
            return Ok(());
        }
        let envelope: Envelope = serde_json::from_slice(body)?;
        let stamp: Stamp = envelope.statement()?;
        let checkpoint = self.checkpoint_of(&stamp.checkpoint)?;
        let heard = Heard {
            nonce: stamp.nonce,
            for_this_site: stamp.site == who.id(),
            time: stamp.time,
            size: checkpoint.size,
            root: checkpoint.root,
        };
        self.book(who)?.is_stamped(&heard);
        Ok(())
    }

    pub(super) fn checkpoint_of(&self, note: &str) -> Result<Checkpoint> {
        let key = fixture::log_public("kms");
        Ok(Checkpoint::verify(note, &self.organization, Signer::Kms, &key)?)
    }

    /// A request that is neither lost nor late, from somebody who is not simulated: the ca's issuing, the desk at the beginning.
    pub(super) fn at_once<T: serde::de::DeserializeOwned>(
        &mut self,
        from: Sender,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T> {
        let (_, router, _) = self.kms.clone().context("no kms")?;
        let work = answered(router, from.key(), method, path, serde_json::to_vec(body)?.into())?;
        let task = self.life(Who::Kms)?.start(work)?;
        loop {
            let done = self.life(Who::Kms)?.done();
            for (of, done) in done {
                if of == task
                    && let Done::Answered(status, body) = done
                {
                    self.observe(Who::Kms)?;
                    ensure!(status == StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
                    return Ok(serde_json::from_slice(&body)?);
                }
                self.finished(Who::Kms, of, done)?;
            }
            let stops = self.life(Who::Kms)?.stops();
            let mine = stops.iter().position(|(of, _)| *of == task);
            let Some(index) = mine else { bail!("the kms keeps {path} waiting") };
            self.life(Who::Kms)?.go_on(index)?;
        }
    }

    /// The ca's part of a grant, with the halves of the ledger's fixture.
    pub(crate) fn issue(&mut self, card: &str, unit: &str) -> Result<()> {
        let share = CardShare::from_bytes(&Digest::of(format!("{card} opens {unit} a").as_bytes()).0)?;
        let delta = fixture::issuer_half(unit).delta(&share)?;
        let request = ShareRequest {
            card_point: share.public().into(),
            delta: SecretBytes(delta.expose_bytes()),
            sealed: JsonBytes(vec![7; 65 + 48]),
        };
        let from = Sender::Service(Who::Ca);
        let path = format!("/v1/grants/{}/share", base::grant(card, unit));
        let mut fact: Envelope = self.at_once(from, Method::POST, &path, &request)?;
        fixture::add_signature(&mut fact, &fixture::key("ca signing"));
        let _: serde_json::Value = self.at_once(from, Method::POST, "/v1/facts", &fact)?;
        Ok(())
    }
}

/// What the kms's router makes of a request.
fn answered(
    router: Router,
    key: PeerKey,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<impl Future<Output = Done> + Send + 'static> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body))?;
    let peer = Peer { key: Some(key), known: true, address: ([127, 0, 0, 1], 1).into() };
    request.extensions_mut().insert(peer);
    Ok(async move {
        let response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Done::Answered(status, body)
    })
}

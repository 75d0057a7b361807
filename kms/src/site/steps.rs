//! A site that does nothing by itself: a simulator takes its steps, which are those of a site that runs. In debug builds alone.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use warifu_api::Client;
use warifu_api::tls::{PeerKey, Pin};
use warifu_api::wire::routing::{Batch, Routed};
use warifu_api::wire::site::{PartialsAnswer, PartialsRequest, RevocationRequest};
use warifu_ledger::dsse::Envelope;
use warifu_replica::Replica;
use warifu_replica::follow::Follower;

use super::answering::Answer;
use super::error::SiteError;
use super::gate::Turn;
use super::service::{Core, Settings};

/// The steps of one site.
#[derive(Clone)]
pub struct Steps {
    core: Arc<Core>,
    follower: Arc<Follower>,
    kms: Client,
    /// How much of the journal the kms has; none before it was compared.
    sent: Arc<Mutex<Option<u64>>>,
}

/// An answer that has not left: it is the card's turn until this is dropped.
pub struct Leaving {
    /// What leaves.
    pub body: PartialsAnswer,
    _turn: Arc<Turn>,
}

impl Steps {
    /// As [`Site::start`](super::Site::start), of a site that has joined.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn open(settings: Settings, replica: Replica, kms: Client) -> Result<Self, SiteError> {
        let (address, pin) = (settings.kms_address.clone(), Pin::from(settings.kms_tls_key));
        let (core, recording) = Core::open(settings, replica.clone(), |_| Ok(kms.clone())).await?;
        tokio::spawn(recording);
        let state = replica.state().ok_or(SiteError::NotJoined)?;
        let site = core.site_id(&state).ok_or(SiteError::NotJoined)?;
        let (appended, _) = mpsc::channel(1);
        let follower = Follower::idle(core.following(Some(site), &address, pin).await?, replica, appended)?;
        let follower = Arc::new(follower);
        core.set_follower(follower.clone());
        core.want_all();
        Ok(Self { core, follower, kms, sent: Arc::default() })
    }

    /// What it follows.
    #[must_use]
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// Asks the kms for a stamp.
    pub async fn ask(&self) {
        self.follower.ask(&self.kms).await;
    }

    /// Acts on leaves that have come.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn act_on_leaves(&self) -> Result<(), SiteError> {
        self.core.act_on_new_leaves().await
    }

    /// `POST /v1/partials`.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn partials(&self, card: PeerKey, request: PartialsRequest) -> Result<Leaving, SiteError> {
        let Answer { body, turn } = self.core.partials(Some(card), request).await?;
        Ok(Leaving { body, _turn: turn })
    }

    /// `POST /v1/routes`.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn route(&self, card: PeerKey, batch: Batch) -> Result<Routed, SiteError> {
        self.core.route(Some(card), batch).await
    }

    /// Brings slips to the kms.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn bring_slips(&self) -> Result<(), SiteError> {
        self.core.bring_slips_once().await.map(drop)
    }

    /// Takes what the kms has for this site of slips.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn fetch_slips(&self) -> Result<(), SiteError> {
        self.core.fetch_slips_once().await.map(drop)
    }

    /// `POST /v1/revocations`.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn bring(&self, request: RevocationRequest) -> Result<Envelope, SiteError> {
        self.core.take_brought(request).await
    }

    /// Makes key pairs and takes shares.
    pub async fn provide(&self) {
        self.core.provide_once().await;
    }

    /// Wraps shares for other sites.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn rewrap(&self) -> Result<(), SiteError> {
        self.core.serve_once().await.map(drop)
    }

    /// Destroys what is over by its date.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn sweep(&self) -> Result<(), SiteError> {
        self.core.sweep().await.map(drop)
    }

    /// Sends receipts to the kms.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn deliver(&self) -> Result<(), SiteError> {
        self.core.deliver_once().await
    }

    /// Compares the journal with what the kms has of it, once, and sends what it lacks.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn journal(&self) -> Result<(), SiteError> {
        self.core.deliver_journal_once(&mut *self.sent.lock().await).await
    }

    /// Sends orders that were brought by hand to the kms.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn courier(&self) -> Result<(), SiteError> {
        self.core.courier_once().await
    }
}

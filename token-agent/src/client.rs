//! The agent's client: how the command lines on this PC talk to it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use warifu_api::wire::Done;
use warifu_api::wire::agent::{
    AgentFault, Bootstrap, Cards, ChangePin, FetchRequest, Fetched, Forward, Forwarded, HandleRequest,
    OpenAnswer, OpenPuk, OpenRequest, OpenedPuk, Others, Personalize, Personalized, Plan, PlanRequest,
    Prepare, Prepared, Progress, Received, RouteAnswer, RouteRequest, SendAnswer, SendRequest,
    SentDeliveries, SignAnswer, SignRequest, Status, Unblock, Unlock,
};
use warifu_api::wire::authority::Directory;
use warifu_ledger::statement::Profile;
use zeroize::Zeroizing;

use crate::platform;

/// The largest answer read, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// It cannot do what was asked, and says why.
    #[error("the agent refused: {0:?}")]
    Fault(AgentFault),
    /// There is no bootstrap file: the agent does not run.
    #[error("the agent is not running: {} cannot be read", path.display())]
    NotRunning {
        /// The bootstrap file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The bootstrap file is not one of the agent's.
    #[error("{} is not what an agent writes: {why}", path.display())]
    Bootstrap {
        /// The bootstrap file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Nothing answers at the agent's address, or it does not know the token: the agent has ended or was restarted.
    #[error("the agent at {address} does not answer")]
    Unreachable {
        /// `127.0.0.1:port`.
        address: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not one of this protocol.
    #[error("the agent's answer makes no sense: {why}")]
    Nonsense {
        /// What is wrong.
        why: String,
    },
}

/// A client of the agent on this PC.
#[derive(Clone)]
pub struct AgentClient {
    address: SocketAddr,
    token: std::sync::Arc<Zeroizing<String>>,
}

impl AgentClient {
    /// Where the agent of this user writes its bootstrap file, unless told otherwise.
    #[must_use]
    pub fn default_bootstrap() -> PathBuf {
        platform::default_runtime_dir().join(platform::BOOTSTRAP)
    }

    /// A client of the agent that wrote this bootstrap file.
    ///
    /// # Errors
    /// [`AgentError::NotRunning`], [`AgentError::Bootstrap`].
    pub fn from_bootstrap(path: &Path) -> Result<Self, AgentError> {
        let wrong = |why: String| AgentError::Bootstrap { path: path.to_owned(), why };
        // One that somebody else could have written would have a PIN sent to him.
        let text = platform::read_private(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => wrong(source.to_string()),
            _ => AgentError::NotRunning { path: path.to_owned(), source },
        })?;
        let bootstrap: Bootstrap = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        let address =
            bootstrap.address.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
        let address = address.ok_or_else(|| wrong("the address is not on this PC".to_owned()))?;
        Ok(Self { address, token: std::sync::Arc::new(Zeroizing::new(bootstrap.token)) })
    }

    /// Where the agent stands.
    ///
    /// # Errors
    /// [`AgentError`], here and below.
    pub async fn status(&self) -> Result<Status, AgentError> {
        self.get("/v1/status").await
    }

    /// Enters a PIN for this insertion.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn unlock(&self, request: &Unlock) -> Result<Status, AgentError> {
        self.post("/v1/unlock", request).await
    }

    /// Forgets the PIN and closes what is open.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn lock(&self) -> Result<Done, AgentError> {
        self.post("/v1/lock", &Done {}).await
    }

    /// Opens files.
    ///
    /// # Errors
    /// [`AgentError`]; what became of each file is in the answer.
    pub async fn open(&self, request: &OpenRequest) -> Result<OpenAnswer, AgentError> {
        self.post("/v1/open", request).await
    }

    /// How far the files that are being opened are.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn progress(&self) -> Result<Progress, AgentError> {
        self.get("/v1/progress").await
    }

    /// What would be routed to other units.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn plan_routes(&self, request: &PlanRequest) -> Result<Plan, AgentError> {
        self.post("/v1/routes/plan", request).await
    }

    /// Routes files to other units.
    ///
    /// # Errors
    /// [`AgentError`]; what became of each file is in the answer.
    pub async fn route(&self, request: &RouteRequest) -> Result<RouteAnswer, AgentError> {
        self.post("/v1/routes", request).await
    }

    /// How far the slips are that are being made, in slips.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn routes_progress(&self) -> Result<Progress, AgentError> {
        self.get("/v1/routes/progress").await
    }

    /// Sends files to units.
    ///
    /// # Errors
    /// [`AgentError`]; what became of each file is in the answer.
    pub async fn send(&self, request: &SendRequest) -> Result<SendAnswer, AgentError> {
        self.post("/v1/deliveries", request).await
    }

    /// Brings what was sent and has not arrived.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn resume_sending(&self) -> Result<SendAnswer, AgentError> {
        self.post("/v1/deliveries/resume", &Done {}).await
    }

    /// What was sent from this PC.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn sent(&self) -> Result<SentDeliveries, AgentError> {
        self.get("/v1/deliveries").await
    }

    /// How far the deliveries are that are being sealed, brought or taken out, in bytes.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn deliveries_progress(&self) -> Result<Progress, AgentError> {
        self.get("/v1/deliveries/progress").await
    }

    /// What lies in the box for the cards of this PC.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn inbox(&self) -> Result<Received, AgentError> {
        self.get("/v1/inbox").await
    }

    /// Takes a delivery's file out of the box.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn fetch(&self, request: &FetchRequest) -> Result<Fetched, AgentError> {
        self.post("/v1/inbox/fetch", request).await
    }

    /// Tells the box what a unit has done with a delivery.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn handle(&self, request: &HandleRequest) -> Result<Done, AgentError> {
        self.post("/v1/inbox/handle", request).await
    }

    /// The units that files can be addressed to, verified by the agent.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn directory(&self) -> Result<Directory, AgentError> {
        self.get("/v1/directory").await
    }

    /// The organizations that are trusted and their units, verified by the agent.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn others(&self) -> Result<Others, AgentError> {
        self.get("/v1/others").await
    }

    /// The organization's profile, as the agent has verified it.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn profile(&self) -> Result<Profile, AgentError> {
        self.get("/v1/profile").await
    }

    /// Reads the profile file again.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn reload_profile(&self) -> Result<Status, AgentError> {
        self.post("/v1/profile/reload", &Done {}).await
    }

    /// Fetches the profile from the kms, and writes it to the profile file.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn refresh_profile(&self) -> Result<Status, AgentError> {
        self.post("/v1/profile/refresh", &Done {}).await
    }

    /// What is in the readers.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn cards(&self) -> Result<Cards, AgentError> {
        self.get("/v1/cards").await
    }

    /// Generates the three keys on a new card.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn prepare(&self, request: &Prepare) -> Result<Prepared, AgentError> {
        self.post("/v1/cards/prepare", request).await
    }

    /// Brings onto a card what waits for it at the kms.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn personalize(&self, request: &Personalize) -> Result<Personalized, AgentError> {
        self.post("/v1/cards/personalize", request).await
    }

    /// Sets a new PIN with the card's PUK.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn unblock(&self, request: &Unblock) -> Result<Done, AgentError> {
        self.post("/v1/cards/unblock", request).await
    }

    /// Has an officer's card open another card's PUK.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn open_puk(&self, request: &OpenPuk) -> Result<OpenedPuk, AgentError> {
        self.post("/v1/cards/puk", request).await
    }

    /// Replaces a card's PIN.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn change_pin(&self, request: &ChangePin) -> Result<Done, AgentError> {
        self.post("/v1/pin", request).await
    }

    /// One 9C signature.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn sign(&self, request: &SignRequest) -> Result<SignAnswer, AgentError> {
        self.post("/v1/sign", request).await
    }

    /// A request to the kms or a site.
    ///
    /// # Errors
    /// [`AgentError`]; a refusal by the service is an answer here.
    pub async fn forward(&self, request: &Forward) -> Result<Forwarded, AgentError> {
        self.post("/v1/forward", request).await
    }

    /// Any `GET`.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, AgentError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Any `POST` with a JSON body.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, AgentError> {
        // The body may hold a PIN: it is wiped when hyper lets go of it.
        let body = serde_json::to_vec(body).map_err(|e| AgentError::Nonsense { why: e.to_string() })?;
        self.call(Method::POST, path, Bytes::from_owner(Zeroizing::new(body))).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, AgentError> {
        let (status, bytes) = self.exchange(method, path, body).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| AgentError::Nonsense { why: e.to_string() });
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.unreachable(io::Error::from(io::ErrorKind::PermissionDenied)));
        }
        match serde_json::from_slice(&bytes) {
            Ok(fault) => Err(AgentError::Fault(fault)),
            Err(_) => Err(AgentError::Nonsense { why: format!("HTTP {status}") }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), AgentError> {
        let stream = TcpStream::connect(self.address).await.map_err(|e| self.unreachable(e))?;
        // Neither token nor PIN to whoever has taken over the port of an agent that was killed.
        if !platform::is_own_listener(self.address) {
            return Err(self.unreachable(io::Error::from(io::ErrorKind::PermissionDenied)));
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.unreachable(e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token.as_str()))
            .body(Full::new(body))
            .map_err(|e| AgentError::Nonsense { why: e.to_string() })?;
        let answer = sender.send_request(request).await.map_err(|e| self.unreachable(e))?;
        let status = answer.status();
        let collected = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let bytes = collected
            .map_err(|source| AgentError::Unreachable { address: self.address.to_string(), source })?
            .to_bytes();
        Ok((status, bytes))
    }

    fn unreachable(&self, source: impl std::error::Error + Send + Sync + 'static) -> AgentError {
        AgentError::Unreachable { address: self.address.to_string(), source: Box::new(source) }
    }
}

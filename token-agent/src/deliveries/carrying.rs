//! Bringing a delivery to a box, part by part. Where the connection breaks, it goes on with the parts that are missing.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use hyper::body::Bytes;
use warifu_api::wire::Done;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::deliveries::{Completion, Delivered, DeliveryState, PART, part_length};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_ledger::statement::Delivery;

use super::outbox::Outgoing;
use crate::fault;
use crate::opening::Measured;
use crate::platform::open_regular;

/// How often it is tried again without any part getting through in between.
const TRIES: u32 = 8;
/// How long the first pause before a try is; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Why a delivery is not in the box.
pub(super) enum NotBrought {
    /// The box does not take it.
    Refused(AgentFault),
    /// It may take it later.
    NotYet(AgentFault),
}

/// A delivery on its way.
pub(super) struct Carrier<'a> {
    pub(super) client: &'a Client,
    pub(super) outgoing: &'a Outgoing,
    pub(super) delivery: &'a Delivery,
    /// The sealed file.
    pub(super) sealed: &'a Path,
}

impl Carrier<'_> {
    /// Brings it, and goes on where that breaks off.
    pub(super) async fn bring(&self, measured: &mut Measured<'_>) -> Result<Delivered, NotBrought> {
        let (mut tries, mut brought) = (0, 0);
        loop {
            let before = brought;
            let broken = match self.once(measured, &mut brought).await {
                Ok(delivered) => return Ok(delivered),
                Err(NotBrought::Refused(fault)) => return Err(NotBrought::Refused(fault)),
                Err(NotBrought::NotYet(fault)) => fault,
            };
            tries = if brought > before { 1 } else { tries + 1 };
            if tries >= TRIES {
                return Err(NotBrought::NotYet(broken));
            }
            tracing::info!(delivery = %self.delivery.id, ?broken, tries, "a delivery is interrupted");
            tokio::time::sleep(FIRST_PAUSE.saturating_mul(1 << tries).min(LONGEST_PAUSE)).await;
        }
    }

    async fn once(&self, measured: &mut Measured<'_>, brought: &mut u64) -> Result<Delivered, NotBrought> {
        let id = self.delivery.id;
        let completion = Completion { digest: self.delivery.digest };
        let offered = self.client.post("/v1/deliveries", &self.outgoing.offer).await;
        let mut delivered: Delivered = offered.map_err(not_brought)?;
        loop {
            if delivered.id != id {
                return Err(nonsense("it answers for another delivery"));
            }
            let missing = match delivered.state {
                DeliveryState::Arriving { missing, .. } => missing,
                DeliveryState::Checking { .. } => Vec::new(),
                _ => return Ok(delivered),
            };
            for part in missing {
                let bytes = self.read(part).await?;
                let count = bytes.len() as u64;
                let path = format!("/v1/deliveries/{id}/parts/{part}");
                let _: Done = self.client.put_bytes(&path, bytes).await.map_err(not_brought)?;
                *brought += 1;
                measured.add(count);
            }
            let complete = self.client.post(&format!("/v1/deliveries/{id}/complete"), &completion).await;
            delivered = complete.map_err(not_brought)?;
            if let DeliveryState::Arriving { other_file: true, .. } = delivered.state {
                let why = "another file arrived than was signed".to_owned();
                return Err(NotBrought::Refused(AgentFault::NotTrustworthy { why }));
            }
        }
    }

    /// The bytes of a part.
    async fn read(&self, part: u64) -> Result<Bytes, NotBrought> {
        let length =
            part_length(self.delivery.size, part).ok_or_else(|| nonsense("it wants a part too many"))?;
        let path = self.sealed.to_owned();
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<u8>> {
            let mut file = open_regular(&path)?;
            file.seek(SeekFrom::Start(part.saturating_mul(PART)))?;
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let unreadable = |why: String| NotBrought::Refused(AgentFault::FileUnreadable { why });
        let bytes = read.await.map_err(|error| unreadable(error.to_string()))?;
        let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 != length {
            return Err(unreadable("the sealed file is shorter than it was".to_owned()));
        }
        Ok(Bytes::from(bytes))
    }
}

fn nonsense(why: &str) -> NotBrought {
    NotBrought::NotYet(AgentFault::NotTrustworthy { why: why.to_owned() })
}

fn not_brought(error: ClientError) -> NotBrought {
    let passes = match &error {
        ClientError::Refused { body, .. } => may_pass(body.code),
        _ => true,
    };
    let fault = fault::of_authority(error);
    if passes { NotBrought::NotYet(fault) } else { NotBrought::Refused(fault) }
}

/// Whether a refusal is about the service as it is just now.
pub(super) fn may_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::NotReady
            | ErrorCode::NotRecovered
            | ErrorCode::StorageUnavailable
            | ErrorCode::HsmUnavailable
            | ErrorCode::Internal
    )
}

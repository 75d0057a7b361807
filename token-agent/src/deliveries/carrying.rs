//! Bringing a delivery to a box, part by part. Where the connection breaks, it goes on with the parts that are missing.
//!
//! Whoever answers may be anybody: he is brought no more parts than it takes to send the file twice, and is asked no more often than a
//! slow box needs to check it.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use hyper::body::Bytes;
use warifu_api::wire::Done;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::deliveries::{Completion, Delivered, DeliveryState, PART, part_length, parts_of};
use warifu_api::{ClientError, ErrorCode};
use warifu_ledger::statement::Delivery;

use super::outbox::Outgoing;
use super::receiver::Receiver;
use crate::fault;
use crate::opening::Measured;
use crate::platform::open_regular;

/// How often it is tried again without any part getting through in between.
const TRIES: u32 = 8;
/// How often a box may say that parts are missing, or that it still checks: 64 GiB are read in that time at 15 MiB/s.
const ROUNDS: u32 = 256;

/// Why a delivery is not in the box.
pub(super) enum NotBrought {
    /// The box does not take it.
    Refused(AgentFault),
    /// It may take it later.
    NotYet(AgentFault),
    /// The sealed file cannot be read any more.
    Lost(AgentFault),
}

/// A delivery on its way.
pub(super) struct Carrier<'a> {
    pub(super) receiver: &'a Receiver,
    pub(super) outgoing: &'a Outgoing,
    pub(super) delivery: &'a Delivery,
    /// The sealed file.
    pub(super) sealed: &'a Path,
    pub(super) pace: Pace,
}

/// How long it is waited before a box is asked again.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// The first time; each further one is twice as long.
    first: Duration,
    /// And no longer than this.
    longest: Duration,
}

impl Pace {
    pub(super) const USUAL: Self =
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(20) };

    fn pause(self, tries: u32) -> Duration {
        self.first.saturating_mul(1 << tries.min(16)).min(self.longest)
    }
}

impl Carrier<'_> {
    /// Brings it, and goes on where that breaks off. The answer is of a box that says to have all of it, or to have it no more.
    pub(super) async fn bring(&self, measured: &mut Measured<'_>) -> Result<Delivered, NotBrought> {
        let (mut tries, mut spent) = (0, Spent::default());
        loop {
            let before = spent.parts;
            let broken = match self.once(measured, &mut spent).await {
                Err(NotBrought::NotYet(fault)) => fault,
                settled => return settled,
            };
            tries = if spent.parts > before { 1 } else { tries + 1 };
            if tries >= TRIES || self.is_too_much(&spent) {
                return Err(NotBrought::NotYet(broken));
            }
            tracing::info!(delivery = %self.delivery.id, ?broken, tries, "a delivery is interrupted");
            tokio::time::sleep(self.pace.pause(tries)).await;
        }
    }

    async fn once(&self, measured: &mut Measured<'_>, spent: &mut Spent) -> Result<Delivered, NotBrought> {
        let id = self.delivery.id;
        let Receiver { client, bringing, .. } = self.receiver;
        let completion = Completion { digest: self.delivery.digest };
        let offered = client.post("/v1/deliveries", &self.outgoing.offer).await;
        let mut delivered: Delivered = offered.map_err(not_brought)?;
        let mut checking = 0;
        loop {
            if delivered.id != id {
                return Err(nonsense("it answers for another delivery"));
            }
            let missing: BTreeSet<u64> = match delivered.state {
                DeliveryState::Arriving { missing, .. } => missing.into_iter().collect(),
                DeliveryState::Checking { .. } => BTreeSet::new(),
                _ => return Ok(delivered),
            };
            spent.rounds += 1;
            if self.is_too_much(spent) {
                return Err(nonsense("it has never all of it"));
            }
            if missing.is_empty() {
                checking += 1;
                tokio::time::sleep(self.pace.pause(checking)).await;
            }
            for part in missing {
                let bytes = self.read(part).await?;
                let count = bytes.len() as u64;
                let path = format!("/v1/deliveries/{id}/parts/{part}");
                let _: Done = bringing.put_bytes(&path, bytes).await.map_err(not_brought)?;
                spent.parts += 1;
                measured.add(count);
            }
            let complete = client.post(&format!("/v1/deliveries/{id}/complete"), &completion).await;
            delivered = complete.map_err(not_brought)?;
            if let DeliveryState::Arriving { other_file: true, .. } = delivered.state {
                let why = "another file arrived than was signed".to_owned();
                return Err(NotBrought::Refused(AgentFault::NotTrustworthy { why }));
            }
        }
    }

    fn is_too_much(&self, spent: &Spent) -> bool {
        spent.rounds > ROUNDS || spent.parts > 2 * parts_of(self.delivery.size)
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
        let unreadable = |why: String| NotBrought::Lost(AgentFault::FileUnreadable { why });
        let bytes = read.await.map_err(|error| unreadable(error.to_string()))?;
        let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 != length {
            return Err(unreadable("the sealed file is shorter than it was".to_owned()));
        }
        Ok(Bytes::from(bytes))
    }
}

/// What a delivery has cost so far.
#[derive(Default)]
struct Spent {
    parts: u64,
    rounds: u32,
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

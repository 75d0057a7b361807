//! Slips, written and signed: of one unit, under one grant, with one end.

use std::collections::BTreeMap;

use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::routing::Batch;
use warifu_envelope::TagStanza;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::slip::{Slip, SlipId};
use warifu_ledger::statement::{Millis, Slips};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::PartialX;
use warifu_split_key::routing::{Part as Role, SEALED_PART};

use super::Target;
use crate::fault::chain;
use crate::rng;

/// The card's part of a file, and how the file came to the unit.
pub(super) struct Part {
    /// `x(aR)`.
    pub(super) card: PartialX,
    pub(super) stanza: TagStanza,
    pub(super) grant: Id,
    pub(super) unit: Id,
    /// The slip by which the file came, and until when that one is good: it goes further for no longer.
    pub(super) origin: Option<(SlipId, Millis)>,
}

/// A file that goes to some of the targets.
pub(super) struct Draft {
    pub(super) file: usize,
    /// Which of the targets.
    pub(super) targets: Vec<usize>,
    pub(super) part: Part,
}

/// Writes slips.
pub(super) struct Writer {
    pub(super) organization: Digest,
    pub(super) targets: Vec<Target>,
    pub(super) expires_at: Millis,
}

/// Slips that wait for a signature.
pub(super) struct Unsigned {
    pub(super) envelope: Envelope,
    items: Vec<Slip>,
    /// Which file and target each is for.
    slips: Vec<(usize, usize)>,
    expires_at: Millis,
}

/// Slips that can be brought to a site.
pub(super) struct Signed {
    pub(super) batch: Batch,
    /// Which file and target each slip is for.
    pub(super) slips: Vec<(usize, usize)>,
    pub(super) expires_at: Millis,
}

impl Unsigned {
    pub(super) fn signed(mut self, key: &PublicKey, signature: [u8; 64]) -> Signed {
        self.envelope.add_signature(key, signature);
        let batch = Batch { slips: self.envelope, items: self.items };
        Signed { batch, slips: self.slips, expires_at: self.expires_at }
    }
}

impl Writer {
    /// As few batches as hold them.
    pub(super) fn write(&self, drafts: Vec<Draft>) -> Result<Vec<Unsigned>, AgentFault> {
        let mut batches: BTreeMap<(Id, Id, Millis), Vec<Draft>> = BTreeMap::new();
        for draft in drafts {
            let end = draft.part.origin.map_or(self.expires_at, |(_, end)| end.min(self.expires_at));
            batches.entry((draft.part.unit, draft.part.grant, end)).or_default().push(draft);
        }
        batches.into_iter().map(|((unit, grant, end), drafts)| self.batch(unit, grant, end, drafts)).collect()
    }

    fn batch(
        &self,
        unit: Id,
        grant: Id,
        expires_at: Millis,
        drafts: Vec<Draft>,
    ) -> Result<Unsigned, AgentFault> {
        let (id, root) = (Id::draw(&mut rng()), Digest([0; 32]));
        let slips = Slips { organization: self.organization, id, unit, grant, expires_at, count: 0, root };
        let (mut items, mut places) = (Vec::new(), Vec::new());
        for draft in drafts {
            for place in draft.targets {
                let target = self.targets.get(place).ok_or_else(|| unwritable("no such target"))?;
                items.push(slip(&slips, items.len(), &draft.part, target)?);
                places.push((draft.file, place));
            }
        }
        let slips = slips.over(&items).map_err(|error| unwritable(&chain(&error)))?;
        let envelope = Envelope::unsigned(&slips).map_err(|error| unwritable(&chain(&error)))?;
        Ok(Unsigned { envelope, items, slips: places, expires_at })
    }
}

/// A slip, with the card's part sealed for it and nothing else.
fn slip(slips: &Slips, index: usize, part: &Part, target: &Target) -> Result<Slip, AgentFault> {
    let mut slip = Slip {
        index: u64::try_from(index).unwrap_or(u64::MAX),
        ephemeral: part.stanza.enc.into(),
        stanza: Digest(part.stanza.digest()),
        target: target.unit,
        origin: part.origin.map(|(origin, _)| origin),
        seal: Base64([0; SEALED_PART]),
    };
    let sealed = slip.routed_file(slips).seal(&mut rng(), Role::Card, &target.key, &part.card);
    slip.seal = Base64(sealed.map_err(|error| unwritable(&chain(&error)))?);
    Ok(slip)
}

fn unwritable(why: &str) -> AgentFault {
    AgentFault::Malformed { why: why.to_owned() }
}

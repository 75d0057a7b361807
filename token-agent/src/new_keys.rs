//! Other keys of ca or kms (protocol P-4.18). The kms signs the profile alone, and a kms that was restored cannot even show the
//! key that the old profile names: so nobody's word is taken for it. The agent folds the ledger itself, from the founding
//! whose digest it pins, and believes what two officers have ordered there.

use warifu_api::Client;
use warifu_api::wire::Leaves;
use warifu_api::wire::agent::AgentFault;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{FormerKeys, HalfHolder, Profile};

use crate::fault;

/// Proves by the ledger that `kms` shows that ca and kms have the keys of `new` in the place of those of `old`.
pub(crate) async fn prove(kms: &Client, old: &Profile, new: &Profile) -> Result<(), AgentFault> {
    let mut state: Option<State> = None;
    loop {
        let from = state.as_ref().map_or(0, |state| state.tree().size());
        let part: Leaves = kms.get(&format!("/v1/ledger?from={from}")).await.map_err(fault::of_authority)?;
        if part.leaves.is_empty() {
            break;
        }
        let folded = tokio::task::spawn_blocking(move || fold(state, part.leaves)).await;
        state = folded.map_err(|error| untrusted(&error))??;
    }
    match state {
        Some(state) if is_successor(&state, old, new) => Ok(()),
        _ => Err(AgentFault::NotTrustworthy {
            why: "no officers' order gives ca or kms these keys".to_owned(),
        }),
    }
}

fn fold(mut state: Option<State>, leaves: Vec<Bytes>) -> Result<Option<State>, AgentFault> {
    for bytes in leaves {
        let leaf = Leaf::from_bytes(bytes.0).map_err(|error| untrusted(&error))?;
        let next = match &state {
            None => State::found(&leaf),
            Some(state) => state.apply(&leaf),
        };
        state = Some(next.map_err(|error| untrusted(&error))?);
    }
    Ok(state)
}

/// The ledger names the new profile's keys now, and named the old one's before: it does not go back to keys that were lost.
fn is_successor(state: &State, old: &Profile, new: &Profile) -> bool {
    let went_on = |service| {
        let (before, now) = (old.keys_of(service), new.keys_of(service));
        state.keys_of(service) == now
            && (before == now || state.former_keys(service).any(|(_, keys)| keys == before))
    };
    let former: Vec<FormerKeys> = state.former_signers();
    state.organization() == old.organization
        && new.organization == old.organization
        && went_on(HalfHolder::Ca)
        && went_on(HalfHolder::Kms)
        && new.former == former
}

fn untrusted(error: &dyn std::error::Error) -> AgentFault {
    AgentFault::NotTrustworthy { why: fault::chain(error) }
}

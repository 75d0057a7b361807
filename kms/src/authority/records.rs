//! The register's records that come with an order: every commitment is checked (P-3.1).

use std::collections::BTreeMap;

use warifu_ledger::Id;
use warifu_ledger::register::{Commitment, Record};

use super::error::AuthorityError;
use super::store::Store;

/// Checks that each commitment has its record, among those given or in the register already (a member's second card
/// commits to the name of the first), and that nothing else was given. A record of an `optional` commitment may be missing, as if
/// it had been erased. Answers the records that are new.
pub(crate) async fn check(
    store: &Store,
    required: &[Commitment],
    optional: &[Commitment],
    given: Vec<Record>,
) -> Result<Vec<Record>, AuthorityError> {
    let mut by_id: BTreeMap<Id, Record> = BTreeMap::new();
    for record in given {
        let id = record.id;
        if by_id.insert(id, record).is_some() {
            return Err(AuthorityError::RecordSuperfluous { record: id });
        }
    }
    let required = required.iter().map(|commitment| (commitment, false));
    let commitments = required.chain(optional.iter().map(|commitment| (commitment, true)));
    for (commitment, may_be_missing) in commitments.clone() {
        let id = commitment.record;
        let stored = store.record(&id).await?;
        let matches = match (by_id.get(&id), &stored) {
            (Some(given), Some(stored)) if given != stored => {
                return Err(AuthorityError::RecordTaken { record: id });
            }
            (Some(record), _) | (None, Some(record)) => record.matches(commitment),
            (None, None) => may_be_missing,
        };
        if !matches {
            return Err(AuthorityError::RecordMismatch { record: id });
        }
    }
    let pointed_to = |id: &Id| commitments.clone().any(|(commitment, _)| commitment.record == *id);
    if let Some(id) = by_id.keys().find(|id| !pointed_to(id)) {
        return Err(AuthorityError::RecordSuperfluous { record: *id });
    }
    Ok(by_id.into_values().collect())
}

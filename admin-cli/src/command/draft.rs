//! A card that is prepared and not ordered yet, remembered between two commands: with one reader, the officer's card takes its
//! place before anything is signed. Nothing of it is secret.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use warifu_api::wire::agent::{CardInReader, Prepared};
use warifu_envelope::Overwrite;
use warifu_ledger::Digest;

use crate::desk::Book;
use crate::fault::Fault;
use crate::file::{fault, write_json};

/// What is remembered.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    organization: Digest,
    /// The card's serial number.
    pub(super) serial: u32,
    /// Its keys, and what it proved about them.
    pub(super) prepared: Prepared,
}

fn path(label: &str) -> PathBuf {
    warifu_token_agent::default_state_dir().join("drafts").join(format!("{label}.json"))
}

impl Draft {
    /// The draft for this label, if there is one for this organization, of a card that is nobody's, and the card that is meant.
    pub(super) fn kept(book: &Book, cards: &[CardInReader], label: &str, told: Option<u32>) -> Option<Self> {
        // One that cannot be read is no loss: the card is prepared again, and keeps its keys.
        let draft: Self = serde_json::from_slice(&std::fs::read(path(label)).ok()?).ok()?;
        let key = draft.prepared.keys.authentication.0;
        let holds = draft.organization == book.state.organization()
            && told.is_none_or(|serial| serial == draft.serial)
            && book.state.card_of_authentication_key(&key).is_none()
            && cards.iter().filter(|card| card.serial == draft.serial).all(|card| {
                // Somebody has erased it meanwhile.
                card.keys.is_some_and(|keys| keys.authentication.0 == key)
            });
        holds.then_some(draft)
    }

    /// Remembers a card that was just prepared.
    pub(super) fn made(book: &Book, label: &str, serial: u32, prepared: Prepared) -> Result<Prepared, Fault> {
        Self::over(label);
        let draft = Self { organization: book.state.organization(), serial, prepared };
        let path = path(label);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| fault(folder, source))?;
        }
        write_json(&path, Overwrite::Refuse, &draft)?;
        Ok(draft.prepared)
    }

    /// The order is in the ledger, which remembers better.
    pub(super) fn over(label: &str) {
        // A draft that stays is refused later: its card is somebody's.
        let _ = std::fs::remove_file(path(label));
    }
}

//! The audit journals of sites, as far as the ledger has their heads (P-13.3).

use std::collections::BTreeMap;

use super::{Kind, Rejected, State};
use crate::Id;
use crate::ahead::Found;
use crate::journal::{HEADS_LIMIT, Position, SignedHead};

/// How far the ledger has a site's journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journals {
    /// The one that the site writes.
    pub current: Id,
    /// Its last head in the ledger.
    pub head: Position,
    /// Those that it wrote before, with their last heads: nothing is added to them any more.
    pub former: BTreeMap<Id, Position>,
}

impl State {
    /// A site's journals, if one of its heads is in the ledger.
    #[must_use]
    pub fn journals(&self, site: &Id) -> Option<&Journals> {
        self.journals.get(site)
    }

    pub(super) fn journals_batched(&mut self, heads: &[SignedHead], found: &Found) -> Result<(), Rejected> {
        if heads.is_empty() || heads.len() > HEADS_LIMIT {
            return Err(Rejected::JournalHeadsCount { count: heads.len() });
        }
        heads.iter().enumerate().try_for_each(|(place, head)| self.journal_head(place, head, found))
    }

    /// Of a site that has left too: what it wrote until then counts, and it may say so late.
    fn journal_head(&mut self, place: usize, head: &SignedHead, found: &Found) -> Result<(), Rejected> {
        let id = head.site;
        let site = self.sites.get(&id).ok_or(Rejected::Unknown { kind: Kind::Site, id })?;
        if !found.head_is_signed(place, head, &self.organization, &site.keys.signing) {
            return Err(Rejected::JournalNotSigned { site: id });
        }
        let mut journals = self.journals.get(&id).cloned();
        if journals.as_ref().is_some_and(|journals| journals.former.contains_key(&head.journal)) {
            return Err(Rejected::JournalOver { site: id, journal: head.journal });
        }
        let same = journals.as_ref().filter(|journals| journals.current == head.journal);
        let committed = same.map_or(0, |journals| journals.head.size);
        if head.size <= committed {
            return Err(Rejected::JournalNotFurther { site: id, size: head.size, committed });
        }
        let mut former = BTreeMap::new();
        if let Some(before) = journals.take() {
            former = before.former;
            if before.current != head.journal {
                former.insert(before.current, before.head);
            }
        }
        self.journals.insert_mut(id, Journals { current: head.journal, head: head.position(), former });
        Ok(())
    }
}

//! The audit journals of sites, as far as the ledger has their heads (P-13.3).

use super::{Kind, Map, Rejected, State};
use crate::Id;
use crate::ahead::Found;
use crate::journal::{HEADS_LIMIT, Position, SignedHead};
use crate::statement::Millis;

/// How many journals a site may begin within [`BEGUN_WITHIN_MS`]: an honest one begins another when it has lost its database.
pub const BEGUN_LIMIT: u32 = 8;
/// A day.
pub const BEGUN_WITHIN_MS: Millis = 24 * 60 * 60 * 1000;

/// How far the ledger has a site's journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journals {
    /// The one that the site writes.
    pub current: Id,
    /// Its last head in the ledger.
    pub head: Position,
    /// Those that it wrote before, with their last heads: nothing is added to them any more.
    pub former: Map<Id, Position>,
    /// Since when those are counted that it has begun, and how many they are.
    pub(super) begun: (Millis, u32),
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
        let known = self.journals.get(&id);
        if known.is_some_and(|known| known.former.contains_key(&head.journal)) {
            return Err(Rejected::JournalOver { site: id, journal: head.journal });
        }
        let same = known.filter(|known| known.current == head.journal);
        let committed = same.map_or(0, |known| known.head.size);
        if head.size <= committed {
            return Err(Rejected::JournalNotFurther { site: id, size: head.size, committed });
        }
        let (current, position) = (head.journal, head.position());
        let journals = match (known, same) {
            (Some(known), Some(_)) => Journals { head: position, ..known.clone() },
            (Some(_), None) if site.removed => return Err(Rejected::JournalsTooMany { site: id }),
            (Some(known), None) => Journals {
                current,
                head: position,
                former: known.former.insert(known.current, known.head),
                begun: self.begun(known.begun).ok_or(Rejected::JournalsTooMany { site: id })?,
            },
            (None, _) => {
                Journals { current, head: position, former: Map::new_sync(), begun: (self.last_at, 1) }
            }
        };
        self.journals.insert_mut(id, journals);
        Ok(())
    }

    /// One more journal begun; none if there are too many. Time is that of the leaf before: who asks beforehand has no other.
    fn begun(&self, (since, count): (Millis, u32)) -> Option<(Millis, u32)> {
        if self.last_at >= since.saturating_add(BEGUN_WITHIN_MS) {
            return Some((self.last_at, 1));
        }
        (count < BEGUN_LIMIT).then_some((since, count + 1))
    }
}

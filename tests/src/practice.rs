//! Towns in which something does not work, to practise on: whoever reads the messages, and nothing else, has to get from
//! there to an opened file.

use anyhow::Result;

use crate::town::{MEMBER_READERS, SITES, Town};

/// What does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The reader service of the member's PC does not run.
    NoReaderService,
    /// The card in the member's reader is of another kind.
    ForeignCard,
    /// The member has entered a wrong PIN too often.
    BlockedPin,
    /// No site runs.
    SitesDown,
    /// The sites' HSM tokens are not there, so that the sites do not start.
    HsmMissing,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoReaderService, Self::ForeignCard, Self::BlockedPin, Self::SitesDown, Self::HsmMissing];

    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoReaderService => "no-pcscd",
            Self::ForeignCard => "foreign-card",
            Self::BlockedPin => "blocked-pin",
            Self::SitesDown => "sites-down",
            Self::HsmMissing => "hsm-missing",
        }
    }

    /// Breaks it.
    ///
    /// # Errors
    /// Where even that does not work.
    pub fn happens(self, town: &mut Town) -> Result<()> {
        let [office, _] = MEMBER_READERS;
        if self == Self::ForeignCard {
            return town.insert("foreign", office);
        }
        town.insert("hanako", office)?;
        match self {
            Self::NoReaderService => town.readers().kill(),
            Self::BlockedPin => town.card("hanako")?.block_pin()?,
            Self::SitesDown => SITES.iter().for_each(|(site, _)| town.kill(site)),
            Self::HsmMissing => {
                for (site, _) in SITES {
                    town.stop(site);
                    town.disconnect_hsm(site)?;
                }
            }
            Self::ForeignCard => {}
        }
        Ok(())
    }
}

//! Where the agent and its cards stand, as it tells people and programs.

use std::sync::atomic::Ordering;

use warifu_api::ErrorCode;
use warifu_api::wire::agent::{
    AgentFault, AgentState, BrokenModule, CardInReader, CardSecrets, Cards, ManagementKeyKind, Standing,
    Status,
};
use warifu_hardware::card::{Management, Secrets};

use super::Agent;
use super::readers::Slot;
use crate::ending;
use crate::session::{Phase, Session};

impl Agent {
    /// A card of this organization with shares that waits for its PIN, and how often that may be tried.
    pub(crate) async fn waiting_card(&self) -> Option<(u32, u8)> {
        for session in self.sessions() {
            let waits = matches!(session.phase(), Phase::Locked) && !session.facts().shares.is_empty();
            if waits
                && self.is_ours(&session)
                && let Ok(tries_left @ 1..) = session.tries_left().await
            {
                return Some((session.serial, tries_left));
            }
        }
        None
    }

    /// What is wrong where there is no card of this organization.
    pub(super) fn without_card(&self) -> AgentFault {
        let world = self.world();
        let any = |wanted: fn(&Slot) -> bool| world.readers.values().any(wanted);
        if !world.service {
            AgentFault::NoReaderService
        } else if world.readers.is_empty() {
            AgentFault::NoReader
        } else if any(|slot| matches!(slot, Slot::Foreign | Slot::Card(_))) {
            AgentFault::ForeignCard
        } else {
            AgentFault::NoCard
        }
    }

    /// Why no file can be opened now.
    pub(crate) async fn why_not_open(&self) -> AgentFault {
        match self.status().await.state {
            // The card may be resumed by now. To ask a site again takes its key, and that the PIN, which is wiped.
            AgentState::Refused { code: Some(ErrorCode::CardSuspended), serial, .. } => {
                match self.session(serial) {
                    Ok(session) => session.pin_needed().await,
                    Err(fault) => fault,
                }
            }
            AgentState::ForeignCard { .. } | AgentState::Refused { code: None, .. }
                if self.profile().is_none() =>
            {
                AgentFault::NoProfile
            }
            state => state.fault().unwrap_or(AgentFault::SiteUnreachable),
        }
    }

    /// Where the agent stands: of several cards, the one that can do most first.
    pub(crate) async fn status(&self) -> Status {
        let profile = self.profile();
        let mut states = Vec::new();
        for session in self.sessions() {
            states.push(self.state_of(&session).await);
        }
        states.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut states = states.into_iter().map(|(_, state)| state);
        let state = states.next().unwrap_or_else(|| self.state_without_card());
        let others = states
            .filter(|state| !matches!(state, AgentState::ForeignCard { .. } | AgentState::NoCard))
            .collect();
        Status {
            state,
            others,
            brought: self.sessions().iter().flat_map(|session| session.brought()).collect(),
            organization: profile.as_ref().map(|profile| profile.name.clone()),
            ends: ending::of_all(&self.sessions(), &self.zone()),
            helpdesk: profile.as_ref().map(|profile| profile.helpdesk.clone()),
        }
    }

    fn state_without_card(&self) -> AgentState {
        match self.without_card() {
            AgentFault::NoReaderService => AgentState::NoReaderService,
            AgentFault::NoReader => AgentState::NoReader,
            AgentFault::ForeignCard => {
                let world = self.world();
                let foreign = world.readers.iter().find(|(_, slot)| matches!(slot, Slot::Foreign));
                AgentState::ForeignCard {
                    reader: foreign.map(|(reader, _)| reader.clone()).unwrap_or_default(),
                }
            }
            _ => AgentState::NoCard,
        }
    }

    /// Where a card stands, and how much it can do. An officer's card that opens no files does not hide a member's that
    /// waits for its PIN.
    async fn state_of(&self, session: &Session) -> (u8, AgentState) {
        let (reader, serial) = (session.reader.clone(), session.serial);
        match session.phase() {
            Phase::Open(unlocked) => match unlocked.sites.current() {
                Some(link) => {
                    let units = session.units(&link);
                    let rank = if units.is_empty() { 5 } else { 8 };
                    let open_files = unlocked.viewing.load(Ordering::Relaxed);
                    let state = AgentState::Open {
                        reader,
                        serial,
                        member: link.me.member_name.clone(),
                        units,
                        desks: session.desks(&link),
                        site: link.site.name.clone(),
                        lease_left_ms: link.lease_left_ms(),
                        open_files,
                    };
                    (rank, state)
                }
                None => (7, AgentState::Refused { reader, serial, code: None }),
            },
            Phase::Refused(code) => (4, AgentState::Refused { reader, serial, code: Some(code) }),
            Phase::Locked if !self.is_ours(session) => (1, AgentState::ForeignCard { reader }),
            Phase::Locked => match session.tries_left().await {
                Ok(0) => (3, AgentState::PinBlocked { reader, serial }),
                Ok(tries_left) => (6, AgentState::PinNeeded { reader, serial, tries_left }),
                Err(_) => (0, AgentState::NoCard),
            },
        }
    }

    /// What is in the readers.
    pub(crate) async fn cards(&self) -> Cards {
        let mut cards = Vec::new();
        for session in self.sessions() {
            let Ok(tries_left) = session.tries_left().await else { continue };
            let Ok((puk_tries_left, secrets)) = session.own_secrets().await else { continue };
            let facts = session.facts();
            cards.push(CardInReader {
                reader: session.reader.clone(),
                serial: session.serial,
                firmware: session.actor.identity().firmware.clone(),
                model: session.actor.identity().model.clone(),
                tries_left,
                puk_tries_left,
                secrets: secrets_of(secrets),
                keys: facts.keys(),
                shares: facts.shares.len(),
                share_points: facts.shares.keys().map(|point| (*point).into()).collect(),
                certificate: facts.certificate_says.clone(),
                custody: session.custody(),
                standing: self.standing(&session),
            });
        }
        let world = self.world();
        let unusable = world.readers.iter().filter(|(_, slot)| matches!(slot, Slot::Foreign));
        // What is used by way of a module is not unusable.
        let by_module = |reader: &str| {
            world.tokens.iter().any(|(key, token)| {
                token.is_in(reader) && matches!(world.readers.get(key), Some(Slot::Card(_)))
            })
        };
        let unusable =
            unusable.map(|(reader, _)| reader.clone()).filter(|reader| !by_module(reader)).collect();
        let modules = world.broken.iter().filter_map(|(index, hung)| {
            let module = self.config.modules.get(*index)?.module.display().to_string();
            Some(BrokenModule { module, hung: *hung })
        });
        Cards { cards, unusable, modules: modules.collect() }
    }

    fn standing(&self, session: &Session) -> Standing {
        match session.phase() {
            Phase::Locked if !self.is_ours(session) => Standing::Foreign,
            Phase::Locked => Standing::Locked,
            Phase::Refused(code) => Standing::Refused { code },
            Phase::Open(unlocked) => match unlocked.sites.current() {
                None => Standing::Unanswered,
                Some(link) => Standing::Open {
                    units: session.units(&link),
                    desks: session.desks(&link),
                    missing: session.missing(&link.me.grants),
                },
            },
        }
    }
}

fn secrets_of(secrets: Secrets) -> CardSecrets {
    CardSecrets {
        factory_pin: secrets.factory_pin,
        factory_puk: secrets.factory_puk,
        management_key: match secrets.management {
            Management::Factory => ManagementKeyKind::Factory,
            Management::Protected => ManagementKeyKind::Protected,
            Management::Unknown => ManagementKeyKind::Unknown,
        },
    }
}

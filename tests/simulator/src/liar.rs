//! A kms that lies: it has the kms's own keys, and answers what it likes. Behind it, the real authority goes on.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use warifu_api::wire::Leaves;
use warifu_api::wire::authority::{CheckpointAnswer, StampRequest};
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Millis, Stamp};

use crate::base::{ACME_ENDS, HOUR, draft, note_of};
use crate::draw::Draw;
use crate::fixture::{self, id};
use crate::world::Who;

/// Which ledger somebody is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    All,
    /// Only so many leaves: what comes after is withheld.
    Only(usize),
    /// The other history.
    Branch,
}

/// A history: its leaves, and the state after each.
#[derive(Clone, Default)]
pub(crate) struct History {
    pub(crate) leaves: Vec<Vec<u8>>,
    pub(crate) states: Vec<State>,
}

impl History {
    pub(crate) fn state(&self, size: usize) -> Option<&State> {
        self.states.get(size.checked_sub(1)?)
    }

    pub(crate) fn push(&mut self, bytes: Vec<u8>, state: State) {
        self.leaves.push(bytes);
        self.states.push(state);
    }

    fn truncated(&self, size: usize) -> Self {
        Self {
            leaves: self.leaves.iter().take(size).cloned().collect(),
            states: self.states.iter().take(size).cloned().collect(),
        }
    }

    fn append(&mut self, leaf: &Leaf) -> bool {
        let Some(Ok(state)) = self.states.last().map(|state| state.apply(leaf)) else { return false };
        self.push(leaf.as_bytes().to_vec(), state);
        true
    }
}

/// What somebody has asked, and the authority has answered.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) from: Who,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) truth: &'a [u8],
    /// The kms's wall clock.
    pub(crate) now: Millis,
}

pub(crate) struct Liar {
    shows: BTreeMap<Who, Shows>,
    pub(crate) branch: Option<History>,
    /// Other histories that it gave up.
    pub(crate) former: Vec<History>,
    /// Stamps that it could show again.
    past: Vec<Vec<u8>>,
    nonces: Vec<Digest>,
    last: Millis,
    drawn: u64,
}

impl Liar {
    pub(crate) fn new() -> Self {
        Self {
            shows: BTreeMap::new(),
            branch: None,
            former: Vec::new(),
            past: Vec::new(),
            nonces: Vec::new(),
            last: 0,
            drawn: 0,
        }
    }

    fn shows(&self, who: Who) -> Shows {
        self.shows.get(&who).copied().unwrap_or(Shows::All)
    }

    /// What somebody is shown from now on.
    pub(crate) fn turns(&mut self, draw: &mut Draw, honest: &History, floor: usize) -> String {
        let who = draw.of(&[Who::Main, Who::Branch, Who::Main, Who::Ca]).unwrap_or(Who::Main);
        let shows = match draw.below(5) {
            0 => Shows::All,
            1 | 2 => Shows::Only(floor + draw.below(honest.leaves.len() + 1 - floor)),
            _ if self.branch.is_some() => Shows::Branch,
            _ => Shows::All,
        };
        self.shows.insert(who, shows);
        format!("the kms shows {} {shows:?}", who.name())
    }

    /// Begins another history, or goes on with it.
    pub(crate) fn forks(&mut self, draw: &mut Draw, honest: &History, floor: usize, now: Millis) -> String {
        if self.branch.is_none() || draw.percent(30) {
            let size = floor + draw.below(honest.leaves.len() + 1 - floor);
            self.former.extend(self.branch.take());
            self.branch = Some(honest.truncated(size));
        }
        self.drawn += 1;
        let Some(branch) = self.branch.as_mut() else { return "nothing".to_owned() };
        let size = branch.leaves.len();
        let Some(state) = branch.states.last().cloned() else { return "nothing".to_owned() };
        // The next leaf at another instant; or what deceived officers order.
        let next = honest.leaves.get(size).filter(|_| draw.percent(50)).cloned();
        let at = match draw.below(3) {
            0 => state.last_at(),
            1 => now.max(state.last_at()),
            _ => (now.saturating_sub(HOUR)).max(state.last_at()),
        };
        let leaf = match next.map(Leaf::from_bytes) {
            Some(Ok(leaf)) => {
                let at = if at == leaf.at() { at + 1 } else { at };
                Leaf::new(at, leaf.envelope().clone())
            }
            _ => {
                let act = match draw.below(4) {
                    0 | 1 => Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + 90 * HOUR },
                    2 => fixture::suspend("goro"),
                    _ => fixture::serve_at("tax", &["main"]),
                };
                let label = format!("other order {}", self.drawn);
                Leaf::new(at, draft(&state, &label, vec![act], fixture::TWO, at))
            }
        };
        let done = leaf.is_ok_and(|leaf| branch.append(&leaf));
        format!("the kms makes another history: leaf {size} at {at} ({done})")
    }

    fn shown<'a>(&'a self, shows: Shows, honest: &'a History) -> (&'a History, usize) {
        match (shows, &self.branch) {
            (Shows::Branch, Some(branch)) => (branch, branch.leaves.len()),
            (Shows::Only(size), _) => (honest, size.min(honest.leaves.len())),
            _ => (honest, honest.leaves.len()),
        }
    }

    /// What it answers in the place of the authority; none if it leaves that as it is.
    pub(crate) fn answers(
        &mut self,
        draw: &mut Draw,
        honest: &History,
        question: Question<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let shows = self.shows(question.from);
        if let Some(from) = question.path.strip_prefix("/v1/ledger?from=") {
            let from: usize = from.parse()?;
            if shows == Shows::All {
                return Ok(None);
            }
            let (history, size) = self.shown(shows, honest);
            let leaves = history.leaves.get(from.min(size)..size).unwrap_or_default();
            let leaves = Leaves {
                from: from as u64,
                leaves: leaves.iter().map(|leaf| Bytes(leaf.clone())).collect(),
                checkpoint: note_of(history.state(size).context("no state")?),
            };
            return Ok(Some(serde_json::to_vec(&leaves)?));
        }
        match question.path {
            "/v1/checkpoint" => {
                let lies = draw.percent(20) && self.branch.is_some();
                let shows = match (lies, shows) {
                    (true, Shows::Branch) => Shows::All,
                    (true, _) => Shows::Branch,
                    (false, shows) => shows,
                };
                let (history, size) = self.shown(shows, honest);
                let note = note_of(history.state(size).context("no state")?);
                Ok(Some(serde_json::to_vec(&CheckpointAnswer { note, cosigned_size: 0 })?))
            }
            "/v1/stamps" => self.stamp(draw, honest, question).map(Some),
            _ => Ok(None),
        }
    }

    fn stamp(&mut self, draw: &mut Draw, honest: &History, question: Question<'_>) -> Result<Vec<u8>> {
        let Question { from: to, body, truth, now, .. } = question;
        let StampRequest { nonce } = serde_json::from_slice(body)?;
        self.nonces.push(nonce);
        let mut shows = self.shows(to);
        let mut stamped = nonce;
        let mut time = now.max(self.last);
        let mut site = to.id();
        match draw.below(20) {
            0 => {
                if let Some(past) = draw.of(&self.past) {
                    return Ok(past);
                }
            }
            1 => stamped = draw.of(&self.nonces).unwrap_or(nonce),
            2 => site = if to == Who::Main { Who::Branch.id() } else { Who::Main.id() },
            3 => time = now.saturating_sub(draw.between(1, 3 * HOUR)),
            4 | 5 if self.branch.is_some() => {
                shows = if shows == Shows::Branch { Shows::All } else { Shows::Branch };
            }
            6 => {
                let (_, size) = self.shown(shows, honest);
                shows = Shows::Only(size.saturating_sub(draw.below(3)));
            }
            _ if shows == Shows::All => {
                self.past.push(truth.to_vec());
                return Ok(truth.to_vec());
            }
            _ => {}
        }
        let (history, size) = self.shown(shows, honest);
        let state = history.state(size).context("no state")?;
        time = time.max(if draw.percent(50) { state.last_at() } else { 0 });
        let stamp = Stamp {
            organization: state.organization(),
            site,
            nonce: stamped,
            time,
            checkpoint: note_of(state),
        };
        self.last = self.last.max(time);
        let bytes = serde_json::to_vec(&fixture::envelope_by_services(&stamp, &["kms"]))?;
        self.past.push(bytes.clone());
        Ok(bytes)
    }
}

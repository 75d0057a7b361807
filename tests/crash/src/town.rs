//! A town from its founding on, and the sequences that are run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use warifu_ca::founding::Proposal;
use warifu_ca::keys::Keys;
use warifu_console::file;
use warifu_console::founding;
use warifu_crash_point::{CrashPoint, rehearsal};
use warifu_kms::authority::founding::{found, init};
use warifu_kms::site;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, Founding, ServiceKeys, ServiceStatement};
use warifu_replica::clock::SystemClock;

use crate::fixture::{self, envelope_by_cards, id, name, record, unit};
use crate::operations::TAX;
use crate::people::{Ordered, People, until};
use crate::services::{Place, Services, Struck, Who, ca_database, own_host};
use crate::words::{Draw, Operation, Strike, Words};

const OFFICERS: &[&str] = &["sakura", "kenji", "midori"];
/// Crashes in one sequence; more are a loop.
const CRASHES: usize = 8;

/// What a town lived through.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) sequences: u64,
    pub(crate) crashes: u64,
    /// Sequences whose end was not passed.
    pub(crate) missed: Vec<String>,
    /// How often each service ended at each point, and how often it passed each.
    pub(crate) ends: BTreeMap<String, u64>,
    pub(crate) passed: BTreeMap<String, u64>,
    pub(crate) founding_ms: u64,
    pub(crate) sequences_ms: u64,
}

/// A town.
pub(crate) struct Town {
    services: Services,
    people: People,
    pub(crate) tally: Tally,
}

/// Where the founding of the town with this number ends once.
fn founding_end(number: u64) -> Option<Strike> {
    use CrashPoint as P;
    let (who, point) = match number % 5 {
        0 => (Who::Ca, P::CaFoundingPinned),
        1 => (Who::Ca, P::CaFoundingWritten),
        2 => (Who::Kms, P::KmsFoundingChecked),
        3 => (Who::Kms, P::KmsFoundingAppended),
        _ => return None,
    };
    Some(Strike { who, point, nth: 1, everybody: false })
}

impl Town {
    /// Founds a town in this folder, in which nothing is yet.
    pub(crate) async fn found(folder: PathBuf, number: u64) -> Result<Self> {
        let begun = Instant::now();
        rehearsal::watch();
        let host = own_host()?;
        // Neither the organization nor the kms's key is known before the tokens are made.
        let blank = Digest([0; 32]);
        let officer = fixture::public_of("sakura 9A").0;
        let place = Place { folder, host, organization: blank, kms_tls: officer };
        let (place, sites, services) = equip_and_found(place, number).await?;
        let people = People::new(place, sites)?;
        let mut town = Self { services, people, tally: Tally::default() };
        town.furnish().await?;
        town.tally.founding_ms = u64::try_from(begun.elapsed().as_millis())?;
        Ok(town)
    }

    /// Starts everybody, and orders the sites and the department.
    async fn furnish(&mut self) -> Result<()> {
        if self.services.bring_up(Who::ALL).await?.is_some() {
            bail!("a service was struck that nobody aimed at");
        }
        let people = &mut self.people;
        let join = Who::SITES.map(|who| {
            let keys = people.sites.get(&who).cloned();
            let address = people.place.address(who);
            keys.map(|keys| Act::SiteJoined { site: id(who.name()), name: name(who.name()), keys, address })
        });
        let mut acts: Vec<Act> = join.into_iter().flatten().collect();
        acts.push(unit(TAX));
        let request = people.draft(acts, &["main", "branch", TAX]).await?;
        people.orders.push(Ordered { request, appended: None });
        people.order(0).await?;
        until("the department's key", async || {
            people.read_ledger().await?;
            let key = people.state.as_ref().and_then(|state| state.unit(&id(TAX))).and_then(|unit| unit.key);
            Ok(key.map(drop).ok_or_else(|| "none".to_owned()))
        })
        .await?;
        people.orders.clear();
        Ok(())
    }

    /// Runs the sequence of a seed, and looks what is left.
    pub(crate) async fn run(&mut self, seed: u64) -> Result<()> {
        let words = Words::of(seed);
        let begun = Instant::now();
        let subject = match self.people.subject(words.operation, seed)? {
            Some(subject) => subject,
            None => self.somebody(words.operation, seed).await?,
        };
        let known = self.people.leaves.len() as u64;
        self.people.orders.clear();
        self.people.receipts.clear();
        let outcome = self.through(&words, subject, known).await;
        outcome.with_context(|| format!("{words:?}"))?;
        if words.operation.ends_a_grant() {
            let left = self.people.members.remove(subject);
            self.people.gone.push(left);
        }
        self.tally.sequences += 1;
        self.tally.sequences_ms += u64::try_from(begun.elapsed().as_millis())?;
        Ok(())
    }

    /// Enrols somebody for an operation that needs one, without a crash.
    async fn somebody(&mut self, operation: Operation, seed: u64) -> Result<usize> {
        let operation = match operation {
            Operation::EndContract => Operation::OpenContract,
            _ => Operation::Enrol,
        };
        let words = Words { operation, ..Words::of(seed) };
        let subject = self.people.subject(operation, seed)?.context("nobody")?;
        self.people.orders.clear();
        self.people.perform(&words, subject).await?;
        Ok(subject)
    }

    async fn through(&mut self, words: &Words, subject: usize, known: u64) -> Result<()> {
        let mut draw = Draw::new(words.seed ^ 0x5eed);
        let mut second = words.second;
        let mut crashes = 0;
        self.services.arm(words.first);
        if words.operation == Operation::Restart {
            // What happens at a start is passed only by those who start.
            let mut ends = Struck::from([words.first.who]);
            if words.first.who == Who::Kms {
                ends.insert(Who::Main);
            }
            crashes += self.recover(words, ends, &mut second, &mut draw, subject).await?;
        }
        loop {
            let struck = tokio::select! {
                biased;
                struck = self.services.struck() => Some(struck),
                done = settle(&mut self.people, words, subject, known) => {
                    done?;
                    self.services.disarm()
                }
            };
            let Some(struck) = struck else { break };
            crashes += self.recover(words, struck, &mut second, &mut draw, subject).await?;
            if crashes > CRASHES {
                bail!("{crashes} crashes in one sequence");
            }
        }
        if crashes == 0 {
            self.tally.missed.push(format!("{words:?}"));
        }
        self.tally.crashes += crashes as u64;
        Ok(())
    }

    /// Ends those who were struck, looks at once what the others say, and starts everybody again; how many crashes it took.
    async fn recover(
        &mut self,
        words: &Words,
        mut struck: Struck,
        second: &mut Option<Strike>,
        draw: &mut Draw,
        subject: usize,
    ) -> Result<usize> {
        let mut crashes = 0;
        loop {
            crashes += 1;
            for who in &struck {
                self.services.kill(*who).await?;
            }
            if let Some(strike) = second.take() {
                self.services.arm(strike);
            }
            let again = self.services.bring_up(words.order()).await?;
            let again = match again {
                Some(again) => Some(again),
                None => tokio::select! {
                    biased;
                    struck = self.services.struck() => Some(struck),
                    done = self.people.probe(draw, subject) => {
                        done?;
                        None
                    }
                },
            };
            match again {
                Some(again) => struck = again,
                None => return Ok(crashes),
            }
        }
    }

    /// The end of the town: nobody whose grant is over is answered.
    pub(crate) async fn end(mut self) -> Result<Tally> {
        self.people.sweep().await?;
        // The HSM module's own destructors run when the process ends: nobody may be using it then.
        for who in Who::ALL {
            self.services.kill(who).await?;
        }
        let mut tally = std::mem::take(&mut self.tally);
        for ((service, point), count) in rehearsal::hits() {
            *tally.passed.entry(format!("{service} {}", point.name())).or_default() += count;
        }
        for ((service, point), count) in rehearsal::ends() {
            *tally.ends.entry(format!("{service} {}", point.name())).or_default() += count;
        }
        Ok(tally)
    }
}

/// Does what is to be done, and waits until it is as if it had been done once.
async fn settle(people: &mut People, words: &Words, subject: usize, known: u64) -> Result<()> {
    people.perform(words, subject).await?;
    let over = words.operation.ends_a_grant();
    let without = over.then(|| people.members.get(subject).map(|member| member.grant)).flatten();
    people.audit(known, without).await
}

/// Makes tokens and keys, and founds the organization, ending at a point on the way.
async fn equip_and_found(
    mut place: Place,
    number: u64,
) -> Result<(Place, BTreeMap<Who, ServiceKeys>, Services)> {
    let statement = init(&place.authority(), None, None)?.statement::<ServiceStatement>()?;
    place.kms_tls = statement.keys.tls.0;
    for who in [Who::Ca, Who::Main, Who::Branch] {
        file::make_folder(&place.folder.join(who.name()))?;
    }
    let ca = Keys::ensure(&place.token(Who::Ca).init(None)?)?.service_keys();
    let mut sites = BTreeMap::new();
    for who in Who::SITES {
        let kms = warifu_console::Kms { address: place.address(Who::Kms), statement: None, tls_key: None };
        let config = site::config::Config {
            data: place.folder.join(who.name()),
            listen: place.address(who),
            address: place.address(who),
            organization: None,
            hsm: place.token(who),
            kms,
            monitor: None,
        };
        let keys = site::command::init(&config, None, None)?.statement::<ServiceStatement>()?.keys;
        sites.insert(who, keys);
    }
    let founding = Founding { ca, kms: statement.keys, ..fixture::founding() };
    let envelope = envelope_by_cards(&founding, OFFICERS);
    place.organization = envelope.digest();
    let path = place.folder.join("founding.json");
    file::write_json(&path, &envelope)?;

    let mut services = Services::new(place.clone());
    if let Some(strike) = founding_end(number) {
        services.arm(strike);
    }
    while services.command(Who::Ca, ca_signs(place.clone(), path.clone())).await?.is_none() {}
    while services.command(Who::Kms, kms_founds(place.clone(), path.clone())).await?.is_none() {}
    let founded = services.command(Who::Kms, kms_founds(place.clone(), path)).await?;
    if founded.map(|envelope| envelope.digest()) != Some(place.organization) {
        bail!("the same founding again was not answered by the same");
    }
    Ok((place, sites, services))
}

async fn ca_signs(place: Place, path: PathBuf) -> Result<()> {
    let token = place.token(Who::Ca);
    let keys = tokio::task::spawn_blocking(move || Ok::<_, anyhow::Error>(Keys::ensure(&token.open()?)?));
    let keys = keys.await??;
    let pool = ca_database(&place.folder).await?;
    let proposal = Proposal::read(&path, &keys)?;
    proposal.confirm(Some(place.organization))?.accept(&keys, &pool).await?;
    pool.close().await;
    Ok(())
}

async fn kms_founds(place: Place, path: PathBuf) -> Result<Envelope> {
    let proposal = founding::Proposal::read(&path)?;
    let confirmed = proposal.confirm(Some(place.organization))?;
    let records = ["大町市"].iter().chain(OFFICERS).map(|text| record(text)).collect();
    Ok(found(&place.authority(), Arc::new(SystemClock), confirmed, records).await?)
}

/// Runs these seeds in one town, in this process.
pub(crate) async fn live(folder: &Path, seeds: std::ops::Range<u64>, number: u64) -> Result<Tally> {
    let mut town = Town::found(folder.to_owned(), number).await.context("the founding")?;
    for seed in seeds {
        town.run(seed).await.with_context(|| format!("seed {seed}"))?;
    }
    town.end().await
}

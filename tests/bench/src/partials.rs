//! Partials at one real site, with one agent and with many, against its HSM alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use warifu_api::Client;
use warifu_api::wire::site::{Me, PartialItem, PartialOutcome, PartialsAnswer, PartialsRequest};
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Act;

use crate::figures::{Times, each_of, ms, rate, say};
use crate::fixture::{enrol, grant, grant_id, id, public_of, unit};
use crate::people;
use crate::raw::Raw;
use crate::town::{Running, Town, cpu};

const LEASE_MS: u64 = 10 * 60 * 1000;
const UNIT: &str = "tax";
const SITE: &str = "main";
const AGENTS: usize = 64;
/// A card may ask so often at once, and less often from then on: each request counts like five items (`docs/operations/limits.md`).
const BURST: usize = 800;
/// How long it may take until all cards have their keys.
const PATIENCE: Duration = Duration::from_secs(180);
const AGAIN: Duration = Duration::from_millis(50);

/// Measures for so long, each.
pub(crate) async fn measure(seconds: u64) -> Result<()> {
    println!("Partials at one site, {seconds} s each");
    let time = Duration::from_secs(seconds);
    let mut town = Town::found(LEASE_MS, true)?;
    let (site, address, keys) = town.add_site(SITE).await?;
    let agents = agents(&mut town, &address, keys.tls.0).await?;

    let cores = std::thread::available_parallelism()?.get();
    let one = hsm_alone(town.folder(), seconds, 1)?;
    let all = hsm_alone(town.folder(), seconds, cores)?;
    say(
        "HSM alone, one thread",
        &format!("{:.0}/s, median {:.2} ms, p99 {:.2} ms", one.rate, one.median_ms, one.p99_ms),
    );
    say(&format!("HSM alone, {cores} threads"), &format!("{:.0}/s", all.rate));

    let few: Vec<&Agent> = agents.iter().take(1).collect();
    let Asked { times, took, site: cpu, .. } = ask(&few, &site, time).await?;
    let answered = rate(times.count(), took);
    say("one agent: the site's processors' time for each partial", &each_of(cpu, times.count()));
    say(
        "one agent",
        &format!("{answered:.0}/s, median {}, p99 {}", ms(times.median()), ms(times.percentile(99))),
    );
    say(
        "one agent: p99 beyond the HSM's median",
        &format!("{:.2} ms", times.percentile(99).as_secs_f64() * 1000.0 - one.median_ms),
    );
    // The first one has asked for as much as a card may at once.
    let many: Vec<&Agent> = agents.iter().skip(1).collect();
    let Asked { times, took, site: cpu, agents } = ask(&many, &site, time).await?;
    let answered = rate(times.count(), took);
    say(
        &format!("{AGENTS} agents"),
        &format!("{answered:.0}/s, median {}, p99 {}", ms(times.median()), ms(times.percentile(99))),
    );
    say(&format!("{AGENTS} agents, of what the HSM does alone"), &format!("{:.2}", answered / all.rate));
    // What the site would do with these cores for itself.
    let count = times.count();
    say(&format!("{AGENTS} agents: the site's processors' time for each partial"), &each_of(cpu, count));
    say(&format!("{AGENTS} agents: the agents' processors' time for each partial"), &each_of(agents, count));
    say("HSM alone: processors' time for each operation", &format!("{:.0} µs", all.cpu_us));
    let one_core = rate(count, cpu);
    say(
        "a site with cores to itself, by that",
        &format!("{one_core:.0}/s for each core: {:.2} of the HSM alone", one_core * all.cpu_us / 1e6),
    );
    Ok(())
}

/// A member's agent, as the site sees it.
struct Agent {
    client: Client,
    grant: Id,
}

/// Members with a card each, and a grant that the site serves.
async fn agents(town: &mut Town, address: &str, site: warifu_split_key::point::Point) -> Result<Vec<Agent>> {
    let labels: Vec<String> = (0..=AGENTS).map(|number| format!("member {number}")).collect();
    let mut acts = vec![served_here(unit(UNIT))];
    acts.extend(labels.iter().map(|label| enrol(label)));
    acts.extend(labels.iter().map(|label| grant(label, UNIT)));
    let names: Vec<String> = labels.iter().cloned().chain([UNIT.to_owned()]).collect();
    town.desk.order(acts, &names).await?;
    let deadline = Instant::now() + PATIENCE;
    let mut agents = Vec::new();
    for label in labels {
        let client = Client::new(address, site, Some(&people::of_card(&label)?))?;
        loop {
            let me: Result<Me, _> = client.get("/v1/me").await;
            if me.is_ok_and(|me| !me.grants.is_empty()) {
                break;
            }
            ensure!(Instant::now() < deadline, "{label}'s grant does not reach the site");
            tokio::time::sleep(AGAIN).await;
        }
        agents.push(Agent { client, grant: grant_id(&label, UNIT) });
    }
    Ok(agents)
}

/// The unit, at this one site.
fn served_here(act: Act) -> Act {
    match act {
        Act::UnitOrdered { unit, name, kind, contract, routes_to, two_people, own_pcs, .. } => {
            let sites = BTreeSet::from([id(SITE)]);
            Act::UnitOrdered { unit, name, kind, contract, sites, routes_to, two_people, own_pcs }
        }
        other => other,
    }
}

/// What came of asking.
struct Asked {
    times: Times,
    took: Duration,
    /// Processors' time of the site, its HSM's included.
    site: Duration,
    /// That of the agents, all of which are this process.
    agents: Duration,
}

/// All agents ask for one partial after the other.
async fn ask(agents: &[&Agent], site: &Running, time: Duration) -> Result<Asked> {
    let (started, before) = (Instant::now(), (site.cpu()?, cpu("self")?));
    let asking = agents.iter().map(|agent| agent.ask(started + time));
    let times = futures_util::future::try_join_all(asking).await?;
    let (took, after) = (started.elapsed(), (site.cpu()?, cpu("self")?));
    let (site, agents) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    Ok(Asked { times: Times::of(times.concat()), took, site, agents })
}

impl Agent {
    async fn ask(&self, until: Instant) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until && times.len() < BURST {
            let encapsulated = public_of(&format!("R {}", times.len() % 64)).0.to_uncompressed().to_vec();
            let items = vec![PartialItem { grant: self.grant, encapsulated: Bytes(encapsulated) }];
            let asked = Instant::now();
            let answer: PartialsAnswer =
                self.client.post("/v1/partials", &PartialsRequest { items, routed: Vec::new() }).await?;
            times.push(asked.elapsed());
            match answer.items.first() {
                Some(PartialOutcome::Partial { .. }) => {}
                Some(PartialOutcome::Refused { code }) => bail!("refused: {code}"),
                None => bail!("an answer without an item"),
            }
        }
        Ok(times)
    }
}

/// What a token of the same kind does with nothing around it, in a process of its own.
fn hsm_alone(town: &Path, seconds: u64, threads: usize) -> Result<Raw> {
    let folder = town.join(format!("raw-{threads}"));
    fs::create_dir_all(folder.join("tokens"))?;
    let config = folder.join("softhsm2.conf");
    fs::write(&config, format!("directories.tokendir = {}\n", folder.join("tokens").display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["raw", "--seconds", &seconds.to_string(), "--threads", &threads.to_string()]);
    let output = command.env("SOFTHSM2_CONF", config).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("no figures of the HSM alone")
}

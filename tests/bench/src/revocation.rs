//! From an order to the receipts of all sites: the real authority with its HSM and its database, and sites that do nothing but
//! hear of an order, sign a receipt and hand it over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::process::{Resource, getrlimit};
use tokio::sync::mpsc;
use warifu_api::Client;
use warifu_api::client::Events;
use warifu_api::wire::authority::{Receipts, Status};
use warifu_api::wire::{Done, LeafEvent};
use warifu_ledger::Digest;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Order, Receipt};
use warifu_split_key::point::Point;

use crate::figures::{Times, each_of, ms, say};
use crate::fixture::{enrol, id, revoke_member, site};
use crate::people::{self, Signer};
use crate::town::{Town, cpu};

/// Long enough that no stamp is asked for meanwhile.
const LEASE_MS: u64 = 24 * 60 * 60 * 1000;
/// Sites that one order lets join.
const JOIN: usize = 500;
/// Files that are open besides the connections.
const OWN_FILES: u64 = 200;
/// Connections that are opened at once.
const AT_ONCE: usize = 64;
/// How long the receipts of one order may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What every site knows.
struct World {
    address: String,
    kms: Point,
    organization: Digest,
    from: u64,
    heard: mpsc::UnboundedSender<(Digest, Instant)>,
}

/// Measures with so many sites.
pub(crate) async fn measure(sites: usize, runs: usize) -> Result<()> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = u64::try_from(sites)? + OWN_FILES;
    ensure!(files >= needed, "{needed} open files are needed, and {files} are allowed: ulimit -n");
    println!("Revocation with {sites} sites, {runs} people one after the other");
    let mut town = Town::found(LEASE_MS, false)?;
    let labels: Vec<String> = (0..sites).map(|number| format!("site {number}")).collect();
    for some in labels.chunks(JOIN) {
        town.desk.order(some.iter().map(|label| site(label)).collect(), some).await?;
    }
    let people: Vec<String> = (0..runs).map(|number| format!("member {number}")).collect();
    town.desk.order(people.iter().map(|label| enrol(label)).collect(), &people).await?;

    let status: Status = town.desk.kms.get("/v1/status").await?;
    let (heard, mut receipts) = mpsc::unbounded_channel();
    let world = Arc::new(World {
        address: town.kms_address.clone(),
        kms: town.kms_keys.tls.0,
        organization: town.organization,
        from: status.size,
        heard,
    });
    let before = town.kms.memory_kib()?;
    let connecting = Instant::now();
    let connected: Vec<Result<(String, Client, Events)>> = stream::iter(labels)
        .map(|label| connect(world.clone(), label))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    say("time until all sites are connected", &ms(connecting.elapsed()));
    for one in connected {
        let (label, client, events) = one?;
        tokio::spawn(live(world.clone(), label, client, events));
    }
    let each = town.kms.memory_kib()?.saturating_sub(before) / u64::try_from(sites.max(1))?;
    say("memory of the authority for each connected site", &format!("{each} KiB"));

    let (mut last, mut all) = (Vec::new(), Vec::new());
    let (mut authority, mut others) = (Duration::ZERO, Duration::ZERO);
    for label in &people {
        let request = town.desk.draft(vec![revocation(label)], &["契約終了".to_owned()]).await?;
        let digest = request.envelope.digest();
        let before = (town.kms.cpu()?, cpu("self")?);
        let sent = Instant::now();
        let _: warifu_api::wire::authority::Appended = town.desk.kms.post("/v1/orders", &request).await?;
        let mut times = Vec::with_capacity(sites);
        while times.len() < sites {
            let receipt = tokio::time::timeout(PATIENCE, receipts.recv()).await;
            let (order, at) = receipt.context("receipts are missing")?.context("all sites are gone")?;
            ensure!(order == digest, "a receipt for another order");
            times.push(at.duration_since(sent));
        }
        authority += town.kms.cpu()?.saturating_sub(before.0);
        others += cpu("self")?.saturating_sub(before.1);
        let kept: Receipts = town.desk.kms.get(&format!("/v1/orders/{digest}/receipts")).await?;
        ensure!(kept.sites.iter().all(|site| site.receipt.is_some()), "the authority lacks a receipt");
        last.push(times.iter().max().copied().unwrap_or_default());
        all.append(&mut times);
    }
    let receipts = sites.saturating_mul(runs);
    let (last, all) = (Times::of(last), Times::of(all));
    say("order sent to receipt kept, of all sites and orders, median", &ms(all.median()));
    say("order sent to receipt kept, of all sites and orders, p99", &ms(all.percentile(99)));
    say("order sent to the last receipt kept, median of the orders", &ms(last.median()));
    say("order sent to the last receipt kept, longest of the orders", &ms(last.longest()));
    say("processors' time for each receipt: the authority", &each_of(authority, receipts));
    say("processors' time for each receipt: the site, with its key in software", &each_of(others, receipts));
    Ok(())
}

fn revocation(label: &str) -> Act {
    revoke_member(label)
}

/// A site opens its stream; receipts go over the same connection, as those of a real site.
async fn connect(world: Arc<World>, label: String) -> Result<(String, Client, Events)> {
    let identity = people::of_site(&label)?;
    let client = Client::multiplexed(world.address.as_str(), world.kms, &identity)?.with_timeout(PATIENCE);
    let events = client.events(&format!("/v1/ledger/stream?from={}", world.from)).await?;
    Ok((label, client, events))
}

/// Signs a receipt for every order that comes.
async fn live(world: Arc<World>, label: String, client: Client, mut events: Events) -> Result<()> {
    let signer = Signer::of_site(&label);
    while let Some(event) = events.next().await? {
        let event: LeafEvent = serde_json::from_str(&event.data)?;
        let leaf = Leaf::from_bytes(event.leaf.0)?;
        if leaf.envelope().statement::<Order>().is_err() {
            continue;
        }
        let order = leaf.envelope().digest();
        let receipt = Receipt {
            organization: world.organization,
            site: id(&label),
            order,
            time: Some(leaf.at()),
            folded: event.index + 1,
            destroyed: BTreeSet::new(),
        };
        let Done {} = client.post("/v1/receipts", &signer.sign(&receipt)?).await?;
        if world.heard.send((order, Instant::now())).is_err() {
            break;
        }
    }
    Ok(())
}

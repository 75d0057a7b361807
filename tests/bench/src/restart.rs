//! A service's start: all of its ledger folded from the database, against going on from its own snapshot.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sqlx::migrate::Migrator;
use warifu_ledger::Id;
use warifu_ledger::checkpoint::Signer;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Card, Order};
use warifu_replica::{Replica, Snapshots, storage};
use warifu_split_key::point::Point;

use crate::figures::{ms, say};
use crate::fixture::{DAY, ONE, Town, card, envelope_by_cards, key, note, public};
use crate::people::software;

/// How many entries are made and appended at a time.
const AT_ONCE: usize = 1000;
/// How often a start from a snapshot is tried.
const TRIES: usize = 5;

/// Measures with so many entries, each of which enrols so many people.
pub(crate) async fn measure(entries: usize, acts: usize) -> Result<()> {
    println!("A start with {entries} entries of {acts} acts each");
    let folder = tempfile::tempdir()?;
    let making = Instant::now();
    make(folder.path(), entries, acts).await?;
    say("time to make this ledger", &ms(making.elapsed()));

    let path = folder.path().join("ledger.db");
    let opening = Instant::now();
    let pool = storage::open(&path, Migrator::DEFAULT).await?;
    say("the database opened and looked through", &ms(opening.elapsed()));
    let folding = Instant::now();
    let folded = Replica::open(pool.clone(), None).await?.state().context("no founding")?;
    say("all of the ledger folded", &ms(folding.elapsed()));

    let snapshots = || Some(Snapshots::new(folder.path(), software("service")).after(u64::MAX, 1));
    let replica = Replica::open_with_snapshots(pool.clone(), None, snapshots()).await?;
    let keeping = Instant::now();
    replica.keep_snapshot().await;
    let size = std::fs::metadata(folder.path().join("ledger.snapshot"))?.len();
    say(&format!("a snapshot written, {} MiB", size >> 20), &ms(keeping.elapsed()));
    drop(replica);

    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let going_on = Instant::now();
        let replica = Replica::open_with_snapshots(pool.clone(), None, snapshots()).await?;
        best = best.min(going_on.elapsed());
        ensure!(replica.state().is_some_and(|state| state == folded), "it comes to another state");
    }
    say(&format!("going on from the snapshot, best of {TRIES}"), &ms(best));
    Ok(())
}

/// Makes a ledger in the folder's database.
async fn make(folder: &Path, entries: usize, acts: usize) -> Result<()> {
    let pool = storage::open(&folder.join("ledger.db"), Migrator::DEFAULT).await?;
    let replica = Replica::open(pool.clone(), None).await?;
    let town = Town::working();
    let (mut at, mut people) = (town.at, People::default());
    replica.append_many(0, town.leaves).await?;
    while replica.size() < u64::try_from(entries)? {
        let state = replica.state().context("no founding")?;
        let size = state.tree().size();
        let head = warifu_ledger::checkpoint::Checkpoint { size, root: state.tree().root(size)? };
        let seen = note(&state.organization(), &head, Signer::Kms);
        let more = AT_ONCE.min(entries - usize::try_from(size)?);
        let leaves: Vec<Leaf> = (0..more)
            .map(|_| {
                at += 1;
                let order = Order {
                    organization: state.organization(),
                    id: people.id("order"),
                    expires_at: at + DAY,
                    seen: seen.clone(),
                    acts: (0..acts).map(|_| people.enrolled()).collect::<Result<_>>()?,
                };
                Ok(Leaf::new(at, envelope_by_cards(&order, ONE))?)
            })
            .collect::<Result<_>>()?;
        replica.append_many(size, leaves).await?;
    }
    pool.close().await;
    Ok(())
}

/// People who never sign anything: nobody has the keys of their cards.
struct People {
    drawn: u64,
    last: Point,
    like: Card,
}

impl Default for People {
    fn default() -> Self {
        Self { drawn: 0, last: public(&key("people")).0, like: card("somebody") }
    }
}

impl People {
    fn id(&mut self, of: &str) -> Id {
        self.drawn += 1;
        crate::fixture::id(&format!("{of} {}", self.drawn))
    }

    fn point(&mut self) -> Result<Point> {
        self.last = Point::checked_add(&self.last, &Point::generator())?;
        Ok(self.last)
    }

    fn enrolled(&mut self) -> Result<Act> {
        let mut card = self.like.clone();
        (card.card, card.member, card.name.record) = (self.id("card"), self.id("member"), self.id("name"));
        card.authentication = self.point()?.into();
        card.signature = self.point()?.into();
        card.transport = self.point()?.into();
        Ok(Act::CardEnrolled(card))
    }
}

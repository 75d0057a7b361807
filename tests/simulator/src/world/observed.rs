//! What the services do is observed, and held against the model.

use anyhow::{Context as _, Result, anyhow, bail};
use axum::body::Bytes;
use hyper::StatusCode;
use warifu_api::wire::authority::{Cosignature, StampRequest};
use warifu_api::wire::site::PartialOutcome;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Receipt, Stamp};
use warifu_ledger::{Digest, Id};

use super::{Letter, Place, Sender, Who, World, file_id};
use crate::life::{Asked, TaskId};
use crate::model::{Book, Leaving};
use crate::work::{Done, Errand};
use crate::{base, fixture};

impl World {
    pub(crate) fn book(&mut self, who: Who) -> Result<&mut Book> {
        self.books.get_mut(&who).context("no site")
    }

    /// Hears what a service has asked, looks at what its tasks brought, and at what is durable now.
    pub(super) fn observe(&mut self, who: Who) -> Result<()> {
        loop {
            let Some(life) = self.lives.get_mut(&who) else { return Ok(()) };
            let (asked, done) = (life.asked(), life.done());
            if asked.is_empty() && done.is_empty() {
                break;
            }
            for asked in asked {
                self.asks(who, asked)?;
            }
            self.look(who)?;
            for (task, done) in done {
                self.finished(who, task, done)?;
            }
        }
        self.look(who)
    }

    pub(super) fn asks(&mut self, who: Who, asked: Asked) -> Result<()> {
        match asked.path.as_str() {
            "/v1/stamps" if Who::SITES.contains(&who) => {
                let StampRequest { nonce } = serde_json::from_slice(&asked.body)?;
                let now = self.now;
                self.book(who)?.asks(nonce, now);
            }
            "/v1/receipts" => {
                let envelope: Envelope = serde_json::from_slice(&asked.body)?;
                self.receipted(who, &envelope)?;
            }
            "/v1/cosignatures" => {
                let Cosignature { note } = serde_json::from_slice(&asked.body)?;
                let key = fixture::log_public("ca");
                let cosigned = Checkpoint::verify(&note, &self.organization, Signer::Ca, &key)?;
                let mut histories = vec![self.honest.leaves.clone()];
                if let Some(liar) = &self.liar {
                    let others = liar.branch.iter().chain(&liar.former);
                    histories.extend(others.map(|history| history.leaves.clone()));
                }
                self.cosigned.add(cosigned.size, cosigned.root, &histories)?;
                self.tally.count("cosignatures");
            }
            _ => {}
        }
        self.written += 1;
        let life = self.number(who);
        self.letters.push(Letter {
            number: self.written,
            from: Sender::Service(who),
            method: asked.method.clone(),
            path: asked.path.clone(),
            body: asked.body.clone(),
            asked: Some((life, asked)),
            place: Place::Sent,
        });
        Ok(())
    }

    pub(super) fn receipted(&mut self, who: Who, envelope: &Envelope) -> Result<()> {
        let receipt: Receipt = envelope.statement()?;
        let Some(order) = self.orders.iter().find(|order| order.envelope.digest() == receipt.order) else {
            // Of an order that the kms made up, or of the town's beginning.
            return Ok(());
        };
        let order = order.order.clone();
        let token = self.token(who)?;
        self.tally.count("receipts");
        self.book(who)?.receipts(receipt.order, &order, |grant| token.holds(&grant.to_string()))
    }

    /// What is durable at a service now.
    pub(super) fn look(&mut self, who: Who) -> Result<()> {
        if who == Who::Kms {
            return self.look_at_kms();
        }
        let (Some(steps), Some(life)) = (self.sites.get(&who), self.lives.get(&who)) else { return Ok(()) };
        let replica = steps.follower().replica().clone();
        let book = self.books.get_mut(&who).context("no site")?;
        let from = book.size();
        if replica.size() > from as u64 {
            let leaves = life.look(async { replica.leaves(from as u64, 1000).await })??;
            book.folds(from, leaves)?;
        }
        book.keeps(replica.last_stamp())?;
        let token = self.tokens.get(&who).context("no token")?;
        book.holds(|grant| token.holds(&grant.to_string()))
    }

    pub(super) fn look_at_kms(&mut self) -> Result<()> {
        let (Some((_, _, replica)), Some(life)) = (&self.kms, self.lives.get(&Who::Kms)) else {
            return Ok(());
        };
        let from = self.honest.leaves.len();
        if replica.size() <= from as u64 {
            return Ok(());
        }
        let leaves = life.look(async { replica.leaves(from as u64, 1000).await })??;
        let newest = replica.state().context("no state")?;
        let last = leaves.len();
        for (bytes, index) in leaves.into_iter().zip(1..) {
            let leaves = [&self.honest.leaves[..], std::slice::from_ref(&bytes)].concat();
            let known = base::recall(&leaves).filter(|state| state.tree().size() == leaves.len() as u64);
            // The newest is here; those before it were folded in other runs, or are folded once more.
            let state = match (known, self.honest.states.last()) {
                _ if index == last => newest.clone(),
                (Some(known), _) => known,
                (None, Some(before)) => before.apply(&Leaf::from_bytes(bytes.clone())?)?,
                (None, None) => State::found(&Leaf::from_bytes(bytes.clone())?)?,
            };
            self.honest.push(bytes, state.clone());
            base::remember(&leaves, state);
        }
        self.check_dates()
    }

    /// P-5.4, of the real authority: no leaf is older than a stamp that it gave before.
    pub(super) fn check_dates(&self) -> Result<()> {
        for (state, index) in self.honest.states.iter().zip(0u64..) {
            let at = state.last_at();
            let early = self.given.iter().find(|(size, time)| *size <= index && at < *time);
            if let Some((size, time)) = early {
                bail!(
                    "I4: the authority dated leaf {index} to {at}, after a stamp of {size} leaves and {time}"
                );
            }
        }
        Ok(())
    }

    pub(super) fn finished(&mut self, who: Who, task: TaskId, done: Done) -> Result<()> {
        self.doing.remove(&(who, task));
        match done {
            Done::Kms(opened) => {
                let (authority, replica) =
                    opened.map_err(|error| anyhow!("the kms does not start: {error}"))?;
                let router = authority.router();
                self.kms = Some((authority, router, replica));
                self.look_at_kms()
            }
            Done::Ca(opened) => {
                self.ca = Some(opened.map_err(|error| anyhow!("the ca does not start: {error}"))?);
                Ok(())
            }
            Done::Site(opened) => {
                let steps = opened.map_err(|error| anyhow!("{} does not start: {error}", who.name()))?;
                self.sites.insert(who, steps);
                self.look(who)
            }
            Done::Answered(status, body) => self.is_answered(task, status, body),
            Done::Partials { card, items, folded, answer } => {
                let outcomes = match answer {
                    Ok(answer) => answer.items,
                    Err(error) => {
                        self.say(format!("{} answers: {error}", who.name()));
                        return Ok(());
                    }
                };
                for (item, outcome) in items.into_iter().zip(outcomes) {
                    match outcome {
                        PartialOutcome::Partial { .. } => self.leaves(who, card, item, folded)?,
                        PartialOutcome::Refused { code } => {
                            self.tally.count("refusals");
                            self.say(format!("{} refuses file {}: {code:?}", who.name(), item.1));
                        }
                    }
                }
                Ok(())
            }
            Done::Brought(order, outcome) => match outcome {
                Ok(envelope) => {
                    self.look(who)?;
                    self.book(who)?.compares();
                    self.say(format!("{} gives its receipt", who.name()));
                    self.tally.count("receipts by hand");
                    self.receipted(who, &envelope)
                }
                Err(error) => {
                    self.say(format!("{} does not take it: {error}", who.name()));
                    self.look(who)?;
                    self.book(who)?.compares();
                    if error.to_string().contains("FORK") {
                        self.saw_a_fork(who, &order)?;
                    }
                    Ok(())
                }
            },
            Done::Errand(errand, outcome) => {
                if let Err(error) = outcome {
                    self.say(format!("{} {errand:?}: {error}", who.name()));
                }
                if errand == Errand::Hear && Who::SITES.contains(&who) {
                    self.look(who)?;
                    let book = self.book(who)?;
                    book.has_heard();
                    book.compares();
                }
                Ok(())
            }
        }
    }

    /// The site was brought an order whose signers had seen another ledger than it has folded.
    pub(super) fn saw_a_fork(&mut self, who: Who, order: &Digest) -> Result<()> {
        let found = self.orders.iter().find(|found| found.envelope.digest() == *order);
        let seen = self.checkpoint_of(&found.context("no such order")?.order.seen.clone())?;
        let book = self.book(who)?;
        if book.contradicts(seen.size, seen.root) {
            book.must_halt("an order was brought whose signers had seen another ledger");
            self.tally.count("forks seen in orders");
        }
        Ok(())
    }

    pub(super) fn is_answered(&mut self, task: TaskId, status: StatusCode, body: Bytes) -> Result<()> {
        let letter =
            self.letters.iter_mut().find(|letter| matches!(letter.place, Place::AtKms(of) if of == task));
        let Some(letter) = letter else { return Ok(()) };
        if letter.path == "/v1/stamps" && status == StatusCode::OK {
            let envelope: Envelope = serde_json::from_slice(&body)?;
            let stamp: Stamp = envelope.statement()?;
            letter.place = Place::Back(status, body);
            let checkpoint = self.checkpoint_of(&stamp.checkpoint)?;
            self.given.push((checkpoint.size, stamp.time));
            self.tally.count("stamps");
            return self.check_dates();
        }
        letter.place = Place::Back(status, body);
        Ok(())
    }

    /// A partial leaves.
    pub(super) fn leaves(&mut self, who: Who, card: Id, item: (Id, usize), folded: usize) -> Result<()> {
        self.look(who)?;
        let file = file_id(item.1);
        let (steps, life) = (self.sites.get(&who), self.lives.get(&who));
        let (Some(steps), Some(life)) = (steps, life) else { return Ok(()) };
        let pool = life.pool.clone();
        let recorded: i64 = life.look(async {
            sqlx::query_scalar(
                "SELECT count(*) FROM (
                     SELECT grant_id, file FROM site_journal
                     UNION ALL SELECT grant_id, file FROM site_former_journal
                 ) WHERE grant_id = ? AND file = ?",
            )
            .bind(item.0.as_bytes().as_slice())
            .bind(file.as_bytes().as_slice())
            .fetch_one(&pool)
            .await
        })??;
        let leaving = Leaving {
            now: self.now,
            folded,
            site_time: steps.follower().site_time(),
            recorded: recorded.unsigned_abs(),
        };
        self.tally.count("partials");
        self.say(format!("{} lets a partial leave for file {}", who.name(), item.1));
        self.book(who)?.answers(card, item, file, &leaving)
    }
}

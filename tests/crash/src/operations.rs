//! What people do, each step until it is done: whoever is cut off begins again, and it ends as if done once.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::{Instant, sleep};
use warifu_api::error::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Package, Proposal, ProposalStanding, Proposals, Receipts};
use warifu_api::wire::site::RevocationRequest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, Millis, Receipt};
use warifu_replica::clock::{Clock as _, SystemClock};

use crate::fixture::{
    DAY, add_signature, card_key, contract, end_contract, enrol, enrol_under, grant, resume, revoke_card,
    revoke_grant, revoke_member, suspend, team,
};
use crate::people::{AGAIN, Ordered, PATIENCE, People, insist, may_pass};
use crate::services::Who;
use crate::words::{Delivery, Operation, Words};

/// The department that most members belong to.
pub(crate) const TAX: &str = "tax";

const CONTRACT_LASTS: Millis = 365 * DAY;

impl People {
    /// Somebody to whom the operation can happen: its place among the members. A new one for an enrolment; none if there is
    /// nobody, and somebody has to be enrolled first.
    pub(crate) fn subject(&mut self, operation: Operation, seed: u64) -> Result<Option<usize>> {
        match operation {
            Operation::Enrol => {
                let newcomer = self.newcomer(format!("m{seed}-{}", self.drawn), TAX.to_owned(), None)?;
                self.members.push(newcomer);
                Ok(Some(self.members.len() - 1))
            }
            Operation::OpenContract => {
                let name = format!("c{seed}-{}", self.drawn);
                let newcomer = self.newcomer(format!("{name}-member"), format!("{name}-team"), Some(name))?;
                self.members.push(newcomer);
                Ok(Some(self.members.len() - 1))
            }
            Operation::EndContract => Ok(self.members.iter().position(|member| member.contract.is_some())),
            _ => Ok(self.members.iter().position(|member| member.contract.is_none())),
        }
    }

    /// Does it, to the end.
    pub(crate) async fn perform(&mut self, words: &Words, member: usize) -> Result<()> {
        match words.operation {
            Operation::Enrol | Operation::OpenContract => self.enrol(member).await,
            Operation::Open | Operation::Restart => {
                for site in Who::SITES {
                    self.opens(member, site).await?;
                }
                Ok(())
            }
            Operation::Propose => self.propose().await,
            Operation::Suspend => self.suspend_and_resume(words, member).await,
            Operation::RevokeGrant
            | Operation::RevokeCard
            | Operation::RevokeMember
            | Operation::EndContract => self.revoke(words, member).await,
        }
    }

    /// The order of this sequence with that number; drawn up once.
    async fn nth_order(&mut self, number: usize, acts: Vec<Act>, names: &[&str]) -> Result<()> {
        if self.orders.len() <= number {
            let request = self.draft(acts, names).await?;
            self.orders.push(Ordered { request, appended: None });
        }
        Ok(())
    }

    async fn enrol(&mut self, member: usize) -> Result<()> {
        let (label, unit, under) = {
            let newcomer = self.members.get(member).context("nobody")?;
            (newcomer.label.clone(), newcomer.unit.clone(), newcomer.contract.clone())
        };
        let acts = match &under {
            None => vec![enrol(&label), grant(&label, &unit)],
            Some(under) => vec![
                contract(under, SystemClock.wall_ms() + CONTRACT_LASTS),
                team(&unit, under),
                enrol_under(&label, under),
                grant(&label, &unit),
            ],
        };
        let names = [label.as_str(), &unit, under.as_deref().unwrap_or_default()];
        self.nth_order(0, acts, &names).await?;
        self.order(0).await?;
        let path = format!("/v1/cards/{}/package", self.card(member)?);
        let granted = self.members.get(member).context("nobody")?.grant;
        let deadline = Instant::now() + PATIENCE;
        while !self.has_share(member) {
            let package: Package = insist("a package", async || self.kms.get(&path).await).await?;
            match package.shares.iter().find(|share| share.grant == granted) {
                Some(share) => self.import(member, share)?,
                None if !package.pending.contains(&granted) => bail!("the share of {label} was lost"),
                None if Instant::now() >= deadline => bail!("the share of {label} does not come"),
                None => sleep(AGAIN).await,
            }
        }
        let imported = format!("{path}/{granted}");
        let Done {} = insist("an import confirmed", async || self.kms.delete(&imported).await).await?;
        self.read_ledger().await?;
        for site in Who::SITES {
            self.opens(member, site).await?;
        }
        Ok(())
    }

    /// Two orders of one officer wait for a second one: the first is withdrawn, the other signed.
    async fn propose(&mut self) -> Result<()> {
        while self.orders.len() < 2 {
            let name = format!("p{}", self.drawn);
            let acts = vec![contract(&name, SystemClock.wall_ms() + CONTRACT_LASTS)];
            let mut request = self.draft(acts, &[&name]).await?;
            request.envelope.signatures.truncate(1);
            self.orders.push(Ordered { request, appended: None });
        }
        for order in 0..2 {
            if self.proposal(order).await?.is_none() {
                let request = &self.orders.get(order).context("no such order")?.request;
                ensure!(!self.kept.contains(&request.envelope.digest()), "a proposal was lost");
                let Done {} =
                    insist("a proposal", async || self.kms.post("/v1/proposals", request).await).await?;
                self.kept.insert(request.envelope.digest());
            }
        }
        let first = self.proposal(0).await?.context("the first proposal was lost")?;
        if first.standing == ProposalStanding::Waiting {
            let path = self.path_of_proposal(0)?;
            let Done {} = insist("a withdrawal", async || self.kms.delete(&path).await).await?;
        }
        let second = self.proposal(1).await?.context("the second proposal was lost")?;
        let ordered = self.orders.get_mut(1).context("no such order")?;
        match second.request {
            Some(request) => {
                ordered.request = request;
                add_signature(&mut ordered.request.envelope, &card_key("kenji", "9C"));
            }
            None => ensure!(second.standing == ProposalStanding::Appended, "the second: {}", second.standing),
        }
        self.order(1).await?;
        let standings = [self.proposal(0).await?, self.proposal(1).await?]
            .map(|found| found.map(|found| (found.standing, found.request.is_none())));
        let expected = [ProposalStanding::Withdrawn, ProposalStanding::Appended];
        ensure!(standings == expected.map(|standing| Some((standing, true))), "{standings:?}");
        let all: Proposals = insist("the proposals", async || self.kms.get("/v1/proposals").await).await?;
        ensure!(all.waiting.is_empty(), "these wait still: {:?}", all.waiting);
        let withdrawn = self.orders.first().context("no such order")?.request.envelope.digest();
        self.withdrawn.insert(withdrawn);
        Ok(())
    }

    fn path_of_proposal(&self, order: usize) -> Result<String> {
        let ordered = self.orders.get(order).context("no such order")?;
        Ok(format!("/v1/proposals/{}", ordered.request.envelope.digest()))
    }

    /// What the kms says of an order of this sequence; none if it has not heard of it.
    async fn proposal(&self, order: usize) -> Result<Option<Proposal>> {
        let path = self.path_of_proposal(order)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.kms.get(&path).await {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.code() == Some(ErrorCode::NotFound) => return Ok(None),
                Err(error) if may_pass(&error) && Instant::now() < deadline => sleep(AGAIN).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn revoke(&mut self, words: &Words, member: usize) -> Result<()> {
        let found = self.members.get(member).context("nobody")?;
        let label = found.label.clone();
        let act = match words.operation {
            Operation::RevokeGrant => revoke_grant(&label, &found.unit),
            Operation::RevokeCard => revoke_card(&label),
            Operation::EndContract => end_contract(found.contract.as_deref().context("no contract")?),
            _ => revoke_member(&label),
        };
        self.nth_order(0, vec![act], &["契約終了"]).await?;
        self.deliver(words.delivery, 0, member, Effect::Ends).await?;
        for site in Who::SITES {
            self.is_refused(member, site).await?;
        }
        Ok(())
    }

    async fn suspend_and_resume(&mut self, words: &Words, member: usize) -> Result<()> {
        let label = self.members.get(member).context("nobody")?.label.clone();
        self.nth_order(0, vec![suspend(&label)], &[]).await?;
        // Once the second order is drawn up, the first has ended.
        if self.orders.len() < 2 {
            self.deliver(words.delivery, 0, member, Effect::Suspends).await?;
            for site in Who::SITES {
                self.is_refused(member, site).await?;
            }
        }
        self.nth_order(1, vec![resume(&label)], &[]).await?;
        if let Some(member) = self.members.get_mut(member) {
            member.suspended.clear();
        }
        self.deliver(Delivery::Ledger, 1, member, Effect::Resumes).await?;
        for site in Who::SITES {
            self.opens(member, site).await?;
        }
        Ok(())
    }

    /// Brings a revocation to the kms, and to the sites, and waits for every receipt.
    async fn deliver(
        &mut self,
        delivery: Delivery,
        order: usize,
        member: usize,
        effect: Effect,
    ) -> Result<()> {
        match delivery {
            Delivery::Ledger => drop(self.order(order).await?),
            Delivery::HandFirst => {
                for site in Who::SITES {
                    self.bring(order, site, member, effect).await?;
                }
                self.order(order).await?;
            }
            Delivery::Together => {
                self.bring(order, Who::Main, member, effect).await?;
                self.order(order).await?;
                self.bring(order, Who::Branch, member, effect).await?;
            }
            Delivery::Site(site) => {
                self.bring(order, site, member, effect).await?;
                self.couriered(order).await?;
            }
        }
        let digest = self.orders.get(order).context("no order")?.request.envelope.digest();
        let path = format!("/v1/orders/{digest}/receipts");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let receipts: Receipts = insist("receipts", async || self.kms.get(&path).await).await?;
            let mut missing = None;
            for site in Who::SITES {
                let of_site = receipts.sites.iter().find(|one| one.site == crate::fixture::id(site.name()));
                match of_site.and_then(|one| one.receipt.as_ref()) {
                    Some(receipt) => self.receipted(order, site, member, receipt, effect)?,
                    None => missing = Some(site),
                }
            }
            match missing {
                None => return Ok(()),
                Some(site) if Instant::now() >= deadline => bail!("no receipt comes from {site:?}"),
                Some(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Waits until the ledger has an order that people brought to a site alone. They ask the kms for its receipts: to
    /// bring it there would be no test of the courier.
    async fn couriered(&mut self, number: usize) -> Result<()> {
        let digest = self.orders.get(number).context("no order")?.request.envelope.digest();
        let path = format!("/v1/orders/{digest}/receipts");
        let _: Receipts = insist("an order that a site brings", async || self.kms.get(&path).await).await?;
        // Now with the reason, which the site does not have.
        self.order(number).await.map(|_| ())
    }

    /// Brings an order to a site by hand.
    async fn bring(&mut self, order: usize, site: Who, member: usize, effect: Effect) -> Result<()> {
        let envelope = self.orders.get(order).context("no order")?.request.envelope.clone();
        let client = self.strangers.get(&site).context("no such site")?;
        let request = RevocationRequest { order: envelope, leaves: None };
        let receipt: Envelope =
            insist("an order brought by hand", async || client.post("/v1/revocations", &request).await)
                .await?;
        self.receipted(order, site, member, &receipt, effect)
    }

    /// Somebody has a receipt.
    fn receipted(
        &mut self,
        order: usize,
        site: Who,
        member: usize,
        envelope: &Envelope,
        effect: Effect,
    ) -> Result<()> {
        let digest = self.orders.get(order).context("no order")?.request.envelope.digest();
        self.saw_receipt(digest, site, envelope)?;
        let member = self.members.get_mut(member).context("nobody")?;
        let destroyed = envelope.statement::<Receipt>()?.destroyed;
        let expected = (effect == Effect::Ends).then_some(member.grant);
        ensure!(
            destroyed.iter().eq(&expected),
            "{site:?} says that it destroyed {destroyed:?} instead of {expected:?}"
        );
        match effect {
            Effect::Ends => member.receipted.insert(site),
            Effect::Suspends => member.suspended.insert(site),
            Effect::Resumes => false,
        };
        Ok(())
    }
}

/// What an order does to its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Ends,
    Suspends,
    Resumes,
}

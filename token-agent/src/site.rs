//! The card's connection to a site: the first that answers, and the next where one does not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::routing::{Batch, Routed, RoutedItem};
use warifu_api::wire::site::{Me, PartialItem, PartialsAnswer, PartialsRequest};
use warifu_api::{Client, ClientError, ErrorCode, tls};
use warifu_ledger::Id;
use warifu_ledger::statement::{Millis, ProfileSite};

use crate::fault;
use crate::platform::boot_time;

/// How long a site may take to answer who we are, before the next one is asked.
const GREETING: Duration = Duration::from_secs(8);
/// How many other sites are asked for a unit that the current one does not serve.
const OTHERS: usize = 8;
/// How long a batch of partials may take.
const BATCH: Duration = Duration::from_secs(60);

/// A site that answers for the card.
pub(crate) struct Link {
    pub(crate) site: ProfileSite,
    pub(crate) client: Client,
    pub(crate) me: Me,
    /// When it said so, on the boot-time clock.
    at: Duration,
}

impl Link {
    /// How long the site may still answer without news, in milliseconds.
    pub(crate) fn lease_left_ms(&self) -> u64 {
        let elapsed = boot_time().saturating_sub(self.at).as_millis();
        self.me.lease_left_ms.saturating_sub(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// The site's time now.
    pub(crate) fn site_time(&self) -> Millis {
        let elapsed = boot_time().saturating_sub(self.at).as_millis();
        self.me.time.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// How old the site's word about the card's grants is.
    pub(crate) fn age(&self) -> Duration {
        boot_time().saturating_sub(self.at)
    }

    pub(crate) fn grants(&self) -> BTreeSet<Id> {
        self.me.grants.iter().map(|grant| grant.grant).collect()
    }

    /// One round trip for a batch.
    pub(crate) async fn partials(
        &self,
        items: Vec<PartialItem>,
        routed: Vec<RoutedItem>,
    ) -> Result<PartialsAnswer, ClientError> {
        let asked = (items.len(), routed.len());
        let client = self.client.clone().with_timeout(BATCH);
        let answer: PartialsAnswer = client.post("/v1/partials", &PartialsRequest { items, routed }).await?;
        let answered = (answer.items.len(), answer.routed.len());
        if answered != asked {
            return Err(self.nonsense(format!("{answered:?} answers to {asked:?} items")));
        }
        Ok(answer)
    }

    /// Brings slips, which the site takes, but for those that it names. The same ones may be brought again.
    pub(crate) async fn route(&self, batch: &Batch) -> Result<Routed, ClientError> {
        let routed: Routed = self.client.clone().with_timeout(BATCH).post("/v1/routes", batch).await?;
        let count = u64::try_from(batch.items.len()).unwrap_or(u64::MAX);
        if routed.refused.iter().any(|refused| refused.index >= count) {
            return Err(self.nonsense(format!("a slip is refused that is none of {count}")));
        }
        Ok(routed)
    }

    fn nonsense(&self, why: String) -> ClientError {
        ClientError::Nonsense { address: self.site.address.clone(), why }
    }
}

/// The sites, as one card sees them.
pub(crate) struct Sites {
    identity: tls::Identity,
    sites: RwLock<Vec<ProfileSite>>,
    /// Whether a site has shown another key than is known of it.
    other_key: AtomicBool,
    current: Mutex<Option<Arc<Link>>>,
}

impl Sites {
    pub(crate) fn new(identity: tls::Identity, sites: Vec<ProfileSite>) -> Self {
        let sites = RwLock::new(sites);
        Self { identity, sites, other_key: AtomicBool::new(false), current: Mutex::default() }
    }

    fn sites(&self) -> Vec<ProfileSite> {
        self.sites.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by these from the next connection on; whether they are others than before.
    pub(crate) fn learn(&self, sites: Vec<ProfileSite>) -> bool {
        let mut known = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        let others = *known != sites;
        *known = sites;
        others
    }

    /// Whether a site has shown another key than is known of it since this was asked last: it may have got one (P-4.20).
    pub(crate) fn saw_other_key(&self) -> bool {
        self.other_key.swap(false, Ordering::Relaxed)
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site that answers, as far as known.
    pub(crate) fn current(&self) -> Option<Arc<Link>> {
        self.held().clone()
    }

    /// Lets go of the site: its connection closes with the last request on it.
    pub(crate) fn disconnect(&self) {
        *self.held() = None;
    }

    /// Asks the site again, over the same connection if there is one, else the sites in their order.
    ///
    /// # Errors
    /// [`AgentFault::SiteRefused`] where a site refuses the card itself, or all of them are without a lease;
    /// [`AgentFault::SiteUnreachable`].
    pub(crate) async fn refresh(&self) -> Result<Arc<Link>, AgentFault> {
        if let Some(link) = self.current() {
            match self.greet(link.site.clone(), link.client.clone()).await {
                Ok(link) => return Ok(link),
                Err(AgentFault::SiteRefused { code }) if !fault::concerns_site(code) => {
                    return Err(AgentFault::SiteRefused { code });
                }
                Err(_) => {}
            }
        }
        self.connect(None).await
    }

    /// The first site that answers, `except` one that has just failed to.
    pub(crate) async fn connect(&self, except: Option<Id>) -> Result<Arc<Link>, AgentFault> {
        self.disconnect();
        let mut worst = AgentFault::SiteUnreachable;
        for site in self.sites().into_iter().filter(|site| Some(site.site) != except) {
            let client = match Client::new(site.address.clone(), site.keys.tls.0, Some(&self.identity)) {
                Ok(client) => client,
                Err(error) => return Err(fault::of_site(error)),
            };
            let id = site.site;
            match self.greet(site, client).await {
                Ok(link) => return Ok(link),
                Err(AgentFault::SiteRefused { code }) if !fault::concerns_site(code) => {
                    return Err(AgentFault::SiteRefused { code });
                }
                Err(refused @ AgentFault::SiteRefused { .. }) => worst = refused,
                Err(other) => tracing::info!(site = %id, ?other, "the site does not answer"),
            }
        }
        Err(worst)
    }

    /// The first of the other sites that answers and is `wanted`. It takes the place of the current one, which stays where
    /// there is none such.
    pub(crate) async fn find(&self, wanted: impl Fn(&Link) -> bool) -> Option<Arc<Link>> {
        let current = self.current().map(|link| link.site.site);
        for site in self.sites().iter().filter(|site| Some(site.site) != current).take(OTHERS) {
            let client = Client::new(site.address.clone(), site.keys.tls.0, Some(&self.identity)).ok()?;
            match self.ask(site.clone(), client).await {
                Ok(link) if wanted(&link) => {
                    *self.held() = Some(link.clone());
                    return Some(link);
                }
                Ok(_) => {}
                Err(fault) => tracing::info!(site = %site.site, ?fault, "the site does not answer"),
            }
        }
        None
    }

    async fn greet(&self, site: ProfileSite, client: Client) -> Result<Arc<Link>, AgentFault> {
        let link = self.ask(site, client).await?;
        *self.held() = Some(link.clone());
        Ok(link)
    }

    async fn ask(&self, site: ProfileSite, client: Client) -> Result<Arc<Link>, AgentFault> {
        let at = boot_time();
        let me: Me = client.clone().with_timeout(GREETING).get("/v1/me").await.map_err(|error| {
            if matches!(error, ClientError::NotTrusted { .. }) {
                self.other_key.store(true, Ordering::Relaxed);
            }
            fault::of_site(error)
        })?;
        if me.site != site.site {
            return Err(AgentFault::NotTrustworthy { why: "the site says it is another one".to_owned() });
        }
        let link = Arc::new(Link { site, client, me, at });
        if link.lease_left_ms() == 0 {
            return Err(AgentFault::SiteRefused { code: ErrorCode::LeaseExpired });
        }
        Ok(link)
    }
}

//! Other organizations: their directories are fetched now and then, verified against what officers pinned, and shown to one's own
//! cards as they came (P-16.7). Agents verify them for themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use warifu_api::wire::authority::Included;
use warifu_api::wire::public::SignedDirectory;
use warifu_api::wire::trusts::{FetchedDirectory, Trouble, TroubleKind, TrustEntry, Trusts};
use warifu_api::{Client, ClientError};
use warifu_directory::signed::{self, Pin, Trusted};
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::state::{State, Trust};

use super::error::AuthorityError;
use super::store::KeptDirectory;
use super::{Authority, Result};

/// How often each is fetched.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many are fetched at once: one that does not answer keeps no other waiting.
const AT_ONCE: usize = 8;

impl Authority {
    /// Keeps other organizations' directories new until it is dropped. One that was pinned just now is fetched at once.
    pub async fn follow_others(&self) {
        let mut progress = self.progress.subscribe();
        loop {
            let pinned = self.pinned();
            self.fetch_others().await;
            let changed = async {
                while progress.changed().await.is_ok() {
                    if self.pinned() != pinned {
                        return;
                    }
                }
                // The authority is gone, and this with it.
                std::future::pending().await
            };
            // Nothing new, most often.
            let _ = tokio::time::timeout(EVERY, changed).await;
        }
    }

    /// By which leaf each organization is pinned.
    fn pinned(&self) -> BTreeMap<Digest, u64> {
        let Ok(state) = self.state() else { return BTreeMap::new() };
        state.trusts().map(|trust| (trust.keys.organization, trust.added)).collect()
    }

    /// Fetches the directory of every organization that is trusted.
    pub(crate) async fn fetch_others(&self) {
        let Ok(state) = self.state() else { return };
        let trusts: Vec<Trust> = state.trusts().cloned().collect();
        let fetched = futures_util::stream::iter(&trusts).for_each_concurrent(AT_ONCE, |trust| async {
            if let Err(error) = self.fetch(trust).await {
                tracing::error!(%error, "what another organization's directory is could not be kept");
            }
        });
        fetched.await;
    }

    /// Fetches one directory, and keeps it if it is good; if not, why.
    async fn fetch(&self, trust: &Trust) -> Result<()> {
        let organization = &trust.keys.organization;
        let signed = match fetched_from(&trust.address).await {
            Ok(signed) => signed,
            Err(error) => {
                tracing::warn!(%organization, %error, "no directory");
                return self.keep_trouble(trust, kind_of(&error)).await;
            }
        };
        let kept = self.kept_of(trust).await?;
        let state = self.state()?;
        let now = self.now(&state);
        let pin = Pin { keys: trust.keys.clone(), at: self.leaf(trust.added).await?.at() };
        match signed::verify(&signed, &pin, kept.map(|kept| kept.seen).as_ref(), now) {
            Ok(found) if kept.is_some_and(|kept| found.statement.at < kept.at) => {
                tracing::debug!(%organization, "the directory that is here was made later");
                self.store.forget_trouble(organization).await
            }
            Ok(Trusted { statement, seen, .. }) => {
                let kept = KeptDirectory {
                    organization: *organization,
                    added: trust.added,
                    seen,
                    at: statement.at,
                    expires_at: statement.expires_at,
                    fetched_at: now,
                };
                self.store.keep_directory(&kept, &signed).await?;
                self.store.forget_trouble(organization).await
            }
            Err(why) if why.kind().is_alarm() => {
                tracing::error!(%organization, address = trust.address, %why, "A DIRECTORY IS REFUSED");
                self.keep_trouble(trust, why.kind()).await
            }
            Err(why) => {
                tracing::warn!(%organization, address = trust.address, %why, "a directory is refused");
                self.keep_trouble(trust, why.kind()).await
            }
        }
    }

    async fn keep_trouble(&self, trust: &Trust, kind: TroubleKind) -> Result<()> {
        let state = self.state()?;
        let trouble = Trouble { kind, at: self.now(&state) };
        self.store.keep_trouble(&trust.keys.organization, trust.added, &trouble).await
    }

    /// How far the directory goes that is kept since the organization was pinned as it is.
    async fn kept_of(&self, trust: &Trust) -> Result<Option<KeptDirectory>> {
        let kept = self.store.kept_directory(&trust.keys.organization).await?;
        Ok(kept.map(|(kept, _)| kept).filter(|kept| kept.added == trust.added))
    }

    /// The organizations that are trusted, with what proves that they are.
    pub(crate) async fn trusts(&self) -> Result<Trusts> {
        let state = self.state()?;
        let cosigned = self.store.cosignature().await?;
        let size = cosigned.as_ref().map_or(0, |(size, _)| *size);
        let kept = self.store.kept_directories().await?;
        let troubles = self.store.troubles().await?;
        let mut organizations = Vec::new();
        for trust in state.trusts() {
            let (organization, added) = (trust.keys.organization, trust.added);
            let name = self.name(&trust.name).await?;
            let of_this = |of: &Digest, since: u64| *of == organization && since == added;
            let trouble = |alarm: bool| {
                let found = troubles
                    .iter()
                    .find(|(of, since, found)| of_this(of, *since) && found.kind.is_alarm() == alarm);
                found.map(|(_, _, trouble)| *trouble)
            };
            let directory = kept.iter().find(|kept| of_this(&kept.organization, kept.added));
            organizations.push(TrustEntry {
                organization,
                label: name.label,
                name: name.name,
                name_key: self.store.record(&trust.name).await?.map(|record| record.key),
                pinned: self.included(&state, added, size).await?,
                directory: directory.map(|kept| FetchedDirectory {
                    size: kept.seen.size,
                    at: kept.at,
                    expires_at: kept.expires_at,
                    fetched_at: kept.fetched_at,
                }),
                alarm: trouble(true),
                trouble: trouble(false),
            });
        }
        Ok(Trusts { checkpoint: cosigned.map(|(_, note)| note), organizations })
    }

    /// A leaf with its proof under the newest cosigned checkpoint; none before the ca has cosigned it.
    async fn included(&self, state: &State, index: u64, cosigned: u64) -> Result<Option<Included>> {
        if index >= cosigned {
            return Ok(None);
        }
        let leaf = Bytes(self.leaf(index).await?.as_bytes().to_vec());
        Ok(Some(Included { index, leaf, proof: state.tree().inclusion(index, cosigned)? }))
    }

    /// The newest directory of a trusted organization that was good.
    pub(crate) async fn directory_of_other(&self, organization: Digest) -> Result<SignedDirectory> {
        let state = self.state()?;
        let trust = state.trust(&organization).filter(|trust| !trust.ended);
        let trust = trust.ok_or(AuthorityError::NotFound { what: "trusted organization" })?;
        match self.store.kept_directory(&organization).await? {
            Some((kept, signed)) if kept.added == trust.added => Ok(signed),
            _ => Err(AuthorityError::NotYet { what: "no directory of that organization has come" }),
        }
    }
}

async fn fetched_from(address: &str) -> std::result::Result<SignedDirectory, ClientError> {
    let client =
        Client::public(address)?.with_timeout(PATIENCE).with_largest_answer(SignedDirectory::LARGEST);
    client.get("/v1/directory").await
}

fn kind_of(error: &ClientError) -> TroubleKind {
    match error {
        ClientError::Refused { .. } => TroubleKind::Refused,
        ClientError::Nonsense { .. } => TroubleKind::Malformed,
        _ => TroubleKind::Unreachable,
    }
}

//! Parts of routed files (protocol P-15.3): what the HSM computes of them, each for a proof that it may, and how they leave: sealed.
//!
//! They come by the thousand. The HSM is asked for some at a time, so that whoever else waits for it gets his turn in between.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use warifu_hardware::hsm::{AgreementKey, Hsm, HsmError};
use warifu_ledger::Id;
use warifu_split_key::partial::PartialX;
use warifu_split_key::routing::{Part, RoutedFile, ephemeral_of};

use super::{Vault, answer, blocking};
use crate::site::error::SiteError;
use crate::site::journal::AuditRecorded;
use crate::site::routing::check::{MayHandOver, MayRelease, MayRoute, Source};
use crate::site::store::Sealed;

/// So many are computed at a time.
const PIECE: usize = 64;

/// A slip's place, with a part that was sealed, or why there is none.
pub(in crate::site) type SealedPart = Result<(u64, Sealed), PartFault>;

/// Why there is no part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartFault {
    /// The HSM did not compute it.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// What is here was not sealed to this site, or for another slip.
    #[error("a part does not open with this site's transport key")]
    DoesNotOpen,
}

/// What parts are sealed to: the transport key that the site has, and the one that it had before, until nothing is sealed to that
/// any more (P-15.9).
#[derive(Clone)]
pub(in crate::site) struct TransportKeys {
    now: AgreementKey,
    former: Option<AgreementKey>,
}

impl TransportKeys {
    pub(in crate::site) fn new(now: AgreementKey, former: Option<AgreementKey>) -> Self {
        Self { now, former }
    }

    fn open(&self, site: Id, file: &RoutedFile, part: &Sealed) -> Result<PartialX, PartFault> {
        let by_now = opened(&self.now, site, file, part);
        match (&self.former, by_now) {
            (Some(former), Err(PartFault::DoesNotOpen)) => opened(former, site, file, part),
            (_, by_now) => by_now,
        }
    }
}

impl Vault {
    /// Whether parts may be sealed to a former transport key.
    pub(in crate::site) fn has_former_transport(&self) -> bool {
        self.transport.former.is_some()
    }

    /// Each part that is sealed to the former transport key, sealed to the present one; none for the others.
    pub(in crate::site) async fn reseal(
        &self,
        site: Id,
        parts: Vec<(RoutedFile, Sealed)>,
    ) -> Result<Vec<Option<Sealed>>, SiteError> {
        let transport = self.transport.clone();
        let reseal = move |(file, part): (RoutedFile, Sealed)| {
            let Some(former) = &transport.former else { return Ok(None) };
            match opened(former, site, &file, &part) {
                Ok(x) => sealed(&file, Part::Site(site.0), &transport.now.public_key(), &x).map(Some),
                Err(PartFault::DoesNotOpen) => Ok(None),
                Err(fault) => Err(fault),
            }
        };
        let resealed = self.in_pieces(parts, reseal).await?;
        Ok(resealed.into_iter().collect::<Result<_, PartFault>>()?)
    }

    /// Computes `x(bR)` for each, or takes it from what came, and seals it to this site.
    pub(in crate::site) async fn own_parts(
        &self,
        site: Id,
        recorded: Vec<AuditRecorded<MayRoute>>,
    ) -> Result<Vec<SealedPart>, SiteError> {
        let (hsm, transport) = (self.hsm.clone(), self.transport.clone());
        self.in_pieces(recorded, move |recorded| own_part(&hsm, &transport, site, &recorded.spend())).await
    }

    /// Opens each part that is here, and seals it to the other site.
    pub(in crate::site) async fn hand_over(
        &self,
        site: Id,
        may: Vec<MayHandOver>,
    ) -> Result<Vec<SealedPart>, SiteError> {
        let transport = self.transport.clone();
        let seal = move |may: MayHandOver| {
            let x = transport.open(site, may.file(), may.sealed())?;
            let sealed = sealed(may.file(), Part::Site(may.to().0), may.key(), &x)?;
            Ok((may.index(), sealed))
        };
        self.in_pieces(may, seal).await
    }

    /// For each `x(b'E)` of the card's seal and `x(bR)`; none where the part does not open.
    pub(in crate::site) async fn release(
        &self,
        site: Id,
        recorded: Vec<AuditRecorded<MayRelease>>,
    ) -> Result<Vec<Option<(PartialX, PartialX)>>, SiteError> {
        let (hsm, transport) = (self.hsm.clone(), self.transport.clone());
        let release = move |recorded: AuditRecorded<MayRelease>| {
            let may = recorded.spend();
            let both = answer(&hsm, may.seal())
                .map_err(PartFault::Hsm)
                .and_then(|seal| Ok((seal, transport.open(site, may.came(), may.sealed())?)));
            both.inspect_err(|error| tracing::error!(%error, "a part could not be released")).ok()
        };
        self.in_pieces(recorded, release).await
    }

    async fn in_pieces<T: Send + 'static, R: Send + 'static>(
        &self,
        all: Vec<T>,
        work: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Result<Vec<R>, SiteError> {
        let work = std::sync::Arc::new(work);
        let mut results = Vec::with_capacity(all.len());
        let mut left = all.into_iter();
        loop {
            let piece: Vec<T> = left.by_ref().take(PIECE).collect();
            if piece.is_empty() {
                return Ok(results);
            }
            let work = work.clone();
            results
                .extend(blocking(move || piece.into_iter().map(|one| work(one)).collect::<Vec<R>>()).await?);
        }
    }
}

fn own_part(hsm: &Hsm, transport: &TransportKeys, site: Id, may: &MayRoute) -> SealedPart {
    let x = match may.source() {
        Source::Share { grant, share } => hsm.partial(&grant.to_string(), share, &may.file().ephemeral)?,
        Source::Parts { came, sealed } => {
            let opened = sealed.iter().map(|sealed| transport.open(site, came, sealed)).find(Result::is_ok);
            opened.unwrap_or(Err(PartFault::DoesNotOpen))?
        }
    };
    Ok((may.index(), sealed(may.file(), Part::Site(site.0), &transport.now.public_key(), &x)?))
}

fn opened(
    transport: &AgreementKey,
    site: Id,
    file: &RoutedFile,
    part: &Sealed,
) -> Result<PartialX, PartFault> {
    let ephemeral = ephemeral_of(part).map_err(|_| PartFault::DoesNotOpen)?;
    let x = transport.agree(&ephemeral)?;
    file.open_site_part(&x, site.0, &transport.public_key(), part).map_err(|_| PartFault::DoesNotOpen)
}

fn sealed(
    file: &RoutedFile,
    part: Part,
    to: &warifu_split_key::point::Point,
    x: &PartialX,
) -> Result<Sealed, PartFault> {
    file.seal(&mut UnwrapErr(SysRng), part, to, x).map_err(|_| PartFault::DoesNotOpen)
}

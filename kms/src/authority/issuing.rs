//! The kms's part of a grant: `b = s2 + d`, wrapped to the sites and forgotten (P-6.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::authority::ShareRequest;
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Custody, Fact, FactBody};
use warifu_ledger::{Digest, Id};
use warifu_split_key::check_grant;
use warifu_split_key::issuer::Delta;
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;

use super::error::AuthorityError;
use super::grants::live_grant;
use super::store::CardShareRow;
use super::units::open_half;
use super::{Authority, Keys, Result, blocking, whole};

/// Bytes of a sealed card share: encapsulated key and ciphertext (P-6.3), or ephemeral key and wrap (P-6.3b).
fn sealed_length(custody: Custody) -> usize {
    match custody {
        Custody::TokenUnwrap => 65 + 80,
        Custody::Scp11b | Custody::HostMemory | Custody::OwnPc => 65 + 48,
    }
}

/// Where a keeper half rests.
struct RestingHalf {
    organization: Digest,
    unit: Id,
    sealed: Vec<u8>,
}

impl Authority {
    /// Takes `A`, `d` and the sealed `a`; keeps `b` wrapped to each site, and answers with `grant.issued`, signed by the kms.
    ///
    /// Until the grant is issued, a repetition takes the place of what came before; then, it has to be the same shares.
    pub(crate) async fn share(self: &Arc<Self>, grant: Id, request: ShareRequest) -> Result<Envelope> {
        let ShareRequest { card_point, delta, sealed } = request;
        let this = self.clone();
        whole(async move {
            // An order that ends the grant comes before, and this is refused, or after, and finds the wraps to delete.
            let _serialized = this.in_turn().await;
            let state = this.state()?;
            let organization = state.organization();
            let found = live_grant(&state, &grant, this.now(&state))?;
            let length = sealed_length(found.custody);
            if sealed.0.len() != length {
                return Err(AuthorityError::Malformed { why: format!("a sealed share has {length} bytes") });
            }
            let unit = state.unit(&found.unit).ok_or(AuthorityError::NotFound { what: "unit" })?;
            let (unit_key, _) = unit.key.ok_or(AuthorityError::NotYet { what: "the unit has no key" })?;
            let (sites, keys) = match &found.issued {
                // The wraps are made and perhaps fetched; there is nothing to wrap again.
                Some(issued) => (issued.sites.clone(), BTreeMap::new()),
                None => {
                    let sites = state.serving_sites(&found.unit);
                    let mut keys = this.store.grant_keys(&grant).await?;
                    keys.retain(|site, _| sites.contains(site));
                    if sites.is_empty() || keys.len() < sites.len() {
                        return Err(AuthorityError::NotYet { what: "not all sites have made their keys" });
                    }
                    (sites, keys)
                }
            };
            let half = this.store.keeper_half(&found.unit).await?;
            let half = half.ok_or(AuthorityError::Damaged { what: "unit without a keeper half" })?;
            let half = RestingHalf { organization, unit: found.unit, sealed: half };
            let own = this.keys.clone();
            let (site_point, wraps) =
                blocking(move || wrapped(&own, &half, delta, &unit_key, &card_point.0, &keys)).await?;

            let order = found.order;
            let site_point_key = site_point.into();
            let body = FactBody::GrantIssued { grant, order, card_point, site_point: site_point_key, sites };
            let fact = Fact { organization, fact: body };
            match &found.issued {
                Some(issued) if issued.card_point == card_point.0 && issued.site_point == site_point => {}
                Some(_) => return Err(AuthorityError::IssuedOtherwise),
                None => {
                    state.check_unsigned_fact(&fact).map_err(|rejected| match rejected {
                        Rejected::DegenerateShare { .. } | Rejected::SharesDoNotAdd { .. } => {
                            AuthorityError::ShareMismatch
                        }
                        other => other.into(),
                    })?;
                    let share = CardShareRow { card_point: card_point.0, site_point, sealed: sealed.0 };
                    this.store.keep_share(&grant, &share, &wraps).await?;
                    reached(CrashPoint::KmsShareKept).await;
                }
            }
            let signed = this.sign(fact).await?;
            reached(CrashPoint::KmsShareSigned).await;
            Ok(signed)
        })
        .await
    }
}

/// `B`, and `b` wrapped to each site's key for the grant. `d` and `b` end with this call (P-6.2). Blocks.
fn wrapped(
    keys: &Keys,
    half: &RestingHalf,
    delta: SecretBytes,
    unit_key: &Point,
    card_point: &Point,
    sites: &BTreeMap<Id, Point>,
) -> Result<(Point, BTreeMap<Id, Vec<u8>>)> {
    let mismatch = |_| AuthorityError::ShareMismatch;
    let delta_scalar = Delta::from_bytes(&delta.0).map_err(|_| AuthorityError::ShareMismatch)?;
    drop(delta);
    let half = open_half(keys, &half.organization, &half.unit, &half.sealed)?;
    check_delta(&half, &delta_scalar, unit_key, card_point)?;
    let share = half.site_share(delta_scalar).map_err(|_| AuthorityError::ShareMismatch)?;
    let site_point = share.public();
    if Point::checked_sub(unit_key, card_point).map_err(mismatch)? != site_point {
        return Err(AuthorityError::ShareMismatch);
    }
    check_grant(unit_key, card_point, &site_point).map_err(|_| AuthorityError::ShareMismatch)?;
    let pkcs8 = share.to_pkcs8_der();
    let wraps = sites
        .iter()
        .map(|(site, key)| Ok((*site, wrap_share(&mut UnwrapErr(SysRng), key, &pkcs8)?.to_bytes())))
        .collect::<Result<_>>()?;
    Ok((site_point, wraps))
}

/// `dG = S1 - A`, before anything is added: a ca that sends `d = s1` would make the sum the unit's private key. `A` is no
/// identity by its type, so `d = s1` never passes.
fn check_delta(half: &KeeperHalf, delta: &Delta, unit_key: &Point, card_point: &Point) -> Result<()> {
    let expected = Point::checked_sub(unit_key, &half.public())
        .and_then(|issuer| Point::checked_sub(&issuer, card_point))
        .map_err(|_| AuthorityError::ShareMismatch)?;
    if card_point.is_plus_or_minus(unit_key) || delta.public() != expected {
        return Err(AuthorityError::ShareMismatch);
    }
    Ok(())
}

//! A site that comes later to a unit: it gets its shares from one that has them, and a lying kms gets none (P-6.9, I8).

use aes_kw::{KeyInit as _, KwpAes256};
use warifu_api::error::ErrorCode;
use warifu_api::wire::authority::Rewrap;
use warifu_hardware::hsm::WrappedShare;
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, GrantKey};
use warifu_ledger::{Digest, Id};

use crate::people::*;
use crate::stage::test;
use crate::town::Town;

/// The key of the site for a grant, as the site states it.
pub(crate) fn grant_key(town: &Town, site: &str, grant: Id) -> GrantKey {
    let key = public(&format!("{site} for {grant}"));
    GrantKey { organization: town.organization(), site: id(site), grant, key }
}

fn stated(town: &Town, site: &str, grant: Id) -> Envelope {
    signed(&grant_key(town, site, grant), [format!("{site} signing")])
}

/// The scalar in a wrap, as the site that owns the key would have it.
fn unwrapped(site: &str, grant: Id, rewrap: &Rewrap) -> Vec<u8> {
    let label = format!("{site} for {grant}");
    assert_eq!(rewrap.key, public(&label));
    let wrapped = WrappedShare::from_bytes(&rewrap.wrapped.0).unwrap();
    let ephemeral = p256::PublicKey::from_sec1_bytes(&wrapped.ephemeral().to_uncompressed()).unwrap();
    let shared = p256::ecdh::diffie_hellman(key(&label).as_nonzero_scalar(), ephemeral.as_affine());
    let mut pkcs8 = vec![0; wrapped.blob().len()];
    KwpAes256::new(shared.raw_secret_bytes()).unwrap_key(wrapped.blob(), &mut pkcs8).unwrap().to_vec()
}

/// Offers keys to the site, the last one honest, and answers which grants it has wrapped for whom once it has wrapped that.
pub(crate) async fn wraps_among(town: &Town, keys: Vec<Envelope>) -> Vec<(Id, Id)> {
    let last: GrantKey = keys.last().unwrap().statement().unwrap();
    let wanted = (last.grant, last.site);
    town.kms.set(|data| {
        data.rewraps.clear();
        data.offered = keys;
    });
    town.kms
        .until("a share wrapped to another site", |data| {
            data.rewraps.iter().any(|(grant, site, _)| (*grant, *site) == wanted)
        })
        .await;
    town.kms.set(|data| data.offered.clear());
    town.kms.data().rewraps.iter().map(|(grant, site, _)| (*grant, *site)).collect()
}

/// Other sites serve the unit from now on.
pub(crate) fn sites_of(unit: &str, sites: &[&str]) -> Act {
    let sites = Some(sites.iter().map(|site| id(site)).collect());
    Act::UnitChanged { unit: id(unit), name: None, sites, routes_to: None, two_people: None, own_pcs: None }
}

test! {
    async fn a_share_goes_on_to_a_site_that_comes_later(folder) {
        let town = Town::working(folder).await;
        let team = grant_id("taro", "team");
        let wrapped = wraps_among(&town, vec![stated(&town, "branch", team)]).await;
        assert_eq!(wrapped, [(team, id("branch"))]);
        let (_, _, rewrap) = town.kms.data().rewraps.remove(0);
        let (_, b) = shares("taro", "team");
        assert!(unwrapped("branch", team, &rewrap).windows(32).any(|window| window == *b.expose_bytes()));
        // And answers for it as before.
        town.opens("taro", "team").await;
    }
}

test! {
    async fn a_lying_kms_gets_no_share(folder) {
        let town = Town::working(folder).await;
        let (team, tax) = (grant_id("taro", "team"), grant_id("hanako", "tax"));
        let mut leaver = service_keys("leaver");
        leaver.log = None;
        let joined = Act::SiteJoined {
            site: id("leaver"),
            name: name("leaver"),
            keys: leaver,
            address: "leaver.example:8443".to_owned(),
        };
        town.kms.done([joined], TWO);
        town.kms.done([unit("joint", None, &["main", "branch", "leaver"])], TWO);
        town.kms.create("joint");
        town.kms.done([grant("jiro", "joint"), grant("hanako", "joint"), grant("jiro", "tax")], ONE);
        town.give("jiro", "joint", &["main"]).await;
        town.kms.done([Act::SiteRemoved { site: id("leaver") }], TWO);
        town.settled().await;

        let joint = grant_id("jiro", "joint");
        let honest = grant_key(&town, "branch", team);
        let by = |statement: &GrantKey, signer: &str| signed(statement, [format!("{signer} signing")]);
        let elsewhere = GrantKey { organization: Digest::of(b"elsewhere"), ..honest.clone() };
        let lies = [
            ("its own key in the site's name", by(&honest, "kms")),
            ("another site's signature", by(&honest, "leaver")),
            ("no signature", signed(&honest, [])),
            ("another key under the site's signature", {
                let mut forged = by(&GrantKey { key: public("kms's own"), ..honest.clone() }, "branch");
                forged.signatures = by(&honest, "branch").signatures;
                forged
            }),
            ("another organization's site", by(&elsewhere, "branch")),
            ("a site that nobody let join", stated(&town, "nowhere", team)),
            ("a site that has left", stated(&town, "leaver", joint)),
            ("a site that does not serve the unit", stated(&town, "branch", tax)),
            ("a grant without shares", stated(&town, "branch", grant_id("hanako", "joint"))),
            ("a grant that nobody ordered", stated(&town, "branch", id("no grant"))),
            ("something else that the site signed", town.kms.data().leaves[1].envelope().clone()),
        ];
        for (lie, key) in lies {
            let wrapped = wraps_among(&town, vec![key, stated(&town, "branch", team)]).await;
            assert_eq!(wrapped, [(team, id("branch"))], "{lie}");
        }
        // What was asked of it was not refused for being of the other unit.
        assert_eq!(wraps_among(&town, vec![stated(&town, "branch", joint)]).await, [(joint, id("branch"))]);
    }
}

test! {
    async fn a_revoked_grant_is_never_wrapped_again(folder) {
        let mut town = Town::working(folder).await;
        town.kms.done([unit("joint", None, &["main", "branch"])], TWO);
        town.kms.create("joint");
        town.kms.done([grant("jiro", "joint"), grant("hanako", "joint")], ONE);
        for card in ["jiro", "hanako"] {
            town.give(card, "joint", &["main"]).await;
        }
        let (first, second) = (grant_id("jiro", "joint"), grant_id("hanako", "joint"));
        // By hand: the kms withholds it, and the ledger does not have it.
        let order = town.kms.order([revoke_grant("jiro", "joint")], ONE);
        assert_eq!(town.bring(&order, None).await.unwrap().destroyed, [first].into());
        for _ in 0..2 {
            let keys = vec![stated(&town, "branch", first), stated(&town, "branch", second)];
            assert_eq!(wraps_among(&town, keys).await, [(second, id("branch"))]);
            town.restart().await;
            town.until_fresh().await;
        }
    }
}

test! {
    async fn without_a_lease_nothing_is_wrapped(folder) {
        let town = Town::working(folder).await;
        town.kms.set(|data| data.no_stamps = true);
        town.clock.advance_ms(LEASE + 1);
        town.until_status("no lease", |status| status.time.is_none()).await;
        let team = grant_id("taro", "team");
        let key = stated(&town, "branch", team);
        town.kms.set(|data| data.offered = vec![key]);
        // It goes on living, and asks again; but wraps nothing before it knows who has left.
        assert_eq!(town.open("taro", "team", "a file").await, Err(ErrorCode::LeaseExpired));
        assert!(town.kms.data().rewraps.is_empty());
        town.kms.set(|data| data.no_stamps = false);
        town.kms.until("a wrap", |data| !data.rewraps.is_empty()).await;
        assert!(town.status().await.unwrap().time.is_some());
    }
}

test! {
    async fn a_site_that_comes_later_believes_no_wrap(folder) {
        let town = Town::working(folder).await;
        town.kms.done([unit("joint", None, &["branch"])], TWO);
        town.kms.create("joint");
        town.kms.done([grant("jiro", "joint")], ONE);
        let grant = grant_id("jiro", "joint");
        town.kms.issue("jiro", "joint", &["branch"]);
        town.settled().await;
        assert!(!town.key_pairs().contains(&grant));
        town.kms.done([sites_of("joint", &["branch", "main"])], TWO);
        town.kms.until("a grant key", |data| data.grant_keys.contains_key(&grant)).await;

        let site_key = town.kms.data().grant_keys[&grant];
        let wrap = |card: &str| {
            let (_, b) = shares(card, "joint");
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            wrap_share(&mut rng, &site_key, &b.to_pkcs8_der()).unwrap().to_bytes()
        };
        for lie in ["taro", "hanako"] {
            let refused = town.kms.data().refused_wraps.len();
            let wrapped = wrap(lie);
            town.kms.set(|data| drop(data.wraps.insert(grant, wrapped)));
            town.kms.until("a refusal", |data| data.refused_wraps.len() > refused).await;
            assert_eq!(town.open("jiro", "joint", "a file").await, Err(ErrorCode::NotServedHere));
        }
        let wrapped = wrap("jiro");
        town.kms.set(|data| drop(data.wraps.insert(grant, wrapped)));
        town.kms.until("an acknowledgement", |data| !data.wraps.contains_key(&grant)).await;
        // Served by the unit's sites, not by those that the first wraps were made for.
        town.opens("jiro", "joint").await;
        assert!(town.kms.data().refused_wraps.iter().all(|refused| *refused == grant));
    }
}

// Whatever the site that comes later had done when it was cut off, it ends as if done once.
test! {
    async fn a_site_that_comes_later_is_cut_off_and_goes_on(folder) {
        let mut town = Town::working(folder).await;
        town.kms.done([unit("joint", None, &["branch"])], TWO);
        town.kms.create("joint");
        town.kms.done([grant("jiro", "joint"), grant("hanako", "joint")], ONE);
        let (kept, ended) = (grant_id("jiro", "joint"), grant_id("hanako", "joint"));
        for card in ["jiro", "hanako"] {
            town.kms.issue(card, "joint", &["branch"]);
        }
        town.kms.done([sites_of("joint", &["branch", "main"])], TWO);
        for grant in [kept, ended] {
            town.kms.until("a grant key", |data| data.grant_keys.contains_key(&grant)).await;
        }
        let wraps = [town.kms.wrap("jiro", "joint"), town.kms.wrap("hanako", "joint")];
        town.kill().await;
        let [for_kept, for_ended] = wraps;
        town.kms.set(|data| data.wraps.extend([(kept, for_kept.clone()), (ended, for_ended.clone())]));
        // The receipt first: the share that comes after it finds no key pair.
        let order = town.kms.done([revoke_grant("hanako", "joint")], ONE);
        town.start().await;
        town.kms.receipt(&order).await;
        town.kms.until("an acknowledgement", |data| !data.wraps.contains_key(&kept)).await;
        town.until_fresh().await;
        town.opens("jiro", "joint").await;
        assert!(!town.key_pairs().contains(&ended), "{:?}", town.kms.data().wraps.contains_key(&ended));
        // Restored from a copy of the time before: it asks anew, and gets it anew.
        town.restart().await;
        town.until_fresh().await;
        town.opens("jiro", "joint").await;
        assert!(!town.key_pairs().contains(&ended));
        assert_eq!(town.open("hanako", "joint", "a file").await, Err(ErrorCode::GrantNotLive));
    }
}

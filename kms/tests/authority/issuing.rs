//! A grant's shares: what a lying ca does not get (I8), and what is never written (P-6.2).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use warifu_api::ErrorCode;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::authority::ShareRequest;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Fact, FactBody};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::SiteShare;
use warifu_split_key::point::Point;

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;
use crate::town::*;

/// Whether any file under `folder` contains the bytes, as they are or as text.
fn found_in(folder: &Path, secret: &[u8]) -> Vec<String> {
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let base64 = STANDARD.encode(secret);
    // Base64 of 33 bytes hides the last group's neighbours: the first 40 characters stand for 30 bytes.
    let forms = [secret.to_vec(), hex.into_bytes(), base64.as_bytes()[..40].to_vec()];
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path, secret));
            continue;
        }
        // The journal goes when the last connection closes.
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        if forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form)) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn negated(point: &Point) -> Point {
    let mut bytes = point.to_compressed();
    bytes[0] ^= 1;
    Point::from_sec1(&bytes).unwrap()
}

staged! {
    async fn a_lying_ca_gets_no_share(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        let grant = grant_id("hanako", "tax");
        for site in SITES {
            town.give_key(site, "hanako", "tax").await.unwrap();
        }
        let (unit_key, _) = town.state().await.unit(&id("tax")).unwrap().key.unwrap();
        let a = card_share("hanako", "tax");
        let s1 = || SecretBytes(issuer_half("tax").expose_bytes());
        let honest = || share_request("hanako", "tax");
        let other_delta = || share_request("taro", "tax").delta;
        let lies: Vec<(&str, ShareRequest)> = vec![
            ("another d", ShareRequest { delta: other_delta(), ..honest() }),
            ("another A", ShareRequest { card_point: public_of("A"), ..honest() }),
            ("-A", ShareRequest { card_point: negated(&a.public()).into(), ..honest() }),
            // a = 0: b would be x itself.
            ("a = 0, A = P", ShareRequest { card_point: unit_key.into(), delta: s1(), ..honest() }),
            ("a = 0, A = S1", ShareRequest { card_point: issuer_half("tax").public().into(), delta: s1(), ..honest() }),
            ("a = 0, A = aG", ShareRequest { delta: s1(), ..honest() }),
            ("A = P", ShareRequest { card_point: unit_key.into(), ..honest() }),
            ("A = -P", ShareRequest { card_point: negated(&unit_key).into(), ..honest() }),
            ("d of another unit", ShareRequest {
                delta: SecretBytes(issuer_half("team").delta(&a).unwrap().expose_bytes()), ..honest()
            }),
        ];
        for (lie, request) in &lies {
            assert_eq!(code(town.share(grant, request).await), ErrorCode::Rejected, "{lie}");
        }
        for (field, value) in [
            ("delta", STANDARD.encode([0; 32])),
            ("delta", STANDARD.encode([0xff; 32])),
        ] {
            let mut request = serde_json::to_value(honest()).unwrap();
            request[field] = value.into();
            let answer = town.ca().post::<Fact>(&format!("/v1/grants/{grant}/share"), &request).await;
            assert_eq!(code(answer), ErrorCode::Rejected, "{field}");
        }
        for (field, value) in [
            // The identity, a point off the curve, and things of the wrong length.
            ("card_point", STANDARD.encode([0])),
            ("card_point", STANDARD.encode([[2].as_slice(), &[0xff; 32]].concat())),
            ("delta", STANDARD.encode([1; 31])),
            ("sealed", STANDARD.encode([1; 112])),
        ] {
            let mut request = serde_json::to_value(honest()).unwrap();
            request[field] = value.into();
            let answer = town.ca().post::<Fact>(&format!("/v1/grants/{grant}/share"), &request).await;
            assert_eq!(code(answer), ErrorCode::Malformed, "{field}");
        }
        // The form that another custody's shares have (P-6.3b).
        let wrapped = ShareRequest { sealed: Bytes(vec![7; 145]), ..honest() };
        assert_eq!(code(town.share(grant, &wrapped).await), ErrorCode::Malformed);
        // Nothing of all this is kept, or goes to a site; the honest request is served.
        assert_eq!(code(town.wrap("main", "hanako", "tax").await), ErrorCode::NotReady);
        town.share(grant, &honest()).await.unwrap();
    }

    async fn shares_fit_and_are_wrapped_to_the_sites(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax"), grant("taro", "team")], ONE).await;
        let grant = grant_id("hanako", "tax");
        let request = share_request("hanako", "tax");
        town.give_key("main", "hanako", "tax").await.unwrap();
        assert_eq!(code(town.share(grant, &request).await), ErrorCode::NotReady, "branch has no key");
        assert_eq!(code(town.share(id("none"), &request).await), ErrorCode::NotFound);
        town.give_key("branch", "hanako", "tax").await.unwrap();

        let first = town.share(grant, &request).await.unwrap();
        first.verify(&stage.keys.signing).unwrap();
        let Fact { fact: FactBody::GrantIssued { card_point, site_point, sites, .. }, .. } = first.statement().unwrap()
        else {
            panic!("no grant.issued");
        };
        let (unit_key, _) = town.state().await.unit(&id("tax")).unwrap().key.unwrap();
        assert_eq!(card_point.0, card_share("hanako", "tax").public());
        assert_eq!(Point::checked_add(&card_point.0, &site_point.0).unwrap(), unit_key);
        assert_eq!(sites, ids(SITES));
        // Again, before it is issued: the same fact.
        assert_eq!(town.share(grant, &request).await.unwrap().digest(), first.digest());

        // Until the ledger says what is in them, no wrap is handed out; then to each site its own.
        assert_eq!(code(town.wrap("main", "hanako", "tax").await), ErrorCode::NotReady);
        town.fact(first.clone()).await.unwrap();
        for site in SITES {
            let wrap = town.wrap(site, "hanako", "tax").await.unwrap();
            let b = unwrap(&wrap, &grant_key(site, "hanako", "tax"));
            assert_eq!(SiteShare::from_bytes(b.as_slice().try_into().unwrap()).unwrap().public(), site_point.0);
        }
        assert_eq!(code(town.wrap("main", "taro", "team").await), ErrorCode::NotReady);

        // After it: the same shares, and no others; what the sites have is not replaced.
        let before = town.wrap("main", "hanako", "tax").await.unwrap();
        assert_eq!(town.share(grant, &request).await.unwrap().digest(), first.digest());
        assert_eq!(town.wrap("main", "hanako", "tax").await.unwrap().wrapped, before.wrapped);
        let other = ShareRequest { sealed: Bytes(vec![9; 113]), ..share_request("jiro", "tax") };
        assert_eq!(code(town.share(grant, &other).await), ErrorCode::Rejected);
    }

    async fn the_last_shares_before_issuing_count(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        let grant = grant_id("hanako", "tax");
        for site in SITES {
            town.give_key(site, "hanako", "tax").await.unwrap();
        }
        let first = town.share(grant, &share_request("hanako", "tax")).await.unwrap();
        // A ca that lost its draft draws another a. The wraps are those of the second.
        let second = town.share(grant, &share_request("jiro", "tax")).await.unwrap();
        assert_ne!(first.digest(), second.digest());
        assert_eq!(code(town.fact(first).await), ErrorCode::Rejected);
        town.fact(second).await.unwrap();
    }

    // I1, P-6.2
    async fn neither_d_nor_b_is_written(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        town.issue("hanako", "tax").await;
        let wrap = town.wrap("main", "hanako", "tax").await.unwrap();
        let b = unwrap(&wrap, &grant_key("main", "hanako", "tax"));
        let d = share_request("hanako", "tax").delta;
        // s2 = b - d rests sealed.
        let s2 = {
            let b = IssuerHalf::from_bytes(b.as_slice().try_into().unwrap()).unwrap();
            let d = CardShare::from_bytes(&d.0).unwrap();
            b.delta(&d).unwrap().expose_bytes()
        };
        let data = &stage.config.data;
        stage.lay_open().await;
        // That the search finds what is there.
        assert!(!found_in(data, &wrap.wrapped.0).is_empty());
        let check = || {
            for (name, secret) in [("d", d.0.as_slice()), ("b", &b), ("s2", s2.as_slice())] {
                assert_eq!(found_in(data, secret), Vec::<String>::new(), "{name}");
            }
        };
        check();
        town.acknowledge("hanako", "tax").await;
        let Town { kms, .. } = town;
        kms.kill();
        stage.lay_open().await;
        check();
    }
}

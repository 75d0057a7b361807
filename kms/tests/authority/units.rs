//! Keeper halves.

use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Directory, HalfRequest};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::state::fact::unit_key_of;
use warifu_ledger::statement::{Fact, FactBody, PublicHalf};

use crate::fixture::*;
use crate::stage::{Stage, code, staged};
use crate::town::Town;

async fn halves(stage: &Stage) -> i64 {
    let counted = sqlx::query_scalar("SELECT count(*) FROM keeper_half");
    counted.fetch_one(&mut stage.database().await).await.unwrap()
}

fn keeper(fact: &Envelope) -> PublicHalf {
    match fact.statement::<Fact>().unwrap().fact {
        FactBody::UnitCreated { keeper, .. } => keeper,
        other => panic!("{other:?}"),
    }
}

staged! {
    async fn a_half_that_is_not_proved_draws_nothing(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        town.done([unit("tax"), unit("welfare")], ONE).await;
        let path = format!("/v1/units/{}/half", id("tax"));
        let HalfRequest { issuer } = town.half_request("tax", "tax").await;
        let elsewhere = town.half_request("welfare", "tax").await.issuer;
        for forged in [
            // Another point, another unit's proof, and no signature at all.
            PublicHalf { point: public_of("chosen last"), ..issuer.clone() },
            elsewhere,
            PublicHalf { proof: Base64([0; 64]), ..issuer.clone() },
        ] {
            let refused = town.ca().post::<Envelope>(&path, &HalfRequest { issuer: forged }).await;
            assert_eq!(code(refused), ErrorCode::Rejected);
        }
        // No point of the curve.
        let mut off = serde_json::to_value(HalfRequest { issuer: issuer.clone() }).unwrap();
        off["issuer"]["point"] = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB".into();
        assert_eq!(code(town.ca().post::<Envelope>(&path, &off).await), ErrorCode::Malformed);
        assert_eq!(code(town.ca().post::<Envelope>(&path, &HalfRequest { issuer: PublicHalf {
            point: issuer.point, proof: Base64([0xff; 64]) } }).await), ErrorCode::Rejected);
        let unknown = format!("/v1/units/{}/half", id("nowhere"));
        assert_eq!(code(town.ca().post::<Envelope>(&unknown, &HalfRequest { issuer }).await), ErrorCode::NotFound);
        assert_eq!(halves(&stage).await, 0);
    }

    // P-6.1
    async fn a_unit_gets_one_keeper_half_for_ever(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        town.done([unit("tax"), unit("welfare")], ONE).await;
        let first = town.half("tax", "tax").await.unwrap();
        first.verify(&stage.keys.signing).unwrap();
        assert_eq!(town.half("tax", "tax").await.unwrap().digest(), first.digest());
        // Another S1 gets the same S2; another unit does not.
        let other = town.half("tax", "other").await.unwrap();
        assert_eq!(keeper(&other).point, keeper(&first).point);
        assert_ne!(keeper(&town.half("welfare", "welfare").await.unwrap()).point, keeper(&first).point);
        assert_eq!(halves(&stage).await, 2);

        // Nor does a restart change it.
        let Town { kms, .. } = town;
        kms.kill();
        let town = Town::open(&stage).await;
        assert_eq!(town.half("tax", "tax").await.unwrap().digest(), first.digest());
        town.fact(first.clone()).await.unwrap();
        assert_eq!(code(town.half("tax", "tax").await), ErrorCode::Rejected, "it is created");
        assert_eq!(code(town.fact(other).await), ErrorCode::Rejected);

        // Everybody can check the directory's word.
        let directory: Directory = town.stranger().get("/v1/directory").await.unwrap();
        let entry = directory.units.iter().find(|entry| entry.unit == id("tax")).unwrap();
        let created = entry.created.as_ref().unwrap();
        for service in [public_of("ca signing"), stage.keys.signing] {
            created.verify(&service).unwrap();
        }
        let Fact { fact: FactBody::UnitCreated { unit, order, issuer, keeper }, .. } = created.statement().unwrap() else {
            panic!("no unit.created");
        };
        let key = unit_key_of(&directory.organization, unit, order, &issuer, &keeper).unwrap();
        let recipient = entry.recipient.as_ref().unwrap();
        assert_eq!(warifu_envelope::UnitRecipient::parse(recipient).unwrap(), key.0);
        let welfare = directory.units.iter().find(|entry| entry.unit == id("welfare")).unwrap();
        assert_eq!((&welfare.recipient, &welfare.created), (&None, &None));
    }
}

//! What the directory lists, and when (P-4.14).

use warifu_api::wire::authority::{Cosignature, Directory};
use warifu_api::wire::{Done, UnitEntry};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::statement::{Act, Order};
use warifu_ledger::tree::is_included;

use crate::fixture::*;
use crate::stage::{Stage, staged};
use crate::town::Town;

async fn directory(town: &Town) -> Directory {
    town.stranger().get("/v1/directory").await.unwrap()
}

fn entry<'d>(directory: &'d Directory, unit: &str) -> Option<&'d UnitEntry> {
    directory.units.iter().find(|entry| entry.unit == id(unit))
}

/// The ca has folded and cosigned all that there is.
async fn cosign(town: &Town, stage: &Stage) {
    let organization = town.organization().await;
    let newest = town.checkpoint().await.note;
    let head = Checkpoint::verify(&newest, &organization, Signer::Kms, &stage.keys.log.unwrap()).unwrap();
    let note = note(&organization, &head, Signer::Ca);
    let _: Done = town.ca().post("/v1/cosignatures", &Cosignature { note }).await.unwrap();
}

/// The acts of the orders in the directory that are proved to be in the ledger.
async fn proved(town: &Town, directory: &Directory) -> Vec<Act> {
    let organization = town.organization().await;
    let Some(note) = &directory.checkpoint else { return vec![] };
    let head = Checkpoint::verify(note, &organization, Signer::Ca, &log_public("ca")).unwrap();
    let acts = directory.included.iter().flat_map(|found| {
        assert!(is_included(&found.leaf.0, found.index, &found.proof, &head));
        let leaf = warifu_ledger::leaf::Leaf::from_bytes(found.leaf.0.clone()).unwrap();
        leaf.envelope().statement::<Order>().unwrap().acts
    });
    acts.collect()
}

staged! {
    async fn a_unit_leaves_the_directory_on_its_day(stage) {
        let town = Town::working(&stage).await;
        town.done([unit("welfare")], ONE).await;
        town.create("welfare").await;
        let first = T0 + 10 * DAY;
        let second = T0 + 20 * DAY;
        town.done([merge("welfare", "tax", Some(first)), close("tax", Some(second))], TWO).await;
        let listed = async || {
            let directory = directory(&town).await;
            ["tax", "team", "welfare"].map(|unit| entry(&directory, unit).is_some())
        };
        assert_eq!(listed().await, [true, true, true]);
        // No leaf comes, and what was computed before does not stay.
        stage.clock.set_wall_ms(first);
        assert_eq!(listed().await, [true, true, false]);
        stage.clock.set_wall_ms(second);
        assert_eq!(listed().await, [false, true, false]);
        stage.clock.set_wall_ms(ACME_ENDS);
        assert_eq!(listed().await, [false, false, false]);
    }

    async fn another_name_comes_with_its_proof(stage) {
        let town = Town::working(&stage).await;
        let act = rename("tax", "goro");
        town.done([act.clone()], ONE).await;
        let before = directory(&town).await;
        assert!(proved(&town, &before).await.is_empty(), "the ca has not seen it");
        cosign(&town, &stage).await;
        let after = directory(&town).await;
        assert_eq!(proved(&town, &after).await, [act]);
        let tax = entry(&after, "tax").unwrap();
        assert_eq!(tax.name_key, Some(record("goro").key));
        // Nothing of units that have their first name.
        assert_eq!(after.included.len(), 1);
    }

    async fn a_successor_takes_its_place_once_it_has_its_key(stage) {
        let town = Town::working(&stage).await;
        let rekeyed = rekey("tax", "welfare");
        town.done([rekeyed], TWO).await;
        let waiting = directory(&town).await;
        assert!(entry(&waiting, "tax").is_some() && entry(&waiting, "welfare").is_none());
        town.create("welfare").await;
        cosign(&town, &stage).await;
        let after = directory(&town).await;
        assert!(entry(&after, "tax").is_none());
        let successor = entry(&after, "welfare").unwrap();
        assert_eq!(successor.name_key, Some(record("tax").key), "the name of the one before");
        let proved = proved(&town, &after).await;
        assert!(proved.iter().any(|act| matches!(act, Act::UnitOrdered { unit, .. } if *unit == id("tax"))));
    }
}

//! The server is killed, comes back, is put back to an earlier state, or is not one that keeps what it has committed.

use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Appended, Status};
use warifu_broken_parts::postgres::Cluster;
use warifu_console::Database;
use warifu_kms::authority::AuthorityError;
use warifu_kms::authority::moving::tables;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Stamp;
use warifu_replica::storage::StorageError;

use crate::faults::nonce;
use crate::fixture::*;
use crate::stage::{Stage, code, staged};
use crate::town::Town;

/// A server of this test alone.
fn with_a_server_of_its_own(stage: &mut Stage) -> Cluster {
    let cluster = Cluster::start().unwrap();
    stage.config.database = Some(Database { url: cluster.database().unwrap(), password_file: None });
    cluster
}

async fn refusal(stage: &Stage) -> StorageError {
    stage.config.place().unwrap().open(tables()).await.err().unwrap()
}

staged! {
    async fn a_server_that_is_killed_loses_nothing_that_was_acknowledged(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.request([suspend("midori")], ONE).await;
        let (ca, stranger) = (town.ca(), town.stranger());
        let before: Envelope = ca.post("/v1/stamps", &nonce("before")).await.unwrap();
        let size = stranger.get::<Status>("/v1/status").await.unwrap().size;

        cluster.kill().unwrap();
        assert_eq!(code(stranger.post::<Appended>("/v1/orders", &order).await), ErrorCode::StorageUnavailable);
        assert_eq!(code(ca.post::<Envelope>("/v1/stamps", &nonce("away")).await), ErrorCode::StorageUnavailable);
        assert_eq!(stranger.get::<Status>("/v1/status").await.unwrap().size, size);

        // It goes on by itself.
        cluster.start_again().unwrap();
        let first: Appended = stranger.post("/v1/orders", &order).await.unwrap();
        let again: Appended = stranger.post("/v1/orders", &order).await.unwrap();
        assert_eq!((first.index, again.index, first.at), (size, size, again.at));
        let after: Envelope = ca.post("/v1/stamps", &nonce("after")).await.unwrap();
        let time = |envelope: &Envelope| envelope.statement::<Stamp>().unwrap().time;
        assert!(time(&after) >= time(&before));

        // Both at once.
        let Town { kms, .. } = town;
        kms.kill();
        cluster.kill().unwrap();
        cluster.start_again().unwrap();
        assert_eq!(Town::open(&stage).await.state().await.tree().size(), size + 1);
    }

    async fn a_database_that_was_put_back_is_noticed_and_nothing_is_signed_over_it(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.request([suspend("midori")], ONE).await;
        for sql in [
            "DELETE FROM ledger_leaf WHERE idx = 1",
            "DELETE FROM entry WHERE position = 1",
            "UPDATE ledger_head SET size = 1",
        ] {
            cluster.ask("warifu_0", sql).unwrap();
        }
        assert_eq!(code(town.ca().post::<Envelope>("/v1/stamps", &nonce("back")).await), ErrorCode::StorageUnavailable);
        let refused = town.stranger().post::<Appended>("/v1/orders", &order).await;
        assert_eq!(code(refused), ErrorCode::StorageUnavailable);
    }

    async fn a_database_that_was_put_back_and_has_grown_again_is_noticed(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.request([suspend("midori")], ONE).await;
        // As long as it was, and another leaf in the last place.
        let other = "UPDATE ledger_leaf SET bytes = (SELECT bytes FROM ledger_leaf WHERE idx = 0) WHERE idx = 1";
        cluster.ask("warifu_0", other).unwrap();
        assert!(town.ca().post::<Envelope>("/v1/stamps", &nonce("back")).await.is_err());
        assert!(town.stranger().post::<Appended>("/v1/orders", &order).await.is_err());
    }

    async fn a_leaf_that_somebody_else_put_into_the_database_is_none(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let town = Town::founded(&stage).await;
        let order = town.request([site("main")], TWO).await;
        // Whoever controls the database signs nothing.
        for sql in [
            "INSERT INTO ledger_leaf SELECT 1, bytes FROM ledger_leaf WHERE idx = 0",
            "UPDATE ledger_head SET size = 2",
        ] {
            cluster.ask("warifu_0", sql).unwrap();
        }
        assert!(town.stranger().post::<Appended>("/v1/orders", &order).await.is_err());
        assert!(town.ca().post::<Envelope>("/v1/stamps", &nonce("forged")).await.is_err());
        let Town { kms, .. } = town;
        kms.kill();
        assert!(matches!(stage.refused().await, AuthorityError::Rejected(_)));
    }

    async fn a_server_that_does_not_keep_what_it_has_committed_is_refused(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let set = |setting: &str, value: &str| {
            cluster.ask("postgres", &format!("ALTER SYSTEM SET {setting} = {value}")).unwrap();
            cluster.kill().unwrap();
            cluster.start_again().unwrap();
        };
        for name in ["fsync", "full_page_writes"] {
            set(name, "off");
            let refused = refusal(&stage).await;
            assert!(matches!(refused, StorageError::NotDurable { setting } if setting == name), "{refused}");
            set(name, "on");
        }
        // This one is the session's to choose.
        set("synchronous_commit", "off");
        let pool = stage.config.place().unwrap().open(tables()).await.unwrap();
        for (setting, value) in [("synchronous_commit", "on"), ("transaction_isolation", "read committed")] {
            let found: String = sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&pool).await.unwrap();
            assert_eq!(found, value, "{setting}");
        }
        pool.close().await;

        cluster.ask("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
        stage.config.database = Some(Database { url: cluster.address("latin"), password_file: None });
        assert!(matches!(refusal(&stage).await, StorageError::OtherEncoding { encoding } if encoding == "LATIN1"));
    }

    async fn every_fault_of_the_server_is_told_from_the_others(stage) {
        let mut stage = stage;
        let cluster = with_a_server_of_its_own(&mut stage);
        let told = async |stage: &Stage| warifu_console::words::storage(&refusal(stage).await).id().to_owned();
        let named = |url: String| Some(Database { url, password_file: None });
        let url = cluster.address("warifu_0");
        stage.config.database = named(cluster.address("nowhere"));
        assert_eq!(told(&stage).await, "database-not-made");
        stage.config.database = named(url.replace("user=postgres", "user=nobody"));
        assert_eq!(told(&stage).await, "database-login-refused");
        cluster.ask("warifu_0", "CREATE USER guest").unwrap();
        stage.config.database = named(url.replace("user=postgres", "user=guest"));
        assert_eq!(told(&stage).await, "database-no-rights");
        stage.config.database = named(url);
        cluster.kill().unwrap();
        assert_eq!(told(&stage).await, "database-unreachable");
    }
}

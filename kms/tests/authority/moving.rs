//! From the file in the data folder to the server, and back.

use std::collections::BTreeSet;

use warifu_kms::authority::AuthorityError;
use warifu_kms::authority::moving::{Direction, Moved, TABLES, move_database, tables};
use warifu_replica::storage;

use crate::fixture::*;
use crate::stage::{Stage, staged};
use crate::together::program;
use crate::town::Town;

/// Everything in it, table by table and row by row.
async fn everything(stage: &Stage) -> Vec<(String, Vec<String>)> {
    use sqlx::{Column as _, Row as _};
    let mut database = stage.database().await;
    let mut found = Vec::new();
    for table in storage::copy::LEDGER.iter().chain(&TABLES) {
        let sql = sqlx::AssertSqlSafe(format!("SELECT * FROM {table}"));
        let rows = sqlx::query(sql).fetch_all(&mut database).await.unwrap();
        let text = |row: &sqlx::any::AnyRow| {
            let column = |index: usize| {
                let bytes = row.try_get::<Option<Vec<u8>>, _>(index).map(|value| format!("{value:?}"));
                let number = || row.try_get::<Option<i64>, _>(index).map(|value| format!("{value:?}"));
                let words = || row.try_get::<Option<String>, _>(index).map(|value| format!("{value:?}"));
                bytes.or_else(|_| number()).or_else(|_| words()).unwrap()
            };
            row.columns()
                .iter()
                .map(|c| format!("{}={}", c.name(), column(c.ordinal())))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut rows: Vec<String> = rows.iter().map(text).collect();
        rows.sort();
        found.push(((*table).to_owned(), rows));
    }
    found
}

/// A town on a file, which has something in many tables.
async fn lived_in(stage: &Stage) -> Stage {
    let mut on_file = stage.config.clone();
    on_file.database = None;
    let on_file = Stage { config: on_file, s3: None, clock: stage.clock.clone(), keys: stage.keys.clone() };
    let town = Town::open_to_all(&on_file).await;
    town.done([suspend("midori")], ONE).await;
    let _: warifu_ledger::dsse::Envelope =
        town.ca().post("/v1/stamps", &crate::faults::nonce("stamp")).await.unwrap();
    let Town { kms, .. } = town;
    kms.kill();
    on_file
}

/// The one before may be on its way out.
async fn moved(stage: &Stage, direction: Direction) -> Result<Moved, AuthorityError> {
    loop {
        match move_database(&stage.config, direction).await {
            Err(AuthorityError::Console(warifu_console::ConsoleError::InUse { .. })) => {
                tokio::task::yield_now().await
            }
            result => return result,
        }
    }
}

staged! {
    async fn everything_is_moved_and_nothing_goes_on_in_two_places(stage) {
        let on_file = lived_in(&stage).await;
        let before = everything(&on_file).await;
        assert!(before.iter().filter(|(_, rows)| !rows.is_empty()).count() >= 10, "{before:?}");
        assert!(matches!(stage.refused().await, AuthorityError::TwoDatabases { .. }));

        let done = moved(&stage, Direction::ToServer).await.unwrap();
        assert_eq!(everything(&stage).await, before);
        assert!(done.aside.as_ref().is_some_and(|file| file.exists()) && !on_file.config.database_file().exists());
        assert!(matches!(on_file.refused().await, AuthorityError::DatabaseMoved { .. }));
        assert!(matches!(moved(&stage, Direction::ToServer).await, Err(AuthorityError::NothingToMove { .. })));
        assert!(matches!(moved(&on_file, Direction::ToServer).await, Err(AuthorityError::NoServer)));

        // It lives on there: numbers go on, too.
        let town = Town::open(&stage).await;
        assert_eq!(town.state().await.tree().size(), done.leaves);
        town.done([resume("midori")], TWO).await;
        town.done([grant("jiro", "tax")], ONE).await;
        town.issue("jiro", "tax").await;
        town.acknowledge("jiro", "tax").await;
        let Town { kms, .. } = town;
        kms.kill();
        let later = everything(&stage).await;

        // And back. The file that was kept aside is an older state.
        let back = moved(&stage, Direction::ToFile).await.unwrap();
        assert!(back.leaves > done.leaves);
        assert_eq!(everything(&on_file).await, later);
        assert_eq!(Town::open(&on_file).await.state().await.tree().size(), back.leaves);
    }

    async fn what_was_torn_in_the_middle_is_ended_and_what_is_there_is_not_overwritten(stage) {
        let on_file = lived_in(&stage).await;
        let before = everything(&on_file).await;
        // Ended after the last row was written, and before it counted.
        let (from, to) = (on_file.config.place().unwrap(), stage.config.place().unwrap());
        {
            let (source, target) = (from.open(tables()).await.unwrap(), to.open(tables()).await.unwrap());
            let mut reading = storage::begin_reading(&source).await.unwrap();
            let mut writing = storage::begin(&target).await.unwrap();
            storage::copy::copy(&mut reading, &mut writing, &TABLES).await.unwrap();
            drop(writing);
            let mut looking = storage::begin(&target).await.unwrap();
            assert!(storage::copy::is_empty(&mut looking, &TABLES).await.unwrap(), "as empty as before");
            drop((looking, reading));
            source.close().await;
            target.close().await;
        }
        let aside = moved(&stage, Direction::ToServer).await.unwrap().aside.unwrap();
        // Ended between the commit and the other name.
        std::fs::rename(&aside, on_file.config.database_file()).unwrap();
        moved(&stage, Direction::ToServer).await.unwrap();
        assert_eq!(everything(&stage).await, before);

        // Something else is there.
        std::fs::rename(&aside, on_file.config.database_file()).unwrap();
        let town = Town::open(&on_file).await;
        town.done([resume("midori")], TWO).await;
        let Town { kms, .. } = town;
        kms.kill();
        let refused = moved(&stage, Direction::ToServer).await;
        assert!(matches!(refused, Err(AuthorityError::DatabaseNotEmpty { .. })));
        assert!(on_file.config.database_file().exists());
        assert_eq!(everything(&stage).await, before);
    }

    async fn a_file_with_a_write_ahead_log_beside_it_gets_no_other_name(stage) {
        let on_file = lived_in(&stage).await;
        let file = on_file.config.database_file();
        let log = file.with_file_name("authority.sqlite-wal");
        let place = on_file.config.place().unwrap();
        // Somebody reads, so that SQLite cannot bring what is written from here on into the file.
        let reader = place.read_only_pool().await.unwrap();
        let mut reading = storage::begin_reading(&reader).await.unwrap();
        sqlx::query("SELECT size FROM ledger_head").fetch_one(&mut *reading).await.unwrap();
        let writer = place.open(tables()).await.unwrap();
        // There and back: what does not change is not written.
        for sql in ["UPDATE ledger_head SET size = size + 1", "UPDATE ledger_head SET size = size - 1"] {
            sqlx::query(sql).execute(&writer).await.unwrap();
        }
        writer.close().await;
        assert!(moved(&stage, Direction::ToServer).await.is_err());
        assert!(file.exists() && std::fs::metadata(&log).unwrap().len() > 0);
        drop(reading);
        reader.close().await;
        moved(&stage, Direction::ToServer).await.unwrap();

        // Nor does a file come to lie beside the log of another.
        std::fs::write(&log, "another's").unwrap();
        let refused = moved(&stage, Direction::ToFile).await;
        assert!(matches!(refused, Err(AuthorityError::InTheWay { file }) if file == log));
    }

    async fn every_table_is_copied_and_both_databases_have_the_same(stage) {
        let on_file = lived_in(&stage).await;
        let (file, server) = (on_file.config.place().unwrap(), stage.config.place().unwrap());
        for (place, sql) in [
            (file, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"),
            (server, "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'"),
        ] {
            let pool = place.open(tables()).await.unwrap();
            let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
            let found: BTreeSet<&str> = found.iter().map(String::as_str).filter(|name| *name != "_sqlx_migrations").collect();
            assert_eq!(found, storage::copy::LEDGER.iter().chain(&TABLES).copied().collect());
            pool.close().await;
        }
    }

    async fn the_command_says_what_it_did(stage) {
        let on_file = lived_in(&stage).await;
        let data = stage.config.data.file_name().unwrap().to_str().unwrap().to_owned();
        let run = |word: &str| {
            let output = program(&stage, &data).args(["move-database"]).args(Some(word).filter(|word| !word.is_empty())).output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (done, told, why) = loop {
            let ran = run("");
            if !ran.2.contains("in use") {
                break ran;
            }
        };
        assert!(done, "{why}");
        let aside = on_file.config.database_file().with_file_name("authority.sqlite.moved");
        assert!(told.starts_with("moved ") && told.ends_with(&format!("kept {}\n", aside.display())), "{told}");
        let (done, _, why) = run("");
        assert!(!done && why.contains("authority.sqlite"), "{why}");
        let (done, told, why) = run("--back");
        assert!(done && told.starts_with("moved "), "{why}");
    }
}

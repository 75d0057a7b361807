//! What the services say to the people at their consoles when they cannot go on: every fault in words, Japanese and English.
//!
//! Their logs are for operators and programs, and stay English.

use std::error::Error;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use warifu_api::client::ClientError;
use warifu_envelope::WholeError;
use warifu_hardware::hsm::HsmError;
use warifu_replica::ReplicaError;
use warifu_replica::follow::FollowError;
use warifu_replica::storage::StorageError;
use warifu_texts::{Message, Sources, Spoken, system};

use crate::ConsoleError;
use crate::backup::BackupFault;

/// The texts of every service. Each has its own beside them.
pub const CONSOLE: Sources =
    Sources { ja: include_str!("../locales/ja/console.ftl"), en: include_str!("../locales/en/console.ftl") };

impl Spoken for ConsoleError {
    fn message(&self) -> Message {
        match self {
            Self::File { path, source } => {
                Message::new("fault-file").with("path", path.display()).with_message("why", system(source))
            }
            // With line and column, and the line itself.
            Self::Config { path, source } => Message::new("fault-config")
                .with("path", path.display())
                .with("why", source.to_string().trim_end()),
            Self::Json { path, source } => {
                Message::new("fault-json").with("path", path.display()).with("why", source)
            }
            Self::InUse { folder } => Message::new("fault-in-use").with("folder", folder.display()),
            Self::PinRefusedBefore { pin_file } => {
                Message::new("hsm-pin-refused-before").with("path", pin_file.display())
            }
            Self::KmsTwice => Message::new("fault-kms-twice"),
            Self::NotTheKms { path } => Message::new("fault-not-the-kms").with("path", path.display()),
            Self::NotAFounding { path, .. } => {
                Message::new("fault-not-a-founding").with("path", path.display())
            }
            Self::NobodyConfirms => Message::new("fault-nobody-confirms"),
            Self::NotConfirmed => Message::new("fault-not-confirmed"),
            Self::OtherFingerprint { expected, found } => {
                Message::new("fault-other-fingerprint").with("expected", expected).with("found", found)
            }
            Self::KeysNotInUse => Message::new("fault-keys-not-in-use"),
            Self::FormerTransportKey => Message::new("fault-former-transport-key"),
            Self::Listen { address, source } => {
                Message::new("fault-listen").with("address", address).with_message("why", system(source))
            }
            Self::Hsm(error) => hsm(error),
            Self::Database(error) => storage(error),
            Self::OpenToOthers { path } => Message::new("fault-open-to-others").with("path", path.display()),
            Self::Statement(error) => unexpected(error),
            Self::Texts(error) => unexpected(error),
            Self::Randomness(_) => Message::new("fault-randomness"),
            Self::System(source) => Message::new("fault-system").with_message("why", system(source)),
        }
    }
}

impl Spoken for BackupFault {
    fn message(&self) -> Message {
        match self {
            Self::NotFounded => Message::new("backup-not-founded"),
            Self::NoCustodians => Message::new("backup-no-custodians"),
            Self::CustodiansGone { living, needed } => {
                Message::new("backup-custodians-gone").with("living", living).with("needed", needed)
            }
            Self::HalvesLost { units } => {
                let named: Vec<String> = units.iter().map(ToString::to_string).collect();
                Message::new("backup-halves-lost").with("count", units.len()).with("units", named.join(", "))
            }
            Self::OtherKeys => Message::new("backup-other-keys"),
            Self::NotEmpty => Message::new("backup-not-empty"),
            Self::OtherService => Message::new("backup-other-service"),
            Self::OtherContent { .. } | Self::OtherHalf { .. } => {
                Message::new("backup-unsound").with("why", self)
            }
            Self::Backup(error) => error.message(),
            Self::Whole(WholeError::Exists { path }) => {
                Message::new("backup-exists").with("path", path.display())
            }
            Self::Whole(WholeError::Create { source, .. } | WholeError::Publish { source, .. })
            | Self::File(source) => Message::new("backup-io").with_message("why", system(source)),
            Self::Whole(other) => unexpected(other),
            Self::Scalar(error) => unexpected(error),
            Self::Hsm(error) => hsm(error),
            Self::Database(error) => database(error),
            Self::Storage(error) => storage(error),
            Self::Replica(error) => replica(error),
            Self::Console(error) => error.message(),
            Self::Stopping => Message::new("fault-stopping"),
        }
    }
}

/// What the HSM's fault means to the person who looks after it.
#[must_use]
pub fn hsm(error: &HsmError) -> Message {
    let about = |id, label: &String| Message::new(id).with("label", label);
    match error {
        HsmError::ModuleUnusable { path, .. } => {
            Message::new("hsm-module-unusable").with("path", path.display()).with("why", reason(error))
        }
        HsmError::TokenMissing { label } => about("hsm-token-missing", label),
        HsmError::TokenExists { label } => about("hsm-token-exists", label),
        HsmError::NoFreeSlot => Message::new("hsm-no-free-slot"),
        HsmError::TokenLabelLength { .. } => Message::new("hsm-token-label-length"),
        HsmError::AlreadyOpen { label } => about("hsm-already-open", label),
        HsmError::PinWrong { label } => about("hsm-pin-wrong", label),
        HsmError::PinUnusable { label } => about("hsm-pin-unusable", label),
        HsmError::PinUnreadable { path, source } => Message::new("hsm-pin-unreadable")
            .with("path", path.display())
            .with_message("why", system(source)),
        HsmError::PinExposed { path, mode } => {
            Message::new("hsm-pin-exposed").with("path", path.display()).with("mode", format!("{mode:03o}"))
        }
        HsmError::MechanismMissing { name } => Message::new("hsm-mechanism-missing").with("name", name),
        HsmError::CapacityExhausted { .. } => Message::new("hsm-capacity-exhausted"),
        HsmError::KeyMissing { label } | HsmError::GrantKeyMissing { label } => {
            about("hsm-key-missing", label)
        }
        HsmError::KeyIncomplete { label } => about("hsm-key-incomplete", label),
        HsmError::KeyAmbiguous { label, .. } => about("hsm-key-ambiguous", label),
        HsmError::KeyExposed { label } => about("hsm-key-exposed", label),
        HsmError::ShareRefused { .. } | HsmError::SealBroken => Message::new("hsm-other-token"),
        HsmError::AnswerMalformed { .. }
        | HsmError::PublicKeyInvalid { .. }
        | HsmError::SessionObjectStuck { .. }
        | HsmError::Operation { .. }
        | HsmError::Binding { .. } => Message::new("hsm-fails").with("why", reason(error)),
        other => Message::new("hsm-fails").with("why", reason(other)),
    }
}

/// What the fault of a database file means.
#[must_use]
pub fn storage(error: &StorageError) -> Message {
    match error {
        StorageError::File { path, source } => Message::new("database-cannot-be-opened")
            .with("path", path.display())
            .with_message("why", system(source)),
        StorageError::Damaged { path, .. } => {
            Message::new("database-damaged-file").with("path", path.display())
        }
        StorageError::Database(error) => database(error),
        // Where PostgreSQL refuses what the migration does, it is not the version.
        StorageError::Migration(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            database(error)
        }
        StorageError::Migration(_) | StorageError::MigrationVersion { .. } => {
            Message::new("database-other-version").with("why", reason(error))
        }
        StorageError::NotPostgres => Message::new("database-not-postgres"),
        StorageError::PasswordInAddress => Message::new("database-password-in-address"),
        StorageError::NotVerified { host } => Message::new("database-not-verified").with("host", host),
        StorageError::TooOld { version } => Message::new("database-too-old").with("version", version),
        StorageError::OtherEncoding { encoding } => {
            Message::new("database-other-encoding").with("encoding", encoding)
        }
        StorageError::Differs { table } => Message::new("database-copy-differs").with("table", *table),
        StorageError::NotDurable { setting } => Message::new("database-not-durable").with("setting", setting),
        other => unexpected(other),
    }
}

/// What the database's fault means.
#[must_use]
pub fn database(error: &sqlx::Error) -> Message {
    match error {
        // A file has no such faults: SQLite tells its own.
        sqlx::Error::Io(source) => Message::new("database-unreachable").with_message("why", system(source)),
        sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => {
            Message::new("database-unreachable").with("why", reason(error))
        }
        sqlx::Error::Database(said) if said.try_downcast_ref::<PgDatabaseError>().is_some() => {
            postgres(error, &said.code().unwrap_or_default())
        }
        _ => sqlite(error),
    }
}

/// Error codes of PostgreSQL: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres(error: &sqlx::Error, code: &str) -> Message {
    let about = |id| Message::new(id).with("why", reason(error));
    match (code, code.get(..2).unwrap_or_default()) {
        (_, "28") => about("database-login-refused"),
        ("3D000", _) => about("database-not-made"),
        ("42501" | "3F000", _) => about("database-no-rights"),
        ("53100", _) => Message::new("database-disk-full"),
        ("25006", _) => Message::new("database-read-only"),
        // Whoever holds the lock does not let go.
        ("55P03", _) => Message::new("database-in-use"),
        ("53300", _) | (_, "08" | "57") => about("database-unreachable"),
        (_, "XX") => Message::new("database-damaged"),
        _ => about("database-fails"),
    }
}

/// SQLite's result codes: <https://www.sqlite.org/rescode.html>.
fn sqlite(error: &sqlx::Error) -> Message {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match code.map(|extended| extended & 0xff) {
        Some(5 | 6) => Message::new("database-in-use"),
        Some(8) => Message::new("database-read-only"),
        Some(11 | 26) => Message::new("database-damaged"),
        Some(13) => Message::new("database-disk-full"),
        Some(14) => Message::new("database-not-there"),
        _ => Message::new("database-fails").with("why", reason(error)),
    }
}

/// What the fault of the copy of the ledger means.
#[must_use]
pub fn replica(error: &ReplicaError) -> Message {
    match error {
        ReplicaError::Rejected(rejected) => rejected.message(),
        ReplicaError::Storage(error) => database(error),
        ReplicaError::OtherOrganization { expected, found } => {
            Message::new("ledger-other-organization").with("expected", expected).with("found", found)
        }
        ReplicaError::Contradicts { .. } => Message::new("rejected-fork"),
        ReplicaError::Leaf(_)
        | ReplicaError::Gap { .. }
        | ReplicaError::Checkpoint(_)
        | ReplicaError::NotCovered { .. }
        | ReplicaError::NoSuccessor
        | ReplicaError::Backdated { .. } => Message::new("ledger-unsound").with("why", reason(error)),
        ReplicaError::Shrunk { size, had } => {
            Message::new("database-put-back").with("size", size).with("had", had)
        }
        ReplicaError::Overtaken => Message::new("database-in-use"),
        ReplicaError::ShuttingDown => Message::new("fault-stopping"),
        other => unexpected(other),
    }
}

/// Why the kms cannot be followed.
#[must_use]
pub fn follow(error: &FollowError) -> Message {
    match error {
        FollowError::NothingPinned => Message::new("fault-no-organization"),
        FollowError::Client(error) => client(error),
        other => unexpected(other),
    }
}

/// Why the kms did not answer.
#[must_use]
pub fn client(error: &ClientError) -> Message {
    let about = |id, address: &String| Message::new(id).with("address", address);
    match error {
        ClientError::Unreachable { address, source } => {
            about("kms-unreachable", address).with_message("why", system(source))
        }
        ClientError::NotTrusted { address, .. } => about("kms-not-trusted", address),
        ClientError::TimedOut { address } => about("kms-timed-out", address),
        ClientError::Broken { address, .. } => about("kms-broke-off", address),
        ClientError::Refused { address, .. } | ClientError::Nonsense { address, .. } => {
            about("kms-refuses", address).with("why", reason(error))
        }
        ClientError::Tls(error) => unexpected(error),
        other => unexpected(other),
    }
}

/// A fault that only a mistake in our own programs leads to.
#[must_use]
pub fn unexpected(error: &dyn Error) -> Message {
    Message::new("fault-unexpected").with("why", reason(error))
}

/// An error with all that led to it, in one line.
fn reason(error: &dyn Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Transparent errors say the same as their source.
        if !reason.ends_with(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::io;

    use warifu_texts::{Language, Texts, variants};

    use super::*;

    const HERE: &str = include_str!("words.rs");

    /// Enums of other folders may grow; the compiler does not say so here.
    #[test]
    fn no_fault_of_the_parts_is_without_words() {
        for (name, source) in [
            ("HsmError", include_str!("../../hardware/src/hsm/error.rs")),
            ("StorageError", include_str!("../../replica/src/storage.rs")),
            ("ReplicaError", include_str!("../../replica/src/replica.rs")),
            ("FollowError", include_str!("../../replica/src/follow.rs")),
            ("ClientError", include_str!("../../api/src/client.rs")),
        ] {
            let variants = variants(source, name);
            assert!(variants.len() > 1, "{name}");
            for (variant, _) in variants {
                assert!(HERE.contains(&format!("{name}::{variant}")), "{name}::{variant} has no words");
            }
        }
    }

    #[test]
    fn a_fault_reads_the_same_in_both_languages() {
        let fault = ConsoleError::Listen {
            address: "127.0.0.1:7443".to_owned(),
            source: io::Error::from(io::ErrorKind::AddrInUse),
        };
        let said = |language| Texts::load(language, &[CONSOLE]).unwrap().explain(&fault.message()).what;
        assert_eq!(
            said(Language::Japanese),
            "127.0.0.1:7443 で待ち受けできません（ほかのプログラムが使っています）。"
        );
        assert_eq!(said(Language::English), "Cannot listen on 127.0.0.1:7443 (another program uses it).");
    }

    #[test]
    fn every_fault_of_a_database_file_is_told_from_the_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("damaged.sqlite");
            std::fs::write(&path, [b'x'; 4096]).unwrap();
            let opened = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await;
            let error = match opened {
                Ok(pool) => sqlx::query("SELECT * FROM t").execute(&pool).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(database(&error).id(), "database-damaged", "{error}");
            let nowhere = format!("sqlite://{}/no/file", folder.path().display());
            let error = sqlx::SqlitePool::connect(&nowhere).await.unwrap_err();
            assert_eq!(database(&error).id(), "database-not-there", "{error}");
            let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
            let mut connection = pool.acquire().await.unwrap();
            sqlx::query("PRAGMA query_only = ON").execute(&mut *connection).await.unwrap();
            let error = sqlx::query("CREATE TABLE t (x)").execute(&mut *connection).await.unwrap_err();
            assert_eq!(database(&error).id(), "database-read-only", "{error}");
        });
    }
}

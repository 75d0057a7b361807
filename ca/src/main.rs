//! The command `warifu-ca`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sqlx::AnyPool;
use warifu_ca::config::Config;
use warifu_ca::founding::{FoundingError, Proposal, service_statement};
use warifu_ca::keys::Keys;
use warifu_ca::service::{Service, ServiceError};
use warifu_ca::vault::kept;
use warifu_ca::words::CA;
use warifu_console::backup::{self, BackupFault};
use warifu_console::process::Ended;
use warifu_console::{ConsoleError, Settings as _, doctor, file, monitor, process, token, words};
use warifu_hardware::hsm::{Hsm, HsmError};
use warifu_ledger::Digest;
use warifu_ledger::state::State;
use warifu_ledger::statement::ServiceKind;
use warifu_replica::storage::{self, Place, StorageError};
use warifu_texts::{Message, Spoken};

/// The issuing authority: it holds the issuer halves of the organization's keys, and trusts only its own reading of the
/// ledger. It listens nowhere and dials out to the kms.
#[derive(Parser)]
#[command(name = "warifu-ca")]
struct Arguments {
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/warifu/ca.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init {
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
    },
    Found {
        file: PathBuf,
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<Digest>,
    },
    Doctor {
        #[arg(long)]
        json: bool,
    },
    Backup(backup::Backup),
    Restore(backup::Restore),
    Rotate,
    Run,
}

/// Why the program did not do what it was told.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Hsm(#[from] HsmError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Backup(#[from] BackupFault),
    #[error(transparent)]
    Founding(#[from] FoundingError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Spoken for Fault {
    fn message(&self) -> Message {
        match self {
            Self::Console(error) => error.message(),
            Self::Hsm(error) => words::hsm(error),
            Self::Storage(error) => words::storage(error),
            Self::Backup(error) => error.message(),
            Self::Founding(error) => error.message(),
            Self::Service(error) => error.message(),
        }
    }
}

/// Memory that is freed is wiped: secrets pass through buffers of HTTP, TLS and JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    process::program(CA, |arguments: Arguments| start(&arguments))
}

fn start(arguments: &Arguments) -> Result<ExitCode, Fault> {
    if let Command::Doctor { json } = arguments.command {
        let look = async { Ok::<_, ConsoleError>(warifu_ca::doctor::look(&arguments.config).await) };
        return Ok(doctor::show(&process::run(look)?, json)?.into());
    }
    let config = Config::read(&arguments.config)?;
    match &arguments.command {
        Command::Init { so_pin_file } => init(&config, so_pin_file.as_deref())?,
        Command::Found { file, fingerprint } => process::run(found(&config, file, *fingerprint))?,
        Command::Backup(command) => {
            process::run(async {
                let token =
                    token_of(&config, doctor::folded(&Place::File(config.database())).await.as_ref())?;
                backup::backup(&kept(&config), &token, command).await.map_err(Fault::from)
            })?;
        }
        Command::Restore(command) => {
            let migrations = sqlx::migrate!("./migrations");
            let token = token_of(&config, None)?;
            process::run(backup::restore_with(&kept(&config), token, command, migrations))?;
        }
        Command::Rotate => process::run(rotate(&config))?,
        Command::Run => process::run(run(&config))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn init(config: &Config, so_pin_file: Option<&Path>) -> Result<(), Fault> {
    file::make_folder(&config.data)?;
    let hsm = config.hsm.init(so_pin_file)?;
    let state =
        process::run(async { Ok::<_, Fault>(doctor::folded(&Place::File(config.database())).await) })?;
    let statement = service_statement(&named(Keys::ensure(&hsm)?, state.as_ref())?)?;
    file::write_json(&config.statement(), &statement)?;
    Ok(token::announce(&config.statement(), &statement)?)
}

async fn rotate(config: &Config) -> Result<(), Fault> {
    let state = doctor::folded(&Place::File(config.database())).await;
    let own = open_keys(config)?.1.own;
    let (path, statement) = own.rotate(ServiceKind::Ca, state.as_ref(), &config.data)?;
    Ok(token::announce(&path, &statement)?)
}

/// The keys that this ledger names.
fn named(keys: Keys, state: Option<&State>) -> Result<Keys, HsmError> {
    match state {
        Some(state) => keys.named_in(state),
        None => Ok(keys),
    }
}

fn open_keys(config: &Config) -> Result<(Hsm, Keys), Fault> {
    let hsm = config.hsm.open()?;
    let keys = Keys::ensure(&hsm)?;
    Ok((hsm, keys))
}

fn token_of(config: &Config, state: Option<&State>) -> Result<backup::Token, Fault> {
    let (hsm, keys) = open_keys(config)?;
    let keys = named(keys, state)?;
    Ok(backup::Token { hsm, keys: keys.service_keys(), signing: keys.own.signing, kek: keys.kek })
}

async fn open_database(config: &Config) -> Result<AnyPool, Fault> {
    Ok(storage::open(&config.database(), sqlx::migrate!("./migrations")).await?)
}

async fn found(config: &Config, file: &Path, fingerprint: Option<Digest>) -> Result<(), Fault> {
    let _alone = file::lock_folder(&config.data)?;
    let (_, keys) = open_keys(config)?;
    let pool = open_database(config).await?;
    let proposal = Proposal::read(file, &keys)?;
    let envelope = proposal.confirm(fingerprint)?.accept(&keys, &pool).await?;
    pool.close().await;
    process::say(&format!("founded {}", envelope.digest()))?;
    Ok(())
}

async fn run(config: &Config) -> Result<(), Fault> {
    let _alone = file::lock_folder(&config.data)?;
    let mut stop = process::Stop::listen()?;
    let (hsm, keys) = open_keys(config)?;
    let pool = open_database(config).await?;
    let watchers = monitor::listen(config.monitor.as_ref()).await?;
    let mut begun = false;
    loop {
        let service = Service::start(config, config.kms.key()?, keys.clone(), pool.clone()).await?;
        service.keys().own.state_anew(&config.statement(), ServiceKind::Ca, None)?;
        if !std::mem::replace(&mut begun, true) {
            process::say("ready")?;
        }
        let watched = service.watched(hsm.clone());
        let ended = tokio::select! {
            worked = service.run(stop.told()) => worked?,
            watched = monitor::serve(watchers.as_ref(), "ca", watched) => {
                watched?;
                Ended::Told
            }
        };
        if ended == Ended::Told {
            break;
        }
        tracing::info!("the ledger names other keys for the ca: it goes on with them");
    }
    pool.close().await;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use warifu_console::words::CONSOLE;
    use warifu_texts::{Language, Texts, help};

    use super::*;

    #[test]
    fn every_command_and_argument_is_explained_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let texts = Texts::load(language, &[CONSOLE, CA]).unwrap();
            assert_eq!(help::missing(Arguments::command(), &texts), Vec::<String>::new());
            help::explained(Arguments::command(), &texts).debug_assert();
        }
    }
}

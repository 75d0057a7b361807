//! The command `warifu-ca`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sqlx::SqlitePool;
use warifu_ca::config::Config;
use warifu_ca::founding::{Proposal, service_statement};
use warifu_ca::keys::Keys;
use warifu_ca::service::Service;
use warifu_console::{Settings as _, doctor, file, process, token};
use warifu_ledger::Digest;
use warifu_replica::storage;

/// The issuing authority: it holds the issuer halves of the organization's keys, and trusts only its own reading of the
/// ledger. It listens nowhere and dials out to the kms.
#[derive(Parser)]
#[command(name = "warifu-ca", version)]
struct Arguments {
    /// The configuration, TOML
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/warifu/ca.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the token and its keys, and writes `statement.json`, whose fingerprint the officers compare. Changes nothing
    /// that is there
    Init {
        /// The token's security officer's PIN. Without it, one is drawn and forgotten: nobody can then set another user PIN
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
    },
    /// Signs a founding that the officers have signed, and serves its organization from then on
    Found {
        /// The founding; the signature is added in place
        file: PathBuf,
        /// Its fingerprint, as the officers read it out; without it, you are asked
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<Digest>,
    },
    /// Looks for what does not work, each finding with what to do. Changes nothing, and may be run beside the service. Ends
    /// with 6 if something does not work
    Doctor {
        /// Answer in JSON, for programs
        #[arg(long)]
        json: bool,
        /// ja or en [default: from the locale]
        #[arg(long, value_name = "LANG")]
        lang: Option<String>,
    },
    /// Follows the kms and does what the ledger asks for, until it is told to stop. Prints `ready` when it does
    Run,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warifu-ca: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    process::forbid_core_dumps()?;
    process::log_to_stderr();
    if let Command::Doctor { json, lang } = &arguments.command {
        let language = doctor::language(lang.as_deref());
        let look =
            async { Ok::<_, warifu_console::ConsoleError>(warifu_ca::doctor::look(&arguments.config).await) };
        return Ok(doctor::show(&process::run(look)?, *json, language)?.into());
    }
    let config = Config::read(&arguments.config)?;
    match &arguments.command {
        Command::Init { so_pin_file } => init(&config, so_pin_file.as_deref())?,
        Command::Found { file, fingerprint } => process::run(found(&config, file, *fingerprint))?,
        Command::Run => process::run(run(&config))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn init(config: &Config, so_pin_file: Option<&Path>) -> anyhow::Result<()> {
    file::make_folder(&config.data)?;
    let keys = Keys::ensure(&config.hsm.init(so_pin_file)?)?;
    let statement = service_statement(&keys)?;
    file::write_json(&config.statement(), &statement)?;
    Ok(token::announce(&config.statement(), &statement)?)
}

fn open_keys(config: &Config) -> anyhow::Result<Keys> {
    Ok(Keys::ensure(&config.hsm.open()?)?)
}

async fn open_database(config: &Config) -> anyhow::Result<SqlitePool> {
    Ok(storage::open(&config.database(), sqlx::migrate!("./migrations")).await?)
}

async fn found(config: &Config, file: &Path, fingerprint: Option<Digest>) -> anyhow::Result<()> {
    let _alone = file::lock_folder(&config.data)?;
    let keys = open_keys(config)?;
    let pool = open_database(config).await?;
    let proposal = Proposal::read(file, &keys)?;
    let envelope = proposal.confirm(fingerprint)?.accept(&keys, &pool).await?;
    pool.close().await;
    process::say(&format!("founded {}", envelope.digest()))?;
    Ok(())
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let _alone = file::lock_folder(&config.data)?;
    let stop = process::Stop::listen()?;
    let keys = open_keys(config)?;
    let pool = open_database(config).await?;
    let service = Service::start(config, config.kms.key()?, keys, pool.clone()).await?;
    process::say("ready")?;
    service.run(stop.told()).await?;
    pool.close().await;
    tracing::info!("stopped");
    Ok(())
}

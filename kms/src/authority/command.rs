//! The authority's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use warifu_console::backup;
use warifu_console::founding::Proposal;
use warifu_console::{Settings as _, doctor, file, monitor, process, token};
use warifu_ledger::Digest;
use warifu_ledger::register::Record;
use warifu_replica::clock::SystemClock;

use super::doctor::look;
use super::founding::{found, init};
use super::units::kept;
use super::{Authority as Service, Config, Keys, Result};

/// What can be asked of the authority at its console.
#[derive(Debug, Args)]
pub struct Authority {
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/warifu/authority.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init {
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
    },
    Found {
        file: PathBuf,
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<Digest>,
        #[arg(long, value_name = "FILE")]
        records: Option<PathBuf>,
    },
    Doctor {
        #[arg(long)]
        json: bool,
    },
    Backup(backup::Backup),
    Restore(backup::Restore),
    Run {
        #[arg(long)]
        without_ca: bool,
    },
}

/// Runs a command to its end.
///
/// # Errors
/// [`super::AuthorityError`].
pub fn run(authority: &Authority) -> Result<ExitCode> {
    if let Command::Doctor { json } = &authority.command {
        let findings = process::run(async { Ok::<_, super::AuthorityError>(look(&authority.config).await) })?;
        return Ok(doctor::show(&findings, *json)?.into());
    }
    let config = Config::read(&authority.config)?;
    match &authority.command {
        Command::Init { so_pin_file } => {
            let statement = init(&config, so_pin_file.as_deref())?;
            token::announce(&config.statement(), &statement)?;
        }
        Command::Found { file, fingerprint, records } => {
            begin(&config, file, *fingerprint, records.as_deref())?;
        }
        Command::Backup(command) => {
            process::run(backup::backup(&kept(&config), &token_of(&config)?, command))?;
        }
        Command::Restore(command) => {
            let migrations = sqlx::migrate!("migrations/authority");
            let token = token_of(&config)?;
            process::run(backup::restore_with(&kept(&config), token, command, migrations))?;
        }
        Command::Run { without_ca } => process::run(serve(&config, *without_ca))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn token_of(config: &Config) -> Result<backup::Token> {
    let hsm = config.hsm.open()?;
    let keys = Keys::ensure(&hsm)?;
    Ok(backup::Token { hsm, keys: keys.public(), signing: keys.signing, kek: keys.kek })
}

fn begin(config: &Config, file: &Path, fingerprint: Option<Digest>, records: Option<&Path>) -> Result<()> {
    let proposal = Proposal::read(file)?;
    let records: Vec<Record> = records.map(file::read_json).transpose()?.unwrap_or_default();
    let confirmed = proposal.confirm(fingerprint)?;
    let completed = process::run(found(config, Arc::new(SystemClock), confirmed, records))?;
    file::write_json(file, &completed)?;
    Ok(process::say(&format!("founded {}", completed.digest()))?)
}

async fn serve(config: &Config, without_ca: bool) -> Result<()> {
    let stop = process::Stop::listen()?;
    let authority = Service::open(config, Arc::new(SystemClock)).await?;
    if authority.is_recovering() {
        tracing::warn!(
            "the ledger names other keys for the kms: it waits until two officers order those of this token"
        );
        process::say("recovering")?;
    }
    if without_ca {
        authority.do_not_wait_for_the_ca();
    }
    let crls = process::bind(&config.crl_listen()).await?;
    let listener = process::listen(&config.listen).await?;
    tokio::select! {
        served = authority.serve(listener, stop.told()) => served?,
        () = authority.serve_crls(crls, std::future::pending()) => {}
        watched = monitor::serve(config.monitor.as_ref(), "authority", authority.clone()) => watched?,
    }
    tracing::info!("stopped");
    Ok(())
}

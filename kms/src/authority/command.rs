//! The authority's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use warifu_console::founding::Proposal;
use warifu_console::{Settings as _, doctor, file, process, token};
use warifu_ledger::Digest;
use warifu_ledger::register::Record;
use warifu_replica::clock::SystemClock;

use super::doctor::look;
use super::founding::{found, init};
use super::{Authority as Service, Config, Result};

/// What can be asked of the authority at its console.
#[derive(Debug, Args)]
pub struct Authority {
    /// The configuration, TOML.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/warifu/authority.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the token and its keys, and writes `statement.json`, whose fingerprint the officers compare. Changes
    /// nothing that is there.
    Init {
        /// The token's security officer's PIN. Without it, one is drawn and forgotten: nobody can then set another user PIN.
        #[arg(long, value_name = "FILE")]
        so_pin_file: Option<PathBuf>,
    },
    /// Founds the organization: checks the founding that the officers and the ca signed, signs it, and begins the ledger.
    Found {
        /// The founding; the completed one takes its place.
        file: PathBuf,
        /// Its fingerprint, as the officers read it out; without it, you are asked.
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<Digest>,
        /// The register's records for the founding, JSON.
        #[arg(long, value_name = "FILE")]
        records: Option<PathBuf>,
    },
    /// Looks for what does not work, each finding with what to do. Changes nothing, and may be run beside the service. Ends
    /// with 6 if something does not work.
    Doctor {
        /// Answer in JSON, for programs.
        #[arg(long)]
        json: bool,
        /// ja or en [default: from the locale].
        #[arg(long, value_name = "LANG")]
        lang: Option<String>,
    },
    /// Serves until it is told to stop. Prints `ready ADDRESS` when it does.
    Run,
}

/// Runs a command to its end.
///
/// # Errors
/// [`super::AuthorityError`].
pub fn run(authority: &Authority) -> Result<ExitCode> {
    if let Command::Doctor { json, lang } = &authority.command {
        let findings = process::run(async { Ok::<_, super::AuthorityError>(look(&authority.config).await) })?;
        return Ok(doctor::show(&findings, *json, doctor::language(lang.as_deref()))?.into());
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
        Command::Run => process::run(serve(&config))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn begin(config: &Config, file: &Path, fingerprint: Option<Digest>, records: Option<&Path>) -> Result<()> {
    let proposal = Proposal::read(file)?;
    let records: Vec<Record> = records.map(file::read_json).transpose()?.unwrap_or_default();
    let confirmed = proposal.confirm(fingerprint)?;
    let completed = process::run(found(config, Arc::new(SystemClock), confirmed, records))?;
    file::write_json(file, &completed)?;
    Ok(process::say(&format!("founded {}", completed.digest()))?)
}

async fn serve(config: &Config) -> Result<()> {
    let stop = process::Stop::listen()?;
    let authority = Service::open(config, Arc::new(SystemClock)).await?;
    let listener = process::listen(&config.listen).await?;
    authority.serve(listener, stop.told()).await?;
    tracing::info!("stopped");
    Ok(())
}

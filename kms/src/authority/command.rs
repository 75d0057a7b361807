//! The authority's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use warifu_console::backup;
use warifu_console::founding::Proposal;
use warifu_console::process::Ended;
use warifu_console::{Settings as _, doctor, file, monitor, process, token};
use warifu_ledger::Digest;
use warifu_ledger::register::Record;
use warifu_ledger::state::State;
use warifu_ledger::statement::ServiceKind;
use warifu_replica::clock::SystemClock;

use super::doctor::look;
use super::founding::{found, init};
use super::moving::{Direction, move_database, tables};
use super::public::PublicPort;
use super::units::kept;
use super::{Authority as Service, AuthorityError, Config, Keys, Result};

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
    Rotate,
    MoveDatabase {
        #[arg(long)]
        back: bool,
    },
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
            let state = process::run(async { Ok::<_, AuthorityError>(folded(&config).await) })?;
            let statement = init(&config, so_pin_file.as_deref(), state.as_ref())?;
            token::announce(&config.statement(), &statement)?;
        }
        Command::Found { file, fingerprint, records } => {
            begin(&config, file, *fingerprint, records.as_deref())?;
        }
        Command::Backup(command) => {
            process::run(async {
                let token = token_of(&config, folded(&config).await.as_ref())?;
                backup::backup(&kept(&config)?, &token, command).await.map_err(AuthorityError::from)
            })?;
        }
        Command::Restore(command) => {
            let (kept, token) = (kept(&config)?, token_of(&config, None)?);
            process::run(backup::restore_with(&kept, token, command, tables().sqlite))?;
        }
        Command::Rotate => process::run(rotate(&config))?,
        Command::MoveDatabase { back } => process::run(relocate(&config, *back))?,
        Command::Run { without_ca } => process::run(serve(&config, *without_ca))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The ledger that is here already.
async fn folded(config: &Config) -> Option<State> {
    doctor::folded(&config.place().ok()?).await
}

async fn relocate(config: &Config, back: bool) -> Result<()> {
    let direction = if back { Direction::ToFile } else { Direction::ToServer };
    let moved = move_database(config, direction).await?;
    process::say(&format!("moved {}", moved.leaves))?;
    match moved.aside {
        Some(aside) => Ok(process::say(&format!("kept {}", aside.display()))?),
        None => Ok(()),
    }
}

fn token_of(config: &Config, state: Option<&State>) -> Result<backup::Token> {
    let hsm = config.hsm.open()?;
    let keys = Keys::ensure(&hsm, state)?;
    Ok(backup::Token { hsm, keys: keys.public(), signing: keys.own.signing, kek: keys.kek })
}

async fn rotate(config: &Config) -> Result<()> {
    let state = folded(config).await;
    let own = Keys::ensure(&config.hsm.open()?, state.as_ref())?.own;
    let (path, statement) = own.rotate(ServiceKind::Kms, state.as_ref(), &config.data)?;
    Ok(token::announce(&path, &statement)?)
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
    let mut stop = process::Stop::listen()?;
    let mut authority = Service::open(config, Arc::new(SystemClock)).await?;
    if authority.is_recovering() {
        tracing::warn!(
            "the ledger names other keys for the kms: it waits until two officers order those of this token"
        );
        process::say("recovering")?;
    }
    if without_ca {
        authority.do_not_wait_for_the_ca();
    }
    let watchers = monitor::listen(config.monitor.as_ref()).await?;
    let crls = process::Port::of(process::bind(&config.crl_listen()).await?)?;
    let public = PublicPort::take(config.public.as_ref()).await?;
    let port = process::Port::of(process::listen(&config.listen).await?)?;
    loop {
        let ended = tokio::select! {
            served = authority.serve(port.listener()?, stop.told()) => served?,
            () = authority.serve_crls(crls.listener()?, std::future::pending()) => Ended::Told,
            () = authority.clone().sweep_now_and_then() => Ended::Told,
            watched = monitor::serve(watchers.as_ref(), "authority", authority.clone()) => {
                watched?;
                Ended::Told
            }
            () = authority.follow_others() => Ended::Told,
            served = authority.serve_public_port(public.as_ref()) => {
                served?;
                Ended::Told
            }
        };
        if ended == Ended::Told {
            break;
        }
        tracing::info!("the ledger names other keys for the kms: it goes on with them");
        authority = authority.begin_anew(config).await?;
    }
    tracing::info!("stopped");
    Ok(())
}

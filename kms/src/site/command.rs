//! The site's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use warifu_console::keys::OwnKeys;
use warifu_console::process::Ended;
use warifu_console::{Settings as _, doctor, file, monitor, process, token};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::ServiceKind;
use warifu_replica::clock::SystemClock;
use warifu_replica::storage::Place;

use super::config::Config;
use super::doctor::look;
use super::error::SiteError;
use super::service::LABELS;
use super::{Rate, Settings, Site as Service};

/// What can be asked of a site at its console.
#[derive(Debug, Args)]
pub struct Site {
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/warifu/site.toml")]
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
    Doctor {
        #[arg(long)]
        json: bool,
    },
    Rotate,
    Run,
}

/// Runs a command to its end.
///
/// # Errors
/// [`SiteError`].
pub fn run(site: &Site) -> Result<ExitCode, SiteError> {
    if let Command::Doctor { json } = &site.command {
        let findings = process::run(async { Ok::<_, SiteError>(look(&site.config).await) })?;
        return Ok(doctor::show(&findings, *json)?.into());
    }
    let config = Config::read(&site.config)?;
    match &site.command {
        Command::Init { so_pin_file } => {
            let state = process::run(async { Ok::<_, SiteError>(folded(&config).await) })?;
            let statement = init(&config, so_pin_file.as_deref(), state.as_ref())?;
            token::announce(&config.statement(), &statement)?;
        }
        Command::Rotate => process::run(rotate(&config))?,
        Command::Run => process::run(serve(&config))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The ledger that is here already.
async fn folded(config: &Config) -> Option<State> {
    doctor::folded(&Place::File(config.database())).await
}

async fn rotate(config: &Config) -> Result<(), SiteError> {
    let state = folded(config).await;
    let own = OwnKeys::ensure(&config.hsm.open()?, &LABELS)?;
    let (path, statement) = own.rotate(ServiceKind::Site, state.as_ref(), &config.data)?;
    Ok(token::announce(&path, &statement)?)
}

/// Makes the token and its keys, where they are not there yet, and writes the signed statement of the keys to
/// [`warifu_console::Settings::statement`]. Of two sets of keys it takes the one that the ledger names, if there is a ledger
/// already. Blocks. The statement's digest is the fingerprint that people compare.
///
/// # Errors
/// [`SiteError::Console`], [`SiteError::Hsm`].
pub fn init(
    config: &Config,
    so_pin_file: Option<&Path>,
    state: Option<&State>,
) -> Result<Envelope, SiteError> {
    file::make_folder(&config.data)?;
    let hsm = config.hsm.init(so_pin_file)?;
    let own = OwnKeys::ensure(&hsm, &LABELS)?;
    let own =
        own.named(|keys| state.is_some_and(|state| state.sites().any(|(_, site)| site.keys == *keys)))?;
    let address = Some(config.address.clone());
    let envelope = token::statement(ServiceKind::Site, own.public(), address, &own.signing)?;
    file::write_json(&config.statement(), &envelope)?;
    Ok(envelope)
}

async fn serve(config: &Config) -> Result<(), SiteError> {
    let _alone = file::lock_folder(&config.data)?;
    let organization = config.organization.ok_or(SiteError::NoOrganization)?;
    let kms_tls_key = config.kms.key()?.ok_or(SiteError::NoKmsKey)?;
    let mut stop = process::Stop::listen()?;
    let watchers = monitor::listen(config.monitor.as_ref()).await?;
    let mut port = None;
    loop {
        let site = Service::start(Settings {
            pool: Service::database(&config.database()).await?,
            hsm: config.hsm.open()?,
            organization,
            kms_address: config.kms.address.clone(),
            kms_tls_key,
            data: Some(config.data.clone()),
            clock: Arc::new(SystemClock),
            rate: Rate::default(),
        })
        .await?;
        let address = Some(config.address.clone());
        site.own_keys().state_anew(&config.statement(), ServiceKind::Site, address)?;
        let port = match &mut port {
            Some(port) => port,
            none => none.insert(process::Port::of(process::listen(&config.listen).await?)?),
        };
        let ended = tokio::select! {
            served = site.serve(port.listener()?, stop.told()) => served?,
            watched = monitor::serve(watchers.as_ref(), "site", site.watched()) => {
                watched?;
                Ended::Told
            }
        };
        site.shutdown().await;
        if ended == Ended::Told {
            break;
        }
        tracing::info!("the ledger names other keys for this site: it goes on with them");
    }
    tracing::info!("stopped");
    Ok(())
}

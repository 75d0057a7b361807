//! The site's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use warifu_console::{Settings as _, doctor, file, monitor, process, token};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{ServiceKeys, ServiceKind};
use warifu_replica::clock::SystemClock;

use super::config::Config;
use super::doctor::look;
use super::error::SiteError;
use super::service::{SIGNING_KEY, TLS_KEY};
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
            let statement = init(&config, so_pin_file.as_deref())?;
            token::announce(&config.statement(), &statement)?;
        }
        Command::Run => process::run(serve(&config))?,
        Command::Doctor { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the token and its keys, where they are not there yet, and writes the signed statement of the keys to
/// [`warifu_console::Settings::statement`]. Blocks. The statement's digest is the fingerprint that people compare.
///
/// # Errors
/// [`SiteError::Console`], [`SiteError::Hsm`].
pub fn init(config: &Config, so_pin_file: Option<&Path>) -> Result<Envelope, SiteError> {
    file::make_folder(&config.data)?;
    let hsm = config.hsm.init(so_pin_file)?;
    let signing = hsm.ensure_signing_key(SIGNING_KEY)?;
    let keys = ServiceKeys {
        signing: PublicKey(signing.public_key()),
        tls: PublicKey(hsm.ensure_signing_key(TLS_KEY)?.public_key()),
        log: None,
    };
    let envelope = token::statement(ServiceKind::Site, keys, Some(config.address.clone()), &signing)?;
    file::write_json(&config.statement(), &envelope)?;
    Ok(envelope)
}

async fn serve(config: &Config) -> Result<(), SiteError> {
    let _alone = file::lock_folder(&config.data)?;
    let organization = config.organization.ok_or(SiteError::NoOrganization)?;
    let kms_tls_key = config.kms.key()?.ok_or(SiteError::NoKmsKey)?;
    let stop = process::Stop::listen()?;
    let site = Service::start(Settings {
        pool: Service::database(&config.database()).await?,
        hsm: config.hsm.open()?,
        organization,
        kms_address: config.kms.address.clone(),
        kms_tls_key,
        clock: Arc::new(SystemClock),
        rate: Rate::default(),
    })
    .await?;
    let listener = process::listen(&config.listen).await?;
    tokio::select! {
        served = site.serve(listener, stop.told()) => served?,
        watched = monitor::serve(config.monitor.as_ref(), "site", site.watched()) => watched?,
    }
    site.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

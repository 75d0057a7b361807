//! `warifu-agent`: the agent on a member's PC.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use warifu_hardware::card::pkcs11::{ModuleConfig, beside_this_program};
use warifu_ledger::Digest;
use warifu_split_key::point::Point;
use warifu_texts::{Message, Spoken, Texts, help, system};
use warifu_token_agent::makers::{self, MakerError};
use warifu_token_agent::texts::AGENT_PROGRAM;
use warifu_token_agent::{Config, RunError, default_runtime_dir, default_state_dir, run};

/// Watches the card readers of this PC, and opens files while a member's card is in.
///
/// Programs on this PC find it by the file agent.json in the runtime directory. SIGHUP reads the profile again; SIGTERM closes
/// everything that is open and ends the agent.
#[derive(Parser)]
#[command(name = "warifu-agent")]
struct Arguments {
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    #[arg(long = "reader", alias = "readers", value_name = "SUBSTRING")]
    readers: Vec<String>,
    #[arg(long = "card-module", value_name = "FILE[:LABEL]")]
    card_modules: Vec<String>,
    #[arg(long, value_name = "FOLDER")]
    runtime_dir: Option<PathBuf>,
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    #[arg(long, requires = "kms_key", value_name = "ADDRESS")]
    kms: Option<String>,
    #[arg(long, requires = "kms", value_name = "BASE64", value_parser = parse_key)]
    kms_key: Option<Point>,
    #[arg(long = "attestation-root", value_name = "FILE")]
    attestation_roots: Vec<PathBuf>,
    #[arg(long = "attestation-fingerprint", value_name = "HEX")]
    attestation_fingerprints: Vec<Digest>,
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND")]
    viewer: Vec<String>,
}

fn parse_key(text: &str) -> Result<Point, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Point::from_sec1(&bytes).map_err(|error| error.to_string())
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the runtime cannot be started")]
    System(#[source] std::io::Error),
    #[error(transparent)]
    Maker(#[from] MakerError),
}

impl Spoken for Fault {
    fn message(&self) -> Message {
        match self {
            Self::Run(error) => error.message(),
            Self::System(error) => Message::new("run-system").with_message("why", system(error)),
            Self::Maker(error) => error.message(),
        }
    }
}

/// Memory that is freed is wiped: secrets pass through buffers of HTTP, TLS and JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> anyhow::Result<ExitCode> {
    let texts = Texts::load(help::language(), &[AGENT_PROGRAM])?;
    let arguments = match help::read(&texts) {
        Ok(arguments) => arguments,
        Err(code) => return Ok(code),
    };
    let filter =
        EnvFilter::try_from_env("WARIFU_LOG").unwrap_or_else(|_| EnvFilter::new("info,yubikey=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Err(fault) = config(arguments).and_then(start) else { return Ok(ExitCode::SUCCESS) };
    tracing::error!(error = &fault as &dyn Error, "the agent ends");
    warifu_texts::complain(&texts, &texts.explain(&fault.message()), None);
    Ok(ExitCode::FAILURE)
}

fn start(config: Config) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::System)?;
    let ended = runtime.block_on(until_told_to_end(config));
    // A handshake with a site that does not answer must not keep the agent from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended
}

async fn until_told_to_end(config: Config) -> Result<(), Fault> {
    let signal = |kind| signal(kind).map_err(Fault::System);
    let (tell, told) = tokio::sync::mpsc::channel(1);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // A reload that waits already will read what is there then.
            let _ = tell.try_send(());
        }
    });
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(run(config, told, shutdown).await?)
}

fn config(arguments: Arguments) -> Result<Config, Fault> {
    let state_dir = arguments.state_dir.unwrap_or_else(default_state_dir);
    let attestation_roots =
        makers::trusted(&arguments.attestation_roots, &arguments.attestation_fingerprints)?;
    Ok(Config {
        profile: arguments.profile.unwrap_or_else(|| state_dir.join("profile.json")),
        readers: arguments.readers,
        modules: arguments.card_modules.iter().map(|text| module(text)).collect(),
        runtime_dir: arguments.runtime_dir.unwrap_or_else(default_runtime_dir),
        viewer: arguments.viewer,
        site: arguments.site,
        kms: arguments.kms.zip(arguments.kms_key),
        deliveries: state_dir.join("deliveries"),
        attestation_roots,
    })
}

/// A module, and behind a colon the label of the tokens that are meant.
fn module(text: &str) -> ModuleConfig {
    // Where this program's place is not known, the path decides.
    let program = beside_this_program().unwrap_or_else(|_| "warifu-card-module".into());
    match text.split_once(':') {
        Some((file, label)) => {
            ModuleConfig { label: Some(label.to_owned()), ..ModuleConfig::new(program, file) }
        }
        None => ModuleConfig::new(program, text),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use warifu_texts::{Language, outline};

    use super::*;

    #[test]
    fn every_argument_is_explained_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let texts = Texts::load(language, &[AGENT_PROGRAM]).unwrap();
            assert_eq!(help::missing(Arguments::command(), &texts), Vec::<String>::new());
            help::explained(Arguments::command(), &texts).debug_assert();
        }
        assert_eq!(outline(AGENT_PROGRAM.ja), outline(AGENT_PROGRAM.en));
    }
}

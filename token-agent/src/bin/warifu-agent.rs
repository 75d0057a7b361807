//! `warifu-agent`: the agent on a member's PC.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use warifu_split_key::point::Point;
use warifu_token_agent::{Config, default_runtime_dir, default_state_dir, run};

/// Watches the card readers of this PC, and opens files while a member's card is in.
///
/// Programs on this PC find it by the file agent.json in the runtime directory. SIGHUP reads the profile again; SIGTERM closes
/// everything that is open and ends the agent.
#[derive(Parser)]
#[command(name = "warifu-agent", version)]
struct Arguments {
    /// The organization's profile [default: profile.json in the state directory]
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Use only readers whose name contains this; may be repeated
    #[arg(long = "reader", alias = "readers", value_name = "SUBSTRING")]
    readers: Vec<String>,
    /// Where the bootstrap file is written [default: $XDG_RUNTIME_DIR/warifu]
    #[arg(long, value_name = "FOLDER")]
    runtime_dir: Option<PathBuf>,
    /// Where the profile lies unless told otherwise [default: ~/.local/state/warifu]
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// The site to ask first: its name or id
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// The kms's address (HOST:PORT), until there is a profile
    #[arg(long, requires = "kms_key", value_name = "ADDRESS")]
    kms: Option<String>,
    /// The kms's TLS key: its compressed point in base64, as its console shows it
    #[arg(long, requires = "kms", value_name = "BASE64", value_parser = parse_key)]
    kms_key: Option<Point>,
    /// A root certificate (PEM or DER) of a card maker whose attestations are believed; may be repeated
    #[arg(long = "attestation-root", value_name = "FILE")]
    attestation_roots: Vec<PathBuf>,
    /// The command that shows files; the file's path is appended [default: the desktop's choice]
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND")]
    viewer: Vec<String>,
}

fn parse_key(text: &str) -> Result<Point, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Point::from_sec1(&bytes).map_err(|error| error.to_string())
}

fn main() -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_from_env("WARIFU_LOG").unwrap_or_else(|_| EnvFilter::new("info,yubikey=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = config(Arguments::parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(until_told_to_end(config));
    // A handshake with a site that does not answer must not keep the agent from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended
}

async fn until_told_to_end(config: Config) -> anyhow::Result<()> {
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
    run(config, told, shutdown).await.context("the agent has ended")
}

fn config(arguments: Arguments) -> anyhow::Result<Config> {
    let state_dir = arguments.state_dir.unwrap_or_else(default_state_dir);
    let mut attestation_roots = Vec::new();
    for path in &arguments.attestation_roots {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        attestation_roots.extend(certificates(bytes).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(Config {
        profile: arguments.profile.unwrap_or_else(|| state_dir.join("profile.json")),
        readers: arguments.readers,
        runtime_dir: arguments.runtime_dir.unwrap_or_else(default_runtime_dir),
        viewer: arguments.viewer,
        site: arguments.site,
        kms: arguments.kms.zip(arguments.kms_key),
        attestation_roots,
    })
}

/// The certificates in a PEM file, or the one that is a DER file.
fn certificates(bytes: Vec<u8>) -> anyhow::Result<Vec<Vec<u8>>> {
    if !bytes.starts_with(b"-----BEGIN") && !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(vec![bytes]);
    }
    let mut found = Vec::new();
    for pem in x509_parser::pem::Pem::iter_from_buffer(&bytes) {
        found.push(pem.context("the PEM is damaged")?.contents);
    }
    Ok(found)
}

//! A running agent: its bootstrap file, its listener, its readers, and its orderly end.

use std::future::{Future, pending};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use warifu_api::server::{Limits, serve_plain};
use warifu_api::wire::agent::Bootstrap;
use warifu_hardware::card::pkcs11::ModuleWatcher;
use warifu_hardware::card::readers::Watcher;
use zeroize::Zeroizing;

use crate::agent::{Agent, Config};
use crate::http::{Door, router};
use crate::platform::{BOOTSTRAP, Claim, harden, remove_if_there, write_private};
use crate::profile::ProfileError;

/// How long the reader service may keep the agent from starting.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Connections at once that have not shown the token.
const STRANGERS: usize = 128;

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The runtime directory cannot be used, or another agent uses it.
    #[error("the runtime directory cannot be used")]
    Runtime(#[source] io::Error),
    /// The profile is there, and not to be trusted.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The loopback interface cannot be listened on.
    #[error("the agent cannot listen on the loopback interface")]
    Listen(#[source] io::Error),
    /// The operating system gave no randomness.
    #[error("no randomness for the agent's token")]
    Randomness,
    /// The bootstrap file cannot be written.
    #[error("the bootstrap file cannot be written")]
    Bootstrap(#[source] io::Error),
}

/// Runs the agent until `shutdown` resolves; `reload` says each time that the profile file is to be read again.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    mut config: Config,
    mut reload: tokio::sync::mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    harden();
    config.runtime_dir = std::path::absolute(&config.runtime_dir).map_err(RunError::Runtime)?;
    let claim = Claim::take(&config.runtime_dir).map_err(RunError::Runtime)?;
    let bootstrap = config.runtime_dir.join(BOOTSTRAP);
    let filters = config.readers.clone();
    let agent = Agent::new(config, claim)?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(RunError::Listen)?;
    let address = listener.local_addr().map_err(RunError::Listen)?;
    let token = draw_token()?;

    let (events, mut inbox) = unbounded_channel();
    let watcher = Watcher::start(
        move |name| filters.is_empty() || filters.iter().any(|part| name.contains(part.as_str())),
        move |event| drop(events.send(event)),
    );
    let (module_events, mut module_inbox) = unbounded_channel();
    let modules: Vec<ModuleWatcher> = agent
        .config
        .modules
        .iter()
        .cloned()
        .enumerate()
        .map(|(index, module)| {
            let events = module_events.clone();
            ModuleWatcher::start(module, move |event| drop(events.send((index, event))))
        })
        .collect();
    // Whoever asks first is told whether the reader service runs, not that nobody has looked yet.
    if let Ok(Some(event)) = tokio::time::timeout(FIRST_LOOK, inbox.recv()).await {
        agent.on_reader(event);
    }
    announce(&bootstrap, address, &token)?;
    let door = Arc::new(Door::new(token, address));
    let app = router(agent.clone(), door);
    tracing::info!(%address, "the agent runs");
    tokio::pin!(shutdown);
    let serve = serve_plain(listener, app, Limits { strangers: STRANGERS, ..Limits::default() }, pending());
    tokio::pin!(serve);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut serve => break,
            Some(event) = inbox.recv() => agent.on_reader(event),
            Some((index, event)) = module_inbox.recv() => agent.on_module(index, event),
            Some(()) = reload.recv() => {
                if let Err(fault) = agent.reload_profile() {
                    tracing::warn!(?fault, "the profile was not read again");
                }
            }
        }
    }
    remove_if_there(&bootstrap);
    agent.shut_down().await;
    // Joins the watchers' threads.
    let _ = tokio::task::spawn_blocking(move || drop((watcher, modules))).await;
    Ok(())
}

fn draw_token() -> Result<Zeroizing<String>, RunError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| RunError::Randomness)?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

fn announce(path: &std::path::Path, address: SocketAddr, token: &str) -> Result<(), RunError> {
    let bootstrap = Bootstrap { address: address.to_string(), token: token.to_owned() };
    let json = serde_json::to_vec(&bootstrap).map_err(|error| RunError::Bootstrap(error.into()))?;
    write_private(path, &Zeroizing::new(json)).map_err(RunError::Bootstrap)
}

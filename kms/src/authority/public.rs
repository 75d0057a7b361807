//! What anybody may ask, other organizations and browsers among them: on a listener of its own, with a router of its own.
//! Nothing of what ca, sites and cards ask is there.

use std::future::{self, Future};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use warifu_api::server::{Limits, serve_anybody};
use warifu_api::tls::TlsError;
use warifu_api::tls::public::{server_config_for_anybody, server_config_of_certificate};
use warifu_console::process::{Port, bind};
use warifu_console::{ConsoleError, file};
use warifu_ledger::state::State;
use warifu_ledger::statement::OrganizationKeys;

use super::config::Public;
use super::error::AuthorityError;
use super::{Authority, Result};

mod deliver;
mod directory;
mod html;
mod http;
mod page;

use html::Words;

pub(crate) use directory::Signed;
pub(crate) use page::Pages;

/// Whom the organization's statements are signed by, now.
fn keys_of(state: &State) -> OrganizationKeys {
    let (organization, ca, kms) = (state.organization(), state.ca().clone(), state.kms().clone());
    OrganizationKeys { organization, ca, kms }
}

/// How long one connection may live: time for what is large on a slow line. Whoever holds the most loses its oldest before.
const LIFETIME: Duration = Duration::from_secs(300);

/// The port for everybody, as long as the program runs.
pub(super) struct PublicPort<'c> {
    port: Port,
    configured: &'c Public,
}

impl<'c> PublicPort<'c> {
    /// Takes the port, if one is configured.
    pub(super) async fn take(configured: Option<&'c Public>) -> Result<Option<Self>> {
        let Some(configured) = configured else { return Ok(None) };
        let port = Port::of(bind(&configured.listen).await?)?;
        tracing::info!(listen = configured.listen, "everybody is served");
        Ok(Some(Self { port, configured }))
    }
}

impl Authority {
    /// Serves everybody on this port until this is dropped; without one, does nothing for ever.
    pub(super) async fn serve_public_port(self: &Arc<Self>, port: Option<&PublicPort<'_>>) -> Result<()> {
        match port {
            None => future::pending().await,
            Some(PublicPort { port, configured }) => {
                self.serve_public(port.listener()?, configured, future::pending()).await
            }
        }
    }

    /// Serves what anybody may ask (`warifu_api::wire::public`) until `shutdown` resolves.
    ///
    /// # Errors
    /// [`AuthorityError::PublicCertificate`] and others about the certificate that is configured; [`AuthorityError::Tls`].
    pub async fn serve_public(
        self: &Arc<Self>,
        listener: TcpListener,
        configured: &Public,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        let config = self.certificate_for_everybody(configured)?;
        let limits = Limits { strangers_lifetime: LIFETIME, ..Limits::default() };
        let words = Arc::new(Words::load().map_err(ConsoleError::from)?);
        serve_anybody(listener, config, http::router(self.clone(), words), limits, shutdown).await;
        Ok(())
    }

    fn certificate_for_everybody(&self, configured: &Public) -> Result<Arc<ServerConfig>> {
        match (&configured.certificate, &configured.key) {
            (None, None) => Ok(server_config_for_anybody(&self.identity)?),
            (Some(certificate), Some(key)) => with_certificate(certificate, key),
            _ => Err(AuthorityError::PublicCertificateAlone),
        }
    }
}

fn with_certificate(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let unusable = |path: &Path| AuthorityError::PublicCertificate { path: path.to_owned() };
    let pem = std::fs::read(certificate).map_err(file::fault(certificate))?;
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| unusable(certificate))?;
    file::must_be_its_owners(key)?;
    let pem = zeroize::Zeroizing::new(std::fs::read(key).map_err(file::fault(key))?);
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unusable(key))?;
    server_config_of_certificate(chain, private).map_err(|error| match error {
        TlsError::Config(_) => unusable(key),
        other => other.into(),
    })
}

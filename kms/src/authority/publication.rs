//! CRLs, and the certificates above them, for other software: over plain HTTP as RFC 5280 expects it, from memory.
//!
//! All of it is public and signed by the ca. A kms that withholds a newer CRL cannot make the old one look new: it runs out.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use warifu_api::crl::{self, CrlSummary};
use warifu_api::server::{Limits, serve_plain};
use warifu_api::wire::authority::{CertificateKind, Crl, CrlIssuer};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::Digest;
use warifu_ledger::statement::Millis;

use super::certificates::NOBODY;
use super::error::AuthorityError;
use super::{Authority, Result, blocking};

const ISSUERS: [CrlIssuer; 2] = [CrlIssuer::Issuing, CrlIssuer::Root];
/// How long others may keep a CRL without asking: short, for one may follow at any moment.
const CRL_CACHED: &str = "public, max-age=300, no-transform";
const CERTIFICATE_CACHED: &str = "public, max-age=86400, no-transform";
/// Connections at once; a thousand requests a second need a few.
const CONNECTIONS: usize = 256;
/// How long one may take with its header, be silent, or take in nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one may live: time for the largest CRL on a slow line.
const LIFETIME: Duration = Duration::from_secs(120);

/// A document as it leaves, and what tells whether somebody has it already.
pub(super) struct Document {
    body: Bytes,
    content_type: &'static str,
    cached: &'static str,
    etag: HeaderValue,
    modified: Option<SystemTime>,
}

impl Document {
    pub(super) fn new(
        body: Vec<u8>,
        content_type: &'static str,
        cached: &'static str,
        modified: Option<Millis>,
    ) -> Option<Self> {
        let etag = HeaderValue::try_from(format!("\"{}\"", Digest::of(&body))).ok()?;
        let modified = modified.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at)));
        Some(Self { body: body.into(), content_type, cached, etag, modified })
    }

    /// Whether the asker has just this one (RFC 9110, sections 13.1.2 and 13.1.3).
    fn is_held(&self, asked: &HeaderMap) -> bool {
        if asked.contains_key(IF_NONE_MATCH) {
            return asked.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok()).any(|tags| {
                tags.split(',')
                    .map(|tag| tag.trim().trim_start_matches("W/"))
                    .any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
            });
        }
        let since = asked.get(IF_MODIFIED_SINCE).and_then(|date| date.to_str().ok());
        let since = since.and_then(|date| httpdate::parse_http_date(date).ok());
        matches!((since, self.modified), (Some(since), Some(modified)) if modified <= since)
    }

    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let held = self.is_held(asked);
        let body = if held { Body::empty() } else { Body::from(self.body.clone()) };
        let mut response = Response::new(body);
        if held {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cached));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let modified = self.modified.map(httpdate::fmt_http_date);
        if let Some(modified) = modified.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.insert(LAST_MODIFIED, modified);
        }
        response
    }
}

/// What is served now, by its path.
#[derive(Default, Clone)]
pub(crate) struct Publication(Arc<RwLock<BTreeMap<&'static str, Arc<Document>>>>);

impl Publication {
    fn show(&self, path: &'static str, document: Option<Document>) {
        let mut documents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = document {
            documents.insert(path, Arc::new(document));
        }
    }

    fn at(&self, path: &str) -> Option<Arc<Document>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn show_crl(&self, issuer: CrlIssuer, der: Vec<u8>, this_update: Millis) {
        self.show(
            issuer.crl_path(),
            Document::new(der, "application/pkix-crl", CRL_CACHED, Some(this_update)),
        );
    }

    /// The issuing CA's certificate, then the root's.
    pub(super) fn show_authority(&self, chain: &[warifu_ledger::key::Bytes]) {
        for issuer in ISSUERS {
            if let Some(der) = certificate_of(issuer, chain) {
                let document =
                    Document::new(der.0.clone(), "application/pkix-cert", CERTIFICATE_CACHED, None);
                self.show(issuer.certificate_path(), document);
            }
        }
    }
}

fn certificate_of(
    issuer: CrlIssuer,
    chain: &[warifu_ledger::key::Bytes],
) -> Option<&warifu_ledger::key::Bytes> {
    match issuer {
        CrlIssuer::Issuing => chain.first(),
        CrlIssuer::Root => chain.last(),
    }
}

async fn document(State(publication): State<Publication>, uri: Uri, headers: HeaderMap) -> Response {
    match publication.at(uri.path()) {
        Some(document) => document.answer(&headers),
        None => nothing().await.into_response(),
    }
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn router(publication: Publication) -> Router {
    let mut router = Router::new();
    for issuer in ISSUERS {
        router =
            router.route(issuer.crl_path(), get(document)).route(issuer.certificate_path(), get(document));
    }
    router.fallback(nothing).with_state(publication)
}

impl Authority {
    /// Serves CRLs, and the certificates above them, over plain HTTP until `shutdown` resolves.
    pub async fn serve_crls(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let limits = Limits {
            strangers: CONNECTIONS,
            header: PATIENCE,
            stall: PATIENCE,
            strangers_lifetime: LIFETIME,
            ..Limits::default()
        };
        serve_plain(listener, router(self.publication.clone()), limits, shutdown).await;
    }

    /// Keeps and serves a CRL, if the issuer whose certificate the ca has posted signed it, and it is no older one. Again, the
    /// same is taken.
    pub(crate) async fn keep_crl(&self, Crl { issuer, der }: Crl) -> Result<()> {
        let chain = self.store.certificate(CertificateKind::Authority, &NOBODY).await?;
        let certificate = chain.as_deref().and_then(|chain| certificate_of(issuer, chain)).cloned();
        let certificate =
            certificate.ok_or(AuthorityError::NotYet { what: "the ca's certificate is not here" })?;
        let (der, summary) = blocking(move || {
            let summary = crl::verified(&der.0, &certificate.0)?;
            Ok((der.0, summary))
        })
        .await?;
        if self.store.keep_crl(issuer, summary, &der).await? != der {
            return Err(AuthorityError::CrlOlder { number: summary.number });
        }
        reached(CrashPoint::KmsCrlKept).await;
        self.show_crl(issuer, der, summary);
        Ok(())
    }

    fn show_crl(&self, issuer: CrlIssuer, der: Vec<u8>, summary: CrlSummary) {
        self.publication.show_crl(issuer, der, summary.this_update);
        self.figures.crl_ends(issuer, summary.next_update);
    }

    /// Serves what was kept before.
    pub(crate) async fn publish_kept(&self) -> Result<()> {
        let Some(chain) = self.store.certificate(CertificateKind::Authority, &NOBODY).await? else {
            return Ok(());
        };
        self.publication.show_authority(&chain);
        for issuer in ISSUERS {
            let kept = self.store.crl(issuer).await?;
            if let Some((der, certificate)) = kept.zip(certificate_of(issuer, &chain)) {
                match crl::verified(&der, &certificate.0) {
                    Ok(summary) => self.show_crl(issuer, der, summary),
                    // The ca posts the newest one again before long.
                    Err(error) => {
                        tracing::warn!(issuer = issuer.name(), %error, "a CRL that was kept is not served")
                    }
                }
            }
        }
        Ok(())
    }
}

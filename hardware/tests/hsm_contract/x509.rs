//! Certificates and TLS with the key in the HSM.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use warifu_hardware::hsm::{Hsm, SigningKey};
use warifu_hardware::signer::{CertKey, certified_key};

use crate::stage::Stage;

type Issuer = CertifiedIssuer<'static, SigningKey>;

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn service(purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["kms.example".to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params
}

fn root(hsm: &Hsm) -> Issuer {
    CertifiedIssuer::self_signed(authority("root"), hsm.ensure_signing_key("root").unwrap()).unwrap()
}

pub(crate) fn openssl_verifies_a_chain(stage: &Stage) {
    let hsm = stage.hsm("t");
    let root = root(&hsm);
    let issuing = hsm.ensure_signing_key("issuing").unwrap();
    let issuing = CertifiedIssuer::signed_by(authority("issuing"), issuing, &root).unwrap();
    let leaf_key = CertKey::new(Arc::new(hsm.ensure_signing_key("leaf").unwrap()));
    let leaf = service(ExtendedKeyUsagePurpose::ServerAuth).signed_by(&leaf_key, &issuing).unwrap();

    for (name, pem) in [("root", root.pem()), ("issuing", issuing.pem()), ("leaf", leaf.pem())] {
        fs::write(stage.folder.join(name), pem).unwrap();
    }
    let verify = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .arg("verify")
            .args(arguments)
            .current_dir(&stage.folder)
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(!verify(&["-CAfile", "root", "leaf"]), "without the issuing certificate");
    assert!(verify(&["-CAfile", "root", "-untrusted", "issuing", "-purpose", "sslserver", "leaf"]));
}

fn provider() -> Arc<CryptoProvider> {
    let groups: Vec<&'static dyn SupportedKxGroup> = vec![kx_group::X25519MLKEM768];
    Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() })
}

fn service_key(hsm: &Hsm, root: &Issuer, label: &str, purpose: ExtendedKeyUsagePurpose) -> CertifiedKey {
    let key = Arc::new(hsm.ensure_signing_key(label).unwrap());
    let certificate = service(purpose).signed_by(&CertKey::new(key.clone()), root).unwrap();
    certified_key(vec![certificate.der().clone()], key).unwrap()
}

fn trust(root: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(root.clone()).unwrap();
    Arc::new(store)
}

/// Mutual TLS 1.3 in memory, both keys in the HSM; returns both ends after the handshake.
fn handshake(hsm: &Hsm) -> (ClientConnection, ServerConnection) {
    let root = root(hsm);
    let roots = trust(root.der());
    let server_key = service_key(hsm, &root, "server", ExtendedKeyUsagePurpose::ServerAuth);
    let client_key = service_key(hsm, &root, "client", ExtendedKeyUsagePurpose::ClientAuth);

    let verifier: Arc<dyn ClientCertVerifier> =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(server_key)));
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client_key)));

    let name = ServerName::try_from("kms.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
        }
        server.process_new_packets().unwrap();

        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets().unwrap();
    }
    (client, server)
}

pub(crate) fn a_tls_server_holds_its_key_in_the_hsm(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (client, _server) = handshake(&hsm);
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let certificate = client.peer_certificates().unwrap()[0].clone();
    let expected = hsm.ensure_signing_key("server").unwrap().public_key().to_uncompressed();
    assert!(certificate.windows(65).any(|window| window == expected));
}

pub(crate) fn a_tls_client_holds_its_key_in_the_hsm(stage: &Stage) {
    let hsm = stage.hsm("t");
    let (_client, server) = handshake(&hsm);
    let certificate = server.peer_certificates().unwrap()[0].clone();
    let expected = hsm.ensure_signing_key("client").unwrap().public_key().to_uncompressed();
    assert!(certificate.windows(65).any(|window| window == expected));
}

pub(crate) fn a_certificate_for_another_key_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let root = root(&hsm);
    let mine = CertKey::new(Arc::new(hsm.ensure_signing_key("mine").unwrap()));
    let certificate = service(ExtendedKeyUsagePurpose::ServerAuth).signed_by(&mine, &root).unwrap();
    let other = Arc::new(hsm.ensure_signing_key("other").unwrap());
    assert!(certified_key(vec![certificate.der().clone()], other.clone()).is_err());
    assert!(certified_key(vec![], other).is_err());
}

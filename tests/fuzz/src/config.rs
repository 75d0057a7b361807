//! Files that people and enrolment write: configurations and profiles.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use warifu_console::{Kms, Settings, Token};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_token_agent::profile as profiles;

use crate::fixture::{envelope_by_services, public_of};
use crate::statements::{envelopes, profile_of};

/// The union of what the services' configurations hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    data: PathBuf,
    #[allow(dead_code, reason = "read, and not looked at")]
    #[serde(default)]
    listen: Option<String>,
    #[allow(dead_code, reason = "read, and not looked at")]
    #[serde(default)]
    organization: Option<Digest>,
    hsm: Token,
    kms: Kms,
}

impl Settings for Service {
    fn data(&self) -> &Path {
        &self.data
    }

    fn token(&mut self) -> &mut Token {
        &mut self.hsm
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        [&mut self.data].into_iter().chain(self.hsm.paths()).chain(&mut self.kms.statement).collect()
    }
}

/// A configuration: relative paths begin at its folder, absolute ones are left alone.
pub(crate) fn service(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let folder = Path::new("/etc/warifu");
    let Ok(settings) = Service::parse(text, &folder.join("service.toml")) else { return false };
    for path in [settings.data(), &settings.statement(), &settings.hsm.pin_file] {
        assert!(path.is_absolute());
    }
    // Not a file that an input may name is read.
    if settings.kms.statement.is_none() {
        let _ = settings.kms.key();
    }
    true
}

pub(crate) fn service_seeds() -> Vec<Vec<u8>> {
    let key = serde_json::to_value(public_of("kms tls")).unwrap();
    [
        "data = \"data\"\n[hsm]\ntoken_label = \"ca\"\npin_file = \"secret/pin\"\n[kms]\naddress = \"kms:7443\"\n".to_owned(),
        format!(
            "data = '/srv/ca' # 大町市\nlisten = \"[::]:8443\"\norganization = \"{}\"\nhsm = {{ token_label = \"x\", pin_file = '''p''' }}\n\
             [kms]\naddress = \"kms.example:7443\"\ntls_key = {key}\n",
            Digest::of(b"x")
        ),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// A profile is what the kms in it signed.
pub(crate) fn profile(data: &[u8]) -> bool {
    let Ok(profile) = profiles::parse(data) else { return false };
    let envelope: Envelope = serde_json::from_slice(data).unwrap();
    let stranger = profile.kms.signing != public_of("kms signing");
    assert!(
        stranger || genuine().iter().any(|known| known.digest() == envelope.digest()),
        "a forged profile"
    );
    true
}

/// A profile, and statements of other kinds.
fn genuine() -> &'static [Envelope] {
    static GENUINE: OnceLock<Vec<Envelope>> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let profile = envelope_by_services(&profile_of(Digest::of(b"organization")), &["kms"]);
        std::iter::once(profile).chain(envelopes().iter().rev().take(3).cloned()).collect()
    })
}

pub(crate) fn profile_seeds() -> Vec<Vec<u8>> {
    genuine().iter().map(|envelope| serde_json::to_vec(envelope).unwrap()).collect()
}

//! `warifu-ca doctor`: what the ca's machine lacks.

use std::path::Path;

use warifu_console::{Settings as _, doctor};
use warifu_texts::findings::{Findings, Level};

use crate::config::Config;
use crate::keys::{SIGNING, TLS};
use crate::vault;

/// Looks at everything, beside the running service or without it, and changes nothing.
pub async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    doctor::keys(found, hsm.as_ref(), &config.statement(), [SIGNING, TLS]);
    let mut kms_key = config.kms.key().ok().flatten();
    if let Some(mut database) = doctor::database(found, &config.database()).await {
        match vault::pinned(&mut database).await.ok().flatten() {
            Some(pin) => {
                kms_key = Some(pin.kms_tls);
                found.ok("founded", "founded", &[("organization", pin.organization.to_string().into())]);
                doctor::stamp(found, &mut database).await;
            }
            None => {
                found.add(Level::Fault, "founded", "not-founded", &[]);
            }
        }
    }
    doctor::kms(found, &config.kms.address, kms_key).await;
    findings
}

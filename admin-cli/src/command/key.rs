//! `key`: a service goes on with new keys in the place of those that it has.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{
    Act, HalfHolder, Profile, ServiceId, ServiceKeys, ServiceKind, ServiceStatement,
};

use super::{already, service_key};
use crate::args::Key;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::found::statement;

/// How long it is waited for the agent to know the new keys.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until the agent looks again.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn run(desk: &mut Desk<'_>, command: Key) -> Result<(), Fault> {
    match command {
        Key::Rotate { service, statement, fingerprint } => {
            rotate(desk, &service, &statement, fingerprint.as_deref()).await
        }
    }
}

async fn rotate(
    desk: &mut Desk<'_>,
    label: &str,
    path: &Path,
    fingerprint: Option<&str>,
) -> Result<(), Fault> {
    let kind = match label {
        "ca" => ServiceKind::Ca,
        "kms" => ServiceKind::Kms,
        _ => ServiceKind::Site,
    };
    let Rotation { keys, digest, envelope } = Rotation::read(path, kind)?;
    let found = digest.to_string();
    if fingerprint.is_some_and(|told| told != found) {
        return Err(Fault::Fingerprint { found });
    }
    let book = desk.book().await?;
    let (service, name) = named(desk, &book, kind, label)?;
    let present = book.state.keys_of_service(service).ok_or_else(|| Fault::Ledger("no keys".to_owned()))?;
    if *present == keys {
        return already(desk, "rotated-already", name);
    }
    // By the service itself, and not by whoever has made keys somewhere else.
    if envelope.verify(&present.signing).is_err() {
        return Err(Fault::NotByPresentKeys);
    }
    desk.screen.say_with("rotated-preview", &[("name", name.clone()), ("fingerprint", found)]);
    if fingerprint.is_none() {
        desk.screen.agree()?;
    }
    let act = Act::KeyRotated { service, keys: keys.clone() };
    let appended = desk.order(&book, vec![act], vec![]).await?;
    let text = if is_known(desk, service, &keys).await? { "rotated" } else { "rotated-not-seen" };
    desk.screen
        .result(&json!({ "order": appended.digest }), || desk.screen.text(text, &[("name", name.clone())]));
    Ok(())
}

/// What a service's console wrote of the keys that wait in its token.
struct Rotation {
    keys: ServiceKeys,
    digest: Digest,
    envelope: Envelope,
}

impl Rotation {
    fn read(path: &Path, kind: ServiceKind) -> Result<Self, Fault> {
        let (ServiceStatement { keys, address, .. }, digest) = statement(path, kind)?;
        // A site's first statement has one: that is for `site add`.
        if address.is_some() {
            return Err(Fault::NotARotation { path: path.display().to_string() });
        }
        Ok(Self { keys, digest, envelope: crate::file::read(path)? })
    }
}

/// Which service is meant, and what people call it.
fn named(desk: &Desk<'_>, book: &Book, kind: ServiceKind, label: &str) -> Result<(ServiceId, String), Fault> {
    Ok(match kind {
        ServiceKind::Ca => (ServiceId::Ca, desk.screen.text(service_key(HalfHolder::Ca), &[])),
        ServiceKind::Kms => (ServiceId::Kms, desk.screen.text(service_key(HalfHolder::Kms), &[])),
        ServiceKind::Site => {
            let site = book.site(label)?;
            let found = book.state.site(&site).map(|site| book.name(&site.name)).unwrap_or_default();
            (ServiceId::Site(site), desk.screen.text("service-site", &[("name", found)]))
        }
    })
}

/// Whether the agent knows the new keys, which it has to before it believes what they sign. The kms needs a moment to go on with
/// its own; and where no card is open, the ledger is read at the next PIN entry.
async fn is_known(desk: &Desk<'_>, service: ServiceId, keys: &ServiceKeys) -> Result<bool, Fault> {
    let since = Instant::now();
    loop {
        if desk.agent.refresh_profile().await.is_ok() && knows(&desk.agent.profile().await?, service, keys) {
            return Ok(true);
        }
        if since.elapsed() >= PATIENCE {
            return Ok(false);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn knows(profile: &Profile, service: ServiceId, keys: &ServiceKeys) -> bool {
    match service {
        ServiceId::Ca => profile.ca == *keys,
        ServiceId::Kms => profile.kms == *keys,
        ServiceId::Site(id) => profile.sites.iter().any(|site| site.site == id && site.keys == *keys),
    }
}

//! The minutes of a founding: plain text, to be printed, signed on paper, and kept with the contract papers. Nothing in them is
//! secret.

use std::collections::BTreeSet;

use warifu_ledger::statement::{Attestation, Founding, Millis};

use super::{Seated, Service};
use crate::day::Zone;
use crate::screen::Screen;

/// What was founded, by whom, and with which keys.
pub(super) struct Minutes<'a> {
    pub(super) name: &'a str,
    /// The organization's hash.
    pub(super) hash: &'a str,
    /// When, by this PC's clock.
    pub(super) at: Millis,
    pub(super) founding: &'a Founding,
    pub(super) services: &'a [Service],
    pub(super) seated: &'a [Seated],
}

/// The policy, as people read it before they sign.
pub(super) fn terms(screen: &Screen, founding: &Founding) -> Vec<String> {
    let policy = &founding.policy;
    let terms = [
        ("lease", (policy.lease_ms / 1000).to_string()),
        ("hours", (policy.pin_ceiling_ms / 3_600_000).to_string()),
        ("zone", founding.zone.clone()),
    ];
    let unattested = if policy.unattested_cards { "founding-unattested" } else { "founding-attested" };
    let separate = if policy.separate_roles { "founding-roles-apart" } else { "founding-roles-together" };
    vec![screen.text("founding-terms", &terms), screen.text(unattested, &[]), screen.text(separate, &[])]
}

impl Minutes<'_> {
    /// Line by line, in the language of the screen.
    pub(super) fn lines(&self, screen: &Screen, rehearsal: bool) -> Vec<String> {
        let text = |key: &str, args: &[(&str, String)]| screen.text(key, args);
        let zone = Zone::named(&self.founding.zone);
        let mut lines = vec![text("minutes-title", &[])];
        if rehearsal {
            lines.push(text("minutes-rehearsal", &[]));
        }
        lines.push(String::new());
        lines.push(text("minutes-when", &[("at", zone.instant(self.at)), ("zone", zone.name())]));
        lines.push(text("minutes-organization", &[("name", self.name.to_owned())]));
        lines.push(text("minutes-hash", &[("hash", self.hash.to_owned())]));
        lines.extend(terms(screen, self.founding));
        for service in self.services {
            let keys = &service.statement.keys;
            lines.push(String::new());
            lines.push(text(
                "minutes-service",
                &[
                    ("service", service.kind.into()),
                    ("fingerprint", service.fingerprint.to_string()),
                    ("signing", keys.signing.key_id().to_string()),
                    ("tls", keys.tls.key_id().to_string()),
                ],
            ));
            lines
                .push(text(if service.kind == "ca" { "minutes-holds-ca" } else { "minutes-holds-kms" }, &[]));
        }
        lines.push(String::new());
        lines.push(text("minutes-officers", &[]));
        for seated in self.seated {
            let attestation = match &seated.card.attestation {
                Attestation::Generated { firmware, evidence, .. } => text(
                    "minutes-attested",
                    &[("firmware", firmware.clone()), ("evidence", evidence.to_string())],
                ),
                Attestation::None if rehearsal => text("minutes-rehearsed", &[]),
                Attestation::None => text("minutes-unattested", &[]),
            };
            let [serial, name] = seated.words();
            let key = ("key", seated.card.signature.key_id().to_string());
            lines.push(text("minutes-officer", &[serial, name, key, ("attestation", attestation)]));
        }
        lines.push(String::new());
        lines.push(text("minutes-confirmed", &[]));
        let people: BTreeSet<&str> = self.seated.iter().map(|seated| seated.name.name.as_str()).collect();
        for person in people {
            lines.push(text("minutes-sign", &[("name", person.to_owned())]));
        }
        for keeper in ["minutes-sign-ca", "minutes-sign-kms"] {
            lines.push(text(keeper, &[]));
        }
        lines
    }
}

//! `member role` and `policy`: who may sign what, and what the organization demands.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_ledger::statement::{Act, Policy, Role};

use super::already;
use crate::args::{Policy as Command, RoleName};
use crate::desk::Desk;
use crate::fault::Fault;

const SECOND_MS: u64 = 1000;
const HOUR_MS: u64 = 60 * 60 * SECOND_MS;

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Officer => Self::Officer,
            RoleName::Administrator => Self::Administrator,
            RoleName::Auditor => Self::Auditor,
            RoleName::Dispatcher => Self::Dispatcher,
        }
    }
}

/// Gives and takes roles (two officers).
pub(super) async fn change(
    desk: &mut Desk<'_>,
    label: String,
    add: &[RoleName],
    remove: &[RoleName],
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let member = book.member(&label)?;
    let before = book.state.member(&member).map(|found| found.roles.clone()).unwrap_or_default();
    let taken: BTreeSet<Role> = remove.iter().map(|role| (*role).into()).collect();
    let given = add.iter().map(|role| Role::from(*role));
    let roles: BTreeSet<Role> =
        before.iter().copied().chain(given).filter(|role| !taken.contains(role)).collect();
    if roles == before {
        return already(desk, "roles-already", label);
    }
    // P-4.5: what one officer alone enrolled carries no role.
    if !roles.is_empty() && !book.state.cards_of_member(member).any(|(_, card)| card.vouched) {
        desk.screen.warn("role-without-card", &[("name", label.clone())]);
    }
    desk.screen.agree()?;
    let appended = desk.order(&book, vec![Act::RoleChanged { member, roles }], vec![]).await?;
    desk.screen.result(&json!({ "order": appended.digest }), || {
        desk.screen.text("roles-changed", &[("name", label.clone())])
    });
    Ok(())
}

pub(super) async fn policy(desk: &mut Desk<'_>, command: Command) -> Result<(), Fault> {
    let book = desk.book().await?;
    let before = book.state.policy().clone();
    let Command::Change { lease_seconds, pin_hours, unattested_cards, separate_roles } = command else {
        show(desk, &before);
        return Ok(());
    };
    let policy = Policy {
        lease_ms: lease_seconds.map_or(before.lease_ms, |seconds| seconds.saturating_mul(SECOND_MS)),
        pin_ceiling_ms: pin_hours.map_or(before.pin_ceiling_ms, |hours| hours.saturating_mul(HOUR_MS)),
        unattested_cards: unattested_cards.unwrap_or(before.unattested_cards),
        separate_roles: separate_roles.unwrap_or(before.separate_roles),
    };
    if policy == before {
        return already(desk, "policy-already", String::new());
    }
    if policy.separate_roles {
        // The ledger refuses it while there is one of them.
        let names: Vec<String> =
            book.state.with_roles_together().map(|member| book.member_name(&member)).collect();
        if !names.is_empty() {
            desk.screen.warn("roles-together", &[("names", names.join(desk.screen.separator()))]);
        }
    }
    desk.screen.agree()?;
    desk.order(&book, vec![Act::PolicyChanged { policy: policy.clone() }], vec![]).await?;
    show(desk, &policy);
    Ok(())
}

fn show(desk: &Desk<'_>, policy: &Policy) {
    let json = serde_json::to_value(policy).unwrap_or_default();
    desk.screen.result(&json, || {
        desk.screen.text(
            "policy-shown",
            &[
                ("lease", (policy.lease_ms / SECOND_MS).to_string()),
                ("pin", (policy.pin_ceiling_ms / 60 / SECOND_MS).to_string()),
                ("unattested", desk.screen.text(if policy.unattested_cards { "yes" } else { "no" }, &[])),
                ("separate", desk.screen.text(if policy.separate_roles { "yes" } else { "no" }, &[])),
            ],
        )
    });
}

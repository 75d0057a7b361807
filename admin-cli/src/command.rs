//! The commands: each reads the ledger, shows what it will do, has it signed, and says what came of it.

pub(crate) mod audit;
mod backup;
mod bulk;
mod card;
mod contract;
pub(crate) mod doctor;
mod draft;
mod enroll;
mod expiring;
mod gains;
mod inspect;
mod issue;
mod key;
mod letter;
mod member;
mod placing;
mod proposal;
mod replace;
mod roles;
mod serving;
mod site;
mod slip;
mod trust;
mod unit;
mod units;

pub(crate) use backup::service_key;
pub(crate) use unit::kind_key;

use serde_json::json;
use warifu_ledger::register::Record;
use warifu_ledger::statement::Act;

use crate::args::{Cli, Command};
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::{found, watch};

/// Runs one command.
pub(crate) async fn run(desk: &mut Desk<'_>, cli: Cli) -> Result<(), Fault> {
    match cli.command {
        Command::Init(args) => found::init(desk, args).await,
        Command::Profile { out, organization } => site::profile(desk, &out, organization.as_deref()).await,
        Command::Unit(command) => unit::run(desk, command).await,
        Command::Contract(command) => contract::run(desk, command).await,
        Command::Member(command) => member::run(desk, command).await,
        Command::Card(command) => card::run(desk, command).await,
        Command::Site(command) => site::run(desk, command).await,
        Command::Backup(command) => backup::run(desk, command).await,
        Command::Key(command) => key::run(desk, command).await,
        Command::Policy(command) => roles::policy(desk, command).await,
        Command::Audit(command) => audit::run(desk, command).await,
        Command::Slip(command) => slip::run(desk, command).await,
        Command::Trust(command) => trust::run(desk, command).await,
        Command::Expiring { days } => expiring::list(desk, days).await,
        Command::Proposal(command) => proposal::run(desk, command).await,
        // It needs no agent, and is run before one is looked for.
        Command::Doctor { .. } => Ok(()),
    }
}

/// Orders acts that end access, brings them to the sites, and shows the receipts if asked to.
pub(crate) async fn end_access(
    desk: &mut Desk<'_>,
    book: &Book,
    acts: Vec<Act>,
    records: Vec<Record>,
    watching: impl Into<watch::Watching<'_>>,
) -> Result<(), Fault> {
    let watching = watching.into();
    watching.check()?;
    desk.screen.agree()?;
    let request = desk.signed(book, acts, records).await?;
    watch::end_access(desk, book, request, watching).await
}

/// Says that what is wished for is the case already: nothing is ordered, and that is no fault.
pub(crate) fn already(desk: &Desk<'_>, key: &str, name: String) -> Result<(), Fault> {
    desk.screen
        .result(&json!({ "order": null, "already": true }), || desk.screen.text(key, &[("name", name)]));
    Ok(())
}

/// The record of a reason, if one is given.
pub(crate) fn reason(text: Option<String>) -> Option<Record> {
    text.map(|text| Record::draw(&mut rng(), text))
}

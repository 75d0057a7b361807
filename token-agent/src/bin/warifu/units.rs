//! `warifu units`: what files can be addressed to.

use serde_json::json;
use warifu_texts::table::Table;
use warifu_token_agent::client::AgentClient;

use crate::fault::Fault;
use crate::screen::Screen;

/// One's own units, and those of the organizations that are trusted, as they are named with `-r`.
pub(crate) async fn list(screen: &Screen, agent: &AgentClient) -> Result<(), Fault> {
    let own = agent.directory().await?.units;
    let others = agent.others().await?.organizations;
    screen.answer(&json!({ "units": own, "organizations": others }));
    let columns = ["column-unit", "column-label"].map(|key| screen.texts.get(key));
    let mut table = Table::new(columns.into());
    for unit in own.iter().filter(|unit| unit.recipient.is_some()) {
        table.row(vec![unit.name.clone(), unit.label.clone()]);
    }
    for organization in &others {
        for unit in &organization.units {
            let whole = |organization: &str, unit: &str| format!("{organization}/{unit}");
            table.row(vec![whole(&organization.name, &unit.name), whole(&organization.label, &unit.label)]);
        }
    }
    table.lines(None).iter().for_each(|line| screen.line(line));
    for organization in &others {
        if let Some(kind) = organization.alarm.map(|alarm| alarm.kind).or(organization.trouble) {
            let why = screen.texts.get(&format!("trouble-{}", kind.name()));
            let name = organization.name.as_str().into();
            screen.say("organization-troubled", &[("organization", name), ("why", why.into())]);
        }
    }
    Ok(())
}

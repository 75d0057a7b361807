//! Routing files without reading them: what is asked of the agent. How they go their way is in
//! [`routing`](crate::wire::routing).

use warifu_ledger::slip::SlipId;

use super::*;

/// The most files in one [`PlanRequest`], and the most slips that one [`RouteRequest`] makes: one for each file and target.
pub const ROUTES_LIMIT: usize = crate::wire::routing::ITEMS_LIMIT;

/// Files that somebody wants to route. Nothing is sent, signed or computed: the answer is what the person agrees to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The card's serial number; may be left out while one card is unlocked.
    #[serde(default)]
    pub serial: Option<u32>,
    /// Absolute paths, at most [`ROUTES_LIMIT`].
    pub files: Vec<String>,
    /// The units to send them to.
    pub targets: Vec<Id>,
    /// The last day on which they open there, in the organization's zone: `2027-03-31`. 90 days ahead if left out.
    #[serde(default)]
    pub last_day: Option<String>,
}

/// What would be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The card that would sign.
    pub serial: u32,
    /// The targets, by their names in the verified directory, in the order of the request.
    pub targets: Vec<PlannedTarget>,
    /// The last day on which the files open there.
    pub last_day: String,
    /// One a file.
    pub files: Vec<PlannedFile>,
}

/// A unit that files would go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTarget {
    /// The unit.
    pub unit: Id,
    /// Its name as people say it.
    pub name: String,
}

/// A file that would be routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "planned", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PlannedFile {
    /// It can be tried.
    Ready {
        /// The unit that it is addressed to, as people say it; none if it can only have been routed to the card's unit before:
        /// that shows when it goes on.
        unit: Option<String>,
        /// SHA-256 over its stanzas: the file that the person agrees to is the one that is routed.
        stanzas: Digest,
    },
    /// It will not.
    Failed {
        /// Why.
        fault: AgentFault,
    },
}

/// Files that the person has agreed to route: one signature (9C) for all that are of one unit.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRequest {
    /// The card's serial number.
    pub serial: u32,
    /// Its PIN, every time.
    pub pin: PinText,
    /// Whether the person agreed to spend the last try.
    #[serde(default)]
    pub spend_last_try: bool,
    /// Files times targets are at most [`ROUTES_LIMIT`].
    pub files: Vec<FileToRoute>,
    /// The units to send them to.
    pub targets: Vec<Id>,
    /// The last day on which they open there.
    pub last_day: String,
}

/// A file of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileToRoute {
    /// Its absolute path.
    pub path: String,
    /// What the plan said of it.
    pub stanzas: Digest,
}

/// What became of the files, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteAnswer {
    /// For each file one a target.
    pub files: Vec<Vec<RouteOutcome>>,
}

/// What became of one file, for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RouteOutcome {
    /// It is on its way.
    Sent {
        /// The last day on which it opens there: that of the slip by which it came, if that one is earlier.
        last_day: String,
        /// The slip, by which it can be revoked.
        slip: SlipId,
    },
    /// Nobody knows: the connection broke. The same file may be routed again all the same.
    Uncertain {
        /// The last day on which it opens there, if it is on its way.
        last_day: String,
        /// The slip, by which it can be revoked if it is.
        slip: SlipId,
    },
    /// It is not.
    Failed {
        /// Why.
        fault: AgentFault,
    },
}

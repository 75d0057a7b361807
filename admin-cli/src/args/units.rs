//! Departments, front desks, contracts and other organizations, and what was sent to them.

use clap::Subcommand;

use super::Why;

#[derive(Subcommand)]
pub(crate) enum Unit {
    /// Order a unit and wait until it has its key
    Add {
        /// Short name: lowercase letters, digits and hyphens [default, with --person: the member's]
        #[arg(id = "unit_label", value_name = "LABEL", required_unless_present = "person")]
        label: Option<String>,
        /// The name people use [default, with --person: the member's]
        #[arg(id = "unit_name", long = "name", required_unless_present = "person")]
        name: Option<String>,
        /// One person: this member alone opens what is sent there. One order for the address and for the member's cards
        #[arg(long, value_name = "MEMBER", conflicts_with_all = ["front_desk", "routes_to", "contract"])]
        person: Option<String>,
        /// It routes files and cannot open them
        #[arg(long, requires = "routes_to")]
        front_desk: bool,
        /// Units that a front desk may route to
        #[arg(long, value_delimiter = ',')]
        routes_to: Vec<String>,
        /// The contract it works under
        #[arg(long, conflicts_with = "front_desk")]
        contract: Option<String>,
        /// Sites that serve it [default: all]
        #[arg(long, value_delimiter = ',')]
        sites: Vec<String>,
        /// Grants to it need two people
        #[arg(long)]
        two_people: bool,
        /// Members' own PCs may put its shares on cards
        #[arg(long)]
        own_pcs: bool,
    },
    /// Give a unit another name; its label, its key and its files stay
    Rename {
        /// Short name
        label: String,
        /// The name people use from now on
        #[arg(long)]
        name: String,
    },
    /// Let members' own PCs put the unit's shares on cards, or no more (two officers)
    OwnPcs {
        /// The unit
        label: String,
        /// From now on at the officers' desk alone
        #[arg(long)]
        forbid: bool,
    },
    /// Close a unit for ever (two officers): nobody opens its files any more
    Close {
        /// Short name
        label: String,
        /// The first day on which it is closed [default: at once]
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
        /// Close the unit that the one of this label has replaced, after a new key
        #[arg(long)]
        replaced: bool,
        /// Wait and show each site's receipt
        #[arg(long, conflicts_with = "from")]
        watch: bool,
    },
    /// Make a department part of another (two officers), whose members can then open what was sent to it
    Merge {
        /// Short name
        label: String,
        /// The department that it becomes part of
        #[arg(long, value_name = "LABEL")]
        into: String,
        /// The first day on which it is so [default: at once]
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
    },
    /// Give a unit a new key (two officers), and its members' cards grants to it. Given again, it goes on where it stopped
    Rekey {
        /// Short name
        label: String,
    },
    /// Have other sites serve a unit (two officers): a new one gets its shares from one that has them
    Sites {
        /// The unit
        label: String,
        /// Sites that serve it as well from now on
        #[arg(
            id = "add_sites",
            long = "add",
            value_delimiter = ',',
            required_unless_present = "remove_sites"
        )]
        add: Vec<String>,
        /// Sites that serve it no more; the others must have all its shares
        #[arg(id = "remove_sites", long = "remove", value_delimiter = ',')]
        remove: Vec<String>,
        /// Wait until the new sites have every share
        #[arg(long = "watch")]
        watch_shares: bool,
    },
    /// All units
    List,
    /// A unit, with its recipient and the fingerprint that senders compare by telephone
    Show {
        /// The unit
        label: String,
    },
    /// A unit's recipient: what senders give to age
    Recipient {
        /// The unit
        label: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Contract {
    /// Open a contract (two officers)
    Open {
        /// Short name
        label: String,
        /// The contractor's name
        #[arg(long)]
        name: String,
        /// Its last day, inclusive, such as 2027-03-31
        #[arg(long)]
        ends: String,
    },
    /// Give a running contract another last day (two officers)
    Extend {
        /// The contract
        label: String,
        /// Its last day, inclusive
        #[arg(long)]
        ends: String,
    },
    /// End a contract now: every file its people ever received stops opening
    End {
        /// The contract
        label: String,
        #[command(flatten)]
        why: Why,
    },
    /// All contracts
    List,
}

#[derive(Subcommand)]
pub(crate) enum Trust {
    /// The fingerprint of one's own organization, to be read out over the telephone
    Fingerprint,
    /// Trust another organization (two officers), whose fingerprint was read out over the telephone
    Add {
        /// host:port of its public listener
        #[arg(id = "other_address", value_name = "HOST:PORT")]
        address: String,
        /// Short name: lowercase letters, digits and hyphens
        #[arg(long)]
        label: String,
        /// What the organization is called here
        #[arg(id = "other_name", long = "name")]
        name: String,
        /// Its fingerprint, as its officers read it out [default: it is shown, and asked for]
        #[arg(id = "other_fingerprint", long = "fingerprint", value_name = "HEX")]
        fingerprint: Option<String>,
    },
    /// The organizations that are trusted: until when their directories count, and what is wrong with them
    List,
    /// Trust an organization no more (two officers): nothing can be sent there
    End {
        /// Its label or name
        #[arg(id = "other")]
        organization: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Slip {
    /// What was sent on under a number is opened no more where it was sent
    Revoke {
        /// The number that was shown when the files were sent on
        #[arg(value_name = "NUMBER")]
        slips: String,
        /// Only this one of the files, counted from 1 [default: all]
        #[arg(long = "file", value_name = "N")]
        number: Option<u64>,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
}

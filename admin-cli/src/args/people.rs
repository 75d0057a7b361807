//! People, their cards and their roles.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Why;

#[derive(Subcommand)]
pub(crate) enum Member {
    /// Enrol a member with the card in the reader, and grant units
    Enroll {
        /// Short name
        label: String,
        /// The member's name
        #[arg(long)]
        name: String,
        /// Units whose files the member may open
        #[arg(long, required_unless_present = "own_address", value_delimiter = ',')]
        unit: Vec<String>,
        /// The member is an address as well: whoever seals to it reaches this person alone
        #[arg(id = "own_address", long = "person")]
        person: bool,
        /// The contract under which the member works
        #[arg(long)]
        contract: Option<String>,
        /// The new card's serial number [default: the one card in the readers that has no keys]
        #[arg(long)]
        new_card: Option<u32>,
        /// Write a random PIN into this letter: the member does not type one here, and changes it at first use
        #[arg(long, value_name = "FILE")]
        letter: Option<PathBuf>,
    },
    /// A member leaves: all cards and grants end
    Revoke {
        /// The member
        label: String,
        #[command(flatten)]
        why: Why,
    },
    /// Change whose files a member may open, in one order
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["add", "remove"])))]
    Units {
        /// The member
        label: String,
        /// Units to add: shares come onto the card at the desk
        #[arg(long, value_delimiter = ',')]
        add: Vec<String>,
        /// Units to take away: they end at once
        #[arg(long, value_delimiter = ',')]
        remove: Vec<String>,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
    /// Settle a member's last day ahead; all cards and grants end after it by themselves
    Leave {
        /// The member
        label: String,
        /// The last day, inclusive
        #[arg(long, value_name = "DATE")]
        on: String,
        /// Why, for the register
        #[arg(long)]
        reason: Option<String>,
    },
    /// Enrol everybody in a table; their cards come later, one by one
    EnrollAll {
        #[command(flatten)]
        table: Table,
    },
    /// From a day on, people belong where a table says: they lose what they had elsewhere, and get what is there
    Move {
        #[command(flatten)]
        table: Table,
        /// The first day
        #[arg(long)]
        from: String,
    },
    /// Give and take roles (two officers)
    #[command(group(clap::ArgGroup::new("roles").required(true).multiple(true).args(["add_roles", "remove_roles"])))]
    Role {
        /// The member
        label: String,
        /// Roles to give
        #[arg(long = "add", value_delimiter = ',')]
        add_roles: Vec<RoleName>,
        /// Roles to take
        #[arg(long = "remove", value_delimiter = ',')]
        remove_roles: Vec<RoleName>,
    },
    /// All members
    List,
}

#[derive(Subcommand)]
pub(crate) enum Card {
    /// What is in the readers, whether card and ledger agree, and what is wrong
    Inspect {
        /// Look at the cards alone: needs no officer's card and no PIN
        #[arg(long)]
        card_alone: bool,
    },
    /// Make a card for somebody who is enrolled and has none yet
    Issue {
        /// The member [default: the next in the list who has none]
        label: Option<String>,
        /// The new card's serial number [default: the one card in the readers that has no keys]
        #[arg(long)]
        new_card: Option<u32>,
    },
    /// Stop a card for now; nothing is destroyed
    Suspend {
        /// The member
        member: String,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
    /// Set a new PIN on a card whose PIN is blocked or forgotten: an officer's card opens the card's PUK
    Unblock {
        /// The card's serial number; may be left out where one card in the readers is blocked
        serial: Option<u32>,
        /// Ask for the PUK instead: somebody has it on paper
        #[arg(long)]
        ask_puk: bool,
        /// Try the PUK even if only one try is left
        #[arg(long)]
        spend_last_try: bool,
    },
    /// Give a member a new card, with all that the lost or broken one could do; the old one is over everywhere
    Replace {
        /// The member
        member: String,
        /// The old card's number, where the member has several
        #[arg(long, value_name = "CARD")]
        old_card: Option<String>,
        /// The new card's serial number [default: the one card in the readers that is nobody's]
        #[arg(long)]
        new_card: Option<u32>,
        #[command(flatten)]
        why: Why,
    },
    /// Bring onto the cards in the readers what waits for them
    Bring {
        /// Only this member's cards
        member: Option<String>,
    },
    /// Let a suspended card work again
    Resume {
        /// The member
        member: String,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
}

/// A role that a member can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleName {
    Officer,
    Administrator,
    Auditor,
    Dispatcher,
}

/// A table of people.
#[derive(Args)]
pub(crate) struct Table {
    /// The table: CSV in UTF-8 or Shift_JIS
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: PathBuf,
    /// Order what is right, and leave out rows with a mistake
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Write every row's fate there, as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

//! The command line. What people read of it is in `locales/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::doctor::Service;

/// Orders for officers and administrators.
///
/// Orders are signed by people's cards: the agent on this PC (warifu-agent) talks to the readers, and asks for a card's
/// PIN every time it signs. Where two people have to sign, the second one is asked for.
#[derive(Parser)]
#[command(name = "warifu-admin")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Common {
    /// The agent's bootstrap file [default: in the user's runtime directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Read PINs from standard input, one line each: the card's serial number, a space, the PIN
    #[arg(long, global = true)]
    pub(crate) pins_stdin: bool,
    /// The serial number of the card to use first, where several officers' cards are in the readers
    #[arg(long, global = true, value_name = "SERIAL")]
    pub(crate) card: Option<u32>,
    /// Leave what needs two people at the kms, for the second one to sign at another desk, within seven days
    #[arg(long, global = true)]
    pub(crate) propose: bool,
    /// Do not ask before signing
    #[arg(long, short = 'y', global = true)]
    pub(crate) yes: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Found the organization with its officers' cards
    Init(Init),
    /// Fetch the organization's profile for the PCs of its members
    Profile {
        /// Where to write it
        #[arg(long, short)]
        out: PathBuf,
        /// The organization's founding hash, as written down at the founding
        #[arg(long)]
        organization: Option<String>,
    },
    /// Departments, front desks, contractors' teams and single persons
    #[command(subcommand)]
    Unit(Unit),
    /// Contracts: who works for the organization from outside, and until when
    #[command(subcommand)]
    Contract(Contract),
    /// People and their cards
    #[command(subcommand)]
    Member(Member),
    /// Single cards
    #[command(subcommand)]
    Card(Card),
    /// Sites
    #[command(subcommand)]
    Site(Site),
    /// Backups of the ca and the kms: who keeps their keys, and opening them
    #[command(subcommand)]
    Backup(Backup),
    /// Keys of the ca, the kms and the sites
    #[command(subcommand)]
    Key(Key),
    /// What the organization demands of its parts
    #[command(subcommand)]
    Policy(Policy),
    /// Who opened what, and whether the records of it are whole
    #[command(subcommand)]
    Audit(Audit),
    /// Files that a front desk has sent on to other units
    #[command(subcommand)]
    Slip(Slip),
    /// Other organizations whose units files can be sent to
    #[command(subcommand)]
    Trust(Trust),
    /// What ends soon: contracts, members' last days, certificates of the cards in the readers
    Expiring {
        /// Within how many days
        #[arg(long, default_value_t = 30)]
        days: u64,
    },
    /// Orders that wait for a second person
    #[command(subcommand)]
    Proposal(Proposal),
    /// Look for what does not work, each finding with what to do: at this desk, or with --config on a service's machine
    Doctor {
        /// The configuration of a service on this machine
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Which service that is [default: what the file looks like]
        #[arg(long, requires = "config", value_name = "SERVICE")]
        service: Option<Service>,
    },
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

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Who has opened a file: when, with which card, at which site. The file itself is the question
    WhoOpened {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Count instead, for each card and site, the answers that were for none of these files
        #[arg(long)]
        others: bool,
    },
    /// No site answers any more for a file (two officers): nobody opens it, ever
    Shred {
        /// The file
        file: PathBuf,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
    /// Write ledger, receipts and audit journals into one file, which `verify` checks anywhere; or a table
    Export {
        /// A table for a spreadsheet instead: one row for each opening
        #[arg(long = "csv")]
        sheet: bool,
        /// In the table, from this day on
        #[arg(long = "from", value_name = "DATE", requires = "sheet")]
        first_day: Option<String>,
        /// In the table, up to this day
        #[arg(long = "to", value_name = "DATE", requires = "sheet")]
        last_day: Option<String>,
        /// Where to write it
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Verify a file that `export` wrote, without any service: whether everything in it was signed so
    Verify {
        /// The file
        file: PathBuf,
        /// The organization's founding hash, as written down at the founding
        #[arg(long, value_name = "HASH")]
        organization: String,
        /// A file from before, or a checkpoint: what it covers has to be there unchanged
        #[arg(long, value_name = "FILE")]
        earlier: Option<PathBuf>,
    },
    /// What is proved of a member's cards, of one card or of a file, to be printed: who ended them, each receipt, each opening
    #[command(group(clap::ArgGroup::new("subject").required(true).args(["member", "card_number", "about"])))]
    Evidence {
        /// A file that `export` wrote [default: asked of the services now]
        #[arg(requires = "organization", value_name = "FILE")]
        file: Option<PathBuf>,
        /// The organization's founding hash, as written down at the founding
        #[arg(long, value_name = "HASH", requires = "file")]
        organization: Option<String>,
        /// The member
        #[arg(long)]
        member: Option<String>,
        /// The card: the number on it, or its id
        #[arg(long = "card-number", value_name = "NUMBER")]
        card_number: Option<String>,
        /// The file that was opened (.age)
        #[arg(long, value_name = "FILE")]
        about: Option<PathBuf>,
        /// Where to write it
        #[arg(long, short)]
        out: PathBuf,
    },
    /// How far each site's audit journal has come, and what was found wrong
    Status,
}

#[derive(Args)]
pub(crate) struct Init {
    /// The organization's name, such as "北アルプス広域連合"
    #[arg(long)]
    pub(crate) org: String,
    /// Its time zone
    #[arg(long, default_value = "Asia/Tokyo")]
    pub(crate) zone: String,
    /// The ca's statement, as its console wrote it
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: PathBuf,
    /// The kms's statement, as its console wrote it
    #[arg(long, value_name = "FILE")]
    pub(crate) kms: PathBuf,
    /// A first officer: the card's serial number, a label and the name, such as "1001:ichiro:信濃 一郎". Three people, or
    /// two with two cards each
    #[arg(long = "officer", value_name = "SERIAL:LABEL:NAME")]
    pub(crate) officers: Vec<String>,
    /// How long a site may answer without news from the kms, in seconds
    #[arg(long, default_value_t = 600)]
    pub(crate) lease_seconds: u64,
    /// How long one PIN entry may last, in hours
    #[arg(long, default_value_t = 10)]
    pub(crate) pin_hours: u64,
    /// Allow cards that cannot prove where their keys were made
    #[arg(long)]
    pub(crate) allow_unattested: bool,
    /// Keep roles apart: a security officer can be neither administrator nor auditor
    #[arg(long = "keep-roles-apart")]
    pub(crate) keep_roles_apart: bool,
    /// Where to write the founding, for the ca and the kms to sign
    #[arg(long, short, required_unless_present = "rehearse")]
    pub(crate) out: Option<PathBuf>,
    /// Where to write the register records, for the kms
    #[arg(long, required_unless_present = "rehearse")]
    pub(crate) records: Option<PathBuf>,
    /// Where to write the minutes, to be printed and signed [default: beside the founding, with .txt]
    #[arg(long, value_name = "FILE")]
    pub(crate) minutes: Option<PathBuf>,
    /// Go through all of it, and make no keys, sign nothing, write nothing
    #[arg(long, conflicts_with_all = ["out", "records", "minutes"])]
    pub(crate) rehearse: bool,
}

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

#[derive(Args)]
pub(crate) struct Why {
    /// Why, for the register
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Wait and show each site's receipt
    #[arg(long)]
    pub(crate) watch: bool,
    /// Then write evidence of it, which `audit verify` checks anywhere, and the same in words beside it, to be printed
    #[arg(long, value_name = "FILE", requires = "watch")]
    pub(crate) evidence: Option<PathBuf>,
}

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

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// As it is
    Show,
    /// Change it (two officers)
    #[command(arg_required_else_help = true)]
    Change {
        /// How long a site may answer without news from the kms, in seconds
        #[arg(long)]
        lease_seconds: Option<u64>,
        /// How long one PIN entry may last, in hours
        #[arg(long)]
        pin_hours: Option<u64>,
        /// Whether cards are allowed that cannot prove where their keys were made
        #[arg(long, value_name = "true|false")]
        unattested_cards: Option<bool>,
        /// Whether a security officer can be neither administrator nor auditor
        #[arg(long, value_name = "true|false")]
        separate_roles: Option<bool>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Backup {
    /// Name the custodians of a server's backups (two officers)
    Custodians {
        /// The server: ca or kms
        holder: Holder,
        /// How many of them open a backup together, at least two
        #[arg(long, default_value_t = 2)]
        threshold: u8,
        /// The custodians
        #[arg(long, required = true, value_delimiter = ',')]
        members: Vec<String>,
    },
    /// A restored server works for the organization again, with its new keys (two officers)
    Recovered {
        /// Which server
        holder: Holder,
        /// The statement that the new machine's console wrote
        #[arg(long, value_name = "FILE")]
        statement: PathBuf,
        /// The fingerprint that console shows
        #[arg(long)]
        fingerprint: Option<String>,
    },
    /// Open a backup for a new machine, with the custodians' cards one after the other
    Open {
        /// The backup
        backup: PathBuf,
        /// The request that the new machine's console wrote
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The fingerprint that console shows
        #[arg(long)]
        fingerprint: Option<String>,
        /// Where the pieces are written; what is there already is added to
        #[arg(long, short)]
        out: PathBuf,
    },
}

/// A server whose backups are kept by custodians.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Holder {
    /// The ca
    Ca,
    /// The kms
    Kms,
}

#[derive(Subcommand)]
pub(crate) enum Key {
    /// A server or site goes on with new keys in the place of those it has (two officers)
    Rotate {
        /// Which: ca, kms, or a site
        #[arg(id = "whose", value_name = "SERVICE")]
        service: String,
        /// The statement that its console wrote: rotation.json
        #[arg(long, value_name = "FILE")]
        statement: PathBuf,
        /// The fingerprint that console shows
        #[arg(long)]
        fingerprint: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Proposal {
    /// All that wait
    List,
    /// What an order says, in words, just as it would be signed
    Show {
        /// The beginning of its hash
        hash: String,
    },
    /// Sign as the second person; the order is carried out then
    Sign {
        /// The beginning of its hash
        hash: String,
        /// Wait and show each site's receipt
        #[arg(long)]
        watch: bool,
    },
    /// Take an order back before the second person has signed
    Withdraw {
        /// The beginning of its hash
        hash: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Site {
    /// A site joins (two officers), with the statement its console wrote
    Add {
        /// Short name
        label: String,
        /// The name people use
        #[arg(long)]
        name: String,
        /// The site's statement
        #[arg(long, value_name = "FILE")]
        statement: PathBuf,
        /// The fingerprint its console shows
        #[arg(long)]
        fingerprint: Option<String>,
        /// Units that it serves from the beginning, or all [default: none]
        #[arg(long, value_delimiter = ',')]
        serves: Vec<String>,
        /// Wait until the new sites have every share
        #[arg(long = "watch")]
        watch_shares: bool,
    },
    /// A site leaves, for ever (two officers)
    Remove {
        /// The site
        label: String,
        /// Its HSM is lost: grants that no other site serves are ordered anew, with the same cards
        #[arg(long)]
        lost: bool,
        /// The site that serves those grants from now on
        #[arg(long, requires = "lost", value_name = "SITE")]
        to: Option<String>,
        /// Wait and show each site's receipt
        #[arg(long, conflicts_with = "lost")]
        watch: bool,
    },
    /// All sites: how far they have read the ledger, and their lease
    List,
}

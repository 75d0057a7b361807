//! The command line. What people read of it is in `locales/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::doctor::Service;

mod audit;
mod people;
mod services;
mod units;

pub(crate) use audit::Audit;
pub(crate) use people::{Card, Member, RoleName};
pub(crate) use services::{Backup, Holder, Key, Policy, Site};
pub(crate) use units::{Contract, Slip, Trust, Unit};

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

//! Sites, keys, backups, and what is demanded of all.

use std::path::PathBuf;

use clap::Subcommand;

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

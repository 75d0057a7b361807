//! Who opened what.

use std::path::PathBuf;

use clap::Subcommand;

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

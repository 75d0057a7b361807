//! `warifu-virtual-card`: virtual readers and cards from the shell. Test equipment.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use warifu_virtual_card::readers::Readers;
use warifu_virtual_card::{TestRoot, VirtualCard};

/// Virtual PC/SC readers and PIV cards, for tests and demonstrations. They protect nothing.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a card, and a test root in the same folder where there is none; print the card's file
    Create {
        /// The folder for the card's file and the test root
        folder: PathBuf,
        /// The serial number of the card
        #[arg(long)]
        serial: u32,
    },
    /// Keep a card in a reader until standard input ends
    Insert {
        /// The card's file
        card: PathBuf,
        /// The virtual reader's TCP port
        #[arg(long)]
        port: u16,
    },
    /// Leave no tries for a card's PIN; the card must not be in a reader
    BlockPin {
        /// The card's file
        card: PathBuf,
    },
    /// Run virtual readers until standard input ends; print "PORT NAME" for each. Needs with-readers
    Readers {
        /// How many
        #[arg(long, default_value_t = 2)]
        count: usize,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        What::Create { folder, serial } => {
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            let root = TestRoot::open(&folder)?;
            let card = VirtualCard::create(&folder.join(format!("card-{serial}.json")), serial, &root)?;
            println!("{}", card.path().display());
        }
        What::Insert { card, port } => {
            let inserted = VirtualCard::open(&card)?.insert(port)?;
            println!("inserted");
            until_input_ends()?;
            inserted.remove();
        }
        What::BlockPin { card } => VirtualCard::open(&card)?.block_pin()?,
        What::Readers { count } => {
            let readers = Readers::start(count)?;
            for reader in 0..readers.count() {
                println!("{} {}", readers.port(reader), readers.name(reader));
            }
            until_input_ends()?;
        }
    }
    Ok(())
}

fn until_input_ends() -> io::Result<()> {
    io::stdout().flush()?;
    let mut input = [0; 64];
    while io::stdin().read(&mut input)? > 0 {}
    Ok(())
}

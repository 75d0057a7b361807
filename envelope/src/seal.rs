//! Sealing, as any age program does it.

use std::io::{self, Read, Write};

use age::armor::{ArmoredWriter, Format};
use age::{EncryptError, Encryptor};
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::recipient::UnitRecipient;

/// The most units that one file can be sealed to; their header stays below [`crate::HEADER_LIMIT`].
pub const RECIPIENT_LIMIT: usize = 4096;

const CHUNK: usize = 64 * 1024;

/// Why nothing was sealed. What was written until then is to be discarded: see [`crate::write_whole`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A file for nobody.
    #[error("no unit was named to seal to")]
    NoRecipients,
    /// More than [`RECIPIENT_LIMIT`].
    #[error("{count} units are too many for one file; the limit is {limit}")]
    TooManyRecipients {
        /// How many were given.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The `age` crate does not take a unit's recipient.
    #[error("the recipient {recipient} cannot be sealed to")]
    Recipient {
        /// The recipient's text.
        recipient: String,
    },
    /// The `age` crate could not build the header.
    #[error("the header cannot be built")]
    Header(#[source] EncryptError),
    /// The input failed.
    #[error("the file to seal cannot be read")]
    Read(#[source] io::Error),
    /// The output failed.
    #[error("the sealed file cannot be written")]
    Write(#[source] io::Error),
}

/// Seals `input` to every one of `recipients`, as a stream, and returns the plaintext's length in bytes.
///
/// Randomness is the `age` crate's own, from the operating system. The header also carries a random stanza of no
/// meaning ("grease"), as age's do. `output` is flushed.
pub fn seal(
    recipients: &[Point],
    armor: bool,
    mut input: impl Read,
    output: impl Write,
) -> Result<u64, SealError> {
    match recipients.len() {
        0 => return Err(SealError::NoRecipients),
        count if count > RECIPIENT_LIMIT => {
            return Err(SealError::TooManyRecipients { count, limit: RECIPIENT_LIMIT });
        }
        _ => {}
    }
    let recipients = recipients.iter().map(age_recipient).collect::<Result<Vec<_>, _>>()?;
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as _))
        .map_err(SealError::Header)?;

    let format = if armor { Format::AsciiArmor } else { Format::Binary };
    let armored = ArmoredWriter::wrap_output(output, format).map_err(SealError::Write)?;
    let mut sealed = encryptor.wrap_output(armored).map_err(SealError::Write)?;
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let mut total = 0;
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SealError::Read(error)),
        };
        sealed.write_all(chunk.get(..read).unwrap_or_default()).map_err(SealError::Write)?;
        total += read as u64;
    }
    let mut output = sealed.finish().and_then(ArmoredWriter::finish).map_err(SealError::Write)?;
    output.flush().map_err(SealError::Write)?;
    Ok(total)
}

fn age_recipient(point: &Point) -> Result<age::tag::Recipient, SealError> {
    let recipient = UnitRecipient::encode(point);
    recipient.parse().map_err(|_| SealError::Recipient { recipient })
}

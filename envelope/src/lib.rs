//! Files addressed to units: age v1 (C2SP `age.md`), binary or armored.
//!
//! Opening goes in two phases, because a card and a site must be asked in between, once for a whole batch of files:
//! [`Sealed::read`] parses a file's header strictly and within bounds, and gives the [`TagStanza`]s to ask for;
//! [`Sealed::open`] and [`Sealed::open_to_path`] take the [`FileKey`] that came out, let the `age` crate verify the
//! header's MAC, and decrypt. Senders need nothing of this crate; [`seal`] makes the same files as stock age.
//!
//! Pure but for `Read`, `Write` and the file that [`write_whole`] publishes.

mod armor;
mod file_key;
mod header;
mod open;
mod recipient;
mod seal;
mod tag;
mod whole;

pub use armor::ArmorError;
pub use file_key::FileKey;
pub use header::{HEADER_LIMIT, Header, HeaderError, HeaderFault, Stanza, read_header};
pub use open::{OpenError, Sealed, Unwrap, UnwrapError, open, open_to_path};
pub use recipient::{RecipientError, UnitRecipient};
pub use seal::{RECIPIENT_LIMIT, SealError, seal};
pub use tag::{TagError, TagStanza};
pub use whole::{Overwrite, WholeError, write_whole};

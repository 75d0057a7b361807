//! What was sealed and signed at this PC: kept until it has arrived, and what is remembered of it afterwards.
//!
//! One folder a delivery: `sealed.age` and `delivery.json`. The second makes it one, and is whole and durable once it has its name: a
//! folder without it was left by an agent that was killed while it sealed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warifu_api::wire::agent::{Became, NamedUnit, SentDelivery};
use warifu_api::wire::deliveries::Offer;
use warifu_envelope::{Overwrite, WholeError, write_whole};
use warifu_ledger::statement::{Delivery, Millis};
use warifu_ledger::{Digest, Id};
use warifu_texts::day::Zone;

use crate::platform::{private_folder, remove_if_there};

const SEALED: &str = "sealed.age";
const RECORD: &str = "delivery.json";
/// The largest record that is read, in bytes: an offer, with names.
const RECORD_LIMIT: u64 = 2 * Offer::LARGEST as u64;

/// The deliveries of this user's that were sent from this PC.
pub(crate) struct Outbox {
    folder: PathBuf,
}

/// A delivery that was signed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outgoing {
    pub(super) offer: Offer,
    /// The other organization to whose box it goes; none for one's own.
    pub(super) organization: Option<Digest>,
    /// The units, as they were called.
    pub(super) to: Vec<NamedUnit>,
}

impl Outgoing {
    pub(super) fn delivery(&self) -> Option<Delivery> {
        self.offer.delivery.statement().ok()
    }
}

impl Outbox {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn of(&self, id: &Id) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Where the sealed file is, or is to be.
    pub(super) fn sealed(&self, id: &Id) -> PathBuf {
        self.of(id).join(SEALED)
    }

    /// Makes the sealed file of a new delivery.
    pub(super) fn begin(&self, id: &Id) -> io::Result<File> {
        let folder = self.of(id);
        private_folder(&folder)?;
        File::create_new(folder.join(SEALED))
    }

    /// The delivery is signed: from here on it outlives the agent, and a power cut.
    pub(super) fn keep(&self, id: &Id, outgoing: &Outgoing) -> Result<(), NotKept> {
        let record = serde_json::to_vec(outgoing)?;
        write_whole(&self.of(id).join(RECORD), Overwrite::Replace, |file| Ok(file.write_all(&record)?))
    }

    /// All of them, the newest first. What has been over for long is forgotten, and what was never signed.
    pub(super) fn all(&self, now: Millis) -> Vec<(Delivery, Outgoing)> {
        let folders = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut all: Vec<(Delivery, Outgoing)> = Vec::new();
        for folder in folders {
            let read = read(&folder.path().join(RECORD));
            let Some((delivery, outgoing)) = read.and_then(|it| Some((it.delivery()?, it))) else { continue };
            if delivery.is_over(now) {
                self.forget(&delivery.id);
            } else {
                all.push((delivery, outgoing));
            }
        }
        all.sort_by_key(|(delivery, _)| std::cmp::Reverse(delivery.sent_at));
        all
    }

    /// It is proved to have arrived: the sealed file is not needed any more.
    pub(super) fn arrived(&self, id: &Id) {
        remove_if_there(&self.sealed(id));
    }

    /// It was not taken, or never signed.
    pub(super) fn forget(&self, id: &Id) {
        remove_if_there(&self.sealed(id));
        remove_if_there(&self.of(id).join(RECORD));
        let _ = fs::remove_dir(self.of(id));
    }

    /// Removes what an agent has left that was killed while it sealed, or whose record is none: nobody could bring that.
    pub(crate) fn tidy(&self) {
        for folder in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = folder.path();
            if is_torn(&path.join(RECORD)) {
                remove_if_there(&path.join(SEALED));
                remove_if_there(&path.join(RECORD));
                let _ = fs::remove_dir(&path);
            }
        }
    }

    pub(super) fn is_here(&self, id: &Id) -> bool {
        self.sealed(id).exists()
    }

    pub(super) fn told(
        &self,
        delivery: &Delivery,
        outgoing: &Outgoing,
        became: Became,
        zone: &Zone,
    ) -> SentDelivery {
        SentDelivery {
            id: delivery.id,
            to: outgoing.to.clone(),
            title: delivery.title.clone(),
            name: delivery.name.clone(),
            size: delivery.size,
            sent_at: zone.minute(delivery.sent_at),
            here: self.is_here(&delivery.id),
            became,
        }
    }
}

/// Why a delivery could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKept {
    #[error("the record of a delivery cannot be written")]
    Record(#[from] serde_json::Error),
    #[error("the record of a delivery cannot be written")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Whole(#[from] WholeError),
}

/// Whether there is no record, or a file that is none. What cannot be read just now may be one.
fn is_torn(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(_) => fs::read(path).is_ok() && read(path).and_then(|outgoing| outgoing.delivery()).is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn read(path: &Path) -> Option<Outgoing> {
    let fits = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= RECORD_LIMIT);
    let text = fits.then(|| fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&text)
        .inspect_err(
            |error| tracing::warn!(%error, path = %path.display(), "a delivery's record cannot be read"),
        )
        .ok()
}

#[cfg(test)]
mod tests {
    use warifu_ledger::delivery::Sender;
    use warifu_ledger::dsse::Envelope;
    use warifu_ledger::key::Bytes;
    use warifu_ledger::statement::Addressees;

    use super::*;

    const SENT_AT: Millis = 1_000;

    fn outgoing(id: Id) -> Outgoing {
        let organization = Digest::of(b"town");
        let delivery = Delivery {
            organization,
            id,
            card: Id([1; 16]),
            to: Addressees { organization, units: [Id([2; 16])].into() },
            title: "照会".to_owned(),
            name: "名簿.csv".to_owned(),
            size: 1,
            digest: Digest::of(b"x"),
            sent_at: SENT_AT,
            reply_to: None,
            expires_at: 2 * SENT_AT,
        };
        let sender =
            Sender { index: 0, leaf: Bytes(vec![]), proof: vec![], checkpoint: String::new(), name: None };
        let offer = Offer { delivery: Envelope::unsigned(&delivery).unwrap(), sender };
        let to = vec![NamedUnit { unit: Id([2; 16]), name: "受付".to_owned() }];
        Outgoing { offer, organization: None, to }
    }

    #[test]
    fn what_was_signed_outlives_the_agent_and_what_was_not_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Outbox::new(folder.path().join("outbox"));
        let (signed, unsigned) = (Id([7; 16]), Id([8; 16]));
        for id in [signed, unsigned] {
            drop(open().begin(&id).unwrap());
        }
        assert!(open().begin(&signed).is_err(), "one that is there is not written over");
        open().keep(&signed, &outgoing(signed)).unwrap();
        open().tidy();
        assert!(open().is_here(&signed) && !open().is_here(&unsigned));
        let ids = |now| open().all(now).into_iter().map(|(delivery, _)| delivery.id).collect::<Vec<_>>();
        assert_eq!(ids(SENT_AT), [signed]);
        // Once it has arrived it is remembered, until it is over.
        open().arrived(&signed);
        assert!(!open().is_here(&signed));
        assert_eq!(ids(SENT_AT), [signed]);
        assert_eq!(ids(2 * SENT_AT), []);
        assert_eq!(ids(SENT_AT), [], "it is forgotten for good");
        assert_eq!(std::fs::read_dir(folder.path().join("outbox")).unwrap().count(), 0);
    }
    #[test]
    fn a_record_that_is_torn_is_no_delivery_and_keeps_nothing_here() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::new(folder.path().join("outbox"));
        let id = Id([7; 16]);
        let record = outbox.of(&id).join(RECORD);
        drop(outbox.begin(&id).unwrap());
        outbox.keep(&id, &outgoing(id)).unwrap();
        let whole = fs::read(&record).unwrap();
        for torn in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&record, &whole[..torn]).unwrap();
            assert!(outbox.all(SENT_AT).is_empty(), "{torn} bytes");
            outbox.tidy();
            assert!(!outbox.of(&id).exists(), "{torn} bytes: the sealed file stays for ever");
            drop(outbox.begin(&id).unwrap());
        }
        outbox.keep(&id, &outgoing(id)).unwrap();
        outbox.tidy();
        assert!(outbox.is_here(&id));
    }
}

//! Keeping receipts: those that come at once share one commit.
//!
//! When an order ends something everywhere, thousands of sites hand over their receipts within a second. One task writes: all that
//! waits in one transaction, and what comes meanwhile in the next one. Each site hears that its receipt is kept when it is.

use tokio::sync::{mpsc, oneshot};

use super::Result;
use super::error::AuthorityError;
use super::store::{ReceivedReceipt, Store};

/// Receipts that wait for the task before others wait for them, and the most in one transaction.
const WAITING: usize = 1024;

/// Where receipts go. The task ends with it.
pub(crate) struct Keeping(mpsc::Sender<Waiting>);

struct Waiting {
    receipt: ReceivedReceipt,
    kept: oneshot::Sender<Result<()>>,
}

impl Keeping {
    /// Starts the task. Needs a `tokio` runtime.
    pub(crate) fn start(store: Store) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        tokio::spawn(keep(store, waiting));
        Self(sender)
    }

    /// Returns when the receipt is durable.
    pub(crate) async fn keep(&self, receipt: ReceivedReceipt) -> Result<()> {
        let (kept, answer) = oneshot::channel();
        self.0.send(Waiting { receipt, kept }).await.map_err(|_| AuthorityError::Stopping)?;
        answer.await.map_err(|_| AuthorityError::Stopping)?
    }
}

async fn keep(store: Store, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, WAITING).await > 0 {
        let (receipts, callers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Waiting { receipt, kept }| (receipt, kept)).unzip();
        if store.keep_receipts(&receipts).await.is_ok() {
            callers.into_iter().for_each(|kept| drop(kept.send(Ok(()))));
            continue;
        }
        // One by one, so that each caller hears what became of his own.
        for (receipt, kept) in receipts.iter().zip(callers) {
            drop(kept.send(store.keep_receipts(std::slice::from_ref(receipt)).await));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use warifu_ledger::dsse::Envelope;
    use warifu_ledger::key::Bytes;
    use warifu_ledger::{Digest, Id};

    use super::*;

    fn receipt(number: u8, order: Digest) -> ReceivedReceipt {
        let envelope = Envelope {
            payload_type: "receipt".to_owned(),
            payload: Bytes(vec![number]),
            signatures: Vec::new(),
        };
        ReceivedReceipt { order, site: Id([number; 16]), envelope, received_at: 1 }
    }

    #[tokio::test]
    async fn each_of_many_at_once_is_kept_and_hears_what_became_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let migrations = crate::authority::moving::tables().sqlite;
        let pool = warifu_replica::storage::open(&folder.path().join("db"), migrations).await.unwrap();
        let store = Store::new(pool.clone());
        let keeping = Keeping::start(store.clone());
        let order = Digest::of(b"order");
        let kept = join_all((0..200).map(|number| keeping.keep(receipt(number, order)))).await;
        assert!(kept.iter().all(Result::is_ok), "{kept:?}");
        // The same again is kept already.
        keeping.keep(receipt(7, order)).await.unwrap();
        let stored = store.receipts(&order).await.unwrap();
        assert_eq!(stored.len(), 200);
        assert!(stored.iter().all(|(site, (envelope, _))| envelope.payload.0 == [site.0[0]]));

        pool.close().await;
        let kept = join_all((200..=255).map(|number| keeping.keep(receipt(number, order)))).await;
        assert!(kept.iter().all(Result::is_err), "{kept:?}");
    }
}

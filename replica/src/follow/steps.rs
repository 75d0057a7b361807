//! A follower that does nothing by itself: a simulator takes its steps, which are those of a follower that runs. In debug builds
//! alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use warifu_api::client::Client;
use warifu_ledger::leaf::Leaf;

use super::{FollowError, Follower, Following, Halt, Shared, Stopped};
use crate::replica::{Appended, Replica};

/// Whoever carries the request ends it before.
const TIMEOUT: Duration = Duration::from_secs(600);

impl Follower {
    /// As [`Follower::start`], without tasks.
    ///
    /// # Errors
    /// [`FollowError::NothingPinned`].
    pub fn idle(
        following: Following,
        replica: Replica,
        appended: mpsc::Sender<Appended>,
    ) -> Result<Self, FollowError> {
        Ok(Self { shared: Arc::new(Shared::new(following, replica, appended)?), tasks: Vec::new() })
    }

    /// Leaves have come on the stream, from index `from` on.
    pub async fn hear(&self, from: u64, leaves: Vec<Vec<u8>>) {
        let mut batch = Vec::new();
        let mut bad = None;
        for (bytes, index) in leaves.into_iter().zip(from..) {
            match Leaf::from_bytes(bytes) {
                Ok(leaf) => batch.push((index, leaf)),
                Err(why) => {
                    bad = Some(Halt::NotALeaf { index, why });
                    break;
                }
            }
        }
        if self.shared.is_halted() {
            return;
        }
        match (self.shared.append(batch).await, bad) {
            (Err(Stopped::Halt(why)), _) | (Ok(()), Some(why)) => self.shared.halt(why).await,
            _ => {}
        }
    }

    /// Sends a nonce, and takes what is answered.
    pub async fn ask(&self, client: &Client) {
        if self.shared.is_halted() {
            return;
        }
        self.shared.adopt_policy();
        if let Err(Stopped::Halt(why)) = self.shared.ask_once(client, TIMEOUT).await {
            self.shared.halt(why).await;
        }
    }
}

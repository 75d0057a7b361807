//! The work that Warifu is for, as stories: each is played by `./demo w1` and so on, told in Japanese or English, and by an
//! end-to-end test, which hears nothing of it. What happens, and what is checked, is the same. The tour shows the whole once.

mod narrator;
mod stage;
mod tour;
mod w1;
mod w2;
mod w3;

use std::path::Path;

use anyhow::Result;
use warifu_virtual_card::readers::Readers;

pub use narrator::Narrator;
pub use tour::tour;

/// A piece of a town's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Reminding scholarship debtors, contracted out (滞納奨学金返還納付の勧奨の委託).
    W1,
    /// Passport applications at several offices (一般旅券の申請受理・交付).
    W2,
    /// The invitation list of the party for the aged (敬老会招待リストの作成).
    W3,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::W1, Self::W2, Self::W3];

    /// Its name on the command line, and that of its page in `docs/workflows`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
        }
    }

    /// How many readers it takes.
    #[must_use]
    pub fn readers(self) -> usize {
        match self {
            Self::W1 => w1::READERS,
            Self::W2 => w2::READERS,
            Self::W3 => w3::READERS,
        }
    }

    /// Plays it in a town of its own, in this folder.
    ///
    /// # Errors
    /// Whatever does not go as it should.
    pub fn play(self, folder: &Path, readers: Readers, tell: &mut Narrator) -> Result<()> {
        match self {
            Self::W1 => w1::play(folder, readers, tell),
            Self::W2 => w2::play(folder, readers, tell),
            Self::W3 => w3::play(folder, readers, tell),
        }
    }
}

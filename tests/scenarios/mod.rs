//! The work that Warifu is for, as stories: each is played by `./demo w1` and so on, told in Japanese or English, and by an
//! end-to-end test, which hears nothing of it. What happens, and what is checked, is the same. The tour shows the whole once.

mod narrator;
mod stage;
mod tour;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;

use std::path::Path;

use anyhow::Result;
use warifu_virtual_card::readers::Readers;

pub use narrator::Narrator;
pub use tour::tour;

/// What most of these towns are called.
const ORGANIZATION: &str = "北アルプス広域連合";

/// A piece of a town's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Reminding scholarship debtors, contracted out (滞納奨学金返還納付の勧奨の委託).
    W1,
    /// Passport applications at several offices (一般旅券の申請受理・交付).
    W2,
    /// The invitation list of the party for the aged (敬老会招待リストの作成).
    W3,
    /// What comes from outside, distributed inside (住基ネット通信など、外から届く情報の庁内への配付).
    W4,
    /// Shapes of characters, asked for and answered between organizations (外字字形提供依頼および外字同定作業確認依頼).
    W5,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::W1, Self::W2, Self::W3, Self::W4, Self::W5];

    /// Its name on the command line, and that of its page in `docs/workflows`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
            Self::W5 => "w5",
        }
    }

    /// How many readers it takes.
    #[must_use]
    pub fn readers(self) -> usize {
        match self {
            Self::W1 => w1::READERS,
            Self::W2 => w2::READERS,
            Self::W3 => w3::READERS,
            Self::W4 => w4::READERS,
            Self::W5 => w5::READERS,
        }
    }

    /// Plays it in a town of its own, or two, in this folder.
    ///
    /// # Errors
    /// Whatever does not go as it should.
    pub fn play(self, folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
        match self {
            Self::W1 => w1::play(folder, readers, tell),
            Self::W2 => w2::play(folder, readers, tell),
            Self::W3 => w3::play(folder, readers, tell),
            Self::W4 => w4::play(folder, readers, tell),
            Self::W5 => w5::play(folder, readers, tell),
        }
    }
}

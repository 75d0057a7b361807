//! Seeded random damage: whatever the bytes, the answer is an error or the truth, never a panic.

use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use crate::ahead::after;
use crate::fixture::*;

/// `xorshift64*`: the same damage in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % u64::try_from(sides).unwrap();
        usize::try_from(roll).unwrap()
    }
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.roll(bytes.len());
    match dice.roll(4) {
        0 => bytes[at] ^= 1 << dice.roll(8),
        1 => bytes.truncate(at),
        2 => bytes[at] = b"0123456789abcdefABCDEF+/={}[]\",:\\ \n"[dice.roll(35)],
        _ => {
            let from = dice.roll(bytes.len());
            let (from, to) = (from.min(at), from.max(at));
            let piece = bytes[from..to].to_vec();
            let target = dice.roll(bytes.len());
            bytes.splice(target..target, piece);
        }
    }
}

#[test]
fn a_damaged_leaf_is_refused_or_says_the_same() {
    let town = Town::working();
    let mut dice = Dice(0x7761_7269_6675);
    let mut before: Option<State> = None;
    for leaf in &town.leaves {
        for _ in 0..150 {
            let mut bytes = leaf.as_bytes().to_vec();
            damage(&mut dice, &mut bytes);
            let Ok(damaged) = Leaf::from_bytes(bytes) else { continue };
            let after = after(before.as_ref(), &damaged);
            if after.is_ok() {
                // The instant is the appender's to say; what people and services signed is not.
                assert_eq!(damaged.envelope().digest(), leaf.envelope().digest());
            }
        }
        before = Some(before.map_or_else(|| State::found(leaf), |state| state.apply(leaf)).unwrap());
    }
}

#[test]
fn damage_under_valid_signatures_does_not_panic() {
    let mut town = Town::working();
    let mut dice = Dice(0x006c_6564_6765_7221);
    let good = town.order(
        [unit("welfare"), enrol("saburo"), grant("jiro", "tax"), suspend("hanako"), end_contract("acme")],
        &[],
    );
    for _ in 0..1500 {
        let mut envelope = good.clone();
        damage(&mut dice, &mut envelope.payload.0);
        for card in TWO {
            add_signature(&mut envelope, &card_key(card, "9C"));
        }
        let _ = town.state.check_order(&envelope, town.at);
    }
}

//! The ciphers of the management key (SP 800-78-4, table 6-2): one block at a time.

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use des::TdesEde3;

/// Block length in bytes of an algorithm (3 = 3DES; 8, 10, 12 = AES), with the length of its key.
pub(crate) fn lengths(algorithm: u8) -> Option<(usize, usize)> {
    match algorithm {
        0x03 => Some((8, 24)),
        0x08 => Some((16, 16)),
        0x0a => Some((16, 24)),
        0x0c => Some((16, 32)),
        _ => None,
    }
}

/// Encrypts one block; `None` where the algorithm is unknown or a length does not fit it.
pub(crate) fn encrypt(algorithm: u8, key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    fn with<C: KeyInit + BlockCipherEncrypt>(key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
        let mut block = Block::<C>::try_from(block).ok()?;
        C::new_from_slice(key).ok()?.encrypt_block(&mut block);
        Some(block.to_vec())
    }
    match algorithm {
        0x03 => with::<TdesEde3>(key, block),
        0x08 => with::<Aes128>(key, block),
        0x0a => with::<Aes192>(key, block),
        0x0c => with::<Aes256>(key, block),
        _ => None,
    }
}

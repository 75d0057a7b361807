//! The secret that a stanza wraps.

use zeroize::Zeroizing;

/// An age file key, 16 bytes: whoever has it can read this one file.
///
/// It cannot be printed or copied, and is overwritten when dropped. It stays in one place: what is moved on a stack leaves
/// itself behind.
pub struct FileKey(Box<Zeroizing<[u8; 16]>>);

impl FileKey {
    /// Takes the 16 bytes that a stanza's body opened to.
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        let mut key = Box::new(Zeroizing::new([0; 16]));
        key.copy_from_slice(bytes);
        Self(key)
    }

    /// The key itself, for handing over an encrypted channel.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn to_age(&self) -> age_core::format::FileKey {
        age_core::format::FileKey::init_with_mut(|key| key.copy_from_slice(self.expose()))
    }
}

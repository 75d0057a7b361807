//! Made-up data, as town halls have it: names and addresses with rare characters, in the encodings that are in use, glyphs as
//! pictures, an archive of scans. Nobody in it exists, and it is the same every time.

pub mod archive;
pub mod gaiji;
pub mod glyph;
pub mod kana;
pub mod residents;
pub mod shift_jis;

/// Draws that are the same for the same seed. All that is needed is variety.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// From a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        // Never zero, which xorshift would repeat for ever.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits (Marsaglia's xorshift64).
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The lower bits of a shift register are its worst.
        usize::try_from(self.bits() >> 32).unwrap_or_default() % end.max(1)
    }

    /// One of them.
    pub fn pick<T: Copy + Default>(&mut self, list: &[T]) -> T {
        list.get(self.below(list.len())).copied().unwrap_or_default()
    }

    /// Fills a buffer with bytes that nothing compresses.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (byte, drawn) in chunk.iter_mut().zip(self.bits().to_le_bytes()) {
                *byte = drawn;
            }
        }
    }
}

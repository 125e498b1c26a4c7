//! The script, from whose bytes a fuzz target makes its decisions.

/// The bytes of a script; zeros when they are used up.
pub struct Script<'d>(&'d [u8]);

impl<'d> Script<'d> {
    pub fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 1
    }

    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    pub fn pick<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }

    /// Returns a number that is likely to be significant, or any number.
    pub fn number(&mut self) -> u32 {
        match self.below(8) {
            0 => self.word(),
            1 => u32::MAX - u32::from(self.byte()),
            2 => 1 << self.below(32),
            _ => self.byte().into(),
        }
    }
}

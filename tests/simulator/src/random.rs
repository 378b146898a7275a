//! Numbers drawn by hashing, never by advancing a generator.
//!
//! A [`Draw`] names a point in a tree of choices: `draw.at(day).at(meeting).label("topic")`. The same path gives the same value whatever
//! was drawn before, so more days, more meetings or another order of questions never change what exists already. It knows nothing of
//! what is drawn.

/// A point in the tree of choices; its value is a hash of the path that leads to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

/// The finaliser of splitmix64: every input bit reaches every output bit.
const fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Draw {
    /// The root of the tree for `seed`.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The child with the number `index`.
    pub(crate) const fn at(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index)))
    }

    /// The child called `name`.
    pub(crate) fn label(self, name: &str) -> Self {
        // FNV-1a: names are short, and `mix` spreads what it leaves undone.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        self.at(hash)
    }

    /// All 64 bits.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// A number in `0..bound`; 0 for the bound 0.
    pub(crate) const fn below(self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-40 for every bound used here.
        if bound == 0 { 0 } else { self.0 % bound }
    }

    /// A number in `low..=high`.
    pub(crate) const fn between(self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with the probability `rate`.
    pub(crate) fn chance(self, rate: f64) -> bool {
        self.unit() < rate
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn pick<T: Copy>(self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// `length` lower-case hexadecimal digits.
    pub(crate) fn hex(self, length: usize) -> String {
        self.text(length, b"0123456789abcdef")
    }

    /// `length` characters of base64's alphabet without the two that a URL would escape.
    pub(crate) fn alphanumeric(self, length: usize) -> String {
        self.text(
            length,
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        )
    }

    fn text(self, length: usize, alphabet: &[u8]) -> String {
        (0..length as u64)
            .map(|index| char::from(self.at(index).pick(alphabet)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_the_same_value_every_time_and_other_paths_give_others() {
        let root = Draw::new(7);
        assert_eq!(root.at(1).label("x").value(), root.at(1).label("x").value());
        assert_ne!(root.at(1).label("x").value(), root.at(2).label("x").value());
        assert_ne!(root.at(1).label("x").value(), root.at(1).label("y").value());
        assert_ne!(root.value(), Draw::new(8).value());
    }

    #[test]
    fn chances_come_out_near_their_rate() {
        let hits = (0..10_000)
            .filter(|&index| Draw::new(3).at(index).chance(0.2))
            .count();
        assert!((1_850..2_150).contains(&hits), "{hits}");
    }

    #[test]
    fn texts_have_their_length_and_alphabet() {
        let text = Draw::new(1).hex(32);
        assert_eq!(text.len(), 32);
        assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

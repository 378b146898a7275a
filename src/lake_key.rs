//! The secret of a lake, under which everything that names a person, a meeting or a task is hashed.
//!
//! A plain hash of a user id says who it is to anybody who tries all ids. So ids leave this machine
//! only as HMAC-SHA-256 under a key of the lake's own. Whoever has the key can join and rebuild;
//! whoever has not sees opaque digits. The key itself is never written to the lake or the ledger,
//! only its id and its fingerprint.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use ring::hmac;
use secrecy::SecretString;

use crate::text::hex;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A key, ready to hash with. Debug output shows its id only.
#[derive(Clone)]
pub struct LakeKey {
    fingerprint: String,
    hmac: hmac::Key,
}

/// Where the secret of a key is kept on this machine.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In the configuration, which has it from the environment.
    Secret(SecretString),
    /// In this file.
    File(PathBuf),
    /// In a file of this folder that has the lake's id as its name.
    Folder(PathBuf),
    /// No place is known: nothing is configured, and this user has no home.
    Nowhere,
}

impl KeySource {
    /// The file with the key of a lake, if it is kept in a file.
    #[must_use]
    pub fn file(&self, lake_id: &str) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Folder(folder) => Some(folder.join(format!("{lake_id}.key"))),
            Self::Secret(_) | Self::Nowhere => None,
        }
    }

    /// The default for somebody with these variables: a folder below the home, where no backup of a
    /// ledger's folder takes the key along.
    #[must_use]
    pub fn of_home(data_home: Option<String>, home: Option<String>) -> Self {
        let absolute = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        let of_home = |home: PathBuf| home.join(Path::new(".local/share"));
        let data = data_home.and_then(absolute);
        let data = data.or_else(|| home.and_then(absolute).map(of_home));
        data.map_or(Self::Nowhere, |data| {
            Self::Folder(data.join("meetlake/keys"))
        })
    }
}

/// What is hashed. The same values have different hashes for different purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOf {
    /// A task: tenant, dataset and request.
    Task,
    /// A meeting: tenant, number and start.
    Meeting,
    /// A stay of a participant: the meeting, who, when and with which device.
    Participation,
    /// A room booking: tenant, source and row.
    Booking,
    /// An app: its host and id.
    App,
}

impl HashOf {
    /// The word in front of what is hashed. It never changes.
    const fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Meeting => "meeting",
            Self::Participation => "participation",
            Self::Booking => "booking",
            Self::App => "app",
        }
    }
}

/// A text that is no key. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a key: it needs 64 hex digits, which `openssl rand -hex 32` gives")]
pub struct MalformedKey;

impl LakeKey {
    /// The key of these secret bytes.
    #[must_use]
    pub fn new(secret: &[u8; KEY_BYTES]) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let fingerprint = hmac::sign(&hmac, b"meetlake lake key fingerprint");
        Self {
            fingerprint: hex(fingerprint.as_ref()),
            hmac,
        }
    }

    /// The key that a file or a secret of the configuration holds: 64 hex digits.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let mut secret = [0; KEY_BYTES];
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return Err(MalformedKey);
        }
        for (byte, pair) in secret.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(MalformedKey);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| MalformedKey)?;
        }
        Ok(Self::new(&secret))
    }

    /// Names the key in records of the lake: `k` and the first 8 digits of the fingerprint.
    #[must_use]
    pub fn id(&self) -> String {
        format!("k{}", &self.fingerprint[..8])
    }

    /// Tells keys apart without telling the key: 64 hex digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The keyed hash of `parts`: 32 hex digits. Each part counts with its length, so that no two
    /// lists of parts are alike.
    #[must_use]
    pub fn hash(&self, of: HashOf, parts: &[&[u8]]) -> String {
        hex(&self.digest(of, parts))
    }

    /// Writes what [`hash`](Self::hash) gives.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_hash(&self, of: HashOf, parts: &[&[u8]], out: &mut impl Write) -> fmt::Result {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.digest(of, parts)) {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        out.write_str(std::str::from_utf8(&digits).expect("digits"))
    }

    fn digest(&self, of: HashOf, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in [of.word().as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// A key that everybody knows.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of_tests() -> Self {
        Self::new(&[7; KEY_BYTES])
    }
}

impl fmt::Debug for LakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LakeKey").field(&self.id()).finish()
    }
}

impl PartialEq for LakeKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned, because another hash would give every task and every meeting another name. The value
    /// was computed from the description by another program.
    #[test]
    fn the_hash_of_the_same_parts_never_changes() {
        let key = LakeKey::parse(&"07".repeat(32)).expect("a key");
        assert_eq!(key, LakeKey::of_tests());
        assert_eq!(key.id(), "k35798a24");
        assert_eq!(
            key.hash(HashOf::Meeting, &[b"acme", b"123"]),
            "210a7e0d5e3098fdfc836295612a1729"
        );
    }

    #[test]
    fn a_hash_is_written_as_it_is_given() {
        let key = LakeKey::of_tests();
        for part in 0..=255_u8 {
            let mut written = String::new();
            let done = key.write_hash(HashOf::Booking, &[&[part]], &mut written);
            assert_eq!(
                (done, written),
                (Ok(()), key.hash(HashOf::Booking, &[&[part]]))
            );
        }
    }

    #[test]
    fn parts_purposes_and_keys_tell_hashes_apart() {
        let (key, other) = (LakeKey::of_tests(), LakeKey::new(&[8; KEY_BYTES]));
        let hashes = [
            key.hash(HashOf::Meeting, &[b"ab", b"c"]),
            key.hash(HashOf::Meeting, &[b"a", b"bc"]),
            key.hash(HashOf::Meeting, &[b"abc"]),
            key.hash(HashOf::Booking, &[b"ab", b"c"]),
            other.hash(HashOf::Meeting, &[b"ab", b"c"]),
        ];
        let distinct: std::collections::HashSet<&String> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_repeated() {
        for text in [
            "",
            "07",
            &"0g".repeat(32),
            &"07".repeat(33),
            "七".repeat(32).as_str(),
        ] {
            assert_eq!(LakeKey::parse(text), Err(MalformedKey), "{text}");
        }
        assert!(LakeKey::parse(&format!("{}\r\n", "0A".repeat(32))).is_ok());
        let shown = format!("{:?}", LakeKey::of_tests());
        assert!(!shown.contains("0707"), "{shown}");
    }
}

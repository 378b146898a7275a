//! The shared strings, one behind the other in one piece of memory: `<si><t>…</t></si>`, nothing else.

use std::ops::Range;
use std::thread::Scope;

use super::directory::Part;
use super::tags::{self, Tags, Token};
use super::text::{Blanks, decode};
use super::window::{Buffers, Pieces, Window};
use super::{Known, Step, Unknown, blanks, text_until_tag};
use crate::decode::Limits;

/// Where the strings lie.
pub(super) const STRINGS: &str = "xl/sharedStrings.xml";
/// Kept from file to file; more than this is given back.
const KEPT: usize = 4 << 20;

/// A flat table of texts.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl Strings {
    /// Where a string lies; nowhere, if there is none with this index.
    #[inline]
    pub(super) fn span(&self, index: usize) -> Range<usize> {
        let Some(end) = self.ends.get(index) else {
            return usize::MAX..usize::MAX;
        };
        let before = index.checked_sub(1).and_then(|index| self.ends.get(index));
        before.map_or(0, |end| *end as usize)..*end as usize
    }

    /// A byte at the beginning of what lies there, so that it is near when it is needed.
    #[inline]
    pub(super) fn touch(&self, span: &Range<usize>) -> u8 {
        let bytes = self.text.as_bytes();
        bytes.get(span.start).copied().unwrap_or_default()
    }

    /// The string that lies there.
    #[inline]
    pub(super) fn text(&self, span: Range<usize>) -> Option<&str> {
        self.text.get(span)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.text.shrink_to(KEPT);
        self.ends.shrink_to(KEPT / size_of::<u32>());
    }

    pub(super) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    fn push(&mut self, text: &str) -> Known<()> {
        self.text.push_str(text);
        let end = u32::try_from(self.text.len());
        self.ends
            .push(end.map_err(|_| Unknown("there is too much shared text"))?);
        Ok(())
    }

    /// Reads the part; its strings are added to what is there.
    pub(super) fn read<'s, 'a: 's>(
        &mut self,
        buffers: &mut Buffers,
        part: Part<'a>,
        pieces: Pieces,
        limits: &Limits,
        scope: &'s Scope<'s, '_>,
    ) -> Known<()> {
        let mut window = Window::open(buffers, part, pieces, scope)?;
        let claimed = loop {
            match begin(window.text()?) {
                Err(tags::CUT) if !window.is_last() => window.advance(0)?,
                Err(unknown) => return Err(unknown),
                Ok((used, claimed)) => {
                    window.advance(used)?;
                    break claimed;
                }
            }
        };
        loop {
            let is_last = window.is_last();
            let (used, is_over) = self.take(window.text()?, is_last, limits)?;
            if is_over {
                break;
            }
            if is_last {
                return Err(tags::CUT);
            }
            window.advance(used)?;
        }
        let count = self.len();
        if claimed > count || count > limits.shared_strings {
            return Err(Unknown("the strings are not as many as they claim"));
        }
        Ok(())
    }

    /// Takes the whole strings at the start of `text`; gives how many bytes they were, and whether the table has ended.
    fn take(&mut self, text: &str, is_last: bool, limits: &Limits) -> Known<(usize, bool)> {
        let mut at = 0;
        loop {
            match self.one(&text[at..], limits) {
                Ok(0) if is_last => {
                    let rest = text[at..].trim_ascii_start();
                    let behind = rest.strip_prefix("</sst>").ok_or(tags::CUT)?;
                    if !behind.trim_ascii().is_empty() {
                        return Err(Unknown("something follows the strings"));
                    }
                    return Ok((text.len(), true));
                }
                Ok(0) => return Ok((at, false)),
                Ok(used) => at += used,
                Err(Step::More) if !is_last => return Ok((at, false)),
                Err(Step::More) => return Err(tags::CUT),
                Err(Step::Unknown(unknown)) => return Err(unknown),
            }
        }
    }

    /// Takes one string; gives its length, 0 at the end of the table.
    fn one(&mut self, text: &str, limits: &Limits) -> Result<usize, Step> {
        let at = blanks(text, 0, limits)?;
        let rest = &text[at..];
        let (start, blanks) = if rest.starts_with("<si><t>") {
            ("<si><t>".len(), Blanks::Trimmed)
        } else if rest.starts_with(PRESERVED) {
            (PRESERVED.len(), Blanks::Kept)
        } else {
            return self.unusual(rest).map(|used| at + used);
        };
        let raw = text_until_tag(&rest[start..], limits)?;
        let end = start + raw.len();
        let behind = &rest[end..];
        if !behind.starts_with(END) {
            return Err(if behind.len() < END.len() {
                Step::More
            } else {
                Step::Unknown(Unknown("a shared string is more than a text"))
            });
        }
        // Only now: a string that is not whole is taken again.
        self.push(&decode(raw, blanks)?)?;
        Ok(at + end + END.len())
    }

    fn unusual(&mut self, rest: &str) -> Result<usize, Step> {
        if rest.starts_with("</sst>") {
            return Ok(0);
        }
        for empty in ["<si/>", "<si></si>", "<si><t/></si>"] {
            if rest.starts_with(empty) {
                self.push("")?;
                return Ok(empty.len());
            }
        }
        Err(if rest.len() < PRESERVED.len() {
            Step::More
        } else {
            Step::Unknown(Unknown("a shared string is more than a text"))
        })
    }
}

const END: &str = "</t></si>";
const PRESERVED: &str = "<si><t xml:space=\"preserve\">";

/// Walks to the inside of the table; gives how many bytes that were, and how many strings it claims to have.
fn begin(text: &str) -> Known<(usize, u64)> {
    let mut tags = Tags::new(text)?;
    let Some(Token::Start(tag)) = tags.next()? else {
        return Err(tags::CUT);
    };
    if tag.name != "sst" || tag.is_closed {
        return Err(Unknown("the shared strings are none"));
    }
    let claimed = match tag.raw("uniqueCount")? {
        None => 0,
        Some(count) => count
            .parse()
            .map_err(|_| Unknown("the strings are not as many as they claim"))?,
    };
    Ok((tags.position(), claimed))
}

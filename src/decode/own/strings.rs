//! Reads the shared strings into one piece of memory. Supports `<si><t>…</t></si>` and nothing
//! else.

use std::ops::Range;
use std::thread::Scope;

use super::directory::ZipPart;
use super::tags::{self, Tags, Token};
use super::text::{Blanks, decode};
use super::window::{Buffers, InflateOptions, PartWindow};
use super::{FastResult, ScanStop, Unsupported, skip_blanks, text_until_tag};
use crate::decode::WorkbookLimits;

/// Memory that is kept from file to file. More than this is freed.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// The table of shared strings, as one text.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl Strings {
    /// Where a string lies in the text. A range that does not exist if there is no string with this
    /// index.
    #[inline]
    pub(super) fn span(&self, index: usize) -> Range<usize> {
        let Some(end) = self.ends.get(index) else {
            return usize::MAX..usize::MAX;
        };
        let before = index.checked_sub(1).and_then(|index| self.ends.get(index));
        before.map_or(0, |end| *end as usize)..*end as usize
    }

    /// The first byte of the string at `span`. Reading it brings the string into the cache.
    #[inline]
    pub(super) fn first_byte(&self, span: &Range<usize>) -> u8 {
        let bytes = self.text.as_bytes();
        bytes.get(span.start).copied().unwrap_or_default()
    }

    /// The string at `span`.
    #[inline]
    pub(super) fn text(&self, span: Range<usize>) -> Option<&str> {
        self.text.get(span)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.text.shrink_to(MAX_KEPT_BYTES);
        self.ends.shrink_to(MAX_KEPT_BYTES / size_of::<u32>());
    }

    fn push(&mut self, text: &str) -> FastResult<()> {
        self.text.push_str(text);
        let end = u32::try_from(self.text.len());
        self.ends
            .push(end.map_err(|_| Unsupported("there is too much shared text"))?);
        Ok(())
    }

    /// Reads the part and adds its strings to the table.
    pub(super) fn read<'s, 'a: 's>(
        &mut self,
        buffers: &mut Buffers,
        part: ZipPart<'a>,
        options: InflateOptions,
        limits: &WorkbookLimits,
        scope: &'s Scope<'s, '_>,
    ) -> FastResult<()> {
        let mut window = PartWindow::open(buffers, part, options, scope)?;
        loop {
            match skip_to_strings(window.text()?) {
                Err(tags::CUT) if !window.is_last() => window.advance(0)?,
                Err(unknown) => return Err(unknown),
                Ok(used) => {
                    window.advance(used)?;
                    break;
                }
            }
        }
        loop {
            let is_last = window.is_last();
            let (used, is_over) = self.take_strings(window.text()?, is_last, limits)?;
            if is_over {
                break;
            }
            if is_last {
                return Err(tags::CUT);
            }
            window.advance(used)?;
        }
        if self.ends.len() as u64 > limits.shared_strings {
            return Err(Unsupported("there are too many shared strings"));
        }
        Ok(())
    }

    /// Takes the complete strings at the start of `text`. Returns how many bytes were used, and
    /// whether the table has ended.
    fn take_strings(
        &mut self,
        text: &str,
        is_last: bool,
        limits: &WorkbookLimits,
    ) -> FastResult<(usize, bool)> {
        let mut at = 0;
        loop {
            match self.take_string(&text[at..], limits) {
                Ok(0) if is_last => {
                    let rest = text[at..].trim_ascii_start();
                    let behind = rest.strip_prefix("</sst>").ok_or(tags::CUT)?;
                    if !behind.trim_ascii().is_empty() {
                        return Err(Unsupported("something follows the strings"));
                    }
                    return Ok((text.len(), true));
                }
                Ok(0) => return Ok((at, false)),
                Ok(used) => at += used,
                Err(ScanStop::NeedsMore) if !is_last => return Ok((at, false)),
                Err(ScanStop::NeedsMore) => return Err(tags::CUT),
                Err(ScanStop::Unsupported(reason)) => return Err(reason),
            }
        }
    }

    /// Takes one string. Returns how many bytes were used, or 0 at the end of the table.
    fn take_string(&mut self, text: &str, limits: &WorkbookLimits) -> Result<usize, ScanStop> {
        let at = skip_blanks(text, 0, limits)?;
        let rest = &text[at..];
        let (start, blanks) = if rest.starts_with("<si><t>") {
            ("<si><t>".len(), Blanks::Trimmed)
        } else if rest.starts_with(PRESERVED) {
            (PRESERVED.len(), Blanks::Kept)
        } else {
            return self.take_empty_string(rest).map(|used| at + used);
        };
        let raw = text_until_tag(&rest[start..], limits)?;
        let end = start + raw.len();
        let behind = &rest[end..];
        if !behind.starts_with(END) {
            return Err(if behind.len() < END.len() {
                ScanStop::NeedsMore
            } else {
                ScanStop::Unsupported(Unsupported("a shared string is more than a text"))
            });
        }
        // Not before this point, because an incomplete string is read again.
        self.push(&decode(raw, blanks)?)?;
        Ok(at + end + END.len())
    }

    fn take_empty_string(&mut self, rest: &str) -> Result<usize, ScanStop> {
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
            ScanStop::NeedsMore
        } else {
            ScanStop::Unsupported(Unsupported("a shared string is more than a text"))
        })
    }
}

const END: &str = "</t></si>";
const PRESERVED: &str = "<si><t xml:space=\"preserve\">";

/// Walks to the inside of the table. Returns how many bytes that were. What the table claims of its
/// length is nothing to go by.
fn skip_to_strings(text: &str) -> FastResult<usize> {
    let mut tags = Tags::new(text)?;
    let Some(Token::Start(tag)) = tags.next()? else {
        return Err(tags::CUT);
    };
    if tag.name != "sst" || tag.is_closed {
        return Err(Unsupported("the shared strings are no table"));
    }
    Ok(tags.position())
}

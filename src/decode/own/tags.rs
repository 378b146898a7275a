//! Reads the markup of a small part, which is in memory as a whole, token by token. Supports the
//! subset of XML that all readers understand alike: one root, balanced names and quoted attributes;
//! no comments, instructions, character data or document types.

use std::borrow::Cow;

use super::text::unescape;
use super::{FastResult, Unsupported};

/// One step through the part.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token<'t> {
    /// An element begins. An element that is closed at once has no [`Token::End`].
    Start(Tag<'t>),
    /// An element ends.
    End,
}

/// A tag that begins an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'t> {
    /// Name with its prefix.
    pub(super) name: &'t str,
    attributes: &'t str,
    /// Depth of the element. The root has depth 1.
    pub(super) depth: usize,
    pub(super) is_closed: bool,
}

impl<'t> Tag<'t> {
    /// The name without its prefix.
    pub(super) fn local_name(&self) -> &'t str {
        local(self.name)
    }

    /// The value of an attribute as written. An attribute that comes twice is unsupported.
    pub(super) fn raw_value(&self, name: &str) -> FastResult<Option<&'t str>> {
        self.find(|key| key == name)
    }

    /// The value, as written, of the attribute with this local name and any prefix.
    pub(super) fn raw_value_by_local_name(&self, name: &str) -> FastResult<Option<&'t str>> {
        self.find(|key| local(key) == name)
    }

    /// The value of an attribute with its entities resolved.
    pub(super) fn value(&self, name: &str) -> FastResult<Option<Cow<'t, str>>> {
        match self.raw_value(name)? {
            Some(raw) if raw.contains('\r') => Err(Unsupported("an attribute holds a line end")),
            raw => raw.map(unescape).transpose(),
        }
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> FastResult<Option<&'t str>> {
        let mut found = None;
        let mut rest = self.attributes;
        while let Some((key, value, behind)) = attribute(rest)? {
            if is_wanted(key) && found.replace(value).is_some() {
                return Err(Unsupported("an attribute is there twice"));
            }
            rest = behind;
        }
        Ok(found)
    }
}

fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

/// Walks over the tags of a part.
#[derive(Debug)]
pub(super) struct Tags<'t> {
    text: &'t str,
    at: usize,
    open: Vec<&'t str>,
    has_root: bool,
}

impl<'t> Tags<'t> {
    pub(super) fn new(text: &'t str) -> FastResult<Self> {
        let behind = declaration(text)?;
        Ok(Self {
            text,
            at: behind,
            open: Vec::with_capacity(8),
            has_root: false,
        })
    }

    /// Number of bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next tag. `None` after the root has ended.
    pub(super) fn next(&mut self) -> FastResult<Option<Token<'t>>> {
        let rest = &self.text[self.at..];
        let Some(start) = memchr::memchr(b'<', rest.as_bytes()) else {
            let is_over = self.has_root && self.open.is_empty() && is_blank(rest);
            return if is_over { Ok(None) } else { Err(CUT) };
        };
        let text = &rest[..start];
        // Readers resolve entities in every text, even if they do not use it.
        if text.contains(['&', '\0']) || (self.open.is_empty() && !is_blank(text)) {
            return Err(Unsupported("a part has text where none should be"));
        }
        let tag = &rest[start + 1..];
        let end = end_of_tag(tag)?;
        self.at += start + 1 + end + 1;
        self.token(&tag[..end]).map(Some)
    }

    fn token(&mut self, tag: &'t str) -> FastResult<Token<'t>> {
        if let Some(name) = tag.strip_prefix('/') {
            let name = name.trim_ascii_end();
            if self.open.pop() != Some(name) {
                return Err(Unsupported("an element is closed by another"));
            }
            return Ok(Token::End);
        }
        let is_closed = tag.ends_with('/');
        let inner = tag.strip_suffix('/').unwrap_or(tag);
        let length = inner.bytes().take_while(|b| is_name(*b)).count();
        let (name, attributes) = inner.split_at(length);
        let is_odd = length == 0 || name.matches(':').count() > 1;
        if is_odd || (self.open.is_empty() && self.has_root) {
            return Err(Unsupported("a part holds something else than elements"));
        }
        check_attributes(attributes)?;
        let depth = self.open.len() + 1;
        self.has_root = true;
        if !is_closed {
            self.open.push(name);
        }
        Ok(Token::Start(Tag {
            name,
            attributes,
            depth,
            is_closed,
        }))
    }
}

pub(super) const CUT: Unsupported = Unsupported("a part is cut off");

/// Length of the part's XML declaration; 0 without one.
fn declaration(text: &str) -> FastResult<usize> {
    let Some(rest) = text.strip_prefix("<?xml ") else {
        return Ok(0);
    };
    let end = rest.find("?>").ok_or(CUT)?;
    let mut attributes = &rest[..end];
    while let Some((key, value, behind)) = attribute(attributes)? {
        let is_known = match key {
            "version" => value == "1.0",
            "encoding" => value.eq_ignore_ascii_case("UTF-8"),
            "standalone" => matches!(value, "yes" | "no"),
            _ => false,
        };
        if !is_known {
            return Err(Unsupported("a part declares another encoding"));
        }
        attributes = behind;
    }
    Ok("<?xml ".len() + end + "?>".len())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.')
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_whitespace())
}

/// Position of the `>` that ends the tag.
fn end_of_tag(tag: &str) -> FastResult<usize> {
    let mut quote = None;
    for (index, byte) in tag.bytes().enumerate() {
        match (byte, quote) {
            (b'"' | b'\'', None) => quote = Some(byte),
            (b, Some(q)) if b == q => quote = None,
            (b'>', None) => return Ok(index),
            (b'<' | 0, _) => return Err(Unsupported("a tag holds another")),
            _ => {}
        }
    }
    Err(CUT)
}

fn check_attributes(mut attributes: &str) -> FastResult<()> {
    while let Some((_, _, rest)) = attribute(attributes)? {
        attributes = rest;
    }
    Ok(())
}

/// Key and value of the first attribute, and the text behind it.
pub(super) fn attribute(attributes: &str) -> FastResult<Option<(&str, &str, &str)>> {
    const ODD: Unsupported = Unsupported("an attribute is written in an unusual way");
    let trimmed = attributes.trim_ascii_start();
    if trimmed.is_empty() {
        return Ok(None);
    }
    let (key, rest) = trimmed.split_once('=').ok_or(ODD)?;
    let quote = rest.chars().next().filter(|q| matches!(q, '"' | '\''));
    let quote = quote.ok_or(ODD)?;
    let (value, behind) = rest[1..].split_once(quote).ok_or(ODD)?;
    let is_key = !key.is_empty() && key.bytes().all(is_name);
    if !is_key || !(behind.is_empty() || behind.starts_with(|c: char| c.is_ascii_whitespace())) {
        return Err(ODD);
    }
    Ok(Some((key, value, behind)))
}

//! Checks that a zip is laid out as its directory says, so that every reader finds the same parts
//! in the same bytes.
//!
//! ```text
//! header · data · (descriptor) │ header · data · … │ directory │ end
//! ```
//! The parts must follow one another without gap or overlap. Each header must agree with the
//! directory. The end record must be the end of the file. Where two places disagree, zip programs
//! differ in which one they believe. Spreadsheet programs write no such file. Knows nothing of what
//! is inside the parts.

use super::Error;

const HEADER: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END_LENGTH: usize = 22;
/// The end record of zip64, which stands before the locator, which stands before the end record.
const WIDE_END: u32 = 0x0606_4b50;
const WIDE_END_LENGTH: usize = 56;
const LOCATOR: u32 = 0x0706_4b50;
const LOCATOR_LENGTH: usize = 20;
/// A field with this value means that the real value is elsewhere, as in files beyond 4 GiB. Some
/// programs write small files so too.
const ELSEWHERE: u32 = u32::MAX;
/// Kind of the extra field that has these values.
const WIDE_VALUES: u16 = 1;
/// The checksum and the sizes follow the data, in a descriptor.
const DESCRIBED_BEHIND: u16 = 1 << 3;
/// The part is encrypted, strongly encrypted, or its directory entry is masked.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Kind of an extra field that gives the part another name.
const OTHER_NAME: u16 = 0x7075;

/// A part as the directory describes it.
#[derive(Clone, Copy, Debug)]
struct DirectoryEntry<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    at: u64,
    name: &'a [u8],
}

/// Checks the layout of `bytes`, which must begin with the header of a part.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut entries = read_directory(bytes)?;
    let directory_at = entries.directory_at;
    entries.entries.sort_by_key(|entry| entry.at);
    let mut end = 0;
    for entry in &entries.entries {
        if entry.at != end as u64 {
            let what = if entry.at < end as u64 {
                "overlap"
            } else {
                "have bytes between them that belong to no part"
            };
            return refuse(format!("its parts {what}"));
        }
        end = part_end(bytes, entry, directory_at)?;
    }
    if end != directory_at {
        return refuse("there are bytes between its parts and its directory");
    }
    Ok(())
}

struct DirectoryEntries<'a> {
    entries: Vec<DirectoryEntry<'a>>,
    directory_at: usize,
}

fn read_directory(bytes: &[u8]) -> Result<DirectoryEntries<'_>, Error> {
    let end_at = bytes.len().checked_sub(END_LENGTH);
    let mut end = LayoutCursor::at(bytes, end_at.unwrap_or(bytes.len()));
    if end.u32() != Some(END) {
        return refuse(why_no_end(bytes));
    }
    let disks = [end.u16(), end.u16()];
    let (here, all) = (end.u16(), end.u16());
    let (size, at, comment) = (end.u32(), end.u32(), end.u16());
    if disks != [Some(0); 2] || here != all || comment != Some(0) {
        return refuse("the end of its directory names several disks or a comment");
    }
    let (Some(count), Some(size), Some(at), Some(end_at)) = (all, size, at, end_at) else {
        return refuse(why_no_end(bytes));
    };
    let mut place = DirectoryPlace {
        count: count.into(),
        size: size.into(),
        at: at.into(),
    };
    let mut behind = end_at;
    if count == u16::MAX || [size, at].contains(&ELSEWHERE) {
        (place, behind) = wide_end(bytes, end_at, &place)
            .ok_or_else(|| refused("its end says that it is zip64, and the records of that lie"))?;
    }
    // Some programs write the records of zip64 though no value needs them.
    if place.at.checked_add(place.size) != Some(behind as u64)
        && let Some(wide) = wide_end(bytes, end_at, &place)
    {
        (place, behind) = wide;
    }
    if place.at.checked_add(place.size) != Some(behind as u64) {
        return refuse("its directory is not where its end says");
    }
    // It is before `behind`, so it fits.
    let at = usize::try_from(place.at).unwrap_or(behind);
    let mut fields = LayoutCursor::at(&bytes[..behind], at);
    let mut entries = Vec::new();
    for _ in 0..place.count {
        let entry = read_entry(&mut fields);
        entries.push(entry.ok_or_else(|| refused("its directory is damaged"))?);
    }
    if fields.at != behind {
        return refuse("its directory has another number of parts than its end says");
    }
    for entry in &entries {
        check_entry(entry)?;
    }
    Ok(DirectoryEntries {
        entries,
        directory_at: at,
    })
}

/// Why there is no end record at the end: the file is cut off, or something follows it.
fn why_no_end(bytes: &[u8]) -> String {
    let signature = END.to_le_bytes();
    let from = bytes
        .len()
        .saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let found = memchr::memmem::rfind(&bytes[from..], &signature).map(|at| from + at);
    let behind = found.and_then(|at| bytes.len().checked_sub(at + END_LENGTH));
    match behind {
        Some(behind) if behind > 0 => format!(
            "there are {behind} bytes behind its end; the download added them, or what follows is \
             another file"
        ),
        _ => "no readable zip directory at its end, the file is probably cut off".to_owned(),
    }
}

/// Where the directory is, and how many parts it has.
#[derive(Clone, Copy, Debug)]
struct DirectoryPlace {
    count: u64,
    size: u64,
    at: u64,
}

/// The place of the directory as the records of zip64 say it, and where it must end. Where the end
/// record has a value itself, they must agree.
fn wide_end(
    bytes: &[u8],
    end_at: usize,
    known: &DirectoryPlace,
) -> Option<(DirectoryPlace, usize)> {
    let locator_at = end_at.checked_sub(LOCATOR_LENGTH)?;
    let record_at = locator_at.checked_sub(WIDE_END_LENGTH)?;
    let mut locator = LayoutCursor::at(bytes, locator_at);
    let is_locator = (locator.u32()?, locator.u32()?) == (LOCATOR, 0)
        && (locator.u64()?, locator.u32()?) == (record_at as u64, 1);
    let mut record = LayoutCursor::at(bytes, record_at);
    // Its length does not count the first two fields.
    let is_record = (record.u32()?, record.u64()?) == (WIDE_END, WIDE_END_LENGTH as u64 - 12);
    record.skip(4)?;
    let is_one_disk = (record.u32()?, record.u32()?) == (0, 0);
    let (here, count) = (record.u64()?, record.u64()?);
    let (size, at) = (record.u64()?, record.u64()?);
    let agrees = |narrow: u64, sentinel: u64, wide: u64| narrow == sentinel || narrow == wide;
    let is_sound = is_locator && is_record && is_one_disk && here == count;
    let is_same = agrees(known.count, u16::MAX.into(), count)
        && agrees(known.size, ELSEWHERE.into(), size)
        && agrees(known.at, ELSEWHERE.into(), at);
    (is_sound && is_same).then_some((DirectoryPlace { count, size, at }, record_at))
}

fn read_entry<'a>(fields: &mut LayoutCursor<'a>) -> Option<DirectoryEntry<'a>> {
    if fields.u32()? != ENTRY {
        return None;
    }
    fields.skip(4)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.skip(4)?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.skip(6)?;
    let at = fields.u32()?;
    let name = fields.bytes(name)?;
    let extra = fields.bytes(extra)?;
    fields.skip(comment.into())?;
    let mut wide = wide_values(extra)?;
    // Only the values that are elsewhere stand there, in this order.
    let mut real = |narrow: u32| match (narrow, &mut wide) {
        (ELSEWHERE, Some(wide)) => wide.u64(),
        (narrow, _) => Some(narrow.into()),
    };
    let (size, packed, at) = (real(size)?, real(packed)?, real(at)?);
    (disk == 0).then_some(DirectoryEntry {
        flags,
        method,
        crc,
        packed,
        size,
        at,
        name,
    })
}

/// The values of zip64 in the extra fields, if they are there. `None` if the extra fields are not
/// whole, have such values twice, or one of them gives the part another name.
fn wide_values(extra: &[u8]) -> Option<Option<LayoutCursor<'_>>> {
    let mut fields = LayoutCursor::at(extra, 0);
    let mut found = None;
    while fields.at < extra.len() {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let values = fields.bytes(length)?;
        let is_twice = kind == WIDE_VALUES && found.replace(LayoutCursor::at(values, 0)).is_some();
        if kind == OTHER_NAME || is_twice {
            return None;
        }
    }
    Some(found)
}

fn check_entry(entry: &DirectoryEntry<'_>) -> Result<(), Error> {
    if entry.flags & ENCRYPTED != 0 {
        return refuse("a part is encrypted");
    }
    if !matches!(entry.method, 0 | 8) {
        return refuse(format!(
            "a part is packed by method {}, which no workbook uses",
            entry.method
        ));
    }
    if has_idle_steps(entry.name) {
        return refuse("a part's path contains an empty step or a `.`");
    }
    if [entry.packed, entry.size, entry.at].contains(&ELSEWHERE.into()) {
        return refuse("a part says that its size is in a zip64 field, which it does not have");
    }
    if entry.method == 0 && entry.packed != entry.size {
        return refuse("a part that is not packed has two sizes");
    }
    Ok(())
}

/// Whether the path contains `//` or `/./`, so that two names could mean one part. A path from the
/// root is refused elsewhere, with a clearer message.
fn has_idle_steps(name: &[u8]) -> bool {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let mut steps = name.split(is_slash);
    !name.first().is_some_and(is_slash)
        && name.len() > 1
        && steps.any(|step| matches!(step, b"" | b"."))
}

/// Checks a part's header against its directory entry, and its descriptor if it has one. Returns
/// where the part ends.
fn part_end(bytes: &[u8], entry: &DirectoryEntry<'_>, directory_at: usize) -> Result<usize, Error> {
    let damaged = || refused("a part's header is damaged, or is not what the directory says");
    let at = usize::try_from(entry.at).map_err(|_| damaged())?;
    let packed = usize::try_from(entry.packed).map_err(|_| damaged())?;
    let mut fields = LayoutCursor::at(&bytes[..directory_at], at);
    let is_same = is_header_of(&mut fields, entry).ok_or_else(damaged)?;
    if !is_same || fields.skip(packed).is_none() {
        return Err(damaged());
    }
    if entry.flags & DESCRIBED_BEHIND == 0 {
        return Ok(fields.at);
    }
    // A descriptor may lack its signature, and its sizes may have four or eight bytes.
    let described = |signed: bool, wide: bool| {
        let mut fields = LayoutCursor::at(&bytes[..directory_at], fields.at);
        let is_signed = !signed || fields.u32()? == DESCRIPTOR;
        let crc = fields.u32()?;
        let sizes = if wide {
            [fields.u64()?, fields.u64()?]
        } else {
            [fields.u32()?.into(), fields.u32()?.into()]
        };
        let is_same = crc == entry.crc && sizes == [entry.packed, entry.size];
        (is_signed && is_same).then_some(fields.at)
    };
    [(true, false), (false, false), (true, true), (false, true)]
        .into_iter()
        .find_map(|(signed, wide)| described(signed, wide))
        .ok_or_else(|| refused("what stands behind a part is not what the directory says"))
}

/// Reads a header and returns whether it agrees with `entry`. `None` if it is cut off.
fn is_header_of(fields: &mut LayoutCursor<'_>, entry: &DirectoryEntry<'_>) -> Option<bool> {
    let is_header = fields.u32()? == HEADER;
    fields.skip(2)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.skip(4)?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra) = (fields.u16()?, fields.u16()?);
    let name = fields.bytes(name)?;
    let extra = fields.bytes(extra)?;
    let mut wide = wide_values(extra)?;
    let mut real = |narrow: u32| match (narrow, &mut wide) {
        // A header that has one of them has both, in this order (4.5.3 of the zip specification).
        (ELSEWHERE, Some(wide)) => wide.u64(),
        (narrow, _) => Some(narrow.into()),
    };
    let (size, packed) = (real(size)?, real(packed)?);
    let behind = entry.flags & DESCRIBED_BEHIND != 0;
    let is_said = |said: u64, known: u64| {
        // Even in a small file the sizes may be in a descriptor.
        said == known || (behind && (said == 0 || said == u64::from(ELSEWHERE)))
    };
    let is_same = flags == entry.flags && method == entry.method && name == entry.name;
    let is_known = (crc == entry.crc || behind && crc == 0)
        && is_said(packed, entry.packed)
        && is_said(size, entry.size);
    Some(is_header && is_same && is_known)
}

/// Reads little-endian fields one after another, and knows its position.
#[derive(Clone, Copy, Debug)]
struct LayoutCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> LayoutCursor<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N)?;
        let found = self.bytes.get(self.at..end)?.try_into().ok()?;
        self.at = end;
        Some(found)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, length: u16) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length.into())?;
        let found = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(found)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        let end = self.at.checked_add(length)?;
        self.bytes.get(self.at..end)?;
        self.at = end;
        Some(())
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Container(reason.into())
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(refused(reason))
}

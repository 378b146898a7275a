//! The protocol between a child that reads workbooks and its parent: the request, and the frames of
//! the answer.
//!
//! ```text
//! request: head length u32 · head JSON · workbook length u64 · workbook
//! frame:   kind u8 · length u64 · content
//! answer:  begun, then any number of above, sheet and row, then summary or error
//! ```
//! Numbers are little-endian. Rows are binary, because there are many and floating-point numbers
//! must arrive unchanged. Everything else is JSON. Any bytes that are not a valid frame are an
//! error, because the other side may be in any state.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DecodeSummary, Error, WorkbookLimits};
use crate::datasets::Dataset;
use crate::table::{Cell, Header};

/// What a parent asks for. The workbook's bytes follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadRequest {
    pub(super) dataset: Dataset,
    pub(super) limits: WorkbookLimits,
}

/// The content of a frame. A row stays in the buffer, for [`read_row`] or [`read_above`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The whole request has arrived. Whatever fails from here on is due to the workbook.
    Begun,
    Sheet(Header),
    Row,
    /// A row that was searched for a header.
    Above,
    Summary(DecodeSummary),
    Error(Error),
}

const BEGUN: u8 = 1;
const SHEET: u8 = 2;
const ROW: u8 = 3;
const SUMMARY: u8 = 4;
const ERROR: u8 = 5;
const ABOVE: u8 = 6;

/// The longest head that is accepted. A valid head is small.
const LONGEST_HEAD: u32 = 64 << 10;

pub(super) fn write_request(
    to: &mut impl Write,
    request: &ReadRequest,
    workbook: &[u8],
) -> io::Result<()> {
    let head = serde_json::to_vec(request)?;
    to.write_all(&u32::try_from(head.len()).map_err(invalid)?.to_le_bytes())?;
    to.write_all(&head)?;
    to.write_all(&(workbook.len() as u64).to_le_bytes())?;
    to.write_all(workbook)?;
    to.flush()
}

/// Reads the head of the next request and the length of its workbook. `None` at the end of the
/// input.
pub(super) fn read_request(from: &mut impl Read) -> io::Result<Option<(ReadRequest, u64)>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_HEAD {
        return Err(invalid("a head of that length"));
    }
    let mut head = vec![0; length as usize];
    from.read_exact(&mut head)?;
    Ok(Some((serde_json::from_slice(&head)?, read_u64(from)?)))
}

pub(super) fn write_frame(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let (kind, content) = match frame {
        Frame::Begun => (BEGUN, Vec::new()),
        Frame::Sheet(header) => (SHEET, serde_json::to_vec(header)?),
        Frame::Summary(summary) => (SUMMARY, serde_json::to_vec(summary)?),
        Frame::Error(error) => (ERROR, serde_json::to_vec(error)?),
        Frame::Row | Frame::Above => return Err(invalid("a row is written by `write_row`")),
    };
    write_content(to, kind, &content)
}

/// Writes a row. `buffer` is scratch space, so that no row needs an allocation of its own.
pub(super) fn write_row(
    to: &mut impl Write,
    buffer: &mut Vec<u8>,
    number: u32,
    cells: &[Cell<'_>],
) -> io::Result<()> {
    buffer.clear();
    buffer.extend(number.to_le_bytes());
    for cell in cells {
        write_cell(buffer, cell)?;
    }
    write_content(to, ROW, buffer)
}

/// Writes a row that was searched for a header, with the name of its sheet in front.
pub(super) fn write_above(
    to: &mut impl Write,
    buffer: &mut Vec<u8>,
    sheet: &str,
    cells: &[Cell<'_>],
) -> io::Result<()> {
    buffer.clear();
    buffer.extend(u32::try_from(sheet.len()).map_err(invalid)?.to_le_bytes());
    buffer.extend(sheet.as_bytes());
    for cell in cells {
        write_cell(buffer, cell)?;
    }
    write_content(to, ABOVE, buffer)
}

fn write_content(to: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    to.write_all(&[kind])?;
    to.write_all(&(content.len() as u64).to_le_bytes())?;
    to.write_all(content)
}

fn write_text(to: &mut Vec<u8>, code: u8, text: &str) -> io::Result<()> {
    to.push(code);
    to.extend(u32::try_from(text.len()).map_err(invalid)?.to_le_bytes());
    to.extend(text.as_bytes());
    Ok(())
}

fn write_cell(to: &mut Vec<u8>, cell: &Cell<'_>) -> io::Result<()> {
    let (code, number) = match cell {
        Cell::Empty => (b'_', None),
        Cell::Text(text) => return write_text(to, b't', text),
        Cell::Error(text) => return write_text(to, b'!', text.as_str()),
        Cell::Unstored => (b'?', None),
        Cell::Bool(false) => (b'f', None),
        Cell::Bool(true) => (b'y', None),
        Cell::Number(number) => (b'n', Some(number)),
        Cell::Elapsed { days } => (b'e', Some(days)),
        Cell::Date {
            days,
            is_1904: false,
        } => (b'd', Some(days)),
        Cell::Date {
            days,
            is_1904: true,
        } => (b'D', Some(days)),
    };
    to.push(code);
    if let Some(number) = number {
        to.extend(number.to_le_bytes());
    }
    Ok(())
}

/// Reads the next frame and leaves its content in `buffer`. The buffer grows no faster than bytes
/// arrive.
pub(super) fn read_frame(
    from: &mut impl Read,
    buffer: &mut Vec<u8>,
    longest: u64,
) -> io::Result<Frame> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let length = read_u64(from)?;
    if length > longest {
        return Err(invalid("a frame of that length"));
    }
    buffer.clear();
    if from.take(length).read_to_end(buffer)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match kind[0] {
        BEGUN => Frame::Begun,
        SHEET => Frame::Sheet(content(buffer)?),
        ROW => Frame::Row,
        ABOVE => Frame::Above,
        SUMMARY => Frame::Summary(content(buffer)?),
        ERROR => Frame::Error(content(buffer)?),
        _ => return Err(invalid("a frame of that kind")),
    })
}

fn content<T: DeserializeOwned>(buffer: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(buffer)?)
}

/// Reads the number and the cells of a row from its content.
pub(super) fn read_row(content: &[u8]) -> io::Result<(u32, Vec<Cell<'_>>)> {
    let mut rest = content;
    let number = u32::from_le_bytes(array(&mut rest)?);
    Ok((number, read_cells(rest)?))
}

/// Reads what [`write_above`] wrote.
pub(super) fn read_above(content: &[u8]) -> io::Result<(&str, Vec<Cell<'_>>)> {
    let mut rest = content;
    let sheet = read_text(&mut rest)?;
    Ok((sheet, read_cells(rest)?))
}

fn read_text<'b>(rest: &mut &'b [u8]) -> io::Result<&'b str> {
    let length = u32::from_le_bytes(array(rest)?) as usize;
    let text = rest
        .split_off(..length)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    str::from_utf8(text).map_err(invalid)
}

fn read_cells(content: &[u8]) -> io::Result<Vec<Cell<'_>>> {
    let mut rest = content;
    let mut cells = Vec::with_capacity((rest.len() / 8).min(64));
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        cells.push(match code {
            b'_' => Cell::Empty,
            b'?' => Cell::Unstored,
            b't' => Cell::Text(Cow::Borrowed(read_text(&mut rest)?)),
            b'!' => Cell::Error(read_text(&mut rest)?.into()),
            b'f' => Cell::Bool(false),
            b'y' => Cell::Bool(true),
            b'n' => Cell::Number(f64::from_le_bytes(array(&mut rest)?)),
            b'e' => Cell::Elapsed {
                days: f64::from_le_bytes(array(&mut rest)?),
            },
            b'd' | b'D' => Cell::Date {
                days: f64::from_le_bytes(array(&mut rest)?),
                is_1904: code == b'D',
            },
            _ => return Err(invalid("a cell of that kind")),
        });
    }
    Ok(cells)
}

fn array<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let taken = rest.split_off(..N).ok_or(io::ErrorKind::UnexpectedEof)?;
    taken.try_into().map_err(invalid)
}

fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::HeaderColumn;

    fn a_cell() -> impl Strategy<Value = Cell<'static>> {
        prop_oneof![
            Just(Cell::Empty),
            ".*".prop_map(|text| Cell::Text(Cow::Owned(text))),
            any::<u64>().prop_map(|bits| Cell::Number(f64::from_bits(bits))),
            any::<bool>().prop_map(Cell::Bool),
            (any::<u64>(), any::<bool>()).prop_map(|(bits, is_1904)| Cell::Date {
                days: f64::from_bits(bits),
                is_1904,
            }),
            any::<u64>().prop_map(|bits| Cell::Elapsed {
                days: f64::from_bits(bits),
            }),
            ".*".prop_map(|text| Cell::Error(text.as_str().into())),
            Just(Cell::Unstored),
        ]
    }

    fn read_back(bytes: &[u8]) -> (Frame, Vec<u8>) {
        let mut buffer = Vec::new();
        let frame = read_frame(&mut &bytes[..], &mut buffer, 1 << 20).expect("a frame");
        (frame, buffer)
    }

    proptest! {
        #[test]
        fn a_row_arrives_as_it_left(number: u32, cells in prop::collection::vec(a_cell(), 0..20)) {
            let mut sent = Vec::new();
            write_row(&mut sent, &mut Vec::new(), number, &cells).expect("memory");
            let (frame, content) = read_back(&sent);
            prop_assert_eq!(frame, Frame::Row);
            let (again, received) = read_row(&content).expect("a row");
            prop_assert_eq!(again, number);
            // Compared as bytes, because a NaN is not equal to itself.
            let mut once_more = Vec::new();
            write_row(&mut once_more, &mut Vec::new(), again, &received).expect("memory");
            prop_assert_eq!(once_more, sent);
        }

        #[test]
        fn no_bytes_make_a_reader_panic_or_reserve(bytes: Vec<u8>) {
            let mut buffer = Vec::new();
            // The results do not matter here.
            let _ = read_frame(&mut &bytes[..], &mut buffer, u64::MAX);
            let _ = read_row(&bytes);
            let _ = read_above(&bytes);
            let _ = read_request(&mut &bytes[..]);
            prop_assert!(buffer.capacity() < 1 << 20);
        }
    }

    #[test]
    fn every_other_frame_and_the_request_arrive_as_they_left() {
        let header = Header {
            sheet: "数据 \u{0}".to_owned(),
            row: Some(3),
            columns: vec![HeaderColumn {
                text: "会议ID".to_owned(),
                column: Some(0),
            }],
        };
        let error = Error::NoHeader {
            dataset: Dataset::MeetingList,
            missing: "a".to_owned(),
            found: String::new(),
        };
        for frame in [
            Frame::Begun,
            Frame::Sheet(header),
            Frame::Summary(DecodeSummary::default()),
            Frame::Error(error),
        ] {
            let mut sent = Vec::new();
            write_frame(&mut sent, &frame).expect("memory");
            assert_eq!(read_back(&sent).0, frame);
        }
        let request = ReadRequest {
            dataset: Dataset::MeetingList,
            limits: WorkbookLimits::default(),
        };
        let mut sent = Vec::new();
        write_request(&mut sent, &request, b"bytes").expect("memory");
        let mut rest = &sent[..];
        assert_eq!(
            read_request(&mut rest).expect("a request"),
            Some((request, 5))
        );
        assert_eq!(rest, b"bytes");
        assert!(matches!(read_request(&mut &b""[..]), Ok(None)));
    }
}

//! Files that are no workbook, and zips that are damaged, dishonest or too much.

use super::corpus::{Case, PLAIN, checksum, read, refused};
use super::{HEADER, Parts, ROW};

pub(super) fn cases() -> Vec<Case> {
    [foreign(), ends(), headers(), names(), sizes()]
        .into_iter()
        .flatten()
        .collect()
}

fn plain() -> Vec<u8> {
    Parts::new(ROW).stored(0)
}

fn foreign() -> Vec<Case> {
    let good = Parts::new(ROW).deflated();
    let mut cases = Vec::new();
    for (name, bytes, kind, piece) in [
        ("nothing", &b""[..], "Empty", "0 bytes"),
        (
            "a page of HTML",
            b"\xef\xbb\xbf <!DOCTYPE html><html>expired</html>",
            "NotAWorkbook",
            "HTML or XML",
        ),
        (
            "an XML error of an object store",
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "NotAWorkbook",
            "HTML or XML",
        ),
        (
            "an answer of the API",
            b"{\"code\":99991400,\"msg\":\"x\"}",
            "NotAWorkbook",
            "code 99991400",
        ),
        ("JSON without a code", b"[1,2]", "NotAWorkbook", "JSON"),
        ("half of a JSON", b"{\"code\":", "NotAWorkbook", "JSON"),
        (
            "an old or protected workbook",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0",
            "NotAWorkbook",
            "password-protected",
        ),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", "NotAWorkbook", "gzip"),
        (
            "CSV",
            "会议ID,会议开始时间\n1,2\n".as_bytes(),
            "NotAWorkbook",
            "does not begin",
        ),
        ("a PDF", b"%PDF-1.7\n", "NotAWorkbook", "does not begin"),
        ("zeros", &[0; 4096], "NotAWorkbook", "does not begin"),
        (
            "an empty zip",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "NotAWorkbook",
            "without any file",
        ),
        ("two letters", b"PK", "NotAWorkbook", "cut-off"),
        ("four letters", b"PK\x03\x04", "Container", "cut off"),
        ("a spanned zip", b"PK\x07\x08PK\x03\x04", "NotAWorkbook", ""),
    ] {
        cases.push(refused(name, bytes, kind, piece));
    }
    // A compound file whose counts make a reader reserve 4 GiB.
    let mut compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    compound.resize(1024, 0xff);
    compound[30] = 9;
    compound[31] = 0;
    cases.push(refused(
        "a compound file with an absurd count",
        compound,
        "NotAWorkbook",
        "OLE",
    ));
    for (name, length) in [
        ("a file without its last byte", good.len() - 1),
        ("half a file", good.len() / 2),
        ("a file without its end record", good.len() - 22),
        ("only the first part", 300),
        ("a tenth of a file", good.len() / 10),
    ] {
        cases.push(refused(name, &good[..length], "Container", "cut off"));
    }
    let utf16: Vec<u8> = "会议ID,1\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    cases.push(refused(
        "CSV in UTF-16",
        utf16,
        "NotAWorkbook",
        "does not begin",
    ));
    cases.push(read("a plain workbook", plain(), &[PLAIN]));
    cases.push(read("a packed workbook", good, &[PLAIN]));
    cases
}

/// Where the records of a zip are.
struct Places {
    headers: Vec<usize>,
    entries: Vec<usize>,
    end: usize,
}

impl Places {
    fn of(zip: &[u8]) -> Self {
        let end = zip.len() - 22;
        let (mut headers, mut entries) = (Vec::new(), Vec::new());
        let mut at = get(zip, end + 16, 4) as usize;
        while at < end {
            entries.push(at);
            headers.push(get(zip, at + 42, 4) as usize);
            at +=
                46 + (get(zip, at + 28, 2) + get(zip, at + 30, 2) + get(zip, at + 32, 2)) as usize;
        }
        Self {
            headers,
            entries,
            end,
        }
    }
}

fn get(zip: &[u8], at: usize, length: usize) -> u64 {
    zip[at..at + length]
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn put(zip: &mut [u8], at: usize, length: usize, value: u64) {
    zip[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
}

/// The plain workbook with a change to the records of its last part, the sheet.
fn changed(change: impl FnOnce(&mut Vec<u8>, &Places)) -> Vec<u8> {
    let mut zip = plain();
    let places = Places::of(&zip);
    change(&mut zip, &places);
    zip
}

fn ends() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, piece: &'static str, change: &dyn Fn(&mut Vec<u8>, &Places)| {
        cases.push(refused(
            name,
            changed(|zip, places| change(zip, places)),
            "Container",
            piece,
        ));
    };
    // Offset in the end record, its length, and what is added to it.
    let fields: [(&str, usize, i64); 10] = [
        ("one part more than there is", 10, 1),
        ("one part less than there is", 10, -1),
        ("a second disk", 4, 1),
        ("a directory on the second disk", 6, 1),
        ("other parts here than in all", 8, -1),
        ("a directory that is longer than it is", 12, 1),
        ("a directory that is shorter than it is", 12, -1),
        ("a directory that begins later", 16, 1),
        ("a directory that begins earlier", 16, -1),
        ("a comment that is not there", 20, 5),
    ];
    for (name, offset, change) in fields {
        case(name, "", &|zip, places| {
            let length = if matches!(offset, 12 | 16) { 4 } else { 2 };
            let value = get(zip, places.end + offset, length);
            put(
                zip,
                places.end + offset,
                length,
                value.wrapping_add_signed(change),
            );
            if offset == 10 {
                let all = get(zip, places.end + 10, 2);
                put(zip, places.end + 8, 2, all);
            }
        });
    }
    case("a directory beyond the file", "", &|zip, places| {
        put(zip, places.end + 16, 4, 0x7fff_ffff)
    });
    case("a zip64 directory that is not there", "", &|zip, places| {
        put(zip, places.end + 16, 4, 0xffff_ffff)
    });
    case("65,535 parts, which means zip64", "", &|zip, places| {
        put(zip, places.end + 8, 4, 0xffff_ffff);
    });
    case(
        "a zip64 locator before the end",
        "directory",
        &|zip, places| {
            let mut locator = b"PK\x06\x07".to_vec();
            locator.extend([0; 16]);
            zip.splice(places.end..places.end, locator);
        },
    );
    case("a byte behind the end", "1 bytes behind", &|zip, _| {
        zip.push(0)
    });
    case(
        "a line break behind the end",
        "2 bytes behind",
        &|zip, _| zip.extend(b"\r\n"),
    );
    case("a second workbook behind the end", "", &|zip, _| {
        let other = Parts::new(&ROW.replace("123456789", "987654321")).stored(0);
        zip.extend(other);
    });
    case("a comment", "", &|zip, places| {
        put(zip, places.end + 20, 2, 5);
        zip.extend(b"hello");
    });
    case(
        "an end record in the comment of the end record",
        "",
        &|zip, places| {
            put(zip, places.end + 20, 2, 22);
            let mut other = zip[places.end..].to_vec();
            put(&mut other, 20, 2, 0);
            zip.extend(other);
        },
    );
    case(
        "a byte before the directory",
        "directory",
        &|zip, places| {
            let at = get(zip, places.end + 16, 4) as usize;
            zip.insert(at, 0);
        },
    );
    case(
        "bytes between the parts and the directory",
        "between",
        &|zip, places| {
            let at = get(zip, places.end + 16, 4) as usize;
            zip.splice(at..at, [0; 9]);
            put(zip, places.end + 9 + 16, 4, (at + 9) as u64);
        },
    );
    cases.push(refused(
        "a program in front of the zip",
        [b"MZ\x90\0".to_vec(), plain()].concat(),
        "NotAWorkbook",
        "does not begin",
    ));
    cases.push(refused(
        "a part's header in front of the zip",
        [b"PK\x03\x04".to_vec(), plain()].concat(),
        "Container",
        "",
    ));
    cases
}

fn headers() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, piece: &'static str, change: &dyn Fn(&mut Vec<u8>, &Places)| {
        cases.push(refused(
            name,
            changed(|zip, places| change(zip, places)),
            "Container",
            piece,
        ));
    };
    let sheet = 3;
    let add = |zip: &mut Vec<u8>, at: usize, length: usize, change: i64| {
        let value = get(zip, at, length);
        put(zip, at, length, value.wrapping_add_signed(change));
    };
    // In the directory, at these offsets; in the header they are 2 or 16 lower.
    for (name, piece, offset, length, change) in [
        ("another checksum in the directory", "", 16, 4, 1),
        (
            "a smaller packed size in the directory",
            "two sizes",
            20,
            4,
            -1,
        ),
        (
            "a larger packed size in the directory",
            "two sizes",
            20,
            4,
            1,
        ),
        ("a larger size in the directory", "two sizes", 24, 4, 1),
        (
            "a size of 4 GiB in the directory",
            "zip64",
            24,
            4,
            0xffff_ffff,
        ),
        ("a part that begins a byte later", "between", 42, 4, 1),
        ("a part that begins a byte earlier", "overlap", 42, 4, -1),
        ("a part beyond the file", "between", 42, 4, 0x7fff_0000),
        ("bzip2", "method 12", 10, 2, 12),
        ("AES", "method 99", 10, 2, 99),
        ("shrink", "method 1,", 10, 2, 1),
        ("packed, says the directory", "directory", 10, 2, 8),
        ("encrypted, says the directory", "encrypted", 8, 2, 1),
        (
            "strongly encrypted, says the directory",
            "encrypted",
            8,
            2,
            64,
        ),
        ("a masked directory", "encrypted", 8, 2, 0x2000),
        (
            "a descriptor that only the directory knows",
            "directory",
            8,
            2,
            8,
        ),
        ("a part on another disk", "directory is damaged", 34, 2, 1),
        ("an extra field that is not there", "directory", 30, 2, 4),
        ("a longer name in the directory", "directory", 28, 2, 1),
    ] {
        case(name, piece, &|zip, places| {
            let at = places.entries[sheet] + offset;
            if change == 0xffff_ffff {
                put(zip, at, length, 0xffff_ffff);
            } else {
                add(zip, at, length, change);
            }
        });
    }
    for (name, offset, length, change) in [
        ("another checksum in the header", 14, 4, 1),
        ("a smaller packed size in the header", 18, 4, -1),
        ("a larger size in the header", 22, 4, 1),
        ("packed, says the header", 8, 2, 8),
        ("encrypted, says the header", 6, 2, 1),
        ("a descriptor that only the header knows", 6, 2, 8),
        ("a longer name in the header", 26, 2, 1),
        ("an extra field that only the header has", 28, 2, 4),
        ("no header where the directory says", 0, 1, 1),
        ("another name in the header", 30, 1, 1),
    ] {
        case(name, "header", &|zip, places| {
            add(zip, places.headers[sheet] + offset, length, change)
        });
    }
    case(
        "a damaged entry in the directory",
        "directory is damaged",
        &|zip, places| {
            zip[places.entries[sheet]] = b'Q';
        },
    );
    case("both sizes too large", "", &|zip, places| {
        for (at, offset) in [(places.entries[sheet], 20), (places.headers[sheet], 18)] {
            add(zip, at + offset, 4, 10);
            add(zip, at + offset + 4, 4, 10);
        }
    });
    case(
        "a checksum that is wrong in both places",
        "damaged",
        &|zip, places| {
            add(zip, places.entries[sheet] + 16, 4, 1);
            add(zip, places.headers[sheet] + 14, 4, 1);
        },
    );
    case("a flipped byte of an id", "damaged", &|zip, _| {
        let at = zip
            .windows(9)
            .position(|w| w == b"123456789")
            .expect("the id");
        zip[at] = b'9';
    });
    case("two parts in the same bytes", "overlap", &|zip, places| {
        let first = get(zip, places.entries[0] + 42, 4);
        put(zip, places.entries[sheet] + 42, 4, first);
    });
    cases.push(refused(
        "every part encrypted",
        Parts::new(ROW).stored(1),
        "Container",
        "encrypted",
    ));
    cases.push(refused(
        "descriptors that are not there",
        Parts::new(ROW).stored(8),
        "Container",
        "behind a part",
    ));
    cases.push(refused(
        "a hidden part that the directory does not have",
        hidden(),
        "Container",
        "between",
    ));
    cases.push(refused(
        "a thousand entries for one part",
        overlapping(),
        "Container",
        "overlap",
    ));
    cases.push(refused(
        "an extra field with another name",
        renamed(),
        "Container",
        "directory is damaged",
    ));
    cases.push(refused(
        "a packed part whose size is a lie",
        shorter(),
        "Container",
        "",
    ));
    cases
}

/// A part between the others that only a reader of headers sees.
fn hidden() -> Vec<u8> {
    changed(|zip, places| {
        let other = Parts {
            entries: vec![(
                "xl/worksheets/sheet1.xml".to_owned(),
                b"<worksheet/>".to_vec(),
            )],
        }
        .stored(0);
        let length = get(&other, other.len() - 22 + 16, 4);
        let at = get(zip, places.end + 16, 4) as usize;
        zip.splice(at..at, other[..length as usize].iter().copied());
        put(
            zip,
            places.end + length as usize + 16,
            4,
            at as u64 + length,
        );
    })
}

/// The bomb without nesting: many entries share the bytes of one part.
fn overlapping() -> Vec<u8> {
    changed(|zip, places| {
        let entry = zip[places.entries[3]..places.end].to_vec();
        let mut more = Vec::new();
        for _ in 0..900 {
            more.extend(&entry);
        }
        zip.splice(places.end..places.end, more.iter().copied());
        let end = zip.len() - 22;
        put(zip, end + 8, 2, 904);
        put(zip, end + 10, 2, 904);
        let size = get(zip, end + 12, 4) + more.len() as u64;
        put(zip, end + 12, 4, size);
    })
}

/// A "Unicode path" that calls the sheet something else.
fn renamed() -> Vec<u8> {
    changed(|zip, places| {
        let name = b"xl/worksheets/sheet1.xml";
        let mut extra = 0x7075u16.to_le_bytes().to_vec();
        extra.extend(u16::try_from(5 + 9).expect("short").to_le_bytes());
        extra.push(1);
        extra.extend(checksum(name).to_le_bytes());
        extra.extend(b"other.xml");
        let at = places.entries[3] + 46 + name.len();
        put(zip, places.entries[3] + 30, 2, extra.len() as u64);
        let length = extra.len() as u64;
        zip.splice(at..at, extra);
        let end = zip.len() - 22;
        let size = get(zip, end + 12, 4) + length;
        put(zip, end + 12, 4, size);
    })
}

/// A packed part with a byte less, say both places, than it has.
fn shorter() -> Vec<u8> {
    let mut zip = Parts::new(ROW).deflated();
    let places = Places::of(&zip);
    for at in [places.entries[3] + 24, places.headers[3] + 22] {
        let size = get(&zip, at, 4);
        // A header may leave it to a descriptor.
        if size > 0 {
            put(&mut zip, at, 4, size - 1);
        }
    }
    zip
}

fn names() -> Vec<Case> {
    let with = |name: &str| Parts::new(ROW).with(name, "x").stored(0);
    let mut cases: Vec<Case> = [
        ("xl/../../etc/passwd", "outside"),
        ("xl\\..\\..\\etc\\passwd", "outside"),
        ("..", "outside"),
        ("/etc/passwd", "absolute"),
        ("\\\\host\\share\\x", "absolute"),
        ("C:\\Windows\\x", "absolute"),
        ("c:x", "absolute"),
        ("xl/vbaProject.bin", "macro"),
        ("XL/VBAPROJECT.BIN", "macro"),
        ("XL/Workbook.xml", "apart from case"),
        ("xl\\workbook.xml", "apart from case"),
        ("xl//workbook.xml", "contains an empty step or a `.`"),
        ("xl/./workbook.xml", "contains an empty step or a `.`"),
        ("xl/work\u{0}book.xml", "impossible"),
        (
            "xl/\u{7}bell.xml",
            "has an empty name, or one with a control character",
        ),
        ("", "has an empty name, or one with a control character"),
    ]
    .into_iter()
    .map(|(name, piece)| {
        refused(
            &format!("a part called {name:?}"),
            with(name),
            "Container",
            piece,
        )
    })
    .collect();
    let twice = Parts {
        entries: [Parts::new(ROW).entries, Parts::new("").entries].concat(),
    };
    cases.push(refused(
        "every part twice",
        twice.stored(0),
        "Container",
        "same name",
    ));
    cases.push(read(
        "a folder, a picture and a workbook inside",
        {
            Parts::new(ROW)
                .with("xl/media/", "")
                .with("xl/media/a.png", b"\x89PNG\0\0\xff".to_vec())
                .with("xl/embeddings/inner.xlsx", plain())
                .stored(0)
        },
        &[PLAIN],
    ));
    cases.push(refused(
        "no workbook part",
        Parts::new(ROW).without("xl/workbook.xml").stored(0),
        "Container",
        "no workbook inside",
    ));
    cases
}

fn sizes() -> Vec<Case> {
    let many = |count: u32| {
        let mut parts = Parts::new(ROW);
        parts
            .entries
            .extend((0..count).map(|n| (format!("x/{n}.bin"), Vec::new())));
        parts.stored(0)
    };
    let blanks = format!(
        "<worksheet><sheetData>{HEADER}{}</sheetData></worksheet>",
        " ".repeat(8 << 20)
    );
    let long = format!(
        "<worksheet><sheetData>{HEADER}<row r=\"2\"><c r=\"A2\" t=\"inlineStr\"><is><t>{}</t></is></c></row></sheetData></worksheet>",
        "x".repeat(8 << 20)
    );
    let twice = Parts::new(ROW)
        .with(
            "bomb.bin",
            Parts::new(ROW)
                .with("zeros.bin", vec![0; 16 << 20])
                .deflated(),
        )
        .stored(0);
    vec![
        refused("65,000 parts", many(65_000), "TooLarge", "parts"),
        refused("1,001 parts", many(997), "TooLarge", "1001 parts"),
        read("1,000 parts", many(996), &[PLAIN]),
        refused(
            "8 MiB of blanks",
            Parts::new("").sheet(blanks).deflated(),
            "",
            "more than",
        ),
        refused(
            "one text of 8 MiB",
            Parts::new("").sheet(long).deflated(),
            "",
            "more than",
        ),
        refused(
            "a million empty rows",
            Parts::new(&"<row/>".repeat(1 << 20)).deflated(),
            "TooLarge",
            "zip bomb",
        ),
        refused(
            "16 MiB of zeros",
            Parts::new(ROW)
                .with("zeros.bin", vec![0; 16 << 20])
                .deflated(),
            "TooLarge",
            "zip bomb",
        ),
        read(
            "a bomb that is packed twice, which nobody unpacks",
            twice,
            &[PLAIN],
        ),
        refused(
            "a million formats",
            {
                let formats = "<xf/>".repeat(1 << 20);
                Parts::new(ROW)
                    .with_styles(&format!(
                        "<styleSheet><cellXfs>{formats}</cellXfs></styleSheet>"
                    ))
                    .deflated()
            },
            "",
            "",
        ),
    ]
}

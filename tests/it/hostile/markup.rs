//! Workbooks whose container is sound and whose XML is not, or is odd.

use super::corpus::{Case, PLAIN, cell, read, refused, sheet, whole_sheet};
use super::{HEADER, Parts, ROW};

pub(super) fn cases() -> Vec<Case> {
    [
        xml(),
        references(),
        values(),
        texts(),
        strings(),
        dates(),
        workbooks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn xml() -> Vec<Case> {
    let utf16 = |little: bool, mark: bool| {
        let text = format!("<worksheet><sheetData>{HEADER}{ROW}</sheetData></worksheet>");
        let units = mark
            .then_some(0xfeff)
            .into_iter()
            .chain(text.encode_utf16());
        let bytes: Vec<u8> = units
            .flat_map(|unit| {
                if little {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            })
            .collect();
        Parts::new("").sheet(bytes).stored(0)
    };
    let sound = "<worksheet><sheetData>HEADERROW</sheetData></worksheet>";
    let attributes: String = (0..5_000).map(|n| format!(" a{n}=\"\"")).collect();
    let laughs: String = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let mut cases = Vec::new();
    for (name, xml, kind, piece) in [
        (
            "a document type",
            format!("<!DOCTYPE x>{sound}"),
            "Part",
            "document type",
        ),
        (
            "a billion laughs",
            format!("<!DOCTYPE x [<!ENTITY l0 \"ha\">{laughs}]>{sound}"),
            "Part",
            "document type",
        ),
        (
            "an external entity",
            format!(
                "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}",
                sound.replace(
                    "ROW",
                    r#"<row r="2"><c r="A2" t="str"><v>&e;</v></c></row>"#
                )
            ),
            "Part",
            "document type",
        ),
        (
            "a document type in the middle",
            sound.replace("ROW", "<!DOCTYPE x>ROW"),
            "Part",
            "document type",
        ),
        (
            "GBK, it says",
            format!("<?xml version=\"1.0\" encoding=\"GBK\"?>{sound}"),
            "Part",
            "not in UTF-8",
        ),
        (
            "UTF-16, it says",
            format!("<?xml version=\"1.0\" encoding='utf-16'?>{sound}"),
            "Part",
            "not in UTF-8",
        ),
        (
            "UTF-7, it says",
            format!("<?xml version=\"1.0\" encoding=\"UTF-7\"?>{sound}"),
            "Part",
            "not in UTF-8",
        ),
        ("a NUL", sound.replace("ROW", "ROW\0"), "Part", "NUL"),
        (
            "the end in a tag",
            sound.replace("</sheetData></worksheet>", "</sheetD"),
            "Part",
            "middle of a tag",
        ),
        (
            "the end in a quote",
            sound.replace("</sheetData></worksheet>", "<row r=\"3"),
            "Part",
            "middle of a tag",
        ),
        (
            "the end in a comment",
            sound.replace("</sheetData></worksheet>", "<!-- "),
            "Part",
            "middle of a tag",
        ),
        (
            "a quote that never closes",
            sound.replace("ROW", "<row r=\"2>ROW"),
            "Part",
            "",
        ),
        (
            "no end of the worksheet",
            sound.replace("</worksheet>", ""),
            "Part",
            "one <worksheet>",
        ),
        (
            "no end of the data",
            sound.replace("</sheetData>", ""),
            "Part",
            "",
        ),
        (
            "no end at all",
            sound.replace("</sheetData></worksheet>", ""),
            "Part",
            "one <worksheet>",
        ),
        (
            "a row without its end",
            sound.replace("ROW", "<row r=\"2\">"),
            "Part",
            "close",
        ),
        (
            "an end too many",
            sound.replace("ROW", "ROW</row>"),
            "Part",
            "close",
        ),
        (
            "an end behind the end",
            format!("{sound}</worksheet>"),
            "Part",
            "",
        ),
        ("two worksheets", format!("{sound}{sound}"), "Part", ""),
        (
            "two sheetData",
            "<worksheet><sheetData>HEADER</sheetData><sheetData>ROW</sheetData></worksheet>"
                .to_owned(),
            "Part",
            "one <sheetData>",
        ),
        (
            "an empty sheetData before the full one",
            sound.replace("<sheetData>", "<sheetData/><sheetData>"),
            "Part",
            "one <sheetData>",
        ),
        (
            "sheetData in sheetData",
            sound.replace("ROW", "<sheetData>ROW</sheetData>"),
            "Part",
            "one <sheetData>",
        ),
        (
            "no sheetData",
            "<worksheet>HEADERROW</worksheet>".to_owned(),
            "Part",
            "one <sheetData>",
        ),
        (
            "elements 50,000 deep",
            sound.replace(
                "ROW",
                &format!("{}{}", "<a>".repeat(50_000), "</a>".repeat(50_000)),
            ),
            "Part",
            "deep",
        ),
        (
            "elements 50,000 deep without ends",
            sound.replace("ROW", &"<a>".repeat(50_000)),
            "Part",
            "deep",
        ),
        (
            "an attribute of 70 KiB",
            sound.replace(
                "<worksheet>",
                &format!("<worksheet a=\"{}\">", "x".repeat(70 << 10)),
            ),
            "Part",
            "64 KiB",
        ),
        (
            "a comment of 70 KiB",
            sound.replace("ROW", &format!("<!--{}-->ROW", "x".repeat(70 << 10))),
            "Part",
            "64 KiB",
        ),
        (
            "a root that is something else",
            "<html><body>expired</body></html>".to_owned(),
            "",
            "",
        ),
        ("nothing in the sheet's part", String::new(), "", ""),
        (
            "an entity that nobody declared",
            sound.replace(
                "ROW",
                r#"<row r="2"><c r="A2" t="str"><v>&nobody;</v></c></row>"#,
            ),
            "",
            "",
        ),
        (
            "an ampersand on its own",
            sound.replace(
                "ROW",
                r#"<row r="2"><c r="A2" t="str"><v>a & b</v></c></row>"#,
            ),
            "",
            "",
        ),
        (
            "the same attribute twice",
            sound.replace("ROW", r#"<row r="2"><c r="A2" r="B2"><v>1</v></c></row>"#),
            "Part",
            "twice",
        ),
        (
            "a type twice",
            sound.replace(
                "ROW",
                r#"<row r="2"><c r="A2" t="n" t="b"><v>1</v></c></row>"#,
            ),
            "Part",
            "twice",
        ),
        (
            "attributes without quotes",
            sound.replace("ROW", "<row r=2><c r=A2><v>1</v></c></row>"),
            "",
            "",
        ),
    ] {
        cases.push(refused(name, whole_sheet(&xml), kind, piece));
    }
    let mut bytes =
        format!("<worksheet><sheetData>{HEADER}{ROW}</sheetData></worksheet>").into_bytes();
    let at = bytes
        .windows(9)
        .position(|w| w == b"123456789")
        .expect("the id");
    bytes[at] = 0xff;
    cases.push(refused(
        "bytes that are no UTF-8",
        Parts::new("").sheet(bytes.clone()).stored(0),
        "",
        "",
    ));
    bytes[at] = 0xc0;
    bytes[at + 1] = 0x80;
    cases.push(refused(
        "an overlong NUL",
        Parts::new("").sheet(bytes).stored(0),
        "",
        "",
    ));
    for (name, little, mark) in [
        ("UTF-16", true, true),
        ("UTF-16 the other way", false, true),
        ("UTF-16 without a mark", true, false),
    ] {
        cases.push(refused(name, utf16(little, mark), "Part", "UTF-16"));
    }
    for (name, xml) in [
        ("a byte order mark", format!("\u{feff}{sound}")),
        ("US-ASCII, it says", format!("<?xml version=\"1.0\" encoding=\"us-ascii\"?>{sound}")),
        ("5,000 attributes", sound.replace("<worksheet>", &format!("<worksheet{attributes}>"))),
        ("comments and instructions between rows", sound.replace("ROW", "<!-- > <row> --><?x <row?>ROW<!---->")),
        ("text between cells", sound.replace("ROW", "words ROW words")),
        ("elements before and behind the data", sound.replace("<sheetData>", "<sheetViews><sheetView><pane/></sheetView></sheetViews><cols><col min=\"1\"/></cols><sheetData>").replace("</sheetData>", "</sheetData><mergeCells><mergeCell ref=\"D1:E1\"/></mergeCells><extLst><ext uri=\"x\"/></extLst>")),
        ("a dimension of everything", sound.replace("<sheetData>", "<dimension ref=\"A1:XFD1048576\"/><sheetData>")),
        ("a dimension of one cell", sound.replace("<sheetData>", "<dimension ref=\"A1\"/><sheetData>")),
        ("line breaks inside of tags", sound.replace("<sheetData>", "<sheetData\n>").replace("</sheetData>", "</sheetData\r\n>")),
        ("single quotes", sound.replace("ROW", &ROW.replace('"', "'"))),
        ("spaces around the equals sign", sound.replace("ROW", &ROW.replace("r=", "r = "))),
        ("a prefix on every element", {
            let rows = format!("{HEADER}{ROW}");
            let rows = rows.replace("</", "\0").replace('<', "<x:").replace('\0', "</x:");
            format!("<x:worksheet xmlns:x=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><x:sheetData>{rows}</x:sheetData></x:worksheet>")
        }),
    ] {
        cases.push(read(name, whole_sheet(&xml), &[PLAIN]));
    }
    cases.push(refused(
        "a dimension the wrong way round",
        whole_sheet(&sound.replace("<sheetData>", "<dimension ref=\"B9:A1\"/><sheetData>")),
        "Part",
        "no place",
    ));
    cases.push(refused(
        "a dimension that is a word",
        whole_sheet(&sound.replace("<sheetData>", "<dimension ref=\"hello\"/><sheetData>")),
        "Part",
        "no place",
    ));
    cases
}

fn references() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (
            "a wrapped row",
            r#"<row r="2"><c r="A4294967297"/></row>"#,
            "no place",
        ),
        (
            "a wrapped row number",
            r#"<row r="4294967298"><c r="A2"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a wrapped column",
            r#"<row r="2"><c r="ABCDEFGHIJKL2"/></row>"#,
            "no place",
        ),
        (
            "row 0",
            r#"<row r="0"><c r="A0"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a cell in row 0",
            r#"<row r="2"><c r="A0"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a row number with zeros in front",
            r#"<row r="02"><c r="A02"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a row number below zero",
            r#"<row r="-2"><c r="A2"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a row number that is a word",
            r#"<row r="two"><c r="A2"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "an absolute reference",
            r#"<row r="2"><c r="$A$2"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "an empty reference",
            r#"<row r="2"><c r=""><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a reference without a column",
            r#"<row r="2"><c r="2"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a reference without a row",
            r#"<row r="2"><c r="A"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "digits of another script",
            r#"<row r="2"><c r="A２"><v>1</v></c></row>"#,
            "no place",
        ),
        (
            "a cell in another row than its row",
            r#"<row r="2"><c r="A3"><v>1</v></c></row>"#,
            "another row",
        ),
        (
            "the same cell twice",
            r#"<row r="2"><c r="B2"><v>1</v></c><c r="B2"><v>2</v></c></row>"#,
            "twice or out of order",
        ),
        (
            "the same cell twice, once in small letters",
            r#"<row r="2"><c r="B2"><v>1</v></c><c r="b2"><v>2</v></c></row>"#,
            "twice or out of order",
        ),
        (
            "cells out of order",
            r#"<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>2</v></c></row>"#,
            "twice or out of order",
        ),
        (
            "rows out of order",
            r#"<row r="3"><c r="A3"><v>1</v></c></row><row r="2"><c r="A2"><v>1</v></c></row>"#,
            "twice or out of order",
        ),
        (
            "the same row twice",
            r#"<row r="2"><c r="A2"><v>1</v></c></row><row r="2"><c r="B2"><v>1</v></c></row>"#,
            "twice or out of order",
        ),
        (
            "the header's row again",
            r#"<row r="1"><c r="C1"><v>1</v></c></row>"#,
            "twice or out of order",
        ),
    ]
    .into_iter()
    .map(|(name, rows, piece)| refused(name, sheet(rows), "Part", piece))
    .collect();
    cases.push(refused(
        "a column beyond any sheet",
        sheet(r#"<row r="2"><c r="ZZZ2"><v>1</v></c></row>"#),
        "",
        "",
    ));
    cases.push(refused(
        "a row beyond any sheet",
        sheet(r#"<row r="1048577"><c r="A1048577"><v>1</v></c></row>"#),
        "",
        "",
    ));
    cases.push(read(
        "the last cell of any sheet",
        sheet(r#"<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>"#),
        &[&format!("1048576:{} 1", " -".repeat(16_383))],
    ));
    let far: String = (2..4_000)
        .map(|row| format!("<row r=\"{row}\"><c r=\"XFD{row}\"><v>1</v></c></row>"))
        .collect();
    cases.push(refused(
        "rows that are nothing but gaps",
        sheet(&far),
        "TooLarge",
        "gaps",
    ));
    let bare = ROW
        .replace(" r=\"2\"", "")
        .replace(" r=\"A2\"", "")
        .replace(" r=\"B2\"", "");
    cases.push(read("no references at all", sheet(&bare), &[PLAIN]));
    cases.push(read(
        "a gap of rows and columns",
        sheet(r#"<row r="9"><c r="A9"><v>1</v></c><c r="E9"><v>2</v></c></row>"#),
        &["9: 1 - - - 2"],
    ));
    cases.push(read(
        "the last row of any sheet",
        sheet(r#"<row r="1048576"><c r="A1048576"><v>1</v></c></row>"#),
        &["1048576: 1"],
    ));
    cases.push(read(
        "empty cells at the far end",
        cell(r#"<c r="XFD2"/>"#),
        &[PLAIN],
    ));
    cases.push(read(
        "empty rows",
        sheet(&format!(
            "{ROW}<row r=\"3\"/><row r=\"4\"></row><row r=\"5\"><c r=\"A5\"/></row>"
        )),
        &[PLAIN],
    ));
    cases
}

/// What stands in `C2`, and what is read.
fn values() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, xml, value) in [
        ("a number", "<c r='C2'><v>12.5</v></c>", " 12.5"),
        (
            "a number that says so",
            "<c r='C2' t='n'><v>-1e3</v></c>",
            " -1000",
        ),
        (
            "a number with 19 digits",
            "<c r='C2'><v>6937000000000000001</v></c>",
            " 6937000000000000000",
        ),
        (
            "an id with 19 digits as text",
            "<c r='C2' t='str'><v>6937000000000000001</v></c>",
            " \"6937000000000000001\"",
        ),
        ("no number", "<c r='C2'><v>NaN</v></c>", " NaN"),
        ("infinity", "<c r='C2'><v>inf</v></c>", " inf"),
        ("more than any number", "<c r='C2'><v>1e999</v></c>", " inf"),
        ("true", "<c r='C2' t='b'><v>1</v></c>", " true"),
        ("false", "<c r='C2' t='b'><v>0</v></c>", " false"),
        ("an error", "<c r='C2' t='e'><v>#DIV/0!</v></c>", " #DIV/0!"),
        (
            "a formula and its value",
            "<c r='C2'><f>1+1</f><v>2</v></c>",
            " 2",
        ),
        (
            "a formula and its text",
            "<c r='C2' t='str'><f>A1&amp;B1</f><v>x</v></c>",
            " \"x\"",
        ),
        (
            "a formula without a value",
            "<c r='C2'><f>1+1</f></c>",
            " unstored",
        ),
        (
            "a formula with an empty value",
            "<c r='C2'><f>1+1</f><v/></c>",
            " unstored",
        ),
        (
            "a formula's text without a value",
            "<c r='C2' t='str'><f>A1</f></c>",
            " unstored",
        ),
        (
            "a formula's text that is empty",
            "<c r='C2' t='str'><f>A1</f><v></v></c>",
            " \"\"",
        ),
        (
            "a text where its index should be",
            "<c r='C2' t='inlineStr'><v>x</v></c>",
            " unstored",
        ),
        (
            "a text and a value that is none",
            "<c r='C2' t='inlineStr'><is><t>a</t></is><v>x</v></c>",
            " unstored",
        ),
        (
            "a boolean without a value",
            "<c r='C2' t='b'><v></v></c>",
            " unstored",
        ),
        (
            "an error of later years",
            "<c r='C2' t='e'><f>1</f><v>#SPILL!</v></c>",
            " #SPILL!",
        ),
        (
            "an error that nobody knows",
            "<c r='C2' t='e'><v>#WHAT!</v></c>",
            " #WHAT!",
        ),
        (
            "an error that is no error",
            "<c r='C2' t='e'><v>12</v></c>",
            " 12",
        ),
        (
            "a shared formula",
            "<c r='C2'><f t='shared' si='0'/><v>3</v></c>",
            " 3",
        ),
        ("an empty value", "<c r='C2'><v></v></c>", ""),
        ("a closed value", "<c r='C2'><v/></c>", ""),
        ("a cell without a value", "<c r='C2'></c>", ""),
        (
            "a number that is a word",
            "<c r='C2'><v>many</v></c>",
            " \"many\"",
        ),
        (
            "a number with a comma",
            "<c r='C2'><v>1,5</v></c>",
            " \"1,5\"",
        ),
        (
            "a date as text",
            "<c r='C2' t='d'><v>2026-10-12T06:10:42</v></c>",
            " \"2026-10-12T06:10:42\"",
        ),
        (
            "a formula that looks dangerous",
            "<c r='C2' t='str'><v>=cmd|' /C calc'!A0</v></c>",
            " \"=cmd|' /C calc'!A0\"",
        ),
    ] {
        cases.push(read(name, cell(xml), &[&format!("{PLAIN}{value}")]));
    }
    for (name, xml, kind, piece) in [
        (
            "a boolean of 2",
            "<c r='C2' t='b'><v>2</v></c>",
            "Part",
            "boolean",
        ),
        (
            "a boolean in words",
            "<c r='C2' t='b'><v>TRUE</v></c>",
            "Part",
            "boolean",
        ),
        (
            "a boolean of two digits",
            "<c r='C2' t='b'><v>10</v></c>",
            "Part",
            "boolean",
        ),
        (
            "a type that nobody knows",
            "<c r='C2' t='x'><v>1</v></c>",
            "",
            "",
        ),
        (
            "a comment in a number",
            "<c r='C2'><v>1<!-- -->2</v></c>",
            "Part",
            "inside",
        ),
        (
            "character data in a number",
            "<c r='C2'><v>1<![CDATA[2]]></v></c>",
            "Part",
            "inside",
        ),
        (
            "an instruction in a number",
            "<c r='C2'><v>1<?x?>2</v></c>",
            "Part",
            "inside",
        ),
        (
            "an element in a number",
            "<c r='C2'><v>1<b/>2</v></c>",
            "Part",
            "inside",
        ),
        (
            "an entity in a number",
            "<c r='C2'><v>1&#50;</v></c>",
            "Part",
            "entity",
        ),
        (
            "a comment in a formula's text",
            "<c r='C2' t='str'><v>a<!-- -->b</v></c>",
            "Part",
            "inside",
        ),
        (
            "two values",
            "<c r='C2'><v>1</v><v>2</v></c>",
            "Part",
            "two values",
        ),
        (
            "a value in a value",
            "<c r='C2'><v>1<v>2</v></v></c>",
            "Part",
            "inside",
        ),
        (
            "a cell in a cell",
            "<c r='C2'><c r='D2'><v>1</v></c></c>",
            "Part",
            "cell inside",
        ),
    ] {
        cases.push(refused(name, cell(xml), kind, piece));
    }
    cases
}

fn texts() -> Vec<Case> {
    let inline = |text: &str| cell(&format!("<c r='C2' t='inlineStr'><is>{text}</is></c>"));
    let long = "长".repeat(32_768);
    let longest = "x".repeat(1_000_000);
    let mut cases = Vec::new();
    for (name, xml, text) in [
        (
            "spaces that are kept",
            "<t xml:space='preserve'>  a b  </t>",
            "  a b  ",
        ),
        ("a line break", "<t>a\nb</t>", "a\nb"),
        ("a tabulator", "<t>a\tb</t>", "a\tb"),
        (
            "the five entities",
            "<t>&lt;&gt;&amp;&quot;&apos;</t>",
            "<>&\"'",
        ),
        ("numbered characters", "<t>&#20250;&#x8bae;</t>", "会议"),
        ("text that looks escaped twice", "<t>&amp;lt;</t>", "&lt;"),
        (
            "a surrogate pair as one character",
            "<t>&#x1F600;</t>",
            "😀",
        ),
        (
            "runs",
            "<r><t>a</t></r><r><rPr><b/></rPr><t xml:space='preserve'> b</t></r>",
            "a b",
        ),
        (
            "a reading aid",
            "<t>会议</t><rPh sb='0' eb='2'><t>かいぎ</t></rPh><phoneticPr fontId='1'/>",
            "会议",
        ),
        ("an escaped line break", "<t>a_x000D_b</t>", "a\rb"),
        ("an escaped letter", "<t>_x0041_</t>", "A"),
        (
            "an underscore that is escaped",
            "<t>_x005F_x0041_</t>",
            "_x0041_",
        ),
        (
            "an escape that is none",
            "<t>_x00G0_ _x41_</t>",
            "_x00G0_ _x41_",
        ),
        ("an escaped NUL", "<t>a_x0000_b</t>", "a\0b"),
        ("half of an escaped pair", "<t>a_xD800_b</t>", "a\u{fffd}b"),
        ("a vertical tabulator as it is", "<t>a\u{b}b</t>", "a\u{b}b"),
        ("a direction override", "<t>a\u{202e}b</t>", "a\u{202e}b"),
        ("a text that begins with equals", "<t>=1+1</t>", "=1+1"),
        (
            "character data in a text",
            "<t>a<![CDATA[<b> &amp;]]></t>",
            "a<b> &amp;",
        ),
        ("32,768 characters", &format!("<t>{long}</t>"), &long),
        (
            "a million characters",
            &format!("<t>{longest}</t>"),
            &longest,
        ),
    ] {
        cases.push(read(name, inline(xml), &[&format!("{PLAIN} {text:?}")]));
    }
    for (name, xml, kind, piece) in [
        (
            "a text of more than 1 MiB",
            format!("<t>{}</t>", "x".repeat((1 << 20) + 1)),
            "Part",
            "more than",
        ),
        ("a numbered NUL", "<t>&#0;</t>".to_owned(), "", ""),
        (
            "a numbered half of a pair",
            "<t>&#xD800;</t>".to_owned(),
            "",
            "",
        ),
        (
            "a numbered character that nobody has",
            "<t>&#x110000;</t>".to_owned(),
            "",
            "",
        ),
        (
            "a comment in a text",
            "<t>a<!-- -->b</t>".to_owned(),
            "Part",
            "inside",
        ),
        (
            "an instruction in a text",
            "<t>a<?x?>b</t>".to_owned(),
            "Part",
            "inside",
        ),
        (
            "an element in a text",
            "<t>a<b/>b</t>".to_owned(),
            "Part",
            "inside",
        ),
    ] {
        cases.push(refused(name, inline(&xml), kind, piece));
    }
    cases
}

/// The plain workbook with a table of strings, and a cell that refers to one.
fn shared(table: &str, index: &str) -> Vec<u8> {
    let cell = format!("<c r='C2' t='s'><v>{index}</v></c></row>");
    Parts::new(&ROW.replace("</row>", &cell))
        .with_strings(table)
        .stored(0)
}

fn strings() -> Vec<Case> {
    let table = "<sst count='2' uniqueCount='2'><si><t>a</t></si><si><t>b</t></si></sst>";
    let mut cases = Vec::new();
    for (name, index, kind, piece) in [
        ("a string index of -1", "-1", "Part", "string index"),
        ("a string index of +1", "+1", "Part", "string index"),
        ("a string index beyond the table", "2", "", ""),
        ("a string index far beyond the table", "4294967296", "", ""),
        (
            "a string index beyond any number",
            "99999999999999999999",
            "Part",
            "string index",
        ),
        (
            "a string index with a fraction",
            "1.0",
            "Part",
            "string index",
        ),
        (
            "a string index that is a word",
            "one",
            "Part",
            "string index",
        ),
        ("a string index with a space", " 1", "Part", "string index"),
        (
            "a string index as an entity",
            "&#49;",
            "Part",
            "string index",
        ),
        (
            "a string index in two pieces",
            "0<!-- -->1",
            "Part",
            "inside",
        ),
    ] {
        cases.push(refused(name, shared(table, index), kind, piece));
    }
    for (name, table, kind, piece) in [
        (
            "a document type in the strings",
            "<!DOCTYPE x><sst><si><t>a</t></si></sst>",
            "Part",
            "document type",
        ),
        (
            "strings that end in a tag",
            "<sst><si><t>a</t></si></ss",
            "Part",
            "middle of a tag",
        ),
        (
            "strings without an end",
            "<sst><si><t>a</t></si>",
            "Part",
            "close",
        ),
        (
            "a string in a string",
            "<sst><si><t>a</t><si><t>b</t></si></si></sst>",
            "Part",
            "string inside",
        ),
        (
            "an entity in a string",
            "<sst><si><t>&nobody;</t></si></sst>",
            "",
            "",
        ),
    ] {
        cases.push(refused(name, shared(table, "0"), kind, piece));
    }
    for (name, table, index, text) in [
        ("the second string", table, "1", "b"),
        ("an index with zeros in front", table, "0001", "b"),
        (
            "the string behind an empty one",
            "<sst><si/><si><t>b</t></si></sst>",
            "1",
            "b",
        ),
        (
            "the string behind one without a text",
            "<sst><si></si><si><t/></si><si><t>b</t></si></sst>",
            "2",
            "b",
        ),
        (
            "a string of runs",
            "<sst><si><r><t>a</t></r><r><t>b</t></r></si></sst>",
            "0",
            "ab",
        ),
        (
            "a string with a reading aid",
            "<sst><si><t>会</t><rPh sb='0' eb='1'><t>x</t></rPh></si></sst>",
            "0",
            "会",
        ),
        (
            "an absurd number of strings",
            r#"<sst uniqueCount="4294967295"><si><t>a</t></si></sst>"#,
            "0",
            "a",
        ),
        (
            "a number of strings with 30 digits",
            r#"<sst uniqueCount="999999999999999999999999999999"><si><t>a</t></si></sst>"#,
            "0",
            "a",
        ),
        (
            "one string less than there should be",
            r#"<sst uniqueCount="2"><si><t>a</t></si></sst>"#,
            "0",
            "a",
        ),
        (
            "character data in a string",
            "<sst><si><t>a<![CDATA[b]]></t></si></sst>",
            "0",
            "ab",
        ),
        (
            "fewer strings claimed than there are",
            "<sst uniqueCount='1'><si><t>a</t></si><si><t>b</t></si></sst>",
            "1",
            "b",
        ),
        (
            "strings with a prefix",
            "<x:sst xmlns:x='u'><x:si><x:t>a</x:t></x:si></x:sst>",
            "0",
            "a",
        ),
    ] {
        cases.push(read(
            name,
            shared(table, index),
            &[&format!("{PLAIN} {text:?}")],
        ));
    }
    cases.push(read(
        "an empty string index",
        shared(table, ""),
        &[&format!("{PLAIN} unstored")],
    ));
    cases.push(refused(
        "no table of strings",
        cell("<c r='C2' t='s'><v>0</v></c>"),
        "",
        "",
    ));
    cases
}

fn dates() -> Vec<Case> {
    let styles = "<styleSheet><numFmts count='1'><numFmt numFmtId='164' formatCode='yyyy/mm/dd\\ hh:mm'/></numFmts><cellXfs count='5'><xf numFmtId='0'/><xf numFmtId='14'/><xf numFmtId='164'/><xf numFmtId='46'/><xf numFmtId='2'/></cellXfs></styleSheet>";
    let workbook = |cell: &str| {
        Parts::new(&ROW.replace("</row>", &format!("{cell}</row>"))).with_styles(styles)
    };
    let mut cases = Vec::new();
    for (name, style, value, expected) in [
        ("a date", 1, "46307.5", "date(46307.5)"),
        ("a date of a format of its own", 2, "46307", "date(46307)"),
        ("the day that was never", 1, "60", "date(60)"),
        ("a date before all dates", 1, "-5", "date(-5)"),
        ("a date after all dates", 1, "2958466", "date(2958466)"),
        ("day zero", 1, "0", "date(0)"),
        ("an elapsed time", 3, "1.5", "elapsed(1.5)"),
        ("a number with two digits", 4, "1.5", "1.5"),
        ("a style that nobody has", 9, "1.5", "1.5"),
    ] {
        let xml = format!("<c r='C2' s='{style}'><v>{value}</v></c>");
        cases.push(read(
            name,
            workbook(&xml).stored(0),
            &[&format!("{PLAIN} {expected}")],
        ));
    }
    let xml = "<c r='C2' s='1'><v>46307</v></c>";
    for (name, setting) in [
        ("the epoch of 1904", "1"),
        ("the epoch of 1904 in words", "true"),
    ] {
        let parts = workbook(xml).edit("xl/workbook.xml", |xml| {
            xml.replace(
                "<sheets>",
                &format!("<workbookPr date1904=\"{setting}\"/><sheets>"),
            )
        });
        cases.push(read(
            name,
            parts.stored(0),
            &[&format!("{PLAIN} date1904(46307)")],
        ));
    }
    cases
}

fn workbooks() -> Vec<Case> {
    const WORKBOOK: &str = "xl/workbook.xml";
    const LINKS: &str = "xl/_rels/workbook.xml.rels";
    let edited = |part: &str, from: &str, to: &str| {
        Parts::new(ROW).edit(part, |xml| {
            assert!(xml.contains(from), "{xml}");
            xml.replace(from, to)
        })
    };
    let entry = r#"<sheet name="S" sheetId="1" r:id="rId1"/>"#;
    let link = |id: &str, kind: &str, target: &str| {
        format!(
            r#"<Relationship Id="{id}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}" Target="{target}"/></Relationships>"#
        )
    };
    let two = |second: &str, id: &str| {
        edited(
            WORKBOOK,
            entry,
            &format!(r#"{entry}<sheet name="T" sheetId="2" r:id="{id}"/>"#),
        )
        .edit(LINKS, |xml| {
            xml.replace(
                "</Relationships>",
                &link("rId2", "worksheet", "worksheets/sheet2.xml"),
            )
        })
        .with("xl/worksheets/sheet2.xml", second)
    };
    let other = format!(
        "<worksheet><sheetData>{HEADER}{}</sheetData></worksheet>",
        ROW.replace("123456789", "987654321")
    );
    let unlike = r#"<worksheet><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>read me</t></is></c></row></sheetData></worksheet>"#;
    let second = PLAIN.replace("123456789", "987654321");
    let mut cases = Vec::new();
    for (name, parts) in [
        ("no sheets", edited(WORKBOOK, entry, "")),
        (
            "nothing in the workbook part",
            Parts::new(ROW).with(WORKBOOK, ""),
        ),
        (
            "a workbook part that is something else",
            Parts::new(ROW).with(WORKBOOK, "<html/>"),
        ),
        (
            "a workbook part that ends in a tag",
            edited(WORKBOOK, "</workbook>", "</work"),
        ),
        ("no links", Parts::new(ROW).without(LINKS)),
        (
            "a link to nowhere",
            edited(LINKS, "sheet1.xml", "sheet9.xml"),
        ),
        (
            "a link out of the file",
            edited(LINKS, "worksheets/sheet1.xml", "../../../etc/passwd"),
        ),
        (
            "a link to the net",
            edited(
                LINKS,
                "worksheets/sheet1.xml",
                "http://127.0.0.1:1/sheet1.xml",
            ),
        ),
        (
            "a link to the net as the format has it",
            edited(
                LINKS,
                "Target=\"worksheets/sheet1.xml\"",
                "Target=\"http://127.0.0.1:1/sheet1.xml\" TargetMode=\"External\"",
            ),
        ),
        (
            "a sheet in a part that is no XML",
            edited(LINKS, "worksheets/sheet1.xml", "media/a.png"),
        ),
        (
            "a sheet whose link is not there",
            edited(WORKBOOK, "r:id=\"rId1\"", "r:id=\"rId7\""),
        ),
        (
            "a sheet without a part",
            Parts::new(ROW).without("xl/worksheets/sheet1.xml"),
        ),
        (
            "a second sheet without a part",
            two(&other, "rId2").without("xl/worksheets/sheet2.xml"),
        ),
        (
            "a second sheet that is damaged",
            two("<worksheet><sheetData><row r=\"1\">", "rId2"),
        ),
        (
            "a document type in the workbook part",
            edited(WORKBOOK, "<workbook", "<!DOCTYPE x><workbook"),
        ),
        (
            "only a sheet of something else",
            Parts::new("").sheet(unlike),
        ),
        ("two sheets in one part", two(&other, "rId1")),
        (
            "a sheet that names a column twice",
            Parts::new("").sheet(format!(
                "<worksheet><sheetData>{}</sheetData></worksheet>",
                HEADER.replace("会议开始时间", "会议 ID")
            )),
        ),
    ] {
        cases.push(refused(name, parts.stored(0), "", ""));
    }
    for (name, parts, rows) in [
        (
            "two sheets with the header",
            two(&other, "rId2"),
            vec![PLAIN, &second],
        ),
        (
            "a sheet of something else beside",
            two(unlike, "rId2"),
            vec![PLAIN],
        ),
        (
            "an empty sheet beside",
            two("<worksheet><sheetData/></worksheet>", "rId2"),
            vec![PLAIN],
        ),
        (
            "a header and nothing else beside",
            two(
                &format!("<worksheet><sheetData>{HEADER}</sheetData></worksheet>"),
                "rId2",
            ),
            vec![PLAIN],
        ),
        (
            "a hidden sheet",
            edited(WORKBOOK, "sheetId=\"1\"", "sheetId=\"1\" state=\"hidden\""),
            vec![PLAIN],
        ),
        (
            "a very hidden sheet",
            edited(
                WORKBOOK,
                "sheetId=\"1\"",
                "sheetId=\"1\" state=\"veryHidden\"",
            ),
            vec![PLAIN],
        ),
        (
            "an absolute link",
            edited(LINKS, "worksheets/sheet1.xml", "/xl/worksheets/sheet1.xml"),
            vec![PLAIN],
        ),
        ("a header and no row", Parts::new(""), vec![]),
        (
            "defined names that lie",
            edited(
                WORKBOOK,
                "</sheets>",
                "</sheets><definedNames><definedName name=\"x\">S!$A$1:$XFD$1048576</definedName></definedNames>",
            ),
            vec![PLAIN],
        ),
        (
            "a chart in place of a sheet beside",
            {
                edited(
                    WORKBOOK,
                    entry,
                    &format!(r#"{entry}<sheet name="T" sheetId="2" r:id="rId2"/>"#),
                )
                .edit(LINKS, |xml| {
                    xml.replace(
                        "</Relationships>",
                        &link("rId2", "chartsheet", "chartsheets/sheet1.xml"),
                    )
                })
                .with("xl/chartsheets/sheet1.xml", "<chartsheet/>")
            },
            vec![PLAIN],
        ),
    ] {
        cases.push(read(name, parts.stored(0), &rows));
    }
    cases
}

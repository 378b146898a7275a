//! Workbooks by dice: in the shape that exports have, or with something odd in them. Shared with the unit tests of the fast reader.

use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{Column, ColumnKind, Contract, Dataset, column_name};

/// Numbers that depend on nothing but their seed.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub(super) fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

/// The parts of a workbook and how they are packed.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) dataset: Dataset,
    parts: Vec<(String, String)>,
    is_stored: bool,
    has_descriptors: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts
            .iter()
            .try_for_each(|(name, text)| writeln!(f, "--- {name}\n{text}"))
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

/// Texts as they stand in a part, all of them known.
const TEXTS: [&str; 24] = [
    "张三",
    "2026.10.12 06:10:42 (GMT+08:00)",
    "190924711",
    "",
    " leading",
    "trailing ",
    "\t\ttabs\t",
    " \u{a0}no-break\u{a0} ",
    "a&amp;b &lt;c&gt; &quot;d&quot; &apos;e&apos;",
    "&#x9;&#10;line&#xD;&#xA;",
    "two\nlines\r\nthree\rfour",
    "_x000D_",
    "a_x005F_x000D_b",
    "_xD83D__xDCF7_",
    "_xD83D_ half",
    "_xDC00__x0041",
    "_x00e9_ _X00E9_ _xZZZZ_",
    "ou_xyz__x_",
    "😀☎ emoji",
    "]]&gt;",
    "=1+1",
    "01:00:00",
    "&#32;&#x20;blank&#32;",
    "x",
];

const ODD_TEXTS: [&str; 10] = [
    "&nbsp;",
    "&#0;",
    "&#xD800;",
    "&",
    "a & b",
    "<![CDATA[c]]>",
    "<!-- c -->d",
    "&#99999999999;",
    "&#X41;",
    "]]>",
];

const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "-0",
    "42",
    "190924711",
    "6937000000000000001",
    "999999999999999",
    "9999999999999999",
    "0.1",
    "45000.256944444445",
    "-2.5",
    "1.0416666666666667",
    "1e5",
    "1.5E-7",
    "2E+300",
    "1e400",
    "4.9e-324",
    "0.30000000000000004",
    "123456789.123456789123456789",
    "000123",
    "1e0000000000000000000001",
];

const ODD_NUMBERS: [&str; 14] = [
    "+1", " 1", "1 ", "1.", ".5", "inf", "NaN", "-", "0x10", "1,5", "1e", "--1", "text", "1_000",
];

const FORMATS: [&str; 20] = [
    "yyyy-mm-dd hh:mm:ss",
    "[h]:mm:ss",
    "0.00",
    "General",
    "@",
    "&quot;Y: &quot;0.00",
    "#,##0\\ [$\u{20bd}-46D]",
    "[Red]0.00;[Blue]yyyy",
    "[mm]",
    "[Blue]\\+[h]:mm",
    "h:mm AM/PM",
    "ha/p\\\\m",
    "0*y",
    "_M0",
    "\"d\"0",
    "[$-404]e\"年\"m\"月\"",
    "[hm]",
    "[s].000",
    "A/P",
    "[[h]]",
];

impl Case {
    /// What exports look like: everything in it is known to the fast reader.
    pub(super) fn usual(random: &mut Random) -> Self {
        Self::build(random, Size::Small, false)
    }

    /// The same with a few things that are rare, wrong or dangerous.
    pub(super) fn odd(random: &mut Random) -> Self {
        Self::build(random, Size::Small, true)
    }

    /// What large exports look like: sheet and strings are longer than what the fast reader holds of them.
    pub(super) fn large(random: &mut Random) -> Self {
        Self::build(random, Size::Large, false)
    }

    fn build(random: &mut Random, size: Size, is_odd: bool) -> Self {
        let dataset = EXPORTS[random.below(EXPORTS.len())];
        // What fits its columns becomes rows, so that there is something to compare behind the reader.
        let fits = random.one_in(2);
        let mut maker = Maker {
            // About every second odd workbook has one oddity or two.
            oddities: 0,
            is_odd,
            size,
            fits,
            columns: columns(random, dataset, fits),
            random,
            strings: Vec::new(),
            formats: 0,
        };
        let styles = maker.styles();
        let sheets = 1 + usize::from(maker.random.one_in(6));
        let sheets: Vec<String> = (0..sheets).map(|_| maker.sheet()).collect();
        let strings = maker.string_table();
        let mut parts = vec![
            (
                "_rels/.rels".to_owned(),
                format!(
                    "{XML}<Relationships xmlns=\"{PACKAGE}\"><Relationship Id=\"rId1\" Type=\"{OFFICE}/officeDocument\" Target=\"{}\"/></Relationships>",
                    maker.pick(
                        &["xl/workbook.xml", "/xl/workbook.xml"],
                        &["xl/Workbook.xml", "book.xml"]
                    )
                ),
            ),
            ("xl/workbook.xml".to_owned(), maker.workbook(sheets.len())),
            (
                "xl/_rels/workbook.xml.rels".to_owned(),
                maker.relations(sheets.len()),
            ),
        ];
        for (index, sheet) in sheets.into_iter().enumerate() {
            parts.push((format!("xl/worksheets/sheet{}.xml", index + 1), sheet));
        }
        if !maker.strings.is_empty() || maker.random.one_in(2) {
            parts.push(("xl/sharedStrings.xml".to_owned(), strings));
        }
        if !maker.random.one_in(8) {
            parts.push(("xl/styles.xml".to_owned(), styles));
        }
        let types = maker.pick(
            &["<Types/>", "<Types><Default Extension=\"xml\"/></Types>"],
            &[
                "<Types",
                "<x:sst uniqueCount=\"99\"/>",
                "<!DOCTYPE a><a/>",
                "<a>\0</a>",
            ],
        );
        parts.push(("[Content_Types].xml".to_owned(), format!("{XML}{types}")));
        let at = maker.random.below(parts.len());
        parts.rotate_left(at);
        Self {
            dataset,
            parts,
            is_stored: maker.random.one_in(5),
            has_descriptors: maker.random.one_in(2),
        }
    }

    /// The same workbook with another text in one cell of the second row, which `usual` always fills.
    pub(super) fn with_another_value(&self, random: &mut Random) -> Self {
        let mut other = self.clone();
        let replacement = format!("other {}", random.below(1_000_000));
        for (_, text) in &mut other.parts {
            *text = text.replace("the marked cell", &replacement);
        }
        other
    }

    /// Bytes of the longest part.
    pub(super) fn longest_part(&self) -> usize {
        let lengths = self.parts.iter().map(|(_, text)| text.len());
        lengths.max().unwrap_or_default()
    }

    /// The zip as Go writes it: sizes behind the data, or in front of it.
    pub(super) fn zip(&self) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, text) in &self.parts {
            let crc = crc32fast::hash(text.as_bytes());
            let mut data = text.as_bytes().to_vec();
            if !self.is_stored {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(text.as_bytes()).expect("memory");
                data = encoder.finish().expect("memory");
            }
            let sizes = [crc, data.len() as u32, text.len() as u32];
            let sizes = sizes.map(u32::to_le_bytes).concat();
            let at = file.len() as u32;
            let mut common = vec![20, 0];
            common.extend(if self.has_descriptors {
                [8u8, 8]
            } else {
                [0, 8]
            });
            common.extend([if self.is_stored { 0 } else { 8 }, 0, 0, 0, 0, 0]);
            let lengths = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
            file.extend(*b"PK\x03\x04");
            file.extend(&common);
            file.extend(if self.has_descriptors {
                vec![0; 12]
            } else {
                sizes.clone()
            });
            file.extend(&lengths);
            file.extend(name.as_bytes());
            file.extend(data);
            if self.has_descriptors {
                file.extend(*b"PK\x07\x08");
                file.extend(&sizes);
            }
            directory.extend(*b"PK\x01\x02\x14\x00");
            directory.extend(common);
            directory.extend(sizes);
            directory.extend(lengths);
            directory.extend([0; 10]);
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let count = (self.parts.len() as u16).to_le_bytes();
        let (at, size) = (file.len() as u32, directory.len() as u32);
        file.extend(directory);
        file.extend(*b"PK\x05\x06\0\0\0\0");
        file.extend([count, count].concat());
        file.extend(size.to_le_bytes());
        file.extend(at.to_le_bytes());
        file.extend([0; 2]);
        file
    }
}

/// How many rows a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

const EXPORTS: [Dataset; 4] = [
    Dataset::MeetingList,
    Dataset::ResourceReservationList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
];

/// A header, and the column that it means.
type Headed = (&'static str, Option<&'static Column>);

/// Columns of a sheet: the first is nobody's, if the cells shall fit, as its second row holds the marked cell.
pub(super) fn columns(random: &mut Random, dataset: Dataset, fits: bool) -> Vec<Headed> {
    let contract = Contract::of(dataset);
    let mut columns: Vec<Headed> = Vec::new();
    if fits {
        columns.push(("备注", None));
    }
    let required: Vec<usize> = contract.required_in_sheet().collect();
    for (index, column) in contract.columns.iter().enumerate() {
        let is_wanted = required.contains(&index) || random.one_in(3);
        if column.headers.is_empty() || !is_wanted {
            continue;
        }
        let header = &column.headers[random.below(column.headers.len())];
        columns.push((header, Some(column)));
    }
    let fixed = usize::from(fits);
    let turn = random.below(columns.len() - fixed);
    columns[fixed..].rotate_left(turn);
    columns
}

/// A text that fits the column.
pub(super) fn fitting(random: &mut Random, column: &Column) -> String {
    let choices: &[&str] = match column.kind {
        ColumnKind::Text => &TEXTS,
        ColumnKind::Id => &["190924711", "ou_84aad35d", "6937000000000000001", "_x0031_"],
        ColumnKind::MeetingNo => &["190924711", "1909247110", "190 924 711", "_x0031_"],
        ColumnKind::TextList => &[r#"["a","b"]"#, "[1]", "[]"],
        ColumnKind::UnixTime => &["1602000000", "0"],
        ColumnKind::Time => &[
            "2026.10.12 06:10:42 (GMT+08:00)",
            "2026-10-12 06:10:42",
            "2026.10.12 14:10",
        ],
        ColumnKind::Date => &["2026-10-12"],
        ColumnKind::DurationS => &["01:00:00", "00:00:07", "25:01:02"],
        ColumnKind::Integer | ColumnKind::ReportedMinutes | ColumnKind::SmallInteger => {
            &["0", "12", "9999"]
        }
        ColumnKind::Bool => &["是", "否"],
        ColumnKind::Kbps => &["50kbps", "1.2Mbps", "0"],
        ColumnKind::Milliseconds => &["5ms", "1.2s", "0"],
        ColumnKind::Percent => &["2%", "0.5%", "100%"],
        ColumnKind::Hours => &["2", "0.5"],
        ColumnKind::Decibels => &["6dB", "-12dB", "0"],
        ColumnKind::FramesPerSecond => &["30fps", "29.5fps", "0"],
        ColumnKind::Enum(values) => {
            let value = values[random.below(values.len())];
            let text = random.of(value.texts);
            return text.replace('&', "&amp;").replace('<', "&lt;");
        }
    };
    random.of(choices).to_owned()
}

struct Maker<'r> {
    random: &'r mut Random,
    oddities: u32,
    is_odd: bool,
    size: Size,
    /// Whether cells fit their columns.
    fits: bool,
    columns: Vec<Headed>,
    strings: Vec<String>,
    /// How many cell formats there are.
    formats: usize,
}

impl Maker<'_> {
    /// Whether something odd happens here.
    fn odd(&mut self) -> bool {
        let is_odd = self.is_odd && self.oddities < 2 && self.random.one_in(110);
        self.oddities += u32::from(is_odd);
        is_odd
    }

    fn pick<'t>(&mut self, usual: &[&'t str], odd: &[&'t str]) -> &'t str {
        let choices = if self.odd() { odd } else { usual };
        self.random.of(choices)
    }

    fn text(&mut self) -> String {
        if self.random.one_in(30) {
            return "字".repeat(self.random.below(400));
        }
        self.pick(&TEXTS, &ODD_TEXTS).to_owned()
    }

    fn relations(&mut self, sheets: usize) -> String {
        let mut text = format!("{XML}<Relationships xmlns=\"{PACKAGE}\">");
        for index in 1..=sheets {
            let target = self.pick(
                &["worksheets", "/xl/worksheets"],
                &["Worksheets", "nowhere"],
            );
            let kind = self.pick(&["worksheet"], &["chartsheet", "other"]);
            let extension = self.pick(&["xml"], &["bin"]);
            write!(text, "<Relationship Id=\"rId{index}\" Type=\"{OFFICE}/{kind}\" Target=\"{target}/sheet{index}.{extension}\"/>").expect("memory");
        }
        let other = self.pick(&["rId90"], &["rId1"]);
        write!(text, "<Relationship Id=\"{other}\" Type=\"{OFFICE}/styles\" Target=\"styles.xml\"></Relationship>").expect("memory");
        let strings = self.pick(
            &["sharedStrings.xml", "/xl/sharedStrings.xml"],
            &["../x.xml"],
        );
        write!(text, "<Relationship Id=\"rId91\" Type=\"{OFFICE}/sharedStrings\" Target=\"{strings}\"/></Relationships>").expect("memory");
        text
    }

    fn workbook(&mut self, sheets: usize) -> String {
        let epoch = self.pick(
            &[
                "",
                "<workbookPr/>",
                "<workbookPr date1904=\"1\"/>",
                "<workbookPr date1904=\"false\"></workbookPr>",
                "<workbookPr date1904=\"1\"/><workbookPr/>",
                "<workbookPr date1904=\"true\"/><workbookPr date1904=\"0\"/>",
            ],
            &[
                "<x:workbookPr date1904=\"1\"/>",
                "<workbookPr date1904=\"1\" date1904=\"0\"/>",
            ],
        );
        let mut text = format!(
            "{XML}<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\">{epoch}<bookViews><workbookView/></bookViews><sheets>"
        );
        for index in 1..=sheets {
            let name = self.pick(&["数据", "R&amp;D", "Sheet"], &["&nope;", "&#10;x"]);
            let state = self.pick(
                &["", " state=\"visible\"", " state=\"hidden\""],
                &[" state=\"no\""],
            );
            let id = self.pick(&["r:id"], &["id", "x:id", "r:ID"]);
            let index_of_name = self.pick(&["own"], &["1"]);
            let suffix = if index_of_name == "own" {
                index.to_string()
            } else {
                "1".into()
            };
            write!(
                text,
                "<sheet name=\"{name}{suffix}\" sheetId=\"{index}\"{state} {id}=\"rId{index}\"/>"
            )
            .expect("memory");
        }
        text + self.pick(
            &["</sheets></workbook>", "</sheets><calcPr/></workbook>\n", "</sheets><definedNames><definedName name=\"a\">S!$A$1</definedName></definedNames></workbook>"],
            &["</sheets>", "</workbook>", "</sheets><definedNames><definedName name=\"a\">&x;</definedName></definedNames></workbook>", "</sheets></workbook><!-- end -->"],
        )
    }

    fn styles(&mut self) -> String {
        let mut text = format!("{XML}<styleSheet xmlns=\"{MAIN}\"><numFmts>");
        let codes = self.random.below(5);
        for index in 0..codes {
            let code = self.pick(&FORMATS, &["&nope;", "[[[[[[[[h]"]);
            let code = code.replace('"', "&quot;").replace("&quot;amp;", "&amp;");
            let id = self.pick(&["own"], &["14", "0165"]);
            let id = if id == "own" {
                (164 + index).to_string()
            } else {
                id.into()
            };
            write!(text, "<numFmt numFmtId=\"{id}\" formatCode=\"{code}\"/>").expect("memory");
        }
        text += self.pick(
            &[
                "</numFmts><fonts count=\"1\"><font><sz val=\"11\"/><color theme=\"1\" tint=\"0.4\"/></font></fonts><fills><fill><patternFill patternType=\"none\"/></fill></fills><borders><border><left/><right/></border></borders><cellStyleXfs><xf numFmtId=\"14\"/></cellStyleXfs><cellXfs>",
                "</numFmts><cellXfs>",
                "</numFmts><fonts><font><name val=\"A&amp;B\"/><x:name val='&#65;'/></font></fonts><cellXfs>",
            ],
            &["</numFmts><cellXfs><xf numFmtId=\"46\"><xf numFmtId=\"22\"/></xf>", "</numFmts><x:cellXfs>", "<cellXfs>", "</numFmts><fonts><font></fonts><cellXfs>", "</numFmts><fonts><font><name val=\"&nope;\"/></font></fonts><cellXfs>", "</numFmts><fonts><x:font><x:name val=\"&\"/></x:font></fonts><cellXfs>"],
        );
        self.formats = self.random.below(8);
        for _ in 0..self.formats {
            let id = match self.random.below(3) {
                0 => self.random.below(60).to_string(),
                1 => (164 + self.random.below(6)).to_string(),
                _ => self
                    .random
                    .of(&["0", "014", "22", "46", "47", "58"])
                    .to_owned(),
            };
            let format = match self.random.below(4) {
                0 => format!(
                    "<xf numFmtId=\"{id}\" fontId=\"0\" applyAlignment=\"1\"><alignment horizontal=\"left\" textRotation=\"45\"/><protection locked=\"1\"/></xf>"
                ),
                1 => "<xf fontId=\"0\"></xf>".to_owned(),
                _ => format!("<xf fillId=\"0\" borderId=\"0\" numFmtId='{id}'/>"),
            };
            text += &format;
        }
        text + self.pick(
            &["</cellXfs></styleSheet>", "</cellXfs><dxfs><dxf><font><b/></font><numFmt numFmtId=\"164\" formatCode=\"yy\"/></dxf></dxfs></styleSheet>\n"],
            &["</cellXfs>", "</cellXfs><cellXfs><xf numFmtId=\"14\"/></cellXfs></styleSheet>", "</cellXfs></styleSheet>x"],
        )
    }

    fn string_table(&mut self) -> String {
        let count = self.strings.len();
        let claim = self.pick(&["", "right", "fewer"], &["more", "-1", "huge"]);
        let claim = match claim {
            "right" => format!(" count=\"9\" uniqueCount=\"{count}\""),
            "fewer" => format!(" uniqueCount=\"{}\"", count / 2),
            "more" => format!(" uniqueCount=\"{}\"", count + 1),
            "-1" => " uniqueCount=\"-1\"".to_owned(),
            "huge" => " uniqueCount=\"99999999999999999999\"".to_owned(),
            _ => String::new(),
        };
        let strings = self.strings.concat();
        let end = self.pick(
            &["</sst>", "</sst>\n"],
            &["", "</sst><si><t>late</t></si>", "<si>"],
        );
        format!("{XML}<sst xmlns=\"{MAIN}\"{claim}>{strings}{end}")
    }

    /// Puts a string into the table and gives its index.
    fn shared(&mut self, text: &str) -> usize {
        let string = match self.random.below(8) {
            0 => format!("<si><t xml:space=\"preserve\">{text}</t></si>"),
            _ => format!("<si><t>{text}</t></si>"),
        };
        let string = match self.pick(
            &["", "blank", "empty", "empty t"],
            &["rich", "phonetic", "prefix", "space", "two"],
        ) {
            "blank" => format!("\n  {string}"),
            "empty" if self.random.one_in(9) => self.random.of(&["<si/>", "<si></si>"]).to_owned(),
            "empty t" if self.random.one_in(9) => "<si><t/></si>".to_owned(),
            "rich" => format!("<si><r><t>{text}</t></r><r><rPr><b/></rPr><t> b</t></r></si>"),
            "phonetic" => format!("<si><t>{text}</t><rPh sb=\"0\" eb=\"1\"><t>ア</t></rPh></si>"),
            "prefix" => format!("<x:si><x:t>{text}</x:t></x:si>"),
            "space" => format!("<si ><t  xml:space='preserve' >{text}</t ></si >"),
            "two" => format!("<si><t>{text}</t><t>b</t></si>"),
            _ => string,
        };
        self.strings.push(string);
        self.strings.len() - 1
    }

    fn sheet(&mut self) -> String {
        let dimension = self.pick(
            &[
                "",
                "<dimension ref=\"A1\"/>",
                "<dimension ref=\"A1\"></dimension>",
                "<dimension ref=\"A1:T99\"/>",
            ],
            &[
                "<dimension ref=\"B9:A1\"/>",
                "<dimension/>",
                "<dimension ref=\"A1:B2:C3\"/>",
                "<dimension ref=\"1\"/>",
                "<dimension ref=\"AJJJJJJJJJJJJJJ1:A1\"/>",
            ],
        );
        let view = self.pick(
            &["", "<sheetViews><sheetView workbookViewId=\"0\"><selection activeCell=\"A1\"/></sheetView></sheetViews><sheetFormatPr defaultRowHeight=\"15\"/>", "<cols><col min=\"1\" max=\"9\" width=\"20\"></col></cols>"],
            &["<!-- view -->", "<sheetPr><c/></sheetPr>", "text", "<a></b>", "<![CDATA[x]]>"],
        );
        let start = self.pick(
            &["<sheetData>"],
            &[
                "<x:sheetData>",
                "<sheetData/>",
                "<sheetData><sheetData>",
                "",
            ],
        );
        let mut text = format!(
            "{XML}<worksheet xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\">{dimension}{view}{start}"
        );
        // The header is looked for in the first 20 rows.
        let most = if self.is_odd { 25 } else { 20 };
        let titles = if self.random.one_in(10) {
            self.random.below(most)
        } else {
            0
        };
        let mut row = 0;
        for _ in 0..titles {
            row += 1;
            write!(
                text,
                "<row r=\"{row}\"><c r=\"A{row}\" t=\"inlineStr\"><is><t>title</t></is></c></row>"
            )
            .expect("memory");
        }
        row += 1;
        write!(text, "<row r=\"{row}\">").expect("memory");
        let headers: Vec<&str> = self.columns.iter().map(|column| column.0).collect();
        for (column, header) in (0..).zip(&headers) {
            let column = column_name(column);
            let header = self.pick(&[header], &[headers[0], "x"]);
            if self.random.one_in(2) {
                self.strings.push(format!("<si><t>{header}</t></si>"));
                write!(
                    text,
                    "<c r=\"{column}{row}\" t=\"s\"><v>{}</v></c>",
                    self.strings.len() - 1
                )
                .expect("memory");
            } else {
                write!(
                    text,
                    "<c r=\"{column}{row}\" t=\"inlineStr\"><is><t>{header}</t></is></c>"
                )
                .expect("memory");
            }
        }
        text += "</row>";
        row += 1;
        let marked = format!("<c r=\"A{row}\" t=\"inlineStr\"><is><t>the marked cell</t></is></c>");
        self.fitting_row(row, &marked, &mut text);
        let rows = match self.size {
            Size::Small => self.random.below(12),
            Size::Large => 2_500 + self.random.below(1_000),
        };
        for _ in 0..rows {
            row += 1;
            // In a large one that fits, a few cells that do not are no reason to refuse it whole.
            if self.fits && (self.size == Size::Small || !self.random.one_in(400)) {
                self.fitting_row(row, "", &mut text);
            } else {
                self.row(&mut row, &mut text);
            }
        }
        text + self.pick(
            &[
                "</sheetData></worksheet>",
                "</sheetData><pageMargins left=\"0.7\"/></worksheet>\n",
                "</sheetData><mergeCells><mergeCell ref=\"A1:B1\"/></mergeCells></worksheet>",
            ],
            &[
                "</sheetData>",
                "</worksheet>",
                "</sheetData></worksheet><x",
                "</sheetData><!-- c --><row r=\"1\"/></worksheet>",
                "</sheetData><c r=\"A99999999\"/></worksheet>",
                "</sheetData><sheetData/></worksheet>",
            ],
        )
    }

    /// A row of cells that fit their columns, if this case's do, behind the first cell.
    fn fitting_row(&mut self, row: u32, first: &str, text: &mut String) {
        write!(text, "<row r=\"{row}\">{first}").expect("memory");
        let columns = if self.fits { self.columns.len() } else { 0 };
        for index in 1..columns {
            let Some(column) = self.columns[index].1 else {
                continue;
            };
            let place = format!(" r=\"{}{row}\"", column_name(index as u32));
            let fitting = fitting(self.random, column);
            let cell = match column.kind {
                ColumnKind::Integer if self.random.one_in(3) => {
                    format!("<c{place}><v>{fitting}</v></c>")
                }
                ColumnKind::Bool if self.random.one_in(3) => {
                    format!("<c{place} t=\"b\"><v>1</v></c>")
                }
                _ => self.string_cell(&place, &fitting),
            };
            *text += &cell;
        }
        *text += "</row>";
    }

    fn row(&mut self, row: &mut u32, text: &mut String) {
        if self.random.one_in(9) {
            *row += self.random.below(3) as u32;
        }
        let row_name = self.pick(&["own"], &["", "0", "01", "x", "99999999", "1"]);
        let own = row.to_string();
        let row_name = if row_name == "own" { &own } else { row_name };
        let is_named = !self.random.one_in(12);
        let more = self.pick(
            &["", " spans=\"1:9\"", " ht=\"15\" customHeight=\"1\""],
            &[" r=\"2\"", " x", " a=b", " x:r=\"9\""],
        );
        // A row without a number follows the one before it, so the counter must be right then.
        let name = if is_named {
            format!(" r=\"{row_name}\"")
        } else {
            String::new()
        };
        if self.random.one_in(14) && is_named {
            write!(text, "<row{name}{more}/>").expect("memory");
            return;
        }
        write!(text, "<row{name}{more}>").expect("memory");
        let mut column = 0;
        for _ in 0..self.random.below(9) {
            if self.random.one_in(5) {
                column += self.random.below(4);
            }
            if self.random.one_in(60) {
                column += self.random.below(40);
            }
            let letters = column_name(column as u32);
            let reference = self.pick(
                &["own"],
                &["a1", "A0", "A1", "1", "ABCD1", "A99999999", "XFE2", "A٣"],
            );
            let reference = if reference == "own" {
                format!("{letters}{row_name}")
            } else {
                reference.to_owned()
            };
            // Without a number the row's cells cannot name theirs.
            let is_placed = is_named && !self.random.one_in(20);
            let place = if is_placed {
                format!(" r=\"{reference}\"")
            } else {
                String::new()
            };
            *text += &self.cell(&place);
            *text += self.pick(
                &["", "", "", "\n  "],
                &["x", "&amp;", "<!-- c -->", "<d/>", "]]>"],
            );
            column += 1;
        }
        *text += self.pick(&["</row>"], &["", "</x:row>", "</row></row>"]);
    }

    fn style(&mut self) -> String {
        match self.random.below(3) {
            0 => String::new(),
            _ => {
                let index = self.random.below(self.formats + 2).to_string();
                let index = self
                    .pick(&["own"], &["-1", "", "99999999999", "x"])
                    .replace("own", &index);
                format!(" s=\"{index}\"")
            }
        }
    }

    fn string_cell(&mut self, place: &str, text: &str) -> String {
        let style = self.style();
        match self.random.below(3) {
            0 => format!("<c{place}{style} t=\"inlineStr\"><is><t>{text}</t></is></c>"),
            1 => format!("<c{place} t=\"str\"{style}><v>{text}</v></c>"),
            _ => {
                let index = self.shared(text);
                format!("<c{place}{style} t=\"s\"><v>{index}</v></c>")
            }
        }
    }

    fn cell(&mut self, place: &str) -> String {
        let style = self.style();
        if self.odd() {
            return self.odd_cell(place, &style);
        }
        match self.random.below(12) {
            0..4 => {
                let text = self.text();
                self.string_cell(place, &text)
            }
            4 => {
                let text = self.text();
                format!(
                    "<c{place}{style} t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>"
                )
            }
            5 => format!("<c{place}{style}/>"),
            6 => self
                .random
                .of(&[
                    "<c@></c>",
                    "<c@ t=\"str\"><v></v></c>",
                    "<c@ t=\"n\"><v></v></c>",
                    "<c@ t=\"inlineStr\"><is><t></t></is></c>",
                    "<c@ t=\"inlineStr\"><is><t/></is></c>",
                    "<c@ t=\"s\"></c>",
                    "<c@ t=\"b\"><v></v></c>",
                ])
                .replace('@', place),
            7 => format!(
                "<c{place}{style} t=\"b\"><v>{}</v></c>",
                self.pick(&["0", "1"], &["true", "FALSE", " 1", "2", "01"])
            ),
            8 => format!(
                "<c{place}{style} t=\"e\"><v>{}</v></c>",
                self.pick(
                    &[
                        "#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"
                    ],
                    &["#SPILL!", "#GETTING_DATA", " #N/A"]
                )
            ),
            _ => {
                let number = self.pick(&NUMBERS, &ODD_NUMBERS);
                let kind = self.pick(
                    &["", " t=\"n\""],
                    &[" t=\"str\"", " t=\"d\"", " t=\"x\"", " t=\"s\""],
                );
                format!("<c{place}{style}{kind}><v>{number}</v></c>")
            }
        }
    }

    fn odd_cell(&mut self, place: &str, style: &str) -> String {
        let body = self.random.of(&[
            "<c@><f>1+1</f><v>2</v></c>",
            "<c@ t=\"str\"><f>A1&amp;B1</f><v>ab</v></c>",
            "<c@ t=\"inlineStr\"><is><r><t>a</t></r><r><t>b</t></r></is></c>",
            "<c@ t=\"inlineStr\"><is/></c>",
            "<c@ t=\"inlineStr\"><v>1</v></c>",
            "<c@ t=\"inlineStr\"><is><t>a</t></is><v>1</v></c>",
            "<c@ t=\"s\"><v>-1</v></c>",
            "<c@ t=\"s\"><v>99999</v></c>",
            "<c@ t=\"s\"><v>1e0</v></c>",
            "<c@ t=\"s\"><v></v></c>",
            "<c@ t=\"s\"><v/></c>",
            "<c@><v/></c>",
            "<c@><is><t>no type</t></is></c>",
            "<c@><v>1</v><v>2</v></c>",
            "<c@><v>1</v>x</c>",
            "<c@><v>&#49;</v></c>",
            "<c@><v>1<!-- --></v></c>",
            "<c@><v xml:space=\"preserve\"> 1</v></c>",
            "<c@ t=\"str\"><v xml:space=\"preserve\"> a </v></c>",
            "<c@ t='str'><v>a</v></c>",
            "<c@ t = \"str\"><v>a</v></c>",
            "<c@ cm=\"1\" vm=\"2\" xml:space=\"preserve\"><v>1</v></c>",
            "<c@ t=\"d\"><v>2026-10-12T06:10:42</v></c>",
            "<c@ t=\"n\" t=\"str\"><v>1</v></c>",
            "<c@ q=\"a>b\"><v>1</v></c>",
            "<c@ q=\"<\"><v>1</v></c>",
            "<c@><x>1</x></c>",
            "<c@><v>1</c>",
            "<c@ >\n<v>7</v>\n</c>",
            "<x:c@><x:v>1</x:v></x:c>",
            "<c@><v>1</v></c ><c/>",
            "<C@><v>1</v></C>",
            "<c@ t=\"s\"><v>0</v></c",
            "<c@ t=\"str\"><v>\0</v></c>",
            "<c@\tt=\"b\"\n><v>1</v></c>",
            "<c@/ >",
            "<c@></c><c@/>",
        ]);
        body.replace('@', &format!("{place}{style}"))
    }
}

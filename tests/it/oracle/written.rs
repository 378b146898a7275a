//! Workbooks by dice, in the hand of another writer: shared strings, native dates, and what else a spreadsheet program leaves behind.

use meetlake::testing::dataset::Dataset;
use rust_xlsxwriter::{
    ExcelDateTime, Format, FormatAlign, FormatBorder, Formula, Note, Table, Workbook, Worksheet,
    XlsxError,
};

use super::cases::{self, Random};

const FORMATS: [&str; 8] = [
    "General",
    "yyyy-mm-dd hh:mm:ss",
    "[h]:mm:ss",
    "0.00%",
    "#,##0.00_);[Red](#,##0.00)",
    "[$-804]yyyy\"年\"m\"月\"d\"日\"",
    "@",
    "mm:ss.0",
];
const TEXTS: [&str; 8] = [
    "",
    " leading",
    "a & b < c > \"d\"",
    "two\nlines\r\n",
    "_x000D_",
    "😀字",
    "\u{1}\u{b}",
    "=1+1",
];

/// A workbook, and what it is a list of.
pub(super) fn workbook(random: &mut Random) -> (Dataset, Vec<u8>) {
    let exports: Vec<Dataset> = Dataset::ALL
        .into_iter()
        .filter(|dataset| dataset.is_export())
        .collect();
    let dataset = exports[random.below(exports.len())];
    let mut workbook = Workbook::new();
    let formats = formats(random);
    // What our own reader does not know is in some files only, or it would read none.
    let is_plain = random.one_in(2);
    for _ in 0..1 + random.below(2) {
        let sheet = workbook.add_worksheet();
        fill(sheet, random, dataset, &formats, is_plain).expect("a sheet");
    }
    if random.one_in(4) {
        workbook
            .define_name("meetings", "=Sheet1!$A$1")
            .expect("a name");
    }
    (dataset, workbook.save_to_buffer().expect("a workbook"))
}

fn formats(random: &mut Random) -> Vec<Format> {
    let count = 1 + random.below(6);
    let format = |_| {
        let format = Format::new().set_num_format(random.of(&FORMATS));
        match random.below(4) {
            0 => format.set_bold().set_font_name("微软雅黑"),
            1 => format
                .set_border(FormatBorder::Thin)
                .set_background_color("#C6EFCE"),
            2 => format.set_align(FormatAlign::Center).set_text_wrap(),
            _ => format,
        }
    };
    (0..count).map(format).collect()
}

fn fill(
    sheet: &mut Worksheet,
    random: &mut Random,
    dataset: Dataset,
    formats: &[Format],
    is_plain: bool,
) -> Result<(), XlsxError> {
    let columns = cases::columns(random, dataset, true);
    let last = columns.len() as u16 - 1;
    for (index, (header, _)) in (0..).zip(&columns) {
        sheet.write(0, index, *header)?;
    }
    let rows = random.below(30) as u32;
    for row in 1..=rows {
        for (index, (_, column)) in (0..).zip(&columns) {
            match column {
                Some(column) if !random.one_in(25) => {
                    let text = cases::fitting(random, column);
                    sheet.write(row, index, text)?;
                }
                _ => cell(sheet, random, (row, index), formats, is_plain)?,
            }
        }
    }
    if random.one_in(3) {
        sheet.set_freeze_panes(1, 0)?;
        sheet.set_column_width(0, 22)?;
        sheet.autofilter(0, 0, rows, last)?;
    } else if random.one_in(4) && rows > 0 {
        sheet.add_table(0, 0, rows, last, &Table::new())?;
    }
    if random.one_in(5) {
        sheet.insert_note(0, 0, &Note::new("a note"))?;
    }
    if random.one_in(5) {
        sheet.merge_range(rows + 2, 0, rows + 3, 2, "merged", &formats[0])?;
    }
    Ok(())
}

/// Any kind of cell.
fn cell(
    sheet: &mut Worksheet,
    random: &mut Random,
    (row, column): (u32, u16),
    formats: &[Format],
    is_plain: bool,
) -> Result<(), XlsxError> {
    let format = &formats[random.below(formats.len())];
    let number = random.below(2_000_000) as f64 / [1.0, 3.0, 86_400.0][random.below(3)] - 5.0;
    let kinds = if is_plain { 7 } else { 10 };
    match random.below(kinds) {
        0 => sheet.write_string(row, column, random.of(&TEXTS)),
        1 => sheet.write_string_with_format(row, column, random.of(&TEXTS), format),
        2 => sheet.write_number(row, column, number),
        3 => sheet.write_number_with_format(row, column, number, format),
        4 => sheet.write_boolean(row, column, random.one_in(2)),
        5 => sheet.write_blank(row, column, format),
        6 => {
            let time = ExcelDateTime::from_serial_datetime(number.abs().min(60_000.0))?;
            sheet.write_datetime_with_format(row, column, time, format)
        }
        7 => sheet.write_formula(row, column, Formula::new("=1+1").set_result("2")),
        8 => {
            let pieces = [(format, "bold "), (&Format::new(), "plain")];
            sheet.write_rich_string(row, column, &pieces)
        }
        _ => sheet.write_url(row, column, "https://example.com/?a=1&b=2"),
    }
    .map(drop)
}

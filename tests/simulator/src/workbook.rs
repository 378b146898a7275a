//! A table becomes the bytes of an `.xlsx` file.
//!
//! The same table gives the same bytes: the creation date is fixed. What stands in the table is not known here.

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Workbook, Worksheet, XlsxError};

use crate::knobs::ExtraSheets;

/// A header and its rows; every row is as long as the header.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// What stands in a cell; an empty text is an absent cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Number(u64),
}

/// The file of `table`.
///
/// # Errors
/// When the table has more rows or longer texts than a sheet can hold.
pub(crate) fn bytes(table: &Table, extra_sheets: ExtraSheets) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let created = ExcelDateTime::from_ymd(2026, 1, 1)?.and_hms(0, 0, 0)?;
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created));
    match extra_sheets {
        ExtraSheets::None => write(workbook.add_worksheet(), table, &table.rows)?,
        ExtraSheets::Notes => {
            write(workbook.add_worksheet(), table, &table.rows)?;
            let notes = workbook.add_worksheet();
            notes.set_name("说明")?;
            notes.write_string(0, 0, "本文件由系统导出")?;
            notes.write_string(1, 0, "如有疑问请联系管理员")?;
        }
        ExtraSheets::Split => {
            let (first, second) = table.rows.split_at(table.rows.len().div_ceil(2));
            write(workbook.add_worksheet(), table, first)?;
            write(workbook.add_worksheet(), table, second)?;
        }
    }
    workbook.save_to_buffer()
}

fn write(sheet: &mut Worksheet, table: &Table, rows: &[Vec<Cell>]) -> Result<(), XlsxError> {
    for (column, text) in table.header.iter().enumerate() {
        sheet.write_string(0, column as u16, text)?;
    }
    for (row, cells) in rows.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let (row, column) = (row as u32 + 1, column as u16);
            match cell {
                Cell::Text(text) if text.is_empty() => continue,
                Cell::Text(text) => sheet.write_string(row, column, text)?,
                Cell::Number(number) => sheet.write_number(row, column, *number as f64)?,
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_table_gives_the_same_bytes() {
        let table = Table {
            header: vec!["a".to_owned()],
            rows: vec![vec![Cell::Text("=1+1".to_owned())], vec![Cell::Number(3)]],
        };
        for extra in [ExtraSheets::None, ExtraSheets::Notes, ExtraSheets::Split] {
            let file = bytes(&table, extra).unwrap();
            assert!(file.starts_with(b"PK\x03\x04"));
            assert_eq!(file, bytes(&table, extra).unwrap());
        }
    }
}

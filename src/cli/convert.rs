//! `meetlake convert`: converts a workbook that was downloaded by hand to Parquet.
//!
//! Exit codes: 0 the file is written (rejected cells are reported and kept in `_extra`); 2 the
//! arguments are wrong or the input is not there; 7 the data broke its contract: no file if the
//! workbook was refused, or the file without the rows that lack a key; 1 the input cannot be read;
//! 8 the output cannot be written.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::convert::{self, Conversion, ConversionReport, Error};
use crate::datasets::{Dataset, Lineage, TopUserOrder, UserIdType};
use crate::decode::{self, Fallback};
use crate::exit::Code;
use crate::normalize::{Findings, cell};
use crate::table::Cell;
use crate::text::harmless;

/// How many rejects are printed.
const PRINTED: usize = 20;
const KEYS: [&str; 10] = [
    "meeting_no",
    "meeting_start_time",
    "meeting_end_time",
    "join_time",
    "user_id",
    "room_id",
    "room_level_id",
    "order_by",
    "user_id_type",
    "snapshot_date",
];

/// Arguments of `convert`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What the file holds, such as `meeting_list`
    #[arg(long, value_name = "NAME")]
    pub dataset: Dataset,
    /// Zone of date-times that name none
    #[arg(long, value_name = "ZONE", default_value = "Asia/Shanghai")]
    pub time_zone: String,
    /// A value that only the export task knows, such as `meeting_no=123456789`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The Parquet file to write
    #[arg(long, value_name = "FILE.parquet")]
    pub out: PathBuf,
    /// The workbook, the JSON answer of a report, or the zip of a listing's pages
    #[arg(value_name = "FILE.xlsx")]
    pub input: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and gives its exit code. `fallback` reads the files that our own reader does
/// not support.
#[must_use]
pub fn run(args: &Args, fallback: &Fallback) -> Code {
    let outcome = match conversion(args, fallback) {
        Ok(conversion) => convert::file(&conversion),
        Err(problem) => {
            print_problem(args, &problem, None);
            return Code::Usage;
        }
    };
    match outcome {
        Ok(report) => {
            print_report(args, &report);
            if report.findings.rows_quarantined > 0 {
                Code::Contract
            } else {
                Code::Done
            }
        }
        Err(error) => {
            print_problem(args, &error.to_string(), findings_of(&error));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &Error) -> Code {
    match error {
        Error::Input { source, .. } if source.kind() == ErrorKind::NotFound => Code::Usage,
        Error::Input { source, .. } if source.kind() == ErrorKind::FileTooLarge => Code::Contract,
        Error::Input { .. }
        | Error::Decode {
            source: decode::Error::NoReader(_),
            ..
        } => Code::Unexpected,
        Error::Decode { .. } | Error::Quarantined { .. } => Code::Contract,
        Error::Output { .. } => Code::Storage,
    }
}

fn findings_of(error: &Error) -> Option<&Findings> {
    match error {
        Error::Quarantined { source, .. } => Some(&source.findings),
        _ => None,
    }
}

fn conversion(args: &Args, fallback: &Fallback) -> Result<Conversion, String> {
    if let (Ok(input), Ok(out)) = (args.input.canonicalize(), args.out.canonicalize())
        && input == out
    {
        return Err("--out is the input itself, which would be overwritten".to_owned());
    }
    let time_zone = TimeZone::get(&args.time_zone).map_err(|_| {
        let name = &args.time_zone;
        format!("`{name}` is not an IANA time zone, such as Asia/Shanghai")
    })?;
    Ok(Conversion {
        dataset: args.dataset,
        lineage: lineage(&args.settings, &time_zone)?,
        time_zone,
        input: args.input.clone(),
        output: args.out.clone(),
        fallback: fallback.clone(),
    })
}

/// The values of `--set`, in the formats of the sheets. The last value of a key wins.
fn lineage(settings: &[String], zone: &TimeZone) -> Result<Lineage, String> {
    let mut lineage = Lineage::default();
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("`--set {setting}` is not KEY=VALUE"))?;
        set(&mut lineage, key, value, zone)?;
    }
    Ok(lineage)
}

fn set(lineage: &mut Lineage, key: &str, value: &str, zone: &TimeZone) -> Result<(), String> {
    let text = || Some(value.to_owned());
    let time = || match cell::time(&Cell::Text(value.into()), zone) {
        Ok(time) => Ok(time),
        Err(fault) => Err(format!("`--set {key}={value}` {fault}")),
    };
    match key {
        "meeting_no" => lineage.meeting_no = meeting_no(value)?,
        "user_id" => lineage.user_id = text(),
        "room_id" => lineage.room_id = text(),
        "room_level_id" => lineage.room_level_id = text(),
        "meeting_start_time" => lineage.meeting_start_time = time()?,
        "meeting_end_time" => lineage.meeting_end_time = time()?,
        "join_time" => lineage.join_time = time()?,
        "order_by" => lineage.order_by = Some(order(value)?),
        "user_id_type" => lineage.user_id_type = Some(user_id_type(value)?),
        "snapshot_date" => lineage.snapshot_date = Some(day(value)?),
        _ => return Err(unknown_key(key)),
    }
    Ok(())
}

fn meeting_no(value: &str) -> Result<Option<String>, String> {
    match cell::meeting_no(&Cell::Text(value.into())) {
        Ok(number) => Ok(number.map(Cow::into_owned)),
        Err(fault) => Err(format!("`--set meeting_no={value}` {fault}")),
    }
}

fn order(value: &str) -> Result<TopUserOrder, String> {
    let all = [TopUserOrder::MeetingCount, TopUserOrder::MeetingDuration];
    all.into_iter()
        .find(|order| order.as_str() == value)
        .ok_or_else(|| {
            format!("`--set order_by={value}` is neither meeting_count nor meeting_duration")
        })
}

fn user_id_type(value: &str) -> Result<UserIdType, String> {
    let all = [UserIdType::OpenId, UserIdType::UnionId, UserIdType::UserId];
    all.into_iter()
        .find(|kind| kind.as_str() == value)
        .ok_or_else(|| {
            format!("`--set user_id_type={value}` is none of open_id, union_id, user_id")
        })
}

fn day(value: &str) -> Result<Date, String> {
    value
        .parse()
        .map_err(|_| format!("`--set snapshot_date={value}` is no day like 2026-11-19"))
}

fn unknown_key(key: &str) -> String {
    let nearest = KEYS
        .into_iter()
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)))
        .expect("there are keys");
    format!(
        "`--set {key}=…` has an unknown key; did you mean `{nearest}`? The keys are {}",
        KEYS.join(", ")
    )
}

fn print_problem(args: &Args, problem: &str, findings: Option<&Findings>) {
    if args.json {
        let report = json!({ "error": problem, "findings": findings });
        println!("{}", harmless(&report.to_string()));
    }
    let details = findings.map(describe).unwrap_or_default();
    eprintln!("meetlake convert: {}\n{details}", harmless(problem));
}

fn print_report(args: &Args, report: &ConversionReport) {
    if args.json {
        let out = args.out.display().to_string();
        let report = json!({ "out": out, "report": report });
        println!("{}", harmless(&report.to_string()));
        return;
    }
    let (rows, dataset) = (report.findings.rows_out, args.dataset);
    println!(
        "{}: {rows} rows of {dataset} from {}",
        args.out.display(),
        harmless(&report.sheets.join(", "))
    );
    for (sheet, reason) in &report.ignored_sheets {
        println!("  sheet {} was not converted: {reason}", harmless(sheet));
    }
    print!("{}", reader(&report.findings));
    print!("{}", describe(&report.findings));
}

/// A line with the reason if the slower reader had to read the file; else nothing.
fn reader(findings: &Findings) -> String {
    let why = findings.left_to_calamine.as_deref();
    why.map(|why| format!("  read by calamine, because {}\n", harmless(why)))
        .unwrap_or_default()
}

/// The findings as indented lines with places and reasons, but no values.
fn describe(findings: &Findings) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        if !value.is_empty() && value != "0" {
            writeln!(text, "  {}: {}", harmless(what), harmless(&value))
                .expect("writing to a string");
        }
    };
    line("blank rows skipped", findings.rows_blank.to_string());
    for (what, value) in findings.remarks() {
        line(&what, value);
    }
    line(
        "rows left out, without their key",
        findings.rows_quarantined.to_string(),
    );
    line(
        "cells that do not fit, kept in _extra",
        findings.cells_rejected.to_string(),
    );
    line(
        "values unknown to an enumeration, kept in _extra",
        findings.unknown_values.to_string(),
    );
    line(
        "unknown columns, kept in _extra",
        findings.extra_columns.join(", "),
    );
    line("missing columns", findings.missing_columns.join(", "));
    line(
        "columns without any value",
        findings.blank_columns.join(", "),
    );
    for reject in findings.rejects.iter().take(PRINTED) {
        let place = format!("{}!{} ({})", reject.sheet, reject.cell, reject.column);
        line(&place, reject.reason.to_string());
    }
    let named = findings.rejects.len().min(PRINTED) as u64;
    let all = findings.rejects.len() as u64 + findings.rejects_unnamed;
    if all > named {
        line("and more", (all - named).to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_fill_the_lineage() {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        let settings = [
            "meeting_no=123",
            "join_time=2026-10-12T06:00:00Z",
            "meeting_start_time=2026.10.12 14:00:00",
        ];
        let lineage = lineage(&settings.map(str::to_owned), &zone).expect("good settings");
        assert_eq!(lineage.meeting_no.as_deref(), Some("123"));
        assert_eq!(lineage.join_time, lineage.meeting_start_time);
    }

    #[test]
    fn a_misspelt_setting_names_the_nearest() {
        let error = lineage(&["meting_no=1".to_owned()], &TimeZone::UTC).expect_err("no such key");
        assert!(error.contains("did you mean `meeting_no`"), "{error}");
        let error = lineage(&["join_time=noon".to_owned()], &TimeZone::UTC).expect_err("no time");
        assert!(error.contains("is no date-time"), "{error}");
    }

    #[test]
    fn text_names_the_reader_only_if_it_was_calamine() {
        let mut findings = Findings::default();
        assert_eq!(reader(&findings), "");
        findings.left_to_calamine = Some("a text is too long".to_owned());
        assert_eq!(
            reader(&findings),
            "  read by calamine, because a text is too long\n"
        );
    }

    #[test]
    fn exit_codes_say_what_went_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
        let html = folder.path().join("error.xlsx");
        std::fs::write(&html, "<html>expired</html>").expect("a file");
        let good = PathBuf::from(format!("{fixtures}observed_meeting_list.xlsx"));
        let output = folder.path().join("out.parquet");
        let nowhere = folder.path().join("no/such/folder/out.parquet");
        let absent = folder.path().join("absent.xlsx");
        for (input, dataset, zone, out, code) in [
            (&good, Dataset::MeetingList, "Asia/Shanghai", &output, 0),
            (&good, Dataset::MeetingList, "Asia/Shangai", &output, 2),
            (&absent, Dataset::MeetingList, "UTC", &output, 2),
            (
                &folder.path().to_path_buf(),
                Dataset::MeetingList,
                "UTC",
                &output,
                1,
            ),
            (&good, Dataset::ParticipantList, "UTC", &output, 7),
            (&html, Dataset::MeetingList, "UTC", &output, 7),
            (&good, Dataset::MeetingList, "UTC", &nowhere, 8),
        ] {
            let args = Args {
                dataset,
                time_zone: zone.into(),
                settings: Vec::new(),
                out: out.clone(),
                input: input.clone(),
                json: false,
            };
            assert_eq!(
                run(&args, &Fallback::in_this_process()).number(),
                code,
                "{}",
                input.display()
            );
        }
    }

    #[test]
    fn a_report_converts_and_a_row_without_its_key_is_code_7() {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, out) = (
            folder.path().join("in.json"),
            folder.path().join("out.parquet"),
        );
        let row = r#"{"date":"1609113600","meeting_count":"3"}"#;
        for (rows, code) in [
            (vec![row], 0),
            (
                [vec![row; 30], vec![r#"{"meeting_count":"3"}"#]].concat(),
                7,
            ),
        ] {
            let list = rows.join(",");
            let body =
                format!(r#"{{"code":0,"data":{{"meeting_report":{{"daily_report":[{list}]}}}}}}"#);
            std::fs::write(&input, body).expect("a file");
            let args = Args {
                dataset: Dataset::DailyReport,
                time_zone: "Asia/Shanghai".into(),
                settings: Vec::new(),
                out: out.clone(),
                input: input.clone(),
                json: true,
            };
            assert_eq!(run(&args, &Fallback::in_this_process()).number(), code);
            assert!(out.exists());
        }
    }
}

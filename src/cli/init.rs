//! `meetlake init [DIR]`: writes a configuration to start from, with one job for each dataset.
//!
//! It writes missing files and leaves existing ones alone. It asks no questions and connects to
//! nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::datasets::Dataset;
use crate::exit;

/// The files, relative to the folder: the configuration, and a job for each dataset.
fn files() -> Vec<(String, &'static str)> {
    let job = |dataset: Dataset| {
        let path = format!("jobs/{dataset}.toml");
        (path, dataset.definition().job_file)
    };
    let mut files = vec![
        (
            "meetlake.toml".to_owned(),
            include_str!("init/meetlake.toml"),
        ),
        (".env.example".to_owned(), include_str!("init/env.example")),
    ];
    files.extend(Dataset::ALL.map(job));
    files
}

/// Arguments of `init`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder to write into; made if it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Writes the files that are missing and says what to do next.
///
/// # Errors
/// A file or folder cannot be written. Files written before stay.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<exit::Code> {
    for (name, content) in files() {
        let path = args.dir.join(&name);
        let was_written = write_new(&path, content)
            .with_context(|| format!("could not write {}", path.display()))?;
        let what = if was_written {
            "wrote"
        } else {
            "kept, exists:"
        };
        writeln!(out, "{what} {}", path.display())?;
    }
    write!(out, "{}", next_steps(&args.dir))?;
    Ok(exit::Code::Done)
}

/// Writes a file unless it exists; `false` if it exists.
fn write_new(path: &Path, content: &str) -> io::Result<bool> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(content.as_bytes()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn next_steps(dir: &Path) -> String {
    let go = if dir == Path::new(".") {
        String::new()
    } else {
        format!("cd {}\n   ", dir.display())
    };
    let scopes = scopes().join(",\n   ");
    format!(
        "
Next:
1. In the developer console, give your app the scopes
   {scopes};
   its creator needs the admin role for meeting management.
2. {go}cp .env.example .env      fill in app id and secret, then: set -a; . ./.env; set +a
3. Set the tenant's name and the lake in meetlake.toml; remove jobs that you do not need.
4. meetlake validate           checks the files and shows when each job fires
   meetlake doctor             checks token, scopes, role and bucket
   meetlake run                exports what is due now;  meetlake serve  does so every night
"
    )
}

/// The narrowest scope of each dataset, each once.
fn scopes() -> Vec<&'static str> {
    let mut scopes: Vec<&str> = Vec::new();
    // Events need an inlet first, and scopes of their own then; so does what is switched off.
    let is_off = |dataset: &Dataset| {
        dataset.is_received()
            || dataset
                .definition()
                .job_file
                .contains("\nenabled = false\n")
    };
    for scope in Dataset::ALL
        .iter()
        .filter(|dataset| !is_off(dataset))
        .filter_map(|dataset| dataset.definition().scopes.first())
    {
        if !scopes.contains(scope) {
            scopes.push(scope);
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::datasets::Dataset;

    fn environment(name: &str) -> Option<String> {
        match name {
            "FEISHU_APP_ID" => Some("cli_a000000000000001".to_owned()),
            "FEISHU_APP_SECRET" => Some("simulator-secret".to_owned()),
            _ => None,
        }
    }

    fn init(dir: &Path) -> String {
        let mut out = Vec::new();
        let args = Args {
            dir: dir.to_owned(),
        };
        assert_eq!(run(&args, &mut out).expect("written"), exit::Code::Done);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn what_init_writes_is_a_valid_configuration_of_all_datasets() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path());
        let config = config::load(&dir.path().join(config::FILE_NAME), &environment)
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert!(config.warnings.is_empty());
        for dataset in Dataset::ALL {
            let is_on = config.jobs.iter().any(|job| job.dataset == dataset);
            let is_off = config
                .jobs_off
                .iter()
                .any(|off| off.spec.dataset == dataset);
            // Without an inlet no event comes in; what costs a call for each room, or needs ids,
            // waits until somebody switches it on.
            let names = ["room_config", "reserve_config", "reserve"];
            let waits = dataset.is_received() || names.contains(&dataset.as_str());
            assert_eq!((is_on, is_off), (!waits, waits), "{dataset}");
        }
    }

    #[test]
    fn without_its_variables_it_names_both() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path());
        let problems = config::load(&dir.path().join(config::FILE_NAME), &|_| None)
            .expect_err("two variables are missing");
        assert_eq!(problems.as_slice().len(), 2, "{problems}");
    }

    #[test]
    fn commented_defaults_are_the_defaults() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path());
        let path = dir.path().join(config::FILE_NAME);
        let plain = config::load(&path, &environment).expect("valid");
        let text = fs::read_to_string(&path).expect("written");
        let (head, defaults) = text.split_once("# Everything below").expect("the marker");
        let (_, defaults) = defaults.split_once('\n').expect("a line break");
        let (jobs_key, sections) = defaults.split_once("\n\n").expect("sections after the key");
        let jobs_key = jobs_key.replace("# jobs", "jobs");
        let sections = sections.replace("\n# ", "\n").replacen("# ", "", 1);
        let (top, rest) = head.split_once("version = 1").expect("a version");
        fs::write(
            &path,
            format!("{top}version = 1\n{jobs_key}\n{rest}\n{sections}"),
        )
        .expect("written");
        let explicit =
            config::load(&path, &environment).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(explicit.ledger_path, plain.ledger_path);
        assert_eq!(explicit.spool_path, plain.spool_path);
        assert_eq!(explicit.serve, plain.serve);
        // The only number without a default.
        let mut limits = explicit.limits;
        limits.calls.reports = None;
        assert_eq!(limits, plain.limits);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let mine = dir.path().join("meetlake.toml");
        fs::write(&mine, "mine").expect("written");
        let said = init(dir.path());
        assert!(
            said.contains(&format!("kept, exists: {}", mine.display())),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&mine).expect("still there"), "mine");
        let again = init(dir.path());
        assert!(!again.contains("wrote"), "{again}");
    }
}

//! `meetlake api`: any call of the video-meeting API, with the tenant's token, limits and errors
//! explained as for every other call; the answer goes to standard output.
//!
//! ```text
//! arguments ─► reads? ──────────────────────────────► call ─► blank secrets ─► standard output
//!                 └ no: --write, another app, a yes ─► record ─► call ─► record ┘
//! ```
//! What changes something is refused unless it was meant three times over: by a flag, by the
//! configuration of an app that may write, and by a person or `--yes`.

mod record;

use std::fs::{self, File};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::Value;

use super::{Common, open};
use crate::client::{self, AskedAnswer, AskedCall, Client};
use crate::clock::Clock;
use crate::config::{Config, TenantConfig, WriteApp};
use crate::datasets::{ApiPath, Method, without_named_secrets};
use crate::exit::Code;
use crate::text::harmless;
use record::WriteRecord;

/// How often it is looked whether something is waited for.
const TELLS_AFTER: Duration = Duration::from_millis(300);

/// The largest body that is sent.
const LARGEST_BODY_BYTES: u64 = 1 << 20;

/// Arguments of `meetlake api`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(value_parser = Method::from_str)]
    pub method: Method,
    /// What is called, below `open-apis/vc/v1`, such as `rooms/omm_1`.
    #[arg(value_parser = ApiPath::parse)]
    pub path: ApiPath,
    /// A parameter of the URL; repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub query: Vec<(String, String)>,
    /// A file with the JSON that is sent; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Which tenant, if there are several.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Let the call change something: in the name of the tenant's `write_app`, and recorded.
    #[arg(long)]
    pub write: bool,
    /// Do not ask before something is changed.
    #[arg(long)]
    pub yes: bool,
    /// Print passwords and tokens of the answer too.
    #[arg(long)]
    pub show_secrets: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Makes the call and prints its answer.
///
/// # Errors
/// When standard input cannot be used, or a client cannot be made.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, false)? else {
        return Ok(Code::Usage);
    };
    let prepared = tenant(&config, args).and_then(|tenant| Ok((tenant, asked(args)?)));
    let (tenant, asked) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return Ok(refuse(&why)),
    };
    let clock = Clock::system();
    if args.path.reads(args.method) {
        let client = open::client(&config, tenant, &clock)?;
        let outcome = ask(&client, &asked).await;
        return Ok(show(args, outcome));
    }
    let app = match writing_app(args, tenant) {
        Ok(app) => app,
        Err(why) => return Ok(refuse(&why)),
    };
    if !is_meant(args, &asked, tenant, app)? {
        return Ok(Code::Usage);
    }
    let client = open::write_client(&config, tenant, app, &clock)?;
    let code = write(&config, tenant, app, &asked, &client, &clock, args).await;
    Ok(code)
}

fn refuse(why: &str) -> Code {
    eprintln!("error: {why}");
    Code::Usage
}

/// The tenant that is meant.
fn tenant<'c>(config: &'c Config, args: &Args) -> Result<&'c TenantConfig, String> {
    let names: Vec<&str> = config.tenants.keys().map(String::as_str).collect();
    let names = names.join(", ");
    match &args.tenant {
        Some(name) => {
            let tenant = config.tenants.get(name);
            tenant.ok_or_else(|| format!("there is no tenant `{name}`; there is {names}"))
        }
        None => match config.tenants.len() {
            1 => Ok(config.tenants.values().next().expect("there is one")),
            _ => Err(format!("which tenant? Add --tenant with one of {names}")),
        },
    }
}

/// The call that is asked for.
fn asked(args: &Args) -> Result<AskedCall, String> {
    if args.body.is_some() && args.method == Method::Get {
        return Err("a GET has no body; write its parameters as --query NAME=VALUE".to_owned());
    }
    Ok(AskedCall {
        method: args.method,
        path: args.path.clone(),
        query: args.query.clone(),
        body: args.body.as_ref().map(body).transpose()?,
    })
}

/// The JSON in a file. Messages tell nothing of what is in it.
fn body(path: &PathBuf) -> Result<Value, String> {
    let name = path.display();
    let mut bytes = Vec::new();
    // Opening a pipe would wait for whoever writes into it.
    let is_other = fs::metadata(path).is_ok_and(|data| !data.is_file());
    if is_other && path.to_str() != Some("-") {
        return Err(format!(
            "--body {name} is no regular file; give it on standard input, with --body -"
        ));
    }
    let read = match path.to_str() {
        Some("-") => io::stdin()
            .lock()
            .take(LARGEST_BODY_BYTES + 1)
            .read_to_end(&mut bytes),
        _ => File::open(path)
            .and_then(|file| file.take(LARGEST_BODY_BYTES + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| format!("--body {name} cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST_BODY_BYTES {
        return Err(format!(
            "--body {name} has more than {LARGEST_BODY_BYTES} bytes"
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("--body {name} is no JSON (line {line}, column {column})")
    })
}

/// The app in whose name something may be changed.
fn writing_app<'t>(args: &Args, tenant: &'t TenantConfig) -> Result<&'t WriteApp, String> {
    let what = format!("{} {}", args.method.as_str(), args.path);
    if !args.write {
        return Err(format!(
            "{what} may change something; add --write if that is meant"
        ));
    }
    tenant.write_app.as_ref().ok_or_else(|| {
        let name = &tenant.name;
        format!(
            "{what} needs another app than the one that reads: add [tenants.{name}.write_app] \
             with app_id and app_secret to the configuration"
        )
    })
}

/// Says what is about to be changed, and asks where a person can answer.
fn is_meant(args: &Args, asked: &AskedCall, tenant: &TenantConfig, app: &WriteApp) -> Result<bool> {
    let sent = asked.body.as_ref().map_or(0, |body| body.to_string().len());
    eprintln!(
        "{} {} at {} of tenant {}, as app {}, with {} parameters and a body of {sent} bytes.",
        asked.method.as_str(),
        asked.path,
        tenant.host,
        tenant.name,
        app.app_id,
        asked.query.len(),
    );
    if args.yes {
        return Ok(true);
    }
    let reads_body = args
        .body
        .as_ref()
        .is_some_and(|path| path.to_str() == Some("-"));
    if reads_body || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        eprintln!("error: nobody can be asked here; add --yes if that is meant");
        return Ok(false);
    }
    eprint!("Is that meant? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let is_meant = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_meant {
        eprintln!("Nothing was sent.");
    }
    Ok(is_meant)
}

/// Makes a call that changes something, between two lines of the record.
async fn write(
    config: &Config,
    tenant: &TenantConfig,
    app: &WriteApp,
    asked: &AskedCall,
    client: &Client,
    clock: &Clock,
    args: &Args,
) -> Code {
    let begun = WriteRecord::open(&config.ledger_path).and_then(|mut record| {
        let entry = record.begin(tenant, app, asked, clock.now())?;
        Ok((record, entry))
    });
    let (mut record, entry) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("error: nothing was sent: {error:#}");
            return Code::Storage;
        }
    };
    let outcome = ask(client, asked).await;
    if let Err(error) = &outcome
        && error.outcome_unknown()
    {
        eprintln!(
            "note: whether {} {} was carried out is not known, so it is not sent again; look at \
             what is there before you repeat it",
            asked.method.as_str(),
            asked.path
        );
    }
    // It happened, whatever becomes of its record.
    if let Err(error) = record.end(entry, &outcome, clock.now()) {
        eprintln!("warning: {error:#}");
    }
    let is_done = outcome.is_ok();
    let code = show(args, outcome);
    if is_done && code != Code::Done {
        eprintln!(
            "note: {} {} was carried out; do not repeat it",
            asked.method.as_str(),
            asked.path
        );
    }
    code
}

/// Makes the call, and says what it waits for when that takes long.
async fn ask(client: &Client, asked: &AskedCall) -> Result<AskedAnswer, client::Error> {
    let call = client.ask(asked);
    tokio::pin!(call);
    let mut told = String::new();
    loop {
        tokio::select! {
            outcome = &mut call => return outcome,
            () = tokio::time::sleep(TELLS_AFTER) => {
                let Some(error) = client.last_retryable_error() else { continue };
                let why = harmless(&error.without_advice());
                if why != told {
                    eprintln!("waiting to call again: {why}");
                    told = why;
                }
            }
        }
    }
}

/// Prints the answer, or why there is none.
fn show(args: &Args, outcome: Result<AskedAnswer, client::Error>) -> Code {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("error: {}", harmless(&error.by_hand()));
            return error.kind().exit_of_call();
        }
    };
    let kept = match args.show_secrets {
        true => Ok(answer.body.as_ref().into()),
        false => without_named_secrets(&answer.body),
    };
    let body = match kept {
        Ok(body) => body,
        Err(why) => {
            eprintln!("error: the answer is not shown, because its secrets are not found: {why}");
            return Code::Unexpected;
        }
    };
    let mut output = super::output::Output;
    let text = String::from_utf8_lossy(&body);
    // The envelope was checked, so this is JSON; but a text in it could still paint a terminal.
    let shown = match io::stdout().is_terminal() {
        true => harmless(&text),
        false => text.into_owned(),
    };
    // `Output` says itself what it could not write.
    let _ = writeln!(output, "{shown}");
    Code::Done
}

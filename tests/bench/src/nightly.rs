//! The road that people drive: a run that submits an export, polls it, downloads a large workbook and publishes it. This is Feishu's side,
//! in a process of its own, so that the run is measured alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use meetlake_simulator::{ExportTimes, Knobs, Options, Server, SimClock};
use tokio::net::TcpListener;

use crate::layout::FIRST_DAY;

/// Answers every export with `file` until it is killed. `folder` gets a configuration with one job, which exports the day of
/// [`crate::layout::Layout::Day`]; the line that is printed says that it may be used.
pub(crate) fn serve(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let file = fs::canonicalize(file).with_context(|| format!("cannot find {}", file.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let at_once = Duration::ZERO;
        let knobs = Knobs {
            export_file: Some(file),
            export_times: ExportTimes {
                meeting_list: at_once,
                participant_list: at_once,
                participant_quality_list: at_once,
                resource_reservation_list: at_once,
            },
            ..Knobs::default()
        };
        let options = Options {
            clock: SimClock::new(Timestamp::now(), 1.0),
            knobs,
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Server::start(listener, options)?;
        configure(folder, &server)?;
        println!("{}", server.base_url());
        std::future::pending::<()>().await;
        Ok(())
    })
}

fn configure(folder: &Path, server: &Server) -> anyhow::Result<()> {
    let options = server.options();
    let config = format!(
        "version = 1\n[lake]\nurl = \"lake\"\nkey_file = \"keys/lake.key\"\n[ledger]\npath = \"meetlake.db\"\n[tenants.acme]\n\
         host = \"{}\"\napp_id = \"{}\"\napp_secret = \"{}\"\nallow_inline_secret = true\n\
         time_zone = \"{}\"\n",
        server.base_url(),
        options.app_id,
        options.app_secret,
        options.time_zone
    );
    let job = format!(
        "version = 1\ndataset = \"meeting_list\"\ncron = \"0 5 * * *\"\nwindow = \"1d\"\n\
         lookback = \"0d\"\nstart = {FIRST_DAY}\n"
    );
    let jobs = folder.join("jobs");
    fs::create_dir_all(&jobs).with_context(|| format!("cannot make {}", jobs.display()))?;
    fs::create_dir_all(folder.join("lake"))?;
    fs::write(folder.join("meetlake.toml"), config)?;
    fs::write(jobs.join("meeting_list.toml"), job)?;
    Ok(())
}

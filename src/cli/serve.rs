//! `meetlake serve`: the jobs on their schedules, and a page that shows what is there.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args as ClapArgs;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::open::App;
use super::{Common, StopSignals, describe};
use crate::config::InletConfig;
use crate::datasets::Dataset;
use crate::events::{EventKind, Events, Subject};
use crate::exit::Code;
use crate::failpoint;
use crate::inlet::{Inlet, WebhookSecrets};
use crate::metrics::Metrics;
use crate::pipeline::{LakeTakenOver, Tenant, with_disk};
use crate::run;
use crate::scheduler::Heartbeat;
use crate::server::{self, Pages};
use crate::text::harmless;

/// Wait before a tenant's work begins again that this machine put an end to.
const AGAIN: Duration = Duration::from_secs(30);

/// Arguments of `meetlake serve`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Address of the status page, in place of the configured one.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
}

/// Serves until told to stop, then leaves everything so that the next start goes on.
///
/// # Errors
/// When this machine is at fault.
pub async fn run(common: &Common, args: &Args) -> Result<Code> {
    let Some(config) = super::load(common, false)? else {
        return Ok(Code::Usage);
    };
    let address = args.listen.unwrap_or(config.serve.listen);
    if args.listen.is_some() && !address.ip().is_loopback() {
        eprintln!(
            "error: the status page has no login; to listen on {address}, where others can reach it, \
             say so in [serve] of the configuration"
        );
        return Ok(Code::Usage);
    }
    let mut signals = StopSignals::listen().context("could not listen for signals")?;
    let hang_ups = signal(SignalKind::hangup()).context("could not listen for signals")?;
    let clock = failpoint::clock();
    let app = Arc::new(App::open(config, clock.clone(), "serve").await?);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address}"))?;
    let inlets = inlets(&app).await?;
    let hang_ups = tokio::spawn(ignore_hang_ups(hang_ups, app.events.clone()));
    let address = listener.local_addr()?.to_string();
    app.events
        .emit(Subject::default(), EventKind::Serving { address });
    let stop = CancellationToken::new();
    let ready = Arc::new(AtomicBool::new(true));
    let apps = app.tenants.iter();
    let apps = apps.map(|tenant| (tenant.name.clone(), tenant.fetcher.client.clone()));
    let apps = apps.collect();
    let pages = Pages {
        ledger: app.ledger.clone(),
        disks: Arc::new([
            ("ledger", app.config.ledger_path.clone()),
            ("spool", app.config.spool_path.clone()),
        ]),
        tenants: app
            .tenants
            .iter()
            .map(|tenant| (tenant.name.clone(), tenant.time_zone.clone()))
            .collect(),
        jobs: app.config.jobs.clone().into(),
        began: clock.now(),
        clock,
        metrics: Arc::new(Metrics::new(&app.events, apps)),
        events: app.events.clone(),
        hosts: app.config.serve.hosts.clone().into(),
        ready: Arc::clone(&ready),
    };
    // The pages outlive the work: until the last task has ended they say that it is stopping.
    let pages_stop = CancellationToken::new();
    let page_server = tokio::spawn(server::serve(listener, pages, pages_stop.clone()));
    let (heartbeat, ticks) = Heartbeat::start(app.tenants.len()).await?;
    let mut runs = JoinSet::new();
    for (tenant, ticks) in app.tenants.iter().zip(ticks) {
        let (app, tenant) = (Arc::clone(&app), Arc::clone(tenant));
        let stop = stop.clone();
        runs.spawn(async move { serve_tenant(&app, tenant, stop, ticks).await });
    }
    for (tenant, webhook) in inlets {
        let datasets = event_datasets(&app, &tenant.name);
        let inlet = Inlet::new(tenant, datasets, &stop);
        runs.spawn(async move {
            match webhook {
                None => inlet.receive().await,
                Some((listener, secrets)) => inlet.answer_calls(listener, secrets).await,
            }
        });
    }
    let mut outcome = tokio::select! {
        () = signals.next() => Ok(()),
        Some(ended) = runs.join_next() => {
            ended.context("a tenant's loop panicked").and_then(|result| result)
        }
    };
    app.events.emit(Subject::default(), EventKind::Stopping);
    ready.store(false, Ordering::Relaxed);
    stop.cancel();
    heartbeat.stop().await;
    while let Some(ended) = runs.join_next().await {
        outcome = outcome.and(
            ended
                .context("a tenant's loop panicked")
                .and_then(|result| result),
        );
    }
    hang_ups.abort();
    pages_stop.cancel();
    page_server
        .await
        .context("the status page panicked")?
        .context("the status page failed")?;
    outcome.map(|()| Code::Done)
}

/// A terminal that closes sends a hang-up, and so do people who expect a reload. Neither should end
/// a server.
async fn ignore_hang_ups(mut hang_ups: Signal, events: Events) {
    while hang_ups.recv().await.is_some() {
        events.emit(Subject::default(), EventKind::HangUpIgnored);
    }
}

/// Each tenant with an inlet, and where its webhook listens if it has one.
async fn inlets(app: &App) -> Result<Vec<TenantInlet>> {
    let mut inlets = Vec::new();
    for tenant in &app.tenants {
        let webhook = match &app.config.tenants[&tenant.name].events {
            None => continue,
            Some(InletConfig::LongConnection) => None,
            Some(InletConfig::Webhook { listen, secrets }) => {
                let listener = TcpListener::bind(listen).await;
                let listener = listener.with_context(|| format!("could not listen on {listen}"))?;
                Some((listener, secrets.clone()))
            }
        };
        inlets.push((Arc::clone(tenant), webhook));
    }
    Ok(inlets)
}

/// A tenant, and its webhook if that is how its events come in.
type TenantInlet = (Arc<Tenant>, Option<(TcpListener, WebhookSecrets)>);

/// The datasets of events that a tenant has jobs for.
pub(super) fn event_datasets(app: &App, tenant: &str) -> Vec<Dataset> {
    let jobs = app.config.jobs.iter();
    let of_tenant = jobs.filter(|job| job.tenants.iter().any(|name| name == tenant));
    of_tenant
        .map(|job| job.dataset)
        .filter(|dataset| dataset.is_received())
        .collect()
}

/// Serves one tenant. Where this machine gives way under it (the ledger's disk is full, or a
/// mistake of ours), the work begins again after a while from what was recorded. People who mend
/// the cause should not have to start the server too, and the other tenants have no part in it.
/// Only a ledger that another process has taken over, or that cannot be read, ends it.
async fn serve_tenant(
    app: &App,
    tenant: Arc<Tenant>,
    stop: CancellationToken,
    mut ticks: Receiver<()>,
) -> Result<()> {
    let (jobs, limits) = (&app.config.jobs, app.limits());
    loop {
        let (tenant, stop_run) = (Arc::clone(&tenant), stop.clone());
        let name = tenant.name.clone();
        let served = run::serve(tenant, jobs, &limits, stop_run, &mut ticks);
        // What the loop had in memory is dropped.
        let served = match AssertUnwindSafe(Box::pin(served)).catch_unwind().await {
            Ok(served) => served.map_err(|error| with_disk(error, &app.config.ledger_path)),
            Err(_) => Err(anyhow!("meetlake gave up in the middle of its work")),
        };
        match served {
            Err(error) if !is_final(&error) && !stop.is_cancelled() => {
                let told = EventKind::TenantBrokeOff {
                    problem: harmless(&describe(&error)),
                    again_in_s: AGAIN.as_secs(),
                };
                app.events.of_tenant(&name).emit(Subject::default(), told);
            }
            ended => return ended,
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Whether waiting does not cure an error: the ledger is not ours any more, or is none.
fn is_final(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        use crate::ledger::Error::{Fenced, Locked, Newer, Unreadable};
        cause.is::<LakeTakenOver>()
            || matches!(
                cause.downcast_ref(),
                Some(Locked { .. } | Fenced { .. } | Newer { .. } | Unreadable { .. })
            )
    })
}

//! Runs a simulator for a client in another language; used by `sdk_check.py`.
//!
//! `cargo run -p meetlake-simulator --example serve -- [ADDRESS] [SPEED]`, by default `127.0.0.1:4010` and 20.

use anyhow::Context as _;
use meetlake_simulator::{Options, Server};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:4010".to_owned());
    let speed = arguments
        .next()
        .map_or(Ok(20.0), |speed| speed.parse())
        .context("the speed is a number")?;
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    let mut options = Options::ending(Options::default().last_day, speed);
    // Of the lists by query, which new apps get for users only.
    let scope = "vc:rooms.room.detailinfo:read".to_owned();
    options.knobs.scopes.insert(scope);
    let server = Server::start(listener, options)?;
    println!("{}", server.base_url());
    tokio::signal::ctrl_c().await?;
    println!("{:#?}", server.report());
    server.stop().await;
    Ok(())
}

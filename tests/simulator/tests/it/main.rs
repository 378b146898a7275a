//! The simulator over HTTP: what a client sees, compared with the truth.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod app;

mod access;
mod alerts;
mod consistency;
mod determinism;
mod faults;
mod figures;
mod knobs;
mod limits;
mod rooms;
mod validation;
mod writes;

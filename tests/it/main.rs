//! The one integration binary; a module a story.
//!
//! ```text
//! app      a simulated company, a configuration, and the program against it: the real binary, or its parts on a fast clock
//! lake     reads what the program wrote, and checks that it is sound
//! gate     stands before the simulator and misbehaves on the wire
//! truth    compares a lake with the company, row by row
//! checker  what must hold whenever a process died, and when a run has ended; with the feature `failpoints`, as `tests/run` has it
//! proxy    a store that lies, in front of a real one
//! ```
//!
//! Everything else tells one story each. A test has its own folder and its own ports.

mod app;
#[cfg(feature = "failpoints")]
mod checker;
mod fixtures;
mod gate;
mod hostile;
mod lake;
mod proxy;
mod stores;
mod truth;

mod alerts;
mod api;
mod api_faults;
mod atomicity;
mod canaries;
#[cfg(feature = "failpoints")]
mod configs;
mod configuration;
mod conservation;
mod coverage;
mod covered;
#[cfg(feature = "failpoints")]
mod crash;
mod demo;
mod disk;
mod doctor;
mod documents;
mod early;
mod events;
mod fairness;
mod faults;
mod frames;
mod fuzzing;
mod hostile_lake;
mod identity;
#[cfg(feature = "failpoints")]
mod kill;
mod knobs;
mod lake_on_s3;
mod lark;
mod listings;
mod losses;
mod meetings;
mod metrics;
mod mistakes;
mod network;
mod old_lake;
mod oracle;
mod page;
mod races;
mod readers;
mod rebuild;
mod remake;
mod restart;
mod second_source;
mod serving;
mod silent;
mod stopping;
mod store_faults;
mod tenant_ids;
mod tenants;
mod time;
mod tryout;
mod unread;
mod unwritable;
mod verbs;
mod workbooks;

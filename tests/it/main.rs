//! The integration tests: one binary, modules by story.

mod stores;

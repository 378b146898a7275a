//! placeholder
pub mod location;

//! quick stand-in
pub mod location;
pub use location::PartitionId;
#[derive(Clone, Debug)]
pub struct Publisher;
impl Publisher { pub fn new(_: crate::store::Lake, _: crate::spool::Spool, _: crate::clock::Clock) -> Self { Self } }

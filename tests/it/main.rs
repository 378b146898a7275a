//! The one integration binary; a module a story.

mod fixtures;
mod hostile;
mod stores;

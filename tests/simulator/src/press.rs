//! The one thread that makes workbooks.
//!
//! A workbook takes megabytes while it is made, and the allocator keeps as much for each thread
//! that ever made one. The simulator may share its process with what is tried out on it.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Context as _;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Makes one file after the other. The thread ends with it.
#[derive(Debug)]
pub(crate) struct Press(Sender<Work>);

impl Press {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (sender, works) = channel::<Work>();
        let thread = thread::Builder::new().name("workbooks".to_owned());
        let work = move || works.into_iter().for_each(|work| work());
        thread.spawn(work).context("start a thread")?;
        Ok(Self(sender))
    }

    /// The file that `make` makes.
    pub(crate) async fn make(
        &self,
        make: impl FnOnce() -> anyhow::Result<Vec<u8>> + Send + 'static,
    ) -> anyhow::Result<Vec<u8>> {
        let (made, file) = oneshot::channel();
        let work: Work = Box::new(move || drop(made.send(make())));
        let gone = "the thread that makes workbooks is gone";
        self.0.send(work).ok().context(gone)?;
        file.await.context(gone)?
    }
}

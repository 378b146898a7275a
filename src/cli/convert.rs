//! stub
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}
pub fn run(_: &Args) -> crate::exit::Code {
    crate::exit::Code::Done
}

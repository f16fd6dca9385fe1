//! `trunkline demo` (shim)
use super::Failure;
use super::args::DemoArgs;
use crate::config::Env;
pub(super) async fn run(_demo: &DemoArgs, _env: &Env) -> Result<(), Failure> {
    Err(Failure::Run("softphone not merged".to_owned()))
}

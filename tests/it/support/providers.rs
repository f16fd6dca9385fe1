//! Providers that misbehave on purpose, put beside the demo agent under a name of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use trunkline::call::AgentSnapshot;
use trunkline::providers::ProviderError;
use trunkline::providers::llm::{Llm, LlmDelta, LlmRequest};
use trunkline::providers::tts::{Tts, TtsParams, TtsSession};
use trunkline::switchboard::Directory;
use trunkline::types::AgentId;

/// A directory with one more agent: the demo's, changed. It answers calls to `name`.
fn with_agent(
    directory: Directory,
    name: &str,
    change: impl FnOnce(&mut AgentSnapshot),
) -> Directory {
    let demo = AgentId("demo".to_owned());
    let own = AgentId(name.to_owned());
    let agent = directory.agent(&demo).expect("the demo agent");
    let mut changed = (*agent).clone();
    changed.id = own.clone();
    change(&mut changed);
    let agents = BTreeMap::from([(demo.clone(), agent), (own, Arc::new(changed))]);
    let trunks = directory.trunks().map(|trunk| (trunk.name.clone(), Arc::clone(trunk))).collect();
    Directory::new(agents, trunks, BTreeMap::new(), Some(demo))
}

/// Calls to `name` ring: the agent's voice never opens.
pub(crate) fn slow_voice(directory: Directory, name: &str) -> Directory {
    with_agent(directory, name, |agent| agent.tts = Arc::new(SlowVoice))
}

/// Calls to `name` reach an agent whose language model panics when it is asked.
pub(crate) fn panicking_model(directory: Directory, name: &str) -> Directory {
    with_agent(directory, name, |agent| agent.llm = Arc::new(PanickingModel))
}

struct SlowVoice;

impl Tts for SlowVoice {
    fn name(&self) -> &str {
        "slow"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(&self, _: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        std::future::pending().boxed()
    }
}

struct PanickingModel;

impl Llm for PanickingModel {
    fn name(&self) -> &str {
        "panicking"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }

    fn respond(&self, _: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        panic!("a model that panics on purpose")
    }
}

//! Signing by an agent, which may ask somebody first.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{Agent, AsyncSigner, Identity};
use ssh_core::error::SignError;

use super::terminal::Asking;
use crate::output::Output;

/// Signs by an agent. Meanwhile somebody may have to confirm it, or to touch a token, so that it counts as asking.
#[derive(Debug)]
pub(super) struct AgentSigner {
    signer: Arc<dyn AsyncSigner>,
    agent: Agent,
    output: Output,
}

impl AgentSigner {
    /// A key of this agent, signing so.
    pub(super) fn of(key: Identity, agent: &Agent, output: &Output) -> Identity {
        let (agent, output) = (agent.clone(), output.clone());
        key.map_signer(|signer| Arc::new(Self { signer, agent, output }))
    }
}

impl AsyncSigner for AgentSigner {
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        async move {
            let _asking = Asking::new();
            let mut signing = self.signer.sign(algorithm, data);
            if let Ok(signed) = tokio::time::timeout(QUICK, &mut signing).await {
                return signed;
            }
            let path = self.agent.path().display();
            self.output.warning(format!(
                "the agent at {path} has not signed yet; it may want a confirmation, or a touch of a token"
            ));
            signing.await
        }
        .boxed()
    }
}

/// An agent that asks nobody has signed by then.
const QUICK: Duration = Duration::from_secs(2);

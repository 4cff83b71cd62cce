//! Setting up the port forwarding of a session.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::event::{Events, ForwardEvent};
use super::granted::Granted;
use super::hooks::{ConnectingHook, Hooks, ListenerFactory, MessageFactory, PortEvent, PortStream};
use super::policy::ForwardPolicy;
use super::serve::Unhandled;
use super::tasks::Tasks;
use super::{PortForwarding, Shared, serve};
use crate::session::{Incoming, Session};

/// Builds a [`PortForwarding`].
#[must_use = "nothing is forwarded until it is started"]
#[derive(Debug)]
pub struct PortForwardingBuilder {
    session: Session,
    policy: ForwardPolicy,
    events: Events,
    hooks: Hooks,
    unhandled: Unhandled,
}

impl PortForwardingBuilder {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            policy: ForwardPolicy::deny_all(),
            events: Events::default(),
            hooks: Hooks::default(),
            unhandled: Unhandled::default(),
        }
    }

    /// What the peer may ask for; nothing otherwise. On a server the permissions of the session's
    /// [principal](Session::principal) take from it.
    pub fn policy(mut self, policy: ForwardPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Is told of every connection and refusal. It is called from the tasks of the connections and must not block.
    pub fn on_event(mut self, callback: impl Fn(ForwardEvent) + Send + Sync + 'static) -> Self {
        self.events = Events::new(callback);
        self
    }

    /// Is given the channels and requests that have nothing to do with forwarding, which are refused otherwise. It must
    /// not block.
    pub fn unhandled(mut self, callback: impl Fn(Incoming) + Send + Sync + 'static) -> Self {
        self.unhandled = Unhandled::new(callback);
        self
    }

    /// Is told when a forwarded port comes or goes, on either side. It must not block.
    pub fn on_port(mut self, callback: impl Fn(PortEvent) + Send + Sync + 'static) -> Self {
        self.hooks.on_port = Some(Box::new(callback));
        self
    }

    /// Who listens, for forwards of both sides; [`SystemListeners`](super::SystemListeners) otherwise.
    pub fn listeners(mut self, factory: impl ListenerFactory + 'static) -> Self {
        self.hooks.listeners = Arc::new(factory);
        self
    }

    /// What is appended to messages; nothing otherwise.
    pub fn messages(mut self, factory: impl MessageFactory + 'static) -> Self {
        self.hooks.messages = Arc::new(factory);
        self
    }

    /// Who decides about connections through forwarded ports, and may wrap them.
    pub fn on_connecting(mut self, hook: impl ConnectingHook + 'static) -> Self {
        self.hooks.connecting = Some(Arc::new(hook));
        self
    }

    /// Whether ports that the peer asked to forward are listened on here, which they are unless it is said otherwise. If
    /// not, they are granted all the same (but port 0 is not), for
    /// [`connect_to_forwarded_port`](PortForwarding::connect_to_forwarded_port).
    pub fn accept_local_connections(mut self, accept: bool) -> Self {
        self.hooks.switches.accept_local = accept;
        self
    }

    /// Whether the peer may connect to what the policy permits without a forwarded port (`direct-tcpip`). On.
    pub fn accept_non_forwarded(mut self, accept: bool) -> Self {
        self.hooks.switches.accept_direct = accept;
        self
    }

    /// Hands connections to ports that this side forwards to `callback`, and connects to no target. The callback must not
    /// block.
    pub fn streams(mut self, callback: impl Fn(PortStream) + Send + Sync + 'static) -> Self {
        self.hooks.switches.connect_to_local = false;
        self.hooks.on_stream = Some(Box::new(callback));
        self
    }

    /// Starts to serve the peer. It needs a tokio runtime.
    #[must_use = "dropping it stops everything"]
    pub fn start(self) -> PortForwarding {
        let policy = match self.session.principal() {
            Some(principal) => self.policy.for_permissions(&principal.permissions),
            None => self.policy,
        };
        let shared = Arc::new(Shared {
            connections: Arc::new(Semaphore::new(policy.max_connections.min(Semaphore::MAX_PERMITS))),
            session: self.session,
            policy,
            events: self.events,
            hooks: self.hooks,
            tasks: Tasks::default(),
            listeners: Tasks::default(),
            requested: Arc::default(),
            granted: Granted::default(),
        });
        shared.tasks.spawn(serve::run(Arc::clone(&shared), self.unhandled));
        PortForwarding { shared }
    }
}

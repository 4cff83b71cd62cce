//! Services: parts of an application that start when the peer first asks for them.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::channel::{Channel, PeerRequest};
use crate::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailureReason, Session};

/// A part of an application that serves one session. Each method runs in a task of its own, so it may take its time;
/// answers still leave in the order of the requests.
pub trait Service: Send + Sync {
    /// A request of the session that an [`Activation`] names. Dropping it refuses it.
    fn on_session_request<'a>(&'a self, request: IncomingRequest) -> BoxFuture<'a, ()> {
        request.refuse();
        Box::pin(std::future::ready(()))
    }

    /// A channel of a type that an [`Activation`] names. Dropping it refuses it.
    fn on_channel_opening<'a>(&'a self, channel: IncomingChannel) -> BoxFuture<'a, ()> {
        channel.reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "the service takes no channels");
        Box::pin(std::future::ready(()))
    }

    /// A request that an [`Activation`] names, on a channel that is the service's from now on; the request is to be
    /// [answered](Channel::answer). Requests before it have been refused.
    fn on_channel_request<'a>(&'a self, channel: Channel, request: PeerRequest) -> BoxFuture<'a, ()> {
        // The channel closes, which answers it.
        drop((channel, request));
        Box::pin(std::future::ready(()))
    }

    /// The session is over, or the services were dropped. Called once.
    fn on_close(&self) {}
}

/// What makes a service start. Any of its rules will do.
#[derive(Debug, Clone, Default)]
pub struct Activation {
    service_request: Option<String>,
    session_requests: Vec<String>,
    channel_types: Vec<String>,
    channel_request: Option<String>,
}

impl Activation {
    /// No rule yet: the service is only started by [`Services::activate`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client asks for the service by this name (RFC 4253 §10). Servers only.
    #[must_use]
    pub fn service_request(mut self, name: &str) -> Self {
        self.service_request = Some(name.to_owned());
        self
    }

    /// A request of the session of this name. May be given several times.
    #[must_use]
    pub fn session_request(mut self, name: &str) -> Self {
        self.session_requests.push(name.to_owned());
        self
    }

    /// A channel of this type. May be given several times. Together with [`channel_request`](Self::channel_request) it
    /// is no rule of its own: both must fit.
    #[must_use]
    pub fn channel_type(mut self, kind: &str) -> Self {
        self.channel_types.push(kind.to_owned());
        self
    }

    /// A request of this name on a channel, of any type or of those that are named.
    #[must_use]
    pub fn channel_request(mut self, name: &str) -> Self {
        self.channel_request = Some(name.to_owned());
        self
    }

    fn takes_type(&self, kind: &str) -> bool {
        self.channel_types.iter().any(|named| named == kind)
    }

    /// Whether requests on a channel of this type may start it.
    fn watches_type(&self, kind: &str) -> bool {
        self.channel_request.is_some() && (self.channel_types.is_empty() || self.takes_type(kind))
    }
}

type Factory = Box<dyn Fn(&Session) -> Arc<dyn Service> + Send + Sync>;
type Activated = Box<dyn Fn(&str, &Arc<dyn Service>) + Send + Sync>;
type Unhandled = Box<dyn Fn(Incoming) + Send + Sync>;

struct Registration {
    name: String,
    activation: Activation,
    factory: Factory,
    service: Mutex<Option<Arc<dyn Service>>>,
}

/// The services of one session. It takes all channels and requests of the peer; dropping it stops the tasks of its
/// services.
#[derive(Debug)]
pub struct Services {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    session: Session,
    registrations: Vec<Registration>,
    activated: Option<Activated>,
    unhandled: Option<Unhandled>,
}

/// Builds [`Services`].
#[must_use = "nothing is served until it is started"]
pub struct ServicesBuilder {
    shared: Shared,
}

impl ServicesBuilder {
    /// Adds a service. It is made when `activation` first fits; the first that fits takes what the peer asks.
    pub fn service<S: Service + 'static>(
        mut self,
        name: &str,
        activation: Activation,
        make: impl Fn(&Session) -> S + Send + Sync + 'static,
    ) -> Self {
        self.shared.registrations.push(Registration {
            name: name.to_owned(),
            activation,
            factory: Box::new(move |session| Arc::new(make(session))),
            service: Mutex::new(None),
        });
        self
    }

    /// Is told of each service when it starts. It must not block.
    pub fn on_activated(
        mut self,
        callback: impl Fn(&str, &Arc<dyn Service>) + Send + Sync + 'static,
    ) -> Self {
        self.shared.activated = Some(Box::new(callback));
        self
    }

    /// Is given what no service is for, which is refused otherwise. It must not block.
    pub fn unhandled(mut self, callback: impl Fn(Incoming) + Send + Sync + 'static) -> Self {
        self.shared.unhandled = Some(Box::new(callback));
        self
    }

    /// Starts to serve the peer. It needs a tokio runtime.
    #[must_use = "dropping it stops everything"]
    pub fn start(self) -> Services {
        let shared = Arc::new(self.shared);
        let mut tasks = JoinSet::new();
        for registration in &shared.registrations {
            if let Some(name) = &registration.activation.service_request {
                shared.session.offer_service(name);
            }
        }
        tasks.spawn(serve(Arc::clone(&shared)));
        tasks.spawn(serve_service_requests(Arc::clone(&shared)));
        Services { shared, _tasks: tasks }
    }
}

impl Services {
    /// To add services to.
    pub fn builder(session: Session) -> ServicesBuilder {
        ServicesBuilder {
            shared: Shared { session, registrations: Vec::new(), activated: None, unhandled: None },
        }
    }

    /// The service of this name, started if need be; `None` for a name that was not registered.
    pub fn activate(&self, name: &str) -> Option<Arc<dyn Service>> {
        let registration = self.shared.registrations.iter().find(|registration| registration.name == name)?;
        Some(self.shared.activate(registration))
    }

    /// The service of this name, if it has started.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Service>> {
        let registration = self.shared.registrations.iter().find(|registration| registration.name == name)?;
        registration.service.lock().clone()
    }

    /// The names of those that have started.
    #[must_use]
    pub fn active(&self) -> Vec<String> {
        let started = |registration: &&Registration| registration.service.lock().is_some();
        self.shared
            .registrations
            .iter()
            .filter(started)
            .map(|registration| registration.name.clone())
            .collect()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn activate(&self, registration: &Registration) -> Arc<dyn Service> {
        let mut slot = registration.service.lock();
        if let Some(service) = &*slot {
            return Arc::clone(service);
        }
        let service = (registration.factory)(&self.session);
        *slot = Some(Arc::clone(&service));
        drop(slot);
        tracing::debug!(service = registration.name, "service activated");
        if let Some(callback) = &self.activated {
            callback(&registration.name, &service);
        }
        service
    }

    fn find(&self, fits: impl Fn(&Activation) -> bool) -> Option<&Registration> {
        self.registrations.iter().find(|registration| fits(&registration.activation))
    }

    fn close(&self) {
        for registration in &self.registrations {
            let service = registration.service.lock().take();
            if let Some(service) = service {
                service.on_close();
            }
        }
    }
}

async fn serve(shared: Arc<Shared>) {
    let mut incoming = shared.session.incoming();
    // The session's limits bound them.
    let mut tasks = JoinSet::new();
    while let Some(item) = incoming.next().await {
        while tasks.try_join_next().is_some() {}
        match item {
            Incoming::Request(request) => on_request(&shared, request, &mut tasks),
            Incoming::Channel(channel) => on_channel(&shared, channel, &mut tasks),
        }
    }
    shared.close();
}

fn on_request(shared: &Arc<Shared>, request: IncomingRequest, tasks: &mut JoinSet<()>) {
    let named =
        |activation: &Activation| activation.session_requests.iter().any(|name| name == request.name());
    match (shared.find(named), &shared.unhandled) {
        (Some(registration), _) => {
            let service = shared.activate(registration);
            tasks.spawn(async move { service.on_session_request(request).await });
        }
        (None, Some(callback)) => callback(Incoming::Request(request)),
        (None, None) => request.refuse(),
    }
}

fn on_channel(shared: &Arc<Shared>, channel: IncomingChannel, tasks: &mut JoinSet<()>) {
    let kind = channel.kind();
    let takes = |activation: &Activation| activation.channel_request.is_none() && activation.takes_type(kind);
    if let Some(registration) = shared.find(takes) {
        let service = shared.activate(registration);
        tasks.spawn(async move { service.on_channel_opening(channel).await });
    } else if shared.find(|activation| activation.watches_type(kind)).is_some() {
        tasks.spawn(watch_channel(Arc::clone(shared), channel));
    } else if let Some(callback) = &shared.unhandled {
        callback(Incoming::Channel(channel));
    } else {
        channel.reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "unknown channel type");
    }
}

/// Waits for a request that some service is for, and hands the channel over.
async fn watch_channel(shared: Arc<Shared>, offer: IncomingChannel) {
    let kind = offer.kind().to_owned();
    let Ok(channel) = offer.accept() else { return };
    while let Some(request) = channel.next_request().await {
        let fits = |activation: &Activation| {
            activation.watches_type(&kind) && activation.channel_request.as_deref() == Some(&request.name)
        };
        if let Some(registration) = shared.find(fits) {
            let service = shared.activate(registration);
            return service.on_channel_request(channel, request).await;
        }
        // An error means that the session is over, which the next round sees.
        let _ = channel.answer(&request, false);
    }
}

async fn serve_service_requests(shared: Arc<Shared>) {
    while let Some(name) = shared.session.next_service_request().await {
        let named = |activation: &Activation| activation.service_request.as_deref() == Some(&name);
        if let Some(registration) = shared.find(named) {
            shared.activate(registration);
            // An error means that the session is over.
            let _ = shared.session.accept_service(&name);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.registrations.iter().map(|registration| &registration.name).collect();
        f.debug_struct("Services").field("registered", &names).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServicesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

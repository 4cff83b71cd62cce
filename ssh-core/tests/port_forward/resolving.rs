//! What may be connected to, by name and by address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ssh_core::OpenError;
use ssh_core::services::port_forward::{ForwardPolicy, Resolver};
use ssh_core::session::OpenFailureReason;

use super::{answering, ask_at, pair, permit};

#[tokio::test]
async fn what_is_no_forward_is_refused_by_name() {
    let pair = pair(ForwardPolicy::allow_all()).await;
    let session = pair.client.session();
    for (kind, reason) in [
        ("session", OpenFailureReason::ADMINISTRATIVELY_PROHIBITED),
        ("x11", OpenFailureReason::UNKNOWN_CHANNEL_TYPE),
    ] {
        let Err(OpenError::Refused(failure)) = session.open_channel(kind).await else { panic!("{kind}") };
        assert_eq!(failure.reason, reason);
    }
    assert!(session.open_channel_with("direct-tcpip", b"\0\0\0\xff").await.is_err());
    for name in ["hostkeys-prove-00@openssh.com", "tcpip-forward", "cancel-tcpip-forward"] {
        assert!(session.request(name, b"\0\0").await.unwrap().is_none());
    }
}

/// Answers differently each time it is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Rebinding {
    pub(super) asked: Arc<AtomicUsize>,
    pub(super) answers: Vec<Vec<SocketAddr>>,
}

impl Resolver for Rebinding {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(self.answers[n % self.answers.len()].clone())).boxed()
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_address_checked_is_the_one_connected_to() {
    let forbidden = answering(1).await;
    let allowed_ip = Ipv4Addr::new(127, 0, 0, 2);
    let allowed = SocketAddr::from((allowed_ip, forbidden.port()));
    let resolver = Rebinding { answers: vec![vec![allowed], vec![forbidden]], ..Default::default() };
    let asked = Arc::clone(&resolver.asked);
    let pair = pair(permit(&allowed.to_string()).resolver(resolver)).await;
    // The first answer is permitted, but nobody listens there.
    let first = pair.client.open("rebind.example", forbidden.port()).await.unwrap_err().to_string();
    assert!(first.contains("connect failed"), "{first}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The second is not permitted, whatever the name was before.
    let second = pair.client.open("rebind.example", forbidden.port()).await.unwrap_err().to_string();
    assert!(second.contains("administratively prohibited"), "{second}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // A port that no permit names is not worth a question.
    assert!(pair.client.open("rebind.example", 1).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_a_names_addresses_only_the_permitted_are_tried_and_the_first_that_answers_serves() {
    let target = answering(1).await;
    let port = target.port();
    let at = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    let resolver = Rebinding { answers: vec![vec![at(9), at(8), at(1)]], ..Default::default() };
    let policy = permit(&at(8).to_string()).permit_open(at(1).to_string().parse().unwrap());
    let pair = pair(policy.resolver(resolver)).await;
    let forward = pair.client.local(0, "many.example", port).await.unwrap();
    assert_eq!(ask_at(forward.local_addr().port(), b"hello").await.unwrap(), b"hello");
}

/// Knows one name, and for others nobody answers.
#[derive(Debug)]
struct Silent {
    known: SocketAddr,
}

impl Resolver for Silent {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        if host == "known.example" {
            return std::future::ready(Ok(vec![self.known])).boxed();
        }
        std::future::pending().boxed()
    }
}

#[tokio::test]
async fn a_name_that_is_not_resolved_in_time_holds_nobody_else_up() {
    let target = answering(1).await;
    let port = target.port();
    let pair = pair(permit("any").resolver(Silent { known: target })).await;
    let start = tokio::time::Instant::now();
    let slow = async { (pair.client.open("slow.example", port).await.map(drop), start.elapsed()) };
    let others = async {
        let forward = pair.client.local(0, "known.example", port).await.unwrap();
        for _ in 0..10 {
            assert_eq!(ask_at(forward.local_addr().port(), b"hello").await.unwrap(), b"hello");
        }
        start.elapsed()
    };
    let ((slow, gave_up), others) = tokio::join!(slow, others);
    assert!(others < Duration::from_secs(8), "others took {others:?}");
    let error = slow.unwrap_err().to_string();
    assert!(error.contains("slow.example") && error.contains("the name was not resolved in time"), "{error}");
    let (least, most) = (Duration::from_secs(9), Duration::from_secs(15));
    assert!(gave_up > least && gave_up < most, "it took {gave_up:?}");
    let told = pair.server_events.lock().join("\n");
    assert!(told.contains("slow.example"), "{told}");
}

#[tokio::test]
async fn of_a_hundred_addresses_the_first_are_tried() {
    let target = answering(1).await;
    let port = target.port();
    let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 9, last), port));
    // Nobody listens at any of these; the one that would answer is behind too many others, or among the first.
    for (place, answers) in [(99, false), (10, true)] {
        let mut addresses: Vec<SocketAddr> = (0..100).map(at).collect();
        addresses[place] = target;
        let resolver = Rebinding { answers: vec![addresses], ..Default::default() };
        let asked = Arc::clone(&resolver.asked);
        let pair = pair(permit("any").resolver(resolver)).await;
        let opened = pair.client.open("many.example", port).await;
        assert_eq!(opened.is_ok(), answers, "{place}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

//! Refusals by the clock on the wall. What they take without noise is compared in the conformance tests.

use std::time::{Duration, Instant};

use ssh_core::client::{AuthChoice, AuthContext, AuthPolicy, PolicyError};
use ssh_core::server::{AuthMethod, RejectReason};

use super::*;

const RUNS: usize = 25;
const SESSIONS: usize = 20;

/// Tries a wrong password and an unknown key in turn, and takes the time.
#[derive(Debug)]
struct Prober {
    began: Mutex<Option<(usize, Instant)>>,
    times: Arc<Mutex<[Vec<Duration>; 2]>>,
}

impl AuthPolicy for Prober {
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        let done = context.tried.len() - 1;
        let mut began = self.began.lock().unwrap();
        if let Some((kind, began)) = began.take() {
            self.times.lock().unwrap()[kind].push(began.elapsed());
        }
        let choice = if done == 2 * RUNS {
            Err(Arc::new(std::io::Error::other("enough")) as PolicyError)
        } else {
            // Always another one: a client does not try a key again that was refused.
            let kind = done % 2;
            let credential = match kind {
                0 => Credential::password(format!("wrong{done}")),
                _ => Credential::key(key()),
            };
            *began = Some((kind, now()));
            Ok(AuthChoice::Try(credential))
        };
        Box::pin(std::future::ready(choice))
    }
}

#[expect(clippy::disallowed_methods, reason = "the test is about the clock")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_thousand_refusals_take_the_same_time() {
    let mut limits = Limits::default();
    limits.auth_attempts = 200;
    limits.auth_requests = 400;
    limits.auth_failure_delay = Duration::from_millis(5);
    // It costs something to look at a password, for a user that exists.
    let handler = Handler::new(&[Method::Password, Method::PublicKey], |attempt| {
        Box::pin(async move {
            if attempt.user == "ada" && matches!(attempt.method, AuthMethod::Password(_)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            AuthDecision::Reject(match attempt.user {
                "ada" => RejectReason::InvalidPassword,
                _ => RejectReason::InvalidUser,
            })
        })
    });
    let users = ["ada", "nobody"];
    let times: [Arc<Mutex<[Vec<Duration>; 2]>>; 2] = Default::default();
    for session in 0..SESSIONS {
        let user = session % 2;
        let prober = Prober { began: Mutex::default(), times: Arc::clone(&times[user]) };
        let client = client::Config::builder(users[user]).verify_host_key(AcceptAnyHostKey);
        let (client, _) = log_in(client.auth_policy(prober), server(&handler, limits.clone())).await;
        assert!(client.is_err());
    }
    let mut medians = Vec::new();
    let mut runs = 0;
    for (user, times) in users.iter().zip(&times) {
        for (kind, times) in ["password", "key"].iter().zip(times.lock().unwrap().iter_mut()) {
            times.sort();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100];
            println!(
                "{user:>6} {kind:>8}: {} runs, min {:?}, median {:?}, p90 {:?}, max {:?}",
                times.len(),
                at(0),
                at(50),
                at(90),
                at(100)
            );
            assert!(at(0) >= limits.auth_failure_delay, "a refusal came early");
            medians.push(at(50));
            runs += times.len();
        }
    }
    assert_eq!(runs, 2 * RUNS * SESSIONS);
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    println!("medians differ by {:?}", *most - *least);
    // As much as a busy machine may add. Without the delay it is the 2 ms and more, with it a timer's noise.
    assert!(*most - *least < limits.auth_failure_delay, "{medians:?}");
}

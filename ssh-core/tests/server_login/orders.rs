//! Every order of a key, a second key, a password and questions.

use ssh_core::client::{InfoRequest, PromptResponder};
use ssh_core::keys::PublicKey;
use ssh_core::server::{AuthMethod, Principal, Prompts, RejectReason};
use zeroize::Zeroizing;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    FirstKey,
    SecondKey,
    Password,
    Questions,
}

impl Step {
    const ALL: [Self; 4] = [Self::FirstKey, Self::SecondKey, Self::Password, Self::Questions];

    fn method(self) -> Method {
        match self {
            Self::FirstKey | Self::SecondKey => Method::PublicKey,
            Self::Password => Method::Password,
            Self::Questions => Method::KeyboardInteractive,
        }
    }
}

/// All orders of one to four of the steps.
fn orders() -> Vec<Vec<Step>> {
    let mut all = vec![vec![]];
    let mut begun = 0;
    while begun < all.len() {
        let order: Vec<Step> = all[begun].clone();
        all.extend(Step::ALL.into_iter().filter(|step| !order.contains(step)).map(|step| {
            let mut longer = order.clone();
            longer.push(step);
            longer
        }));
        begun += 1;
    }
    all.remove(0);
    all
}

#[derive(Debug)]
struct Answers;

impl PromptResponder for Answers {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answers = request.prompts.iter().map(|prompt| Zeroizing::new(format!("re {}", prompt.text)));
        Box::pin(std::future::ready(Some(answers.collect())))
    }
}

/// Takes the steps in exactly this order: no other step is right at that point.
fn in_order(order: Vec<Step>, keys: [PublicKey; 2]) -> Handler {
    let first = order[0].method();
    Handler::at_once(&[first], move |attempt| {
        let at = attempt.succeeded.len();
        let right = match (order[at], attempt.method) {
            (Step::FirstKey, AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered)) => {
                offered.key == keys[0]
            }
            (Step::SecondKey, AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered)) => {
                offered.key == keys[1]
            }
            (Step::Password, AuthMethod::Password(password)) => password == "secret",
            (Step::Questions, AuthMethod::KeyboardInteractive { rounds, .. }) => match rounds {
                [] => return AuthDecision::Prompt(Prompts::new().secret("one").visible("two")),
                [_] => return AuthDecision::Prompt(Prompts::new().secret("three")),
                rounds => {
                    let said: Vec<_> = rounds.iter().flatten().map(|answer| answer.expose()).collect();
                    said == ["re one", "re two", "re three"]
                }
            },
            _ => false,
        };
        match order.get(at + 1) {
            _ if !right => AuthDecision::Reject(RejectReason::InvalidKey),
            Some(next) => AuthDecision::Partial { next: vec![next.method()] },
            None => AuthDecision::Accept(Principal::new("ada")),
        }
    })
}

#[tokio::test]
async fn every_order_of_every_number_of_steps() {
    let orders = orders();
    assert_eq!(orders.len(), 4 + 12 + 24 + 24);
    for order in orders {
        let (first, second) = (Arc::new(key()), Arc::new(key()));
        let keys = [&first, &second].map(|key| key.public_key().clone());
        let handler = in_order(order.clone(), keys);
        // The client has all of it, in an order of its own.
        let credentials = vec![
            Credential::Key(Arc::clone(&first)),
            Credential::password("secret"),
            Credential::KeyboardInteractive(Arc::new(Answers)),
            Credential::Key(Arc::clone(&second)),
        ];
        let (client, server) = log_in(client(credentials), self::server(&handler, quick())).await;
        assert!(client.is_ok(), "{order:?}: {client:?} {:?}", handler.records());
        assert_eq!(&*server.unwrap().principal().unwrap().name, "ada", "{order:?}");

        // One step short is not enough.
        if let Some((last, rest)) = order.split_last() {
            let handler = in_order(order.clone(), [key().public_key().clone(), key().public_key().clone()]);
            let credentials = rest.iter().map(|step| match step {
                Step::FirstKey => Credential::Key(Arc::clone(&first)),
                Step::SecondKey => Credential::Key(Arc::clone(&second)),
                Step::Password => Credential::password("secret"),
                Step::Questions => Credential::KeyboardInteractive(Arc::new(Answers)),
            });
            let (client, server) =
                log_in(self::client(credentials.collect()), self::server(&handler, quick())).await;
            assert!(client.is_err() && server.is_err(), "{order:?} without {last:?}");
        }
    }
}

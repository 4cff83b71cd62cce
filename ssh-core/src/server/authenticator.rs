use std::fmt;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _};

use super::decision::{AuthDecision, AuthRecord};
use crate::connection_info::ConnectionInfo;
use crate::protocol::{Method, OfferedKey, Secret, Succeeded};

/// Decides who may come in. `self` is all the context there is: it holds the users, a connection to where they are kept,
/// or whatever else; the library never looks inside.
///
/// The library parses, verifies signatures, counts, delays and answers. An implementation cannot skip any of that: what it
/// is asked about as [`AuthMethod::PublicKey`] has been verified, and a refusal looks the same on the wire whatever its
/// reason (RFC 4252 §5.1).
///
/// To keep refusals alike in time too, an implementation should take about as long for a user that does not exist as for
/// one that does. Refusals leave at a multiple of
/// [`Limits::auth_failure_delay`](crate::config::Limits::auth_failure_delay) after the request, so that decisions that take
/// less than that cannot be told apart at all.
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// What this user may try: called before its first attempt is looked at, and again if the client changes to another
    /// user, which forgets everything that had succeeded. It is the place to look at the connection as a whole and to greet
    /// it.
    ///
    /// The client is told the list. An unknown user should get the list that most users get.
    fn begin<'a>(&'a self, start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer>;

    /// Decides on one attempt. A public key is asked about as [`AuthMethod::PublicKeyQuery`] when the client asks whether it
    /// would do, once more so when a signature comes, before that is worth checking
    /// ([`is_signed`](AuthAttempt::is_signed) tells which), and as [`AuthMethod::PublicKey`] when it has been verified.
    /// Only the last lets anybody in.
    ///
    /// Methods that are not on the list of this user and step are refused without asking.
    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision>;

    /// Is told of every decision, those that the library takes by itself included. For logs that are kept;
    /// [`tracing`] has them anyway.
    fn decided(&self, record: &AuthRecord<'_>) {
        let _ = record;
    }
}

/// A user is named for the first time.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthStart<'a> {
    /// The connection: session id, versions, addresses, algorithms.
    pub connection: &'a ConnectionInfo,
    /// Who the client says it is: any text of at most 256 bytes, NUL and control characters included.
    pub user: &'a str,
    /// The service that it wants to reach: `ssh-connection`.
    pub service: &'a str,
    /// When an answer comes too late: the user then gets an empty list.
    pub deadline: Instant,
}

/// What a user may try.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuthOffer {
    /// The methods, in the order in which the client is told them. [`Method::None`] is not told, but without it nobody is
    /// asked about an attempt without credentials.
    pub methods: Vec<Method>,
    /// Words for the user before it is let in (RFC 4252 §5.4). What is over [`MAX_BANNER_LEN`](super::MAX_BANNER_LEN) is
    /// cut off.
    pub banner: Option<String>,
}

impl AuthOffer {
    /// These methods.
    #[must_use]
    pub fn methods(methods: impl Into<Vec<Method>>) -> Self {
        Self { methods: methods.into(), banner: None }
    }

    /// Adds words for the user.
    #[must_use]
    pub fn banner(mut self, text: impl Into<String>) -> Self {
        self.banner = Some(text.into());
        self
    }

    /// These methods, at once.
    #[must_use]
    pub fn ready<'a>(methods: impl Into<Vec<Method>>) -> BoxFuture<'a, Self> {
        std::future::ready(Self::methods(methods)).boxed()
    }
}

/// An attempt.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthAttempt<'a> {
    /// The connection: session id, versions, addresses, algorithms.
    pub connection: &'a ConnectionInfo,
    /// Who the client says it is: any text of at most 256 bytes, NUL and control characters included.
    pub user: &'a str,
    /// The service that it wants to reach: `ssh-connection`.
    pub service: &'a str,
    /// What has already succeeded for this user on this connection without being enough, in order.
    pub succeeded: &'a [Succeeded],
    /// The number of the attempt on this connection, from 1; the `none` that asks for the methods is number 0.
    pub number: u32,
    /// When a decision comes too late: the attempt is then refused as one that could not be checked.
    pub deadline: Instant,
    /// Whether the request came with a signature. It tells the two uses of [`AuthMethod::PublicKeyQuery`] apart: without one
    /// the client only asks, with one the key will be put again as [`AuthMethod::PublicKey`] if the signature verifies.
    pub is_signed: bool,
    /// How it tries.
    pub method: AuthMethod<'a>,
}

impl AuthAttempt<'_> {
    /// Whether this method has already succeeded for this user.
    #[must_use]
    pub fn has_succeeded(&self, method: Method) -> bool {
        self.succeeded.iter().any(|step| step.method == method)
    }

    /// The time left to decide; `now` is the time now.
    #[must_use]
    pub fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

/// The method of an attempt.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum AuthMethod<'a> {
    /// No credentials (RFC 4252 §5.2).
    None,
    /// A password, in the clear (RFC 4252 §8). It is zeroised after the decision.
    Password(&'a str),
    /// A password and the one that shall take its place (RFC 4252 §8). Both are zeroised after the decision. Accepting means
    /// that the new one is in force.
    PasswordChange {
        /// The password so far.
        old: &'a str,
        /// The one to come.
        new: &'a str,
    },
    /// Would this key do for this user (RFC 4252 §7)? Nothing has been proved, and accepting authenticates nobody.
    PublicKeyQuery(&'a OfferedKey),
    /// The client has proved that it holds this key.
    PublicKey(&'a OfferedKey),
    /// A keyboard-interactive conversation (RFC 4256): ask with [`AuthDecision::Prompt`], or decide.
    KeyboardInteractive {
        /// What the client would like, most often empty.
        submethods: &'a str,
        /// The answers to the last questions; `None` before the first. They are zeroised in the end.
        answers: Option<&'a [Secret]>,
        /// The answers of all rounds so far, the last included.
        rounds: &'a [Vec<Secret>],
    },
    /// Another host says that its user is at the door, and has proved that it holds this key (RFC 4252 §9).
    HostBased {
        /// The host's key.
        key: &'a OfferedKey,
        /// The host's name, as the client says. That it fits the key is for the authenticator to see.
        host: &'a str,
        /// The user's name there, as the client says.
        user: &'a str,
    },
}

impl AuthMethod<'_> {
    /// Which method it is.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::None => Method::None,
            Self::Password(_) | Self::PasswordChange { .. } => Method::Password,
            Self::PublicKeyQuery(_) | Self::PublicKey(_) => Method::PublicKey,
            Self::KeyboardInteractive { .. } => Method::KeyboardInteractive,
            Self::HostBased { .. } => Method::HostBased,
        }
    }
}

/// Passwords and answers stay out of logs.
impl fmt::Debug for AuthMethod<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password[..]"),
            Self::PasswordChange { .. } => f.write_str("PasswordChange[..]"),
            Self::PublicKeyQuery(key) => write!(f, "PublicKeyQuery({key:?})"),
            Self::PublicKey(key) => write!(f, "PublicKey({key:?})"),
            Self::KeyboardInteractive { rounds, .. } => {
                write!(f, "KeyboardInteractive(round {})", rounds.len())
            }
            Self::HostBased { key, host, user } => {
                f.debug_struct("HostBased").field("key", key).field("host", host).field("user", user).finish()
            }
        }
    }
}

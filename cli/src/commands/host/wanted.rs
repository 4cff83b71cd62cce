//! Which tunnel of a relay is hosted. One whose id was made up here goes with its host: nobody knows it by a name, and an
//! owner may have only so many.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use relay::dial::http::Method;

use crate::args::{ApiArgs, HostArgs};
use crate::commands::api::Api;
use crate::commands::blocking::blocking;
use crate::commands::tunnel::{path, random_id};
use crate::error::{CliError, Code};

/// A host that dies leaves its tunnel behind for this long, counted from its last moment: a machine may sleep over a weekend.
const LEFT_BEHIND: Duration = Duration::from_secs(3 * 24 * 3600);
/// Nobody wants to wait for a relay that is away when they end a host.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Wanted {
    /// Where it is.
    pub(super) api: ApiArgs,
    /// The tunnel's id, or a name.
    pub(super) id: String,
    /// Whether somebody has named it, so that it is kept.
    pub(super) is_named: bool,
    /// By what right it was made, if it is to go with its host.
    made_by: RefCell<Option<Api>>,
}

impl Wanted {
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn new(args: &HostArgs, relay: &str) -> Result<Self, CliError> {
        let api = ApiArgs {
            relay: relay.to_owned(),
            token_file: args.token_file.as_ref().map(PathBuf::from),
            ca_file: args.ca_file.clone(),
        };
        let (id, is_named) = match &args.tunnel {
            Some(name) => (name.clone(), true),
            None => (random_id()?, false),
        };
        Ok(Self { api, id, is_named, made_by: RefCell::default() })
    }

    /// Seconds without a host after which the relay forgets it; the relay's own if there are none.
    pub(super) fn expiration(&self, args: &HostArgs) -> Option<u64> {
        let asked = args.expires.map(|length| length.0);
        if self.is_named { asked } else { Some(LEFT_BEHIND.as_secs().min(asked.unwrap_or(u64::MAX))) }
    }

    /// Makes it by `making`. Whatever becomes of that, dropping it included, [`delete`](Self::delete) knows of it.
    ///
    /// # Errors
    /// Those of `making`.
    pub(super) async fn make(
        &self,
        api: &Api,
        making: impl Future<Output = Result<(), CliError>>,
    ) -> Result<(), CliError> {
        if !self.is_named {
            self.made_by.replace(Some(api.clone()));
        }
        making.await.inspect_err(|error| {
            if error.code != Code::Network {
                self.give_up();
            }
        })
    }

    /// Leaves it to the host that has it now.
    pub(super) fn give_up(&self) {
        self.made_by.replace(None);
    }

    /// Deletes it if it was made up and made here. What fails is left to the relay.
    pub(super) async fn delete(&self) {
        let Some(api) = self.made_by.take() else { return };
        let path = path(&self.id);
        let deleted = async {
            match api.ask(Method::DELETE, &path, None).await {
                // The token in the file may be another one by now.
                Err(error) if error.code == Code::Auth => {
                    let args = self.api.clone();
                    let api = blocking(move || Api::new(&args)).await?;
                    api.ask(Method::DELETE, &path, None).await
                }
                done => done,
            }
        };
        match tokio::time::timeout(PATIENCE, deleted).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the tunnel is left to its expiration"),
            Err(_) => tracing::debug!("the relay does not answer, the tunnel is left to its expiration"),
        }
    }
}

//! `adit forward`: logs in to a server and forwards ports.

mod agent;
mod certificate;
mod credentials;
mod forwards;
mod host_key;
mod key_files;
mod login;
mod prompts;
mod spec;
mod target;
mod terminal;

pub(crate) use spec::{DynamicSpec, Endpoint, ForwardSpec, Listen, Place, RemoteSpec};
pub(crate) use target::Target;

use self::forwards::{End, Forwarder};
use self::login::Login;
use crate::Ended;
use crate::args::ForwardArgs;
use crate::error::{CliError, Code};
use crate::output::{Event, Output};
use crate::signals;

/// Forwards until a signal comes, the session ends for good, or the stdio forward is done.
///
/// # Errors
/// Whatever kept the session or a forward from being set up, or ended the session.
pub(crate) async fn run(mut args: ForwardArgs, output: &Output) -> Result<Ended, CliError> {
    if let Some(port) = args.port {
        args.target.port = port;
    }
    if args.local.is_empty() && args.remote.is_empty() && args.dynamic.is_empty() && args.stdio.is_none() {
        // A session that only shows whether one can log in.
        output.warning("nothing is forwarded; -L, -R, -D and -W say what is to be");
    }
    let signal = signals::first()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))?;
    tokio::pin!(signal);
    let first = async {
        let mut login = Login::prepare(&args, output).await?;
        let link = login.run().await?;
        login.forget_what_is_not_needed();
        Ok::<_, CliError>((login, link))
    };
    let (mut login, mut link) = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        first = first => first?,
    };
    let mut forwarder = Forwarder::new(&args, output);
    loop {
        let end = tokio::select! {
            name = &mut signal => Ok(End::Ended(Ended::Closed(name))),
            end = forwarder.run(&link) => end,
        };
        let (lost, is_told) = match end {
            Ok(End::Lost { error, is_told }) => (error, is_told),
            Ok(End::Ended(ended)) => {
                link.close().await;
                return Ok(ended);
            }
            Err(error) => {
                link.close().await;
                return Err(error);
            }
        };
        // What a forwarded standard input was to carry is lost with its stream.
        let policy = login.may_come_back(&lost).filter(|_| args.stdio.is_none());
        let Some(policy) = policy else { return Err(link.lost(&lost)) };
        if !is_told {
            let reason = lost.to_string();
            output.event(&Event::Disconnected { from: None, reason, resumable: false });
        }
        link = tokio::select! {
            name = &mut signal => return Ok(Ended::Closed(name)),
            again = login.again(&link.session, &policy) => again?,
        };
    }
}

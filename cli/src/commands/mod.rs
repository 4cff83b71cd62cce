//! The commands, one module each.

pub(crate) mod api;
pub(crate) mod blocking;
pub(crate) mod connect;
pub(crate) mod forward;
pub(crate) mod hash_password;
mod hidden;
pub(crate) mod host;
pub(crate) mod keygen;
pub(crate) mod password_file;
pub(crate) mod paths;
pub(crate) mod relay;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod shell_help;
pub(crate) mod token;
pub(crate) mod token_file;
pub(crate) mod tunnel;
pub(crate) mod tunnel_ends;
mod watched;

//! Who may log in at `adit serve`: with the same `authorized_keys` as OpenSSH's server, with certificates, hashed
//! passwords, several steps, and after files have changed.

mod door;
mod files;
mod like_openssh;
mod penalties;
mod required;

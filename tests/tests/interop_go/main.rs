//! Adit and Go's `golang.org/x/crypto/ssh`, in both roles. The other side is the program in `tests/peers/go`.

mod certificates;
mod channels;
mod end;
mod forwards;
mod logins;
mod relay;
mod requests;
mod tunnels;

//! Hosts of their own in network namespaces, each with two links, of which one at a time works.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::keys::output;
use crate::outcome::{Failure, Outcome};
use crate::peers::{program, skip};

const WHAT: &str = "a network of its own";

/// Stations around a router.
pub struct Network {
    router: String,
    stations: Vec<String>,
}

/// A host of a [`Network`], by the name of its namespace.
#[derive(Debug, Clone)]
pub struct Station {
    name: String,
    number: u8,
}

impl Network {
    /// A network without stations. Nothing where this system lets nobody make one, which is said loudly.
    ///
    /// # Errors
    /// When something is wrong with it.
    pub async fn make() -> Outcome<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if program("ip").is_none() {
            return skip(WHAT, "iproute2 is not installed");
        }
        let router = format!("adit-{}-{}-router", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        if let Err(failure) = ip(&["netns", "add", &router]).await {
            // Elsewhere the tests may run as somebody who is not let.
            if std::env::var("ADIT_REQUIRE_NETWORKS").is_ok_and(|set| set == "1") {
                return Err(failure.while_doing(WHAT));
            }
            writeln!(
                std::io::stderr(),
                "SKIPPED: nobody comes to {WHAT}, which root has to make: {failure}"
            )?;
            return Ok(None);
        }
        let network = Self { router, stations: Vec::new() };
        for (file, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")]
        {
            let write = format!("echo {value} > /proc/sys/net/ipv4/{file}");
            ip(&["netns", "exec", &network.router, "sh", "-c", &write]).await?;
        }
        Ok(Some(network))
    }

    /// Another station, on the first of its links.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn station(&mut self) -> Outcome<Station> {
        let number = u8::try_from(self.stations.len())?;
        let name = format!("{}-{number}", self.router.trim_end_matches("-router"));
        ip(&["netns", "add", &name]).await?;
        self.stations.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"]).await?;
        let station = Station { name, number };
        for link in [0, 1] {
            let (here, there) = (format!("up{link}"), format!("to{number}{link}"));
            let add = ["link", "add", &here, "netns", &station.name, "type", "veth", "peer", "name", &there];
            ip(&[&add[..], &["netns", &self.router]].concat()).await?;
            ip(&[
                "-n",
                &station.name,
                "address",
                "add",
                &format!("{}/24", station.address(link)),
                "dev",
                &here,
            ])
            .await?;
            ip(&[
                "-n",
                &self.router,
                "address",
                "add",
                &format!("{}/24", station.gateway(link)),
                "dev",
                &there,
            ])
            .await?;
            ip(&["-n", &self.router, "link", "set", &there, "up"]).await?;
        }
        station.move_to(0).await?;
        Ok(station)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.stations.iter().chain([&self.router]) {
            // What cannot be taken down is in nobody's way.
            let _ = std::process::Command::new(ip_program()).args(["netns", "delete", name]).output();
        }
    }
}

impl Station {
    /// Its address on one of its links, 0 or 1.
    #[must_use]
    pub fn address(&self, link: u8) -> String {
        format!("10.{}.{link}.2", 100 + self.number)
    }

    fn gateway(&self, link: u8) -> String {
        format!("10.{}.{link}.1", 100 + self.number)
    }

    /// Leaves the other link for this one, as a machine does that comes to another network.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn move_to(&self, link: u8) -> Outcome {
        self.leave(1 - link).await?;
        ip(&["-n", &self.name, "link", "set", &format!("up{link}"), "up"]).await?;
        ip(&["-n", &self.name, "route", "replace", "default", "via", &self.gateway(link)]).await
    }

    /// Takes a link down, and all its routes with it.
    ///
    /// # Errors
    /// When it stays up.
    pub async fn leave(&self, link: u8) -> Outcome {
        ip(&["-n", &self.name, "link", "set", &format!("up{link}"), "down"]).await
    }

    /// The same command, run here.
    #[must_use]
    pub fn wrap(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut wrapped = Command::new(ip_program());
        wrapped.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
    }

    /// A listener on a free port of its localhost.
    ///
    /// # Errors
    /// When there is none.
    pub fn listen(&self) -> Outcome<(TcpListener, u16)> {
        let listener = self.inside(|| std::net::TcpListener::bind(("127.0.0.1", 0)))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok((TcpListener::from_std(listener)?, port))
    }

    /// A connection to a port of its localhost.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(&self, port: u16) -> Outcome<TcpStream> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = self.inside(move || std::net::TcpStream::connect(address))?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }

    /// What a thread of this namespace makes. Sockets stay in the one that they were made in.
    fn inside<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Outcome<T> {
        let file = File::open(Path::new("/run/netns").join(&self.name))?;
        #[expect(clippy::disallowed_methods, reason = "the runtime's threads have to stay where they are")]
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            make()
        });
        let made = thread.join().map_err(|_| Failure::new("the thread in the namespace failed"))?;
        Ok(made?)
    }
}

async fn ip(arguments: &[&str]) -> Outcome {
    output(Command::new(ip_program()).args(arguments)).await.map(drop)
}

fn ip_program() -> PathBuf {
    program("ip").unwrap_or_else(|| "ip".into())
}

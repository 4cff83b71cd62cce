//! A long way between the ends of a tunnel.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::delay::Path;

use super::error::{Context, Result};

/// Where to connect to reach `server` over a way whose round trip takes so many milliseconds; `server` itself if it takes none.
pub(crate) fn in_front_of(server: SocketAddr, round_trip: u64) -> Result<SocketAddr> {
    if round_trip == 0 {
        return Ok(server);
    }
    let one_way = Duration::from_millis(round_trip) / 2;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("delay")?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).context("delay")?;
    let address = listener.local_addr().context("delay")?;
    // It ends with the process: there is one for each tunnel, and without a connection it does nothing.
    std::thread::Builder::new()
        .name("delay".into())
        .spawn(move || runtime.block_on(accept(listener, server, one_way)))
        .context("delay")?;
    Ok(address)
}

async fn accept(listener: TcpListener, server: SocketAddr, one_way: Duration) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server, one_way));
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, one_way: Duration) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let path = || Path::default().with_delay(one_way);
    let (client_reader, client_writer) = client.split();
    let (server_reader, server_writer) = server.split();
    let (there, back) = (path(), path());
    tokio::try_join!(there.carry(client_reader, server_writer), back.carry(server_reader, client_writer))
        .map(drop)
}

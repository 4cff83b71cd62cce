//! Clients of a dynamic forward: SOCKS5, SOCKS4a and HTTP CONNECT.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::endpoint::connect;
use crate::outcome::{Failure, Outcome, STEP, ensure, within};

/// A way to ask a proxy for a connection.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// SOCKS5 with an IPv4 address.
    Socks5Address,
    /// SOCKS5 with a host name, which the far side resolves.
    Socks5Name,
    /// SOCKS4 with an address.
    Socks4,
    /// SOCKS4a with a host name.
    Socks4a,
    /// HTTP CONNECT.
    Connect,
}

impl Ask {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Socks5Address, Self::Socks5Name, Self::Socks4, Self::Socks4a, Self::Connect];

    /// Asks the proxy on `proxy` for a connection to `port` of this machine.
    ///
    /// # Errors
    /// When the proxy refuses, naming its answer, or does not keep to the protocol.
    pub async fn open(self, proxy: u16, port: u16) -> Outcome<TcpStream> {
        within(STEP, &format!("asking the proxy by {self:?}"), async {
            let mut stream = connect(proxy).await?;
            match self {
                Self::Socks5Address => socks5(&mut stream, &[1, 127, 0, 0, 1], port).await?,
                Self::Socks5Name => {
                    let mut address = vec![3, 9];
                    address.extend_from_slice(b"localhost");
                    socks5(&mut stream, &address, port).await?;
                }
                Self::Socks4 => socks4(&mut stream, Ipv4Addr::LOCALHOST, b"tester\0", port).await?,
                Self::Socks4a => {
                    socks4(&mut stream, Ipv4Addr::new(0, 0, 0, 1), b"tester\0localhost\0", port).await?;
                }
                Self::Connect => http_connect(&mut stream, port).await?,
            }
            Ok(stream)
        })
        .await
    }
}

async fn socks5(stream: &mut TcpStream, address: &[u8], port: u16) -> Outcome {
    // Version 5, two methods: none (0) and password (2).
    stream.write_all(&[5, 2, 0, 2]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    ensure(method == [5, 0], || format!("the proxy chose {method:?}"))?;
    let mut ask = vec![5, 1, 0];
    ask.extend_from_slice(address);
    ask.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&ask).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, reply, _, kind] = head;
    ensure(version == 5 && reply == 0, || format!("the proxy answered {reply}"))?;
    let bound = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        other => return Err(Failure::new(format!("the proxy's address is of kind {other}"))),
    };
    stream.read_exact(&mut vec![0; bound + 2]).await?;
    Ok(())
}

async fn socks4(stream: &mut TcpStream, address: Ipv4Addr, rest: &[u8], port: u16) -> Outcome {
    let mut ask = vec![4, 1];
    ask.extend_from_slice(&port.to_be_bytes());
    ask.extend_from_slice(&address.octets());
    ask.extend_from_slice(rest);
    stream.write_all(&ask).await?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await?;
    let [version, reply, ..] = answer;
    ensure(version == 0 && reply == 90, || format!("the proxy answered {reply}"))
}

async fn http_connect(stream: &mut TcpStream, port: u16) -> Outcome {
    let ask = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the empty line belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        ensure(answer.len() < 8192, || "the proxy's answer has no end".to_owned())?;
        answer.push(stream.read_u8().await?);
    }
    let status = String::from_utf8_lossy(&answer);
    ensure(status.split(' ').nth(1) == Some("200"), || format!("the proxy answered {status:?}"))
}

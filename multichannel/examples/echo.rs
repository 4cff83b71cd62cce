//! Streams by type over one TCP connection: `cargo run -p multichannel --example echo`.

use multichannel::{Channel, MultiChannelStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await?;
        let streams = MultiChannelStream::server(socket);
        // Each type has a task of its own that waits for it.
        tokio::select! {
            served = serve(&streams, "echo", |said| said) => served,
            served = serve(&streams, "shout", |said| said.to_uppercase()) => served,
            ended = streams.run_until_closed() => ended,
        }
    });

    let streams = MultiChannelStream::client(TcpStream::connect(address).await?);
    for kind in ["echo", "shout"] {
        let mut stream = streams.open_stream(kind).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        println!("{kind}: {answer}");
    }
    streams.close();
    match server.await? {
        Ok(()) | Err(multichannel::Error::Disconnected { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn serve(
    streams: &MultiChannelStream,
    kind: &str,
    answer: fn(String) -> String,
) -> Result<(), multichannel::Error> {
    loop {
        let stream = streams.accept_stream(Some(kind)).await?;
        tokio::spawn(reply(stream, answer));
    }
}

async fn reply(mut stream: Channel, answer: fn(String) -> String) -> std::io::Result<()> {
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    stream.write_all(answer(said).as_bytes()).await
}

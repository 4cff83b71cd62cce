//! What breaks at one end of a connection, while the session goes on, is no clean end at the other.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ends::{Forwarded, assert_reset};

#[tokio::test]
async fn forwarding_that_is_dropped_resets_what_it_carried() {
    for drops_client in [true, false] {
        let forwarded = Forwarded::new().await;
        let (mut near, mut far) = forwarded.connect().await;
        near.write_all(b"half of it").await.unwrap();
        far.read_exact(&mut [0; 10]).await.unwrap();
        let Forwarded { pair, .. } = forwarded;
        let _sessions = (pair.client.session().clone(), pair.server.session().clone());
        let _kept = if drops_client {
            drop(pair.client);
            pair.server
        } else {
            drop(pair.server);
            pair.client
        };
        for socket in [&mut near, &mut far] {
            assert_reset(socket).await;
        }
    }
}

/// Whoever does not read fills the window, so the end that resets is found out only by what is written to it.
#[tokio::test]
async fn a_reset_passes_through_when_its_other_way_is_full() {
    for far_resets in [true, false] {
        let forwarded = Forwarded::new().await;
        let (near, far) = forwarded.connect().await;
        let (mut full, mut unread) = if far_resets { (far, near) } else { (near, far) };
        fill(&mut full).await;
        full.set_zero_linger().unwrap();
        drop(full);
        // Twice, should the first be the one that finds it out.
        for _ in 0..2 {
            let _ = unread.write_all(b"x").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let end = timeout(Duration::from_secs(20), async {
            let mut sink = vec![0; 1 << 20];
            loop {
                match unread.read(&mut sink).await {
                    Ok(0) => break None,
                    Ok(_) => {}
                    Err(error) => break Some(error.kind()),
                }
            }
        });
        assert_eq!(end.await.unwrap(), Some(std::io::ErrorKind::ConnectionReset), "{far_resets}");
    }
}

/// Until nothing more is taken.
async fn fill(socket: &mut TcpStream) {
    let (piece, mut filled) = (vec![7; 1 << 20], 0);
    while let Ok(written) = timeout(Duration::from_millis(500), socket.write(&piece)).await {
        filled += written.unwrap();
    }
    // A window, at least.
    assert!(filled > 2 << 20, "{filled} bytes");
}

/// The other end has had its end of file, and still sends.
#[tokio::test]
async fn a_reset_passes_through_to_who_had_the_end_of_the_data_before() {
    let forwarded = Forwarded::new().await;
    let (mut near, mut far) = forwarded.connect().await;
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    far.set_zero_linger().unwrap();
    drop(far);
    // This finds it out.
    near.write_all(b"x").await.unwrap();
    let failed = async {
        while near.take_error().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), failed).await.unwrap();
}

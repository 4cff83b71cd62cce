//! What goes through a channel: data and stderr, windows of any size, ends, and new keys in the middle of it all.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::json;
use ssh_core::Session;
use ssh_core::channel::Channel;
use ssh_core::config::Limits;
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::end::End;
use tests::peers::go::rekeys;
use tests::traffic::pattern;
use tokio::io::AsyncWriteExt as _;

use crate::end::{Terms, at_end, both_roles, check_read, digest};

/// A channel that we open, and its name there.
async fn opened(end: &mut End, session: &Session) -> Outcome<(Channel, String)> {
    let channel = session.open_channel("session").await?;
    let event = end.expect("channel", json!({ "kind": "session" })).await?;
    Ok((channel, event["channel"].as_str().unwrap_or_default().to_owned()))
}

/// Either side has finished writing and goes on reading.
#[tokio::test]
async fn an_end_of_one_way_leaves_the_other_open() -> Outcome {
    for (mut end, session) in both_roles(Terms::default()).await? {
        let sent = pattern(1, 3_000_001);
        // Ours ends first.
        let (mut channel, there) = opened(&mut end, &session).await?;
        end.tell("read", json!({ "channel": there })).await?;
        channel.write_all(&sent).await?;
        channel.shutdown().await?;
        end.expect("read", json!({ "length": sent.len(), "sha256": digest(&sent) })).await?;
        end.tell("write", json!({ "channel": there, "length": 2_000_001 })).await?;
        check_read(&mut channel, 2_000_001, &mut end).await?;
        end.ask("eof", json!({ "channel": there })).await?;
        at_end(&mut channel).await?;
        drop(channel);
        end.expect("channel_closed", json!({ "channel": there })).await?;
        // Theirs does, and they close what we have ended in turn.
        end.tell("open", json!({ "channel": "theirs", "kind": "session" })).await?;
        let mut channel = session.accept_channel(None).await?;
        end.next("open").await?;
        end.ask("eof", json!({ "channel": "theirs" })).await?;
        at_end(&mut channel).await?;
        end.tell("read", json!({ "channel": "theirs" })).await?;
        channel.write_all(&sent).await?;
        channel.shutdown().await?;
        end.expect("read", json!({ "length": sent.len(), "sha256": digest(&sent) })).await?;
        end.ask("close", json!({ "channel": "theirs" })).await?;
        within(STEP, "their close", async { Ok(channel.closed().await) }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn stderr_is_apart_from_data() -> Outcome {
    const LENGTH: usize = 400_000;
    for (mut end, session) in both_roles(Terms::default()).await? {
        let (mut channel, there) = opened(&mut end, &session).await?;
        let mut stderr = channel.take_stderr();
        for (on_stderr, reader) in
            [(true, &mut stderr as &mut (dyn tokio::io::AsyncRead + Unpin + Send)), (false, &mut channel)]
        {
            let write = json!({ "channel": there, "length": LENGTH, "stderr": on_stderr });
            end.tell("write", write).await?;
            let mut reader = reader;
            check_read(&mut reader, LENGTH, &mut end).await?;
        }
        for on_stderr in [true, false] {
            let sent = pattern(u64::from(on_stderr), LENGTH);
            let read = json!({ "channel": there, "length": LENGTH, "stderr": on_stderr });
            end.tell("read", read).await?;
            match on_stderr {
                true => channel.stderr_writer().write_all(&sent).await?,
                false => channel.write_all(&sent).await?,
            }
            end.expect("read", json!({ "length": LENGTH, "sha256": digest(&sent) })).await?;
        }
        end.ask("eof", json!({ "channel": there })).await?;
        at_end(&mut channel).await?;
        at_end(&mut stderr).await?;
    }
    Ok(())
}

/// Packets of a few bytes, a window that is not even one of Go's packets, and one that is larger than any of Go's.
#[tokio::test]
async fn windows_of_any_size() -> Outcome {
    const MIB: u32 = 1 << 20;
    for (window, packet, length) in
        [(1000, 32 * 1024, 300_000), (50_000, 100, 300_000), (16 * MIB, 32 * 1024, 20_000_000)]
    {
        let mut limits = Limits::default();
        (limits.channel_window, limits.max_channel_window, limits.channel_packet) = (window, window, packet);
        for (mut end, session) in both_roles(Terms { limits, ..Terms::default() }.clone()).await? {
            let (mut channel, there) = opened(&mut end, &session).await?;
            end.tell("write", json!({ "channel": there, "length": length })).await?;
            let read = check_read(&mut channel, length, &mut end);
            within(STEP, &format!("a window of {window} in packets of {packet}"), read).await?;
        }
    }
    Ok(())
}

/// Go's window is 2 MiB. Who does not read it stops us there, and loses nothing.
#[tokio::test]
async fn a_reader_that_waits_stops_the_writer() -> Outcome {
    const WINDOW: u64 = 2 * 1024 * 1024;
    const LENGTH: usize = 5_000_000;
    for (mut end, session) in both_roles(Terms::default()).await? {
        let (channel, there) = opened(&mut end, &session).await?;
        let sent = pattern(3, LENGTH);
        let (mut writer, data) = (channel.writer(), sent.clone());
        let writing = tokio::spawn(async move { writer.write_all(&data).await });
        let full = async {
            while channel.metrics().bytes_sent < WINDOW {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        within(STEP, "a full window", full).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let so_far = channel.metrics().bytes_sent;
        ensure(so_far == WINDOW && !writing.is_finished(), || format!("{so_far} bytes before any was read"))?;
        end.tell("read", json!({ "channel": there, "length": LENGTH })).await?;
        end.expect("read", json!({ "length": LENGTH, "sha256": digest(&sent) })).await?;
        writing.await??;
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_channels_at_once_from_either_side() -> Outcome {
    const COUNT: usize = 100;
    for (mut end, session) in both_roles(Terms::default()).await? {
        let channels = try_join_all((0..COUNT).map(|_| session.open_channel("session"))).await?;
        for number in 0..COUNT {
            end.tell("open", json!({ "channel": format!("theirs{number}"), "kind": "session" })).await?;
        }
        let mut theirs = Vec::new();
        for _ in 0..COUNT {
            theirs.push(session.accept_channel(None).await?);
            end.next("channel").await?;
            end.next("open").await?;
        }
        ensure(session.channel_ids().len() == 2 * COUNT, || format!("{:?}", session.channel_ids()))?;
        drop((channels, theirs));
        for _ in 0..2 * COUNT {
            end.next("channel_closed").await?;
        }
    }
    Ok(())
}

/// Both sides ask for new keys all the time, often at once, while both write.
#[tokio::test]
async fn new_keys_that_both_sides_ask_for_at_once() -> Outcome {
    const ROUNDS: usize = 30;
    /// Above the threshold: each round has new keys in it, however fast it goes.
    const LENGTH: usize = 100_000;
    let terms = Terms { rekey_bytes: Some(64 * 1024), ..Terms::default() };
    for (mut end, session) in both_roles(terms).await? {
        let (mut channel, there) = opened(&mut end, &session).await?;
        for round in 0..ROUNDS {
            let sent = pattern(round as u64, LENGTH);
            let (mut writer, data) = (channel.writer(), sent.clone());
            session.rekey()?;
            let writing = tokio::spawn(async move { writer.write_all(&data).await });
            end.tell("write", json!({ "channel": there, "length": LENGTH })).await?;
            end.tell("read", json!({ "channel": there, "length": LENGTH })).await?;
            within(STEP, "data between new keys", check_read(&mut channel, LENGTH, &mut end)).await?;
            end.expect("read", json!({ "length": LENGTH, "sha256": digest(&sent) })).await?;
            writing.await??;
        }
        // The last one may not have been logged yet.
        within(STEP, "all changes of keys", async {
            while rekeys(&end.log()) < ROUNDS {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

//! A look at the heads of WebSocket frames (RFC 6455 §5.2) before the library reads them, for what it bears and we do not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A stream of frames that fails at the first head that breaks a rule. The library gets nothing of that.
#[derive(Debug)]
pub(crate) struct FrameGuard<S> {
    inner: S,
    /// None on a side that trusts its peer with this, or where something else than frames still comes.
    heads: Option<Heads>,
}

/// What was done, as the error within an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    #[error("a frame's length is not in its shortest form")]
    LongLength,
    #[error("too many empty frames")]
    EmptyFrames,
}

impl Breach {
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    pub(crate) fn code(self) -> CloseCode {
        match self {
            Self::LongLength => CloseCode::Protocol,
            Self::EmptyFrames => CloseCode::Policy,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::LongLength => "the length of a frame is not in its shortest form",
            Self::EmptyFrames => "too many empty frames",
        }
    }
}

/// Frames of data without any, one after the other. SDKs send none; each costs us more than it costs the peer.
const MAX_EMPTY: u32 = 100;

/// Where in which frame the stream is.
#[derive(Debug, Default)]
struct Heads {
    /// The first bytes of a head.
    head: [u8; 10],
    length: usize,
    /// Of the frame's mask and payload, still to come.
    left: u64,
    empty: u32,
}

impl Heads {
    /// Follows the stream by these bytes.
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), Breach> {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left = self.left.saturating_sub(skipped as u64);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.length) {
                *place = *byte;
                self.length = self.length.saturating_add(1);
            }
            bytes = rest;
            self.end_of_head()?;
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Breach> {
        let [first, second, extended @ ..] = self.head;
        let (needed, shortest) = match second & 0x7f {
            126 => (4, 126),
            127 => (10, 0x1_0000),
            _ => (2, 0),
        };
        if self.length < needed {
            return Ok(());
        }
        let payload = match second & 0x7f {
            126 => u16::from_be_bytes([extended[0], extended[1]]).into(),
            127 => u64::from_be_bytes(extended),
            short => u64::from(short),
        };
        if payload < shortest {
            return Err(Breach::LongLength);
        }
        // Control frames have a count of their own.
        if first & 0x08 == 0 {
            self.empty = if payload == 0 { self.empty.saturating_add(1) } else { 0 };
            if self.empty > MAX_EMPTY {
                return Err(Breach::EmptyFrames);
            }
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        self.left = payload.saturating_add(mask);
        self.length = 0;
        Ok(())
    }
}

impl<S> FrameGuard<S> {
    /// Frames come from the first byte on.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, heads: Some(Heads::default()) }
    }

    /// Looks at nothing.
    pub(crate) fn passive(inner: S) -> Self {
        Self { inner, heads: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let seen = this
            .heads
            .as_mut()
            .map_or(Ok(()), |heads| heads.see(buf.filled().get(before..).unwrap_or_default()));
        Poll::Ready(seen.map_err(|breach| io::Error::new(io::ErrorKind::InvalidData, breach)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::collection::vec;
    use proptest::prelude::{Just, any, prop_assert_eq, prop_oneof};
    use proptest::sample::select;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

    use super::*;

    /// A head, masked, and as many bytes as it says.
    fn frame(first: u8, length: &[u8], payload: usize) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | length[0]];
        bytes.extend(&length[1..]);
        bytes.extend([0x7f; 4]);
        bytes.extend(vec![0xff; payload]);
        bytes
    }

    #[test]
    fn the_verdict_is_the_same_for_every_cut() {
        let long = |length: u64| [&[127][..], &length.to_be_bytes()].concat();
        let empty = frame(0x00, &[0], 0).repeat(MAX_EMPTY as usize - 1);
        for (bytes, verdict) in [
            (frame(0x82, &[125], 125), Ok(())),
            (frame(0x82, &[126, 0, 126], 126), Ok(())),
            (frame(0x82, &[126, 0xff, 0xff], 65_535), Ok(())),
            (frame(0x82, &long(65_536), 65_536), Ok(())),
            (frame(0x82, &[126, 0, 125], 125), Err(Breach::LongLength)),
            (frame(0x89, &[126, 0, 0], 0), Err(Breach::LongLength)),
            (frame(0x82, &long(65_535), 65_535), Err(Breach::LongLength)),
            (frame(0x82, &long(3), 3), Err(Breach::LongLength)),
            ([frame(0x02, &[0], 0), empty.clone()].concat(), Ok(())),
            ([frame(0x02, &[0], 0), empty.clone(), frame(0x80, &[0], 0)].concat(), Err(Breach::EmptyFrames)),
            (
                [frame(0x02, &[0], 0), empty.clone(), frame(0x89, &[0], 0), frame(0x00, &[0], 0)].concat(),
                Err(Breach::EmptyFrames),
            ),
            ([empty.clone(), frame(0x00, &[1], 1), empty].concat(), Ok(())),
            (frame(0x82, &[0], 0).repeat(101), Err(Breach::EmptyFrames)),
        ] {
            for cut in [1, 2, 3, 7, 100_000] {
                let mut heads = Heads::default();
                assert_eq!(
                    bytes.chunks(cut).try_for_each(|part| heads.see(part)),
                    verdict,
                    "{cut}: {:x?}…",
                    &bytes[..bytes.len().min(20)]
                );
            }
        }
    }

    /// What the library reads of the same heads, which follow each other without a gap, by the rules above.
    fn reference(bytes: &[u8]) -> Result<(), Breach> {
        let (mut rest, mut empty) = (bytes, 0);
        while let Ok(Some((header, payload))) = FrameHeader::parse(&mut Cursor::new(rest)) {
            let masked = if header.mask.is_some() { 4 } else { 0 };
            let marked = match rest[1] & 0x7f {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if header.len(payload) != marked + masked {
                return Err(Breach::LongLength);
            }
            if !matches!(header.opcode, OpCode::Control(_)) {
                empty = if payload == 0 { empty + 1 } else { 0 };
                if empty > MAX_EMPTY {
                    return Err(Breach::EmptyFrames);
                }
            }
            let end = usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(marked + masked);
            rest = rest.get(end..).unwrap_or_default();
        }
        Ok(())
    }

    proptest::proptest! {
        #[test]
        fn the_verdict_on_any_frames_is_that_of_the_library_s_parser(
            frames in vec(
                (
                    select(vec![0x00, 0x01, 0x02, 0x80, 0x82, 0xc2, 0x88, 0x89, 0x8a]),
                    any::<bool>(),
                    // Many are empty, and some say a short length in a long form.
                    prop_oneof![Just(0_u64), select(vec![1, 125, 126, 127, 65_535, 65_536])],
                    prop_oneof![30 => Just(None), 1 => Just(Some(126)), 1 => Just(Some(127))],
                    0_usize..120,
                ),
                0..12,
            ),
            cuts in vec(1_usize..40, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (first, is_masked, payload, form, repeated) in frames {
                let shortest = match payload { 0..126 => payload as u8, 126..0x1_0000 => 126, _ => 127 };
                let form = form.unwrap_or(shortest).max(shortest);
                let mut frame = vec![first, form | if is_masked { 0x80 } else { 0 }];
                match form {
                    126 => frame.extend((payload as u16).to_be_bytes()),
                    127 => frame.extend(payload.to_be_bytes()),
                    _ => {}
                }
                frame.extend(vec![0x7e; payload as usize + if is_masked { 4 } else { 0 }]);
                bytes.extend(frame.repeat(if payload == 0 { repeated } else { 1 }));
            }
            let expected = reference(&bytes);
            let mut heads = Heads::default();
            let mut rest = bytes.as_slice();
            let mut verdict = Ok(());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || verdict.is_err() {
                    break;
                }
                let (part, later) = rest.split_at((*cut).min(rest.len()));
                verdict = heads.see(part);
                rest = later;
            }
            prop_assert_eq!(verdict, expected);
        }
    }
}

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use crate::protocol::{Inbound, Packet};

/// What a session runs over.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Duplex for S {}

/// Any stream. A session may outlive the one that it began with, and the next may be of another type.
pub(crate) type BoxStream = Pin<Box<dyn Duplex>>;

/// The reading half of a stream, and what has been read from it.
pub(crate) struct ReadLink {
    pub(super) stream: ReadHalf<BoxStream>,
    pub(super) inbound: Inbound,
    /// Opened, but not handed over.
    pub(super) batch: Vec<Packet>,
    /// The engine's when it was given this stream.
    pub(super) generation: u64,
}

/// The writing half.
pub(crate) struct WriteLink {
    pub(super) stream: WriteHalf<BoxStream>,
    pub(super) generation: u64,
}

/// Both halves.
pub(crate) fn split(stream: BoxStream, inbound: Inbound, generation: u64) -> (ReadLink, WriteLink) {
    let (reader, writer) = tokio::io::split(stream);
    let reading = ReadLink { stream: reader, inbound, batch: Vec::with_capacity(64), generation };
    (reading, WriteLink { stream: writer, generation })
}

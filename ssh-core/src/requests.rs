//! The channel requests of RFC 4254 §6 as values.

use bytes::Bytes;

use crate::protocol::PeerRequest;
use crate::protocol::wire::{Reader, WireError, Write as _};

/// A channel request (RFC 4254 §6.2 to §6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelRequest {
    /// `pty-req`: a terminal.
    Pty(Pty),
    /// `env`: a variable for the program.
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
    /// `shell`: the user's shell.
    Shell,
    /// `exec`: a command.
    Exec {
        /// As the user typed it; any bytes.
        command: Vec<u8>,
    },
    /// `subsystem`, for instance `sftp`.
    Subsystem {
        /// Its name.
        name: String,
    },
    /// `window-change`: the terminal has another size. Wants no answer.
    WindowChange(TerminalSize),
    /// `signal`, without the leading `SIG`. Wants no answer.
    Signal {
        /// For instance `TERM`.
        name: String,
    },
    /// `exit-status`: how the program ended. Wants no answer.
    ExitStatus(u32),
    /// `exit-signal`: what ended the program. Wants no answer.
    ExitSignal {
        /// Without the leading `SIG`.
        name: String,
        /// Whether it left a core dump.
        core_dumped: bool,
        /// For the user.
        message: String,
    },
    /// Any other.
    Other {
        /// Its name.
        name: String,
        /// What follows.
        fields: Bytes,
    },
}

/// A terminal (RFC 4254 §6.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pty {
    /// `TERM`, for instance `xterm-256color`.
    pub term: String,
    /// Its size.
    pub size: TerminalSize,
    /// The encoded modes of §8.
    pub modes: Vec<u8>,
}

/// The size of a terminal. Zero means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TerminalSize {
    /// Characters across.
    pub columns: u32,
    /// Characters down.
    pub rows: u32,
    /// Pixels across.
    pub width_pixels: u32,
    /// Pixels down.
    pub height_pixels: u32,
}

/// Names and texts may not be longer, in bytes.
const MAX_TEXT: usize = 4096;

impl ChannelRequest {
    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pty(_) => "pty-req",
            Self::Env { .. } => "env",
            Self::Shell => "shell",
            Self::Exec { .. } => "exec",
            Self::Subsystem { .. } => "subsystem",
            Self::WindowChange(_) => "window-change",
            Self::Signal { .. } => "signal",
            Self::ExitStatus(_) => "exit-status",
            Self::ExitSignal { .. } => "exit-signal",
            Self::Other { name, .. } => name,
        }
    }

    /// What follows the name on the wire.
    #[must_use]
    pub fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Pty(pty) => {
                out.put_string(pty.term.as_bytes());
                pty.size.write(&mut out);
                out.put_string(&pty.modes);
            }
            Self::Env { name, value } => {
                out.put_string(name.as_bytes());
                out.put_string(value);
            }
            Self::Shell => {}
            Self::Exec { command } => out.put_string(command),
            Self::Subsystem { name } | Self::Signal { name } => out.put_string(name.as_bytes()),
            Self::WindowChange(size) => size.write(&mut out),
            Self::ExitStatus(status) => out.put_u32(*status),
            Self::ExitSignal { name, core_dumped, message } => {
                out.put_string(name.as_bytes());
                out.put_bool(*core_dumped);
                out.put_string(message.as_bytes());
                out.put_string(b"");
            }
            Self::Other { fields, .. } => out.put_bytes(fields),
        }
        out
    }

    /// Whether the RFC lets it be answered.
    #[must_use]
    pub fn may_be_answered(&self) -> bool {
        !matches!(
            self,
            Self::WindowChange(_) | Self::Signal { .. } | Self::ExitStatus(_) | Self::ExitSignal { .. }
        )
    }

    /// Reads a request. Bytes behind its fields are ignored, since applications append fields of their own.
    ///
    /// # Errors
    /// [`WireError`] if the fields of a known name do not parse.
    pub fn parse(name: &str, fields: &Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        let text = |reader: &mut Reader<'_>| reader.text(MAX_TEXT).map(str::to_owned);
        Ok(match name {
            "pty-req" => Self::Pty(Pty {
                term: text(&mut reader)?,
                size: TerminalSize::read(&mut reader)?,
                modes: reader.string_max(MAX_TEXT)?.to_vec(),
            }),
            "env" => Self::Env { name: text(&mut reader)?, value: reader.string()?.to_vec() },
            "shell" => Self::Shell,
            "exec" => Self::Exec { command: reader.string()?.to_vec() },
            "subsystem" => Self::Subsystem { name: text(&mut reader)? },
            "window-change" => Self::WindowChange(TerminalSize::read(&mut reader)?),
            "signal" => Self::Signal { name: text(&mut reader)? },
            "exit-status" => Self::ExitStatus(reader.u32()?),
            "exit-signal" => Self::ExitSignal {
                name: text(&mut reader)?,
                core_dumped: reader.boolean()?,
                message: text(&mut reader)?,
            },
            _ => Self::Other { name: name.to_owned(), fields: fields.clone() },
        })
    }
}

impl TryFrom<&PeerRequest> for ChannelRequest {
    type Error = WireError;

    fn try_from(request: &PeerRequest) -> Result<Self, WireError> {
        Self::parse(&request.name, &request.fields)
    }
}

impl TerminalSize {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            columns: reader.u32()?,
            rows: reader.u32()?,
            width_pixels: reader.u32()?,
            height_pixels: reader.u32()?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        for number in [self.columns, self.rows, self.width_pixels, self.height_pixels] {
            out.put_u32(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let size = TerminalSize { columns: 80, rows: 24, width_pixels: 640, height_pixels: 480 };
        let requests = [
            ChannelRequest::Pty(Pty { term: "vt100".into(), size, modes: vec![0] }),
            ChannelRequest::Env { name: "LANG".into(), value: b"C".to_vec() },
            ChannelRequest::Shell,
            ChannelRequest::Exec { command: b"ls \xff".to_vec() },
            ChannelRequest::Subsystem { name: "sftp".into() },
            ChannelRequest::WindowChange(size),
            ChannelRequest::Signal { name: "INT".into() },
            ChannelRequest::ExitStatus(7),
            ChannelRequest::ExitSignal { name: "TERM".into(), core_dumped: true, message: "killed".into() },
            ChannelRequest::Other { name: "x@y".into(), fields: Bytes::from_static(b"raw") },
        ];
        for request in requests {
            let mut fields = request.fields();
            assert_eq!(ChannelRequest::parse(request.name(), &fields.clone().into()), Ok(request.clone()));
            if fields.pop().is_some() && !matches!(request, ChannelRequest::Other { .. }) {
                let cut = ChannelRequest::parse(request.name(), &fields.into());
                // The language behind an exit-signal is not read.
                assert!(cut.is_err() || matches!(request, ChannelRequest::ExitSignal { .. }), "{request:?}");
            }
        }
    }

    /// As Dev Tunnels' Go and TypeScript peers write them.
    #[test]
    fn the_bytes_are_those_of_the_reference() {
        assert_eq!(ChannelRequest::Signal { name: "INT".into() }.fields(), b"\0\0\0\x03INT");
        assert_eq!(ChannelRequest::ExitStatus(7).fields(), b"\0\0\0\x07");
        let signal =
            ChannelRequest::ExitSignal { name: "TERM".into(), core_dumped: false, message: "killed".into() };
        assert_eq!(signal.fields(), b"\0\0\0\x04TERM\0\0\0\0\x06killed\0\0\0\0");
        assert_eq!(ChannelRequest::Exec { command: b"ls".to_vec() }.fields(), b"\0\0\0\x02ls");
    }
}

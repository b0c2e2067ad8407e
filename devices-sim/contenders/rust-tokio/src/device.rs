//! What one device gets for its frames: its messages back, and each of them on NATS.

use crate::nats::Nats;
use crate::ws;
use bytes::{Buf, BytesMut};
use std::sync::Arc;

pub struct Device {
    nats: Arc<Nats>,
    subject: String,
    /// Frames for the device, not yet written.
    pub out: Vec<u8>,
    /// The message that is arriving in several frames, and its opcode; 0 between messages.
    parts: Vec<u8>,
    kind: u8,
}

impl Device {
    pub fn new(nats: Arc<Nats>, id: &str) -> Device {
        Device {
            nats,
            subject: format!("devices.{id}.up"),
            out: Vec::new(),
            parts: Vec::new(),
            kind: 0,
        }
    }

    /// Takes all whole frames out of `input`; false when the last bytes for this device are in `out`.
    pub fn consume(&mut self, input: &mut BytesMut) -> bool {
        loop {
            let end = match ws::next_frame(input) {
                Ok(None) => return true,
                Ok(Some(frame)) => {
                    let end = frame.payload.end;
                    self.handle(frame.opcode, frame.last, &input[frame.payload])
                        .map(|goes_on| goes_on.then_some(end))
                }
                Err(code) => Err(code),
            };
            match end {
                Ok(Some(end)) => input.advance(end),
                Ok(None) => return false,
                Err(code) => {
                    ws::append_frame(&mut self.out, ws::CLOSE, &code.to_be_bytes());
                    return false;
                }
            }
        }
    }

    fn handle(&mut self, opcode: u8, last: bool, payload: &[u8]) -> Result<bool, u16> {
        match opcode {
            ws::CLOSE => {
                ws::append_frame(&mut self.out, ws::CLOSE, payload);
                return Ok(false);
            }
            ws::PING => ws::append_frame(&mut self.out, ws::PONG, payload),
            ws::PONG => {}
            // A continuation belongs to a message, and a message ends before the next begins [RFC 6455 §5.4].
            _ if (opcode == ws::CONTINUATION) != (self.kind != 0) => {
                return Err(ws::PROTOCOL_ERROR)
            }
            _ if last && self.kind == 0 => self.relay(opcode, payload),
            _ => {
                self.kind |= opcode;
                self.parts.extend_from_slice(payload);
                if self.parts.len() > ws::MESSAGE_BYTES_MAX {
                    return Err(ws::TOO_BIG);
                }
                if last {
                    let (kind, message) = (
                        std::mem::take(&mut self.kind),
                        std::mem::take(&mut self.parts),
                    );
                    self.relay(kind, &message);
                }
            }
        }
        Ok(true)
    }

    fn relay(&mut self, opcode: u8, message: &[u8]) {
        ws::append_frame(&mut self.out, opcode, message);
        self.nats.publish(&self.subject, message);
    }
}

//! The server's half of RFC 6455 over byte buffers; Debian has no WebSocket crate.

use bytes::{Buf, BytesMut};
use sha1::{Digest, Sha1};
use std::ops::Range;

pub const CONTINUATION: u8 = 0;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Close codes of RFC 6455 §7.4.1.
pub const PROTOCOL_ERROR: u16 = 1002;
pub const TOO_BIG: u16 = 1009;

pub const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
const REQUEST_BYTES_MAX: usize = 16 << 10;
const ID_BYTES_MAX: usize = 128;

pub enum Upgrade {
    Partial,
    Refused,
    Accepted { answer: String, id: String },
}

/// Takes the request out of `input` once it is whole. What follows it stays.
pub fn upgrade(input: &mut BytesMut) -> Upgrade {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let size = match request.parse(input) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if input.len() < REQUEST_BYTES_MAX => {
            return Upgrade::Partial
        }
        _ => return Upgrade::Refused,
    };
    let header = |name: &str| {
        let found = request
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name));
        found.map_or(&b""[..], |h| h.value)
    };
    let id = request
        .path
        .and_then(|p| p.strip_prefix("/ws/"))
        .unwrap_or("");
    let named = (1..=ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = header("sec-websocket-key");
    if !named
        || request.method != Some("GET")
        || !header("upgrade").eq_ignore_ascii_case(b"websocket")
        || header("sec-websocket-version") != b"13"
        || key.len() != 24
    {
        return Upgrade::Refused;
    }
    let accept = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        base64(&accept)
    );
    let id = id.to_string();
    input.advance(size);
    Upgrade::Accepted { answer, id }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, b| bits << 8 | *b as u32) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > group.len() {
                '='
            } else {
                DIGITS[value as usize] as char
            });
        }
    }
    text
}

/// One frame at the start of a buffer; `payload` ends where the next begins.
pub struct Frame {
    pub opcode: u8,
    pub last: bool,
    pub payload: Range<usize>,
}

/// Finds the first whole frame in `input` and unmasks its payload there. An error is a close code.
pub fn next_frame(input: &mut [u8]) -> Result<Option<Frame>, u16> {
    if input.len() < 2 {
        return Ok(None);
    }
    let (opcode, last) = (input[0] & 0x0f, input[0] & 0x80 != 0);
    let control = opcode >= CLOSE;
    let known = opcode <= 2 || (CLOSE..=PONG).contains(&opcode);
    let masked = input[1] & 0x80 != 0;
    if input[0] & 0x70 != 0 || !known || !masked {
        return Err(PROTOCOL_ERROR);
    }
    let (size, header) = match input[1] & 0x7f {
        126 if input.len() < 4 => return Ok(None),
        126 => (u16::from_be_bytes([input[2], input[3]]) as usize, 4),
        127 if input.len() < 10 => return Ok(None),
        127 => (
            u64::from_be_bytes(input[2..10].try_into().unwrap()).min(usize::MAX as u64) as usize,
            10,
        ),
        short => (short as usize, 2),
    };
    if control && (size > 125 || !last) {
        return Err(PROTOCOL_ERROR);
    }
    if size > MESSAGE_BYTES_MAX {
        return Err(TOO_BIG);
    }
    let payload = header + 4..header + 4 + size;
    if input.len() < payload.end {
        return Ok(None);
    }
    let mask: [u8; 4] = input[header..header + 4].try_into().unwrap();
    for (i, b) in input[payload.clone()].iter_mut().enumerate() {
        *b ^= mask[i % 4];
    }
    Ok(Some(Frame {
        opcode,
        last,
        payload,
    }))
}

pub fn append_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

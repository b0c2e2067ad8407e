//! As much of the NATS client protocol as a publisher needs; Debian has no NATS client for Rust.

use std::sync::{Arc, Mutex};
use std::{io, process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Collects messages of all devices for one connection.
pub struct Nats {
    pending: Mutex<Vec<u8>>,
    waiting: Notify,
}

impl Nats {
    pub async fn connect(url: &str) -> io::Result<Arc<Nats>> {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let hello = &b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\"}\r\n"[..];
        let nats = Arc::new(Nats {
            pending: Mutex::new(hello.to_vec()),
            waiting: Notify::new(),
        });
        nats.waiting.notify_one();
        tokio::spawn(lost(nats.clone().read(reader)));
        tokio::spawn(lost(nats.clone().write(writer)));
        Ok(nats)
    }

    pub fn publish(&self, subject: &str, payload: &[u8]) {
        let mut digits = [0; 20];
        self.append(&[
            b"PUB ",
            subject.as_bytes(),
            b" ",
            decimal(payload.len(), &mut digits),
            b"\r\n",
            payload,
            b"\r\n",
        ]);
    }

    fn append(&self, parts: &[&[u8]]) {
        let mut pending = self.pending.lock().unwrap();
        let first = pending.is_empty();
        for part in parts {
            pending.extend_from_slice(part);
        }
        drop(pending);
        if first {
            self.waiting.notify_one();
        }
    }

    /// Writes what has been collected, over and over. Yielding first lets the tasks that are ready now add theirs.
    async fn write(self: Arc<Nats>, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            self.waiting.notified().await;
            tokio::task::yield_now().await;
            std::mem::swap(&mut batch, &mut *self.pending.lock().unwrap());
            writer.write_all(&batch).await?;
            batch.clear();
        }
    }

    async fn read(self: Arc<Nats>, reader: OwnedReadHalf) -> io::Result<()> {
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            if line == "PING" {
                self.append(&[b"PONG\r\n"]);
            } else if line.starts_with("-ERR") {
                return Err(io::Error::new(io::ErrorKind::Other, line));
            }
        }
        Ok(())
    }
}

/// Without NATS there is nothing to measure.
async fn lost(half: impl std::future::Future<Output = io::Result<()>>) {
    eprintln!("NATS is gone: {:?}", half.await);
    process::exit(1);
}

fn decimal(mut n: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

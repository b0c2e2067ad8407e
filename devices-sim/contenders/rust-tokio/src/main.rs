//! The WebSocket contender in Rust: a Tokio task for every device.

mod device;
mod nats;
mod ws;

use bytes::BytesMut;
use device::Device;
use nats::Nats;
use std::{env, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::signal::unix::{signal, SignalKind};

/// What a device is read into: also what an idle device keeps.
const READ_BYTES: usize = 1024;
/// An output buffer that grew beyond this is given back.
const KEEP_BYTES: usize = 4096;

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("BENCH_PORT").expect("BENCH_PORT");
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("BENCH_PORT");
    let nats = Nats::connect(&env::var("BENCH_NATS").expect("BENCH_NATS")).await?;

    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(4096)?;
    let mut term = signal(SignalKind::terminate())?;
    println!("ready");
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let nats = nats.clone();
                    tokio::spawn(async move { serve(stream, nats).await });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await, // no descriptors
            }
        }
    }
}

/// Serves one device until one of the two sides ends.
async fn serve(mut stream: TcpStream, nats: Arc<Nats>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let mut device = loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        match ws::upgrade(&mut input) {
            ws::Upgrade::Partial => continue,
            ws::Upgrade::Refused => return stream.write_all(ws::NOT_FOUND).await,
            ws::Upgrade::Accepted { answer, id } => {
                stream.write_all(answer.as_bytes()).await?;
                break Device::new(nats, &id);
            }
        }
    };
    loop {
        let goes_on = device.consume(&mut input);
        if !device.out.is_empty() {
            stream.write_all(&device.out).await?;
            device.out.clear();
            device.out.shrink_to(KEEP_BYTES);
        }
        input.reserve(READ_BYTES / 2);
        if !goes_on || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

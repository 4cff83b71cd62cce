//! Throughput and set-up cost of streams over an in-memory stream.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multichannel::{Channel, MultiChannelStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

const TRANSFER: usize = 16 * 1024 * 1024;

async fn pair() -> (MultiChannelStream, MultiChannelStream) {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let (near, far) = (MultiChannelStream::client(near), MultiChannelStream::server(far));
    let (a, b) = tokio::join!(near.connect(), far.connect());
    a.unwrap();
    b.unwrap();
    (near, far)
}

async fn stream(near: &MultiChannelStream, far: &MultiChannelStream) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(near.open_stream(""), far.accept_stream(None));
    (opened.unwrap(), accepted.unwrap())
}

fn bulk(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("bulk");
    group.throughput(Throughput::Bytes(TRANSFER as u64)).sample_size(10);
    for size in [1024, 32 * 1024] {
        group.bench_function(format!("writes of {size}"), |b| {
            let (_near, _far, mut writer, mut reader) = runtime.block_on(async {
                let (near, far) = pair().await;
                let (writer, reader) = stream(&near, &far).await;
                (near, far, writer, reader)
            });
            let message = vec![7; size];
            let mut buffer = vec![0; 256 * 1024];
            b.iter(|| {
                runtime.block_on(async {
                    let write = async {
                        for _ in 0..TRANSFER / size {
                            writer.write_all(&message).await.unwrap();
                        }
                    };
                    let read = async {
                        let mut left = TRANSFER;
                        while left > 0 {
                            left -= reader.read(&mut buffer).await.unwrap();
                        }
                    };
                    tokio::join!(write, read);
                });
            });
        });
    }
    group.finish();
}

fn open_and_close(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    c.bench_function("open, echo a byte, close", |b| {
        let (near, far) = runtime.block_on(pair());
        b.iter(|| {
            runtime.block_on(async {
                let (mut near, mut far) = stream(&near, &far).await;
                near.write_u8(1).await.unwrap();
                far.read_u8().await.unwrap();
            });
        });
    });
}

criterion_group!(benches, bulk, open_and_close);
criterion_main!(benches);

//! Sealing and opening packets in place: every cipher of every backend, at 1 KiB and 32 KiB.
#![expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ssh_core::crypto::{Cipher, CipherKind, CryptoProvider, MacKey};

const SIZES: [usize; 2] = [1024, 32 * 1024];

fn providers() -> Vec<&'static CryptoProvider> {
    vec![
        #[cfg(feature = "rustcrypto")]
        &ssh_core::crypto::rustcrypto::PROVIDER,
        #[cfg(feature = "aws-lc")]
        &ssh_core::crypto::aws_lc::PROVIDER,
    ]
}

fn packets(criterion: &mut Criterion) {
    for provider in providers() {
        for cipher in provider.ciphers {
            let mac = provider.mac("hmac-sha2-256-etm@openssh.com").unwrap();
            let mac = (cipher.kind() != CipherKind::Aead).then_some(MacKey { mac, key: &[7; 32] });
            let mut group = criterion.benchmark_group(format!("{}/{}", provider.name, cipher.name()));
            for size in SIZES {
                packet(&mut group, *cipher, mac, size);
            }
            group.finish();
        }
    }
}

fn packet(
    group: &mut BenchmarkGroup<'_, WallTime>,
    cipher: &dyn Cipher,
    mac: Option<MacKey<'_>>,
    size: usize,
) {
    let (key, iv) = (vec![1; cipher.key_len()], vec![2; cipher.iv_len()]);
    let mut sealer = cipher.sealer(&key, &iv, mac).unwrap();
    let mut plain = vec![0; 4 + size + sealer.framing().tag_len];
    plain[..4].copy_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    group.throughput(Throughput::Bytes(u64::try_from(size).unwrap()));

    let mut packet = plain.clone();
    group.bench_function(format!("seal/{size}"), |bencher| {
        bencher.iter(|| {
            // The length is overwritten by some ciphers; what is in the text does not matter.
            packet[..4].copy_from_slice(&plain[..4]);
            sealer.seal(3, black_box(&mut packet)).unwrap();
        });
    });

    let mut sealed = plain;
    cipher.sealer(&key, &iv, mac).unwrap().seal(3, &mut sealed).unwrap();
    group.bench_function(format!("open/{size}"), |bencher| {
        // A fresh opener each time, for an opener opens each packet once; neither it nor the copy is measured.
        bencher.iter_batched(
            || (cipher.opener(&key, &iv, mac).unwrap(), sealed.clone()),
            |(mut opener, mut packet)| {
                let head_len = opener.head_len();
                black_box(opener.open_length(3, &mut packet[..head_len]));
                opener.open(3, black_box(&mut packet)).unwrap();
                (opener, packet)
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, packets);
criterion_main!(benches);

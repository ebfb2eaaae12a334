//! The rules alone: what a grant, a beat and a look at the clock cost, from 16
//! to 16,384 shards.

use std::time::Duration;

use divan::{Bencher, black_box};
use shardman_core::lease::{BeatReport, Claim, Holder, LeaseTable};
use shardman_core::{Epoch, Plan, SessionId, Tick};

const SIZES: [u32; 4] = [16, 256, 4096, 16_384];

fn main() {
    divan::main();
}

fn session(number: u32) -> SessionId {
    SessionId::from_random(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn held(shards: u32) -> LeaseTable {
    let mut table = LeaseTable::new(Plan::of_total(shards), Duration::from_secs(60), Epoch(1));
    for number in 0..shards {
        let claim = Claim {
            holder: Holder::External,
            session: session(number),
            key: None,
        };
        table
            .claim(claim, Duration::ZERO, Tick(0))
            .expect("a shard is free");
    }
    table.take_writes();
    table
}

#[divan::bench(args = SIZES)]
fn beat(bencher: Bencher<'_, '_>, shards: u32) {
    let (mut table, mut number) = (held(shards), 0);
    bencher.bench_local(|| {
        number = (number + 7) % shards;
        let report = BeatReport {
            guild_count: Some(7),
            ..BeatReport::default()
        };
        table
            .beat(&Holder::External, black_box(session(number)), report, Tick(1))
            .expect("a lease")
    });
}

#[divan::bench(args = SIZES)]
fn release_and_claim(bencher: Bencher<'_, '_>, shards: u32) {
    let mut table = held(shards);
    bencher.bench_local(|| {
        table
            .release(&Holder::External, session(3), Tick(1))
            .expect("a lease");
        let claim = Claim {
            holder: Holder::External,
            session: session(3),
            key: None,
        };
        table
            .claim(claim, Duration::ZERO, Tick(1))
            .expect("a shard is free");
        (table.take_writes(), table.take_effects())
    });
}

#[divan::bench(args = SIZES)]
fn look_at_the_clock(bencher: Bencher<'_, '_>, shards: u32) {
    let mut table = held(shards);
    bencher.bench_local(|| {
        table.handle_timeout(Tick(1000));
        table.poll_timeout()
    });
}

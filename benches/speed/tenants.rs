//! Memory that a sealer keeps for each tenant, beside the tenant's id.

use ledgerline::ledger::chain::{Head, Heads};
use std::hint::black_box;

const TENANTS: usize = 1_000_000;

pub fn print() {
    let before = resident_bytes();
    let mut heads = Heads::default();
    let mut id_bytes = 0;
    for n in 0..TENANTS {
        let tenant = format!("tenant-{n:07}");
        id_bytes += tenant.len();
        heads.restore(
            &tenant,
            Head {
                sequence: n as u64,
                hash: [n as u8; 32],
            },
        );
    }
    let per_tenant =
        (resident_bytes().saturating_sub(before).saturating_sub(id_bytes)) as f64 / TENANTS as f64;
    println!(
        "State a tenant, beside its id        {per_tenant:>7.0} bytes, of {} tenants (aim 200)\n",
        black_box(&heads).len()
    );
}

fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .unwrap_or(0)
        * PAGE_BYTES
}

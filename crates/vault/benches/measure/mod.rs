//! What the benches of both vaults measure with.
#![allow(dead_code)]

use std::ops::Range;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |n| n.replace('_', "").parse().expect("a number"))
}

/// Values of the shape of a social security number.
pub fn texts(range: Range<u64>, text: &mut Vec<[u8; 11]>, value: impl Fn(u64) -> u64) {
    text.clear();
    for i in range {
        let mut digits = *b"000-00-0000";
        let mut rest = value(i);
        for digit in digits.iter_mut().rev().filter(|digit| **digit != b'-') {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        text.push(digits);
    }
}

/// A bijection on 0..2^k, values beyond `n` skipped: an order without locality.
pub fn shuffled(i: u64, n: u64) -> u64 {
    let bits = n.next_power_of_two();
    let mut x = i;
    loop {
        x = (x.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5bd1_e995) & (bits - 1);
        x ^= x >> (bits.trailing_zeros() / 2).max(1);
        if x < n {
            return x;
        }
    }
}

/// User and system time of this process (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks")).sum::<f64>() / 100.0
}

pub fn peak_megabytes() -> u64 {
    megabytes("VmHWM:")
}

pub fn resident_megabytes() -> u64 {
    megabytes("VmRSS:")
}

fn megabytes(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line of memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") / 1024
}

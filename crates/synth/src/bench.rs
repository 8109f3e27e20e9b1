//! One wide-enough flat file for measuring throughput: ten columns, about 120 bytes a row.

use std::io::{self, Write};

use crate::day::Day;
use crate::id::{Id, Thing};
use crate::ink::Ink;
use crate::rng::{Rng, Stream, at};
use crate::world::clinical::CHRONIC;
use crate::world::names::Culture;
use crate::world::places::{LARGE, SMALL};

pub(crate) const HEADER: &str = "patient_id,name,ssn,dob,zip,gender,email,phone,diagnosis,amount\n";

/// Writes `rows` patients as CSV with exactly ten columns: `patient_id` (a UUID), `name`, `ssn`, `dob`
/// (ISO), `zip`, `gender` (F, M), `email`, `phone`, `diagnosis` (ICD-10-CM) and `amount` (dollars and cents).
/// Clean, and of the same never-issued ranges as the hospital. Five million rows are about 600 MB.
/// Returns the bytes written.
pub fn bench_patients(rows: u64, seed: u64, out: &mut dyn Write) -> io::Result<u64> {
    const BUFFER: usize = 1 << 20;
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER + 4_096);
    let mut written = 0;
    buffer.put(HEADER);
    let born = Day::from_ymd(1925, 1, 1).0;
    for number in 0..rows {
        let mut rng = Rng::of(seed, Stream::Bench, number);
        let culture = Culture::pick(&mut rng);
        let female = rng.chance(0.51);
        let first = culture.given(&mut rng, female);
        let last = culture.surname(&mut rng);
        let place = if rng.chance(0.02) { rng.pick(SMALL) } else { rng.pick(LARGE) };
        let id = Id::new(seed, Thing::Bench, number, 0);
        buffer.extend_from_slice(id.bytes());
        buffer.push(b',');
        buffer.put(first);
        buffer.push(b' ');
        buffer.put(last);
        buffer.put(",9");
        buffer.pad(number / (9_999 * 49) % 100, 2);
        buffer.push(b'-');
        buffer.pad(number / 9_999 % 49 + 1, 2);
        buffer.push(b'-');
        buffer.pad(number % 9_999 + 1, 4);
        buffer.push(b',');
        buffer.day(Day(born + rng.below(36_800) as i32));
        buffer.push(b',');
        buffer.put(place.zip);
        buffer.put(if female { ",F,p" } else { ",M,p" });
        buffer.int(number);
        buffer.put("@example.org,");
        buffer.int(u64::from(place.area));
        buffer.put("-555-01");
        buffer.two(rng.below(100));
        buffer.push(b',');
        buffer.put(at(CHRONIC, rng.below(64) as usize).icd10);
        buffer.push(b',');
        buffer.fixed(rng.between(2_500, 4_000_000), 2);
        buffer.push(b'\n');
        if buffer.len() >= BUFFER {
            out.write_all(&buffer)?;
            written += buffer.len() as u64;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    Ok(written + buffer.len() as u64)
}

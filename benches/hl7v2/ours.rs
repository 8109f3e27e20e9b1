//! Cordon's side of the bench of HL7 v2 messages.
//!
//! `bench-hl7v2 make COUNT` prints results of a laboratory of about 1 kB each, messages parted by a blank line; `bench-hl7v2 mask`
//! reads them, masks six fields of each PID, prints all of them, and on standard error the messages and the CPU-seconds of
//! parsing, masking and writing.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of a bench, over its own data")]

use std::fmt::Write as _;
use std::io::{Read, Write};

use cordon_formats::hl7v2::{Edits, parse};

/// Identifiers, name, birth date, address, telephone, social security number.
const FIELDS: [usize; 6] = [3, 5, 7, 11, 13, 19];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", count] => make(count.parse()?)?,
        ["mask"] => mask_all()?,
        _ => return Err("usage: bench-hl7v2 make COUNT | mask".into()),
    }
    Ok(())
}

fn make(count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = String::new();
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    for number in 0..count {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let name = |n: u64| {
            let from = (x >> n) as usize % 12;
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ".get(from..from + 4 + (x >> (n + 8)) as usize % 9).unwrap_or_default()
        };
        let (family, given, street) = (name(3), name(11), name(19));
        let (born, id) = (19_200_101 + x % 900_000, x % 100_000_000);
        write!(
            out,
            "MSH|^~\\&|LAB|{street}|EHR|GENERAL|20240102030405||ORU^R01^ORU_R01|{number:010}|P|2.5.1\r\
             PID|1||{id:08}^^^GENERAL^MR||{family}^{given}^Q||{born}|F||2106-3|{number} {street} ST^^SPRINGFIELD^IL^62701^USA||(217)555-0{:03}|||M||{id:010}|{:03}-{:02}-{:04}\r\
             PV1|1|I|2000^2012^01||||004777^{given}^{family}^J|||SUR||||ADM|A0\r\
             ORC|RE|{number}^EHR|{id}^LAB||CM||||20240101120000\r\
             OBR|1|{number}^EHR|{id}^LAB|24323-8^Comprehensive metabolic panel^LN|||20240101113000|||||||||004777^{given}^{family}^J\r",
            x % 1000,
            x % 899,
            x % 97,
            x % 9973,
        )?;
        for (set, test) in ["2345-7^Glucose", "3094-0^BUN", "2160-0^Creatinine", "2951-2^Sodium"].iter().enumerate() {
            let (set, value) = (set + 1, (x >> set) % 200);
            write!(out, "OBX|{set}|NM|{test}^LN||{value}|mg/dL^mg/dL^UCUM|70-99|N|||F|||20240101113000\r")?;
        }
        out.push_str(
            "NTE|1|L|Specimen slightly hemolyzed, result may be affected; repeat if clinically indicated.\n\n",
        );
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}

fn mask_all() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let messages: Vec<&str> = text.split("\n\n").filter(|message| !message.is_empty()).collect();
    let (mut out, mut edits) = (Vec::with_capacity(text.len()), Edits::default());
    let (mut rounds, begin, mut seconds) = (0_u32, cpu()?, 0.0);
    while seconds < 2.0 {
        out.clear();
        for message in &messages {
            mask(message.as_bytes(), &mut edits, &mut out)?;
            out.extend_from_slice(b"\n\n");
        }
        rounds += 1;
        seconds = cpu()? - begin;
    }
    std::io::stdout().write_all(&out)?;
    eprintln!("{} {}", messages.len() as u64 * u64::from(rounds), seconds);
    Ok(())
}

fn mask(text: &[u8], edits: &mut Edits, out: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    let message = parse(text)?;
    edits.clear();
    for pid in message.segments().filter(|segment| segment.name() == b"PID") {
        for field in pid.fields().filter(|field| FIELDS.contains(&field.number)) {
            edits.replace_raw(&field.value, b"***")?;
        }
    }
    edits.write(&message, out)?;
    Ok(())
}

/// CPU-seconds of this process, user and system.
fn cpu() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("a number of ticks");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

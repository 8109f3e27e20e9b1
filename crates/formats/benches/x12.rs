//! How many claims a second are read, placed in their loops, masked, written and made tables of on one core.
//!
//! `cargo bench -p cordon-formats --bench x12`.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use cordon_formats::x12::{
    Edits, Kind, Outline, ReadOptions, RecordKind, Role, Transaction, TransactionReader, facts, tables,
};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const SETS: usize = 40;
const CLAIMS: usize = 250;

/// An interchange of professional claims, one subscriber a claim with two service lines, about 0.7 kB each.
fn claims() -> String {
    let mut text =
        "ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *240102*1200*^*00501*000000001*0*P*:~\n\
        GS*HC*SENDER*RECEIVER*20240102*1200*1*X*005010X222A1~\n"
            .to_owned();
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    for set in 0..SETS {
        write!(
            text,
            "ST*837*{set:04}*005010X222A1~\nBHT*0019*00*{set}*20240102*1200*CH~\nNM1*41*2*BILLING*****46*TGJ23~\n\
             PER*IC*JERRY*TE*3055552222~\nNM1*40*2*PAYER*****46*66783~\nHL*1**20*1~\nNM1*85*2*CLINIC*****XX*1999996666~\n\
             N3*1 MAIN ST~\nN4*MIAMI*FL*33111~\nREF*EI*123456789~\n"
        )
        .unwrap();
        for claim in 0..CLAIMS {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let (id, day, level) = (x % 100_000_000, 10 + x % 18, claim + 2);
            write!(
                text,
                "HL*{level}*1*22*0~\nSBR*P*18*{:05}******CI~\nNM1*IL*1*FAMILY{:04}*GIVEN{:03}*Q***MI*{id:010}~\n\
                 N3*{} STREET AVENUE~\nN4*SPRINGFIELD*IL*62{:03}~\nDMG*D8*19{:02}0{}{day}*F~\nNM1*PR*2*KEY INSURANCE*****PI*99999~\n\
                 CLM*{id}-{claim}*{}.50***11:B:1*Y*A*Y*Y~\nREF*EA*{id}~\nHI*ABK:J{:02}1*ABF:E11{}~\nNM1*82*1*DOCTOR*BEN****XX*1999996666~\n\
                 PRV*PE*PXC*204C00000X~\nLX*1~\nSV1*HC:99213:25*43.00*UN*1***1:2~\nDTP*472*D8*202401{day}~\nREF*6R*{id}1~\n\
                 LX*2~\nSV1*HC:90782*15.00*UN*1***1~\nDTP*472*D8*202401{day}~\nREF*6R*{id}2~\n",
                x % 99_999,
                x % 9973,
                x % 997,
                x % 9_999,
                x % 1000,
                x % 100,
                1 + x % 9,
                x % 900,
                x % 90,
                x % 10,
            )
            .unwrap();
        }
        writeln!(text, "SE*{}*{set:04}~", 11 + CLAIMS * 20).unwrap();
    }
    write!(text, "GE*{SETS}*1~\nIEA*1*000000001~\n").unwrap();
    text
}

/// Names, addresses, numbers and dates of everybody whose set it is are replaced.
fn mask(set: &Transaction<'_>, edits: &mut Edits, out: &mut Vec<u8>) {
    let outline = Outline::of(set);
    edits.clear();
    for segment in set.segments() {
        let is_subject = Role::of(set, &outline, segment.index()) == Role::Subject;
        facts(&segment, |fact| {
            let goes = match fact.kind {
                Kind::FamilyName | Kind::GivenName | Kind::MiddleName | Kind::AddressLine | Kind::PostalCode => true,
                Kind::Identifier(_) | Kind::Date(..) => is_subject,
                _ => false,
            };
            if goes {
                edits.replace(&fact.leaf.value, "REDACTED").unwrap();
            }
        });
    }
    edits.write(set, out).unwrap();
}

#[divan::bench]
fn read_mask_write(bencher: Bencher<'_, '_>) {
    let text = claims();
    let mut out = Vec::with_capacity(text.len());
    let mut edits = Edits::default();
    bencher.counter(ItemsCount::new(SETS * CLAIMS)).counter(BytesCount::of_str(&text)).bench_local(|| {
        out.clear();
        let mut reader = TransactionReader::new(text.as_bytes(), ReadOptions::default());
        while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
            for (index, record) in batch.records.iter().enumerate() {
                if record.kind == RecordKind::Transaction {
                    mask(&batch.parse(index).unwrap(), &mut edits, &mut out);
                } else {
                    out.extend_from_slice(batch.raw(index));
                }
            }
        }
        black_box(&out);
    });
}

#[divan::bench]
fn read_and_outline(bencher: Bencher<'_, '_>) {
    let text = claims();
    bencher.counter(ItemsCount::new(SETS * CLAIMS)).counter(BytesCount::of_str(&text)).bench_local(|| {
        let mut reader = TransactionReader::new(text.as_bytes(), ReadOptions::default());
        while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
            for index in 0..batch.len() {
                black_box(Outline::of(&batch.parse(index).unwrap()));
            }
        }
    });
}

#[divan::bench]
fn flatten(bencher: Bencher<'_, '_>) {
    let text = claims();
    let mut reader = TransactionReader::new(text.as_bytes(), ReadOptions::default());
    let batch = reader.next_batch(text.len() + 1).unwrap().unwrap();
    bencher.counter(ItemsCount::new(SETS * CLAIMS)).counter(BytesCount::of_str(&text)).bench_local(|| {
        let sets: Vec<_> = (0..batch.len()).map(|index| batch.parse(index).unwrap()).collect();
        black_box(tables::flatten(&sets).unwrap());
    });
}

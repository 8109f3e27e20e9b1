//! The vault's frames and index runs. Their files are compiled in as they are, so that nothing needs to be public for this.
#![allow(dead_code)]

#[path = "../../crates/vault/src/store/error.rs"]
mod error;
#[path = "../../crates/vault/src/store/filter.rs"]
mod filter;
#[path = "../../crates/vault/src/store/frame.rs"]
mod frame;
#[path = "../../crates/vault/src/store/table.rs"]
mod table;

use cordon_crypto::Sealer;
use frame::{FrameSeal, HEADER, Header, New, Plain, Position, SEAL_OVERHEAD};

/// A header as a frame of each kind has it, and the bytes sealed under it, whatever they are.
fn sealed(seal: &FrameSeal, at: &Position, magic: &[u8; 4], plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = ((plain.len() + SEAL_OVERHEAD) as u32).to_le_bytes();
    let header = [&magic[..], &length, &at.sequence.to_le_bytes(), &at.tag].concat();
    let associated = [&seal.vault, &at.place().to_le_bytes()[..], &header].concat();
    let sealed = seal.sealer.seal(&associated, plain).unwrap_or_else(|error| panic!("{error}"));
    (header, sealed)
}

pub fn open(data: &[u8]) {
    // A header, whatever it says.
    if let Some(header) = Header::read(data) {
        assert!(header.sealed <= frame::MAX_SEALED);
    }
    let seal = FrameSeal { vault: [7; 16], sealer: Sealer::new(&[9; 32]) };
    let at = Position { segment: 1, offset: 64, sequence: 5, tag: [3; 16] };
    // Bytes that nobody sealed do not open.
    let (head, rest) = data.split_at(data.len().min(HEADER));
    assert!(seal.open(at.place(), head, rest).is_none());
    for magic in [b"CVF1", b"CVF2"] {
        // Whatever was sealed, what opens holds as much as it says.
        let (header, sealed) = sealed(&seal, &at, magic, data);
        let read = Header::read(&header);
        assert!(read.is_none_or(|read| read.sealed == sealed.len() && read.sequence == at.sequence));
        assert!(seal.open(at.place() + 1, &header, &sealed).is_none(), "a frame opens in another place");
        let Some(frame) = seal.open(at.place(), &header, &sealed) else { continue };
        assert!(frame.entries().count() == frame.count && frame.tokens().count() == frame.count);
        assert!(frame.values().count() == frame.count);
        let domain = frame.domain().expect("a frame has one");
        // What it holds, sealed anew, is what it held.
        let is_linked = magic == b"CVF2";
        let new: Vec<New<'_>> = frame
            .entries()
            .zip(frame.values())
            .map(|(entry, value)| New {
                key: entry.key,
                token: entry.token,
                value,
                origin: is_linked.then_some(entry.place),
            })
            .collect();
        let (header, sealed, next) =
            seal.encode(&at, &Plain::new(domain, &new)).unwrap_or_else(|error| panic!("{error}"));
        assert!(next.sequence == at.sequence + 1 && next.tag[..] == sealed[sealed.len() - 16..]);
        let read = Header::read(&header).expect("a header");
        assert!(read.sealed == sealed.len() && read.previous == at.tag);
        let again = seal.open(at.place(), &header, &sealed).expect("a frame");
        assert!(again.count == frame.count && again.domain() == Some(domain) && again.values().eq(frame.values()));
        let seen = |frame: &frame::Frame| {
            let entries = frame.entries().map(|entry| (entry.key.to_bytes(), entry.token.0, entry.place));
            entries.collect::<Vec<_>>()
        };
        assert!(seen(&again) == seen(&frame));
    }
    let _ = filter::Filter::from_bytes(data);
}

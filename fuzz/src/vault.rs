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
use frame::{FrameSeal, HEADER, Header, Position};

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
    // Whatever was sealed, what opens holds as much as it says.
    let (header, sealed, next) = seal.encode(&at, data).unwrap_or_else(|error| panic!("{error}"));
    let read = Header::read(&header);
    assert!(read.is_none_or(|read| read.sealed == sealed.len() && read.sequence == at.sequence));
    assert!(next.sequence == at.sequence + 1);
    assert!(seal.open(at.place() + 1, &header, &sealed).is_none(), "a frame opens in another place");
    let Some(frame) = seal.open(at.place(), &header, &sealed) else { return };
    assert!(frame.entries().count() == frame.count && frame.tokens().count() == frame.count);
    assert!(frame.values().count() == frame.count && frame.domain().is_some());
    let entries: Vec<_> = frame.entries().collect();
    let new = entries.iter().zip(frame.values()).map(|(entry, value)| (entry.key, entry.token, value));
    let new: Vec<_> = new.collect();
    let plain = frame::plaintext(frame.domain().unwrap_or_default(), new.iter().copied());
    let (header, sealed, _) = seal.encode(&at, &plain).unwrap_or_else(|error| panic!("{error}"));
    let again = seal.open(at.place(), &header, &sealed).expect("a frame");
    assert!(again.count == frame.count && again.values().eq(frame.values()));
    let _ = filter::Filter::from_bytes(data);
}

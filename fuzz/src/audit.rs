//! The audit log's segments: headers and frames. The file is compiled in as it is.
#![allow(dead_code)]

#[path = "../../crates/audit/src/digest.rs"]
mod digest;
#[path = "../../crates/audit/src/frame.rs"]
mod frame;

use cordon_crypto::SigningKey;
use frame::{Frame, Header, Next, genesis};

pub use digest::Digest;

use crate::pieces::{Dribble, sizes};

/// The frames at the start of these bytes, and whether all of them is frames.
fn frames(bytes: &[u8], chunk: usize) -> (Vec<Frame>, bool) {
    let mut from = Dribble(bytes, chunk);
    let mut all = Vec::new();
    loop {
        match Frame::read(&mut from).expect("memory cannot fail") {
            Next::Frame(frame) => all.push(frame),
            Next::End => return (all, true),
            Next::Broken => return (all, false),
        }
    }
}

pub fn read(data: &[u8]) {
    let key = SigningKey::from_seed(&[8; 32]);
    assert!(Header::decode(data, &key.verifying_key()).is_none(), "a header that nobody signed");
    let (all, whole) = frames(data, usize::MAX);
    let (pieces, whole_in_pieces) = frames(data, sizes(data).0);
    assert!(pieces.len() == all.len() && whole == whole_in_pieces);
    let written: Vec<u8> = all.iter().flat_map(Frame::encode).collect();
    assert!(data.starts_with(&written) && (!whole || written.len() == data.len()), "frames are their bytes");
    let mut previous = genesis(&[1; 16]);
    for frame in &all {
        assert!(!frame.is_signed_by(&key.verifying_key()), "a frame that nobody signed");
        previous = frame.hash;
    }
    // What is written reads as it was, follows, and is signed.
    let header = Header { log_id: [1; 16], segment: 1, first_seq: 1, prev: previous };
    let bytes = header.encode(&key);
    assert!(Header::decode(&bytes, &key.verifying_key()) == Some(header));
    if data.len() >= 28 {
        let frame = Frame::new(1, &previous, data.to_vec(), &key);
        let (again, whole) = frames(&frame.encode(), 100);
        assert!(
            whole && again.len() == 1 && again[0].follows(&previous) && again[0].is_signed_by(&key.verifying_key())
        );
    }
}

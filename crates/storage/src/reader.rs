//! Objects as streams of bytes.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{StorageError, Trouble};

/// Chunks that are fetched ahead of who reads them.
const AHEAD: usize = 8;

type Chunk = Result<Bytes, StorageError>;

pub(crate) fn sent() -> (Sender<Chunk>, Receiver<Chunk>) {
    channel(AHEAD)
}

/// The content of an object from its beginning to its end. A stream that breaks off is an error and never a shorter object.
pub struct ObjectReader {
    chunks: Receiver<Chunk>,
    at_hand: Bytes,
    left: u64,
    place: String,
}

impl ObjectReader {
    pub(crate) fn new(chunks: Receiver<Chunk>, size: u64, place: String) -> Self {
        Self { chunks, at_hand: Bytes::new(), left: size, place }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at_hand.is_empty() && !buffer.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.at_hand = chunk?,
                None if self.left == 0 => return Ok(0),
                None => return Err(StorageError { place: self.place.clone(), trouble: Trouble::Interrupted }.into()),
            }
        }
        let count = self.at_hand.len().min(buffer.len());
        if let Some(place) = buffer.get_mut(..count) {
            self.at_hand.copy_to_slice(place);
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

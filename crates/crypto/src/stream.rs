//! Sealed files: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), laid out as age does.
//!
//! ```text
//! "CORDSEAL" ‖ version (1 byte) ‖ salt (32 bytes)
//! then chunks of 64 KiB of plaintext (the last may be shorter), each AES-256-GCM with its tag behind it
//! file key = HKDF-SHA256(key, salt, "cordon/stream/v1" ‖ info);  nonce = counter (11 bytes, big endian) ‖ last (0 or 1)
//! ```
//!
//! Each file has a key of its own, so a counter is a safe nonce and one key seals any number of files. The counter
//! catches chunks that change places, the flag a file that was cut off or went on after its end.

use std::io::{self, Read, Write};

use ring::aead::{Aad, LessSafeKey, Nonce};

use crate::seal::{NONCE, TAG, aead_key};
use crate::{CryptoError, kdf, random_bytes};

const MAGIC: &[u8; 8] = b"CORDSEAL";
const VERSION: u8 = 1;
const SALT: usize = 32;
const HEADER: usize = MAGIC.len() + 1 + SALT;
const CHUNK: usize = 64 * 1024;
const SEALED_CHUNK: usize = CHUNK + TAG;

/// Counts the chunks of one file.
struct ChunkNonce(u64);

impl ChunkNonce {
    fn of(&self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE];
        let [_, _, _, counter @ .., flag] = &mut nonce;
        *counter = self.0.to_be_bytes();
        *flag = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }

    fn advance(&mut self) -> Result<(), CryptoError> {
        self.0 = self.0.checked_add(1).ok_or(CryptoError::TooLong { what: "a sealed stream" })?;
        Ok(())
    }
}

fn file_key(key: &[u8; 32], salt: &[u8], info: &[u8]) -> LessSafeKey {
    let info = [b"cordon/stream/v1".as_slice(), info].concat();
    aead_key(&kdf::hkdf_key(key, salt, &info))
}

fn invalid(error: CryptoError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Seals what is written to it. Without [`SealedWriter::finish`] the file is cut off, and a reader will say so.
pub struct SealedWriter<W: Write> {
    inner: W,
    key: LessSafeKey,
    nonce: ChunkNonce,
    /// Plaintext of the chunk being filled; never more than one chunk, so that the last one is known as such.
    chunk: Vec<u8>,
    /// Set while a chunk is on its way: after an error nobody knows how much of it was written.
    broken: bool,
}

impl<W: Write> SealedWriter<W> {
    /// Writes the header. `info` says what the file is (its kind, its name): a reader must know it too.
    pub fn new(mut inner: W, key: &[u8; 32], info: &[u8]) -> io::Result<Self> {
        let mut salt = [0; SALT];
        random_bytes(&mut salt).map_err(io::Error::other)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.push(VERSION);
        header.extend_from_slice(&salt);
        inner.write_all(&header)?;
        Ok(Self {
            inner,
            key: file_key(key, &salt, info),
            nonce: ChunkNonce(0),
            chunk: Vec::with_capacity(SEALED_CHUNK),
            broken: false,
        })
    }

    /// Writes the last chunk and hands back what was written to, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_chunk(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    /// What is being written to. Writing to it directly spoils the file.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    fn write_chunk(&mut self, last: bool) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write to the sealed stream failed"));
        }
        self.broken = true;
        self.key
            .seal_in_place_append_tag(self.nonce.of(last), Aad::empty(), &mut self.chunk)
            .map_err(|_| invalid(CryptoError::TooLong { what: "AES-GCM" }))?;
        self.inner.write_all(&self.chunk)?;
        self.nonce.advance().map_err(invalid)?;
        self.chunk.clear();
        self.broken = false;
        Ok(())
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= CHUNK && !bytes.is_empty() {
            self.write_chunk(false)?;
        }
        let (taken, _) = bytes.split_at(bytes.len().min(CHUNK.saturating_sub(self.chunk.len())));
        self.chunk.extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Flushes whole chunks only: a chunk that is not full cannot be written before the end is known.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Opens what a [`SealedWriter`] wrote.
///
/// A chunk is handed out when it is authentic, before the chunks behind it were seen: what was read counts only
/// when the reader came to the end without an error. Errors of the seal are [`io::ErrorKind::InvalidData`] with a
/// [`CryptoError`] inside.
pub struct SealedReader<R: Read> {
    inner: R,
    key: LessSafeKey,
    nonce: ChunkNonce,
    /// Ciphertext, opened in place, and one byte more: whether there is one tells if a chunk is the last.
    buffer: Vec<u8>,
    /// The byte beyond the chunk in `buffer`, read already.
    ahead: Option<u8>,
    at: usize,
    end: usize,
    state: State,
}

#[derive(Clone, PartialEq)]
enum State {
    Reading,
    Finished,
    Failed(CryptoError),
}

impl<R: Read> SealedReader<R> {
    /// Reads the header.
    pub fn new(mut inner: R, key: &[u8; 32], info: &[u8]) -> io::Result<Self> {
        let mut header = [0; HEADER];
        let found = read_up_to(&mut inner, &mut header)?;
        if !header.starts_with(MAGIC) {
            return Err(invalid(CryptoError::Malformed { what: "sealed stream" }));
        }
        if found < HEADER {
            return Err(invalid(CryptoError::Truncated));
        }
        let [_, _, _, _, _, _, _, _, version, salt @ ..] = &header;
        if *version != VERSION {
            return Err(invalid(CryptoError::Malformed { what: "version of a sealed stream" }));
        }
        Ok(Self {
            inner,
            key: file_key(key, salt, info),
            nonce: ChunkNonce(0),
            buffer: vec![0; SEALED_CHUNK + 1],
            ahead: None,
            at: 0,
            end: 0,
            state: State::Reading,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let carried = usize::from(self.ahead.is_some());
        if let (Some(first), Some(byte)) = (self.buffer.first_mut(), self.ahead.take()) {
            *first = byte;
        }
        let space = self.buffer.get_mut(carried..).unwrap_or_default();
        // An error of the source is passed on and ends the reading: part of the chunk may be lost.
        let found = match read_up_to(&mut self.inner, space) {
            Ok(found) => carried + found,
            Err(error) => {
                self.state = State::Failed(CryptoError::Truncated);
                return Err(error);
            }
        };
        let last = found <= SEALED_CHUNK;
        self.ahead = if last { None } else { self.buffer.last().copied() };
        match self.open_chunk(found.min(SEALED_CHUNK), last) {
            Ok(length) => {
                (self.at, self.end) = (0, length);
                if last {
                    self.state = State::Finished;
                }
                Ok(())
            }
            Err(error) => {
                self.buffer.fill(0);
                self.state = State::Failed(error.clone());
                Err(invalid(error))
            }
        }
    }

    fn open_chunk(&mut self, length: usize, last: bool) -> Result<usize, CryptoError> {
        if length < TAG {
            return Err(CryptoError::Truncated);
        }
        let chunk = self.buffer.get_mut(..length).unwrap_or_default();
        // What is missing its end must be told from what is forged: try whether it was written as an inner chunk.
        let mut copy = if last && length == SEALED_CHUNK { chunk.to_vec() } else { Vec::new() };
        match self.key.open_in_place(self.nonce.of(last), Aad::empty(), chunk) {
            // Only an empty file ends with an empty chunk: each content has one form.
            Ok(plain) if plain.is_empty() && self.nonce.0 > 0 => Err(CryptoError::Malformed { what: "sealed stream" }),
            Ok(plain) => {
                let length = plain.len();
                self.nonce.advance()?;
                Ok(length)
            }
            Err(_) if !copy.is_empty() => match self.key.open_in_place(self.nonce.of(false), Aad::empty(), &mut copy) {
                Ok(_) => Err(CryptoError::Truncated),
                Err(_) => Err(CryptoError::Authentication),
            },
            Err(_) => Err(CryptoError::Authentication),
        }
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.at == self.end {
            match &self.state {
                State::Reading => self.next_chunk()?,
                State::Finished => return Ok(0),
                State::Failed(error) => return Err(invalid(error.clone())),
            }
        }
        let ready = self.buffer.get(self.at..self.end).unwrap_or_default();
        let length = ready.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..length), ready.get(..length)) {
            to.copy_from_slice(from);
        }
        self.at += length;
        Ok(length)
    }
}

impl<R: Read> Drop for SealedReader<R> {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.buffer);
    }
}

fn read_up_to(inner: &mut impl Read, mut space: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while !space.is_empty() {
        match inner.read(space) {
            Ok(0) => break,
            Ok(length) => {
                found += length;
                space = space.get_mut(length..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    const KEY: [u8; 32] = [3; 32];

    fn sealed(length: usize) -> (Vec<u8>, Vec<u8>) {
        let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut writer = SealedWriter::new(Vec::new(), &KEY, b"info").unwrap();
        for piece in plain.chunks(10_007) {
            writer.write_all(piece).unwrap();
        }
        (plain, writer.finish().unwrap())
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, CryptoError> {
        read_with(bytes, &KEY, b"info")
    }

    fn read_with(bytes: &[u8], key: &[u8; 32], info: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut out = Vec::new();
        let result = SealedReader::new(bytes, key, info).and_then(|mut reader| reader.read_to_end(&mut out));
        match result {
            Ok(_) => Ok(out),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                Err(error.get_ref().unwrap().downcast_ref::<CryptoError>().unwrap().clone())
            }
        }
    }

    #[test]
    fn what_goes_in_comes_out_at_every_border() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 1] {
            let (plain, bytes) = sealed(length);
            let chunks = length.div_ceil(CHUNK).max(1);
            assert_eq!(bytes.len(), HEADER + length + chunks * TAG, "{length}");
            assert!(read(&bytes).unwrap() == plain, "{length}");
        }
    }

    #[test]
    fn a_file_cut_off_at_any_place_is_noticed() {
        for length in [0, 5, CHUNK, 2 * CHUNK, 2 * CHUNK + 5] {
            let (_, bytes) = sealed(length);
            let borders = (0..4).flat_map(|chunk| {
                let at = HEADER + chunk * SEALED_CHUNK;
                [at.saturating_sub(1), at, at + 1, at + TAG, at + TAG + 1]
            });
            for cut in borders.filter(|cut| *cut < bytes.len()) {
                assert!(read(&bytes[..cut]).is_err(), "{length} cut at {cut}");
            }
        }
        let (_, bytes) = sealed(2 * CHUNK + 5);
        assert_eq!(read(&bytes[..HEADER + SEALED_CHUNK]), Err(CryptoError::Truncated));
        assert_eq!(read(&bytes[..HEADER]), Err(CryptoError::Truncated));
    }

    #[test]
    fn chunks_that_change_places_repeat_or_go_missing_are_noticed() {
        let (_, bytes) = sealed(3 * CHUNK + 5);
        let (header, chunks) = bytes.split_at(HEADER);
        let chunks: Vec<&[u8]> = chunks.chunks(SEALED_CHUNK).collect();
        for order in [&[1, 0, 2, 3][..], &[0, 2, 3], &[0, 0, 1, 2, 3], &[0, 1, 2, 3, 3], &[3], &[1, 2, 3]] {
            let mut forged = header.to_vec();
            for index in order {
                forged.extend_from_slice(chunks[*index]);
            }
            assert_eq!(read(&forged), Err(CryptoError::Authentication), "{order:?}");
        }
    }

    #[test]
    fn anything_behind_the_end_is_noticed() {
        for length in [0, 5, CHUNK, 2 * CHUNK] {
            let (_, mut bytes) = sealed(length);
            bytes.push(0);
            assert_eq!(read(&bytes), Err(CryptoError::Authentication), "{length}");
            let (_, mut twice) = sealed(length);
            twice.extend_from_slice(&bytes);
            assert!(read(&twice).is_err());
        }
    }

    #[test]
    fn wrong_key_info_or_byte_is_noticed() {
        let (_, bytes) = sealed(CHUNK + 100);
        assert_eq!(read_with(&bytes, &[4; 32], b"info"), Err(CryptoError::Authentication));
        assert_eq!(read_with(&bytes, &KEY, b"other"), Err(CryptoError::Authentication));
        for at in (0..HEADER).chain([HEADER, HEADER + CHUNK, HEADER + SEALED_CHUNK, bytes.len() - 1]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_err(), "{at}");
        }
    }

    #[test]
    fn a_reader_that_failed_keeps_failing() {
        let (_, bytes) = sealed(2 * CHUNK);
        let mut reader = SealedReader::new(&bytes[..HEADER + SEALED_CHUNK], &KEY, b"info").unwrap();
        let mut out = [0; 16];
        assert!(reader.read(&mut out).is_err());
        assert!(reader.read(&mut out).is_err());
    }

    #[test]
    fn a_writer_that_failed_keeps_failing() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = SealedWriter::new(Full(HEADER + 100), &KEY, b"").unwrap();
        assert!(writer.write_all(&vec![0; 2 * CHUNK]).is_err());
        assert!(writer.finish().is_err());
    }

    #[test]
    fn two_files_of_one_content_share_no_chunk() {
        assert_ne!(sealed(5).1[HEADER..], sealed(5).1[HEADER..]);
    }
}

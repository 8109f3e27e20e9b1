//! Compressed or not: tells by the first bytes and decodes while reading.
//!
//! Nothing is held beyond the codec's window, and every record that comes out is bounded by the readers
//! above, so a decompression bomb is merely a long file.

use std::error::Error;
use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::error::{Codec, FormatError};

/// RFC 1952, 2.3.1.
const GZIP: &[u8] = b"\x1F\x8B";
/// RFC 8878, 3.1.1.
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";
/// RFC 8878, 3.1.2: the last three bytes of a skippable frame's magic number, with which `pzstd` begins.
const ZSTD_SKIPPABLE: &[u8] = b"\x2A\x4D\x18";

const BUFFER_BYTES: usize = 256 << 10;

/// A stream with its compression taken off. Its errors carry a [`FormatError`].
pub struct Decoded<R: Read> {
    inner: Inner<R>,
}

/// The source with the bytes that were looked at put back in front of it.
type Whole<R> = io::Chain<Cursor<Vec<u8>>, Source<R>>;

enum Inner<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Whole<R>>>>),
    Zstd(zstd::Decoder<'static, BufReader<Whole<R>>>),
}

/// Decodes gzip (any number of members) and zstd (any number of frames); everything else passes as it is.
///
/// Reading the result fails with [`FormatError::Truncated`] or [`FormatError::CorruptCompressed`] inside of
/// the `io::Error` when the stream is cut off or damaged: it never just ends. The readers of this crate
/// take the typed error out again.
///
/// ```
/// use std::io::Read;
///
/// let mut text = String::new();
/// cordon_formats::open_decoded(&b"a,b\n"[..])?.read_to_string(&mut text)?;
/// assert_eq!(text, "a,b\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_decoded<R: Read>(reader: R) -> Result<Decoded<R>, FormatError> {
    let mut source = Source(reader);
    let mut head = Vec::with_capacity(ZSTD.len());
    source
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut head)
        .map_err(|error| FormatError::from(untagged(error)))?;
    let is_gzip = head.starts_with(GZIP);
    let is_zstd =
        head.starts_with(ZSTD) || (head.ends_with(ZSTD_SKIPPABLE) && head.first().is_some_and(|b| b >> 4 == 5));
    // Too short to be told, but no text begins like this.
    for (magic, codec) in [(GZIP, Codec::Gzip), (ZSTD, Codec::Zstd)] {
        if head.len() < magic.len() && magic.starts_with(&head) && head.iter().any(|byte| !byte.is_ascii_graphic()) {
            return Err(FormatError::Truncated { codec });
        }
    }
    let whole = Cursor::new(head).chain(source);
    let buffered = |whole| BufReader::with_capacity(BUFFER_BYTES, whole);
    let inner = if is_gzip {
        Inner::Gzip(Box::new(MultiGzDecoder::new(buffered(whole))))
    } else if is_zstd {
        Inner::Zstd(zstd::Decoder::with_buffer(buffered(whole))?)
    } else {
        Inner::Plain(whole)
    };
    Ok(Decoded { inner })
}

impl<R: Read> Decoded<R> {
    /// Which compression it was.
    pub fn codec(&self) -> Option<Codec> {
        match self.inner {
            Inner::Plain(_) => None,
            Inner::Gzip(_) => Some(Codec::Gzip),
            Inner::Zstd(_) => Some(Codec::Zstd),
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(plain) => plain.read(buf).map_err(untagged),
            Inner::Gzip(gzip) => gzip.read(buf).map_err(|e| classified(e, Codec::Gzip)),
            Inner::Zstd(zstd) => zstd.read(buf).map_err(|e| classified(e, Codec::Zstd)),
        }
    }
}

/// A codec's own error as one of ours; the source's as it was.
fn classified(error: io::Error, codec: Codec) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted || is_tagged(&error) {
        return untagged(error);
    }
    let typed = if error.kind() == io::ErrorKind::UnexpectedEof {
        FormatError::Truncated { codec }
    } else {
        FormatError::CorruptCompressed { codec }
    };
    io::Error::new(error.kind(), typed)
}

/// Marks the source's own errors, which come out of a codec indistinguishable from its own otherwise.
struct Source<R>(R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|error| io::Error::new(error.kind(), Tagged(error)))
    }
}

#[derive(Debug)]
struct Tagged(io::Error);

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Tagged {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

fn is_tagged(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<Tagged>())
}

fn untagged(error: io::Error) -> io::Error {
    match error.downcast::<Tagged>() {
        Ok(Tagged(error)) | Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// With a checksum, so that damage shows.
    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut text = Vec::new();
        open_decoded(bytes)?.read_to_end(&mut text)?;
        Ok(text)
    }

    /// Text that does not compress to nothing.
    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_string().into_bytes()).collect()
    }

    #[test]
    fn what_is_compressed_is_told_by_its_first_bytes() {
        let text = text();
        assert!(decode(&text).unwrap() == text);
        assert!(decode(&gzip(&text)).unwrap() == text);
        assert!(decode(&zstd(&text)).unwrap() == text);
        for short in [&b""[..], b"a", b"("] {
            assert_eq!(decode(short).unwrap(), short);
        }
        for cut in [&b"\x1F"[..], b"\x28\xB5", b"\x28\xB5\x2F"] {
            assert!(matches!(decode(cut), Err(FormatError::Truncated { .. })));
        }
        assert_eq!(open_decoded(&gzip(b"")[..]).unwrap().codec(), Some(Codec::Gzip));
        assert_eq!(open_decoded(&b"a"[..]).unwrap().codec(), None);
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        let twice = |member: Vec<u8>| [member.clone(), member].concat();
        assert_eq!(decode(&twice(gzip(b"ab\n"))).unwrap(), b"ab\nab\n");
        assert_eq!(decode(&twice(zstd(b"ab\n"))).unwrap(), b"ab\nab\n");
        let skippable = [b"\x50\x2A\x4D\x18\x02\0\0\0xx".to_vec(), zstd(b"ab\n")].concat();
        assert_eq!(decode(&skippable).unwrap(), b"ab\n");
    }

    #[test]
    fn no_truncation_passes_for_the_end() {
        let text = text();
        for (codec, whole) in [(Codec::Gzip, gzip(&text)), (Codec::Zstd, zstd(&text))] {
            for len in (4..whole.len()).step_by(997).chain(whole.len() - 12..whole.len()) {
                let error = decode(&whole[..len]).unwrap_err();
                assert!(
                    matches!(error, FormatError::Truncated { codec: found } if found == codec),
                    "{codec} cut to {len}: {error}"
                );
            }
        }
    }

    #[test]
    fn no_damage_passes() {
        let text = text();
        for (codec, whole) in [(Codec::Gzip, gzip(&text)), (Codec::Zstd, zstd(&text))] {
            for at in (12..whole.len()).step_by(499) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                let error = decode(&damaged).unwrap_err();
                assert!(
                    matches!(error, FormatError::CorruptCompressed { .. } | FormatError::Truncated { .. }),
                    "{codec} damaged at {at}: {error}"
                );
            }
            let trailing = [whole, b"trailing garbage".to_vec()].concat();
            assert!(matches!(decode(&trailing), Err(FormatError::CorruptCompressed { .. })));
        }
    }

    #[test]
    fn a_failing_source_is_not_called_corrupt() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::InvalidData, "of its own"))
            }
        }
        for head in [gzip(&text()), zstd(&text()), text()] {
            let mut decoded = open_decoded(head[..2000].chain(Fails)).unwrap();
            let error = decoded.read_to_end(&mut Vec::new()).unwrap_err();
            match FormatError::from(error) {
                FormatError::Io(error) => assert_eq!(error.to_string(), "of its own"),
                other => panic!("{other}"),
            }
        }
    }
}

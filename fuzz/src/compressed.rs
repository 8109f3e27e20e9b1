//! Compressed streams.

use std::io::{Read, Write};

use cordon_formats::{Codec, FormatError, open_decoded};

use crate::pieces::{Dribble, dice, sizes};

/// More is not looked at: a bomb is merely a long file.
const ENOUGH: u64 = 4 << 20;

fn decode(bytes: &[u8], chunk: usize) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    open_decoded(Dribble(bytes, chunk))?.take(ENOUGH).read_to_end(&mut out)?;
    Ok(out)
}

pub fn read(data: &[u8]) {
    let (chunk, _) = sizes(data);
    match (decode(data, usize::MAX), decode(data, chunk)) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces),
        (Err(whole), Err(pieces)) => {
            assert_eq!(whole.to_string(), pieces.to_string());
            assert!(matches!(whole, FormatError::Truncated { .. } | FormatError::CorruptCompressed { .. }));
        }
        _ => panic!("pieces decode otherwise"),
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data).expect("memory");
    let zstd = zstd::encode_all(data, 1).expect("memory");
    for (codec, packed) in [(Codec::Gzip, gzip.finish().expect("memory")), (Codec::Zstd, zstd)] {
        assert!(open_decoded(&packed[..]).is_ok_and(|decoded| decoded.codec() == Some(codec)));
        assert!(decode(&packed, chunk).is_ok_and(|text| text == data));
        // No beginning of it passes for the whole.
        let cut = &packed[..4 + dice(data) as usize % (packed.len() - 4)];
        assert!(decode(cut, usize::MAX).is_err());
    }
}

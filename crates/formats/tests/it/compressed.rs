//! Compressed files through the readers: damage comes out as the typed error, never as fewer rows.

use std::io::Write;

use cordon_formats::{Codec, CsvOptions, FormatError, NdjsonOptions, NdjsonReader, open_decoded};

use crate::support::read_csv_from;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn csv() -> Vec<u8> {
    let mut text = b"id,name\n".to_vec();
    for i in 0..20_000u32 {
        writeln!(text, "{i},{}", i.wrapping_mul(2_654_435_761)).unwrap();
    }
    text
}

#[test]
fn whole_files_read_the_same() {
    let text = csv();
    let options = CsvOptions::default();
    let plain = read_csv_from(&text[..], &options).unwrap();
    assert_eq!(plain.rows.len(), 20_000);
    for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
        let read = read_csv_from(open_decoded(&packed[..]).unwrap(), &options).unwrap();
        assert!(read == plain);
    }
}

#[test]
fn truncated_files_fail() {
    let text = csv();
    let options = CsvOptions { batch_bytes: 4096, ..CsvOptions::default() };
    for (codec, packed) in [(Codec::Gzip, gzip(&text)), (Codec::Zstd, zstd::encode_all(&text[..], 1).unwrap())] {
        for len in [20, packed.len() / 2, packed.len() - 1] {
            let source = open_decoded(&packed[..len]).unwrap();
            match read_csv_from(source, &options) {
                Err(FormatError::Truncated { codec: found }) => assert_eq!(found, codec),
                Err(error) => panic!("{error}"),
                Ok(read) => panic!("{} rows", read.rows.len()),
            }
            let source = open_decoded(&packed[..len]).unwrap();
            let mut lines = NdjsonReader::new(source, &[], NdjsonOptions::default()).unwrap();
            let failed = std::iter::from_fn(|| lines.next_batch().transpose()).find_map(Result::err);
            assert!(matches!(failed, Some(FormatError::Truncated { .. })));
            assert!(matches!(lines.next_batch(), Err(FormatError::FailedBefore)));
        }
    }
}

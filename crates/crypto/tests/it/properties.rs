//! What holds for every input.

use std::io::{Read, Write};

use cordon_crypto::siv::Siv;
use cordon_crypto::{Ff1, KeyedHash, SealedReader, SealedWriter, open, seal, unwrap, wrap};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=longest)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn sealed_values_come_back(key: [u8; 32], aad in bytes(40), plain in bytes(300)) {
        let sealed = seal(&key, &aad, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + 28);
        prop_assert_eq!(open(&key, &aad, &sealed).unwrap(), plain);
    }

    #[test]
    fn a_changed_bit_is_never_opened(key: [u8; 32], plain in bytes(100), at: prop::sample::Index, bit in 0..8) {
        let mut sealed = seal(&key, b"", &plain).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= 1_u8 << bit;
        prop_assert!(open(&key, b"", &sealed).is_err());
    }

    #[test]
    fn streams_come_back_however_they_are_cut(
        key: [u8; 32],
        length in 0_usize..200_000,
        written in 1_usize..70_000,
        read in 1_usize..70_000,
    ) {
        let plain: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
        let mut writer = SealedWriter::new(Vec::new(), &key, b"p").unwrap();
        for piece in plain.chunks(written) {
            writer.write_all(piece).unwrap();
        }
        let sealed = writer.finish().unwrap();
        let mut reader = SealedReader::new(sealed.as_slice(), &key, b"p").unwrap();
        let (mut out, mut piece) = (Vec::new(), vec![0; read]);
        loop {
            let found = reader.read(&mut piece).unwrap();
            if found == 0 { break }
            out.extend_from_slice(&piece[..found]);
        }
        prop_assert!(out == plain);
    }

    #[test]
    fn a_stream_cut_off_or_changed_never_ends_well(
        key: [u8; 32],
        length in 0_usize..150_000,
        at: prop::sample::Index,
        cut: bool,
    ) {
        let mut writer = SealedWriter::new(Vec::new(), &key, b"p").unwrap();
        writer.write_all(&vec![7; length]).unwrap();
        let mut sealed = writer.finish().unwrap();
        let at = at.index(sealed.len());
        if cut { sealed.truncate(at) } else { sealed[at] ^= 0x40 }
        let result = SealedReader::new(sealed.as_slice(), &key, b"p")
            .and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
        prop_assert!(result.is_err());
    }

    #[test]
    fn siv_values_come_back_and_are_stable(key in vec(any::<u8>(), 64), aad in bytes(40), plain in bytes(100)) {
        let siv = Siv::new(&key).unwrap();
        let sealed = siv.encrypt(&[&aad], &plain).unwrap();
        prop_assert_eq!(&sealed, &siv.encrypt(&[&aad], &plain).unwrap());
        prop_assert_eq!(siv.decrypt(&[&aad], &sealed).unwrap(), plain);
    }

    #[test]
    fn wrapped_keys_come_back(kek: [u8; 32], key in vec(any::<u8>(), 1..80)) {
        prop_assert_eq!(&*unwrap(&kek, &wrap(&kek, &key).unwrap()).unwrap(), &key);
    }

    #[test]
    fn parts_never_collide(key: [u8; 32], one in vec(bytes(5), 0..4), other in vec(bytes(5), 0..4)) {
        let keyed = KeyedHash::new(&key);
        let tag = |parts: &[Vec<u8>]| {
            keyed.tag_parts(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        prop_assert_eq!(tag(&one) == tag(&other), one == other);
    }

    #[test]
    fn ff1_is_a_permutation_of_the_format(
        key: [u8; 32],
        tweak in bytes(40),
        radix in 2_u32..=65_536,
        extra in 0_usize..60,
        count in 1_usize..70,
        seed: u32,
    ) {
        let length = Ff1::min_length(radix) + extra;
        let ff1 = Ff1::new(&key, radix).unwrap();
        let digits: Vec<u16> = (0..(count * length) as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) % radix) as u16)
            .collect();
        let mut batch = digits.clone();
        ff1.encrypt_batch(&tweak, length, &mut batch).unwrap();
        prop_assert!(batch.iter().all(|digit| u32::from(*digit) < radix));
        let mut single = digits.clone();
        for value in single.chunks_mut(length) {
            ff1.encrypt(&tweak, value).unwrap();
        }
        prop_assert_eq!(&batch, &single);
        ff1.decrypt_batch(&tweak, length, &mut batch).unwrap();
        prop_assert_eq!(&batch, &digits);
        for value in single.chunks_mut(length) {
            ff1.decrypt(&tweak, value).unwrap();
        }
        prop_assert_eq!(&single, &digits);
    }
}

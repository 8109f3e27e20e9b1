//! Check digits of the numbers that carry one.

/// ISO/IEC 7812-1, over digits in ASCII.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.wrapping_sub(b'0'));
            match place % 2 {
                1 if value >= 5 => value * 2 - 9,
                1 => value * 2,
                _ => value,
            }
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// National Provider Identifier: Luhn over 80840 and the ten digits (45 CFR 162.406).
pub(crate) fn npi(digits: &[u8]) -> bool {
    let mut whole = *b"80840..........";
    let Some(tail) = whole.get_mut(5..) else { return false };
    if digits.len() != tail.len() || !matches!(digits.first(), Some(b'1' | b'2')) {
        return false;
    }
    tail.copy_from_slice(digits);
    luhn(&whole)
}

/// DEA registration: two letters, six digits, and a check digit (d1+d3+d5) + 2(d2+d4+d6) mod 10.
pub(crate) fn dea(text: &[u8]) -> bool {
    let [a, b, digits @ ..] = text else { return false };
    let [d1, d2, d3, d4, d5, d6, check] = digits else { return false };
    let letter = b"ABCDEFGHJKLMPRSTUX".contains(&a.to_ascii_uppercase());
    let value = |digit: &u8| u32::from(digit.wrapping_sub(b'0'));
    letter
        && (b.is_ascii_alphabetic() || *b == b'9')
        && digits.iter().all(u8::is_ascii_digit)
        && (value(d1) + value(d3) + value(d5) + 2 * (value(d2) + value(d4) + value(d6))) % 10 == value(check)
}

/// Vehicle identification number, 49 CFR 565.15: 17 characters without I, O, Q; the ninth checks the rest.
pub(crate) fn vin(text: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if text.len() != 17 {
        return false;
    }
    let mut sum = 0;
    for (byte, weight) in text.iter().zip(WEIGHTS) {
        let value = match byte.to_ascii_uppercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'A'..=b'H' => letter - b'A' + 1,
            letter @ b'J'..=b'R' if letter != b'O' && letter != b'Q' => letter - b'J' + 1,
            letter @ b'S'..=b'Z' => letter - b'S' + 2,
            _ => return false,
        };
        sum += u32::from(value) * weight;
    }
    let check = match sum % 11 {
        10 => b'X',
        rest => b'0' + rest as u8,
    };
    text.get(8).map(u8::to_ascii_uppercase) == Some(check)
}

/// ISO 13616: country, check digits and account; mod 97 is 1.
pub(crate) fn iban(text: &[u8]) -> bool {
    let (Some(head), Some(tail)) = (text.get(..4), text.get(4..)) else { return false };
    let shape = (15..=34).contains(&text.len())
        && head.iter().take(2).all(u8::is_ascii_alphabetic)
        && head.iter().skip(2).all(u8::is_ascii_digit);
    let rest = tail.iter().chain(head).try_fold(0_u32, |rest, byte| match byte.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => Some((rest * 10 + u32::from(digit - b'0')) % 97),
        letter @ b'A'..=b'Z' => Some((rest * 100 + u32::from(letter - b'A') + 10) % 97),
        _ => None,
    });
    shape && rest == Some(1)
}

/// GS1 check digit of a GTIN (8, 12, 13 or 14 digits).
pub(crate) fn gs1(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| u32::from(digit.wrapping_sub(b'0')) * if place % 2 == 1 { 3 } else { 1 })
        .sum();
    matches!(digits.len(), 8 | 12 | 13 | 14) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_check() {
        assert!(luhn(b"4111111111111111") && !luhn(b"4111111111111112"));
        assert!(npi(b"1234567893") && !npi(b"1234567890"));
        assert!(dea(b"AB1234563") && !dea(b"AB1234567"));
        assert!(vin(b"1M8GDM9AXKP042788") && !vin(b"1M8GDM9A0KP042788"));
        assert!(iban(b"GB82WEST12345698765432") && !iban(b"GB83WEST12345698765432"));
        assert!(gs1(b"00012345678905") && !gs1(b"00012345678906"));
    }
}

//! Writing numbers and dates into a reused buffer, without a format string and without an allocation.

use crate::day::{Day, civil};

/// A buffer of UTF-8 that grows.
pub trait Ink {
    fn put(&mut self, text: &str);
    /// One ASCII character.
    fn ascii(&mut self, byte: u8);

    #[inline]
    fn digit(&mut self, value: u32) {
        self.ascii(b'0' + (value % 10) as u8);
    }

    #[inline]
    fn two(&mut self, value: u32) {
        self.digit(value / 10);
        self.digit(value);
    }

    #[inline]
    fn four(&mut self, value: u32) {
        self.two(value / 100 % 100);
        self.two(value % 100);
    }

    #[inline]
    fn int(&mut self, value: u64) {
        let mut width = 1;
        let mut top = value / 10;
        while top > 0 {
            top /= 10;
            width += 1;
        }
        self.pad(value, width);
    }

    /// Exactly `width` digits, with zeros before.
    #[inline]
    fn pad(&mut self, value: u64, width: u32) {
        let mut power = 10u64.pow(width.saturating_sub(1).min(18));
        for _ in 0..width {
            self.ascii(b'0' + (value / power % 10) as u8);
            power = (power / 10).max(1);
        }
    }

    /// `width` digits, or more where the number has more.
    fn at_least(&mut self, value: u64, width: u32) {
        if value < 10u64.pow(width.min(18)) { self.pad(value, width) } else { self.int(value) }
    }

    /// `units` of 10^-scale: 1375 of scale 2 is 13.75.
    #[inline]
    fn fixed(&mut self, units: i64, scale: u32) {
        if units < 0 {
            self.ascii(b'-');
        }
        let units = units.unsigned_abs();
        if scale == 0 {
            return self.int(units);
        }
        let power = 10u64.pow(scale);
        self.int(units / power);
        self.ascii(b'.');
        self.pad(units % power, scale);
    }

    /// 2019-03-04
    #[inline]
    fn day(&mut self, day: Day) {
        let (year, month, date) = day.civil();
        self.four(year as u32);
        self.ascii(b'-');
        self.two(month);
        self.ascii(b'-');
        self.two(date);
    }

    /// 03/04/2019
    fn day_us(&mut self, day: Day) {
        let (year, month, date) = day.civil();
        self.two(month);
        self.ascii(b'/');
        self.two(date);
        self.ascii(b'/');
        self.four(year as u32);
    }

    /// 20190304
    fn day_packed(&mut self, day: Day) {
        let (year, month, date) = day.civil();
        self.four(year as u32);
        self.two(month);
        self.two(date);
    }

    /// 2019-03-04T05:06:07 and no zone; the instant in seconds.
    #[inline]
    fn instant(&mut self, at: i64) {
        let (year, month, date) = civil(at.div_euclid(86_400) as i32);
        self.four(year as u32);
        self.ascii(b'-');
        self.two(month);
        self.ascii(b'-');
        self.two(date);
        self.ascii(b'T');
        self.clock(at);
    }

    /// 20190304050607
    fn instant_packed(&mut self, at: i64) {
        self.day_packed(Day::of(at));
        let second = at.rem_euclid(86_400) as u32;
        self.two(second / 3600);
        self.two(second / 60 % 60);
        self.two(second % 60);
    }

    /// 05:06:07
    #[inline]
    fn clock(&mut self, at: i64) {
        let second = at.rem_euclid(86_400) as u32;
        self.two(second / 3600);
        self.ascii(b':');
        self.two(second / 60 % 60);
        self.ascii(b':');
        self.two(second % 60);
    }
}

impl Ink for Vec<u8> {
    #[inline]
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn ascii(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn pad(&mut self, value: u64, width: u32) {
        let mut digits = [b'0'; 20];
        let mut rest = value;
        let width = width.min(20) as usize;
        for digit in digits.iter_mut().rev().take(width) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.extend_from_slice(digits.get(20 - width..).unwrap_or_default());
    }
}

impl Ink for String {
    #[inline]
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }

    #[inline]
    fn ascii(&mut self, byte: u8) {
        self.push(char::from(byte & 0x7F));
    }
}

/// A name as systems keep it that know nothing but ASCII capitals: `Nguyễn` is `NGUYEN`, `李` is `LI`.
pub fn ascii_capitals(text: &str, out: &mut String) {
    for letter in text.chars() {
        let plain = match letter {
            'á' | 'à' | 'ả' | 'ạ' | 'ấ' | 'ầ' | 'ă' | 'ặ' | 'ä' | 'å' | 'ā' | 'Á' | 'Å' | 'Ä' => "A",
            'ç' | 'č' | 'ć' | 'Ç' | 'Č' => "C",
            'đ' | 'Đ' | 'ď' => "D",
            'é' | 'è' | 'ê' | 'ë' | 'ế' | 'ễ' | 'ệ' | 'ě' | 'É' | 'È' => "E",
            'í' | 'ì' | 'î' | 'ï' | 'ị' | 'Í' => "I",
            'ł' | 'Ł' => "L",
            'ñ' | 'ń' | 'ň' | 'Ñ' => "N",
            'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ọ' | 'ơ' | 'ợ' | 'ỗ' | 'ø' | 'Ó' | 'Ö' | 'Ø' => "O",
            'ř' | 'Ř' => "R",
            'š' | 'ś' | 'ș' | 'Š' | 'Ś' | 'Ș' => "S",
            'ß' => "SS",
            'ț' | 'Ț' => "T",
            'ú' | 'ù' | 'û' | 'ü' | 'ũ' | 'ư' | 'ứ' | 'Ú' | 'Ü' => "U",
            'ý' | 'ỳ' => "Y",
            'ž' | 'ż' | 'ź' | 'Ž' => "Z",
            '’' | 'ʻ' | '‘' => "'",
            '\u{A0}' => " ",
            '娜' => "NA",
            '秀' => "XIU",
            '英' => "YING",
            '静' => "JING",
            '芳' => "FANG",
            '伟' => "WEI",
            '强' => "QIANG",
            '军' => "JUN",
            '洋' | '阳' => "YANG",
            '李' => "LI",
            '王' => "WANG",
            '张' => "ZHANG",
            '欧' => "OU",
            ascii if ascii.is_ascii() => {
                out.push(ascii.to_ascii_uppercase());
                continue;
            }
            _ => "?",
        };
        out.push_str(plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut dyn Ink)) -> String {
        let mut text = String::new();
        write(&mut text);
        let mut bytes = Vec::new();
        write(&mut bytes);
        assert_eq!(text.as_bytes(), bytes);
        text
    }

    #[test]
    fn numbers() {
        assert_eq!(both(|w| w.int(0)), "0");
        assert_eq!(both(|w| w.int(18_446_744_073_709_551)), "18446744073709551");
        assert_eq!(both(|w| w.pad(42, 5)), "00042");
        assert_eq!(both(|w| w.at_least(999, 3)), "999");
        assert_eq!(both(|w| w.at_least(1_000, 3)), "1000");
        assert_eq!(both(|w| w.fixed(-7_103_905, 6)), "-7.103905");
        assert_eq!(both(|w| w.fixed(5, 2)), "0.05");
        assert_eq!(both(|w| w.fixed(120, 0)), "120");
    }

    #[test]
    fn every_name_has_its_ascii_capitals() {
        let capitals = |name: &str| {
            let mut out = String::new();
            ascii_capitals(name, &mut out);
            out
        };
        assert_eq!(capitals("Ó Súilleabháin"), "O SUILLEABHAIN");
        assert_eq!(capitals("欧阳"), "OUYANG");
        for culture in crate::world::names::CULTURES {
            for name in culture.female.iter().chain(culture.male).chain(culture.surnames) {
                let plain = capitals(name);
                assert!(plain.is_ascii() && !plain.contains('?'), "{name}: {plain}");
            }
        }
    }

    #[test]
    fn dates() {
        let day = Day::from_ymd(2019, 3, 4);
        assert_eq!(both(|w| w.day(day)), "2019-03-04");
        assert_eq!(both(|w| w.day_us(day)), "03/04/2019");
        assert_eq!(both(|w| w.day_packed(day)), "20190304");
        assert_eq!(both(|w| w.instant(day.start() + 3_723)), "2019-03-04T01:02:03");
    }
}

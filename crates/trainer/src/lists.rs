//! The lists that `fetch.py` wrote, and what fills the slots of the templates from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rng::Rng;

/// Values with running sums of their weights.
pub struct Weighted {
    values: Vec<String>,
    sums: Vec<f64>,
}

impl Weighted {
    fn new(rows: impl Iterator<Item = (String, f64)>) -> Self {
        let (mut values, mut sums, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (value, weight) in rows {
            sum += weight;
            values.push(value);
            sums.push(sum);
        }
        Self { values, sums }
    }

    fn common(&self, rng: &mut Rng) -> &str {
        let at = rng.unit() * self.sums.last().copied().unwrap_or(0.0);
        let at = self.sums.partition_point(|sum| *sum <= at);
        &self.values[at.min(self.values.len() - 1)]
    }

    fn any(&self, rng: &mut Rng) -> &str {
        rng.word(&self.values)
    }
}

pub struct Lists {
    pub first: Vec<(String, f64)>,
    pub last: Vec<String>,
    pub nick: Vec<String>,
    pub world: BTreeMap<String, (Vec<String>, Vec<String>)>,
    pub cities: Vec<(String, f64)>,
    pub counties: Vec<String>,
    pub drugs: Vec<(String, bool)>,
    pub icd: Vec<String>,
    pub words: Vec<(String, usize)>,
    pub prose: Vec<String>,
    first_weighted: Weighted,
    last_weighted: Weighted,
    cities_weighted: Weighted,
    locales: Vec<String>,
    generic: Vec<String>,
    brands: Vec<String>,
    ordinary: Vec<String>,
}

fn rows(dir: &Path, name: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(dir.join(name)).with_context(|| format!("{name}: run fetch.py first"))?;
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

fn column(dir: &Path, name: &str) -> Result<Vec<String>> {
    Ok(rows(dir, name)?.into_iter().filter_map(|row| row.into_iter().next()).collect())
}

pub const STATES: &[(&str, &str)] = &[
    ("AL", "Alabama"),
    ("AK", "Alaska"),
    ("AZ", "Arizona"),
    ("AR", "Arkansas"),
    ("CA", "California"),
    ("CO", "Colorado"),
    ("CT", "Connecticut"),
    ("DE", "Delaware"),
    ("FL", "Florida"),
    ("GA", "Georgia"),
    ("HI", "Hawaii"),
    ("ID", "Idaho"),
    ("IL", "Illinois"),
    ("IN", "Indiana"),
    ("IA", "Iowa"),
    ("KS", "Kansas"),
    ("KY", "Kentucky"),
    ("LA", "Louisiana"),
    ("ME", "Maine"),
    ("MD", "Maryland"),
    ("MA", "Massachusetts"),
    ("MI", "Michigan"),
    ("MN", "Minnesota"),
    ("MS", "Mississippi"),
    ("MO", "Missouri"),
    ("MT", "Montana"),
    ("NE", "Nebraska"),
    ("NV", "Nevada"),
    ("NH", "New Hampshire"),
    ("NJ", "New Jersey"),
    ("NM", "New Mexico"),
    ("NY", "New York"),
    ("NC", "North Carolina"),
    ("ND", "North Dakota"),
    ("OH", "Ohio"),
    ("OK", "Oklahoma"),
    ("OR", "Oregon"),
    ("PA", "Pennsylvania"),
    ("RI", "Rhode Island"),
    ("SC", "South Carolina"),
    ("SD", "South Dakota"),
    ("TN", "Tennessee"),
    ("TX", "Texas"),
    ("UT", "Utah"),
    ("VT", "Vermont"),
    ("VA", "Virginia"),
    ("WA", "Washington"),
    ("WV", "West Virginia"),
    ("WI", "Wisconsin"),
    ("WY", "Wyoming"),
];

pub const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Lists {
    pub fn read(dir: &Path) -> Result<Self> {
        let number = |row: &[String], at: usize| row.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        let mut first: BTreeMap<String, f64> = BTreeMap::new();
        for row in rows(dir, "first.tsv")? {
            *first.entry(row[0].clone()).or_default() += number(&row, 2);
        }
        let first: Vec<_> = first.into_iter().collect();
        let last = rows(dir, "last.tsv")?;
        let last_weighted = Weighted::new(last.iter().map(|row| (surname(&row[0]), number(row, 1) + 0.0003)));
        let last: Vec<String> = last.into_iter().map(|row| row[0].clone()).collect();
        let mut world = BTreeMap::<String, (Vec<String>, Vec<String>)>::new();
        for row in rows(dir, "world.tsv")? {
            let both = world.entry(row[0].clone()).or_default();
            if row[1] == "f" { both.0.push(row[2].clone()) } else { both.1.push(row[2].clone()) }
        }
        world.retain(|_, (first, last)| !first.is_empty() && !last.is_empty());
        let mut cities = BTreeMap::<String, f64>::new();
        for row in rows(dir, "cities.tsv")? {
            let most = cities.entry(row[0].clone()).or_default();
            *most = most.max(number(&row, 2));
        }
        let cities: Vec<_> = cities.into_iter().collect();
        let drugs: Vec<_> = rows(dir, "drugs.tsv")?.into_iter().map(|row| (row[0].clone(), row[1] == "1")).collect();
        let mut lists = Self {
            first_weighted: Weighted::new(first.iter().map(|(name, share)| (name.clone(), *share + 0.0005))),
            last_weighted,
            cities_weighted: Weighted::new(cities.iter().cloned()),
            ordinary: Vec::new(),
            locales: world.keys().cloned().collect(),
            generic: drugs.iter().filter(|(_, brand)| !brand).map(|(name, _)| name.clone()).collect(),
            brands: drugs.iter().filter(|(_, brand)| *brand).map(|(name, _)| name.clone()).collect(),
            first,
            last,
            nick: column(dir, "nick.tsv")?,
            world,
            cities,
            counties: column(dir, "counties.tsv")?,
            drugs,
            icd: column(dir, "icd.tsv")?,
            words: rows(dir, "words.tsv")?
                .into_iter()
                .map(|row| (row[0].clone(), row[1].parse().unwrap_or(0)))
                .collect(),
            prose: column(dir, "prose.tsv")?,
        };
        let ordinary = lists.words.iter().filter(|(word, count)| *count >= 20 && word.len() > 3);
        lists.ordinary = ordinary.map(|(word, _)| word.clone()).collect();
        Ok(lists)
    }

    fn world(&self, rng: &mut Rng) -> (&str, &str) {
        let (first, last) = &self.world[rng.word(&self.locales)];
        (rng.word(first), rng.word(last))
    }

    fn first<'a>(&'a self, rng: &mut Rng) -> &'a str {
        match rng.below(100) {
            0..58 => self.first_weighted.common(rng),
            58..80 => self.first_weighted.any(rng),
            _ => self.world(rng).0,
        }
    }

    fn last<'a>(&'a self, rng: &mut Rng) -> &'a str {
        match rng.below(100) {
            0..45 => self.last_weighted.common(rng),
            45..80 => self.last_weighted.any(rng),
            _ => self.world(rng).1,
        }
    }

    fn city<'a>(&'a self, rng: &mut Rng) -> &'a str {
        if rng.chance(0.6) { self.cities_weighted.common(rng) } else { self.cities_weighted.any(rng) }
    }

    /// What a slot of the templates stands for.
    pub fn fill(&self, slot: &str, rng: &mut Rng, out: &mut String) -> bool {
        if let Some((low, high)) = slot.strip_prefix("n:").and_then(|range| range.split_once('-')) {
            let (low, high) = (low.parse().unwrap_or(0), high.parse().unwrap_or(9));
            out.push_str(&rng.between(low, high).to_string());
            return true;
        }
        match slot {
            "first" => out.push_str(self.first(rng)),
            "last" => out.push_str(self.last(rng)),
            "FIRST" => out.push_str(&self.first(rng).to_uppercase()),
            "LAST" => out.push_str(&self.last(rng).to_uppercase()),
            "nick" => out.push_str(rng.word(&self.nick)),
            "I" => out.push((b'A' + rng.below(26) as u8) as char),
            "worldname" => {
                let (first, last) = self.world(rng);
                out.push_str(first);
                out.push(' ');
                out.push_str(last);
            }
            "worldfirst" => out.push_str(self.world(rng).0),
            "worldlast" => out.push_str(self.world(rng).1),
            "oov" => out.push_str(&invented(rng)),
            "city" => out.push_str(self.city(rng)),
            "county" => out.push_str(rng.word(&self.counties)),
            "st" => out.push_str(rng.pick(STATES).0),
            "state" => out.push_str(rng.pick(STATES).1),
            "zip" => number(rng, 5, out),
            "anydrug" => out.push_str(rng.word(&self.generic)),
            "Anydrug" => capital(rng.word(&self.generic), out),
            "anybrand" => capital(rng.word(&self.brands), out),
            "icd" => out.push_str(rng.word(&self.icd)),
            "icdcaps" => out.push_str(&rng.word(&self.icd).to_uppercase()),
            "icdlow" => {
                let phrase = rng.word(&self.icd);
                // An abbreviation or an eponym at its head keeps its capital.
                let keep = phrase.chars().nth(1).is_some_and(char::is_uppercase) || phrase.contains('\'');
                let mut letters = phrase.chars();
                match letters.next() {
                    Some(c) if !keep => out.extend(c.to_lowercase()),
                    Some(c) => out.push(c),
                    None => (),
                }
                out.push_str(letters.as_str());
            }
            "icdtitle" => {
                for (at, word) in rng.word(&self.icd).split(' ').enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    if word.len() > 3 { capital(word, out) } else { out.push_str(word) }
                }
            }
            "word" => out.push_str(rng.word(&self.ordinary)),
            "invdrug" => out.push_str(&remedy(rng)),
            "Invdrug" => capital(&remedy(rng), out),
            "Word" => capital(rng.word(&self.ordinary), out),
            "prose" => out.push_str(rng.word(&self.prose)),
            "month" => out.push_str(rng.pick::<&str>(MONTHS)),
            "year" => out.push_str(&rng.between(1930, 2026).to_string()),
            "date" => date(rng, out),
            "time" => {
                out.push_str(&format!("{:02}:{:02}", rng.below(24), rng.below(60)));
                out.push_str(rng.pick::<&str>(&["", "", " AM", " PM", "h", " hrs"]));
            }
            "mrn" => {
                out.push_str(rng.pick::<&str>(&["", "", "", "", "#", "MR", "A", "ST-", "H-", "XX"]));
                let digits = rng.between(5, 10);
                number(rng, digits, out);
            }
            "phone" => {
                let form = *rng.pick::<&str>(&[
                    "(ddd) ddd-dddd",
                    "ddd-ddd-dddd",
                    "ddd.ddd.dddd",
                    "dddddddddd",
                    "+1 ddd ddd dddd",
                    "+dd dd dddd dddd",
                    "ddd-dddd",
                    "(ddd)ddd-dddd xddd",
                ]);
                for c in form.chars() {
                    if c == 'd' { number(rng, 1, out) } else { out.push(c) }
                }
            }
            "email" => {
                out.push_str(&self.first(rng).to_lowercase().replace(' ', ""));
                out.push_str(rng.pick::<&str>(&[".", "_", ""]));
                out.push_str(&self.last(rng).to_lowercase().replace(' ', ""));
                out.push_str(rng.pick::<&str>(&[
                    "@gmail.com",
                    "@hospital.org",
                    "@yahoo.com",
                    "@example.com",
                    "@health.net",
                ]));
            }
            "ACR" => {
                for _ in 0..rng.between(3, 4) {
                    out.push((b'A' + rng.below(26) as u8) as char);
                }
            }
            _ => return false,
        }
        true
    }
}

/// Census lists are in capitals only.
fn surname(name: &str) -> String {
    match name.strip_prefix("Mc") {
        Some(rest) if rest.len() > 2 && !name.len().is_multiple_of(3) => {
            let mut out = "Mc".to_owned();
            capital(rest, &mut out);
            out
        }
        _ => name.to_owned(),
    }
}

pub fn capital(word: &str, out: &mut String) {
    let mut letters = word.chars();
    out.extend(letters.next().into_iter().flat_map(char::to_uppercase));
    out.push_str(letters.as_str());
}

fn number(rng: &mut Rng, digits: usize, out: &mut String) {
    for _ in 0..digits {
        out.push((b'0' + rng.below(10) as u8) as char);
    }
}

/// A medicine that is on no list.
fn remedy(rng: &mut Rng) -> String {
    const START: &[&str] = &[
        "a", "be", "ce", "do", "e", "flo", "gli", "i", "ke", "la", "me", "ni", "o", "pro", "qui", "ri", "so", "ta",
        "u", "va", "xe", "zo", "tri", "bri", "clo", "cy", "dar", "far", "hu", "ju", "lu", "no", "pi", "re", "sym",
        "tre", "ver", "zy",
    ];
    const MIDDLE: &[&str] = &[
        "ba", "ci", "da", "fe", "go", "la", "mi", "no", "pra", "ra", "si", "ta", "vi", "xi", "zo", "lo", "qui", "ty",
        "",
    ];
    const END: &[&str] = &[
        "mab",
        "nib",
        "pril",
        "sartan",
        "statin",
        "olol",
        "azole",
        "cillin",
        "mycin",
        "floxacin",
        "gliptin",
        "gliflozin",
        "tide",
        "parin",
        "xaban",
        "vir",
        "pam",
        "done",
        "pine",
        "zine",
        "tine",
        "ride",
        "lix",
        "qua",
        "ta",
        "xa",
        "ra",
        "via",
        "cept",
        "dronate",
        "triptan",
        "setron",
        "max",
        "zyl",
        "dex",
        "tor",
        "vance",
        "prel",
        "cin",
        "quis",
        "cor",
        "gen",
    ];
    format!("{}{}{}", rng.pick::<&str>(START), rng.pick::<&str>(MIDDLE), rng.pick::<&str>(END))
}

/// A name that is on no list.
fn invented(rng: &mut Rng) -> String {
    const START: &[&str] = &[
        "B", "Br", "Ch", "D", "Dr", "F", "G", "Gr", "H", "J", "K", "Kh", "Kr", "L", "M", "N", "Ng", "O", "P", "Q", "R",
        "S", "Sh", "St", "T", "Th", "Ts", "U", "V", "W", "X", "Y", "Z", "Zh", "A", "E", "I", "Ad", "Al", "Ol", "Ib",
        "Ek",
    ];
    const VOWEL: &[&str] = &["a", "e", "i", "o", "u", "ai", "ee", "ou", "ie", "ya", "eo", "ua", "ö", "é", "í"];
    const MIDDLE: &[&str] = &[
        "b", "d", "g", "k", "l", "m", "n", "r", "s", "t", "v", "z", "nd", "ng", "rk", "st", "ll", "nn", "sh", "ck",
        "lm", "rt", "w", "y", "kh", "ts", "mb", "nk",
    ];
    const END: &[&str] = &[
        "", "n", "r", "s", "l", "m", "k", "ski", "son", "sen", "ez", "ian", "ov", "ova", "ko", "o", "wala", "dze",
        "ton", "ford", "man", "berg", "stein", "oğlu", "nen", "ez", "ini", "elli", "ides", "uk", "wu", "te", "gbe",
        "uwa", "deh",
    ];
    let mut name = (*rng.pick::<&str>(START)).to_owned();
    for _ in 0..rng.between(1, 2) {
        name.push_str(rng.pick::<&str>(VOWEL));
        name.push_str(rng.pick::<&str>(MIDDLE));
    }
    name.push_str(rng.pick::<&str>(VOWEL));
    name.push_str(rng.pick::<&str>(END));
    name
}

fn date(rng: &mut Rng, out: &mut String) {
    let (year, month, day) = (rng.between(1925, 2026), rng.between(1, 12), rng.between(1, 28));
    let name = MONTHS[month - 1];
    let short = &name[..3];
    let th = match day {
        1 | 21 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    };
    out.push_str(&match rng.below(14) {
        0 | 1 => format!("{month:02}/{day:02}/{year}"),
        2 => format!("{month}/{day}/{:02}", year % 100),
        3 => format!("{year}-{month:02}-{day:02}"),
        4 | 5 => format!("{name} {day}, {year}"),
        6 | 7 => format!("{name} {day}{th}, {year}"),
        8 => format!("{short} {day}, {year}"),
        9 => format!("{short} {day}{th}, {year}"),
        10 => format!("{day:02}-{short}-{year}"),
        11 => format!("{name} {day}"),
        12 => format!("{month}/{day}"),
        _ => format!("{day} {name} {year}"),
    });
}

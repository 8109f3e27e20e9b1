//! What can be asked for.

use crate::day::Day;

/// Shares (0 to 1) of the dirt that real exports carry. All of it is seeded.
///
/// `duplicate` and `zip_plus4` belong to the person and show in every format; the rest is what a CSV export
/// does to good data, so FHIR and Parquet stay clean and serve as the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dirt {
    /// A cell that may be empty is.
    pub empty: f64,
    /// A date or timestamp is spelled other than ISO: see [`crate::DATE_SPELLINGS`].
    pub date_spelling: f64,
    /// A text has a no-break space, or its accents as combining marks.
    pub unicode: f64,
    /// A text ends in one or two spaces.
    pub trailing_space: f64,
    /// A postal code is ZIP+4.
    pub zip_plus4: f64,
    /// A patient is a second record of an earlier one, with typos and its own patient_id and MRN.
    pub duplicate: f64,
    /// A row cannot be read as the catalog says. Each is listed in [`crate::Summary::bad_rows`].
    pub bad_row: f64,
}

impl Dirt {
    pub const fn none() -> Self {
        Self {
            empty: 0.0,
            date_spelling: 0.0,
            unicode: 0.0,
            trailing_space: 0.0,
            zip_plus4: 0.0,
            duplicate: 0.0,
            bad_row: 0.0,
        }
    }
}

impl Default for Dirt {
    fn default() -> Self {
        Self {
            empty: 0.01,
            date_spelling: 0.02,
            unicode: 0.005,
            trailing_space: 0.01,
            zip_plus4: 0.1,
            duplicate: 0.01,
            bad_row: 0.0005,
        }
    }
}

/// The population, beyond the age pyramid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct People {
    /// Share aged 90 to 104 at `as_of`.
    pub over_89: f64,
    /// Share living where the three-digit ZIP holds 20,000 people or fewer.
    pub small_zip: f64,
    /// Share living at the address of the patient numbered just before them, as families do.
    pub shared_address: f64,
    /// Mean number of encounters.
    pub encounters: u32,
}

impl Default for People {
    fn default() -> Self {
        Self { over_89: 0.02, small_zip: 0.02, shared_address: 0.3, encounters: 4 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set, any of which may be asked for")]
pub struct Formats {
    pub csv: bool,
    pub parquet: bool,
    pub fhir: bool,
    pub hl7v2: bool,
    pub ccda: bool,
    pub x12: bool,
    /// Plain text, a file a note. [`SynthOptions::notes`] must be on, or there are none.
    pub notes: bool,
}

impl Formats {
    pub const NONE: Self =
        Self { csv: false, parquet: false, fhir: false, hl7v2: false, ccda: false, x12: false, notes: false };
    pub const ALL: Self =
        Self { csv: true, parquet: true, fhir: true, hl7v2: true, ccda: true, x12: true, notes: true };
    pub const CSV: Self = Self { csv: true, ..Self::NONE };
    pub const PARQUET: Self = Self { parquet: true, ..Self::NONE };
    pub const FHIR: Self = Self { fhir: true, ..Self::NONE };

    /// Whether any of them says more of a patient than the tables do.
    pub(crate) fn charts(self) -> bool {
        self.hl7v2 || self.ccda || self.x12 || self.notes
    }
}

#[derive(Clone, Debug)]
pub struct SynthOptions {
    pub patients: u64,
    pub seed: u64,
    pub dirt: Dirt,
    pub people: People,
    pub formats: Formats,
    /// Whether anything is written about patients in free text, in whatever format.
    pub notes: bool,
    /// Write who everybody is and where each of them is named, in `truth/patients.ndjson` and `truth/mentions.ndjson`.
    pub truth: bool,
    /// The day of the export: ages are as of it and no record is later.
    pub as_of: Day,
    /// Worker threads; 0 for as many as the machine has. The bytes written do not depend on it.
    pub threads: usize,
}

impl Default for SynthOptions {
    fn default() -> Self {
        Self {
            patients: 1_000,
            seed: 1,
            dirt: Dirt::default(),
            people: People::default(),
            formats: Formats::CSV,
            notes: true,
            truth: false,
            as_of: Day::from_ymd(2026, 1, 1),
            threads: 0,
        }
    }
}

impl SynthOptions {
    /// What makes the options impossible, if anything does.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let Dirt { empty, date_spelling, unicode, trailing_space, zip_plus4, duplicate, bad_row } = self.dirt;
        let People { over_89, small_zip, shared_address, encounters } = self.people;
        let shares = [
            empty,
            date_spelling,
            unicode,
            trailing_space,
            zip_plus4,
            duplicate,
            bad_row,
            over_89,
            small_zip,
            shared_address,
        ];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
            return Some("a share is not between 0 and 1");
        }
        // Each patient asks the one before: at 1 the first would be everybody's neighbour.
        if shared_address > 0.95 {
            return Some("the share of shared addresses is above 0.95");
        }
        if encounters == 0 || encounters > 1_000 {
            return Some("the mean number of encounters is not between 1 and 1,000");
        }
        if self.patients > 1_000_000_000 {
            return Some("more than a thousand million patients");
        }
        if !(Day::from_ymd(1990, 1, 1)..=Day::from_ymd(2100, 1, 1)).contains(&self.as_of) {
            return Some("the day of the export is not between 1990 and 2100");
        }
        None
    }
}

//! Who works in the hospital, and where. Invented, a few hundred people a seed.

use crate::id::{Id, Thing};
use crate::ink::Ink;
use crate::rng::{Rng, Stream, at};
use crate::world::names::Culture;

pub struct Facility {
    pub name: &'static str,
    pub street: &'static str,
    pub city: &'static str,
    pub state: &'static str,
    pub zip: &'static str,
}

#[rustfmt::skip]
pub const FACILITIES: &[Facility] = &[
    Facility { name: "Cedar Ridge Medical Center", street: "1 Hospital Drive", city: "Worcester", state: "MA", zip: "01609" },
    Facility { name: "St. Elsewhere General Hospital", street: "500 Harbor Way", city: "Boston", state: "MA", zip: "02118" },
    Facility { name: "Prairie View Clinic", street: "77 Meadow Lane", city: "Emporia", state: "KS", zip: "66801" },
    Facility { name: "Lakeshore Children's Hospital", street: "12 Lake Street", city: "Milwaukee", state: "WI", zip: "53202" },
    Facility { name: "Desert Bloom Health System", street: "900 Juniper Road", city: "Tucson", state: "AZ", zip: "85705" },
    Facility { name: "Bayview Heart Institute", street: "3 Sunset Boulevard", city: "San Diego", state: "CA", zip: "92103" },
    Facility { name: "Northwoods Community Hospital", street: "48 Pine Street", city: "Grand Marais", state: "MN", zip: "55604" },
    Facility { name: "Parkinson Family Practice", street: "210 Church Street", city: "Durham", state: "NC", zip: "27701" },
    Facility { name: "High Plains Regional", street: "1600 Prairie Avenue", city: "Cheyenne", state: "WY", zip: "82001" },
    Facility { name: "Riverside Behavioral Health", street: "25 Mill Road", city: "Louisville", state: "KY", zip: "40204" },
    Facility { name: "Gulf Coast Cancer Center", street: "8 Broad Street", city: "Tampa", state: "FL", zip: "33604" },
    Facility { name: "Evergreen Rehabilitation", street: "340 Forest Way", city: "Seattle", state: "WA", zip: "98103" },
];

const SPECIALTIES: &[&str] = &[
    "Internal Medicine",
    "Family Medicine",
    "Cardiology",
    "Emergency Medicine",
    "Neurology",
    "Pediatrics",
    "Oncology",
    "Orthopedic Surgery",
    "Psychiatry",
    "Endocrinology",
    "Nephrology",
    "General Surgery",
];

pub struct Provider {
    pub id: Id,
    pub female: bool,
    pub given: &'static str,
    pub family: &'static str,
    /// `Dr. Zoë O’Brien`
    pub name: String,
    /// Ten digits that start with 9, which no National Provider Identifier does, with a right check digit.
    pub npi: String,
    pub specialty: &'static str,
    /// Its place in [`FACILITIES`].
    pub facility: usize,
}

impl Provider {
    /// Without the title.
    pub fn write_name(&self, out: &mut String) {
        out.push_str(self.given);
        out.push(' ');
        out.push_str(self.family);
    }
}

pub struct Staff {
    pub providers: Vec<Provider>,
    pub organizations: Vec<Id>,
}

impl Staff {
    pub fn new(seed: u64) -> Self {
        let providers = (0..360)
            .map(|number| {
                let mut rng = Rng::of(seed, Stream::Provider, number);
                let culture = Culture::pick(&mut rng);
                let female = rng.chance(0.5);
                let given = culture.given(&mut rng, female);
                let family = culture.surname(&mut rng);
                Provider {
                    id: Id::new(seed, Thing::Practitioner, number, 0),
                    female,
                    given,
                    family,
                    name: format!("Dr. {given} {family}"),
                    npi: npi(990_000_000 + number * 7),
                    specialty: rng.word(SPECIALTIES),
                    facility: rng.below(FACILITIES.len() as u32) as usize,
                }
            })
            .collect();
        let organizations =
            (0..FACILITIES.len() as u64).map(|number| Id::new(seed, Thing::Organization, number, 0)).collect();
        Self { providers, organizations }
    }

    pub fn provider(&self, index: usize) -> &Provider {
        at(&self.providers, index)
    }

    pub fn facility(&self, provider: usize) -> &'static Facility {
        at(FACILITIES, self.provider(provider).facility)
    }

    pub fn organization(&self, provider: usize) -> &Id {
        at(&self.organizations, self.provider(provider).facility)
    }
}

/// Nine digits and the Luhn digit over them with 80840 before (45 CFR 162.406).
fn npi(nine: u64) -> String {
    let mut text = String::with_capacity(10);
    text.pad(nine, 9);
    let sum: u32 = 24
        + text
            .bytes()
            .rev()
            .enumerate()
            .map(|(place, byte)| {
                let digit = u32::from(byte - b'0');
                match place % 2 {
                    0 if digit > 4 => digit * 2 - 9,
                    0 => digit * 2,
                    _ => digit,
                }
            })
            .sum::<u32>();
    text.digit(10 - sum % 10);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npi_check_digit_is_that_of_the_published_example() {
        assert_eq!(npi(123_456_789), "1234567893");
        assert!(Staff::new(1).providers.iter().all(|provider| provider.npi.starts_with('9')));
    }
}

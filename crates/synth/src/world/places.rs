//! Towns with their real county, state and ZIP, so that geography rules meet the geography they are about.

use crate::rng::Rng;

pub struct Place {
    pub city: &'static str,
    pub county: &'static str,
    pub state: &'static str,
    pub zip: &'static str,
    /// Millionths of a degree.
    pub latitude: i64,
    pub longitude: i64,
    /// A telephone area code of the state.
    pub area: u32,
}

const fn place(
    city: &'static str,
    county: &'static str,
    state: &'static str,
    zip: &'static str,
    latitude_millis: i64,
    longitude_millis: i64,
    area: u32,
) -> Place {
    Place { city, county, state, zip, latitude: latitude_millis * 1000, longitude: longitude_millis * 1000, area }
}

/// ZIP codes whose three-digit prefix holds 20,000 people or fewer (164.514(b)(2)(i)(B)), of the 2000 count
/// or of the 2010 and 2020 ones.
#[rustfmt::skip]
pub const SMALL: &[Place] = &[
    place("Charlestown", "Sullivan County", "NH", "03603", 43_236, -72_424, 603),
    place("Walpole", "Cheshire County", "NH", "03608", 43_079, -72_426, 603),
    place("Canaan", "Essex County", "VT", "05903", 44_997, -71_538, 802),
    place("Lunenburg", "Essex County", "VT", "05906", 44_463, -71_682, 802),
    place("Fishers Island", "Suffolk County", "NY", "06390", 41_265, -71_976, 631),
    place("New York", "New York County", "NY", "10282", 40_717, -74_015, 212),
    place("Washington", "District of Columbia", "DC", "20317", 38_940, -77_012, 202),
    place("Butler", "Choctaw County", "AL", "36904", 32_090, -88_222, 205),
    place("York", "Sumter County", "AL", "36925", 32_486, -88_296, 205),
    place("Grand Marais", "Cook County", "MN", "55604", 47_750, -90_334, 218),
    place("Two Harbors", "Lake County", "MN", "55616", 47_023, -91_671, 218),
    place("Valentine", "Cherry County", "NE", "69201", 42_873, -100_551, 402),
    place("Yellowstone National Park", "Park County", "WY", "82190", 44_600, -110_500, 307),
    place("Rawlins", "Carbon County", "WY", "82301", 41_791, -107_239, 307),
    place("Jackson", "Teton County", "WY", "83001", 43_480, -110_762, 307),
    place("Kemmerer", "Lincoln County", "WY", "83101", 41_793, -110_538, 307),
    place("Socorro", "Socorro County", "NM", "87801", 34_058, -106_891, 575),
    place("Magdalena", "Socorro County", "NM", "87825", 34_117, -107_244, 575),
    place("Truth or Consequences", "Sierra County", "NM", "87901", 33_128, -107_253, 575),
    place("Tucumcari", "Quay County", "NM", "88401", 35_172, -103_725, 575),
    place("Clayton", "Union County", "NM", "88415", 36_452, -103_184, 575),
    place("Alamo", "Lincoln County", "NV", "89001", 37_365, -115_164, 775),
    place("Ely", "White Pine County", "NV", "89301", 39_247, -114_889, 775),
];

#[rustfmt::skip]
pub const LARGE: &[Place] = &[
    place("Boston", "Suffolk County", "MA", "02118", 42_338, -71_070, 617),
    place("Cambridge", "Middlesex County", "MA", "02139", 42_364, -71_104, 617),
    place("Worcester", "Worcester County", "MA", "01609", 42_275, -71_816, 508),
    place("Springfield", "Hampden County", "MA", "01109", 42_117, -72_549, 413),
    place("Providence", "Providence County", "RI", "02906", 41_838, -71_393, 401),
    place("Portland", "Cumberland County", "ME", "04101", 43_660, -70_256, 207),
    place("Burlington", "Chittenden County", "VT", "05401", 44_484, -73_220, 802),
    place("Manchester", "Hillsborough County", "NH", "03103", 42_966, -71_449, 603),
    place("New Haven", "New Haven County", "CT", "06511", 41_318, -72_929, 203),
    place("Brooklyn", "Kings County", "NY", "11215", 40_667, -73_985, 718),
    place("New York", "New York County", "NY", "10025", 40_799, -73_968, 212),
    place("Bronx", "Bronx County", "NY", "10467", 40_873, -73_871, 718),
    place("Buffalo", "Erie County", "NY", "14214", 42_940, -78_838, 716),
    place("Rochester", "Monroe County", "NY", "14607", 43_150, -77_589, 585),
    place("Newark", "Essex County", "NJ", "07104", 40_766, -74_168, 973),
    place("Trenton", "Mercer County", "NJ", "08611", 40_207, -74_751, 609),
    place("Philadelphia", "Philadelphia County", "PA", "19104", 39_960, -75_202, 215),
    place("Pittsburgh", "Allegheny County", "PA", "15217", 40_431, -79_920, 412),
    place("Wilmington", "New Castle County", "DE", "19805", 39_744, -75_589, 302),
    place("Baltimore", "Baltimore city", "MD", "21218", 39_327, -76_605, 410),
    place("Washington", "District of Columbia", "DC", "20009", 38_920, -77_038, 202),
    place("Richmond", "Richmond city", "VA", "23220", 37_550, -77_459, 804),
    place("Charleston", "Kanawha County", "WV", "25301", 38_349, -81_631, 304),
    place("Durham", "Durham County", "NC", "27701", 35_999, -78_898, 919),
    place("Charlotte", "Mecklenburg County", "NC", "28205", 35_224, -80_786, 704),
    place("Columbia", "Richland County", "SC", "29201", 33_988, -81_027, 803),
    place("Atlanta", "Fulton County", "GA", "30310", 33_728, -84_423, 404),
    place("Savannah", "Chatham County", "GA", "31401", 32_074, -81_088, 912),
    place("Miami", "Miami-Dade County", "FL", "33125", 25_783, -80_237, 305),
    place("Tampa", "Hillsborough County", "FL", "33604", 28_017, -82_458, 813),
    place("Orlando", "Orange County", "FL", "32803", 28_556, -81_348, 407),
    place("Jacksonville", "Duval County", "FL", "32205", 30_317, -81_722, 904),
    place("Birmingham", "Jefferson County", "AL", "35205", 33_495, -86_807, 205),
    place("Nashville", "Davidson County", "TN", "37206", 36_180, -86_741, 615),
    place("Memphis", "Shelby County", "TN", "38104", 35_134, -90_005, 901),
    place("Jackson", "Hinds County", "MS", "39206", 32_367, -90_174, 601),
    place("Louisville", "Jefferson County", "KY", "40204", 38_237, -85_725, 502),
    place("Columbus", "Franklin County", "OH", "43201", 39_995, -83_004, 614),
    place("Cleveland", "Cuyahoga County", "OH", "44113", 41_482, -81_702, 216),
    place("Cincinnati", "Hamilton County", "OH", "45220", 39_143, -84_522, 513),
    place("Indianapolis", "Marion County", "IN", "46204", 39_772, -86_157, 317),
    place("Detroit", "Wayne County", "MI", "48201", 42_347, -83_060, 313),
    place("Grand Rapids", "Kent County", "MI", "49503", 42_966, -85_659, 616),
    place("Des Moines", "Polk County", "IA", "50310", 41_626, -93_673, 515),
    place("Milwaukee", "Milwaukee County", "WI", "53202", 43_047, -87_899, 414),
    place("Madison", "Dane County", "WI", "53703", 43_078, -89_375, 608),
    place("Minneapolis", "Hennepin County", "MN", "55408", 44_947, -93_288, 612),
    place("Saint Paul", "Ramsey County", "MN", "55104", 44_954, -93_166, 651),
    place("Sioux Falls", "Minnehaha County", "SD", "57104", 43_553, -96_737, 605),
    place("Fargo", "Cass County", "ND", "58102", 46_923, -96_838, 701),
    place("Billings", "Yellowstone County", "MT", "59101", 45_774, -108_500, 406),
    place("Chicago", "Cook County", "IL", "60614", 41_922, -87_653, 312),
    place("Chicago", "Cook County", "IL", "60629", 41_776, -87_711, 773),
    place("Peoria", "Peoria County", "IL", "61603", 40_713, -89_575, 309),
    place("St. Louis", "St. Louis city", "MO", "63110", 38_621, -90_258, 314),
    place("Kansas City", "Jackson County", "MO", "64110", 39_036, -94_572, 816),
    place("Wichita", "Sedgwick County", "KS", "67203", 37_705, -97_364, 316),
    place("Emporia", "Lyon County", "KS", "66801", 38_415, -96_197, 620),
    place("Omaha", "Douglas County", "NE", "68104", 41_292, -95_999, 402),
    place("New Orleans", "Orleans Parish", "LA", "70115", 29_925, -90_103, 504),
    place("Baton Rouge", "East Baton Rouge Parish", "LA", "70806", 30_449, -91_126, 225),
    place("Little Rock", "Pulaski County", "AR", "72205", 34_751, -92_345, 501),
    place("Tulsa", "Tulsa County", "OK", "74104", 36_146, -95_953, 918),
    place("Oklahoma City", "Oklahoma County", "OK", "73106", 35_486, -97_537, 405),
    place("Dallas", "Dallas County", "TX", "75206", 32_831, -96_770, 214),
    place("Houston", "Harris County", "TX", "77004", 29_725, -95_363, 713),
    place("Houston", "Harris County", "TX", "77036", 29_698, -95_540, 713),
    place("San Antonio", "Bexar County", "TX", "78207", 29_423, -98_526, 210),
    place("Austin", "Travis County", "TX", "78704", 30_243, -97_766, 512),
    place("El Paso", "El Paso County", "TX", "79902", 31_776, -106_493, 915),
    place("Denver", "Denver County", "CO", "80205", 39_759, -104_966, 303),
    place("Colorado Springs", "El Paso County", "CO", "80903", 38_839, -104_814, 719),
    place("Cheyenne", "Laramie County", "WY", "82001", 41_144, -104_796, 307),
    place("Boise", "Ada County", "ID", "83702", 43_633, -116_206, 208),
    place("Salt Lake City", "Salt Lake County", "UT", "84102", 40_760, -111_863, 801),
    place("Phoenix", "Maricopa County", "AZ", "85006", 33_465, -112_049, 602),
    place("Tucson", "Pima County", "AZ", "85705", 32_269, -110_985, 520),
    place("Albuquerque", "Bernalillo County", "NM", "87106", 35_079, -106_617, 505),
    place("Las Vegas", "Clark County", "NV", "89104", 36_152, -115_109, 702),
    place("Reno", "Washoe County", "NV", "89502", 39_497, -119_776, 775),
    place("Los Angeles", "Los Angeles County", "CA", "90026", 34_079, -118_264, 213),
    place("Los Angeles", "Los Angeles County", "CA", "90044", 33_955, -118_290, 323),
    place("San Diego", "San Diego County", "CA", "92103", 32_746, -117_168, 619),
    place("Fresno", "Fresno County", "CA", "93702", 36_739, -119_753, 559),
    place("San Francisco", "San Francisco County", "CA", "94110", 37_750, -122_415, 415),
    place("Oakland", "Alameda County", "CA", "94601", 37_776, -122_218, 510),
    place("San José", "Santa Clara County", "CA", "95112", 37_345, -121_883, 408),
    place("Sacramento", "Sacramento County", "CA", "95818", 38_557, -121_493, 916),
    place("Honolulu", "Honolulu County", "HI", "96817", 21_325, -157_858, 808),
    place("Portland", "Multnomah County", "OR", "97214", 45_514, -122_643, 503),
    place("Seattle", "King County", "WA", "98103", 47_671, -122_342, 206),
    place("Spokane", "Spokane County", "WA", "99205", 47_696, -117_439, 509),
    place("Anchorage", "Anchorage Municipality", "AK", "99501", 61_217, -149_876, 907),
];

const STREETS: &[&str] = &[
    "Maple",
    "Oak",
    "Cedar",
    "Pine",
    "Elm",
    "Washington",
    "Lake",
    "Hill",
    "Walnut",
    "Spring",
    "North",
    "Ridge",
    "Church",
    "Willow",
    "Mill",
    "Sunset",
    "Railroad",
    "Jefferson",
    "Center",
    "Highland",
    "Forest",
    "River",
    "Meadow",
    "Broad",
    "Chestnut",
    "Franklin",
    "Lincoln",
    "Park",
    "Peach Tree",
    "O’Neill",
    "José Martí",
    "Dr. King",
    "Old Quarry",
    "Saint Mary’s",
    "Harbor",
    "Juniper",
    "Prairie",
    "Orchard",
    "Hospital",
    "Parkinson",
];
const SUFFIXES: &[&str] =
    &["Street", "Avenue", "Road", "Drive", "Lane", "Court", "Boulevard", "Way", "Place", "Terrace"];

/// Writes a street line such as `1482 Old Quarry Road, Apt 4B`.
pub fn street(rng: &mut Rng, out: &mut String) {
    use crate::ink::Ink;
    out.int(u64::from(rng.below(9_899) + 100));
    out.ascii(b' ');
    out.put(rng.word(STREETS));
    out.ascii(b' ');
    out.put(rng.word(SUFFIXES));
    if rng.chance(0.25) {
        out.put(if rng.chance(0.8) { ", Apt " } else { " Unit #" });
        out.int(u64::from(rng.below(40) + 1));
        if rng.chance(0.5) {
            out.ascii(b'A' + rng.below(6) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn small_zip_prefixes_are_those_of_the_rule_and_large_ones_are_not() {
        const RULE: &str =
            "036 059 063 102 202 203 204 205 369 556 692 753 772 790 821 823 830 831 878 879 884 890 893";
        for place in SMALL {
            assert!(RULE.contains(place.zip.get(..3).unwrap()), "{}", place.city);
        }
        for place in LARGE {
            assert!(!RULE.contains(place.zip.get(..3).unwrap()), "{}", place.city);
        }
    }

    #[test]
    fn every_place_is_in_the_united_states() {
        for place in SMALL.iter().chain(LARGE) {
            assert_eq!((place.zip.len(), place.state.len()), (5, 2));
            assert!((18_000_000..72_000_000).contains(&place.latitude), "{}", place.city);
            assert!((-180_000_000..-66_000_000).contains(&place.longitude), "{}", place.city);
            assert!((200..1000).contains(&place.area));
        }
    }
}

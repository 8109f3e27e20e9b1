//! Titles before names, and states behind towns: let stay by the rule, taken by some policies.

use crate::Span;
use cordon_phi::IdentifierKind;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widen {
    /// "Dr.", "Mrs." before a name.
    pub titles: bool,
    /// "OH", "Ohio" and the comma before it, behind a place.
    pub states: bool,
}

const TITLES: &[&str] = &["dr", "doctor", "mr", "mrs", "ms", "miss", "mx", "prof", "professor", "sr", "sra", "rev"];

const CODES: &str = "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY \
    NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY PR";

const STATES: &[&str] = &[
    "Alabama",
    "Alaska",
    "Arizona",
    "Arkansas",
    "California",
    "Colorado",
    "Connecticut",
    "Delaware",
    "Florida",
    "Georgia",
    "Hawaii",
    "Idaho",
    "Illinois",
    "Indiana",
    "Iowa",
    "Kansas",
    "Kentucky",
    "Louisiana",
    "Maine",
    "Maryland",
    "Massachusetts",
    "Michigan",
    "Minnesota",
    "Mississippi",
    "Missouri",
    "Montana",
    "Nebraska",
    "Nevada",
    "New Hampshire",
    "New Jersey",
    "New Mexico",
    "New York",
    "North Carolina",
    "North Dakota",
    "Ohio",
    "Oklahoma",
    "Oregon",
    "Pennsylvania",
    "Rhode Island",
    "South Carolina",
    "South Dakota",
    "Tennessee",
    "Texas",
    "Utah",
    "Vermont",
    "Virginia",
    "Washington",
    "West Virginia",
    "Wisconsin",
    "Wyoming",
];

/// Grows spans over what `how` names. They stay in order and disjoint.
pub fn widen(text: &str, how: Widen, spans: &mut [Span]) {
    let mut floor = 0;
    for at in 0..spans.len() {
        let ceiling = spans.get(at + 1).map_or(text.len(), |next| next.start);
        let Some(span) = spans.get_mut(at) else { return };
        if how.titles && span.kind == IdentifierKind::Name {
            span.start = title(text, floor, span.start);
        }
        let place = matches!(
            span.kind,
            IdentifierKind::City
                | IdentifierKind::County
                | IdentifierKind::StreetAddress
                | IdentifierKind::Organization
        );
        if how.states && place {
            span.end = state(text, span.end, ceiling);
        }
        floor = span.end;
    }
}

/// Where the title before `start` begins; `start` where there is none.
fn title(text: &str, floor: usize, start: usize) -> usize {
    let Some(before) = text.get(floor..start) else { return start };
    let before = before.trim_end_matches([' ', '.']);
    let letters = before.bytes().rev().take(10).take_while(u8::is_ascii_alphabetic).count();
    let Some(word) = before.get(before.len() - letters..) else { return start };
    let alone = !before.get(..before.len() - letters).is_some_and(|rest| rest.ends_with(char::is_alphanumeric));
    if alone && TITLES.iter().any(|title| title.eq_ignore_ascii_case(word)) {
        return floor + before.len() - letters;
    }
    start
}

/// Where the state behind `end` ends; `end` where there is none.
fn state(text: &str, end: usize, ceiling: usize) -> usize {
    let Some(rest) = text.get(end..ceiling) else { return end };
    let behind = rest.strip_prefix(',').unwrap_or(rest);
    let name = behind.trim_start_matches(' ');
    if name.len() == behind.len() && behind.len() == rest.len() {
        return end;
    }
    let begin = end + (rest.len() - name.len());
    let closes = |len: usize| name.get(len..).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    if let Some(code) = name.get(..2)
        && closes(2)
        && behind.len() < rest.len()
        && CODES.split(' ').any(|known| known == code)
    {
        return begin + 2;
    }
    let full = STATES.iter().find(|state| {
        name.get(..state.len()).is_some_and(|head| head.eq_ignore_ascii_case(state)) && closes(state.len())
    });
    full.map_or(end, |state| begin + state.len())
}

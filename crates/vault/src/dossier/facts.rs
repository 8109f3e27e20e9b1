//! Facts as bytes: kind (1) | whose (1) | length of the text (2) | text. A *piece* is facts in a row, the oldest first.
//!
//! Among them stands how the person's made-up name is drawn: kind 255, whose 0, and the text sex (1), skips (1), skips (1). Of
//! several the oldest counts, and it is never dropped.

use std::collections::HashSet;

use cordon_phi::{IdentifierKind, Known, KnownFacts, NameDraw, Sex, Whose};

pub(crate) const HEAD: usize = 4;
/// The kind of a draw. Kinds of identifiers count from 0.
const DRAW: u8 = u8::MAX;
/// What is longer than this is no identifier that could stand in a sentence.
pub(crate) const MAX_TEXT: usize = 1 << 10;
/// What is kept of one person: the newest, so that a person with a record a day for years, or a number that thousands of
/// records share by mistake, costs as much as any other. A name and an address come again with every record and
/// stay; numbers of old visits go. For a note it is the people and numbers of its own time that count.
pub(crate) const MOST_FACTS: usize = 512;
/// The same, of the facts' bytes.
pub(crate) const MOST_BYTES: usize = 64 << 10;

/// Up to so many facts of a person, what is known already is not written again.
const FEW: usize = MOST_FACTS / 2;

/// The kinds as this program numbers them. The numbers stand in files, so a file says which kinds they mean.
pub(crate) fn kind_names() -> impl Iterator<Item = &'static str> {
    IdentifierKind::ALL.iter().map(|kind| kind.name())
}

/// Appends a fact, if it is one to keep.
pub(crate) fn push(out: &mut Vec<u8>, fact: &Known<'_>) -> bool {
    let (kind, whose) = (fact.kind as usize as u8, whose_code(fact.whose));
    if fact.text.is_empty() || fact.text.len() > MAX_TEXT {
        return false;
    }
    out.extend_from_slice(&[kind, whose]);
    out.extend_from_slice(&(fact.text.len() as u16).to_le_bytes());
    out.extend_from_slice(fact.text.as_bytes());
    true
}

pub(crate) fn push_draw(out: &mut Vec<u8>, draw: NameDraw) {
    let sex = match draw.sex {
        None => 0,
        Some(Sex::Female) => 1,
        Some(Sex::Male) => 2,
    };
    out.extend_from_slice(&[DRAW, 0, 3, 0, sex, draw.given_skips, draw.family_skips]);
}

pub(crate) fn is_draw(fact: &[u8]) -> bool {
    fact.first() == Some(&DRAW)
}

pub(crate) fn draw_in<'a>(facts: &[&'a [u8]]) -> Option<&'a [u8]> {
    facts.iter().copied().find(|fact| is_draw(fact))
}

/// `None` where the bytes are no draw.
pub(crate) fn draw(fact: &[u8]) -> Option<NameDraw> {
    let [DRAW, 0, 3, 0, sex, given_skips, family_skips] = *fact else { return None };
    let sex = match sex {
        0 => None,
        1 => Some(Sex::Female),
        2 => Some(Sex::Male),
        _ => return None,
    };
    Some(NameDraw { sex, given_skips, family_skips })
}

fn whose_code(whose: Whose) -> u8 {
    match whose {
        Whose::Subject => 0,
        Whose::Relative => 1,
        Whose::Provider => 2,
        Whose::Organization => 3,
    }
}

/// The facts of a piece, each with its head; ends where the piece is not whole.
pub(crate) fn each(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = piece;
    std::iter::from_fn(move || {
        let length = rest.get(2..HEAD)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)))?;
        let (fact, after) = rest.split_at_checked(HEAD + length)?;
        rest = after;
        Some(fact)
    })
}

/// What the numbers of kinds in a file mean to this program.
pub(crate) struct Kinds(Option<Vec<Option<u8>>>);

impl Kinds {
    /// Of whoever wrote it, in the order of the numbers.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let kinds: Vec<_> =
            names.map(|name| name.parse::<IdentifierKind>().ok().map(|kind| kind as usize as u8)).collect();
        let same = (0..).zip(&kinds).all(|(number, kind)| *kind == Some(number));
        Self((!same).then_some(kinds))
    }

    /// Gives the kinds of a piece the numbers of this program. `None` for a kind that it does not know.
    pub fn renumber(&self, piece: &mut [u8]) -> Option<()> {
        self.0.as_ref().map_or(Some(()), |kinds| renumber(piece, kinds))
    }
}

/// Gives the kinds of a piece the numbers of this program. `None` for a kind that it does not know.
fn renumber(piece: &mut [u8], kinds: &[Option<u8>]) -> Option<()> {
    let mut rest = piece;
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(*rest.get(2..HEAD)?.first_chunk()?));
        let (fact, after) = rest.split_at_mut_checked(HEAD + length)?;
        let kind = fact.first_mut()?;
        if *kind != DRAW {
            *kind = (*kinds.get(usize::from(*kind))?)?;
        }
        rest = after;
    }
    Some(())
}

/// The facts of a person's pieces, which come oldest first: of equal ones the newest, and of all the newest that may be kept.
pub(crate) fn newest<'a>(pieces: &[&'a [u8]], kept: &mut Vec<&'a [u8]>) {
    kept.clear();
    match pieces {
        [] => {}
        // What was written together has no two that are equal.
        [only] => kept.extend(each(only)),
        several => {
            kept.extend(several.iter().flat_map(|piece| each(piece)));
            let mut seen = HashSet::with_capacity(kept.len());
            kept.reverse();
            kept.retain(|fact| seen.insert(*fact));
            kept.reverse();
        }
    }
    keep_newest(kept);
}

/// Of what was told of a person, leaves what is new to those who know `kept`. Where some will have to go, what came again stays,
/// so that it counts as new.
pub(crate) fn retain_new(new: &mut Vec<&[u8]>, kept: &[&[u8]]) {
    if kept.len() + new.len() <= FEW {
        let known: HashSet<&[u8]> = kept.iter().copied().collect();
        new.retain(|fact| !known.contains(fact));
    }
}

/// Whether a piece is facts from its beginning to its end.
pub(crate) fn are_whole(piece: &[u8]) -> bool {
    let mut facts = KnownFacts::default();
    let whole = each(piece).try_fold(0, |sum, fact| {
        read(fact, &mut facts)?;
        Some(sum + fact.len())
    });
    whole == Some(piece.len())
}

/// Drops the oldest of too many, and of draws all but the oldest.
pub(crate) fn keep_newest(facts: &mut Vec<&[u8]>) {
    let draw = draw_in(facts);
    if draw.is_some() {
        facts.retain(|fact| !is_draw(fact));
    }
    let mut bytes = 0;
    let fits = |fact: &&&[u8]| {
        bytes += fact.len();
        bytes <= MOST_BYTES
    };
    let count = facts.iter().rev().take(MOST_FACTS).take_while(fits).count();
    facts.drain(..facts.len() - count);
    if let Some(draw) = draw {
        facts.insert(0, draw);
    }
}

/// `None` where the bytes are no fact. A draw is nothing that is known.
pub(crate) fn read(fact: &[u8], out: &mut KnownFacts) -> Option<()> {
    if is_draw(fact) {
        return draw(fact).map(|_| ());
    }
    let (head, text) = fact.split_at_checked(HEAD)?;
    let kind = IdentifierKind::ALL.get(usize::from(*head.first()?))?;
    let whose = Whose::ALL.into_iter().find(|whose| whose_code(*whose) == head.get(1).copied().unwrap_or(u8::MAX))?;
    out.push(*kind, whose, std::str::from_utf8(text).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn piece(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in texts {
            assert!(push(&mut out, &Known { kind: IdentifierKind::City, whose: Whose::Relative, text }));
        }
        out
    }

    fn texts(facts: &[&[u8]]) -> Vec<String> {
        facts.iter().map(|fact| String::from_utf8(fact[HEAD..].to_vec()).unwrap()).collect()
    }

    #[test]
    fn of_equal_facts_the_newest_stays_and_of_many_the_newest_ones() {
        let (old, new) = (piece(&["a", "b", "c"]), piece(&["b", "d"]));
        let mut kept = Vec::new();
        newest(&[&old, &new], &mut kept);
        assert_eq!(texts(&kept), ["a", "c", "b", "d"]);

        let many: Vec<String> = (0..600).map(|n| n.to_string()).collect();
        let many = piece(&many.iter().map(String::as_str).collect::<Vec<_>>());
        newest(&[&new, &many], &mut kept);
        assert!(kept.len() == MOST_FACTS && texts(&kept)[0] == "88" && texts(&kept)[511] == "599");

        let long = "x".repeat(MAX_TEXT - 4);
        let long: Vec<String> = (0..100).map(|n| format!("{long}{n}")).collect();
        let long = piece(&long.iter().map(String::as_str).collect::<Vec<_>>());
        newest(&[&long], &mut kept);
        assert!(kept.iter().map(|fact| fact.len()).sum::<usize>() <= MOST_BYTES && kept.len() > 60);
    }

    #[test]
    fn of_draws_the_oldest_counts_and_is_never_dropped() {
        let draws = [
            NameDraw::default(),
            NameDraw { sex: Some(Sex::Female), given_skips: 1, family_skips: 0 },
            NameDraw { sex: Some(Sex::Male), given_skips: 0, family_skips: 255 },
        ];
        for (at, first) in draws.into_iter().enumerate() {
            let (mut old, mut new) = (piece(&["a"]), Vec::new());
            push_draw(&mut old, first);
            push_draw(&mut new, draws[(at + 1) % 3]);
            let many: Vec<String> = (0..600).map(|n| n.to_string()).collect();
            new.extend(piece(&many.iter().map(String::as_str).collect::<Vec<_>>()));
            let mut kept = Vec::new();
            newest(&[&old, &new], &mut kept);
            assert_eq!(kept.len(), MOST_FACTS + 1);
            let found: Vec<_> = kept.iter().filter_map(|fact| draw(fact)).collect();
            assert_eq!(found, [first]);
            let mut known = KnownFacts::default();
            assert!(kept.iter().all(|fact| read(fact, &mut known).is_some()) && known.len() == MOST_FACTS);
            let mut bytes = kept.concat();
            let kinds: Vec<_> = (0..40).map(Some).collect();
            renumber(&mut bytes, &kinds).unwrap();
            assert_eq!(each(&bytes).find_map(draw), Some(first));
        }
        assert_eq!(draw(&[DRAW, 0, 3, 0, 9, 0, 0]), None);
        assert!(read(&[DRAW, 0, 3, 0, 9, 0, 0], &mut KnownFacts::default()).is_none());
    }

    #[test]
    fn every_kind_and_whose_comes_back() {
        let mut out = Vec::new();
        for kind in IdentifierKind::ALL {
            for whose in Whose::ALL {
                push(&mut out, &Known { kind: *kind, whose, text: "té" });
            }
        }
        let mut facts = KnownFacts::default();
        each(&out).for_each(|fact| read(fact, &mut facts).unwrap());
        let back: Vec<_> = facts.iter().map(|fact| (fact.kind, fact.whose)).collect();
        let all: Vec<_> = IdentifierKind::ALL.iter().flat_map(|kind| Whose::ALL.map(|whose| (*kind, whose))).collect();
        assert_eq!(back, all);
        assert!(!push(&mut out, &Known { kind: IdentifierKind::Name, whose: Whose::Subject, text: "" }));
        let long = "x".repeat(MAX_TEXT + 1);
        assert!(!push(&mut out, &Known { kind: IdentifierKind::Name, whose: Whose::Subject, text: &long }));
    }

    #[test]
    fn kinds_of_another_program_are_renumbered_or_refused() {
        let mut bytes = piece(&["a", "b"]);
        let code = bytes[0];
        let mut kinds = vec![None; 40];
        assert!(renumber(&mut bytes, &kinds).is_none());
        kinds[usize::from(code)] = Some(0);
        renumber(&mut bytes, &kinds).unwrap();
        assert!(each(&bytes).all(|fact| fact[0] == 0) && texts(&each(&bytes).collect::<Vec<_>>()) == ["a", "b"]);
        bytes.pop();
        kinds[0] = Some(0);
        assert!(renumber(&mut bytes, &kinds).is_none(), "cut short");
    }
}

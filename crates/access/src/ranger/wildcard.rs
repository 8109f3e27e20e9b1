//! `*` for any run of characters and `?` for one, in time that grows with text times pattern at most.

/// Stands in a pattern for a `*` that came in with a value: it is only itself.
pub(crate) const STAR: char = '\u{F8F0}';
/// The same for `?`.
pub(crate) const QUESTION: char = '\u{F8F1}';

/// One character without its case, as Java compares: up, then down.
pub(crate) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let single = |c: char, mut all: std::vec::IntoIter<char>| match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    };
    let upper = single(c, c.to_uppercase().collect::<Vec<_>>().into_iter());
    single(upper, upper.to_lowercase().collect::<Vec<_>>().into_iter())
}

/// How characters are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) ignored: bool,
}

impl Case {
    pub(crate) fn same(self, pattern: char, text: char) -> bool {
        let pattern = match pattern {
            STAR => '*',
            QUESTION => '?',
            other => other,
        };
        pattern == text || (self.ignored && fold(pattern) == fold(text))
    }

    pub(crate) fn equal(self, pattern: &str, text: &str) -> bool {
        if pattern.is_ascii() && text.is_ascii() {
            return if self.ignored { pattern.eq_ignore_ascii_case(text) } else { pattern == text };
        }
        let mut pattern = pattern.chars();
        let mut text = text.chars();
        loop {
            match (pattern.next(), text.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if self.same(a, b) => {}
                _ => return false,
            }
        }
    }

    /// What is left of the text after `prefix`.
    pub(crate) fn after<'t>(self, text: &'t str, prefix: &str) -> Option<&'t str> {
        if prefix.is_ascii()
            && let Some((head, tail)) = text.split_at_checked(prefix.len())
            && head.is_ascii()
        {
            return self.equal(prefix, head).then_some(tail);
        }
        let mut rest = text.chars();
        for wanted in prefix.chars() {
            if !self.same(wanted, rest.next()?) {
                return None;
            }
        }
        Some(rest.as_str())
    }

    pub(crate) fn ends(self, text: &str, suffix: &str) -> bool {
        let mut text = text.chars().rev();
        suffix.chars().rev().all(|wanted| text.next().is_some_and(|got| self.same(wanted, got)))
    }

    /// The whole text against the pattern.
    pub(crate) fn matches(self, pattern: &str, text: &str) -> bool {
        let (mut pattern, mut text) = (pattern.chars(), text.chars());
        // The last `*` met: what follows it, and where in the text it was last tried.
        let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let mut ahead = pattern.clone();
            match ahead.next() {
                Some('*') => {
                    star = Some((ahead.clone(), text.clone()));
                    pattern = ahead;
                    continue;
                }
                None if text.as_str().is_empty() => return true,
                Some(wanted) => {
                    let mut rest = text.clone();
                    match rest.next() {
                        Some(got) if wanted == '?' || self.same(wanted, got) => {
                            pattern = ahead;
                            text = rest;
                            continue;
                        }
                        // The text is at its end: a longer run for the `*` only takes more from it.
                        None => return false,
                        Some(_) => {}
                    }
                }
                None => {}
            }
            let Some((after, at)) = star.as_mut() else { return false };
            if at.next().is_none() {
                return false;
            }
            pattern = after.clone();
            text = at.clone();
        }
    }

    /// Could the text go on so that the pattern takes it whole.
    pub(crate) fn begins(self, pattern: &str, text: &str) -> bool {
        let mut text = text.chars();
        for wanted in pattern.chars() {
            match text.next() {
                None => return true,
                Some(_) if wanted == '*' => return true,
                Some(got) if wanted == '?' || self.same(wanted, got) => {}
                Some(_) => return false,
            }
        }
        text.next().is_none()
    }

    /// Whether the pattern takes one of the beginnings of the text that end at `ends`, all in one walk over the text.
    pub(crate) fn matches_beginning(self, pattern: &str, text: &str, ends: &[usize]) -> bool {
        let pattern: Vec<char> = pattern.chars().collect();
        // Which parts of the pattern, by length, what was read so far can have come to.
        let mut reached = vec![false; pattern.len() + 1];
        let mut next = vec![false; pattern.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        open_stars(&pattern, &mut reached);
        for (at, got) in text.char_indices() {
            next.fill(false);
            for (length, wanted) in pattern.iter().enumerate() {
                if !reached.get(length).copied().unwrap_or(false) {
                    continue;
                }
                let stays = *wanted == '*';
                let moves = !stays && (*wanted == '?' || self.same(*wanted, got));
                if let Some(slot) = next.get_mut(length + usize::from(!stays)) {
                    *slot |= stays || moves;
                }
            }
            open_stars(&pattern, &mut next);
            std::mem::swap(&mut reached, &mut next);
            if reached.last().copied().unwrap_or(false) && ends.contains(&(at + got.len_utf8())) {
                return true;
            }
        }
        false
    }
}

/// A `*` may take nothing.
fn open_stars(pattern: &[char], reached: &mut [bool]) {
    for (length, wanted) in pattern.iter().enumerate() {
        if *wanted == '*'
            && reached.get(length).copied().unwrap_or(false)
            && let Some(slot) = reached.get_mut(length + 1)
        {
            *slot = true;
        }
    }
}

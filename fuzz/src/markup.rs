//! HTML and XHTML, of which a skeleton and running text stay.

use cordon_formats::markup::{Piece, escape, pieces};

/// What a skeleton is made of, as it is written again.
const XHTML: &str = " xmlns=\"http://www.w3.org/1999/xhtml\"";

fn written(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Markup(markup) => out.push_str(markup),
            Piece::Text(text) => escape(&mut out, text),
        }
    }
    out
}

/// Nothing but tags without attributes of their own, and white space.
fn is_skeleton(markup: &str) -> bool {
    let mut rest = markup;
    while let Some((before, behind)) = rest.split_once('<') {
        let Some((tag, after)) = behind.split_once('>') else { return false };
        let tag = tag.strip_prefix('/').unwrap_or(tag.strip_suffix('/').unwrap_or(tag));
        let end = tag.find(' ').unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(end);
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !before.chars().all(char::is_whitespace) || !is_name || !are_spans(attributes) {
            return false;
        }
        rest = after;
    }
    rest.chars().all(char::is_whitespace)
}

/// The attributes that may stay.
fn are_spans(attributes: &str) -> bool {
    let attributes = attributes.replacen(XHTML, "", 1);
    let mut rest = attributes.as_str();
    for name in [" colspan=\"", " rowspan=\""] {
        if let Some((number, after)) = rest.strip_prefix(name).and_then(|value| value.split_once('"')) {
            if number.len() > 3 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty()
}

/// What stays is a skeleton with texts, and taking it apart again finds no more to take away.
pub fn read(data: &[u8]) {
    let document = String::from_utf8_lossy(data);
    let Some(found) = pieces(&document) else { return };
    for (at, piece) in found.iter().enumerate() {
        match piece {
            Piece::Markup(markup) => {
                assert!(!markup.is_empty() && is_skeleton(markup), "markup that says something");
                assert!(!matches!(found.get(at + 1), Some(Piece::Markup(_))), "markup in two pieces");
            }
            // Of one block there is one text: a name is not cut by the tags in it.
            Piece::Text(text) => {
                assert!(!text.chars().all(char::is_whitespace), "a text of nothing");
                assert!(!matches!(found.get(at + 1), Some(Piece::Text(_))), "a text in two pieces");
            }
        }
    }
    let text = written(&found);
    assert!(pieces(&text).as_deref() == Some(&found[..]), "it is taken apart otherwise");
    // A reader that sees no tags reads the text to the letter.
    let mut plain = String::new();
    escape(&mut plain, &document);
    let whole = match pieces(&plain).as_deref() {
        Some([]) => String::new(),
        Some([Piece::Text(text) | Piece::Markup(text)]) => text.clone(),
        _ => panic!("an escaped text has tags"),
    };
    assert!(whole == *document, "an escaped text reads otherwise");
}

//! What an attachment's bytes are as text.

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8};

use crate::notes::decoded_from;

/// The sort of text that a media type promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMedia {
    Plain,
    /// HTML or XHTML.
    Markup,
}

/// The text of an attachment, and of which sort it is; `None` for what is no text, or not in the character set that its
/// media type names.
pub fn attachment_text<'a>(content_type: &str, bytes: &'a [u8]) -> Option<(TextMedia, Cow<'a, str>)> {
    let mut parts = content_type.split(';').map(str::trim);
    let media = match parts.next()?.to_ascii_lowercase().as_str() {
        "text/plain" => TextMedia::Plain,
        "text/html" | "application/xhtml+xml" => TextMedia::Markup,
        _ => return None,
    };
    let charset =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let declared = match charset {
        None => UTF_8,
        Some((_, label)) => Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes())?,
    };
    // Read in a wrong one of these, words become others from which they can be had again; UTF-16 comes with its mark.
    let is_safe = declared.is_ascii_compatible() && declared != ISO_2022_JP;
    if !is_safe && Encoding::for_bom(bytes).is_none() {
        return None;
    }
    decoded_from(bytes, declared).ok().map(|text| (media, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content_type: &str, bytes: &[u8]) -> Option<String> {
        attachment_text(content_type, bytes).map(|(_, text)| text.into_owned())
    }

    #[test]
    fn texts_are_read_in_their_character_set_or_not_at_all() {
        let read = Some("Müller".to_owned());
        assert_eq!(text("text/plain", "Müller".as_bytes()), read);
        assert_eq!(text("Text/Plain ; Charset=\"ISO-8859-1\"", b"M\xFCller"), read);
        // Said to be Latin 1, and UTF-8 all the same.
        assert_eq!(text("text/plain; charset=iso-8859-1", "Müller".as_bytes()), read);
        assert_eq!(text("text/html;charset=utf-16", b"\xFF\xFEM\0"), Some("M".to_owned()));
        for (of, bytes) in [
            ("text/plain", &b"M\xFCller"[..]),
            ("text/plain; charset=utf-8", b"M\xFCller"),
            ("text/plain; charset=klingon", b"John"),
            ("text/plain; charset=utf-16", b"John"),
            ("text/plain; charset=iso-2022-jp", b"\x1b$B%/"),
            ("text/plain", b"J\0o\0"),
            ("application/pdf", b"%PDF"),
            ("text/rtf", b"{\\rtf1}"),
            ("text/csv", b"a"),
            ("", b"a"),
        ] {
            assert_eq!(text(of, bytes), None, "{of}");
        }
        assert_eq!(attachment_text("application/xhtml+xml", b"<p/>").map(|(media, _)| media), Some(TextMedia::Markup));
    }
}

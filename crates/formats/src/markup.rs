//! HTML and XHTML as pieces: markup that says nothing of anybody, and running text.
//!
//! What remains is the skeleton of a document: blocks, lists and tables, without attributes but for the spans of a table's
//! cells. Everything that a reader does not see goes (comments, scripts, heads, addresses of links), and what has no end goes
//! to the end of the document. Tags within a line (`b`, `span`, `a` …) go and leave what they hold: a name that is cut by
//! them would not be recognised, nor one whose label is in another piece.

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A tag, or white space, as it is written again.
    Markup(String),
    /// What is read, without entities.
    Text(String),
}

/// Tags that stay.
const BLOCKS: [&str; 35] = [
    "address",
    "article",
    "blockquote",
    "body",
    "br",
    "caption",
    "col",
    "colgroup",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "li",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "ul",
];

/// Elements that go with all that they hold.
const UNSEEN: [&str; 13] = [
    "head", "iframe", "math", "noscript", "object", "script", "select", "style", "svg", "template", "textarea",
    "title", "video",
];

/// The namespace that FHIR asks for on a narrative (R4, narrative.html).
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Takes a document apart; `None` where an entity is unknown, for what it stands for could be part of a name.
pub fn pieces(document: &str) -> Option<Vec<Piece>> {
    let mut out = Out::default();
    let mut rest = document;
    while !rest.is_empty() {
        let Some(at) = tag_start(rest) else {
            out.text(rest)?;
            break;
        };
        let (text, tag) = rest.split_at(at);
        out.text(text)?;
        rest = match tag.strip_prefix("<!--") {
            // A comment, or what no browser shows either.
            Some(comment) => comment.split_once("-->").map_or("", |(_, behind)| behind),
            None if tag.starts_with("<!") || tag.starts_with("<?") => {
                tag.split_once('>').map_or("", |(_, behind)| behind)
            }
            None => {
                let Some(end) = tag_end(tag) else { break };
                let (inside, behind) = (tag.get(1..end).unwrap_or_default(), tag.get(end + 1..).unwrap_or_default());
                out.tag(inside, behind)
            }
        };
    }
    out.end_text();
    Some(out.pieces)
}

/// Where the next tag begins: a `<` before anything else is a sign in a text.
fn tag_start(text: &str) -> Option<usize> {
    memchr::memchr_iter(b'<', text.as_bytes()).find(|at| {
        let next = text.as_bytes().get(at + 1);
        next.is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'?'))
    })
}

/// The `>` of a tag, none within quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    tag.bytes().enumerate().find_map(|(at, byte)| {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
        None
    })
}

#[derive(Default)]
struct Out {
    pieces: Vec<Piece>,
    /// The text of the block at hand, entities and all.
    text: String,
}

impl Out {
    fn text(&mut self, text: &str) -> Option<()> {
        unescape(text, &mut self.text)
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.chars().all(char::is_whitespace) {
            self.markup(&text);
        } else {
            self.pieces.push(Piece::Text(text));
        }
    }

    fn markup(&mut self, markup: &str) {
        match self.pieces.last_mut() {
            _ if markup.is_empty() => {}
            Some(Piece::Markup(last)) => last.push_str(markup),
            _ => self.pieces.push(Piece::Markup(markup.to_owned())),
        }
    }

    /// One tag, what stands between its signs; gives what is left of the document.
    fn tag<'a>(&mut self, inside: &str, behind: &'a str) -> &'a str {
        let (closes, inside) = inside.strip_prefix('/').map_or((false, inside), |inside| (true, inside));
        let end = inside.find(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(end);
        let name = name.to_ascii_lowercase();
        if UNSEEN.contains(&name.as_str()) {
            let is_empty = attributes.trim_end().ends_with('/');
            return if closes || is_empty { behind } else { after_element(behind, &name) };
        }
        if !BLOCKS.contains(&name.as_str()) {
            return behind;
        }
        self.end_text();
        let mut written = String::with_capacity(name.len() + 3);
        written.push('<');
        if closes {
            written.push('/');
        }
        written.push_str(&name);
        if !closes {
            for span in ["colspan", "rowspan"] {
                let value = attribute(attributes, span)
                    .filter(|value| (1..=3).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit()));
                if let Some(value) = value {
                    written.extend([" ", span, "=\"", value, "\""]);
                }
            }
            if attribute(attributes, "xmlns") == Some(XHTML) {
                written.extend([" xmlns=\"", XHTML, "\""]);
            }
            if attributes.trim_end().ends_with('/') {
                written.push('/');
            }
        }
        written.push('>');
        self.markup(&written);
        behind
    }
}

/// What stands behind the end of an element; nothing where it has none.
fn after_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("</")) {
        let start = from + at + 2;
        let behind = text.get(start..).unwrap_or_default();
        let is_it = behind.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
            && behind.as_bytes().get(name.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        if is_it {
            return behind.split_once('>').map_or("", |(_, behind)| behind);
        }
        from = start;
    }
    ""
}

/// The value of an attribute in quotes.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        let (before, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, after) = behind.get(1..)?.split_once(quote)?;
        if before.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// Appends text with its entities read.
fn unescape(text: &str, out: &mut String) -> Option<()> {
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        rest = behind;
        // The longest name here is `thetasym`; a sign that ends sooner or later is no entity.
        let end = behind.bytes().take(10).position(|byte| byte == b';');
        let starts = behind.starts_with(|c: char| c.is_ascii_alphabetic() || c == '#');
        let is_part = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#');
        match end.and_then(|end| behind.get(..end)).filter(|_| starts).filter(is_part) {
            Some(name) => {
                out.push(entity(name)?);
                rest = behind.get(name.len() + 1..)?;
            }
            // HTML reads some of them without their end.
            None => match LATIN.iter().chain(&["amp", "lt", "gt", "quot"]).find(|name| behind.starts_with(**name)) {
                Some(name) => {
                    out.push(entity(name)?);
                    rest = behind.get(name.len()..)?;
                }
                None => out.push('&'),
            },
        }
    }
    out.push_str(rest);
    Some(())
}

/// The entities of Latin 1, from U+00A0 on.
const LATIN: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// The character of an entity: of XML, of Latin 1, and the signs of running text.
fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    if let Some(at) = LATIN.iter().position(|known| *known == name) {
        return char::from_u32(0xA0 + at as u32);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "sbquo" => '‚',
        "ldquo" => '“',
        "rdquo" => '”',
        "bdquo" => '„',
        "bull" => '•',
        "hellip" => '…',
        "prime" => '′',
        "euro" => '€',
        "trade" => '™',
        "larr" => '←',
        "rarr" => '→',
        "uarr" => '↑',
        "darr" => '↓',
        "le" => '≤',
        "ge" => '≥',
        "ne" => '≠',
        "asymp" => '≈',
        "minus" => '−',
        "alpha" => 'α',
        "beta" => 'β',
        "gamma" => 'γ',
        "delta" => 'δ',
        "Delta" => 'Δ',
        "mu" => 'μ',
        "OElig" => 'Œ',
        "oelig" => 'œ',
        "Scaron" => 'Š',
        "scaron" => 'š',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "ensp" => '\u{2002}',
        "emsp" => '\u{2003}',
        "thinsp" => '\u{2009}',
        _ => return None,
    })
}

/// Appends text as it stands between tags.
pub fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The document with each text in brackets.
    fn shown(document: &str) -> String {
        let pieces = pieces(document).unwrap();
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Markup(markup) => markup.clone(),
                Piece::Text(text) => format!("[{text}]"),
            })
            .collect()
    }

    #[test]
    fn blocks_stay_without_their_attributes() {
        let document = "<div xmlns=\"http://www.w3.org/1999/xhtml\" id=\"CANARY\" title='a > b'><p class=x>Dr. &amp; co</p>\
                        <table><tr><td colspan=\"2\" onclick=\"CANARY\">a</td><td rowspan='CANARY'>b<br/>c</td></tr></table></div>";
        assert_eq!(
            shown(document),
            "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>[Dr. & co]</p><table><tr><td colspan=\"2\">[a]</td>\
             <td>[b]<br/>[c]</td></tr></table></div>"
        );
    }

    #[test]
    fn tags_within_a_line_go_and_their_text_is_whole() {
        assert_eq!(shown("<p>Name: <b>Jo</b>hn <SPAN style='x'>Sm&#105;th</SPAN></p>"), "<p>[Name: John Smith]</p>");
        assert_eq!(shown("see <a href=\"mailto:CANARY\">him</a><img alt=\"CANARY\">"), "[see him]");
    }

    #[test]
    fn what_is_not_read_goes() {
        for hidden in [
            "<!-- CANARY -->",
            "<!-- CANARY",
            "<!DOCTYPE CANARY>",
            "<?CANARY ?>",
            "<script>CANARY</script>",
            "<STYLE>CANARY</style >",
            "<script>CANARY",
            "<head><title>CANARY</title></head>",
            "<svg><text>CANARY</text></svg>",
            "<b title=\"CANARY",
            "<![CDATA[CANARY]]>",
            "<CANARY>",
            "<x:CANARY a='b'/>",
            "<script>if (a</b) CANARY</script>",
        ] {
            let out = shown(&format!("a{hidden}"));
            assert!(!out.contains("CANARY"), "{hidden} gives {out}");
        }
        assert_eq!(shown("<p>a<script/>b</p>"), "<p>[ab]</p>");
    }

    #[test]
    fn signs_of_a_text_are_text() {
        assert_eq!(shown("a < b & c > d &; AT&T &nbsp;x Jos&eacute P"), "[a < b & c > d &; AT&T \u{a0}x José P]");
        assert_eq!(shown("  \n <p> </p>"), "  \n <p> </p>");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn an_unknown_entity_is_not_guessed() {
        assert_eq!(pieces("Ji&rcaron;&iacute;"), None);
        assert_eq!(pieces("a&#xD800;b"), None);
        assert_eq!(pieces("a&#0;b"), None);
        assert_eq!(shown("Jos&eacute; Mu&ntilde;oz &yuml;&nbsp;&Agrave;"), "[José Muñoz ÿ\u{a0}À]");
    }

    #[test]
    fn hostile_documents_take_no_time() {
        for unit in ["<", "<!", "</", "<a", "<!--", "&", "&a", "<script>", "<p a='", "<p a=", "</script"] {
            let document = unit.repeat(100_000);
            let _ = pieces(&document);
        }
        let deep = format!("{}x{}", "<div>".repeat(100_000), "</div>".repeat(100_000));
        assert_eq!(shown(&deep).len(), deep.len() + 2);
    }
}

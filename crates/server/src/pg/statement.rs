//! What of a client's text is for the server itself: settings, transactions. All else is a question.

/// A statement of the session and not of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Empty,
    Set {
        name: String,
        value: Option<String>,
        /// Until the end of the transaction.
        local: bool,
    },
    /// Every setting is what it was when the client connected.
    ResetAll,
    /// The same, and nothing is left of what the client prepared: what a pool says between two of its users.
    DiscardAll,
    /// To be somebody else.
    Become,
    Show(String),
    Begin,
    Commit,
    Rollback,
    /// Done by doing nothing: the tag that says so.
    Done(&'static str),
    Deallocate(Option<String>),
    Question,
}

/// The statements of a text that may hold several, without the semicolons between them.
pub fn split(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if let Some(end) = token_end(bytes, at) {
            at = end;
            continue;
        }
        if bytes.get(at) == Some(&b';') {
            parts.extend(text.get(begin..at));
            begin = at + 1;
        }
        at += 1;
    }
    parts.extend(text.get(begin..));
    let told: Vec<&str> = parts.into_iter().map(str::trim).filter(|part| !is_blank(part)).collect();
    told
}

/// Where a quoted text, a comment or a dollar-quoted text ends that begins here.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let find = |from: usize, what: &[u8]| {
        rest.get(from..)?
            .windows(what.len())
            .position(|window| window == what)
            .map(|found| at + from + found + what.len())
    };
    match rest {
        [quote @ (b'\'' | b'"'), ..] => Some(find(1, &[*quote]).unwrap_or(bytes.len())),
        [b'-', b'-', ..] => Some(find(2, b"\n").unwrap_or(bytes.len())),
        [b'/', b'*', ..] => {
            // Comments nest.
            let (mut depth, mut index) = (1, 2);
            while depth > 0 && index < rest.len() {
                match rest.get(index..index + 2) {
                    Some(b"/*") => (depth, index) = (depth + 1, index + 2),
                    Some(b"*/") => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
            }
            Some(at + index)
        }
        [b'$', ..] => {
            let tag = rest.iter().skip(1).position(|byte| *byte == b'$')? + 2;
            let name = rest.get(1..tag - 1)?;
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            let named = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                && !name.first().is_some_and(u8::is_ascii_digit);
            (named && !in_word).then(|| find(tag, rest.get(..tag).unwrap_or_default()).unwrap_or(bytes.len()))
        }
        _ => None,
    }
}

fn is_blank(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'-' | b'/' => match token_end(bytes, at) {
                Some(end) => end,
                None => return false,
            },
            byte if byte.is_ascii_whitespace() => at + 1,
            _ => return false,
        };
    }
    true
}

/// Without comments before it.
fn bare(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if !text.starts_with("--") && !text.starts_with("/*") {
            return text.trim_end().trim_end_matches(';').trim_end();
        }
        text = token_end(text.as_bytes(), 0).and_then(|end| text.get(end..)).unwrap_or_default();
    }
}

pub fn read(text: &str) -> Statement {
    let text = bare(text);
    if text.is_empty() {
        return Statement::Empty;
    }
    let words: Vec<String> = text.split_whitespace().take(4).map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["begin" | "start", ..] => Statement::Begin,
        ["commit" | "end", ..] => Statement::Commit,
        ["rollback" | "abort", ..] => Statement::Rollback,
        ["discard", "all"] => Statement::DiscardAll,
        ["discard", "plans"] => Statement::Done("DISCARD PLANS"),
        ["discard", "sequences"] => Statement::Done("DISCARD SEQUENCES"),
        ["discard", "temp" | "temporary"] => Statement::Done("DISCARD TEMP"),
        ["deallocate", rest @ ..] => {
            let name = rest.iter().find(|word| **word != "prepare").copied().unwrap_or_default();
            Statement::Deallocate((name != "all").then(|| unquoted(name)))
        }
        ["set", "role", "none"]
        | ["set", "session", "authorization", "default"]
        | ["set", "transaction" | "constraints", ..]
        | ["set", "session", "characteristics", ..] => Statement::Done("SET"),
        ["set", "role", ..]
        | ["set", "session" | "local", "role", ..]
        | ["set", "session", "authorization", ..]
        | ["set", "session" | "local", "session", "authorization", ..] => Statement::Become,
        ["reset", "role"] | ["reset", "session", "authorization"] => Statement::Done("RESET"),
        ["set", ..] => setting(text.get(3..).unwrap_or_default()),
        ["reset", "all"] => Statement::ResetAll,
        ["reset", name] => Statement::Set { name: unquoted(name), value: None, local: false },
        ["show", "transaction", "isolation", "level"] => Statement::Show("transaction_isolation".to_owned()),
        ["show", "time", "zone"] => Statement::Show("timezone".to_owned()),
        // Of tables and columns, which are questions.
        ["show", "tables" | "columns" | "databases" | "schemas" | "functions" | "all"] => Statement::Question,
        ["show", name] => Statement::Show(unquoted(name)),
        _ => Statement::Question,
    }
}

/// `SET [SESSION | LOCAL] NAME { = | TO } VALUE`
fn setting(text: &str) -> Statement {
    let mut rest = text.trim_start();
    let mut local = false;
    for word in ["session", "local"] {
        let (begin, after) = rest.split_at_checked(word.len()).unwrap_or_default();
        if begin.eq_ignore_ascii_case(word) && after.starts_with(char::is_whitespace) {
            rest = after.trim_start();
            local = word == "local";
            break;
        }
    }
    if rest.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case("time zone ")) {
        let value = rest.get(10..).unwrap_or_default();
        return Statement::Set { name: "timezone".to_owned(), value: Some(unquoted_value(value.trim())), local };
    }
    let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let rest = rest.trim_start();
    let value = match rest.strip_prefix('=') {
        Some(value) => Some(value),
        None => rest
            .split_at_checked(2)
            .filter(|(to, after)| to.eq_ignore_ascii_case("to") && after.starts_with(char::is_whitespace))
            .map(|(_, after)| after),
    };
    match value.map(str::trim) {
        Some(value) if !name.is_empty() && !value.is_empty() => {
            let default = value.eq_ignore_ascii_case("default");
            Statement::Set { name: unquoted(name), value: (!default).then(|| unquoted_value(value)), local }
        }
        _ => Statement::Question,
    }
}

fn unquoted(name: &str) -> String {
    name.trim_matches(['"', '\'', ';']).to_ascii_lowercase()
}

fn unquoted_value(value: &str) -> String {
    match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
        Some(value) => value.replace("''", "'"),
        None => value.trim_matches('"').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_within_something_parts_nothing() {
        assert_eq!(split("SELECT 1; SELECT ';' ;; -- x;y\n"), ["SELECT 1", "SELECT ';'"]);
        assert_eq!(split("SELECT \"a;b\", $$;$$, $x$;$y$;$x$ /* ; /* ; */ ; */; SET a = 'it''s;'").len(), 2);
        assert_eq!(split("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
        assert_eq!(split("SELECT $1; SELECT a$b; SELECT c$d"), ["SELECT $1", "SELECT a$b", "SELECT c$d"]);
        assert!(split(" ; -- nothing\n /* at all */ ;").is_empty());
        assert!(split("").is_empty());
    }

    #[test]
    fn what_is_for_the_session_is_told_from_questions() {
        let to = |name: &str, value: &str, local| Statement::Set {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            local,
        };
        let set = |name: &str, value: &str| to(name, value, false);
        assert_eq!(read("SET cordon.purpose = 'public-health'"), set("cordon.purpose", "public-health"));
        assert_eq!(read("/* x */ set session cordon.purpose to research;"), set("cordon.purpose", "research"));
        assert_eq!(read("SET LOCAL extra_float_digits = 3"), to("extra_float_digits", "3", true));
        assert_eq!(read("set local\ncordon.purpose\tto\n'research'"), to("cordon.purpose", "research", true));
        assert_eq!((read("DISCARD ALL"), read("RESET ALL")), (Statement::DiscardAll, Statement::ResetAll));
        assert_eq!(read("DISCARD  PLANS"), Statement::Done("DISCARD PLANS"));
        for other in ["SET ROLE ben", "set session authorization 'ben'", "SET LOCAL ROLE ben", "SET SESSION ROLE ben"] {
            assert_eq!(read(other), Statement::Become, "{other}");
        }
        assert_eq!((read("SET ROLE NONE"), read("RESET ROLE")), (Statement::Done("SET"), Statement::Done("RESET")));
        assert_eq!(read("SET TIME ZONE 'UTC'"), set("timezone", "UTC"));
        assert_eq!(read("SET application_name = 'it''s'"), set("application_name", "it's"));
        let name = "cordon.purpose".to_owned();
        assert_eq!(read("RESET cordon.purpose"), Statement::Set { name, value: None, local: false });
        assert_eq!(read("show server_version"), Statement::Show("server_version".to_owned()));
        assert_eq!(read("SHOW TABLES"), Statement::Question);
        assert_eq!(read("SHOW COLUMNS FROM t"), Statement::Question);
        assert_eq!(read("BEGIN READ ONLY"), Statement::Begin);
        assert_eq!(read("SELECT 1"), Statement::Question);
        assert_eq!(read("SETTLE"), Statement::Question);
        assert_eq!(read("-- nothing"), Statement::Empty);
    }
}

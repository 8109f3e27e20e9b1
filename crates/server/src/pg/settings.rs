//! Settings of a connection, and how they come back: a pool that hands the connection on resets it, and what one of its users said must not hold for the next.

use std::collections::BTreeMap;

use super::catalog;

/// Settings that a client may read, and what they are before it sets them.
pub fn defaults() -> BTreeMap<String, String> {
    [
        ("application_name", ""),
        ("client_encoding", "UTF8"),
        ("datestyle", "ISO, MDY"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "on"),
        ("extra_float_digits", "1"),
        ("integer_datetimes", "on"),
        ("intervalstyle", "postgres"),
        ("is_superuser", "off"),
        ("lc_collate", "C.UTF-8"),
        ("max_identifier_length", "63"),
        ("search_path", catalog::SCHEMA),
        ("server_encoding", "UTF8"),
        ("server_version", "15.0"),
        ("server_version_num", "150000"),
        ("standard_conforming_strings", "on"),
        ("statement_timeout", "0"),
        ("timezone", "UTC"),
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "on"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// As the client set them.
pub struct Settings {
    /// Those with which the connection began.
    first: BTreeMap<String, String>,
    now: BTreeMap<String, String>,
    /// Those before the transaction that is open.
    before: Option<BTreeMap<String, String>>,
    /// What comes back when it ends, of what was set for it alone.
    local: BTreeMap<String, Option<String>>,
}

impl Settings {
    pub fn new(first: BTreeMap<String, String>) -> Self {
        Self { now: first.clone(), first, before: None, local: BTreeMap::new() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.now.get(name).map(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.now.len()
    }

    /// Without a value it is what it was when the connection began. What is set for a transaction while there is none is not set.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) {
        if local && self.before.is_none() {
            return;
        }
        let value = value.map(str::to_owned).or_else(|| self.first.get(name).cloned());
        let old = put(&mut self.now, name, value);
        if local {
            self.local.entry(name.to_owned()).or_insert(old);
        } else {
            self.local.remove(name);
        }
    }

    pub fn reset(&mut self) {
        self.now.clone_from(&self.first);
        self.local.clear();
    }

    /// A transaction begins; where one is open already it goes on.
    pub fn begin(&mut self) {
        self.before.get_or_insert_with(|| self.now.clone());
    }

    /// It ends, and all that was set in it is undone or only what was for it alone.
    pub fn end(&mut self, undone: bool) {
        let local = std::mem::take(&mut self.local);
        match self.before.take() {
            Some(before) if undone => self.now = before,
            _ => local.into_iter().for_each(|(name, value)| drop(put(&mut self.now, &name, value))),
        }
    }
}

fn put(settings: &mut BTreeMap<String, String>, name: &str, value: Option<String>) -> Option<String> {
    match value {
        Some(value) => settings.insert(name.to_owned(), value),
        None => settings.remove(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_goes_when_it_is_to() {
        let mut first = defaults();
        first.insert("cordon.purpose".to_owned(), "research".to_owned());
        let mut settings = Settings::new(first);
        let purpose = |settings: &Settings| settings.get("cordon.purpose").map(str::to_owned);
        let is = |settings: &Settings, value: &str| assert_eq!(purpose(settings).as_deref(), Some(value));
        settings.set("cordon.purpose", Some("treatment"), true);
        is(&settings, "research");
        settings.begin();
        settings.set("cordon.purpose", Some("treatment"), true);
        settings.set("cordon.purpose", Some("payment"), true);
        settings.set("cordon.reason", Some("x"), true);
        is(&settings, "payment");
        settings.end(false);
        is(&settings, "research");
        assert_eq!(settings.get("cordon.reason"), None);
        settings.begin();
        settings.set("cordon.purpose", Some("payment"), true);
        settings.set("cordon.purpose", Some("operations"), false);
        settings.end(false);
        is(&settings, "operations");
        settings.begin();
        settings.begin();
        settings.set("cordon.purpose", Some("payment"), false);
        settings.end(true);
        is(&settings, "operations");
        settings.set("cordon.purpose", None, false);
        is(&settings, "research");
        settings.set("cordon.reason", Some("x"), false);
        settings.reset();
        assert_eq!(settings.get("cordon.reason"), None);
    }
}

//! What tools ask of PostgreSQL's own catalogue, answered from what the session sees and from nothing else.
//!
//! There is no catalogue here to query: the questions that psql 9 to 17 and the JDBC driver ask are known by their parts. One that is not
//! known is refused, so that nothing is told that was not meant to be. `information_schema.tables` and `columns` are real and take
//! any query.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::types::{self, texts};

pub const DATABASE: &str = "cordon";
pub const SCHEMA: &str = "main";

/// What the answer takes.
pub struct Seen<'a> {
    pub user: &'a str,
    /// Tables that exist for the session.
    pub tables: &'a [(String, SchemaRef)],
}

/// Whether a statement asks of the catalogue.
pub fn is_about(sql: &str) -> bool {
    let text = normal(sql);
    text.contains("pg_catalog.")
        || text.contains(" pg_class")
        || text.contains(" pg_type")
        || constant(&text, "").is_some()
}

/// Whether it takes to know what the session sees.
pub fn needs_tables(sql: &str) -> bool {
    constant(&normal(sql), "").is_none()
}

/// `None` where the question is not known.
pub fn answer(sql: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    let text = normal(sql);
    if let Some((name, value)) = constant(&text, seen.user) {
        return Some(texts(&[name], &[vec![Some(value)]]));
    }
    tables(&text, seen)
        .or_else(|| jdbc_tables(&text, seen))
        .or_else(|| jdbc_columns(&text, seen))
        .or_else(|| psql_lookup(&text, seen))
        .or_else(|| psql_class(&text, seen))
        .or_else(|| psql_attributes(&text, seen))
        .or_else(|| schemas(&text, seen))
        .or_else(|| empty(&text))
}

/// One space between words, and small letters outside of quotes.
fn normal(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    for c in sql.trim().trim_end_matches(';').chars() {
        if c == '\'' {
            quoted = !quoted;
        }
        if quoted {
            out.push(c);
        } else if c.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out.trim().to_owned()
}

/// Questions with one value.
fn constant(text: &str, user: &str) -> Option<(&'static str, String)> {
    let what = text.strip_prefix("select ")?.trim_start_matches("pg_catalog.");
    let version = || format!("PostgreSQL 15.0 (Cordon {})", env!("CARGO_PKG_VERSION"));
    Some(match what {
        "version()" => ("version", version()),
        "current_schema()" | "current_schema" => ("current_schema", SCHEMA.to_owned()),
        "current_database()" | "current_catalog" => ("current_database", DATABASE.to_owned()),
        "current_user" | "user" => ("current_user", user.to_owned()),
        "session_user" => ("session_user", user.to_owned()),
        "pg_is_in_recovery()" => ("pg_is_in_recovery", "f".to_owned()),
        _ => return None,
    })
}

/// The text between quotes behind `before`, with the escapes of a pattern taken away.
fn literal<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let rest = text.get(text.find(before)? + before.len()..)?.trim_start();
    let rest = rest.strip_prefix("E'").or_else(|| rest.strip_prefix("e'")).or_else(|| rest.strip_prefix('\''))?;
    rest.get(..rest.find('\'')?)
}

/// `LIKE` with `%`, `_` and `\`.
fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|from| text.get(from..).is_some_and(|text| like(rest, text))),
        ['_', rest @ ..] => text.split_first().is_some_and(|(_, text)| like(rest, text)),
        ['\\', c, rest @ ..] | [c, rest @ ..] => {
            text.split_first().is_some_and(|(first, text)| first == c && like(rest, text))
        }
    }
}

pub fn is_like(pattern: Option<&str>, text: &str) -> bool {
    // More than a few of them would be work for whoever sends it.
    let Some(pattern) = pattern else { return true };
    let pattern: Vec<char> = pattern.replace("\\\\", "\\").chars().collect();
    pattern.len() <= 256
        && pattern.iter().filter(|c| **c == '%').count() <= 4
        && like(&pattern, &text.chars().collect::<Vec<_>>())
}

/// psql writes `^(name)$`, with `.*` for its `*` and `.` for its `?`.
fn fits(pattern: Option<&str>, text: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    let inner = pattern.trim_start_matches("^(").trim_end_matches(")$");
    let like = inner.replace('%', "\\%").replace('_', "\\_").replace(".*", "%").replace('.', "_").replace('$', "");
    is_like(Some(&like), text)
}

/// A number for a table that stays the same as long as its name does (FNV-1a).
fn number(table: &str) -> u32 {
    let hash = table.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    20_000 + hash % 2_000_000_000
}

#[expect(clippy::unnecessary_wraps, reason = "cells may be null")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// psql's `\d`, `\dt` and their like.
fn tables(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    if !text.starts_with("select n.nspname as \"schema\", c.relname as \"name\", case c.relkind") {
        return None;
    }
    let kinds = text.split("c.relkind in (").nth(1)?.split(')').next()?;
    let of_schema = literal(text, "n.nspname operator(pg_catalog.~)");
    let pattern = literal(text, "c.relname operator(pg_catalog.~)").or_else(|| literal(text, "c.relname ~"));
    let there = kinds.contains("'r'") && fits(of_schema, SCHEMA);
    let rows: Vec<Vec<Option<String>>> = seen
        .tables
        .iter()
        .filter(|(table, _)| there && fits(pattern, table))
        .map(|(table, _)| vec![some(SCHEMA), some(table), some("table"), some("cordon")])
        .collect();
    Some(texts(&["Schema", "Name", "Type", "Owner"], &rows))
}

/// The first of the questions behind psql's `\d NAME`.
fn psql_lookup(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    if !text.starts_with("select c.oid, n.nspname, c.relname from pg_catalog.pg_class c") {
        return None;
    }
    let of_schema = literal(text, "n.nspname operator(pg_catalog.~)");
    let pattern = literal(text, "c.relname operator(pg_catalog.~)").or_else(|| literal(text, "c.relname ~"));
    let rows: Vec<Vec<Option<String>>> = seen
        .tables
        .iter()
        .filter(|(table, _)| fits(of_schema, SCHEMA) && fits(pattern, table))
        .map(|(table, _)| vec![Some(number(table).to_string()), some(SCHEMA), some(table)])
        .collect();
    Some(texts(&["oid", "nspname", "relname"], &rows))
}

fn by_number<'a>(text: &str, before: &str, seen: &'a Seen<'_>) -> Option<&'a (String, SchemaRef)> {
    let asked: u32 = literal(text, before)?.parse().ok()?;
    seen.tables.iter().find(|(table, _)| number(table) == asked)
}

fn psql_class(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    if !text.starts_with("select c.relchecks, c.relkind,") {
        return None;
    }
    const NAMES: [&str; 15] = [
        "relchecks",
        "relkind",
        "relhasindex",
        "relhasrules",
        "relhastriggers",
        "relrowsecurity",
        "relforcerowsecurity",
        "relhasoids",
        "relispartition",
        "?column?",
        "reltablespace",
        "reloftype",
        "relpersistence",
        "relreplident",
        "amname",
    ];
    let row = ["0", "r", "f", "f", "f", "f", "f", "f", "f", "", "0", "", "p", "d"].map(some).into_iter().chain([None]);
    let rows: Vec<Vec<Option<String>>> = by_number(text, "c.oid =", seen).map(|_| row.collect()).into_iter().collect();
    Some(texts(&NAMES, &rows))
}

fn psql_attributes(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    if !text.starts_with("select a.attname, pg_catalog.format_type(") {
        return None;
    }
    let mut names =
        vec!["attname", "format_type", "?column?", "attnotnull", "attcollation", "attidentity", "attgenerated"];
    // `\d+`
    if text.contains("a.attstorage") {
        names.extend(["attstorage", "attcompression", "attstattarget", "col_description"]);
    }
    let table = by_number(text, "a.attrelid =", seen);
    let rows: Vec<Vec<Option<String>>> = table
        .into_iter()
        .flat_map(|(_, schema)| schema.fields())
        .map(|field| {
            let name = types::name(types::oid(field.data_type()));
            let more = [some("p"), some(""), None, None];
            let mut row = vec![some(field.name()), some(name), None, some("f"), None, some(""), some("")];
            row.extend(more.into_iter().take(names.len() - row.len()));
            row
        })
        .collect();
    Some(texts(&names, &rows))
}

/// `DatabaseMetaData.getTables`
fn jdbc_tables(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    const NAMES: [&str; 10] = [
        "TABLE_CAT",
        "TABLE_SCHEM",
        "TABLE_NAME",
        "TABLE_TYPE",
        "REMARKS",
        "TYPE_CAT",
        "TYPE_SCHEM",
        "TYPE_NAME",
        "SELF_REFERENCING_COL_NAME",
        "REF_GENERATION",
    ];
    if !(text.contains(" as table_schem")
        && text.contains("c.relname as table_name")
        && text.contains(" as table_type"))
    {
        return None;
    }
    let wanted = !text.contains("c.relkind = ") || text.contains("c.relkind = 'r'");
    let (of_schema, pattern) = (literal(text, "n.nspname like"), literal(text, "c.relname like"));
    let rows: Vec<Vec<Option<String>>> = seen
        .tables
        .iter()
        .filter(|(table, _)| wanted && is_like(of_schema, SCHEMA) && is_like(pattern, table))
        .map(|(table, _)| {
            let of_table = [some(DATABASE), some(SCHEMA), some(table), some("TABLE"), None];
            of_table.into_iter().chain(["", "", "", "", ""].map(some)).collect()
        })
        .collect();
    Some(texts(&NAMES, &rows))
}

/// `DatabaseMetaData.getColumns`
fn jdbc_columns(text: &str, seen: &Seen<'_>) -> Option<RecordBatch> {
    const NAMES: [&str; 14] = [
        "nspname",
        "relname",
        "attname",
        "atttypid",
        "attnotnull",
        "atttypmod",
        "attlen",
        "typtypmod",
        "attnum",
        "attidentity",
        "attgenerated",
        "adsrc",
        "description",
        "typbasetype",
    ];
    if !(text.contains("n.nspname,c.relname,a.attname,a.atttypid") && text.contains(" as attnum")) {
        return None;
    }
    let (of_schema, of_table) = (literal(text, "n.nspname like"), literal(text, "c.relname like"));
    let of_column = literal(text, "attname like");
    let mut rows = Vec::new();
    for (table, schema) in
        seen.tables.iter().filter(|(table, _)| is_like(of_schema, SCHEMA) && is_like(of_table, table))
    {
        for (position, field) in (1..).zip(schema.fields()).filter(|(_, field)| is_like(of_column, field.name())) {
            let oid = types::oid(field.data_type());
            rows.push(vec![
                some(SCHEMA),
                some(table),
                some(field.name()),
                Some(oid.to_string()),
                some("f"),
                some("-1"),
                Some(types::size(oid).to_string()),
                some("-1"),
                Some(i32::to_string(&position)),
                None,
                None,
                None,
                None,
                some("0"),
                some("b"),
            ]);
        }
    }
    let names: Vec<&str> = NAMES.into_iter().chain(["typtype"]).collect();
    Some(texts(&names, &rows))
}

/// psql's `\dn` and `\l`, and the JDBC driver's schemas.
fn schemas(text: &str, _: &Seen<'_>) -> Option<RecordBatch> {
    if text.starts_with("select n.nspname as \"name\"") {
        return Some(texts(&["Name", "Owner"], &[vec![some(SCHEMA), some("cordon")]]));
    }
    if text.starts_with("select nspname as table_schem") {
        return Some(texts(&["TABLE_SCHEM", "TABLE_CATALOG"], &[vec![some(SCHEMA), some(DATABASE)]]));
    }
    if text.starts_with("select datname as table_cat from pg_catalog.pg_database") {
        return Some(texts(&["TABLE_CAT"], &[vec![some(DATABASE)]]));
    }
    None
}

/// What no table here has: indexes, constraints, triggers, rules, policies, parents, publications, statistics.
fn empty(text: &str) -> Option<RecordBatch> {
    const OF: [&str; 13] = [
        "pg_catalog.pg_policy",
        "pg_catalog.pg_statistic_ext",
        "pg_catalog.pg_publication",
        "pg_catalog.pg_inherits",
        "pg_catalog.pg_index",
        "pg_catalog.pg_constraint",
        "pg_catalog.pg_trigger",
        "pg_catalog.pg_rewrite",
        "pg_catalog.pg_proc",
        "pg_catalog.pg_partitioned_table",
        "pg_catalog.pg_foreign_table",
        "pg_catalog.pg_roles",
        "pg_catalog.pg_enum",
    ];
    OF.iter().any(|name| text.contains(name)).then(|| texts(&["?column?"], &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_psql_and_of_sql() {
        assert!(fits(Some("^(patients)$"), "patients") && !fits(Some("^(patient)$"), "patients"));
        assert!(fits(Some("^(pat.*)$"), "patients") && fits(Some("^(patient.)$"), "patients"));
        assert!(!fits(Some("^(p_tients)$"), "patients"));
        assert!(is_like(Some("pat%"), "patients") && is_like(Some("%"), "x") && is_like(Some("a\\_b"), "a_b"));
        assert!(!is_like(Some("a\\_b"), "axb") && !is_like(Some(&"%".repeat(40)), "x"));
    }

    #[test]
    fn only_known_questions_are_answered() {
        let seen = Seen { user: "ana", tables: &[] };
        assert!(answer("SELECT version()", &seen).is_some());
        assert!(answer("SELECT * FROM pg_catalog.pg_authid", &seen).is_none());
        assert!(is_about("select * from pg_catalog.pg_shadow") && !is_about("select a from t"));
    }
}

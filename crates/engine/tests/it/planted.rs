//! Two tables with secrets in hidden columns, hidden rows and masked values; the views that hide them; and the same rows with
//! nothing to hide left in them, which a query over the views must not be told from.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow_schema::{Field, Schema};
use cordon_access::Mask;
use cordon_crypto::KeyedHash;
use cordon_engine::{
    AuthorizedSession, AuthorizedView, EngineError, KEY_CLASS_METADATA, OutputFormat, QueryEngine, QueryOptions,
    TableStore,
};

use crate::support::{commit, stage, store, tmp_dir};

/// In every text that nobody may see, and in no other.
pub const SECRET: &str = "Sekret";
/// Numbers that begin so are masked, as far as a number can.
pub const SECRET_NUMBER: &str = "77000";
const KEY: [u8; 32] = [5; 32];
const PEOPLE: usize = 140;
const VISITS: usize = 400;

pub struct Person {
    id: i64,
    name: String,
    dept: &'static str,
    age: i32,
    birth: i32,
    ssn: String,
    phone: String,
    code: String,
    score: Option<i32>,
    salary: i64,
    zip: String,
    ward: String,
    level: String,
    cost: f64,
    active: bool,
    note: Option<String>,
}

struct Visit {
    vid: i64,
    person: i64,
    kind: &'static str,
    paid: Option<f64>,
    at: i32,
    motive: String,
    amount: i64,
    remark: Option<String>,
}

/// Not random: the cases name what is there.
fn people() -> Vec<Person> {
    (1..=PEOPLE as i64)
        .map(|id| {
            let vip = id % 9 == 4;
            let hidden = !person_is_seen(id);
            let hide = |text: String| if hidden { format!("{SECRET}{text}") } else { text };
            Person {
                id,
                name: format!("{SECRET} Ada {id}"),
                dept: if vip { "vip" } else { ["er", "icu", "lab"][(id % 3) as usize] },
                // Nobody who is seen is 42.
                age: if hidden { 42 } else { 18 + ((id * 7) % 24) as i32 + if id % 2 == 0 { 0 } else { 30 } },
                birth: -14_000 + (id as i32) * 97,
                ssn: format!("{SECRET}-{id:03}"),
                phone: format!("{SECRET}-{:04}", id * 31),
                code: if vip || id % 11 == 5 { format!("{SECRET}x{id}") } else { format!("{}", id * 3) },
                score: (id % 5 != 0).then_some(770_000_000 + id as i32),
                salary: 770_000_000 + id,
                zip: format!("{:03}{SECRET}", id % 20),
                ward: format!("{SECRET}{}", id % 4),
                level: if id % 4 == 0 { format!("{SECRET}{id}") } else { format!("{}", id % 6) },
                cost: id as f64 * 0.25,
                active: id % 2 == 0,
                note: (id % 3 != 0 || hidden)
                    .then(|| hide(["1", "20", "abc", "3.5", ""][(id % 5) as usize].to_owned())),
            }
        })
        .collect()
}

pub const PEOPLE_FILTER: &str = "dept <> 'vip' and cast(code as int) >= 0 and id % 7 <> 3";

fn person_is_seen(id: i64) -> bool {
    id % 9 != 4 && id % 11 != 5 && id % 7 != 3
}

fn visits() -> Vec<Visit> {
    (1..=VISITS as i64)
        .map(|vid| {
            let kind = ["lab", "er", "psych", "icu"][(vid % 4) as usize];
            let hidden = kind == "psych";
            Visit {
                vid,
                person: (vid * 13) % (PEOPLE as i64 + 10),
                kind,
                paid: (vid % 6 != 0).then_some(if hidden { 0.0 } else { 1.0 + (vid % 50) as f64 * 0.5 }),
                at: 19_000 + (vid % 90) as i32,
                motive: format!("{SECRET}{vid}"),
                amount: 770_000_000 + vid,
                remark: if hidden {
                    Some(format!("{SECRET}{vid}"))
                } else {
                    (vid % 3 == 0).then(|| format!("r{}", vid % 8))
                },
            }
        })
        .collect()
}

pub const VISITS_FILTER: &str = "kind <> 'psych'";

pub fn views() -> Vec<AuthorizedView> {
    let mut people = AuthorizedView::only(
        "people",
        [
            "id", "name", "dept", "age", "birth", "phone", "code", "score", "salary", "zip", "ward", "level", "cost",
            "active", "note",
        ],
    );
    people.row_filter = Some(PEOPLE_FILTER.into());
    people.masks = [
        ("name", Mask::Redact),
        ("birth", Mask::ShowYear),
        ("phone", Mask::ShowLast4),
        ("score", Mask::Null),
        ("salary", Mask::Redact),
        ("zip", Mask::Custom("substr({col}, 1, 3)".into())),
        ("ward", Mask::Hash),
        ("level", Mask::Custom("cast(cast({col} as int) * 2 as {type})".into())),
        ("cost", Mask::None),
    ]
    .map(|(name, mask)| (name.to_owned(), mask))
    .into();
    let mut visits = AuthorizedView::only("visits", ["vid", "person", "kind", "paid", "at", "amount", "remark"]);
    visits.row_filter = Some(VISITS_FILTER.into());
    visits.masks = BTreeMap::from([("amount".to_owned(), Mask::ShowFirst4)]);
    vec![people, visits]
}

/// Masks once more, in as simple a way as there is.
fn redact(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            'A'..='Z' => 'X',
            'a'..='z' => 'x',
            '0'..='9' => 'n',
            other => other,
        })
        .collect()
}

fn show_last_4(text: &str) -> String {
    let hidden = text.len() - 4;
    let masked = text[..hidden].chars().map(|c| if c.is_ascii_alphanumeric() { 'x' } else { c }).collect::<String>();
    masked + &text[hidden..]
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, array)| {
        let metadata = HashMap::from([(KEY_CLASS_METADATA.to_owned(), "clinical".to_owned())]);
        Field::new(*name, array.data_type().clone(), true).with_metadata(metadata)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

fn people_batch(copy: bool) -> RecordBatch {
    let mut people = people();
    people.retain(|person| !copy || person_is_seen(person.id));
    let text = |of: &dyn Fn(&Person) -> Option<String>| texts(people.iter().map(of));
    let masked = |of: &dyn Fn(&Person) -> String, mask: &dyn Fn(&str) -> Option<String>| {
        texts(people.iter().map(|person| if copy { mask(&of(person)) } else { Some(of(person)) }))
    };
    // The first of January of the year, as a date library that is not ours counts it.
    let year = |days: i32| {
        let text = arrow::util::display::array_value_to_string(&Date32Array::from(vec![days]), 0).unwrap();
        let first = texts([Some(format!("{}-01-01", &text[..4]))].into_iter());
        let date = arrow::compute::cast(&first, &arrow_schema::DataType::Date32).unwrap();
        date.as_any().downcast_ref::<Date32Array>().unwrap().value(0)
    };
    let key = KeyedHash::new(&KEY);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(people.iter().map(|p| Some(p.id)).collect::<Int64Array>())),
        ("name", masked(&|p| p.name.clone(), &|text| Some(redact(text)))),
        ("dept", text(&|p| Some(p.dept.to_owned()))),
        ("age", Arc::new(people.iter().map(|p| Some(p.age)).collect::<Int32Array>())),
        (
            "birth",
            Arc::new(people.iter().map(|p| Some(if copy { year(p.birth) } else { p.birth })).collect::<Date32Array>()),
        ),
        ("phone", masked(&|p| p.phone.clone(), &|text| Some(show_last_4(text)))),
        ("code", text(&|p| Some(p.code.clone()))),
        ("score", Arc::new(people.iter().map(|p| p.score.filter(|_| !copy)).collect::<Int32Array>())),
        (
            "salary",
            Arc::new(people.iter().map(|p| Some(if copy { 111_111_111 } else { p.salary })).collect::<Int64Array>()),
        ),
        ("zip", masked(&|p| p.zip.clone(), &|text| Some(text[..3].to_owned()))),
        ("ward", masked(&|p| p.ward.clone(), &|text| Some(data_encoding::HEXLOWER.encode(&key.tag(text.as_bytes()))))),
        ("level", masked(&|p| p.level.clone(), &|text| text.parse::<i32>().ok().map(|level| (level * 2).to_string()))),
        ("cost", Arc::new(people.iter().map(|p| Some(p.cost)).collect::<Float64Array>())),
        ("active", Arc::new(people.iter().map(|p| Some(p.active)).collect::<BooleanArray>())),
        ("note", text(&|p| p.note.clone())),
    ];
    if !copy {
        columns.push(("ssn", text(&|p| Some(p.ssn.clone()))));
    }
    batch(columns)
}

fn visits_batch(copy: bool) -> RecordBatch {
    let mut visits = visits();
    visits.retain(|visit| !copy || visit.kind != "psych");
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("vid", Arc::new(visits.iter().map(|v| Some(v.vid)).collect::<Int64Array>())),
        ("person", Arc::new(visits.iter().map(|v| Some(v.person)).collect::<Int64Array>())),
        ("kind", texts(visits.iter().map(|v| Some(v.kind)))),
        ("paid", Arc::new(visits.iter().map(|v| v.paid).collect::<Float64Array>())),
        ("at", Arc::new(visits.iter().map(|v| Some(v.at)).collect::<Date32Array>())),
        (
            "amount",
            Arc::new(visits.iter().map(|v| Some(if copy { 770_011_111 } else { v.amount })).collect::<Int64Array>()),
        ),
        ("remark", texts(visits.iter().map(|v| v.remark.clone()))),
    ];
    if !copy {
        columns.push(("motive", texts(visits.iter().map(|v| Some(v.motive.clone())))));
    }
    batch(columns)
}

fn filled(root: &Path, copy: bool, parts: usize) -> TableStore {
    let store = store(root);
    for (table, batch) in [("people", people_batch(copy)), ("visits", visits_batch(copy))] {
        let rows = batch.num_rows().div_ceil(parts);
        let slice = |part: usize| batch.slice(part * rows, rows.min(batch.num_rows() - part * rows));
        let staged = (0..parts).map(|part| stage(&store, table, "run-1", &slice(part), "a.csv")).collect();
        store.commit(table, &commit("run-1", &batch.schema(), staged)).unwrap();
    }
    store
}

/// The real rows, in so many parts for each table, and what a query may use that joins no table as a whole.
pub fn in_parts(root: &Path, parts: usize) -> (TableStore, QueryOptions) {
    let options = QueryOptions { threads: 1, broadcast_rows: 0, ..options(1) };
    (filled(root, false, parts), options)
}

fn options(threads: usize) -> QueryOptions {
    QueryOptions {
        memory_limit: 256 << 20,
        tmp_dir: tmp_dir(),
        tmp_limit: 1 << 30,
        threads,
        mask_key: Some(KeyedHash::new(&KEY)),
        ..QueryOptions::default()
    }
}

pub struct Planted {
    _dirs: [tempfile::TempDir; 2],
    /// Through the views.
    pub guarded: AuthorizedSession,
    /// Everything there is.
    pub full: AuthorizedSession,
    /// The rows that the views show, stored as they show them, and no policy.
    pub copy: AuthorizedSession,
    /// The same behind a barrier that hides nothing, so that it is planned as the views are.
    pub walled: AuthorizedSession,
}

pub fn planted(threads: usize) -> Planted {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let engine = |store| QueryEngine::new(options(threads), store).unwrap();
    let real = engine(filled(dirs[0].path(), false, 1));
    let prepared = engine(filled(dirs[1].path(), true, 1));
    let all = || vec![AuthorizedView::all("people"), AuthorizedView::all("visits")];
    let walls: Vec<AuthorizedView> = views()
        .into_iter()
        .map(|view| {
            // Masked as NULL and as it is: no condition on these columns passes there either.
            let masks = view.masks.iter().filter(|(_, mask)| **mask != Mask::None);
            let masks = masks.map(|(name, _)| (name.clone(), Mask::Custom("{col}".into()))).collect();
            AuthorizedView { row_filter: Some("true".into()), masks, ..view }
        })
        .collect();
    Planted {
        guarded: real.session(&views()).unwrap(),
        full: real.session(&all()).unwrap(),
        copy: prepared.session(&all()).unwrap(),
        walled: prepared.session(&walls).unwrap(),
        _dirs: dirs,
    }
}

/// What a query came to: its rows as lines of CSV, with the header, or its error.
pub type Outcome = Result<Vec<String>, EngineError>;

pub async fn outcome(session: &AuthorizedSession, sql: &str) -> Outcome {
    let mut text = Vec::new();
    let stream = session.plan(sql).await?.execute()?;
    cordon_engine::write_result(stream, OutputFormat::Csv, &mut text).await?;
    Ok(String::from_utf8(text).unwrap().lines().map(str::to_owned).collect())
}

/// Without the order that the query did not ask for.
pub fn sorted(outcome: &Outcome) -> Outcome {
    let mut lines = outcome.clone()?;
    if let Some(rows) = lines.get_mut(1..) {
        rows.sort();
    }
    Ok(lines)
}

pub fn kind(error: &EngineError) -> String {
    match error {
        EngineError::Planning(problem) => format!("{:?}", problem.kind),
        EngineError::Execution(problem) => format!("{problem:?}"),
        EngineError::Refused { .. } => "Refused".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Asserts that nothing planted is in the answer or in the plan. What the copy says, or the query itself, is no secret.
pub async fn assert_silent(session: &AuthorizedSession, sql: &str, outcome: &Outcome, copy: &Outcome) {
    let known = copy.as_ref().map_or_else(|_| String::new(), |lines| lines.join("\n"));
    let mut said = match outcome {
        Ok(lines) => lines.join("\n"),
        Err(error) => format!("{error} {error:?}"),
    };
    match self::outcome(session, &format!("explain {sql}")).await {
        Ok(lines) => said.push_str(&lines.join("\n")),
        Err(error) => said = format!("{said}{error} {error:?}"),
    }
    for secret in [SECRET, "ssn", "motive", "vip", "psych"] {
        let asked = secret != SECRET && sql.contains(secret);
        assert!(
            asked || known.contains(secret) || !said.contains(secret),
            "{secret} in what was said to\n  {sql}\n{said}"
        );
    }
    for line in said.split(|c: char| !c.is_ascii_digit()) {
        let masked = line.len() == 9 && line.starts_with(SECRET_NUMBER) && !known.contains(line);
        assert!(!masked, "{line} in what was said to\n  {sql}\n{said}");
    }
}

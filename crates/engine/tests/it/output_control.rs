//! `cases/output-control/*.yaml`: what somebody asks one after the other of tables of which only aggregates leave, and what comes. And the
//! attacks that a list of cases would not think of.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::{Date32Array, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use cordon_access::Mask;
use cordon_crypto::KeyedHash;
use cordon_engine::{
    AuthorizedSession, AuthorizedView, EngineError, OutputControl, QueryEngine, ReleaseMemory, SUBJECT_METADATA,
    TableStore,
};
use cordon_risk::{Memory, Partition, Rules};
use proptest::prelude::*;
use serde::Deserialize;

use crate::support::{commit, engine, lines, stage, store};

/// One person's rows: `visits` has one or two of each, `persons` one.
#[derive(Clone, Debug)]
struct Person {
    district: String,
    sex: String,
    age: i64,
    cost: f64,
    flag: i64,
    visits: usize,
}

fn schema(subject: bool) -> SchemaRef {
    let mark = HashMap::from([(SUBJECT_METADATA.to_owned(), "true".to_owned())]);
    let patient = Field::new("patient", DataType::Utf8View, true);
    Arc::new(Schema::new(vec![
        if subject { patient.with_metadata(mark) } else { patient },
        Field::new("district", DataType::Utf8View, true),
        Field::new("sex", DataType::Utf8View, true),
        Field::new("age", DataType::Int64, true),
        Field::new("cost", DataType::Float64, true),
        Field::new("flag", DataType::Int64, true),
        Field::new("born", DataType::Date32, true),
        Field::new("seen", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

fn batch(people: &[Person], subject: bool, visits: bool) -> RecordBatch {
    let rows: Vec<(usize, &Person)> = people
        .iter()
        .enumerate()
        .flat_map(|person| std::iter::repeat_n(person, if visits { person.1.visits } else { 1 }))
        .collect();
    let text = |make: &dyn Fn(&(usize, &Person)) -> String| {
        rows.iter().map(|row| Some(make(row))).collect::<StringViewArray>()
    };
    RecordBatch::try_new(
        schema(subject),
        vec![
            Arc::new(text(&|(at, _)| format!("token{at:04}"))),
            Arc::new(text(&|(_, person)| person.district.clone())),
            Arc::new(text(&|(_, person)| person.sex.clone())),
            Arc::new(rows.iter().map(|(_, person)| Some(person.age)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(_, person)| Some(person.cost)).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|(_, person)| Some(person.flag)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|(_, person)| Some(day(person))).collect::<Date32Array>()),
            Arc::new(
                rows.iter()
                    .map(|(_, person)| Some(i64::from(day(person)) * 86_400_000_000))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ],
    )
    .unwrap()
}

/// 2020-03-05, and for the rich 9999-12-31.
fn day(person: &Person) -> i32 {
    if person.cost > 1e5 { 2_932_896 } else { 18_326 }
}

/// `persons` and `visits` under control, `unmarked` under control and without a subject, `open` under none.
struct Clinic {
    _dir: tempfile::TempDir,
    _store: TableStore,
    engine: QueryEngine,
    memory: Arc<Kept>,
}

struct Kept(Mutex<Memory>);

impl ReleaseMemory for Kept {
    fn admit(&self, release: Vec<Partition>, smallest: usize) -> Result<(), EngineError> {
        let mut memory = self.0.lock().unwrap();
        memory
            .admit(release, smallest, 0, 0, 1 << 24)
            .map_err(|_| EngineError::Disclosure { kind: "difference", reason: "differs from an earlier answer" })
    }
}

impl Clinic {
    fn of(people: &[Person]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        for (table, subject, visits) in
            [("persons", true, false), ("visits", true, true), ("unmarked", false, false), ("open", true, false)]
        {
            let rows = batch(people, subject, visits);
            let part = stage(&store, table, "run-1", &rows, "a.csv");
            store.commit(table, &commit(&format!("run-1/{table}"), &rows.schema(), vec![part])).unwrap();
        }
        let engine = engine(&store, 256 << 20);
        Self { _dir: dir, _store: store, engine, memory: Arc::new(Kept(Mutex::default())) }
    }

    /// Forty people in the north, four in the south, twenty in the west; one of the north is rich.
    fn usual() -> Self {
        let mut people = Vec::new();
        for (district, count) in [("north", 40), ("south", 4), ("west", 20)] {
            for at in 0..count {
                people.push(Person {
                    district: district.to_owned(),
                    sex: if at % 2 == 0 { "F" } else { "M" }.to_owned(),
                    age: 20 + at % 60,
                    cost: if district == "north" && at == 0 { 1e6 } else { 100.0 + at as f64 },
                    flag: i64::from(district == "north" && at < 3),
                    visits: 1 + (at % 2) as usize,
                });
            }
        }
        Self::of(&people)
    }

    fn session(&self, rounding: Option<u32>, columns: Option<&[&str]>, masks: bool) -> AuthorizedSession {
        let control = OutputControl {
            rules: Rules::new(11).unwrap(),
            rounding,
            subjects: KeyedHash::new(&[5; 32]),
            memory: Arc::clone(&self.memory) as Arc<dyn ReleaseMemory>,
        };
        let view = |table: &str| match columns {
            Some(columns) => AuthorizedView::only(table, columns.iter().copied()),
            None => AuthorizedView::all(table),
        };
        let mut views = vec![view("open")];
        for table in ["persons", "visits", "unmarked"] {
            let mut view = view(table);
            view.output = Some(control.clone());
            if masks {
                view.row_filter = Some("district <> 'west'".to_owned());
                view.masks.insert("patient".to_owned(), Mask::Custom("'x'".to_owned()));
            }
            views.push(view);
        }
        self.engine.session(&views).unwrap()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the rows are rounded to.
    rounding: Option<u32>,
    /// The columns that are seen; all if not given.
    columns: Option<Vec<String>>,
    /// A row filter (no west) and a mask of the patient stand before the tables.
    #[serde(default)]
    guarded: bool,
    /// Whether the memory is emptied before each question.
    #[serde(default)]
    forget: bool,
    asked: Vec<Question>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
    /// The lines of the answer, in order.
    rows: Option<Vec<String>>,
    /// A part of the reason.
    refused: Option<String>,
}

#[tokio::test]
async fn cases() {
    let clinic = Clinic::usual();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/output-control");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        *clinic.memory.0.lock().unwrap() = Memory::default();
        let columns: Option<Vec<&str>> =
            case.columns.as_ref().map(|columns| columns.iter().map(String::as_str).collect());
        let session = clinic.session(case.rounding, columns.as_deref(), case.guarded);
        for question in &case.asked {
            if case.forget {
                *clinic.memory.0.lock().unwrap() = Memory::default();
            }
            count += 1;
            let answer = lines(&session, &question.sql).await;
            let fits = match (&answer, &question.rows, &question.refused) {
                (Ok(lines), Some(rows), None) => lines == rows,
                (Err(error), None, Some(reason)) => error.to_string().contains(reason.as_str()),
                _ => false,
            };
            if !fits {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                wrong.push(format!(
                    "{name}: {}\n  came: {answer:?}\n  expected: {:?} {:?}",
                    question.sql, question.rows, question.refused
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 60, "{count}");
}

/// A pattern or text that is too long for what it is made into is refused before a row arrives.
#[tokio::test]
async fn long_texts_are_refused_and_the_longest_patterns_work() {
    let clinic = Clinic::usual();
    let session = clinic.session(None, None, false);
    for (length, is_allowed) in [(1024, true), (1025, false), (100_000, false)] {
        let text = "_".repeat(length);
        for sql in [
            format!("select count(*) from persons where district like '{text}'"),
            format!("select count(*) from persons where district ilike '{text}'"),
            format!("select count(*) from persons where starts_with(district, '{text}')"),
            format!("select count(*) from persons where upper('{text}') = district"),
        ] {
            let answer = lines(&session, &sql).await;
            let is_refused = matches!(&answer, Err(EngineError::Disclosure { .. }));
            assert!(if is_allowed { answer.is_ok() } else { is_refused }, "{length}: {answer:?}");
        }
    }
}

/// Explaining tells nothing of rows, and a shape that is refused is refused there too.
#[tokio::test]
async fn explaining_is_held_to_the_same_shape() {
    let clinic = Clinic::usual();
    let session = clinic.session(None, None, false);
    let plan =
        lines(&session, "explain select district, count(*) from persons group by district").await.unwrap().join("\n");
    assert!(plan.contains("Aggregate") && !plan.contains("__cordon"), "{plan}");
    let error = lines(&session, "explain select patient from persons").await.unwrap_err();
    assert!(matches!(error, EngineError::Disclosure { .. }));
}

#[tokio::test]
async fn what_was_withheld_is_for_the_record() {
    let clinic = Clinic::usual();
    let session = clinic.session(None, None, false);
    let planned = session.plan("select district, count(*) from persons group by rollup (district)").await.unwrap();
    assert_eq!(planned.output_rule().unwrap().smallest, 11);
    let stream = planned.execute().unwrap();
    let withheld = stream.withheld();
    assert!(withheld().is_none());
    let mut out = Vec::new();
    cordon_engine::write_result(stream, cordon_engine::OutputFormat::Csv, &mut out).await.unwrap();
    let told = withheld().unwrap();
    assert_eq!((told.released, told.sensitive, told.complements), (2, 1, 1));
    let planned = session.plan("select count(*) from open").await.unwrap();
    assert!(planned.output_rule().is_none());
}

/// Two at once: each is held against what the other has released.
#[tokio::test]
async fn two_queries_at_once_do_not_slip_past_each_other() {
    let clinic = Clinic::usual();
    let session = clinic.session(None, None, false);
    let (one, other) = futures::join!(
        lines(&session, "select count(*) from persons"),
        lines(&session, "select count(*) from persons where district <> 'south'"),
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
}

fn person() -> impl Strategy<Value = Person> {
    (0..3_usize, 0..2_usize, 0..3_i64, 1..3_usize).prop_map(|(district, sex, age, visits)| Person {
        district: ["n", "s", "w"][district].to_owned(),
        sex: ["F", "M"][sex].to_owned(),
        age,
        cost: 0.0,
        flag: 0,
        visits,
    })
}

/// The groups of a grouping, by the columns that it groups by.
const GROUPINGS: [&str; 9] = [
    "cube (district, sex)",
    "rollup (district, sex)",
    "rollup (sex, age)",
    "cube (district, age)",
    "grouping sets ((district), (sex), (age))",
    "district, sex, age",
    "district",
    "sex, age",
    "grouping sets ((district, sex), (sex, age), ())",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever somebody asks by these groupings and in whatever order: subtracting what a query has released of a total from the total never
    /// leaves a few persons, within an answer or between two.
    #[test]
    fn no_few_are_left_by_subtraction(
        people in prop::collection::vec(person(), 30..120),
        order in Just((0..GROUPINGS.len()).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let clinic = Clinic::of(&people);
            let session = clinic.session(None, None, false);
            // For each answer and grouping set: the groups with their numbers of persons.
            let mut known: Vec<BTreeMap<[String; 3], usize>> = Vec::new();
            for at in order {
                let columns = ["district", "sex", "age"].map(|column| if GROUPINGS[at].contains(column) { column } else { "null" });
                let sql = format!("select {}, count(*) from persons group by {}", columns.join(", "), GROUPINGS[at]);
                let Ok(answer) = lines(&session, &sql).await else { continue };
                let mut sets: BTreeMap<[bool; 3], BTreeMap<[String; 3], usize>> = BTreeMap::new();
                for line in answer {
                    let mut fields = line.split(',').map(str::to_owned);
                    let key: [String; 3] = std::array::from_fn(|_| fields.next().unwrap());
                    let count: usize = fields.next().unwrap().parse().unwrap();
                    assert!(count >= 11, "{sql}: {line}");
                    let shape = std::array::from_fn(|at| !key[at].is_empty());
                    sets.entry(shape).or_default().insert(key, count);
                }
                known.extend(sets.into_values());
            }
            for totals in &known {
                for (total, count) in totals {
                    for parts in &known {
                        let within = |part: &[String; 3]| part != total && part.iter().zip(total).all(|(part, total)| total.is_empty() || part == total);
                        let sums: Vec<usize> = parts.iter().filter(|(part, _)| within(part)).map(|(_, count)| *count).collect();
                        let left = count.abs_diff(sums.iter().sum());
                        assert!(sums.is_empty() || left == 0 || left >= 11, "{total:?} of {count} less {sums:?} leaves {left}");
                    }
                }
            }
        });
    }
}

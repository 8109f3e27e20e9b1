//! What a session sees, and what it does not.

use std::collections::BTreeMap;

use cordon_access::Mask;
use cordon_crypto::{CryptoError, TableMasterKey};
use cordon_engine::{
    AuthorizedView, EngineError, KeyTools, MasterKeyNames, OutputFormat, PlanProblemKind, Touched, VisibleColumns,
    write_result,
};

use crate::support::{
    CANARY, commit, engine, full_session, hospital, lines, masters, patients, patients_schema, rows, stage, store_with,
};

const NARROW: [&str; 3] = ["GENDER", "age", "cost"];

#[tokio::test]
async fn the_founding_question_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 600);
    let session = engine(&store, 64 << 20).session(&[AuthorizedView::only("patients", NARROW)]).unwrap();
    let sql = "select gender, avg(age) as age, count(*) as n from patients group by gender order by gender";
    assert_eq!(lines(&session, sql).await.unwrap(), ["F,49.0,300", "M,50.0,300"]);
}

#[tokio::test]
async fn a_hidden_column_is_absent_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 50);
    let session = engine(&store, 64 << 20).session(&[AuthorizedView::only("patients", NARROW)]).unwrap();
    let all = rows(&session, "select * from patients limit 1").await.unwrap();
    let names: Vec<_> = all[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, NARROW);
    assert!(all[0].schema().fields().iter().all(|field| field.metadata().is_empty()));
    for sql in [
        "select name from patients",
        "select p.name from patients p",
        "select age from patients where name is not null",
        "select age from patients order by name",
        "select count(*) from patients group by name",
        "select max(name) over () from patients",
        "select (select min(name) from patients)",
        "with x as (select name from patients) select 1 from x",
        "select a.age from patients a join patients b on a.name = b.name",
        "select age from patients where exists (select 1 from patients q where q.name = 'x')",
        "select \"Id\" from patients",
        "select row_to_json(name) from patients",
        "explain select name from patients",
    ] {
        let error = session.plan(sql).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Planning(_)), "{sql}: {error:?}");
        assert!(!error.to_string().contains("name;") && !error.to_string().contains("Id"), "{sql}: {error}");
    }
    for sql in ["describe patients", "show columns from patients", "select column_name from information_schema.columns"]
    {
        let shown = lines(&session, sql).await.unwrap().join("\n");
        assert!(shown.contains("age") && !shown.contains("name") && !shown.contains("visits"), "{sql}: {shown}");
    }
}

#[tokio::test]
async fn a_table_without_a_view_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 50);
    let part = stage(&store, "claims", "run-1", &patients(0, 5), "c.csv");
    store.commit("claims", &commit("run-1", &patients_schema(), vec![part])).unwrap();
    let engine = engine(&store, 64 << 20);
    let session = engine.session(&[AuthorizedView::only("patients", NARROW)]).unwrap();
    let hidden = session.plan("select * from claims").await.map(|_| ()).unwrap_err();
    let absent = session.plan("select * from nosuch").await.map(|_| ()).unwrap_err();
    assert_eq!(hidden, absent);
    assert_eq!(lines(&session, "show tables").await.unwrap(), ["patients"]);
    assert_eq!(lines(&session, "select table_name from information_schema.tables").await.unwrap(), ["patients"]);
    for sql in [
        "select * from information_schema.df_settings",
        "select * from information_schema.views",
        "select * from '/etc/passwd'",
        "select * from 's3://bucket/x.parquet'",
        "select * from read_csv('/etc/passwd')",
        "select input_file_name() from patients",
        "select * from cordon.main.claims",
        "select * from main.claims",
    ] {
        assert!(session.plan(sql).await.is_err(), "{sql}");
    }
    // Neither a table that is granted and not there, nor a view with no column, makes the session fail or say so.
    let session =
        engine.session(&[AuthorizedView::all("nosuch"), AuthorizedView::only("claims", Vec::<String>::new())]).unwrap();
    assert!(lines(&session, "show tables").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_touched_is_known_before_the_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let session = full_session(&hospital(dir.path(), 50));
    let touched = |columns: &[&str]| {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        vec![Touched { table: "patients".into(), version: 1, columns }]
    };
    for (sql, columns) in [
        ("select age from patients where visits > 3", &["age", "visits"][..]),
        ("select count(*) from patients", &[]),
        ("with unused as (select name from patients) select cost from patients", &["cost"]),
        ("select 1 where exists (select name from patients where birth < date '1970-01-01')", &["birth"]),
        ("explain select age from patients", &["age"]),
    ] {
        let query = session.plan(sql).await.unwrap();
        assert_eq!(query.touched(), touched(columns), "{sql}");
    }
    assert!(session.plan("select 1").await.unwrap().touched().is_empty());
}

#[tokio::test]
async fn explain_shows_structure_and_no_literal() {
    let dir = tempfile::tempdir().unwrap();
    let session = full_session(&hospital(dir.path(), 50));
    let sql = format!(
        "explain select '{CANARY}', age, case when name = '{CANARY}' then 1 end from patients
         where name = '{CANARY}' and age in (1, 2, 3, 4, 5) and name like '%{CANARY}%'
           and birth > date '1931-05-17' and cost > (select avg(cost) from patients where visits = 87654)
         order by age limit 4711"
    );
    let plan = lines(&session, &sql).await.unwrap().join("\n");
    for hidden in [CANARY, "1931", "87654", "4711", ".parquet", "file", "run-1", "cordon"] {
        assert!(!plan.contains(hidden), "{hidden} in\n{plan}");
    }
    for shown in ["Scan patients", "Filter", "age", "avg(cost)"] {
        assert!(plan.contains(shown), "{shown} not in\n{plan}");
    }
}

#[tokio::test]
async fn names_fit_whatever_their_case_and_errors_suggest_what_is_visible() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let session = full_session(&store);
    for sql in [
        "select id, gender from patients",
        "select ID, \"GENDER\" from PATIENTS",
        "select p.Gender from patients as p where p.Id is not null",
        "select upper(gender) as gender, count(*) from patients group by 1 order by gender",
        "select gender from (select upper(gender) as gender from patients) where gender = 'F'",
        "with x(gender, n) as (select gender, count(*) from patients group by gender) select n from x where gender = 'F'",
        "select p.age from patients p join patients q using (id) order by p.id",
    ] {
        assert!(rows(&session, sql).await.is_ok(), "{sql}: {:?}", rows(&session, sql).await);
    }
    let narrow = engine(&store, 64 << 20).session(&[AuthorizedView::only("patients", NARROW)]).unwrap();
    for (sql, kind, at, suggestion) in [
        ("select agee from patients", PlanProblemKind::UnknownColumn, Some((1, 8)), Some("age")),
        ("select age,\n namee from patients", PlanProblemKind::UnknownColumn, Some((2, 2)), None),
        ("select age from patient", PlanProblemKind::UnknownTable, Some((1, 17)), Some("patients")),
        ("select uper(gender) from patients", PlanProblemKind::UnknownFunction, Some((1, 8)), Some("upper")),
        ("select age from patients group", PlanProblemKind::Syntax, None, None),
        ("select age from patients wher age = 3", PlanProblemKind::Syntax, Some((1, 31)), None),
        ("select gender, avg(age) from patients", PlanProblemKind::NotGrouped, None, None),
    ] {
        let Err(EngineError::Planning(problem)) = narrow.plan(sql).await.map(|_| ()) else { panic!("{sql}") };
        assert_eq!(problem.kind, kind, "{sql}");
        if at.is_some() {
            assert_eq!(problem.position, at, "{sql}");
        }
        assert_eq!(problem.did_you_mean.as_deref(), suggestion, "{sql}");
    }
}

/// Long chains are refused before anything recurses over them; those at the limit pass on half the stack that a server has.
#[test]
fn a_chain_that_is_too_long_is_refused_and_no_stack_is_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let ask = |sql: String| {
        let store = store.clone();
        let small = std::thread::Builder::new().stack_size(8 << 20).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { rows(&full_session(&store), &sql).await.map(drop) })
        });
        small.unwrap().join().unwrap()
    };
    let chain = |first: &str, more: &str, times: usize, last: &str| format!("{first}{}{last}", more.repeat(times));
    let chains = |times: usize| {
        [
            chain("select age", " + age", times, " from patients"),
            chain("select age from patients where age = 1", " or age = 2", times / 2, ""),
            chain("select gender", " || gender", times, " from patients"),
            chain("select age", "::int", times / 2, " from patients"),
            chain("select age is null", " is null", times / 2, " from patients"),
        ]
    };
    for sql in chains(900) {
        let shown = sql.chars().take(60).collect::<String>();
        assert!(ask(sql).is_ok(), "{shown}");
    }
    let too_deep = |outcome: Result<(), EngineError>| matches!(outcome, Err(EngineError::Planning(problem)) if problem.kind == PlanProblemKind::TooDeep);
    for sql in chains(200_000) {
        let shown = sql.chars().take(60).collect::<String>();
        assert!(too_deep(ask(sql)), "{shown}");
    }
    for (more, last) in [(" except select 1", ""), (" union all select 1", ""), (" intersect select 1", "")] {
        assert!(ask(chain("select 1", more, 100, last)).is_ok(), "{more}");
        assert!(too_deep(ask(chain("select 1", more, 60_000, last))), "{more}");
    }
    assert!(too_deep(ask(chain("select 1 from patients a", ", patients", 60_000, ""))));
    assert!(too_deep(ask(chain("select 1 from patients a", " cross join patients", 60_000, ""))));
    // A list is long and not deep.
    let list: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    assert!(ask(format!("select age from patients where age in ({})", list.join(", "))).is_ok());
}

#[tokio::test]
async fn a_key_that_is_withheld_fails_only_queries_of_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    hospital(dir.path(), 50);
    let keys = KeyTools::new(std::sync::Arc::new(masters(&["footer", "quasi", "clinical"])));
    let store = store_with(dir.path(), keys);
    let session = full_session(&store);
    assert_eq!(lines(&session, "select count(*), min(age) from patients").await.unwrap(), ["50,20"]);
    let error = rows(&session, "select name from patients").await.unwrap_err();
    let unknown = CryptoError::UnknownMasterKey { id: "cordon-direct.v1".into() };
    assert_eq!(error, EngineError::KeyDenied { master: "cordon-direct.v1".into(), reason: unknown });

    let keys = KeyTools::new(std::sync::Arc::new(masters(&["direct", "quasi", "clinical"])));
    let session = full_session(&store_with(dir.path(), keys));
    let error = rows(&session, "select age from patients").await.unwrap_err();
    assert!(matches!(error, EngineError::KeyDenied { .. }), "{error:?}");

    // And where another part than the first is under it, which is met while rows are read.
    let old = || masters(&["footer", "direct", "quasi", "clinical"]);
    let new = TableMasterKey::from_bytes([5; 32]);
    let names = MasterKeyNames { quasi: "cordon-quasi.v2".into(), ..MasterKeyNames::default() };
    let keys = KeyTools::with_names(std::sync::Arc::new(old().with("cordon-quasi.v2", &new)), names);
    let store = store_with(dir.path(), keys);
    let part = stage(&store, "patients", "run-2", &patients(50, 60), "b.csv");
    store.commit("patients", &commit("run-2", &patients_schema(), vec![part])).unwrap();
    assert_eq!(lines(&full_session(&store), "select count(age) from patients").await.unwrap(), ["60"]);
    let session = full_session(&store_with(dir.path(), KeyTools::new(std::sync::Arc::new(old()))));
    for sql in ["select age from patients", "select gender, avg(age) from patients group by 1 order by 1"] {
        let error = rows(&session, sql).await.unwrap_err();
        let unknown = CryptoError::UnknownMasterKey { id: "cordon-quasi.v2".into() };
        assert_eq!(error, EngineError::KeyDenied { master: "cordon-quasi.v2".into(), reason: unknown }, "{sql}");
    }
}

#[tokio::test]
async fn a_part_that_was_swapped_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 50);
    let session = full_session(&store);
    let version = store.current("patients").unwrap().unwrap();
    let other = stage(&store, "patients", "other", &patients(0, 50), "a.csv");
    let staged = dir.path().join("patients/_staging/other").join(&other.file);
    std::fs::copy(staged, version.part_path(&version.manifest.parts[0])).unwrap();
    let result = rows(&session, "select age from patients").await;
    assert!(matches!(result, Err(EngineError::Damaged { .. })), "{result:?}");
}

#[tokio::test]
async fn a_session_keeps_its_version_and_filters_prune() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 1000);
    let session = full_session(&store);
    let part = stage(&store, "patients", "run-2", &patients(1000, 1500), "b.csv");
    store.commit("patients", &commit("run-2", &patients_schema(), vec![part])).unwrap();
    assert_eq!(lines(&session, "select count(*) from patients").await.unwrap(), ["1000"]);
    let session = full_session(&store);
    assert_eq!(lines(&session, "select count(*) from patients").await.unwrap(), ["1500"]);
    assert_eq!(lines(&session, "select count(visits) from patients where visits >= 1400").await.unwrap(), ["90"]);
    assert_eq!(lines(&session, "select sum(1) from patients where \"Id\" = 'none'").await.unwrap(), ["\"\""]);
}

#[tokio::test]
async fn a_row_filter_and_masks_hold_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 600);
    let mut view = AuthorizedView::only("patients", ["name", "GENDER", "birth", "age", "cost"]);
    view.row_filter = Some("visits >= 300 and \"GENDER\" = 'F'".into());
    view.masks = BTreeMap::from([
        ("name".to_owned(), Mask::ShowLast4),
        ("birth".to_owned(), Mask::ShowYear),
        ("cost".to_owned(), Mask::Null),
    ]);
    let session = engine(&store, 64 << 20).session(&[view]).unwrap();
    // 150 even rows from 300 on, less the 30 whose visits are null.
    assert_eq!(lines(&session, "select count(*), count(cost) from patients").await.unwrap(), ["120,0"]);
    assert_eq!(lines(&session, "select distinct gender from patients").await.unwrap(), ["F"]);
    let shown = lines(&session, "select name, birth from patients order by name limit 1").await.unwrap();
    assert_eq!(shown, ["xxxxxx-xxxxxxxx-xxxxxxxxx-302,1969-01-01"]);
    for sql in [
        // Each would fail if it saw a row or a value that it may not see.
        "select count(*) from patients where 1 / (case when \"GENDER\" = 'M' then 0 else 1 end) = 1",
        "select count(*) from patients where cast(case when age < 20 + 0 then 'x' else '1' end as int) = 1",
        "select count(*) from patients p join patients q on p.age = q.age where 1 / (case when q.\"GENDER\" = 'M' then 0 else 1 end) = 1",
        "select count(*) from (select * from patients) where case when name like '%Zebediah%' then 1/0 else 1 end = 1",
        "select sum(1 / (case when \"GENDER\" = 'M' then 0 else 1 end)) from patients",
    ] {
        assert!(rows(&session, sql).await.is_ok(), "{sql}: {:?}", rows(&session, sql).await);
    }
    let nothing = lines(&session, &format!("select count(*) from patients where name like '{CANARY}%'")).await.unwrap();
    assert_eq!(nothing, ["0"]);
    assert!(session.plan("select visits from patients").await.is_err());
    let query = session.plan("select age from patients where age > 3").await.unwrap();
    assert_eq!(query.touched()[0].columns, ["age"]);
    let query = session.plan("select count(*) from patients where age > 3 and 1 / (cost + 1) < 9").await.unwrap();
    assert_eq!(query.touched()[0].columns, ["age", "cost"]);
    let plan = lines(&session, "explain select age, name from patients where age > 3").await.unwrap().join("\n");
    for hidden in ["visits", "mask", "policy", "Barrier", "cast"] {
        assert!(!plan.contains(hidden), "{hidden} in\n{plan}");
    }
}

#[tokio::test]
async fn a_policy_has_the_time_of_the_query() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 50);
    for (filter, count) in [
        ("birth < current_date", "50"),
        ("birth > current_date", "0"),
        ("now() > timestamp '2020-01-01'", "50"),
        ("birth + interval '1 day' < now() and current_date < date '2020-01-01'", "0"),
    ] {
        let mut view = AuthorizedView::all("patients");
        view.row_filter = Some(filter.into());
        let session = engine(&store, 64 << 20).session(&[view]).unwrap();
        assert_eq!(lines(&session, "select count(*) from patients").await.unwrap(), [count], "{filter}");
    }
}

#[tokio::test]
async fn a_view_that_cannot_be_enforced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let refused = |change: &dyn Fn(&mut AuthorizedView)| {
        let mut view = AuthorizedView::all("patients");
        change(&mut view);
        assert_eq!(engine(&store, 64 << 20).session(&[view]).map(|_| ()), Err(EngineError::Policy));
    };
    refused(&|view| view.row_filter = Some("nosuch = 1".into()));
    refused(&|view| view.row_filter = Some("age >".into()));
    refused(&|view| view.row_filter = Some("age".into()));
    for (column, mask) in [("name", "nosuch(name)"), ("name", "{col} +"), ("name", "nosuch"), ("age", "struct({col})")]
    {
        let mask = Mask::Custom(mask.into());
        refused(&|view| {
            view.masks.insert(column.into(), mask.clone());
        });
    }
    assert!(AuthorizedView::from_decision("patients", cordon_access::Decision::denied()).is_none());
    assert_eq!(AuthorizedView::all("x").columns, VisibleColumns::All);
}

#[tokio::test]
async fn every_format_writes_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let session = full_session(&hospital(dir.path(), 3));
    let mut texts = Vec::new();
    for format in ["table", "csv", "json", "ndjson", "arrow"] {
        let query = session.plan("select age, visits, gender from patients order by age").await.unwrap();
        let mut bytes = Vec::new();
        let format: OutputFormat = format.parse().unwrap();
        assert_eq!(write_result(query.execute().unwrap(), format, &mut bytes).await.unwrap(), 3);
        texts.push(bytes);
    }
    let text = |i: usize| String::from_utf8(texts[i].clone()).unwrap();
    assert!(
        text(0).contains("| age | visits | GENDER |") && text(0).contains("| 21  | 1      | M      |"),
        "{}",
        text(0)
    );
    assert_eq!(text(1), "age,visits,GENDER\n20,,F\n21,1,M\n22,2,F\n");
    assert_eq!(text(3).lines().next().unwrap(), r#"{"age":20,"visits":null,"GENDER":"F"}"#);
    assert!(text(2).starts_with('[') && text(2).trim_end().ends_with(']'));
    let arrow = arrow_ipc::reader::StreamReader::try_new(texts[4].as_slice(), None).unwrap();
    assert_eq!(arrow.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    // An empty result still has its header.
    let query = session.plan("select age from patients where age < 0").await.unwrap();
    let mut bytes = Vec::new();
    write_result(query.execute().unwrap(), OutputFormat::Csv, &mut bytes).await.unwrap();
    assert_eq!(bytes, b"age\n");
}

/// Takes so many bytes and then fails as the kind says.
struct Narrow(usize, std::io::ErrorKind);

impl std::io::Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(self.1.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn errors_of_the_output_are_told_as_what_they_are() {
    use std::io::ErrorKind;
    let dir = tempfile::tempdir().unwrap();
    let session = full_session(&hospital(dir.path(), 500));
    for format in ["table", "csv", "json", "ndjson", "arrow"] {
        let format: OutputFormat = format.parse().unwrap();
        for room in [0, 100, 3000] {
            let run = async |kind| {
                let query = session.plan("select * from patients").await.unwrap();
                write_result(query.execute().unwrap(), format, &mut Narrow(room, kind)).await
            };
            let full = run(ErrorKind::StorageFull).await;
            assert!(matches!(full, Err(EngineError::NoSpace { .. })), "{format:?} {room}: {full:?}");
            let read_only = run(ErrorKind::ReadOnlyFilesystem).await;
            assert!(matches!(read_only, Err(EngineError::ReadOnly { .. })), "{format:?} {room}: {read_only:?}");
            let gone = run(ErrorKind::BrokenPipe).await;
            assert!(gone.is_ok_and(|rows| rows <= 500), "{format:?} {room}");
        }
    }
}

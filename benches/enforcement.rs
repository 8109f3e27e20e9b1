//! What enforcement costs: the founding document's analysis (average age and number by gender) over an encrypted table, without a
//! policy and behind a row filter and masks, in turns in one process.
//!
//! `bench-enforcement [ROWS] [ROUNDS] [THREADS]` prints JSON: CPU-seconds of each, medians of all rounds, and their ratios.
//! A program of the engine, so that it is built of the same libraries as `cordon`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a developer's terminal")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench ends at the first thing that is wrong")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{Field, Schema};
use cordon_access::Mask;
use cordon_crypto::{LocalMasterKeys, SealKey, TableMasterKey};
use cordon_engine::{
    AuthorizedSession, AuthorizedView, Commit, KEY_CLASS_METADATA, KeyTools, PartOptions, Provenance, QueryEngine,
    QueryOptions, TableStore,
};
use futures::TryStreamExt;

const BATCH: usize = 65_536;
const FOUNDING: &str = "select gender, avg(age), count(*) from patients group by gender";
const BY_AGE: &str = "select gender, avg(age), count(*) from patients where age >= 60 group by gender";
const MASKED: &str = "select zip, birth, avg(age), count(*) from patients group by zip, birth";

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (rows, rounds) = (args.next().unwrap_or(2_000_000), args.next().unwrap_or(15));
    let threads = args.next().unwrap_or(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), rows);
    let options = QueryOptions { threads, ..QueryOptions::default() };
    let engine = QueryEngine::new(options, store).unwrap();
    let session = |filter: Option<&str>, masks: &[(&str, Mask)]| {
        let mut view = AuthorizedView::all("patients");
        view.row_filter = filter.map(str::to_owned);
        view.masks = masks.iter().map(|(name, mask)| ((*name).to_owned(), mask.clone())).collect();
        engine.session(&[view]).unwrap()
    };
    let masks = [("name", Mask::ShowLast4), ("birth", Mask::ShowYear), ("zip", Mask::Redact)];
    let site = Some("site <> 7");
    let (open, guarded) = (session(None, &[]), session(site, &masks));
    let masks_only = session(None, &masks);
    let asked = |sql: &str| sql.replace("from patients", "from (select * from patients where site <> 7) p");
    let runs: [(&str, &AuthorizedSession, String); 9] = [
        ("founding, no policy", &open, FOUNDING.into()),
        ("founding, the filter in the query", &open, asked(FOUNDING)),
        ("founding, 3 masks", &masks_only, FOUNDING.into()),
        ("founding, row filter and 3 masks", &guarded, FOUNDING.into()),
        ("over 60, no policy", &open, BY_AGE.into()),
        ("over 60, the filter in the query", &open, asked(BY_AGE)),
        ("over 60, row filter and 3 masks", &guarded, BY_AGE.into()),
        ("by masked columns, no policy", &open, MASKED.into()),
        ("by masked columns, row filter and 3 masks", &guarded, MASKED.into()),
    ];
    let mut times = vec![(Vec::new(), Vec::new()); runs.len()];
    for round in 0..=rounds {
        for (at, (_, session, sql)) in runs.iter().enumerate() {
            let (cpu, wall) = (cpu_seconds(), Instant::now());
            let found: usize = runtime.block_on(async {
                let stream = session.plan(sql).await.unwrap().execute().unwrap();
                stream.try_fold(0, async |n, batch| Ok(n + batch.num_rows())).await.unwrap()
            });
            assert!(found > 1);
            // The first round warms caches.
            if round > 0 {
                times[at].0.push(cpu_seconds() - cpu);
                times[at].1.push(wall.elapsed().as_secs_f64());
            }
        }
    }
    let medians: Vec<(f64, f64)> = times.iter_mut().map(|(cpu, wall)| (median(cpu), median(wall))).collect();
    let told: serde_json::Map<String, serde_json::Value> = runs
        .iter()
        .zip(&medians)
        .map(|((name, ..), (cpu, wall))| {
            // Each beside the run without a policy that stands above it.
            let kind = name.split(',').next().unwrap();
            let base = runs.iter().position(|(other, ..)| other.starts_with(kind)).unwrap();
            let ratio = cpu / medians[base].0;
            ((*name).to_owned(), serde_json::json!({ "cpu_seconds": cpu, "seconds": wall, "cpu_ratio": ratio }))
        })
        .collect();
    println!("{}", serde_json::json!({ "rows": rows, "rounds": rounds, "threads": threads, "runs": told }));
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of all threads of this process: what other programs take on a busy machine is not in it.
fn cpu_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds: u64 = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    nanoseconds as f64 / 1e9
}

fn filled(root: &std::path::Path, rows: usize) -> TableStore {
    let masters = ["footer", "direct", "quasi", "clinical"]
        .into_iter()
        .fold(LocalMasterKeys::new(), |keys, name| keys.with(format!("cordon-{name}.v1"), &TableMasterKey::generate()));
    let store = TableStore::open(root, KeyTools::new(Arc::new(masters)), SealKey::generate()).unwrap();
    let staging = store.stage("patients", "bench").unwrap();
    let schema = patients(0, 1).schema();
    let mut part = staging.part(&schema, &PartOptions::default()).unwrap();
    for from in (0..rows).step_by(BATCH) {
        part.write(&patients(from, rows.min(from + BATCH))).unwrap();
    }
    let part = part.finish(Vec::new()).unwrap();
    let commit = Commit {
        id: "bench".into(),
        base: None,
        schema,
        add: vec![part],
        remove_parts: Vec::new(),
        replace: false,
        provenance: Provenance::default(),
    };
    store.commit("patients", &commit).unwrap();
    store
}

/// Spread as real ones are, the same for the same row.
fn patients(from: usize, to: usize) -> RecordBatch {
    let mix = |row: usize| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) as usize;
    let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((from..to).map(|row| Some(of(mix(row)))).collect::<StringViewArray>())
    };
    let columns: Vec<(&str, &str, ArrayRef)> = vec![
        ("id", "direct", Arc::new((from..to).map(|row| Some(row as i64)).collect::<Int64Array>())),
        ("name", "direct", text(&|n| format!("Patient {:06} of Boston", n % 1_000_000))),
        ("gender", "quasi", text(&|n| ["F", "M", "U"][n / 7 % 20 / 9].to_owned())),
        ("age", "quasi", Arc::new((from..to).map(|row| Some((mix(row) / 11 % 90) as i32)).collect::<Int32Array>())),
        (
            "birth",
            "quasi",
            Arc::new((from..to).map(|row| Some((mix(row) / 13 % 30_000) as i32 - 12_000)).collect::<Date32Array>()),
        ),
        ("zip", "quasi", text(&|n| format!("{:05}", n / 17 % 900))),
        ("site", "quasi", Arc::new((from..to).map(|row| Some((mix(row) / 19 % 12) as i32)).collect::<Int32Array>())),
        (
            "cost",
            "clinical",
            Arc::new((from..to).map(|row| Some((mix(row) / 23 % 100_000) as f64)).collect::<Float64Array>()),
        ),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, class, array)| {
            let metadata = HashMap::from([(KEY_CLASS_METADATA.to_owned(), (*class).to_owned())]);
            Field::new(*name, array.data_type().clone(), true).with_metadata(metadata)
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(.., array)| array).collect()).unwrap()
}

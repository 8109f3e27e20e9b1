//! What encryption of tables costs: the rows of a project's tables are written again, in turns by the writer that runs use and by
//! the same writer of Parquet without encryption.
//!
//! `bench-encryption PROJECT [ROUNDS]` prints JSON: CPU-seconds and seconds of each, the medians of all rounds, and bytes.
//! An example and no part of the library, so that nothing in the program can write a part in clear.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a developer's terminal")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench ends at the first thing that is wrong")]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow_array::RecordBatch;
use cordon_engine::tables::{ENTROPY_METADATA, PartOptions};
use cordon_engine::{InputKeys, ParquetInput};
use cordon_pipeline::project::{OpenProject, Project};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use sha2::{Digest, Sha256};

/// The rows of one part.
struct Part {
    table: String,
    batches: Vec<RecordBatch>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [project, rest @ ..] = args.as_slice() else {
        eprintln!("usage: bench-encryption PROJECT [ROUNDS]");
        std::process::exit(2);
    };
    let rounds: usize = rest.first().map_or(5, |rounds| rounds.parse().unwrap());
    let nobody = || Err(io::ErrorKind::Unsupported.into());
    let Ok(project) = Project::find(Path::new(project)).unwrap().open(&nobody, "bench") else {
        eprintln!("bench-encryption: needs a project with a key file");
        std::process::exit(2);
    };
    let parts = read(&project);
    let scratch = tempfile::tempdir().unwrap();
    let (mut encrypted, mut plain) = (Vec::new(), Vec::new());
    let mut bytes = (0, 0);
    for round in 0..=rounds {
        let with = measured(|| bytes.0 = write_encrypted(&project, &parts, round));
        let without = measured(|| bytes.1 = write_plain(&parts, scratch.path()));
        // The first round warms caches.
        if round > 0 {
            encrypted.push(with);
            plain.push(without);
        }
    }
    let rows: usize = parts.iter().flat_map(|part| &part.batches).map(RecordBatch::num_rows).sum();
    let told = serde_json::json!({
        "rows": rows, "rounds": rounds,
        "encrypted": { "cpu_seconds": median(&encrypted, |m| m.0), "seconds": median(&encrypted, |m| m.1), "bytes": bytes.0 },
        "plain": { "cpu_seconds": median(&plain, |m| m.0), "seconds": median(&plain, |m| m.1), "bytes": bytes.1 },
    });
    println!("{told}");
}

fn read(project: &OpenProject) -> Vec<Part> {
    let keys = InputKeys { tools: Some(project.tables().keys().clone()), ..InputKeys::default() };
    let mut all = Vec::new();
    for table in project.tables().tables().unwrap() {
        let version = project.tables().current(&table).unwrap().unwrap();
        for part in &version.manifest.parts {
            let input = ParquetInput::open(&version.part_path(part), &keys, 8192).unwrap();
            let batches = input
                .map(|batch| RecordBatch::try_new(version.schema.clone(), batch.unwrap().columns().to_vec()).unwrap());
            all.push(Part { table: table.clone(), batches: batches.collect() });
        }
    }
    all
}

fn write_encrypted(project: &OpenProject, parts: &[Part], round: usize) -> u64 {
    let mut bytes = 0;
    for part in parts {
        let staging = project.tables().stage(&part.table, &format!("bench{round}")).unwrap();
        let mut writer = staging.part(&part.batches[0].schema(), &PartOptions::default()).unwrap();
        part.batches.iter().for_each(|batch| writer.write(batch).unwrap());
        bytes += writer.finish(Vec::new()).unwrap().bytes;
        staging.remove().unwrap();
    }
    bytes
}

/// As `PartWriter` does it, but for the encryption.
fn write_plain(parts: &[Part], folder: &Path) -> u64 {
    let mut bytes = 0;
    for (number, part) in parts.iter().enumerate() {
        let schema = part.batches[0].schema();
        let options = PartOptions::default();
        let mut builder = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_created_by("cordon".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
            .set_max_row_group_row_count(Some(options.row_group_rows))
            .set_max_row_group_bytes(Some(options.row_group_bytes))
            .set_bloom_filter_enabled(false);
        let leaves = ArrowSchemaConverter::new().convert(&schema).unwrap();
        for (index, leaf) in leaves.columns().iter().enumerate() {
            let field = schema.field(leaves.get_column_root_idx(index));
            if field.metadata().get(ENTROPY_METADATA).is_some_and(|entropy| entropy == "high") {
                builder = builder
                    .set_column_dictionary_enabled(leaf.path().clone(), false)
                    .set_column_encoding(leaf.path().clone(), Encoding::PLAIN)
                    .set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::None);
            }
        }
        let path: PathBuf = folder.join(format!("{number}.parquet"));
        let out = Hashing { file: File::create(&path).unwrap(), hash: Sha256::new(), bytes: 0 };
        let mut writer = ArrowWriter::try_new(out, schema, Some(builder.build())).unwrap();
        part.batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        let out = writer.inner_mut();
        out.file.sync_all().unwrap();
        bytes += out.bytes;
        std::hint::black_box(std::mem::take(&mut out.hash).finalize());
        std::fs::remove_file(path).unwrap();
    }
    bytes
}

struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// CPU-seconds of this thread, which does all the work, and seconds.
fn measured(work: impl FnOnce()) -> (f64, f64) {
    let cpu = || -> f64 {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        told.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    let (before, began) = (cpu(), Instant::now());
    work();
    (cpu() - before, began.elapsed().as_secs_f64())
}

fn median(all: &[(f64, f64)], of: impl Fn(&(f64, f64)) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

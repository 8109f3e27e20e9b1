//! Writing and checking one encrypted Parquet file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::ChunkReader;
use sha2::{Digest, Sha256};

use super::manifest::{PartInfo, SourceRef};
use super::place::{PartFile, read_tail, write_durably};
use super::row_digest::RowDigest;
use crate::errors::EngineError;
use crate::keytools::{FileKeys, KeyTools, material_name};

/// Arrow field metadata: `high` for columns of random-looking values that seldom repeat within a table (the subject's
/// token in the table of subjects, keyed hashes of numbers), where a dictionary or a minimum costs time and finds
/// nothing. Not for tokens that repeat, as a patient's does among encounters: there a dictionary saves a third of the file.
pub const ENTROPY_METADATA: &str = "cordon.entropy";

/// Magic of a Parquet file with an encrypted footer, at both ends.
pub(super) const MAGIC: &[u8; 4] = b"PARE";
/// Length of the footer, little-endian, and the magic.
const TAIL: u64 = 8;

/// How a part is laid out.
#[derive(Clone, Debug)]
pub struct PartOptions {
    pub compression: PartCompression,
    /// Encoded bytes that one writer holds before it flushes a row group: what bounds its memory.
    pub row_group_bytes: usize,
    pub row_group_rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartCompression {
    None,
    Snappy,
    Zstd(i32),
}

impl Default for PartOptions {
    /// Zstandard at level 1: a million rows with three base32 tokens take 61 MB, with Snappy 92 MB, for the same CPU time
    /// (Snappy finds nothing in tokens; zstd's entropy coder gets back the three bits in eight that base32 wastes).
    fn default() -> Self {
        Self { compression: PartCompression::Zstd(1), row_group_bytes: 32 << 20, row_group_rows: 1 << 20 }
    }
}

/// Writes batches into one encrypted file. Dropped without [`PartWriter::finish`], it leaves an unreadable file that
/// recovery removes.
pub struct PartWriter {
    inner: ArrowWriter<HashingFile>,
    path: PathBuf,
    file: String,
    run: String,
    rows: u64,
    digest: RowDigest,
    key_ids: Vec<String>,
    /// Key material for beside it, and its digest.
    external: Option<(Vec<u8>, String)>,
}

impl PartWriter {
    pub(super) fn create(
        dir: &Path,
        file: String,
        run: &str,
        keys: &KeyTools,
        digest: RowDigest,
        schema: &SchemaRef,
        options: &PartOptions,
    ) -> Result<Self, EngineError> {
        let path = dir.join(&file);
        let FileKeys { properties, external } = keys.new_file(schema)?;
        let properties = writer_properties(properties, schema, options)?;
        let output = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(|error| EngineError::io("create the part", &path, &error))?;
        let output = HashingFile { file: output, hash: Sha256::new(), bytes: 0 };
        let inner = ArrowWriter::try_new(output, schema.clone(), Some(properties))
            .map_err(|error| EngineError::parquet_at("write the part", &path, &error))?;
        let key_ids = keys.master_key_ids(schema);
        Ok(Self { inner, path, file, run: run.to_owned(), rows: 0, digest, key_ids, external })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        self.inner.write(batch).map_err(|error| EngineError::parquet_at("write the part", &self.path, &error))?;
        self.rows += batch.num_rows() as u64;
        self.digest.add(batch)
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What this writer holds in memory now.
    pub fn memory(&self) -> usize {
        self.inner.memory_size()
    }

    /// Ends the row group, so that the memory it takes is free again.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        self.inner.flush().map_err(|error| EngineError::parquet_at("write the part", &self.path, &error))
    }

    /// About how long the file is so far.
    pub fn bytes(&self) -> usize {
        self.inner.bytes_written() + self.inner.in_progress_size()
    }

    /// Ends the file and makes it durable.
    pub fn finish(mut self, sources: Vec<SourceRef>) -> Result<PartInfo, EngineError> {
        let failed = |error: &io::Error| EngineError::io("write the part", &self.path, error);
        self.inner.finish().map_err(|error| EngineError::parquet_at("write the part", &self.path, &error))?;
        let output = self.inner.inner_mut();
        output.flush().map_err(|error| failed(&error))?;
        output.file.sync_all().map_err(|error| failed(&error))?;
        if let Some((material, _)) = &self.external {
            write_durably(&self.path.with_file_name(material_name(&self.file)), material, "write the key material")?;
        }
        if let Some(folder) = self.path.parent() {
            super::sync_dir(folder)?;
        }
        let (hash, bytes) = (std::mem::take(&mut output.hash), output.bytes);
        let tail =
            |most| read_tail(&self.path, most).map_err(|error| EngineError::io("read the part", &self.path, &error));
        Ok(PartInfo {
            file: self.file,
            run: self.run,
            rows: self.rows,
            bytes,
            sha256: HEXLOWER.encode(&hash.finalize()),
            footer_sha256: footer_digest(tail, &self.path)?.0,
            sources,
            key_ids: self.key_ids,
            external_keys: self.external.map(|(_, digest)| digest),
            rows_digest: Some(self.digest.hex()),
        })
    }
}

fn writer_properties(
    keys: Arc<FileEncryptionProperties>,
    schema: &SchemaRef,
    options: &PartOptions,
) -> Result<WriterProperties, EngineError> {
    let compression = match options.compression {
        PartCompression::None => Compression::UNCOMPRESSED,
        PartCompression::Snappy => Compression::SNAPPY,
        PartCompression::Zstd(level) => Compression::ZSTD(
            ZstdLevel::try_new(level).map_err(|_| EngineError::Unsupported { what: "this level of zstd" })?,
        ),
    };
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0) // what Spark and DuckDB read without a second thought
        .set_created_by(format!("cordon {}", env!("CARGO_PKG_VERSION")))
        .set_compression(compression)
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_max_row_group_bytes(Some(options.row_group_bytes.max(1)))
        // Written in clear by the Parquet crate even in encrypted files: they would confirm a guessed name without any key.
        .set_bloom_filter_enabled(false)
        .with_file_encryption_properties(keys);
    let leaves = ArrowSchemaConverter::new().convert(schema).map_err(|error| EngineError::parquet(&error))?;
    for (index, leaf) in leaves.columns().iter().enumerate() {
        let root = schema.fields().get(leaves.get_column_root_idx(index));
        let entropy = root.and_then(|field| field.metadata().get(ENTROPY_METADATA));
        if entropy.is_some_and(|entropy| entropy == "high") {
            builder = builder
                .set_column_dictionary_enabled(leaf.path().clone(), false)
                .set_column_encoding(leaf.path().clone(), Encoding::PLAIN)
                .set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// Hashes what it writes, so that a part is never read again to know its digest.
struct HashingFile {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What a first look at the end of a part fetches: nearly all footers fit.
const FOOTER_AT_ONCE: u64 = 64 << 10;

/// SHA-256 of the encrypted footer with its length and magic, and how long the part is. `tail`: the last bytes, at most so many, and
/// the length of all.
fn footer_digest(
    tail: impl Fn(u64) -> Result<(Bytes, u64), EngineError>,
    path: &Path,
) -> Result<(String, u64), EngineError> {
    let (mut end, len) = tail(FOOTER_AT_ONCE)?;
    let footer_len = |end: &[u8]| match end.last_chunk::<8>() {
        Some([l0, l1, l2, l3, magic @ ..]) if magic == MAGIC => {
            Some(u64::from(u32::from_le_bytes([*l0, *l1, *l2, *l3])) + TAIL)
        }
        _ => None,
    };
    let Some(footer) = footer_len(&end).filter(|_| len >= TAIL + MAGIC.len() as u64) else {
        return Err(EngineError::NotEncrypted { path: path.to_owned() });
    };
    if footer > len {
        return Err(EngineError::Damaged { what: "part", path: path.to_owned() });
    }
    if footer > end.len() as u64 {
        end = tail(footer)?.0;
    }
    let from = end.len().saturating_sub(footer as usize);
    Ok((HEXLOWER.encode(&Sha256::digest(end.get(from..).unwrap_or_default())), len))
}

pub(super) fn check_footer(
    tail: impl Fn(u64) -> Result<(Bytes, u64), EngineError>,
    part: &PartInfo,
    path: &Path,
) -> Result<(), EngineError> {
    if footer_digest(tail, path)? == (part.footer_sha256.clone(), part.bytes) {
        return Ok(());
    }
    Err(EngineError::Damaged { what: "part", path: path.to_owned() })
}

/// Reads every byte: it begins as an encrypted part does, and all is as it was written.
pub(super) fn check_content(file: &PartFile, part: &PartInfo, path: &Path) -> Result<(), EngineError> {
    let mut hash = Sha256::new();
    let mut reader = file.get_read(0).map_err(|error| EngineError::parquet_at("read the part", path, &error))?;
    let mut head = [0; 4];
    let read = reader.read_exact(&mut head).and_then(|()| {
        hash.update(head);
        io::copy(&mut reader, &mut HashOnly(&mut hash))
    });
    read.map_err(|error| EngineError::io("read the part", path, &error))?;
    if &head != MAGIC {
        return Err(EngineError::NotEncrypted { path: path.to_owned() });
    }
    if HEXLOWER.encode(&hash.finalize()) != part.sha256 {
        return Err(EngineError::Damaged { what: "part", path: path.to_owned() });
    }
    Ok(())
}

struct HashOnly<'a>(&'a mut Sha256);

impl Write for HashOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! What a host sees of the formats: hostile files in, batches and rejects out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]

mod ccda;
mod compressed;
mod csv_cases;
mod csv_differential;
mod dicom;
mod hl7v2;
mod ndjson_cases;
mod notes;
mod support;
mod x12;

//! What the crate promises, shown from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]
#![allow(clippy::format_push_string, clippy::format_collect, clippy::needless_pass_by_value, clippy::match_same_arms)]

mod ccda;
mod dicom;
mod fhir;
mod hl7v2;
mod imports;
mod kernel_cases;
mod kernel_laws;
mod narrative;
mod people;
mod policy_cases;
mod tally;
mod x12;

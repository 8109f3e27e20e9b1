//! De-identification: the policy language, its checker and compiler, and the kernels that change values.
//!
//! A policy is what a privacy officer reads and signs. It is compiled once to a [`recipe::Recipe`]: for every
//! declared field an identifier kind and an action. An action is a [`kernel::Kernel`], a pure function from Arrow
//! arrays to an Arrow array, so that tables and documents, the embedded engine and Spark, get the same bytes.
//!
//! This crate does no I/O and reads no clock, no environment and no random numbers: dates, keys and the token store
//! come in as arguments. It refuses what the policy's method does not allow, with the clause.
//!
//! ```
//! use std::path::Path;
//! use cordon_deid::policy::check::{CompileOptions, compile};
//!
//! let text = "
//! policy: example
//! method: safe-harbor
//! datasets:
//!   patients:
//!     fields:
//!       ssn: { kind: ssn, action: hash }
//! ";
//! let options = CompileOptions::on(chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap_or_default());
//! let Err(issues) = compile(text, Path::new("policies/example.yaml"), options) else { panic!("must be refused") };
//! assert!(issues.to_string().contains("164.514(c)"));
//! ```

pub mod allow;
pub mod ccda;
pub mod dicom;
pub mod document;
pub mod fhir;
pub mod hl7v2;
pub mod kernel;
pub mod policy;
pub mod recipe;
mod row_facts;
pub mod survey;
pub mod tally;
pub mod x12;
pub mod yaml;

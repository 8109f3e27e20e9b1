//! The program as its users meet it: every test runs the built binary in a folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]
#![allow(clippy::format_push_string, clippy::format_collect, clippy::needless_pass_by_value, clippy::match_same_arms)]

mod accept;
mod access;
mod backup;
mod backup_keys;
mod break_glass;
mod canaries;
mod ccda;
mod dicom;
mod encrypted_sources;
mod evidence;
mod fhir_input;
#[path = "../../../storage/tests/it/hdfs_server.rs"]
mod hdfs_server;
mod hl7v2;
mod hostile_input;
mod identity;
mod imports;
mod inspect;
mod keystores;
mod killed;
mod memory;
mod notes;
mod output;
mod output_control;
mod postgres;
#[path = "../../../vault/tests/it/postgres_server.rs"]
mod postgres_server;
mod project_folder;
mod python;
mod ranger;
mod recipients;
mod rekey;
mod report;
mod retain;
mod retain_requests;
mod rewrap;
mod rights;
mod rotation;
mod runs;
mod server;
#[path = "../../../keystore/tests/it/servers.rs"]
mod servers;
mod shred;
mod six_formats;
mod spark;
mod storage;
mod stores;
mod support;
mod third_party;
mod token;
mod written;
mod x12;

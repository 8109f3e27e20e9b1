//! Questions of people and programs: who asks, what the policy lets them see, the record, and only then rows.
//!
//! This crate exists so that the command line and the server answer a question in the same way, step by step: [`Questions::ask`]
//! decides what exists for the asker, plans over exactly that, makes the audit entry durable, and hands out rows that end with a
//! [`Record`] of how it went. It refuses to hand out a row before its entry, and to tell what the asker may not see from what does
//! not exist; the audit log is told the difference.

mod answer;
mod asked;
mod error;
mod questions;
pub mod rights;
mod stored;

pub use answer::{Answer, Record, Rows};
pub use error::QueryError;
pub use questions::{Question, Questions, Visible};
pub use stored::Stored;

//! A synthetic hospital, so that pipelines can be tried at any size with every identifier that HIPAA lists
//! and with nobody's data.
//!
//! Patient *n* is made from the seed and *n* alone: generation is parallel and streaming, needs memory for a
//! few hundred patients, and the first thousand patients are the same whether a thousand or ten million are
//! asked for. The same options give the same bytes on every machine and with any number of threads.
//!
//! Every identifier is of a range that was never issued to anyone (see the README.txt written beside the
//! data). What it refuses to do: learn from real records. Distributions are plain and public, so results
//! computed on these data say something about software and nothing about medicine.
//!
//! ```
//! use cordon_synth::{Dirt, Hospital, SynthOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let hospital = Hospital::new(SynthOptions { patients: 20, seed: 7, dirt: Dirt::none(), ..Default::default() });
//! let summary = hospital.write(dir.path(), &|_| ())?;
//! assert_eq!(summary.rows("csv/patients.csv"), Some(20));
//! assert!(summary.bad_rows.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bench;
mod catalog;
mod day;
mod id;
mod ink;
mod options;
mod record;
mod rng;
mod rows;
mod summary;
mod world;
mod write;

use std::path::Path;

pub use bench::bench_patients;
pub use catalog::{CatalogEntry, ColumnType, catalog};
pub use day::{Day, NotADay};
pub use options::{Dirt, Formats, People, SynthOptions};
pub use summary::{BadRow, Duplicate, Fault, Progress, Summary, SynthError, WrittenFile};
pub use write::csv::DATE_SPELLINGS;

/// A hospital that can be written out.
pub struct Hospital {
    options: SynthOptions,
    staff: world::staff::Staff,
}

impl Hospital {
    pub fn new(options: SynthOptions) -> Self {
        let staff = world::staff::Staff::new(options.seed);
        Self { options, staff }
    }

    pub fn options(&self) -> &SynthOptions {
        &self.options
    }

    /// Writes the formats asked for below `dir`, over what may be there. `progress` is called on this thread,
    /// after every few hundred patients.
    pub fn write(&self, dir: &Path, progress: &dyn Fn(Progress)) -> Result<Summary, SynthError> {
        if let Some(fault) = self.options.fault() {
            return Err(SynthError::Options(fault));
        }
        write::write(dir, &self.options, &self.staff, progress)
    }
}

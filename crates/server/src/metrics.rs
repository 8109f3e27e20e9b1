//! What is counted, as Prometheus reads it. Names and labels are of this program: no principal, table or value can get among them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SECONDS: [f64; 10] = [0.005, 0.02, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

#[derive(Default)]
pub struct Metrics {
    counters: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    took: Mutex<([u64; SECONDS.len()], u64, f64)>,
    rows: AtomicU64,
    connections: AtomicI64,
    queries: AtomicI64,
    sessions: AtomicI64,
}

/// A thing that is there as long as this is.
pub struct Present<'a>(&'a AtomicI64);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// One more of what `kind` counts; `outcome` says how it went.
    pub fn count(&self, kind: &'static str, outcome: &'static str) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner).entry((kind, outcome)).or_default() += 1;
    }

    pub fn rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn took(&self, time: Duration) {
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = time.as_secs_f64();
        for (bucket, most) in took.0.iter_mut().zip(SECONDS) {
            *bucket += u64::from(seconds <= most);
        }
        took.1 += 1;
        took.2 += seconds;
    }

    pub fn connection(&self) -> Present<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Present(&self.connections)
    }

    pub fn query_began(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn query_ended(&self) {
        self.queries.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn sessions(&self, change: i64) {
        self.sessions.fetch_add(change, Ordering::Relaxed);
    }

    /// Prometheus' text format 0.0.4.
    pub fn text(&self, draining: bool) -> String {
        let mut out = String::new();
        let gauge = |out: &mut String, name: &str, help: &str, value: i64| {
            let _ = write!(out, "# HELP cordon_{name} {help}\n# TYPE cordon_{name} gauge\ncordon_{name} {value}\n");
        };
        gauge(&mut out, "connections", "Connections that are open.", self.connections.load(Ordering::Relaxed));
        gauge(&mut out, "queries_running", "Queries that run.", self.queries.load(Ordering::Relaxed));
        gauge(&mut out, "sessions", "Sessions that are open.", self.sessions.load(Ordering::Relaxed));
        gauge(&mut out, "draining", "1 when the server is being stopped.", draining.into());
        if let Some(bytes) = resident() {
            gauge(&mut out, "resident_memory_bytes", "Memory of the process.", bytes);
        }
        let rows = self.rows.load(Ordering::Relaxed);
        let _ = write!(
            out,
            "# HELP cordon_rows_total Rows that left.\n# TYPE cordon_rows_total counter\ncordon_rows_total {rows}\n"
        );
        let mut last = "";
        for ((kind, outcome), count) in self.counters.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *kind != last {
                let _ = writeln!(out, "# TYPE cordon_{kind}_total counter");
                last = kind;
            }
            let _ = writeln!(out, "cordon_{kind}_total{{outcome=\"{outcome}\"}} {count}");
        }
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        out.push_str(
            "# HELP cordon_query_seconds From the question to the last row.\n# TYPE cordon_query_seconds histogram\n",
        );
        for (count, most) in took.0.iter().zip(SECONDS) {
            let _ = writeln!(out, "cordon_query_seconds_bucket{{le=\"{most}\"}} {count}");
        }
        let (count, sum) = (took.1, took.2);
        let _ = write!(
            out,
            "cordon_query_seconds_bucket{{le=\"+Inf\"}} {count}\ncordon_query_seconds_sum {sum}\ncordon_query_seconds_count {count}\n"
        );
        out
    }
}

/// Bytes of memory, where the system says so.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()? * 1024)
}

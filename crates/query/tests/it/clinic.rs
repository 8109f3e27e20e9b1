//! A project with one table of 40,000 rows.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cordon_access::{Principal, Purpose};
use cordon_audit::{Event, Filter};
use cordon_pipeline::init::{InitOptions, Template, init};
use cordon_pipeline::progress::Meter;
use cordon_pipeline::project::{OpenProject, Project};
use cordon_pipeline::run::run;
use cordon_query::{Question, Questions};

pub const ROWS: usize = 40_000;

pub struct Clinic {
    dir: tempfile::TempDir,
    pub project: Arc<OpenProject>,
    pub questions: Questions,
}

const ACCESS: &str = "
access:
  roles:
    - name: research
      grants:
        - { datasets: [visits], columns: [day, code], purposes: [research] }
    - name: engineering
      grants:
        - { datasets: [\"*\"], columns: [\"*\"], purposes: [operations] }
  users:
    - { name: ana, roles: [research] }
    - { name: eve, roles: [engineering] }
";

impl Clinic {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("clinic");
        let options = InitOptions {
            template: Template::Hospital,
            limited: false,
            passphrase_env: None,
            root: None,
            user: "test".to_owned(),
        };
        init(&at, &options).unwrap();
        let write = |name: &str, content: String| {
            fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
            fs::write(at.join(name), content).unwrap();
        };
        let config = fs::read_to_string(at.join("cordon.yaml")).unwrap();
        write("cordon.yaml", format!("{}{ACCESS}", config.split_once("\naccess:").unwrap().0));
        let policy = "policy: test\nmethod: safe-harbor\ndatasets:\n  visits:\n    fields:\n      day: { kind: service-date }\n      \
                      code: { kind: clinical }\n      cost: { kind: financial, type: decimal }\n";
        write("policies/test.yaml", policy.to_owned());
        let pipeline = "pipeline: test\npolicy: test\nsources:\n  - { dataset: visits, path: in/visits.csv }\n";
        write("pipelines/test.yaml", pipeline.to_owned());
        let mut rows = "day,code,cost\n".to_owned();
        for row in 0..ROWS {
            writeln!(rows, "20{:02}-01-02,E{:05},{row}.5", row % 20, row).unwrap();
        }
        write("in/visits.csv", rows);
        let ask = || unreachable!("the key is in a file");
        let project = Project::find(&at).unwrap().open(&ask, "test").unwrap();
        let pipeline = project.project.pipeline("test").unwrap();
        run(&project, &pipeline, None, &Meter { stop: Arc::new(AtomicBool::new(false)), ..Meter::default() }, &|_| {})
            .unwrap();
        let project = Arc::new(project);
        let questions = Questions::new(Arc::clone(&project));
        Self { dir, project, questions }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("clinic").join(name)
    }

    /// Changes `cordon.yaml`, and has it read.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("cordon.yaml")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("cordon.yaml"), text.replacen(from, to, 1)).unwrap();
        let _ = self.project.policy_source().unwrap().refresh();
    }

    /// The kinds of the log's entries about a query, in order.
    pub fn recorded(&self, query: &str) -> Vec<&'static str> {
        let about = |event: &Event| match event {
            Event::QueryStarted { query: of, .. }
            | Event::QueryFinished { query: of, .. }
            | Event::QueryFailed { query: of, .. } => of == query,
            _ => false,
        };
        let entries = self.project.audit_log().list(Filter::default()).unwrap().map(Result::unwrap);
        entries.filter(|entry| about(&entry.event)).map(|entry| entry.event.kind()).collect()
    }
}

pub fn question(user: &str, purpose: Purpose, sql: &str) -> Question {
    Question { principal: Principal::named(user), usage: purpose.into(), sql: sql.to_owned() }
}

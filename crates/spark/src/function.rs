//! The function of Python that executors run.

use crate::pickle::Pickle;

/// A function of a module that was shipped (`pyfiles/…`). It is called with `arguments` and, last, the iterator of a partition's
/// `pyarrow.RecordBatch`es, and gives an iterator of such.
///
/// Arguments are a part of the plan, and a plan is kept in Spark's event log: no key and no value of a patient belongs there.
pub struct PythonFunction<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub arguments: &'a [Argument<'a>],
    /// What the batches are that it gives: Spark's schema as JSON, a struct.
    pub returns: &'a str,
    /// The minor version of the executors' Python, "3.11". Spark refuses to run with another one; see
    /// [`worker_python`](crate::worker_python).
    pub python: &'a str,
}

/// What a function is called with.
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Int(i64),
}

impl PythonFunction<'_> {
    /// `(functools.partial(module.name, *arguments), pyspark.sql.types._parse_datatype_json_string(returns))`
    pub(crate) fn pickled(&self) -> Vec<u8> {
        let mut pickle = Pickle::new();
        pickle.global("functools", "partial");
        pickle.arguments();
        pickle.global(self.module, self.name);
        for argument in self.arguments {
            match argument {
                Argument::Text(text) => pickle.text(text),
                Argument::Bytes(bytes) => pickle.bytes(bytes),
                Argument::Int(int) => pickle.int(*int),
            }
        }
        pickle.call();
        pickle.global("pyspark.sql.types", "_parse_datatype_json_string");
        pickle.arguments();
        pickle.text(self.returns);
        pickle.call();
        pickle.pair()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What Python makes of it, with names where functions are.
    const READER: &str = r#"
import io, json, pickle, sys
class Named:
    def __init__(self, name): self.name = name
    def __call__(self, *args): return [self.name, *args]
class Reader(pickle.Unpickler):
    def find_class(self, module, name): return Named(f"{module}|{name}")
def plain(it):
    return it.hex() if isinstance(it, bytes) else it.name
print(json.dumps(Reader(io.BytesIO(sys.stdin.buffer.read())).load(), default=plain))
"#;

    #[test]
    fn python_reads_what_is_pickled() {
        let python = std::env::var("CORDON_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let Ok(mut child) = Command::new(python).args(["-c", READER]).stdin(stdin).stdout(stdout).spawn() else {
            assert!(std::env::var_os("CORDON_TEST_NO_SKIP").is_none(), "no python");
            eprintln!("SKIPPED: python is not installed");
            return;
        };
        let function = PythonFunction {
            module: "a.b",
            name: "c\nos\nsystem",
            arguments: &[
                Argument::Text("Zoë \u{1f600} ’)R."),
                Argument::Bytes(&[0, 255, b'.']),
                Argument::Bytes(&[]),
                Argument::Int(i64::MIN),
                Argument::Int(-1),
                Argument::Int(i64::MAX),
            ],
            returns: r#"{"type":"struct","fields":[]}"#,
            python: "3.11",
        };
        child.stdin.take().unwrap().write_all(&function.pickled()).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        let called = serde_json::json!([
            "functools|partial",
            "a.b|c\nos\nsystem",
            "Zoë \u{1f600} ’)R.",
            "00ff2e",
            "",
            i64::MIN,
            -1,
            i64::MAX
        ]);
        let returns = serde_json::json!(["pyspark.sql.types|_parse_datatype_json_string", function.returns]);
        assert_eq!(told, serde_json::json!([called, returns]));
    }
}

//! What goes wrong, told in one line each: never a token, a plan or a traceback.

/// What went wrong with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SparkError {
    /// The connection string, or a file that it names.
    #[error("{message}")]
    Endpoint { message: String, help: String },
    /// What was given to be sent.
    #[error("{what}")]
    Input { what: String },
    #[error("the Spark Connect server cannot be reached: {how}")]
    Unreachable { how: String },
    #[error("the certificate of the Spark Connect server is not trusted: {how}")]
    NotTrusted { how: &'static str },
    #[error("the Spark Connect server does not let this client in")]
    Refused,
    /// Spark's own error: its class and the first line of its message.
    #[error("Spark: {what}")]
    Failed {
        what: String,
        /// The minor version of the executors' Python, where another one was told.
        python: Option<String>,
    },
    #[error("the work on Spark was cancelled")]
    Cancelled,
    #[error("the server does not answer as Spark Connect does: {what}")]
    Protocol { what: String },
}

impl SparkError {
    /// What to do next.
    pub fn help(&self) -> &str {
        match self {
            Self::Endpoint { help, .. } => help,
            Self::Input { .. } => "give what Spark can take: smaller batches, whole files, types of Spark",
            Self::Unreachable { .. } => {
                "see that the Spark Connect server runs, and that host, port and `use_ssl` are right"
            }
            Self::NotTrusted { .. } => {
                "name the certificate of the server's authority by `;ca_file=/path` in the address"
            }
            Self::Refused => "set SPARK_CONNECT_AUTHENTICATE_TOKEN to the server's `spark.connect.authenticate.token`",
            Self::Failed { .. } => "the whole error is in the log of the Spark Connect server and its executors",
            Self::Cancelled => "nothing more is done on the cluster; begin again when it suits",
            Self::Protocol { .. } => {
                "see that the address is that of a Spark Connect server (4.0 or later), not of another service"
            }
        }
    }

    pub(crate) fn unreachable(how: impl Into<String>) -> Self {
        Self::Unreachable { how: how.into() }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    pub(crate) fn input(what: impl Into<String>) -> Self {
        Self::Input { what: what.into() }
    }
}

/// The minor version of the executors' Python, "3.11", where Spark refused to run a function because another one was told.
pub fn worker_python(error: &SparkError) -> Option<String> {
    match error {
        SparkError::Failed { python, .. } => python.clone(),
        _ => None,
    }
}

/// What is said of versions in the whole of an error: `[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.11 than
/// that in driver: 3.9, …`, and in older releases `… version: (3, 11) than …` or without colons.
pub(crate) fn python_told(text: &str) -> Option<String> {
    let (_, after) = text.split_once("Python in worker has different version")?;
    let (of_worker, _) = after.split_once("than that in driver")?;
    let mut numbers = of_worker.split(|letter: char| !letter.is_ascii_digit()).filter(|number| !number.is_empty());
    let (major, minor) = (numbers.next()?, numbers.next()?);
    (major.len() <= 2 && minor.len() <= 3).then(|| format!("{major}.{minor}"))
}

/// Foreign text in one bounded line.
pub(crate) fn line(text: &str, most: usize) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let mut out: String = first.chars().filter(|letter| !letter.is_control()).take(most).collect();
    if first.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_however_a_release_spells_them() {
        for (text, version) in [
            (
                "X: [PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.11 than that in driver: 3.9, Py",
                "3.11",
            ),
            ("Python in worker has different version: (3, 12) than that in driver: 3.9, PySpark", "3.12"),
            ("Python in worker has different version 3.8 than that in driver 3.9, PySpark", "3.8"),
        ] {
            assert_eq!(python_told(text).as_deref(), Some(version), "{text}");
        }
        for text in ["", "Python in worker has different version: x than that in driver", "different version: 3.11"] {
            assert_eq!(python_told(text), None, "{text}");
        }
    }

    #[test]
    fn foreign_text_is_one_bounded_line() {
        assert_eq!(line("\n [A] b\u{1b}c \n'Project [x]", 100), "[A] bc");
        assert_eq!(line(&"é".repeat(9), 4), "éééé…");
    }
}

//! A standalone cluster: a master, two workers and a server of Spark Connect, each a JVM of its own, with authentication and
//! encryption between them and of what they write to their disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::servers::{Running, absent, free_port, python};

/// Known to all machines of the cluster.
const SECRET: &str = "a-secret-of-this-cluster-6b1f";

/// What its log says when it is there.
const CONNECT: &str = "Spark Connect server started at";

pub struct Cluster {
    pub remote: String,
    master: String,
    home: PathBuf,
    python: PathBuf,
    dir: tempfile::TempDir,
    /// The last one first to stop.
    running: Vec<Running>,
}

impl Cluster {
    /// `more`: lines of `spark-defaults.conf`.
    pub fn start(more: &str) -> Option<Self> {
        Self::start_by(Path::new(&python()), more)
    }

    /// By the PySpark that this Python has.
    pub fn start_by(python: &Path, more: &str) -> Option<Self> {
        let found = Command::new(python)
            .args(["-c", "import pyspark, os; print(os.path.dirname(pyspark.__file__))"])
            .output()
            .ok()
            .filter(|done| done.status.success());
        let Some(found) = found else { return absent("pyspark") };
        let home = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
        let dir = tempfile::tempdir().unwrap();
        for folder in ["conf", "events", "local", "work1", "work2", "logs", "tmp"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let at = |folder: &str| dir.path().join(folder).display().to_string();
        let settings = format!(
            "spark.authenticate true\nspark.authenticate.secret {SECRET}\nspark.network.crypto.enabled true\n\
             spark.network.crypto.authEngineVersion 2\nspark.network.crypto.saslFallback false\nspark.io.encryption.enabled true\n\
             spark.master.rest.enabled false\nspark.ui.enabled false\nspark.local.dir {local}\nspark.eventLog.enabled true\n\
             spark.eventLog.compress false\nspark.eventLog.dir file://{events}\nspark.driver.host 127.0.0.1\n\
             spark.driver.bindAddress 127.0.0.1\nspark.executor.memory 1g\nspark.executor.cores 1\n\
             spark.connect.grpc.binding.address 127.0.0.1\n{more}\n",
            local = at("local"),
            events = at("events"),
        );
        fs::write(dir.path().join("conf/spark-defaults.conf"), settings).unwrap();
        let python = python.to_owned();
        let mut cluster = Self { remote: String::new(), master: String::new(), home, python, dir, running: Vec::new() };
        let class = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--webui-port", "0", "--port"];
        let master = cluster.at_a_port("master", "Starting Spark master at", |cluster, port| {
            cluster.launch("spark-class", "master", &[&class[..], &[port]].concat());
        });
        let url = format!("spark://127.0.0.1:{master}");
        for number in ["1", "2"] {
            let work = cluster.dir.path().join(format!("work{number}")).display().to_string();
            let worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0"];
            let rest = ["--cores", "1", "--memory", "1g", "-d", &work, &url];
            cluster.launch("spark-class", &format!("worker{number}"), &[&worker[..], &rest].concat());
        }
        cluster.master = url;
        let connect = cluster.at_a_port("connect", CONNECT, |cluster, port| cluster.connect("connect", port));
        cluster.remote = format!("sc://127.0.0.1:{connect}");
        Some(cluster)
    }

    fn connect(&mut self, name: &str, port: &str) {
        let master = self.master.clone();
        let class = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", &master];
        let port = format!("spark.connect.grpc.binding.port={port}");
        self.launch("spark-submit", name, &[&class[..], &["--conf", &port, "spark-internal"]].concat());
    }

    /// Ends the server of Spark Connect, with all its sessions, and starts it anew where it was.
    pub fn restart(&mut self) {
        drop(self.running.remove(0));
        let port = self.remote.rsplit(':').next().unwrap().to_owned();
        self.connect("connect-again", &port);
        let log = self.dir.path().join("logs/connect-again");
        let begun = Instant::now();
        while !fs::read_to_string(&log).unwrap_or_default().contains(CONNECT) {
            assert!(begun.elapsed() < Duration::from_mins(2) && self.running[0].0.try_wait().unwrap().is_none());
            sleep(Duration::from_millis(100));
        }
    }

    /// Somebody may take a port between it was found free and taken. That something listens there says nothing: the log does.
    fn at_a_port(&mut self, name: &str, started: &str, launch: impl Fn(&mut Self, &str)) -> u16 {
        let log = self.dir.path().join("logs").join(name);
        for _ in 0..3 {
            let port = free_port();
            launch(self, &port.to_string());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_mins(2) && self.running[0].0.try_wait().unwrap().is_none() {
                if fs::read_to_string(&log).unwrap_or_default().contains(started) {
                    return port;
                }
                sleep(Duration::from_millis(100));
            }
            self.running.remove(0);
        }
        panic!("the cluster does not start");
    }

    fn launch(&mut self, program: &str, name: &str, args: &[&str]) {
        let log = fs::File::create(self.dir.path().join("logs").join(name)).unwrap();
        let child = Command::new(self.home.join("bin").join(program))
            .args(args)
            .env("SPARK_HOME", &self.home)
            .env("SPARK_CONF_DIR", self.dir.path().join("conf"))
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("PYSPARK_PYTHON", &self.python)
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("JAVA_TOOL_OPTIONS", format!("-Djava.io.tmpdir={}", self.dir.path().join("tmp").display()))
            .env("SPARK_DAEMON_MEMORY", "512m")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.insert(0, Running(child));
    }

    pub fn logs(&self) -> String {
        let logs = fs::read_dir(self.dir.path().join("logs")).unwrap().flatten();
        logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default()).collect()
    }

    /// Event logs, logs of all processes, what executors were sent, spill and shuffle: whatever it wrote.
    pub fn files(&self) -> &Path {
        self.dir.path()
    }

    /// Kills an executor with all that it is doing, as when a machine burns down, and says whether there was one.
    pub fn kill_an_executor(&self) -> bool {
        kill_one(&["CoarseGrainedExecutorBackend", &self.dir.path().display().to_string()])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.logs();
            eprintln!("{}", logs.get(logs.len().saturating_sub(8000)..).unwrap_or(&logs));
        }
    }
}

/// Kills one process whose command line holds all these words, and says whether there was one.
pub fn kill_one(words: &[&str]) -> bool {
    let killed = |id: &String| Command::new("kill").args(["-9", id]).status().unwrap().success();
    processes(words).first().is_some_and(killed)
}

pub fn processes(words: &[&str]) -> Vec<String> {
    let fits = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    };
    let found = fs::read_dir("/proc").unwrap().flatten().filter(fits);
    found.filter_map(|process| process.file_name().into_string().ok()).filter(|name| name != "self").collect()
}

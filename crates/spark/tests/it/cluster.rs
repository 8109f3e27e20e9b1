//! Spark's own Connect server with two executors in processes of their own, from the wheel of pyspark, stopped when dropped.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio_rustls::TlsAcceptor;

use crate::servers::{Pki, absent, free_port, python};

pub struct Cluster {
    child: Child,
    pub port: u16,
    /// "3.11"
    pub python: String,
    dir: TempDir,
}

impl Cluster {
    pub fn start(settings: &[&str]) -> Option<Self> {
        let ask = "import os, sys, pyspark; print(os.path.dirname(pyspark.__file__), '%d.%d' % sys.version_info[:2])";
        let asked = Command::new(python()).args(["-c", ask]).output().ok().filter(|done| done.status.success());
        let Some(asked) = asked else { return absent("a Python with pyspark") };
        if Command::new("java").arg("-version").output().is_err() {
            return absent("java");
        }
        let told = String::from_utf8(asked.stdout).unwrap();
        let (home, version) = told.trim().rsplit_once(' ').unwrap();
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let log = dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let home = home_in(dir.path(), Path::new(home));
        let mut command = Command::new(home.join("bin/spark-submit"));
        command
            .args(["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"])
            .args(["--master", "local-cluster[2,1,1024]"])
            .args(["--conf", "spark.ui.enabled=false"])
            .args(["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"])
            .args(["--conf", "spark.connect.grpc.binding.address=127.0.0.1"])
            .args(["--conf", &format!("spark.connect.grpc.binding.port={port}")]);
        for setting in settings {
            command.args(["--conf", setting]);
        }
        let child = command
            .arg("spark-internal")
            .env("SPARK_HOME", &home)
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("PYSPARK_PYTHON", python())
            .env("SPARK_LOCAL_DIRS", dir.path())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut cluster = Self { child, port, python: version.to_owned(), dir };
        let end = Instant::now() + Duration::from_mins(2);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = cluster.child.try_wait().unwrap();
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", said());
            sleep(Duration::from_millis(100));
        }
        Some(cluster)
    }

    pub fn address(&self) -> String {
        format!("sc://127.0.0.1:{}", self.port)
    }

    /// To the server itself; its executors notice.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill {name} {pid}")]).status().unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = self.child.id();
        if thread::panicking() {
            let said = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let last: Vec<_> = said.lines().rev().take(40).collect();
            eprintln!("{:?}, after\n{}", self.child.try_wait(), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        // It ends its executors itself, if it is let.
        let _ = Command::new("sh").args(["-c", &format!("kill -CONT {pid}; kill -TERM {pid}")]).output();
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Executors work in a folder of Spark's home, which is to be as it was: a home of links.
fn home_in(dir: &Path, home: &Path) -> PathBuf {
    let linked = dir.join("home");
    fs::create_dir(&linked).unwrap();
    for entry in fs::read_dir(home).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "work") {
        symlink(entry.path(), linked.join(entry.file_name())).unwrap();
    }
    linked
}

/// Stands before a port of this machine with TLS, until the test ends.
pub fn behind_tls(pki: &Pki, to: u16) -> u16 {
    let certificate = CertificateDer::from_pem_file(pki.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    // That the certificate is one at all shows here and not in a test.
    ServerConnection::new(Arc::new(config.clone())).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listening(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut behind = tokio::net::TcpStream::connect(("127.0.0.1", to)).await?;
            copy_bidirectional(&mut stream, &mut behind).await.map(|_| ())
        }
    })
}

/// A port of this machine, and what is done with each connection to it.
pub fn listening<F>(with: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(with(stream));
            }
        });
    });
    port
}

//! HDFS with Kerberos, RPC privacy and encrypted data transfer: a realm, a name node and a data node of this machine, in a folder that
//! goes with them.
//!
//! The client reads the environment of its process, so what asks the cluster runs in a process of its own: the test program once more,
//! with the name of a step.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use cordon_storage::{Location, Store, StoreSettings};
use hdfs_native::{Client, ClientBuilder};

pub const REALM: &str = "TEST.CLINIC";
/// What a step is told.
pub const STEP: &str = "CORDON_TEST_HDFS_STEP";
pub const FOLDER: &str = "CORDON_TEST_HDFS_FOLDER";
pub const AUTHORITY: &str = "CORDON_TEST_HDFS_AUTHORITY";
const MASTER: &str = "CANARYmaster";
/// Debian's, which Java's own no longer has.
const SYSTEM_JARS: [&str; 13] = [
    "asm",
    "commons-daemon",
    "istack-commons-runtime",
    "javax.activation",
    "jaxb-api",
    "jaxb-core",
    "jaxb-runtime",
    "jersey1-core",
    "jersey1-json",
    "jersey1-server",
    "jersey1-servlet",
    "jsr311-api",
    "txw2",
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Hdfs {
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    classes: String,
    name_node: Option<Running>,
    data_node: Option<Running>,
    centre: Option<Running>,
}

fn absent(what: &str) -> Option<Hdfs> {
    assert!(std::env::var_os("CORDON_TEST_NO_SKIP").is_none(), "{what} is not installed");
    eprintln!("skipped: {what} is not installed; `cargo xtask test` installs it");
    None
}

/// Beside the Python of the tests, where `cargo xtask test` puts it.
fn jars() -> Option<PathBuf> {
    let python = std::env::var_os("CORDON_TEST_PYTHON").map(PathBuf::from)?;
    let jars = python.ancestors().nth(3)?.join("test-hadoop");
    jars.join("hadoop-hdfs-2.7.3.jar").is_file().then_some(jars)
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn xml(properties: &[(&str, String)]) -> String {
    let property =
        |(name, value): &(&str, String)| format!("<property><name>{name}</name><value>{value}</value></property>\n");
    format!("<configuration>\n{}</configuration>\n", properties.iter().map(property).collect::<Vec<_>>().concat())
}

impl Hdfs {
    pub fn start() -> Option<Self> {
        let Some(jars) = jars() else { return absent("Hadoop (pyspark 2.4.8's)") };
        let programs = ["java", "krb5kdc", "kdb5_util", "kadmin.local", "kinit", "keytool"];
        let missing = programs
            .into_iter()
            .find(|program| !["/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(program).exists()));
        if let Some(program) = missing {
            return absent(program);
        }
        let system = SYSTEM_JARS.map(|name| format!("/usr/share/java/{name}.jar"));
        if let Some(jar) = system.iter().find(|jar| !Path::new(jar).exists()) {
            return absent(jar);
        }
        let dir = tempfile::tempdir().unwrap();
        let classes = format!("{}/conf:{}:{}/*", dir.path().display(), system.join(":"), jars.display());
        let ports = free_ports(7);
        let mut hdfs = Self { dir, ports, classes, name_node: None, data_node: None, centre: None };
        hdfs.realm();
        hdfs.configure("privacy");
        hdfs.java("org.apache.hadoop.hdfs.server.namenode.NameNode", &["-format", "-nonInteractive"], "format")
            .0
            .wait()
            .unwrap();
        hdfs.start_name_node();
        hdfs.start_data_node();
        Some(hdfs)
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Of all its servers.
    pub fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    /// Of the name node.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    /// By the keytab of a principal, and with no ticket of whoever runs the tests.
    pub fn keytab(&self, name: &str) -> Vec<(&'static str, String)> {
        vec![
            ("KRB5_CONFIG", self.path("krb5.conf")),
            ("KRB5_CLIENT_KTNAME", format!("FILE:{}", self.path(&format!("{name}.keytab")))),
            ("KRB5CCNAME", format!("FILE:{}", self.path(&format!("{name}.cache")))),
        ]
    }

    /// By a ticket only, which need not be there.
    pub fn cache(&self, name: &str) -> Vec<(&'static str, String)> {
        vec![
            ("KRB5_CONFIG", self.path("krb5.conf")),
            ("KRB5_CLIENT_KTNAME", self.path("none")),
            ("KRB5CCNAME", format!("FILE:{}", self.path(name))),
        ]
    }

    /// Runs the ignored `test` of this program, which does what the name of the step says.
    pub fn step(&self, test: &str, name: &str, env: &[(&'static str, String)]) {
        let started = std::time::Instant::now();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(STEP, name)
            .env(FOLDER, self.path(""))
            .env(AUTHORITY, self.authority())
            .env_remove("HADOOP_CONF_DIR")
            .envs(env.iter().map(|(name, value)| (*name, value.as_str())));
        let said = again.output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{name}: {text}");
        assert!(text.contains("1 passed"), "{name}: {text}");
        eprintln!("{name}: {:.1} s", started.elapsed().as_secs_f32());
    }

    fn run(&self, program: &str, args: &[&str]) {
        let made = Command::new(program)
            .args(args)
            .env("KRB5_CONFIG", self.path("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.path("kdc.conf"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
    }

    pub fn kadmin(&self, query: &str) {
        self.run("kadmin.local", &["-r", REALM, "-q", query]);
    }

    /// A ticket for some seconds.
    pub fn ticket(&self, name: &str, cache: &str, life: &str) {
        let (keytab, cache) = (self.path(&format!("{name}.keytab")), self.path(cache));
        self.run("kinit", &["-l", life, "-k", "-t", &keytab, "-c", &cache, name]);
    }

    fn realm(&mut self) {
        let (port, dir) = (self.ports[0], self.dir.path().display().to_string());
        let krb5 = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n dns_canonicalize_hostname = false\n \
             rdns = false\n udp_preference_limit = 1\n permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96\n\
             [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n 127.0.0.1 = {REALM}\n"
        );
        let kdc = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n  \
             database_name = {dir}/principal\n  key_stash_file = {dir}/stash\n  max_life = 10h\n  \
             supported_enctypes = aes256-cts:normal aes128-cts:normal\n }}\n[logging]\n kdc = FILE:{dir}/kdc.log\n"
        );
        fs::write(self.path("krb5.conf"), krb5).unwrap();
        fs::write(self.path("kdc.conf"), kdc).unwrap();
        self.run("kdb5_util", &["-r", REALM, "create", "-s", "-P", MASTER]);
        let principals = ["nn/localhost", "dn/localhost", "HTTP/localhost", "admin", "clinic", "reader"];
        for principal in principals {
            self.kadmin(&format!("addprinc -randkey {principal}"));
            let keytab = if principal.contains('/') { "services" } else { principal };
            self.kadmin(&format!("ktadd -k {dir}/{keytab}.keytab {principal}"));
        }
        // One whose key was changed since.
        self.kadmin(&format!("ktadd -k {dir}/old.keytab clinic"));
        self.kadmin(&format!("ktadd -k {dir}/clinic.keytab clinic"));
        let log = fs::File::create(self.path("centre")).unwrap();
        let centre = Command::new("/usr/sbin/krb5kdc")
            .args(["-n", "-r", REALM])
            .env("KRB5_CONFIG", self.path("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.path("kdc.conf"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.centre = Some(Running(centre));
        assert!(wait(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "{}", self.log("centre"));
    }

    /// The folder `conf` for the servers, `client` for who asks.
    pub fn configure(&self, protection: &str) {
        let (dir, ports) = (self.dir.path().display(), &self.ports);
        let at = |port: usize| format!("127.0.0.1:{}", ports[port]);
        let rules =
            ["2:$1@$0](nn@.*)", "2:$1@$0](dn@.*)", "1:$1@$0](admin@.*)"].map(|rule| format!("RULE:[{rule}s/.*/root/"));
        let core = |protection: &str| {
            vec![
                ("fs.defaultFS", format!("hdfs://localhost:{}", ports[1])),
                ("hadoop.tmp.dir", format!("{dir}/tmp")),
                ("hadoop.security.authentication", "kerberos".to_owned()),
                ("hadoop.security.authorization", "true".to_owned()),
                ("hadoop.rpc.protection", protection.to_owned()),
                ("hadoop.security.auth_to_local", format!("{} DEFAULT", rules.join(" "))),
            ]
        };
        let principal = |name: &str| format!("{name}/localhost@{REALM}");
        let keytab = format!("{dir}/services.keytab");
        let both = vec![
            ("dfs.replication", "1".to_owned()),
            ("dfs.encrypt.data.transfer", "true".to_owned()),
            ("dfs.encrypt.data.transfer.cipher.suites", "AES/CTR/NoPadding".to_owned()),
            ("dfs.data.transfer.protection", "privacy".to_owned()),
            ("dfs.namenode.kerberos.principal", principal("nn")),
        ];
        let mut site = both.clone();
        site.extend([
            ("dfs.namenode.name.dir", format!("file://{dir}/name")),
            ("dfs.datanode.data.dir", format!("file://{dir}/data")),
            ("dfs.namenode.http-address", at(2)),
            ("dfs.namenode.https-address", format!("localhost:{}", ports[3])),
            ("dfs.datanode.address", at(4)),
            ("dfs.datanode.ipc.address", at(5)),
            ("dfs.datanode.https.address", at(6)),
            ("dfs.datanode.hostname", "localhost".to_owned()),
            ("dfs.http.policy", "HTTPS_ONLY".to_owned()),
            ("dfs.block.access.token.enable", "true".to_owned()),
            ("dfs.namenode.keytab.file", keytab.clone()),
            ("dfs.datanode.kerberos.principal", principal("dn")),
            ("dfs.datanode.keytab.file", keytab.clone()),
            ("dfs.web.authentication.kerberos.principal", principal("HTTP")),
            ("dfs.web.authentication.kerberos.keytab", keytab),
            ("dfs.namenode.kerberos.internal.spnego.principal", principal("HTTP")),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".to_owned()),
            // So that it leaves safe mode as soon as the blocks are there.
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.heartbeat.interval", "1".to_owned()),
        ]);
        for (folder, core, site) in [("conf", core(protection), site), ("client", core("privacy"), both)] {
            fs::create_dir_all(self.path(folder)).unwrap();
            fs::write(self.path(&format!("{folder}/core-site.xml")), xml(&core)).unwrap();
            fs::write(self.path(&format!("{folder}/hdfs-site.xml")), xml(&site)).unwrap();
        }
        // Pages that the servers want to show.
        for pages in ["hdfs", "datanode", "static"] {
            let folder = self.path(&format!("conf/webapps/{pages}/WEB-INF"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(format!("{folder}/web.xml"), "<web-app/>").unwrap();
        }
        let store = self.path("keys.jks");
        if !Path::new(&store).exists() {
            self.run(
                "keytool",
                &[
                    "-genkeypair",
                    "-alias",
                    "a",
                    "-keyalg",
                    "RSA",
                    "-keystore",
                    &store,
                    "-storepass",
                    "changeit",
                    "-keypass",
                    "changeit",
                    "-dname",
                    "CN=localhost",
                    "-storetype",
                    "JKS",
                ],
            );
        }
        let ssl = [
            ("ssl.server.keystore.location", store),
            ("ssl.server.keystore.password", "changeit".to_owned()),
            ("ssl.server.keystore.keypassword", "changeit".to_owned()),
        ];
        fs::write(self.path("conf/ssl-server.xml"), xml(&ssl)).unwrap();
        let log = "log4j.rootLogger=INFO,A\nlog4j.appender.A=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.A.layout=org.apache.log4j.PatternLayout\nlog4j.appender.A.layout.ConversionPattern=%d %p %c{2}: %m%n\n";
        fs::write(self.path("conf/log4j.properties"), log).unwrap();
    }

    fn java(&self, class: &str, args: &[&str], log: &str) -> Running {
        let file = fs::File::options().create(true).append(true).open(self.path(log)).unwrap();
        // What Hadoop of its time reaches into, and Java has closed since.
        let opened = [
            "java.base/java.lang",
            "java.base/java.io",
            "java.base/java.net",
            "java.base/java.nio",
            "java.base/java.util",
            "java.base/sun.nio.ch",
            "java.base/sun.security.util",
            "java.security.jgss/sun.security.krb5",
        ];
        let exported = [
            "java.security.jgss/sun.security.jgss",
            "java.security.jgss/sun.security.jgss.krb5",
            "java.security.jgss/sun.security.krb5",
        ];
        let mut java = Command::new("java");
        for package in opened {
            java.arg("--add-opens").arg(format!("{package}=ALL-UNNAMED"));
        }
        for package in exported {
            java.arg("--add-exports").arg(format!("{package}=ALL-UNNAMED"));
        }
        java.arg(format!("-Djava.security.krb5.conf={}", self.path("krb5.conf")))
            .args([
                "-Djava.net.preferIPv4Stack=true",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
                "-Xmx256m",
            ])
            .arg(format!("-Dhadoop.log.dir={}", self.dir.path().display()))
            .arg("-cp")
            .arg(&self.classes)
            .arg(class)
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Running(java.spawn().unwrap())
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn start_name_node(&mut self) {
        let mut java = self.java("org.apache.hadoop.hdfs.server.namenode.NameNode", &[], "name.log");
        let port = self.ports[1];
        let mut listens = false;
        wait(|| {
            listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            listens || java.0.try_wait().unwrap().is_some()
        });
        assert!(listens, "{}\n{}", self.log("format"), self.log("name.log"));
        self.name_node = Some(java);
    }

    pub fn start_data_node(&mut self) {
        let known = |log: &str| log.matches("registerDatanode: from").count();
        let before = known(&self.log("name.log"));
        self.data_node = Some(self.java("org.apache.hadoop.hdfs.server.datanode.DataNode", &[], "data.log"));
        let registered = (0..1200).any(|_| {
            sleep(Duration::from_millis(100));
            known(&self.log("name.log")) > before
        });
        assert!(registered, "{}\n{}", self.log("name.log"), self.log("data.log"));
    }

    pub fn stop_name_node(&mut self) {
        self.name_node = None;
    }

    pub fn stop_data_node(&mut self) {
        self.data_node = None;
    }

    pub fn stop_centre(&mut self) {
        self.centre = None;
    }
}

/// In a step: a folder of the cluster.
pub fn store(prefix: &str, patience: u64) -> Store {
    let (folder, authority) = (std::env::var(FOLDER).unwrap(), std::env::var(AUTHORITY).unwrap());
    let settings = StoreSettings {
        config_dir: Some("client".to_owned()),
        retry_seconds: Some(patience),
        ..StoreSettings::default()
    };
    let location = Location::parse(&format!("hdfs://{authority}/{prefix}")).unwrap();
    Store::open(&location, &settings, Path::new(&folder)).unwrap()
}

/// In a step: a folder that belongs to the clinic, made by whoever may do that.
pub fn prepare() {
    ask(async |client| {
        client.mkdirs("/clinic", 0o755, true).await.unwrap();
        client.set_owner("/clinic", Some("clinic"), Some("clinic")).await.unwrap();
    });
}

/// In a step: whoever may log in may read these.
pub fn open_to_all(paths: &[String]) {
    ask(async |client| {
        for path in paths {
            client.set_permission(path, 0o755).await.unwrap();
        }
    });
}

fn ask(what: impl AsyncFnOnce(&Client)) {
    let settings = [("hadoop.security.authentication", "kerberos"), ("dfs.data.transfer.protection", "privacy")];
    let authority = std::env::var(AUTHORITY).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = ClientBuilder::new().with_url(format!("hdfs://{authority}")).with_config(settings).build();
        what(&client.unwrap()).await;
    });
}

fn wait(mut is_ready: impl FnMut() -> bool) -> bool {
    (0..1200).any(|_| {
        sleep(Duration::from_millis(50));
        is_ready()
    })
}

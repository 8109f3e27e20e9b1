//! What somebody sees who listens on the network or reads the stores' disks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Azure, Clinic, S3, SOURCES};
use crate::keystores::transit;
use crate::postgres_server::{Server, is_installed};
use crate::servers::{Bao, Pki, absent, free_port};
use crate::support::collect;
use crate::written;

/// Listens on loopback until it is dropped.
pub struct Capture(Child);

impl Capture {
    /// `None`, said aloud, where that may not be done here.
    /// To and from these ports only: others' tests run on this machine too. All ports where none is named.
    pub fn start(to: &Path, ports: &[u16]) -> Option<Self> {
        if Command::new("tcpdump").arg("--version").output().is_err() {
            return absent("tcpdump");
        }
        let filter: Vec<String> = ports.iter().map(|port| format!("tcp port {port}")).collect();
        let child = Command::new("tcpdump")
            .args(["-i", "lo", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w"])
            .arg(to)
            .arg(if ports.is_empty() { "tcp".to_owned() } else { filter.join(" or ") })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut capture = Self(child);
        let began = Instant::now();
        // It writes the head of the file when it listens.
        while fs::metadata(to).map_or(0, |file| file.len()) < 24 {
            if capture.0.try_wait().unwrap().is_some() || began.elapsed() > Duration::from_secs(10) {
                let mut why = String::new();
                let _ = capture.0.kill();
                let _ = capture.0.stderr.take().unwrap().read_to_string(&mut why);
                eprintln!("skipped: the network cannot be captured here (CAP_NET_RAW): {}", why.trim());
                return None;
            }
            sleep(Duration::from_millis(20));
        }
        Some(capture)
    }

    /// Ends it, and nothing was missed.
    pub fn stop(mut self) {
        // The kernel hands over what it has at least once a second.
        sleep(Duration::from_millis(2500));
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        self.0.wait().unwrap();
        let mut told = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains("0 packets dropped by kernel"), "{told}");
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn name(i: usize) -> String {
    // No two share a word, and none is a word of a protocol.
    format!("Zq{i:05}x Wv{i:05}y")
}

pub fn mrn(i: usize) -> String {
    format!("MQZ-{i:05}-7")
}

fn ssn(i: usize) -> String {
    format!("{:03}-{:02}-{:04}", 101 + i % 500, 11 + i % 80, 1000 + i)
}

/// Each identifier as it is, in hexadecimal, and in base64 at each of the three places where it can begin.
pub fn needles(rows: usize) -> BTreeSet<Vec<u8>> {
    (0..rows).flat_map(|i| [name(i), mrn(i), ssn(i)]).flat_map(|text| of_text(&text).collect::<Vec<_>>()).collect()
}

pub fn of_text(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let hex = [data_encoding::HEXLOWER.encode(text.as_bytes()), data_encoding::HEXUPPER.encode(text.as_bytes())];
    let base64 = (0..3).map(|shift| {
        let padded = [vec![b'.'; shift], text.as_bytes().to_vec()].concat();
        let encoded = data_encoding::BASE64_NOPAD.encode(&padded).into_bytes();
        // The characters at both ends hold bits of what stands around the identifier.
        encoded[(shift * 8).div_ceil(6)..encoded.len() - 1].to_vec()
    });
    let plain = [text.to_owned()].into_iter().chain(hex).map(String::into_bytes);
    plain.chain(base64.collect::<Vec<_>>())
}

/// Finds any of some words.
pub struct Look {
    words: Vec<Vec<u8>>,
    finder: aho_corasick::AhoCorasick,
}

impl Look {
    pub fn for_any(words: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let words: Vec<Vec<u8>> = words.into_iter().collect();
        Self { finder: aho_corasick::AhoCorasick::builder().build(&words).unwrap(), words }
    }

    pub fn found(&self, bytes: &[u8]) -> BTreeSet<String> {
        let hits = self.finder.find_overlapping_iter(bytes);
        hits.map(|hit| String::from_utf8_lossy(&self.words[hit.pattern().as_usize()]).into_owned()).collect()
    }
}

/// A request without TLS, with these words in it.
fn say_in_clear(words: &str, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(format!("GET /?q={words} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    drop(client);
    let mut got = String::new();
    server.read_to_string(&mut got).unwrap();
    assert!(got.contains(words));
}

/// Somebody who is no patient, in clear and in base64, on the network.
pub fn speak(number: usize, port: u16) {
    for around in ["", ".", ".."] {
        let base64 = data_encoding::BASE64_NOPAD.encode(format!("{around}{}{around}.", name(number)).as_bytes());
        say_in_clear(&base64, port);
    }
    say_in_clear(&name(number).replace(' ', "+"), port);
}

/// That who spoke is heard in a capture: the same look would find a patient.
pub fn is_heard(number: usize, capture: &[u8]) {
    let text = Look::for_any([name(number).replace(' ', "+").into_bytes()]);
    assert_eq!(text.found(capture).len(), 1, "what is said in clear is seen");
    let base64 = Look::for_any(of_text(&name(number)));
    assert_eq!(base64.found(capture).len(), 3, "and in base64, wherever it begins");
}

/// That none of some words stands in a file of these folders. Says how many bytes that were.
pub fn none_in(look: &Look, folders: &[&Path]) -> usize {
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, &mut files);
    }
    let mut bytes = 0;
    for file in files {
        // Some go while their server is at work.
        let content = fs::read(&file).unwrap_or_default();
        bytes += content.len();
        assert_eq!(look.found(&content), BTreeSet::new(), "{}", file.display());
    }
    bytes
}

/// As [`found_in`], and in what is packed within the files: SeaweedFS packs text.
fn found_packed(look: &Look, folder: &Path) -> usize {
    let (mut files, mut found) = (Vec::new(), BTreeSet::new());
    collect(folder, &mut files);
    let gzip = aho_corasick::AhoCorasick::new([[0x1f, 0x8b, 8]]).unwrap();
    for bytes in files.iter().filter_map(|file| fs::read(file).ok()) {
        found.extend(look.found(&bytes));
        for hit in gzip.find_iter(&bytes) {
            let mut unpacked = Vec::new();
            // Up to where it is no gzip any more.
            let _ = flate2::read::GzDecoder::new(&bytes[hit.start()..]).read_to_end(&mut unpacked);
            found.extend(look.found(&unpacked));
        }
    }
    found.len()
}

/// How many of some words stand in files of a folder.
pub fn found_in(look: &Look, folder: &Path) -> usize {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.iter().flat_map(|file| look.found(&fs::read(file).unwrap_or_default())).collect::<BTreeSet<_>>().len()
}

#[test]
fn nothing_of_a_patient_is_on_the_wire_or_on_the_disks_of_stores_and_database() {
    const ROWS: usize = 3000;
    const SPOKEN: usize = 99_990;
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let (Some(s3), Some(azure), Some(bao)) = (S3::start(&pki), Azure::start(&pki), Bao::start()) else { return };
    if !is_installed() {
        return;
    }
    let db = Server::start();
    let (file, spoken) = (scratch.path().join("capture.pcap"), free_port());
    let ports = [s3.ports[6], azure.port, bao.port(), db.port, spoken];
    let Some(capture) = Capture::start(&file, &ports) else { return };
    speak(SPOKEN, spoken);

    // The source goes up by TLS too, and comes from there.
    let rows: String = (0..ROWS).map(|i| format!("{},{},{},1950-01-02,E11.9\n", mrn(i), name(i), ssn(i))).collect();
    s3.put("in/a.csv", format!("mrn,name,ssn,born,code\n{rows}").as_bytes());
    // With an identity, so that the database holds what is known of each person too.
    let sources = SOURCES.replace(" }", ", identity: { mrn: patient, ssn: ssn } }");
    let mut clinic = Clinic::new("az://tables/clinic", &(s3.yaml(3) + &azure.yaml()), &sources);
    let policy = clinic.folder.read("policies/test.yaml");
    let policy = policy.replace("      born:", "      ssn: { kind: ssn, action: token, domain: ssn }\n      born:");
    clinic.folder.write("policies/test.yaml", policy);
    clinic.token.clone_from(&bao.root_token);
    clinic.keys_in(&transit(&bao, "cordon"));
    clinic.vault_in(&db, 10);
    assert_eq!(clinic.run(0)["rows_out"], ROWS);
    assert_eq!(clinic.count("SELECT count(DISTINCT ssn) FROM visits"), ROWS as i64);
    // Each number as it is written and as it is compared.
    assert_eq!(clinic.tokens(), [("patient".to_owned(), 2 * ROWS), ("ssn".to_owned(), 2 * ROWS)]);
    clinic.cordon(&["vault", "verify"]).ok();
    speak(SPOKEN + 1, spoken);
    capture.stop();

    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > rows.len(), "the run is in the capture: {} bytes", bytes.len());
    is_heard(SPOKEN, &bytes);
    is_heard(SPOKEN + 1, &bytes);
    let planted = Look::for_any(needles(ROWS));
    assert_eq!(planted.found(&bytes), BTreeSet::new());
    // Credentials and the key store's token neither.
    for secret in [super::ADMIN.1, super::ACCOUNT.1, &bao.root_token, "owner-pw"] {
        assert_eq!(Look::for_any([secret.as_bytes().to_vec()]).found(&bytes), BTreeSet::new());
    }

    // What the database says of it, its files and its write-ahead log; somebody who was put there in clear is found in both.
    let make = format!("CREATE TABLE public.control AS SELECT '{}' AS name, '{}' AS number", name(SPOKEN), mrn(SPOKEN));
    db.admin("vault", &make);
    let control = Look::for_any([name(SPOKEN).into_bytes(), mrn(SPOKEN).into_bytes()]);
    let dump = db.dump();
    assert_eq!((control.found(&dump).len(), planted.found(&dump)), (2, BTreeSet::new()));
    db.down("fast");
    let rows_and_log = none_in(&planted, &[&db.data()]);
    assert!(rows_and_log > 2 * ROWS * 100, "{rows_and_log}");
    assert_eq!(found_in(&control, &db.data().join("base")), 2);
    assert_eq!(found_in(&control, &db.data().join("pg_wal")), 2);

    // The tables' store and all that the project keeps.
    clinic.folder.write("control", mrn(SPOKEN));
    let stored = none_in(&planted, &[azure.dir.path(), &clinic.folder.path(), bao.dir.path()]);
    assert!(stored > 100_000, "{stored}");
    assert_eq!(found_in(&control, &clinic.folder.path()), 1);
    // The other store holds the source as the hospital put it there, until that is removed: of the run it keeps nothing.
    assert_eq!(found_packed(&planted, s3.dir.path()), 3 * ROWS, "the same look finds what is in clear");
    s3.store_as(super::ADMIN, "lake").remove("in/a.csv").unwrap();
    let removed = Instant::now();
    while found_packed(&planted, s3.dir.path()) > 0 {
        assert!(removed.elapsed() < Duration::from_mins(1), "what was removed is still on the disk");
        s3.vacuum();
        sleep(Duration::from_secs(1));
    }
    let tables = azure.store("tables");
    assert!(written::of_store(&tables, "clinic") > 1);
}

//! Stand-ins for services that cannot be had here: they check requests against the documented interface.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A form's fields, unescaped.
    pub fn form(&self) -> BTreeMap<String, String> {
        let fields = self.body.split('&').filter_map(|field| field.split_once('='));
        fields.map(|(name, value)| (unescape(name), unescape(value))).collect()
    }
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}

/// Answers with status and body, at a port that is chosen already or free (0), until the test's process ends.
pub fn serve(port: u16, answer: impl Fn(&Request) -> (u16, String) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                continue;
            }
            let mut words = line.split_whitespace().map(str::to_owned);
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = Request { method, path, headers, body: String::from_utf8(body).unwrap() };
            let (status, text) = answer(&request);
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
        }
    });
    port
}

/// Runs a test again in a process with other variables, and says whether this is that process. Credentials are looked for in the
/// environment, which a test cannot change for itself.
pub fn again_with(name: &str, variables: &[(&str, String)]) -> bool {
    if std::env::var_os("CORDON_TEST_AGAIN").is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env("CORDON_TEST_AGAIN", "1");
    for (variable, _) in std::env::vars_os() {
        let shown = variable.to_string_lossy();
        if ["AWS_", "AZURE_", "GOOGLE_", "GCE_", "IDENTITY_"].iter().any(|prefix| shown.starts_with(prefix)) {
            command.env_remove(&variable);
        }
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

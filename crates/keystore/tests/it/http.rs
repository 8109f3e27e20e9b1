//! Servers that misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};

use crate::servers::private_file;

/// Answers each connection with what the function says, which gets its number; nothing means silence.
fn serve(answer: impl Fn(usize) -> Option<Vec<u8>> + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        let mut silent: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            match answer(count.fetch_add(1, Ordering::SeqCst)) {
                Some(bytes) => drop(stream.write_all(&bytes)),
                None => silent.push(stream),
            }
        }
    });
    (port, asked)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn transit(port: u16) -> (tempfile::TempDir, Arc<dyn KeyStore>) {
    let dir = tempfile::tempdir().unwrap();
    private_file(&dir.path().join("token"), "s.canary-token-7319");
    let config = serde_json::json!({ "transit": {
        "address": format!("http://127.0.0.1:{port}"), "key": "cordon", "auth": { "token-file": "token" },
        "timeout-seconds": 2,
    }});
    let config: StoreConfig = serde_json::from_value(config).unwrap();
    let store = open(&config, dir.path()).unwrap();
    (dir, store)
}

fn trouble(port: u16) -> (Trouble, Duration) {
    let start = Instant::now();
    let error = transit(port).1.unwrap("vault:v1:AAAA", "00").err().unwrap();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("canary"), "{said}");
    (error.trouble, start.elapsed())
}

#[test]
fn a_server_that_says_nothing_is_slow() {
    let (port, asked) = serve(|_| None);
    let (said, took) = trouble(port);
    assert_eq!(said, Trouble::Slow { seconds: 2 });
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn nobody_there_is_down() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (said, took) = trouble(port);
    assert_eq!(said, Trouble::Down { how: "connection refused" });
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn what_passes_is_asked_again_and_what_does_not_is_not() {
    let busy = |status: &'static str| {
        let key = data_encoding::BASE64.encode(&[5; 32]);
        let body = format!(r#"{{"data":{{"plaintext":"{key}"}}}}"#);
        serve(move |number| Some(if number < 2 { answer(status, "canary") } else { answer("200 OK", &body) }))
    };
    for status in ["429 Too Many Requests", "500 Internal Server Error", "502 Bad Gateway", "503 Unavailable"] {
        let (port, asked) = busy(status);
        assert_eq!(*transit(port).1.unwrap("vault:v1:AAAA", "00").unwrap(), [5; 32], "{status}");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
    let (port, asked) = serve(|_| Some(answer("400 Bad Request", r#"{"errors":["canary value"]}"#)));
    assert!(matches!(trouble(port).0, Trouble::Refused { .. }));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (port, _) = serve(|_| Some(answer("500 Internal Server Error", "canary")));
    let (said, took) = trouble(port);
    assert_eq!(said, Trouble::Broken { status: 500 });
    assert!(took < Duration::from_secs(3), "{took:?}");
    let (port, _) = serve(|_| Some(answer("429 Too Many", "canary")));
    assert_eq!(trouble(port).0, Trouble::Throttled { seconds: 2 });
}

#[test]
fn a_redirect_is_not_followed() {
    let (elsewhere, asked) = serve(|_| Some(answer("200 OK", "{}")));
    let there =
        format!("HTTP/1.1 307 Temporary\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let (port, _) = serve(move |_| Some(there.clone().into_bytes()));
    assert_eq!(trouble(port).0, Trouble::Redirected { status: 307 });
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn answers_of_something_else_are_refused_and_bounded() {
    let key = data_encoding::BASE64.encode(&[5; 31]);
    for body in ["", "{", "[]", r#"{"data":{"plaintext":7}}"#, "<html>canary</html>"] {
        let (port, _) = serve(move |_| Some(answer("200 OK", body)));
        assert!(matches!(trouble(port).0, Trouble::Answer { .. }), "{body}");
    }
    let (port, _) = serve(move |_| Some(answer("200 OK", &format!(r#"{{"data":{{"plaintext":"{key}"}}}}"#))));
    assert_eq!(trouble(port).0, Trouble::WrongKey);
    let (port, _) = serve(|_| Some(answer("200 OK", &"canary ".repeat(1 << 20))));
    assert_eq!(trouble(port).0, Trouble::Answer { what: "it is far too long" });
    let (port, _) = serve(|_| Some(b"canary\r\n\r\n".to_vec()));
    assert!(matches!(trouble(port).0, Trouble::Answer { .. } | Trouble::Down { .. }));
    // Cut off in its middle.
    let (port, _) = serve(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":".to_vec()));
    assert!(matches!(trouble(port).0, Trouble::Answer { .. } | Trouble::Down { .. }));
}

#[test]
fn addresses_that_would_send_a_key_in_clear_are_refused() {
    for (address, fine) in [
        ("https://bao.example", true),
        ("https://bao.example:8200/below", true),
        ("http://localhost:8200", true),
        ("http://127.1.2.3:8200", true),
        ("http://[::1]:8200", true),
        ("http://bao.example", false),
        ("http://10.0.0.7:8200", false),
        ("http://localhost.example", false),
        ("http://127.0.0.1.example", false),
        ("ftp://bao.example", false),
        ("bao.example", false),
        ("https://canary:canary@bao.example", false),
        ("https://bao.example/?canary", false),
        ("https://", false),
        ("", false),
    ] {
        let config = serde_json::json!({ "transit": { "address": address, "key": "k" } });
        let config: StoreConfig = serde_json::from_value(config).unwrap();
        let opened = open(&config, Path::new("/"));
        assert_eq!(opened.is_ok(), fine, "{address}: {:?}", opened.err().map(|error| error.to_string()));
    }
    for key in ["", "a/../b", "..", "a//b"] {
        let config = serde_json::json!({ "transit": { "address": "https://bao.example", "key": key } });
        let config: StoreConfig = serde_json::from_value(config).unwrap();
        assert!(open(&config, Path::new("/")).is_err(), "{key}");
    }
}

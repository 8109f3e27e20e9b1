//! A client of PostgreSQL's protocol that does what no driver would: it takes one row and waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub struct Wire(TcpStream);

/// What came until the server was ready, or went.
pub struct Told {
    pub rows: usize,
    /// The code of the error, where there was one.
    pub code: Option<String>,
    pub over: bool,
    /// What a request to cancel names the connection by, when it logs in.
    pub key: Vec<u8>,
}

impl Wire {
    /// Logged in without TLS, for `research`.
    pub fn connect(port: u16, user: &str, password: &str) -> (Self, Told) {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut wire = Self(socket);
        let mut start = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", user, "options", "-ccordon.purpose=research", ""] {
            start.extend(text.as_bytes());
            start.push(0);
        }
        let length = i32::try_from(start.len() + 4).unwrap();
        wire.0.write_all(&[&length.to_be_bytes()[..], &start].concat()).unwrap();
        assert_eq!(wire.message().unwrap().0, b'R');
        wire.send(b'p', &[password.as_bytes(), b"\0"].concat());
        let told = wire.told();
        (wire, told)
    }

    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let length = i32::try_from(body.len() + 4).unwrap();
        // It may be gone, which reading tells.
        let _ = self.0.write_all(&[&[kind][..], &length.to_be_bytes(), body].concat());
    }

    fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap() - 4];
        self.0.read_exact(&mut body).ok()?;
        Some((kind, body))
    }

    pub fn told(&mut self) -> Told {
        let mut told = Told { rows: 0, code: None, over: false, key: Vec::new() };
        loop {
            match self.message() {
                None => return Told { over: true, ..told },
                Some((b'Z', _)) => return told,
                Some((b'D', _)) => told.rows += 1,
                Some((b'K', body)) => told.key = body,
                Some((b'E', body)) => {
                    let mut fields = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                    told.code = fields.find_map(|field| field.strip_prefix('C').map(str::to_owned));
                }
                Some(_) => {}
            }
        }
    }

    pub fn simple(&mut self, sql: &str) -> Told {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat());
        self.told()
    }

    /// Asks, and takes so many messages of the answer.
    pub fn begin(&mut self, sql: &str, messages: usize) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat());
        for _ in 0..messages {
            assert_ne!(self.message().unwrap().0, b'E');
        }
    }

    /// By a connection of its own, which the server closes when it has understood.
    pub fn cancel(port: u16, key: &[u8]) {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let request = [&16_i32.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), key].concat();
        socket.write_all(&request).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }

    /// Prepares and opens it, in a transaction, and takes so many rows of it.
    pub fn open(&mut self, sql: &str, rows: i32) -> Told {
        assert!(self.simple("BEGIN").code.is_none());
        self.send(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        self.send(b'B', b"portal\0\0\0\0\0\0\0\0");
        self.more(rows)
    }

    pub fn more(&mut self, rows: i32) -> Told {
        self.send(b'E', &[b"portal\0", &rows.to_be_bytes()[..]].concat());
        self.send(b'S', b"");
        self.told()
    }
}

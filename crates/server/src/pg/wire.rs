//! PostgreSQL's protocol 3.0 as bytes: what comes is taken apart within bounds, what goes is put together.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A message was not one, or larger than may be; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Malformed,
    TooLarge,
    Gone,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

pub struct Message {
    pub kind: u8,
    pub body: BytesMut,
}

/// What has come and was not taken yet.
pub struct Reader<R> {
    inner: R,
    buffer: BytesMut,
    most: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(inner: R, most: usize) -> Self {
        Self { inner, buffer: BytesMut::with_capacity(8 * 1024), most }
    }

    /// A message may be larger from here on: who sent it is known.
    pub fn allow(&mut self, most: usize) {
        self.most = most;
    }

    pub async fn message(&mut self) -> Result<Message, Broken> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.more().await?;
        }
    }

    fn take(&mut self) -> Result<Option<Message>, Broken> {
        let Some((&kind, rest)) = self.buffer.split_first() else { return Ok(None) };
        let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Broken::Malformed)?;
        let length = length.checked_sub(4).ok_or(Broken::Malformed)?;
        if length > self.most {
            return Err(Broken::TooLarge);
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(Message { kind, body: self.buffer.split_to(length) }))
    }

    async fn more(&mut self) -> Result<(), Broken> {
        self.buffer.reserve(8 * 1024);
        match self.inner.read_buf(&mut self.buffer).await? {
            0 => Err(Broken::Gone),
            _ => Ok(()),
        }
    }

    /// Returns when the client has gone. What it sends ahead is kept, as much as a message may have.
    pub async fn gone(&mut self) {
        while self.buffer.len() <= self.most {
            if self.more().await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Takes a message's body apart.
pub struct Fields(pub BytesMut);

impl Fields {
    pub fn byte(&mut self) -> Result<u8, Broken> {
        if self.0.is_empty() { Err(Broken::Malformed) } else { Ok(self.0.get_u8()) }
    }

    pub fn i16(&mut self) -> Result<i16, Broken> {
        if self.0.len() < 2 { Err(Broken::Malformed) } else { Ok(self.0.get_i16()) }
    }

    pub fn i32(&mut self) -> Result<i32, Broken> {
        if self.0.len() < 4 { Err(Broken::Malformed) } else { Ok(self.0.get_i32()) }
    }

    pub fn count(&mut self) -> Result<usize, Broken> {
        Ok(usize::from(self.i16()? as u16))
    }

    pub fn text(&mut self) -> Result<String, Broken> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Broken::Malformed)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| Broken::Malformed)
    }

    /// A value with its length; -1 is NULL.
    pub fn value(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Broken::Malformed)?;
        if self.0.len() < length {
            return Err(Broken::Malformed);
        }
        Ok(Some(self.0.split_to(length).to_vec()))
    }
}

/// Messages that wait to be sent.
#[derive(Default)]
pub struct Out(pub BytesMut);

/// What a client is told that goes wrong.
pub struct Wrong<'a> {
    pub fatal: bool,
    pub code: &'a str,
    pub message: &'a str,
    /// Of characters in the statement, from 1.
    pub hint: Option<&'a str>,
}

impl Out {
    /// A message, whose length is put in when its body is there.
    pub fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.0.put_u8(kind);
        let at = self.0.len();
        self.0.put_i32(0);
        body(&mut self.0);
        let length = i32::try_from(self.0.len() - at).unwrap_or(i32::MAX);
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub fn authentication(&mut self, code: i32) {
        self.message(b'R', |out| out.put_i32(code));
    }

    pub fn parameter(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }

    pub fn ready(&mut self, status: u8) {
        self.message(b'Z', |out| out.put_u8(status));
    }

    pub fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(out, tag));
    }

    pub fn simple(&mut self, kind: u8) {
        self.message(kind, |_| {});
    }

    pub fn error(&mut self, wrong: &Wrong<'_>) {
        self.message(b'E', |out| {
            let severity = if wrong.fatal { "FATAL" } else { "ERROR" };
            for (field, text) in [(b'S', severity), (b'V', severity), (b'C', wrong.code), (b'M', wrong.message)] {
                out.put_u8(field);
                put_text(out, text);
            }
            if let Some(hint) = wrong.hint {
                out.put_u8(b'H');
                put_text(out, hint);
            }
            out.put_u8(0);
        });
    }
}

pub fn put_text(out: &mut BytesMut, text: &str) {
    // A zero would end it early.
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn read(bytes: &[u8], most: usize) -> Result<Message, Broken> {
        Reader::new(bytes, most).message().await
    }

    #[tokio::test]
    async fn a_message_is_whole_within_its_bounds_or_it_is_none() {
        let whole = read(b"Q\0\0\0\x08abc\0", 100).await.unwrap_or_else(|_| unreachable!());
        assert_eq!((whole.kind, &whole.body[..]), (b'Q', b"abc\0".as_slice()));
        for (bytes, how) in [
            (b"Q\0\0\0\x08ab".as_slice(), Broken::Gone),
            (b"Q\0\0\0\x03".as_slice(), Broken::Malformed),
            (b"Q\xff\xff\xff\xff".as_slice(), Broken::Malformed),
            (b"Q\x7f\xff\xff\xff".as_slice(), Broken::TooLarge),
            (b"Q\0\0\x01\0".as_slice(), Broken::TooLarge),
            (b"".as_slice(), Broken::Gone),
        ] {
            assert_eq!(read(bytes, 100).await.err(), Some(how), "{bytes:?}");
        }
    }

    #[test]
    fn fields_end_where_the_message_does() {
        let fields = |bytes: &[u8]| Fields(BytesMut::from(bytes));
        assert_eq!(fields(b"ab\0c").text().unwrap(), "ab");
        assert!(fields(b"ab").text().is_err() && fields(b"\xff\0").text().is_err());
        assert!(fields(b"\0\0\0").i32().is_err() && fields(b"").byte().is_err());
        assert_eq!(fields(b"\xff\xff\xff\xff").value().unwrap(), None);
        assert_eq!(fields(b"\0\0\0\x02abc").value().unwrap().unwrap(), b"ab");
        assert!(fields(b"\0\0\0\x09abc").value().is_err() && fields(b"\xff\xff\xff\xfeabc").value().is_err());
    }
}

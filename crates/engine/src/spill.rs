//! Temporary files of queries that need more memory than they may have, never in clear.
//!
//! DataFusion writes what it spills as plain Arrow IPC. Here each file has its own random key, which lives in memory only
//! and dies with the file, and the file has no name: what a killed process leaves behind is unreadable and already
//! deleted. Not `SealedWriter` of the crypto room, because a spill file is read while it is still being written: each
//! flush ends a sealed frame. AES-256-GCM (SP 800-38D), the frame's number as nonce under a key of one file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use cordon_crypto::SealKey;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::{Stream, stream};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// What is sealed at once. Large enough that the tag costs nothing, small enough to be held many times.
const FRAME: usize = 128 * 1024;
const LENGTH: usize = 4;
const TAG: usize = 16;

/// Makes sealed temporary files in one folder, within a limit of disk space.
pub struct SealedSpills {
    dir: PathBuf,
    usage: Arc<Usage>,
}

struct Usage {
    used: AtomicU64,
    /// The most that was in use at one time.
    peak: AtomicU64,
    limit: u64,
}

impl SealedSpills {
    pub fn new(dir: &Path, limit: u64) -> Self {
        let usage = Usage { used: AtomicU64::new(0), peak: AtomicU64::new(0), limit };
        Self { dir: dir.to_owned(), usage: Arc::new(usage) }
    }

    pub fn used_bytes(&self) -> u64 {
        self.usage.used.load(Ordering::Relaxed)
    }

    /// Most bytes of temporary files that were in use at one time.
    pub fn peak_bytes(&self) -> u64 {
        self.usage.peak.load(Ordering::Relaxed)
    }
}

impl SealedSpills {
    /// A place for pieces that are sealed already.
    pub(crate) fn pieces(self: &Arc<Self>) -> SpilledPieces {
        SpilledPieces { spills: Arc::clone(self), segments: BTreeMap::new(), last: 0 }
    }
}

/// Sealed pieces in files without names. A file goes when all its pieces were taken.
pub(crate) struct SpilledPieces {
    spills: Arc<SealedSpills>,
    segments: BTreeMap<u64, Segment>,
    /// The one that is written.
    last: u64,
}

struct Segment {
    file: File,
    end: u64,
    /// Pieces that were not taken.
    waiting: usize,
}

/// Where a piece waits.
#[derive(Clone, Copy)]
pub(crate) struct Spilled {
    segment: u64,
    offset: u64,
    length: u32,
}

const SEGMENT: u64 = 256 << 20;

impl SpilledPieces {
    pub(crate) fn put(&mut self, piece: &[u8]) -> io::Result<Spilled> {
        let length = u32::try_from(piece.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if self.segments.get(&self.last).is_none_or(|segment| segment.end >= SEGMENT) {
            std::fs::create_dir_all(&self.spills.dir)?;
            let file = tempfile::tempfile_in(&self.spills.dir)?;
            let full = self.last;
            self.last += 1;
            self.segments.insert(self.last, Segment { file, end: 0, waiting: 0 });
            self.free(full);
        }
        let Some(segment) = self.segments.get_mut(&self.last) else { return Err(io::ErrorKind::NotFound.into()) };
        self.spills.usage.take(piece.len() as u64)?;
        if let Err(error) = segment.file.write_all_at(piece, segment.end) {
            self.spills.usage.used.fetch_sub(piece.len() as u64, Ordering::Relaxed);
            return Err(error);
        }
        let at = Spilled { segment: self.last, offset: segment.end, length };
        segment.end += piece.len() as u64;
        segment.waiting += 1;
        Ok(at)
    }

    pub(crate) fn take(&mut self, at: Spilled) -> io::Result<Vec<u8>> {
        let Some(segment) = self.segments.get_mut(&at.segment) else { return Err(io::ErrorKind::NotFound.into()) };
        let mut piece = vec![0; at.length as usize];
        segment.file.read_exact_at(&mut piece, at.offset)?;
        segment.waiting = segment.waiting.saturating_sub(1);
        self.free(at.segment);
        Ok(piece)
    }

    /// Lets go of a segment that nothing waits in and nothing is written to.
    fn free(&mut self, number: u64) {
        let done = |segment: &Segment| segment.waiting == 0 && number != self.last;
        if self.segments.get(&number).is_some_and(done)
            && let Some(segment) = self.segments.remove(&number)
        {
            self.spills.usage.used.fetch_sub(segment.end, Ordering::Relaxed);
        }
    }
}

impl Drop for SpilledPieces {
    fn drop(&mut self) {
        let rest: u64 = self.segments.values().map(|segment| segment.end).sum();
        self.spills.usage.used.fetch_sub(rest, Ordering::Relaxed);
    }
}

impl Usage {
    fn take(&self, bytes: u64) -> io::Result<()> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ok(())
    }
}

impl TempFileFactory for SealedSpills {
    fn create_temp_file(&self, _description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = std::fs::create_dir_all(&self.dir).and_then(|()| tempfile::tempfile_in(&self.dir))?;
        let key = SealKey::generate();
        let key = UnboundKey::new(&AES_256_GCM, key.dangerous_expose())
            .map_err(|_| DataFusionError::Internal("spill key".to_owned()))?;
        Ok(Arc::new(SealedSpill(Arc::new(Shared {
            file,
            key: LessSafeKey::new(key),
            end: AtomicU64::new(0),
            written: AtomicBool::new(false),
            usage: Arc::clone(&self.usage),
        }))))
    }
}

struct SealedSpill(Arc<Shared>);

struct Shared {
    file: File,
    key: LessSafeKey,
    /// Whole frames stand before this offset.
    end: AtomicU64,
    written: AtomicBool,
    usage: Arc<Usage>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.usage.used.fetch_sub(*self.end.get_mut(), Ordering::Relaxed);
    }
}

impl SpillFile for SealedSpill {
    fn size(&self) -> Option<u64> {
        Some(self.0.end.load(Ordering::Acquire))
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        let start = Cursor { shared: Arc::clone(&self.0), offset: 0, frame: 0 };
        Ok(Box::pin(stream::try_unfold(start, |mut cursor| async move {
            if cursor.offset >= cursor.shared.end.load(Ordering::Acquire) {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || cursor.next().map(|bytes| (bytes, cursor)));
            let (bytes, cursor) = read.await.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
            Ok(Some((Bytes::from(bytes), cursor)))
        })))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        // A second writer would use the nonces of the first again.
        if self.0.written.swap(true, Ordering::AcqRel) {
            return Err(DataFusionError::Internal("a spill file is written once".to_owned()));
        }
        Ok(Box::new(Writer { shared: Arc::clone(&self.0), frame: 0, pending: Vec::with_capacity(FRAME + TAG) }))
    }
}

struct Cursor {
    shared: Arc<Shared>,
    offset: u64,
    frame: u64,
}

impl Cursor {
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; LENGTH];
        self.shared.file.read_exact_at(&mut length, self.offset)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME + TAG {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; length];
        self.shared.file.read_exact_at(&mut frame, self.offset + LENGTH as u64)?;
        let plain = self
            .shared
            .key
            .open_in_place(nonce(self.frame), Aad::empty(), &mut frame)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?
            .len();
        frame.truncate(plain);
        self.offset += (LENGTH + length) as u64;
        self.frame += 1;
        Ok(frame)
    }
}

struct Writer {
    shared: Arc<Shared>,
    frame: u64,
    pending: Vec<u8>,
}

impl Writer {
    fn seal(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.shared
            .key
            .seal_in_place_append_tag(nonce(self.frame), Aad::empty(), &mut self.pending)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let length = u32::try_from(self.pending.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let whole = (LENGTH + self.pending.len()) as u64;
        self.shared.usage.take(whole)?;
        let offset = self.shared.end.load(Ordering::Acquire);
        let written = self
            .shared
            .file
            .write_all_at(&length.to_le_bytes(), offset)
            .and_then(|()| self.shared.file.write_all_at(&self.pending, offset + LENGTH as u64));
        if let Err(error) = written {
            self.shared.usage.used.fetch_sub(whole, Ordering::Relaxed);
            return Err(error);
        }
        self.pending.clear();
        self.frame += 1;
        self.shared.end.store(offset + whole, Ordering::Release);
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = FRAME.saturating_sub(self.pending.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.pending.extend_from_slice(taken);
        if self.pending.len() >= FRAME {
            self.seal()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.seal()
    }
}

impl SpillWriter for Writer {
    fn finish(&mut self) -> Result<()> {
        self.seal().map_err(DataFusionError::IoError)
    }
}

/// Unique under a key that is used for one file by one writer.
fn nonce(frame: u64) -> Nonce {
    let mut bytes = [0; 12];
    let [counter @ .., _, _, _, _] = &mut bytes;
    *counter = frame.to_le_bytes();
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use futures::TryStreamExt;

    async fn read(file: &Arc<dyn SpillFile>) -> Result<Vec<u8>> {
        let chunks: Vec<Bytes> = file.read_stream()?.try_collect().await?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn what_is_flushed_is_read_while_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let spills = SealedSpills::new(dir.path(), u64::MAX);
        let file = spills.create_temp_file("test").unwrap();
        let mut writer = file.open_writer().unwrap();
        let text = vec![b'x'; 3 * FRAME + 17];
        writer.write_all(&text).unwrap();
        writer.flush().unwrap();
        assert_eq!(read(&file).await.unwrap(), text);
        writer.write_all(b"more").unwrap();
        writer.finish().unwrap();
        assert_eq!(read(&file).await.unwrap().len(), text.len() + 4);
        assert!(file.open_writer().is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        drop((file, writer));
        assert_eq!(spills.usage.used.load(Ordering::Relaxed), 0);
        assert!(spills.peak_bytes() > text.len() as u64);
    }

    #[tokio::test]
    async fn a_changed_byte_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile_in(dir.path()).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
        let usage = Arc::new(Usage { used: 0.into(), peak: 0.into(), limit: u64::MAX });
        let shared = Shared { file, key, end: 0.into(), written: false.into(), usage };
        let spill = SealedSpill(Arc::new(shared));
        let mut writer = spill.open_writer().unwrap();
        writer.write_all(b"a secret").unwrap();
        writer.finish().unwrap();
        spill.0.file.write_all_at(b"!", 6).unwrap();
        let spill: Arc<dyn SpillFile> = Arc::new(spill);
        assert!(read(&spill).await.is_err());
    }

    #[test]
    fn pieces_are_given_back_when_they_were_taken() {
        let dir = tempfile::tempdir().unwrap();
        let spills = Arc::new(SealedSpills::new(dir.path(), 2 * SEGMENT));
        let mut pieces = spills.pieces();
        let mut waiting = std::collections::VecDeque::new();
        let piece = |number: u8| vec![number; 40 << 20];
        // More goes through than may be there at one time.
        for number in 0..30 {
            waiting.push_back((number, pieces.put(&piece(number)).unwrap()));
            if waiting.len() > 3 {
                let (number, at) = waiting.pop_front().unwrap();
                assert!(pieces.take(at).unwrap() == piece(number));
            }
        }
        assert!(spills.used_bytes() <= 2 * SEGMENT && spills.used_bytes() > 0);
        drop(pieces);
        assert_eq!(spills.used_bytes(), 0);
        let mut pieces = spills.pieces();
        let full = (0..).map_while(|_| pieces.put(&piece(0)).ok()).count();
        assert_eq!(full as u64, 2 * SEGMENT / (40 << 20), "the limit of space is kept");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "files have no name");
    }

    #[test]
    fn the_limit_of_space_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = SealedSpills::new(dir.path(), 1000).create_temp_file("test").unwrap();
        let mut writer = file.open_writer().unwrap();
        let error = writer.write_all(&vec![0; 2 * FRAME]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

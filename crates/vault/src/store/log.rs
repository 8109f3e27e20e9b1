//! The truth: every token ever given out, in segments that are only appended to. The merges of people are a second log.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cordon_crypto::{KeyedHash, Sealer};
use zeroize::Zeroizing;

use super::{
    error::VaultError,
    frame::{self, Frame, FrameSeal, HEADER, Header, Plain, Position},
};

const MAGIC: [u8; 8] = *b"CORDVLTL";
const VERSION: u32 = 2;
/// magic 8 | version 4 | segment 4 | vault 16 | tag of the last frame before 16 | keyed checksum 16
pub(super) const SEGMENT_HEADER: u32 = 64;
const READ_AHEAD: usize = 1 << 20;

pub(super) struct Log {
    dir: PathBuf,
    /// What its files are called.
    name: &'static str,
    vault: [u8; 16],
    keys: KeyedHash,
    segments: Mutex<BTreeMap<u32, Arc<Segment>>>,
}

pub(super) struct Segment {
    pub file: File,
    pub path: PathBuf,
    seal: FrameSeal,
}

impl Segment {
    pub fn len(&self) -> Result<u64, VaultError> {
        Ok(self.file.metadata().map_err(VaultError::io("read", &self.path))?.len())
    }

    pub fn sync(&self) -> Result<(), VaultError> {
        self.file.sync_data().map_err(VaultError::io("sync", &self.path))
    }

    /// Drops everything from `offset` on.
    pub fn cut(&self, offset: u64) -> Result<(), VaultError> {
        self.file.set_len(offset).map_err(VaultError::io("shorten", &self.path))
    }
}

impl Log {
    pub fn new(dir: &Path, vault: [u8; 16], keys: KeyedHash) -> Self {
        Self { dir: dir.to_owned(), name: "log", vault, keys, segments: Mutex::default() }
    }

    /// Of merges, under keys of its own.
    pub fn of_merges(dir: &Path, vault: [u8; 16], keys: &KeyedHash) -> Self {
        Self { name: "merges", ..Self::new(dir, vault, keys.derive("merges")) }
    }

    /// Before the first segment.
    pub const NOWHERE: Position = Position { segment: 0, offset: 0, sequence: 0, tag: [0; 16] };
    /// Where the first frame goes.
    pub const START: Position = Position { segment: 1, offset: SEGMENT_HEADER, ..Self::NOWHERE };

    pub fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{}-{segment:08}", self.name))
    }

    pub fn segment(&self, number: u32) -> Result<Arc<Segment>, VaultError> {
        let mut open = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = open.get(&number) {
            return Ok(Arc::clone(segment));
        }
        let path = self.path(number);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VaultError::damaged(&path, 0, "the file is missing"),
            _ => VaultError::io("open", &path)(error),
        })?;
        let segment = Arc::new(self.with_seal(number, file, path));
        open.insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    /// Starts the segment that follows `at`, or starts it again if whoever did so last was killed.
    pub fn create(&self, at: &Position) -> Result<Position, VaultError> {
        let number = at.segment + 1;
        let path = self.path(number);
        let doing = || VaultError::io("create", &path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path).map_err(doing())?;
        if let Err(error) = file.write_all(&self.header(number, at.tag)) {
            let _ = file.set_len(0);
            return Err(doing()(error));
        }
        let segment = Arc::new(self.with_seal(number, file, path));
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).insert(number, segment);
        Ok(Position { segment: number, offset: SEGMENT_HEADER, ..*at })
    }

    /// The segment after `at`, which is the end of its own.
    pub fn follow(&self, at: &Position) -> Result<Follow, VaultError> {
        let number = at.segment + 1;
        let path = self.path(number);
        if !path.try_exists().map_err(VaultError::io("look for", &path))? {
            return Ok(Follow::Nothing);
        }
        let segment = self.segment(number)?;
        let expected = self.header(number, at.tag);
        let mut found = [0; SEGMENT_HEADER as usize];
        match segment.file.read_exact_at(&mut found, 0) {
            Ok(()) if found == expected => {
                Ok(Follow::Segment(Position { segment: number, offset: SEGMENT_HEADER, ..*at }))
            }
            Ok(()) => Err(VaultError::damaged(&path, 0, "the segment does not follow the one before")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Follow::Torn),
            Err(error) => Err(VaultError::io("read", &path)(error)),
        }
    }

    /// Writes a frame and moves `at` behind it. A write that fails (disk full) leaves nothing behind.
    pub fn append(&self, at: &mut Position, plain: &Plain) -> Result<(), VaultError> {
        let segment = self.segment(at.segment)?;
        let (header, sealed, next) = segment.seal.encode(at, plain)?;
        let offset = u64::from(at.offset);
        let written = segment
            .file
            .write_all_at(&header, offset)
            .and_then(|()| segment.file.write_all_at(&sealed, offset + HEADER as u64));
        if let Err(error) = written {
            let _ = segment.cut(offset);
            return Err(VaultError::io("append to", &segment.path)(error));
        }
        *at = next;
        Ok(())
    }

    pub fn reader(&self) -> Reader<'_> {
        Reader { log: self, buffer: Vec::new(), segment: 0, start: 0 }
    }

    fn with_seal(&self, number: u32, file: File, path: PathBuf) -> Segment {
        let key = Zeroizing::new(self.keys.derive("segment").tag(&number.to_le_bytes()));
        Segment { file, path, seal: FrameSeal { vault: self.vault, sealer: Sealer::new(&key) } }
    }

    fn header(&self, number: u32, tag: [u8; 16]) -> [u8; SEGMENT_HEADER as usize] {
        let mut header = Vec::with_capacity(SEGMENT_HEADER as usize);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&self.vault);
        header.extend_from_slice(&tag);
        header.extend_from_slice(&self.keys.derive("segment header").tag128(&header));
        header.first_chunk().copied().unwrap_or([0; SEGMENT_HEADER as usize])
    }
}

/// Whether a log was ever begun here.
pub(super) fn is_begun(dir: &Path) -> bool {
    dir.join("log-00000001").exists()
}

/// What comes after a segment.
pub(super) enum Follow {
    Nothing,
    /// Whoever started the next segment was killed before its header was whole.
    Torn,
    /// The place of the next segment's first frame.
    Segment(Position),
}

/// What stands at a place in the log.
pub(super) enum Step {
    Frame(Frame, Position),
    /// The segment ends exactly here.
    End,
    /// Not a whole, authentic frame that follows the one before.
    Bad(&'static str),
}

/// Reads frames one after the other, a mebibyte at a time.
pub(super) struct Reader<'a> {
    log: &'a Log,
    buffer: Vec<u8>,
    segment: u32,
    start: u64,
}

impl Reader<'_> {
    /// The frame at `at`, which must chain to it.
    pub fn step(&mut self, at: &Position) -> Result<Step, VaultError> {
        self.read(at.segment, at.offset, Some(at))
    }

    /// The frame at a place that an index named, without its chain.
    pub fn jump(&mut self, place: u64) -> Result<Step, VaultError> {
        self.read((place >> 32) as u32, place as u32, None)
    }

    fn read(&mut self, number: u32, offset: u32, chain: Option<&Position>) -> Result<Step, VaultError> {
        let segment = self.log.segment(number)?;
        let header = self.bytes(&segment, number, offset.into(), HEADER)?;
        if header.is_empty() {
            return Ok(Step::End);
        }
        if header.len() < HEADER {
            return Ok(Step::Bad("a frame's header is cut short"));
        }
        let Some(read) = Header::read(header) else {
            return Ok(Step::Bad("no frame header"));
        };
        if chain.is_some_and(|at| at.sequence != read.sequence || at.tag != read.previous) {
            return Ok(Step::Bad("the frame does not follow the one before"));
        }
        let whole = self.bytes(&segment, number, offset.into(), HEADER + read.sealed)?;
        let Some((header, sealed)) = whole.split_at_checked(HEADER) else {
            return Ok(Step::End);
        };
        if sealed.len() < read.sealed {
            return Ok(Step::Bad("the frame is cut short"));
        }
        let place = u64::from(number) << 32 | u64::from(offset);
        let Some(frame) = segment.seal.open(place, header, sealed) else {
            return Ok(Step::Bad("the frame is not authentic"));
        };
        let next = Position {
            segment: number,
            offset: offset + whole.len() as u32,
            sequence: read.sequence + 1,
            tag: sealed.last_chunk().copied().unwrap_or_default(),
        };
        Ok(Step::Frame(frame, next))
    }

    /// Whether an authentic frame stands anywhere behind `offset`: then what is at `offset` is not a torn end.
    pub fn any_after(&mut self, number: u32, offset: u32) -> Result<bool, VaultError> {
        let segment = self.log.segment(number)?;
        let length = segment.len()?;
        let mut rest = vec![0; length.saturating_sub(u64::from(offset) + 1) as usize];
        let from = u64::from(offset) + 1;
        segment.file.read_exact_at(&mut rest, from).map_err(VaultError::io("read", &segment.path))?;
        for at in memchr::memmem::find_iter(&rest, frame::MAGIC_ANY) {
            let place = u64::from(number) << 32 | (from + at as u64);
            if matches!(self.jump(place)?, Step::Frame(..)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Up to `want` bytes at `offset`; fewer only at the end of the file.
    fn bytes(&mut self, segment: &Segment, number: u32, offset: u64, want: usize) -> Result<&[u8], VaultError> {
        let within = (self.segment == number).then(|| offset.checked_sub(self.start)).flatten();
        let have = within.and_then(|at| self.buffer.get(at as usize..)).map_or(0, <[u8]>::len);
        if have < want {
            self.buffer.resize(want.max(READ_AHEAD), 0);
            self.segment = number;
            self.start = offset;
            let mut filled = 0;
            while let Some(free) = self.buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
                match segment.file.read_at(free, offset + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(VaultError::io("read", &segment.path)(error)),
                }
            }
            self.buffer.truncate(filled);
        }
        let from = (offset - self.start) as usize;
        let bytes = self.buffer.get(from..).unwrap_or_default();
        Ok(bytes.get(..want).unwrap_or(bytes))
    }
}

//! HDFS as an object store: what is written appears under its name when all of it is there, and a name can be taken once.
//!
//! What is written goes to a draft beside its name, is synced by the data nodes, closed and then renamed, which the name node does
//! under its lock: over what is there, or only where nothing is. A draft whose writer was killed is seen by who lists that one folder,
//! so that it can be removed, and by nobody who lists below a prefix.

mod config;
mod guard;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::channel::{mpsc, oneshot};
use futures::stream::BoxStream;
use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt};
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError, WriteOptions};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use self::guard::{Guard, Verdict};
use crate::connect::Connector;
use crate::error::{Kerberos, StorageError, Trouble};

/// How names of drafts begin.
pub(crate) const DRAFT: &str = ".draft-";
/// Owner and group; what is written is encrypted besides.
const PERMISSION: u32 = 0o640;
/// The most for a request that is answered at all. A sync of a part by three data nodes is one.
const REQUEST: Duration = Duration::from_mins(2);
const SHORTEST: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What is read ahead, in packets of 64 KiB and in names.
const AHEAD: usize = 16;
const LISTED_AHEAD: usize = 1024;

impl Connector<'_> {
    pub(crate) fn hdfs(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let handle = crate::runtime::handle().ok_or_else(|| self.error(Trouble::Interrupted))?;
        let reached = self.reach(&handle)?;
        let verdict = reached.verdict;
        let client = reached.client.build().map_err(|error| self.error(trouble(&error, &verdict)))?;
        let cluster = Cluster { client, verdict, patience: self.patience(), guards: reached.guards };
        Ok(Arc::new(HdfsStore { cluster: Arc::new(cluster), handle }))
    }
}

pub(crate) struct HdfsStore {
    cluster: Arc<Cluster>,
    /// Whoever asks may do so on a runtime of another kind.
    handle: Handle,
}

impl fmt::Debug for HdfsStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HdfsStore")
    }
}

impl fmt::Display for HdfsStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HDFS")
    }
}

struct Cluster {
    client: Client,
    verdict: Verdict,
    patience: Duration,
    guards: Vec<Guard>,
}

impl Cluster {
    fn trouble(&self, error: &HdfsError) -> Trouble {
        match (error, guard::verdict(&self.verdict)) {
            // With the name node all was well then.
            (HdfsError::IOError(_), None) if !self.guards.is_empty() => Trouble::NoDataNode,
            _ => trouble(error, &self.verdict),
        }
    }

    /// Once, and not for ever.
    async fn once<T>(&self, asked: impl Future<Output = hdfs_native::Result<T>>) -> Result<T, Trouble> {
        match timeout(self.patience.clamp(SHORTEST, REQUEST), asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.trouble(&error)),
            Err(_) => Err(Trouble::Unreachable),
        }
    }

    /// Again, with growing pauses, while the cluster is away, starts or changes its name node.
    async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let until = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match ask().await {
                Err(trouble) if trouble.is_passing() && Instant::now() + pause < until => sleep(pause).await,
                asked => return asked,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn status(&self, file: &str) -> Result<FileStatus, Trouble> {
        let status = self.patiently(|| self.once(self.client.get_file_info(file))).await?;
        if status.isdir { Err(Trouble::NotFound) } else { Ok(status) }
    }

    async fn draft(&self, file: &str) -> Result<Draft, Trouble> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Trouble::Interrupted)?;
        let name = format!("{:032x}", u128::from_be_bytes(random));
        let (folder, _) = file.rsplit_once('/').unwrap_or_default();
        let path = format!("{folder}/{DRAFT}{name}");
        let options = WriteOptions::default().permission(PERMISSION);
        // Under a name that nobody else has, a request whose answer was lost may be sent again.
        let options = options.overwrite(true);
        let writer = self.once(self.client.create(&path, &options)).await?;
        Ok(Draft { path, writer })
    }

    /// The draft becomes the file.
    async fn settle(&self, mut draft: Draft, file: &str, overwrite: bool) -> Result<(), Trouble> {
        let written = async {
            match self.once(draft.writer.hsync()).await {
                // Files in erasure code cannot be synced; closing them is what there is.
                Ok(()) | Err(Trouble::Unsupported) => {}
                Err(trouble) => return Err(trouble),
            }
            self.once(draft.writer.close()).await
        };
        let settled = match written.await {
            Ok(()) => self.rename(&draft.path, file, overwrite).await,
            Err(trouble) => Err(trouble),
        };
        if settled.is_err() {
            self.discard(&draft.path).await;
        }
        settled
    }

    async fn rename(&self, draft: &str, file: &str, overwrite: bool) -> Result<(), Trouble> {
        let asked = AtomicBool::new(false);
        self.patiently(|| async {
            let again = asked.swap(true, Ordering::Relaxed);
            match self.once(self.client.rename(draft, file, overwrite)).await {
                // Nobody else moves this draft: where it is gone, an earlier request did it and its answer was lost.
                Err(Trouble::NotFound) if again => self.once(self.client.get_file_info(file)).await.map(drop),
                renamed => renamed,
            }
        })
        .await
    }

    /// Where that fails, who looks after the folder removes it when it is old.
    async fn discard(&self, draft: &str) {
        let _ = self.once(self.client.delete(draft, false)).await;
    }

    async fn put(&self, file: &str, payload: PutPayload, overwrite: bool) -> Result<(), Trouble> {
        // What is to be new and is there already need not be written first.
        if !overwrite && self.status(file).await.is_ok() {
            return Err(Trouble::Exists);
        }
        self.patiently(|| async {
            let mut draft = self.draft(file).await?;
            for bytes in payload.clone() {
                if let Err(trouble) = self.once(draft.writer.write_bytes(bytes)).await {
                    self.discard(&draft.path).await;
                    return Err(trouble);
                }
            }
            self.settle(draft, file, overwrite).await
        })
        .await
    }
}

struct Draft {
    path: String,
    writer: FileWriter,
}

impl HdfsStore {
    /// There, so that what the client does wrong there is an error and not the end of the program.
    async fn run<T, F>(&self, ask: impl FnOnce(Arc<Cluster>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        match self.handle.spawn(ask(Arc::clone(&self.cluster))).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(Trouble::Interrupted)),
        }
    }
}

#[async_trait]
impl ObjectStore for HdfsStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let overwrite = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return Err(failed(Trouble::Unsupported)),
        };
        let file = absolute(location);
        self.run(|cluster| async move { cluster.put(&file, payload, overwrite).await }).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let file = absolute(location);
        let (cluster, of_draft) = (Arc::clone(&self.cluster), file.clone());
        let draft = self.run(|cluster| async move { cluster.patiently(|| cluster.draft(&of_draft)).await }).await?;
        let (parts, mut queue) = mpsc::unbounded::<Part>();
        let written = self.handle.spawn(async move {
            let mut draft = draft;
            while let Some(Part { payload, done }) = queue.next().await {
                for bytes in payload {
                    if let Err(trouble) = cluster.once(draft.writer.write_bytes(bytes)).await {
                        cluster.discard(&draft.path).await;
                        let _ = done.send(Err(failed(trouble.clone())));
                        return Err(trouble);
                    }
                }
                let _ = done.send(Ok(()));
            }
            Ok(draft)
        });
        let cluster = Arc::clone(&self.cluster);
        Ok(Box::new(Upload { cluster, handle: self.handle.clone(), file, writing: Some((parts, written)) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let file = absolute(location);
        let path = file.clone();
        let status = self.run(|cluster| async move { cluster.status(&path).await }).await?;
        let meta = described(&status, location.clone());
        options.check_preconditions(&meta)?;
        let nothing = || GetResultPayload::Stream(futures::stream::empty().boxed());
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|_| failed(Trouble::Changed))?,
            None => 0..meta.size,
        };
        if options.head || range.is_empty() {
            let range = if options.head { 0..0 } else { range };
            return Ok(GetResult { payload: nothing(), meta, range, attributes: Attributes::default() });
        }
        let (start, length) = (range.start as usize, (range.end - range.start) as usize);
        let reader = self
            .run(|cluster| async move {
                let reader = cluster.patiently(|| cluster.once(cluster.client.read(&file))).await?;
                // A shorter one has come in its place, or its last block is not closed yet: that one counts in a status and not here.
                if reader.file_length() < start + length { Err(Trouble::Changed) } else { Ok(reader) }
            })
            .await?;
        let cluster = Arc::clone(&self.cluster);
        let (mut sender, receiver) = mpsc::channel(AHEAD);
        self.handle.spawn(async move {
            let mut packets = Box::pin(reader.read_range_stream(start, length));
            let mut left = length;
            while left > 0 {
                let packet = match timeout(REQUEST, packets.next()).await {
                    Ok(Some(Ok(packet))) => Ok(packet),
                    Ok(Some(Err(error))) => Err(failed(cluster.trouble(&error))),
                    Ok(None) => Err(failed(Trouble::Interrupted)),
                    Err(_) => Err(failed(Trouble::NoDataNode)),
                };
                left = left.saturating_sub(packet.as_ref().map_or(left, Bytes::len));
                if sender.send(packet).await.is_err() {
                    return;
                }
            }
        });
        // What ends early is an error, also where the task that read came to harm.
        let payload = futures::stream::unfold((receiver, length), |(mut receiver, left)| async move {
            match receiver.next().await {
                Some(Ok(packet)) => {
                    let left = left.saturating_sub(packet.len());
                    Some((Ok(packet), (receiver, left)))
                }
                Some(Err(error)) => Some((Err(error), (receiver, 0))),
                None if left > 0 => Some((Err(failed(Trouble::Interrupted)), (receiver, 0))),
                None => None,
            }
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload.boxed()),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (cluster, handle) = (Arc::clone(&self.cluster), self.handle.clone());
        let deleted = locations.and_then(move |location| {
            let (cluster, file) = (Arc::clone(&cluster), absolute(&location));
            let task = handle
                .spawn(async move { cluster.patiently(|| cluster.once(cluster.client.delete(&file, false))).await });
            async move {
                match task.await {
                    Ok(Ok(_)) => Ok(location),
                    Ok(Err(trouble)) => Err(failed(trouble)),
                    Err(_) => Err(failed(Trouble::Interrupted)),
                }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let found = self.statuses(prefix, true);
        let files = found.try_filter_map(|status| async move {
            let name = status.path.rsplit('/').next().unwrap_or_default();
            if status.isdir || name.starts_with(DRAFT) {
                return Ok(None);
            }
            let location = Path::parse(&status.path)?;
            Ok(Some(described(&status, location)))
        });
        files.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.statuses(prefix, false);
        let mut listed = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        while let Some(status) = found.try_next().await? {
            let location = Path::parse(&status.path)?;
            if status.isdir {
                listed.common_prefixes.push(location);
            } else {
                listed.objects.push(described(&status, location));
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(failed(Trouble::Unsupported))
    }
}

impl HdfsStore {
    /// What is in a folder, page by page; nothing where there is no such folder.
    fn statuses(&self, prefix: Option<&Path>, below: bool) -> BoxStream<'static, Result<FileStatus>> {
        let (folder, cluster) = (prefix.map_or_else(|| "/".to_owned(), absolute), Arc::clone(&self.cluster));
        let (mut sender, receiver) = mpsc::channel(LISTED_AHEAD);
        let task = self.handle.spawn(async move {
            let first = cluster.patiently(|| async {
                let listing = cluster.client.list_status_iter(&folder, below);
                let first = timeout(REQUEST, listing.next()).await.map_err(|_| Trouble::Unreachable)?;
                match first.transpose() {
                    Ok(first) => Ok((first, Some(listing))),
                    Err(error) => match cluster.trouble(&error) {
                        Trouble::NotFound => Ok((None, None)),
                        trouble => Err(trouble),
                    },
                }
            });
            let (mut status, listing) = match first.await {
                Ok((status, Some(listing))) => (status.map(Ok), listing),
                Ok((_, None)) => return,
                Err(trouble) => {
                    let _ = sender.send(Err(failed(trouble))).await;
                    return;
                }
            };
            while let Some(found) = status.take() {
                let ends = match found {
                    // A folder that was removed meanwhile.
                    Err(Trouble::NotFound) => false,
                    // A file that is listed itself is nothing in a folder.
                    Ok(found) if found.path == folder && !found.isdir => false,
                    found => {
                        let failed_at = found.is_err();
                        sender.send(found.map_err(failed)).await.is_err() || failed_at
                    }
                };
                if ends {
                    return;
                }
                status = match timeout(REQUEST, listing.next()).await {
                    Ok(next) => next.map(|next| next.map_err(|error| cluster.trouble(&error))),
                    Err(_) => Some(Err(Trouble::Unreachable)),
                };
            }
        });
        // A listing whose task came to harm is no shorter listing.
        let end = futures::stream::once(async move {
            match task.await {
                Ok(()) => None,
                Err(_) => Some(Err(failed(Trouble::Interrupted))),
            }
        });
        receiver.chain(end.filter_map(|end| async move { end })).boxed()
    }
}

struct Part {
    payload: PutPayload,
    done: oneshot::Sender<Result<()>>,
}

type Writing = (mpsc::UnboundedSender<Part>, tokio::task::JoinHandle<Result<Draft, Trouble>>);

/// Parts of an upload, in the order in which they were given.
struct Upload {
    cluster: Arc<Cluster>,
    handle: Handle,
    file: String,
    writing: Option<Writing>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Upload")
    }
}

impl Upload {
    /// What was written, where all of it could be.
    async fn written(&mut self) -> Result<Draft> {
        let Some((parts, written)) = self.writing.take() else { return Err(failed(Trouble::Interrupted)) };
        drop(parts);
        match written.await {
            Ok(draft) => draft.map_err(failed),
            Err(_) => Err(failed(Trouble::Interrupted)),
        }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (done, answer) = oneshot::channel();
        if let Some((parts, _)) = &self.writing {
            // Where nobody writes any more, the answer says so.
            let _ = parts.unbounded_send(Part { payload, done });
        }
        async move { answer.await.unwrap_or_else(|_| Err(failed(Trouble::Interrupted))) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let draft = self.written().await?;
        let (cluster, file) = (Arc::clone(&self.cluster), self.file.clone());
        let settled = self.handle.spawn(async move { cluster.settle(draft, &file, true).await });
        match settled.await {
            Ok(Ok(())) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Err(trouble)) => Err(failed(trouble)),
            Err(_) => Err(failed(Trouble::Interrupted)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        let draft = self.written().await?;
        let cluster = Arc::clone(&self.cluster);
        let _ = self.handle.spawn(async move { cluster.discard(&draft.path).await }).await;
        Ok(())
    }
}

fn absolute(location: &Path) -> String {
    format!("/{location}")
}

fn described(status: &FileStatus, location: Path) -> ObjectMeta {
    let modified = i64::try_from(status.modification_time).ok().and_then(DateTime::from_timestamp_millis);
    ObjectMeta {
        location,
        last_modified: modified.unwrap_or_default(),
        size: status.length as u64,
        e_tag: Some(format!("{:x}-{:x}", status.modification_time, status.length)),
        version: None,
    }
}

/// Without the name of a file, which the client's own errors repeat.
fn failed(trouble: Trouble) -> Error {
    match trouble {
        Trouble::NotFound => Error::NotFound { path: String::new(), source: trouble.into() },
        Trouble::Exists => Error::AlreadyExists { path: String::new(), source: trouble.into() },
        Trouble::Changed => Error::Precondition { path: String::new(), source: trouble.into() },
        _ => Error::Generic { store: "HDFS", source: trouble.into() },
    }
}

fn trouble(error: &HdfsError, verdict: &Verdict) -> Trouble {
    match error {
        HdfsError::FileNotFound(_) => Trouble::NotFound,
        HdfsError::AlreadyExists(_) => Trouble::Exists,
        HdfsError::IOError(_) => guard::verdict(verdict).unwrap_or(Trouble::Unreachable),
        HdfsError::DataTransferError(_) | HdfsError::BlocksNotFound(_) => Trouble::NoDataNode,
        HdfsError::ChecksumError | HdfsError::ErasureCodingError(_) => Trouble::Damaged,
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => answered(class, text),
        HdfsError::GSSAPIError(_, _, text) => Trouble::Kerberos(kerberos(text)),
        HdfsError::SASLError(_) | HdfsError::NoSASLMechanism => {
            guard::verdict(verdict).unwrap_or(Trouble::Kerberos(Kerberos::Refused))
        }
        HdfsError::OperationFailed(text) if text.contains("libgssapi") => Trouble::Kerberos(Kerberos::NoLibrary),
        HdfsError::OperationFailed(text) if text.contains("hsync") => Trouble::Unsupported,
        HdfsError::UnsupportedFeature(text) if text.contains("encryption zone") => Trouble::EncryptionZone,
        HdfsError::UnsupportedFeature(_)
        | HdfsError::UnsupportedErasureCodingPolicy(_)
        | HdfsError::IsADirectoryError(_)
        | HdfsError::InvalidPath(_)
        | HdfsError::InvalidArgument(_)
        | HdfsError::TrashNotEnabled
        | HdfsError::UrlParseError(_)
        | HdfsError::XmlParseError(_) => Trouble::Unsupported,
        HdfsError::OperationFailed(_) | HdfsError::InternalError(_) | HdfsError::InvalidRPCResponse(_) => {
            Trouble::Interrupted
        }
    }
}

/// What a name node answers: an exception of Java's, and a text that names files.
fn answered(class: &str, text: &str) -> Trouble {
    let class = class.rsplit('.').next().unwrap_or(class);
    let says = |word: &str| text.contains(word);
    match class {
        "FileNotFoundException" => Trouble::NotFound,
        "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => Trouble::Exists,
        "SafeModeException" => Trouble::SafeMode,
        "RetriableException" if says("safe mode") || says("SafeMode") => Trouble::SafeMode,
        "RetriableException" | "StandbyException" | "ObserverRetryOnActiveException" => Trouble::Unreachable,
        "AccessControlException" if says("SIMPLE authentication") || says("cannot authenticate via") => {
            Trouble::Kerberos(Kerberos::NoTicket)
        }
        "AccessControlException" | "AuthorizationException" => Trouble::Forbidden,
        "SaslException" | "GSSException" | "InvalidToken" | "SecretManager$InvalidToken" => {
            Trouble::Kerberos(Kerberos::Refused)
        }
        "NSQuotaExceededException" | "DSQuotaExceededException" | "QuotaByStorageTypeExceededException" => {
            Trouble::Full
        }
        "NotReplicatedYetException" => Trouble::NoDataNode,
        "IOException" if says("could only be") => Trouble::NoDataNode,
        "ParentNotDirectoryException" | "InvalidPathException" | "UnsupportedOperationException" => {
            Trouble::Unsupported
        }
        _ => Trouble::Interrupted,
    }
}

/// What Kerberos' library says, in MIT's words.
fn kerberos(text: &str) -> Kerberos {
    let says = |word: &str| text.contains(word);
    if says("expired") {
        Kerberos::Expired
    } else if says("Preauthentication failed") || says("integrity check") || says("No key table entry") {
        Kerberos::WrongKey
    } else if says("Clock skew") || says("not yet valid") {
        Kerberos::Clock
    } else if says("annot contact any KDC") || says("annot find KDC") || says("annot resolve") {
        Kerberos::NoCentre
    } else if says("Server") && says("not found in Kerberos database") {
        Kerberos::UnknownService
    } else if says("not found in Kerberos database") || says("find client principal") {
        Kerberos::UnknownPrincipal
    } else if says("No credentials") || says("No Kerberos credentials") || says("redentials cache") || says("eytab") {
        Kerberos::NoTicket
    } else {
        Kerberos::Refused
    }
}

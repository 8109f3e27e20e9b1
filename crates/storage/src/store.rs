//! A bucket or container, and what is done with what is in it.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::time::{Instant, sleep};

use crate::connect::{self, Connector};
use crate::error::{StorageError, Trouble};
use crate::location::{Location, Scheme};
use crate::reader::{ObjectReader, sent};
use crate::runtime;
use crate::sealing::{Look, Sealing, Written};
use crate::settings::StoreSettings;
use crate::uploads::{Uploads, abandoned};

/// Parts of an upload; S3 allows ten thousand, which makes objects of up to 160 GB.
const PART: usize = 16 << 20;
/// What is read of a file at once.
const READ: usize = 1 << 20;
/// Parts under way at once.
const UPLOADS: usize = 4;
/// How often a write is begun whose connection broke off.
const MOST_TRIES: usize = 3;
/// Before an upload that broke off is begun again.
const PAUSE: Duration = Duration::from_secs(1);
/// Objects of a listing that wait for whoever reads it.
const LISTED: usize = 1024;

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Below the store's prefix, with `/` between its names.
    pub key: String,
    pub size: u64,
    pub modified: SystemTime,
    /// Another one where the content is another.
    pub version: Option<String>,
}

/// A place in an object store that can be read and written. Cheap to clone.
#[derive(Clone)]
#[expect(clippy::struct_field_names, reason = "what it is")]
pub struct Store {
    store: Arc<dyn ObjectStore>,
    location: Location,
    /// How long what broke off is begun again.
    patience: Duration,
    sealing: Option<Arc<Sealing>>,
    uploads: Option<Arc<Uploads>>,
}

impl Store {
    /// With the settings of a project and the credentials of the environment. Nothing is asked of the store yet. `folder`: what
    /// relative paths of the settings are relative to.
    pub fn open(location: &Location, settings: &StoreSettings, folder: &FilePath) -> Result<Self, StorageError> {
        let env = |name: &str| std::env::var(name).ok();
        Self::open_in(location, settings, folder, &env)
    }

    /// With another environment.
    pub fn open_in(
        location: &Location,
        settings: &StoreSettings,
        folder: &FilePath,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StorageError> {
        let connector = Connector { location, settings, folder, env, has_identity: &connect::has_identity };
        let connected = connector.connect()?;
        let mut store = Self::over(connected.store, location);
        (store.sealing, store.uploads) = (connected.sealing, connected.uploads);
        store.patience = connector.patience();
        Ok(store)
    }

    /// Over a store of another make, below the location's prefix.
    pub fn over(store: Arc<dyn ObjectStore>, location: &Location) -> Self {
        let store = match location.prefix() {
            "" => store,
            prefix => Arc::new(PrefixStore::new(store, path(prefix))),
        };
        Self { store, location: location.clone(), patience: Duration::ZERO, sealing: None, uploads: None }
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What an engine reads from: names in it are those below the location.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// What is below a prefix of whole names, page by page while it is read: a listing of millions takes no more memory than one of
    /// thousands. In no order that all stores share.
    pub fn list(&self, prefix: &str) -> impl Iterator<Item = Result<Object, StorageError>> + use<> {
        let (sender, receiver) = mpsc::sync_channel(LISTED);
        let (store, place) = (self.object_store(), self.place());
        let prefix = path(prefix);
        let failed = sender.clone();
        let task = runtime::spawn(async move {
            let mut listed = store.list((!prefix.as_ref().is_empty()).then_some(&prefix)).chunks(LISTED / 2);
            while let Some(page) = listed.next().await {
                let (sender, place) = (sender.clone(), place.clone());
                // The channel may be full: whoever waits for that must not be a thread that requests run on.
                let sent = tokio::task::spawn_blocking(move || {
                    let mut objects = page.into_iter();
                    objects.all(|found| {
                        let found = found.map(object).map_err(|error| StorageError::of(&place, &error));
                        let ends = found.is_err();
                        sender.send(found).is_ok() && !ends
                    })
                });
                if !sent.await.unwrap_or(false) {
                    return;
                }
            }
        });
        if task.is_none() {
            let _ = failed.try_send(Err(self.error(Trouble::Interrupted)));
        }
        drop(failed);
        receiver.into_iter()
    }

    /// The names directly below a prefix: of objects, and of prefixes.
    pub fn names(&self, prefix: &str) -> Result<(Vec<Object>, Vec<String>), StorageError> {
        let prefix = path(prefix);
        self.run(move |store| async move {
            let listed = store.list_with_delimiter((!prefix.as_ref().is_empty()).then_some(&prefix)).await?;
            let folders = listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned));
            Ok((listed.objects.into_iter().map(object).collect(), folders.collect()))
        })
    }

    /// `None` where there is no such object.
    pub fn find(&self, key: &str) -> Result<Option<Object>, StorageError> {
        let path = path(key);
        let found = absent(self.run(move |store| async move { store.head(&path).await.map(object) }));
        // A store below a prefix tells the whole name.
        found.map(|found| found.map(|object| Object { key: key.to_owned(), ..object }))
    }

    /// The whole content as a stream; `version`: that of [`Object`], so that an object that changes meanwhile is an error and not a
    /// mixture.
    pub fn reader(&self, object: &Object) -> Result<ObjectReader, StorageError> {
        let path = path(&object.key);
        let options = GetOptions { if_match: object.version.clone(), ..GetOptions::default() };
        let place = self.place();
        let (sender, receiver) = sent();
        let opened = self.run(move |store| async move { store.get_opts(&path, options).await })?;
        let size = opened.meta.size;
        let mut stream = opened.into_stream();
        let task = runtime::spawn(async move {
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| StorageError::of(&place, &error));
                let ends = chunk.is_err();
                if sender.send(chunk).await.is_err() || ends {
                    return;
                }
            }
        });
        task.ok_or_else(|| self.error(Trouble::Interrupted))?;
        Ok(ObjectReader::new(receiver, size, self.place()))
    }

    pub fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let path = path(key);
        self.run(move |store| async move { store.get_range(&path, range).await })
    }

    /// The last bytes of an object, and how long it is.
    pub fn tail(&self, key: &str, most: u64) -> Result<(Bytes, u64), StorageError> {
        let path = path(key);
        // Azure has no ranges that count from the end.
        let suffix = self.location.scheme() != Scheme::Azure;
        self.run(move |store| async move {
            let range = if suffix {
                GetRange::Suffix(most)
            } else {
                GetRange::Offset(store.head(&path).await?.size.saturating_sub(most))
            };
            let got = store.get_opts(&path, GetOptions { range: Some(range), ..GetOptions::default() }).await?;
            let size = got.meta.size;
            Ok((got.bytes().await?, size))
        })
    }

    /// The whole of a small object; one that is larger than `most` is not fetched. `None` where it does not exist.
    pub fn small(&self, key: &str, most: u64) -> Result<Option<Bytes>, StorageError> {
        let path = path(key);
        let got = self.run(move |store| async move {
            let got = store.get(&path).await?;
            if got.meta.size > most {
                return Err(object_store::Error::NotSupported { source: "too large".into() });
            }
            got.bytes().await
        });
        absent(got)
    }

    /// Writes an object whose name nobody has taken: of two who try, one is told [`Trouble::Exists`], however close they come.
    pub fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        let (bytes, until) = (Bytes::from(bytes), Instant::now() + self.patience);
        let mut asked = 0;
        loop {
            asked += 1;
            let (path, content) = (path(key), bytes.clone());
            let put = self.run(move |store| async move {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                store.put_opts(&path, content.into(), options).await.map(drop)
            });
            // Of S3, who comes second is told that a condition failed.
            let put = put.map_err(|error| match error.trouble {
                Trouble::Changed => self.error(Trouble::Exists),
                _ => error,
            });
            match put {
                Ok(()) => break,
                // A request whose answer was lost is sent again, and then finds its own.
                Err(error) if error.trouble == Trouble::Exists && asked > 1 => {
                    match self.small(key, bytes.len() as u64) {
                        Ok(Some(there)) if there == bytes => break,
                        Err(unread) if unread.trouble != Trouble::Unsupported => return Err(unread),
                        // Somebody else's, which may be longer.
                        _ => return Err(error),
                    }
                }
                Err(error) if again(&error, asked, until) => std::thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        self.look(key, Written::Whole)
    }

    /// Uploads a file, a long one in parts. It is not to be seen before all of it is there; where that fails, the parts are given up.
    pub fn upload(&self, key: &str, file: &FilePath) -> Result<(), StorageError> {
        let (store, path, place) = (self.object_store(), path(key), self.place());
        let (file, patience) = (file.to_path_buf(), self.patience);
        let how = runtime::wait(&self.place(), async move {
            let (until, mut asked) = (Instant::now() + patience, 0);
            loop {
                asked += 1;
                match upload(&store, &path, &file, &place).await {
                    Err(error) if again(&error, asked, until) => sleep(PAUSE).await,
                    uploaded => return uploaded,
                }
            }
        })?;
        self.look(key, how)
    }

    /// Gives up uploads in parts below a prefix that were begun longer than `age` ago and not finished, as those of a writer that was
    /// killed; says how many. Nothing where the store forgets them by itself, or may not be asked for them.
    pub fn give_up_uploads(&self, prefix: &str, age: Duration) -> Result<usize, StorageError> {
        let Some(uploads) = self.uploads.clone() else { return Ok(0) };
        let names = [self.location.prefix(), prefix.trim_matches('/')];
        let below =
            names.into_iter().filter(|name| !name.is_empty()).fold(String::new(), |below, name| below + name + "/");
        let (place, before) = (self.place(), abandoned(SystemTime::now(), age));
        let given_up = runtime::wait(&self.place(), async move {
            uploads.give_up(&below, before).await.map_err(|trouble| StorageError { place, trouble })
        });
        match given_up {
            // Who may write need not have the right to list uploads; the bucket's own rules may end them then.
            Err(StorageError { trouble: Trouble::Denied | Trouble::NotFound | Trouble::Unsupported, .. }) => Ok(0),
            given_up => given_up,
        }
    }

    /// The first object that was written in this way: whether the store did what was asked for. One that did not keeps nothing.
    fn look(&self, key: &str, how: Written) -> Result<(), StorageError> {
        let Some(sealing) = self.sealing.as_ref().filter(|sealing| !sealing.is_proven(how)) else { return Ok(()) };
        let path = path(key);
        let looked = self.run(move |store| async move {
            let mut options = GetOptions { head: true, ..GetOptions::default() };
            options.extensions.insert(Look);
            store.get_opts(&path, options).await.map(drop)
        });
        looked.map_err(|error| match error.trouble {
            Trouble::NotSealed { .. } => self.error(Trouble::NotSealed { removed: self.remove(key).is_ok() }),
            _ => error,
        })?;
        sealing.proven(how);
        Ok(())
    }

    /// Removes an object; one that is not there is removed already.
    pub fn remove(&self, key: &str) -> Result<(), StorageError> {
        let path = path(key);
        absent(self.run(move |store| async move { store.delete(&path).await })).map(drop)
    }

    fn run<T, F>(&self, ask: impl FnOnce(Arc<dyn ObjectStore>) -> F + Send + 'static) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, object_store::Error>> + Send,
    {
        let (store, place) = (self.object_store(), self.place());
        runtime::wait(&self.place(), async move { ask(store).await.map_err(|error| StorageError::of(&place, &error)) })
    }

    fn place(&self) -> String {
        self.location.root()
    }

    fn error(&self, trouble: Trouble) -> StorageError {
        StorageError { place: self.place(), trouble }
    }
}

/// Whether what failed is begun again. Clients of stores send most requests again themselves, until patience ends; not those of which
/// nobody knows whether they came there.
fn again(error: &StorageError, asked: usize, until: Instant) -> bool {
    match error.trouble {
        Trouble::Status { .. } => false,
        Trouble::Interrupted if asked < MOST_TRIES => true,
        _ => error.is_passing() && Instant::now() < until,
    }
}

async fn upload(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    file: &FilePath,
    place: &str,
) -> Result<Written, StorageError> {
    let told = |error: &std::io::Error| {
        let of_store = error.get_ref().and_then(|error| error.downcast_ref::<object_store::Error>());
        let of_file = || {
            let trouble = Trouble::File { path: file.display().to_string(), kind: error.kind() };
            StorageError { place: place.to_owned(), trouble }
        };
        of_store.map_or_else(of_file, |error| StorageError::of(place, error))
    };
    let mut source = tokio::fs::File::open(file).await.map_err(|error| told(&error))?;
    source.set_max_buf_size(READ);
    let mut writer = BufWriter::with_capacity(Arc::clone(store), path.clone(), PART).with_max_concurrency(UPLOADS);
    let copied = tokio::io::copy_buf(&mut BufReader::with_capacity(READ, source), &mut writer).await;
    let how = match copied {
        Ok(length) if length > PART as u64 => Written::InParts,
        _ => Written::Whole,
    };
    if let Err(error) = copied {
        // Where that fails too, the store's own rules remove what was begun.
        let _ = writer.abort().await;
        return Err(told(&error));
    }
    // An upload that cannot be finished is given up by the writer itself.
    writer.shutdown().await.map_err(|error| told(&error))?;
    Ok(how)
}

/// A name as it was listed. `Path::from` would write some of its signs in another way, and then find nothing.
fn path(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

fn object(meta: ObjectMeta) -> Object {
    Object { key: meta.location.to_string(), size: meta.size, modified: meta.last_modified.into(), version: meta.e_tag }
}

fn absent<T>(found: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StorageError { trouble: Trouble::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

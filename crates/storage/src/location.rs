//! Addresses of stores and of what is in them.

use std::fmt;

use url::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `s3://bucket/prefix`
    S3,
    /// `az://container/prefix` or `abfss://container@account.dfs.core.windows.net/prefix`
    Azure,
    /// `gs://bucket/prefix`
    Google,
    /// `hdfs://namenode:port/prefix` or `hdfs://nameservice/prefix`
    Hdfs,
}

/// A place in an object store: a bucket, a container or a cluster, and a prefix of names there. Holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    scheme: Scheme,
    bucket: String,
    account: Option<String>,
    prefix: String,
}

/// Why an address means no place. It never repeats the address: what is wrong in it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error(
        "this is no address of an object store: write `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, \
             `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX`, `gs://BUCKET/PREFIX` or `hdfs://NAMENODE:PORT/PREFIX`"
    )]
    NotAStore,
    #[error("the address of a store holds a password, a signature or a query: credentials come from the environment")]
    HoldsASecret,
    #[error("the address names no bucket, container or name node")]
    NoBucket,
    #[error("a name in the address is empty, `.` or `..`")]
    OddName,
}

impl Location {
    /// Whether a path is meant for an object store and not for the file system.
    pub fn is_url(path: &str) -> bool {
        path.split_once("://").is_some_and(|(scheme, _)| {
            scheme.len() > 1
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        })
    }

    pub fn parse(address: &str) -> Result<Self, LocationError> {
        // What stands behind the bucket is taken as it is written: names of objects may hold any sign, and globs do.
        let (scheme, rest) = address.split_once("://").ok_or(LocationError::NotAStore)?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|_| LocationError::NotAStore)?;
        if url.password().is_some() || authority.contains(['?', '#']) {
            return Err(LocationError::HoldsASecret);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let (scheme, bucket, account) = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => (Scheme::S3, host, None),
            "gs" => (Scheme::Google, host, None),
            "hdfs" => (Scheme::Hdfs, url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")), None),
            "az" | "azure" | "abfs" | "abfss" if url.username().is_empty() => (Scheme::Azure, host, None),
            "abfs" | "abfss" => {
                let account = host.split('.').next().unwrap_or_default().to_owned();
                (Scheme::Azure, url.username().to_owned(), Some(account))
            }
            _ => return Err(LocationError::NotAStore),
        };
        if scheme != Scheme::Azure && !url.username().is_empty() {
            return Err(LocationError::HoldsASecret);
        }
        if bucket.is_empty() {
            return Err(LocationError::NoBucket);
        }
        let prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && prefix.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(LocationError::OddName);
        }
        Ok(Self { scheme, bucket, account, prefix })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket or container; of HDFS the name node or the name service.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Of Azure, where the address names it.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Without a slash at either end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The bucket's own address, by which a project's settings for it are found.
    pub fn root(&self) -> String {
        let scheme = match self.scheme {
            Scheme::S3 => "s3",
            Scheme::Azure => "az",
            Scheme::Google => "gs",
            Scheme::Hdfs => "hdfs",
        };
        match &self.account {
            Some(account) => format!("abfss://{}@{account}", self.bucket),
            None => format!("{scheme}://{}", self.bucket),
        }
    }

    /// The same bucket, another prefix.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Self { prefix: prefix.trim_matches('/').to_owned(), ..self.clone() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.root())?;
        if self.prefix.is_empty() { Ok(()) } else { write!(out, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_mean_places() {
        let of = |address: &str| Location::parse(address).map(|place| (place.root(), place.prefix().to_owned()));
        for (address, root, prefix) in [
            ("s3://lake", "s3://lake", ""),
            ("s3a://lake/", "s3://lake", ""),
            ("s3://lake/a/b c/*.csv", "s3://lake", "a/b c/*.csv"),
            ("gs://lake/a", "gs://lake", "a"),
            ("az://lake/a", "az://lake", "a"),
            ("abfss://lake@acc.dfs.core.windows.net/a/b/", "abfss://lake@acc", "a/b"),
            ("hdfs://nn.example:8020/a/b", "hdfs://nn.example:8020", "a/b"),
            ("hdfs://clinic/a", "hdfs://clinic", "a"),
            ("hdfs://[::1]:8020", "hdfs://[::1]:8020", ""),
        ] {
            assert_eq!(of(address), Ok((root.to_owned(), prefix.to_owned())), "{address}");
        }
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_repeating_it() {
        for address in
            ["s3://key:hunter2@lake/a", "s3://hunter2@lake/a", "az://lake?sig=hunter2", "hdfs://a:hunter2@nn"]
        {
            let error = Location::parse(address).err();
            assert_eq!(error, Some(LocationError::HoldsASecret), "{address}");
            assert!(!error.map(|error| error.to_string()).unwrap_or_default().contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for (address, error) in [
            ("ftp://lake/a", LocationError::NotAStore),
            ("lake/a", LocationError::NotAStore),
            ("s3:///a", LocationError::NoBucket),
            ("hdfs:///a", LocationError::NoBucket),
            ("webhdfs://nn/a", LocationError::NotAStore),
            ("s3://lake/a//b", LocationError::OddName),
            ("s3://lake/../b", LocationError::OddName),
        ] {
            assert_eq!(Location::parse(address), Err(error), "{address}");
        }
        assert!(!Location::is_url("C://x") && !Location::is_url("/data/a") && Location::is_url("ftp://x/y"));
    }
}

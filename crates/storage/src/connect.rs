//! Connections to stores: TLS, trust, time limits and whose credentials.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cordon_keystore::credentials::{
    AZURE_STORAGE, AwsIdentity, AzureIdentity, GOOGLE_STORAGE, GoogleIdentity, Surroundings, Tokens,
};
use cordon_keystore::is_loopback;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureAccessKey, AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::SpawnedReqwestConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Handle;
use url::Url;

use crate::error::{StorageError, Trouble};
use crate::identity::Asked;
use crate::location::{Location, Scheme};
use crate::sealing::{Sealing, SealingConnector};
use crate::settings::{ServerEncryption, StoreSettings};
use crate::uploads::{Uploads, Who};

const CONNECT: Duration = Duration::from_secs(10);
/// The most for a request; a part of a multipart upload is one.
const REQUEST: Duration = Duration::from_mins(2);
const SHORTEST: Duration = Duration::from_secs(5);
const RETRY_SECONDS: u64 = 60;
const MOST_RETRIES: usize = 10;

/// Where machines of the clouds ask for their own identity.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), 80);

pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) struct Connector<'a> {
    pub location: &'a Location,
    pub settings: &'a StoreSettings,
    /// What relative paths of the settings are relative to.
    pub folder: &'a Path,
    pub env: Environment<'a>,
    /// Whether the machine may have an identity of its own.
    pub has_identity: &'a dyn Fn() -> bool,
}

/// Whether somebody answers where machines of the clouds ask for their identity.
pub(crate) fn has_identity() -> bool {
    TcpStream::connect_timeout(&METADATA, Duration::from_secs(1)).is_ok()
}

/// A store, and what is done beside what all stores do.
pub(crate) struct Connected {
    pub store: Arc<dyn ObjectStore>,
    pub sealing: Option<Arc<Sealing>>,
    pub uploads: Option<Arc<Uploads>>,
}

struct Common {
    options: ClientOptions,
    retry: RetryConfig,
    http: SealingConnector,
    sealing: Option<Arc<Sealing>>,
    handle: Handle,
}

/// The builders of the three clouds have the same methods and no trait of them.
macro_rules! built {
    ($connector:expr, $builder:expr, $common:expr) => {{
        let Common { options, retry, http, .. } = &$common;
        let builder = $builder.with_client_options(options.clone()).with_retry(retry.clone());
        let store = builder.with_http_connector(http.clone()).build().map_err(|error| $connector.failed(&error))?;
        Arc::new(store) as Arc<dyn ObjectStore>
    }};
}

impl Connector<'_> {
    pub(crate) fn connect(&self) -> Result<Connected, StorageError> {
        match self.location.scheme() {
            Scheme::S3 => self.s3(),
            Scheme::Azure => self.azure(),
            Scheme::Google => self.google(),
            Scheme::Hdfs => Ok(Connected { store: self.hdfs()?, sealing: None, uploads: None }),
        }
    }

    fn s3(&self) -> Result<Connected, StorageError> {
        let settings = self.settings;
        let around = self.surroundings();
        let has = |name| around.variable(name).is_some();
        // Half a pair is a slip of the pen: another identity that happens to be there is not what was meant.
        if settings.profile.is_none() && has("AWS_ACCESS_KEY_ID") != has("AWS_SECRET_ACCESS_KEY") {
            let help = "it and `AWS_SECRET_ACCESS_KEY` go together: set both, or neither";
            return Err(self.setting("AWS_ACCESS_KEY_ID", help));
        }
        let identity = AwsIdentity::new(around, settings.profile.as_deref(), settings.region.as_deref());
        let known = |result: Result<_, _>| result.map_err(|trouble| self.error(Trouble::of_identity(&trouble)));
        if known(identity.of_machine_only())? {
            self.machine("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_WEB_IDENTITY_TOKEN_FILE")?;
        }
        let told = |given: &Option<String>, variables: &[&str], key| match given {
            Some(value) => Ok(Some(value.clone())),
            None => identity.setting(variables, key).map_err(|trouble| self.error(Trouble::of_identity(&trouble))),
        };
        let region = told(&settings.region, &["AWS_REGION", "AWS_DEFAULT_REGION"], "region")?;
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = told(&settings.endpoint, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url")?;
        let common = self.common(endpoint.as_deref(), None)?;
        let provider = Asked::new(identity, common.handle.clone());
        let mut builder = AmazonS3Builder::new().with_region(&region).with_credentials(Arc::clone(&provider) as _);
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let asking = |builder: AmazonS3Builder, kind: &str| {
            let key: AmazonS3ConfigKey = "aws_server_side_encryption".parse().map_err(|error| self.failed(&error))?;
            Ok::<_, StorageError>(builder.with_config(key, kind))
        };
        builder = match &settings.server_encryption {
            Some(ServerEncryption::SseS3) => asking(builder, "AES256")?,
            Some(ServerEncryption::SseKms(kms)) => {
                let builder = match &kms.key {
                    Some(key) => builder.with_sse_kms_encryption(key),
                    None => asking(builder, "aws:kms")?,
                };
                if kms.bucket_key { builder.with_bucket_key(true) } else { builder }
            }
            _ => builder,
        };
        let builder = builder.with_bucket_name(self.location.bucket());
        let base = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let uploads = self.uploads(&common, &base, Who::Aws { provider, region });
        Ok(Connected { store: built!(self, builder, common), sealing: common.sealing, uploads: Some(uploads) })
    }

    fn azure(&self) -> Result<Connected, StorageError> {
        let around = self.surroundings();
        let variable = |name| around.variable(name).map(|text| text.to_string());
        let account = self.location.account().map(str::to_owned);
        let account =
            account.or_else(|| self.settings.account.clone()).or_else(|| variable("AZURE_STORAGE_ACCOUNT_NAME"));
        let (key, signature) =
            (around.variable("AZURE_STORAGE_ACCOUNT_KEY"), around.variable("AZURE_STORAGE_SAS_TOKEN"));
        let identity = AzureIdentity::new(around.clone(), AZURE_STORAGE);
        if key.is_none() && signature.is_none() && identity.of_machine_only() {
            self.machine(
                "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE",
            )?;
        }
        let Some(account) = account else {
            return Err(self.setting("account", "say whose container it is: `account`, or AZURE_STORAGE_ACCOUNT_NAME"));
        };
        let signed = key.as_ref().and_then(|key| Some((account.clone(), AzureAccessKey::try_new(key).ok()?)));
        let endpoint = self.settings.endpoint.clone().or_else(|| variable("AZURE_STORAGE_ENDPOINT"));
        let common = self.common(endpoint.as_deref(), signed)?;
        let mut builder = MicrosoftAzureBuilder::new().with_account(account);
        builder = match (key, signature) {
            (Some(key), _) => builder.with_access_key(key.as_str()),
            (None, Some(signature)) => builder.with_config(AzureConfigKey::SasKey, signature.as_str()),
            (None, None) => builder.with_credentials(Asked::new(identity, common.handle.clone())),
        };
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let builder = builder.with_container_name(self.location.bucket());
        Ok(Connected { store: built!(self, builder, common), sealing: common.sealing, uploads: None })
    }

    fn google(&self) -> Result<Connected, StorageError> {
        let identity = GoogleIdentity::new(self.surroundings(), GOOGLE_STORAGE);
        if identity.of_machine_only() {
            self.machine("GOOGLE_APPLICATION_CREDENTIALS")?;
        }
        let endpoint = self.settings.endpoint.as_deref();
        let common = self.common(endpoint, None)?;
        let provider = Asked::new(identity, common.handle.clone());
        let mut builder = GoogleCloudStorageBuilder::new().with_credentials(Arc::clone(&provider) as _);
        if let Some(endpoint) = endpoint {
            builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
        }
        let builder = builder.with_bucket_name(self.location.bucket());
        let base = endpoint.unwrap_or("https://storage.googleapis.com");
        let uploads = self.uploads(&common, base, Who::Google(provider));
        Ok(Connected { store: built!(self, builder, common), sealing: common.sealing, uploads: Some(uploads) })
    }

    /// What is the same of each: whom to trust, how long to wait, and what is asked for with every write.
    fn common(&self, endpoint: Option<&str>, signed: Option<(String, AzureAccessKey)>) -> Result<Common, StorageError> {
        let allow_http = endpoint.is_some_and(is_http);
        endpoint.map_or(Ok(()), |endpoint| self.check(endpoint))?;
        let fits = match (&self.settings.server_encryption, self.location.scheme()) {
            (None, _)
            | (Some(ServerEncryption::SseS3 | ServerEncryption::SseKms(_)), Scheme::S3)
            | (Some(ServerEncryption::AzureScope(_)), Scheme::Azure)
            | (Some(ServerEncryption::GoogleKms(_)), Scheme::Google) => true,
            (Some(_), _) => false,
        };
        if !fits {
            let help = "S3 knows `sse-s3` and `sse-kms`, Azure `azure-scope`, Google `google-kms`";
            return Err(self.setting("server-encryption", help));
        }
        let handle = crate::runtime::handle().ok_or_else(|| self.error(Trouble::Interrupted))?;
        let sealing = self.settings.server_encryption.clone().map(Sealing::new);
        let inner = Arc::new(SpawnedReqwestConnector::new(handle.clone()));
        let http = SealingConnector { inner, sealing: sealing.clone(), signed };
        Ok(Common { options: self.client(allow_http)?, retry: self.retry(), http, sealing, handle })
    }

    fn uploads(&self, common: &Common, base: &str, who: Who) -> Arc<Uploads> {
        let bucket = format!("{}/{}", base.trim_end_matches('/'), self.location.bucket());
        let (connector, options) = (Arc::clone(&common.http.inner), common.options.clone());
        Arc::new(Uploads { connector, options, bucket, who, retry: self.retry() })
    }

    /// The part of the environment that credentials are looked for in.
    fn surroundings(&self) -> Surroundings {
        let ca_file = self.settings.ca_file.as_ref().map(|file| self.folder.join(file));
        let seen = |name: &str| if name == "HOME" { (self.env)(name) } else { self.var(name) };
        Surroundings::of(&seen).trusting(ca_file).patient(self.patience())
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        let prefix = self.settings.env_prefix.as_deref().unwrap_or_default();
        (self.env)(&format!("{prefix}{name}")).filter(|value| !value.is_empty())
    }

    /// Where nobody gave credentials, the machine may have an identity: asked for only where somebody answers.
    fn machine(&self, wanted: &'static str) -> Result<(), StorageError> {
        if (self.has_identity)() { Ok(()) } else { Err(self.error(Trouble::NoCredentials { wanted })) }
    }

    /// Without TLS only this machine is spoken to.
    fn check(&self, endpoint: &str) -> Result<(), StorageError> {
        let url = Url::parse(endpoint).map_err(|_| self.setting("endpoint", "write `https://HOST[:PORT]`"))?;
        if url.password().is_some() || !url.username().is_empty() || url.query().is_some() {
            return Err(self.setting("endpoint", "credentials come from the environment"));
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if url.host_str().is_some_and(is_loopback) => Ok(()),
            _ => Err(self.setting(
                "endpoint",
                "it must begin with `https://`: what is not on this machine is spoken to over TLS only",
            )),
        }
    }

    fn client(&self, allow_http: bool) -> Result<ClientOptions, StorageError> {
        let patience = (self.patience() * 2).clamp(SHORTEST, REQUEST);
        let mut client = ClientOptions::new()
            .with_allow_http(allow_http)
            .with_connect_timeout(CONNECT.min(patience))
            .with_timeout(patience);
        if let Some(file) = &self.settings.ca_file {
            let path = self.folder.join(file);
            let pem = std::fs::read(&path)
                .map_err(|error| self.error(Trouble::File { path: path.display().to_string(), kind: error.kind() }))?;
            let bundle = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if bundle.is_empty() {
                return Err(self.setting("ca-file", "it holds no certificate in PEM"));
            }
            for certificate in bundle {
                client = client.with_root_certificate(certificate);
            }
        }
        Ok(client)
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(200),
                max_backoff: Duration::from_secs(15),
                base: 2.0,
            },
            max_retries: MOST_RETRIES,
            retry_timeout: self.patience(),
        }
    }

    /// How long what may pass is waited for.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.settings.retry_seconds.unwrap_or(RETRY_SECONDS))
    }

    pub(crate) fn error(&self, trouble: Trouble) -> StorageError {
        StorageError { place: self.location.root(), trouble }
    }

    pub(crate) fn setting(&self, what: &'static str, help: &'static str) -> StorageError {
        self.error(Trouble::Setting { what, help })
    }

    fn failed(&self, error: &object_store::Error) -> StorageError {
        match error {
            object_store::Error::Generic { .. } => {
                self.setting("the configuration", "a key or an address in the environment is malformed")
            }
            other => StorageError::of(&self.location.root(), other),
        }
    }
}

fn is_http(endpoint: &str) -> bool {
    Url::parse(endpoint).is_ok_and(|url| url.scheme() == "http")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(location: &str, settings: &StoreSettings, env: &[(&str, &str)]) -> Option<Trouble> {
        let location = Location::parse(location).ok()?;
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let connector =
            Connector { location: &location, settings, folder: Path::new("."), env: &env, has_identity: &|| false };
        connector.connect().err().map(|error| error.trouble)
    }

    const KEYS: [(&str, &str); 3] =
        [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "us-east-1")];

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for (endpoint, allowed) in [
            ("https://store.example", true),
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000", true),
            ("http://[::1]:9000", true),
            ("http://store.example", false),
            ("http://127.0.0.1.example", false),
            ("https://a:b@store.example", false),
            ("store.example", false),
        ] {
            let settings = StoreSettings { endpoint: Some(endpoint.to_owned()), ..StoreSettings::default() };
            assert_eq!(trouble("s3://lake", &settings, &KEYS).is_none(), allowed, "{endpoint}");
        }
        // The environment cannot lift it either.
        let env =
            [KEYS.as_slice(), &[("AWS_ENDPOINT_URL", "http://store.example"), ("AWS_ALLOW_HTTP", "true")]].concat();
        assert!(matches!(
            trouble("s3://lake", &StoreSettings::default(), &env),
            Some(Trouble::Setting { what: "endpoint", .. })
        ));
    }

    #[test]
    fn two_stores_have_two_identities() {
        let settings = StoreSettings { env_prefix: Some("LAKE_".to_owned()), ..StoreSettings::default() };
        assert!(matches!(trouble("s3://lake", &settings, &KEYS), Some(Trouble::NoCredentials { .. })));
        let lake = KEYS.map(|(name, value)| (format!("LAKE_{name}"), value));
        let lake: Vec<(&str, &str)> = lake.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(trouble("s3://lake", &settings, &lake), None);
    }

    #[test]
    fn server_side_encryption_is_that_of_the_store() {
        let azure = [("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"), ("AZURE_STORAGE_ACCOUNT_NAME", "acc")];
        let env = [KEYS.as_slice(), &azure].concat();
        for (location, asked, fits) in [
            ("s3://lake", ServerEncryption::SseS3, true),
            ("az://lake", ServerEncryption::SseS3, false),
            ("az://lake", ServerEncryption::AzureScope("phi".to_owned()), true),
            ("s3://lake", ServerEncryption::AzureScope("phi".to_owned()), false),
            ("s3://lake", ServerEncryption::GoogleKms("k".to_owned()), false),
        ] {
            let settings = StoreSettings { server_encryption: Some(asked), ..StoreSettings::default() };
            assert_eq!(trouble(location, &settings, &env).is_none(), fits, "{location}");
        }
    }

    #[test]
    fn a_profile_that_is_named_and_not_there_is_said() {
        let settings = StoreSettings { profile: Some("nobody".to_owned()), ..StoreSettings::default() };
        let said = trouble("s3://lake", &settings, &KEYS);
        assert!(matches!(said, Some(Trouble::Credentials { what, .. }) if what.contains("`nobody`")));
    }

    #[test]
    fn half_a_pair_of_keys_is_no_other_identity() {
        for half in [&KEYS[..1], &KEYS[1..]] {
            let told = trouble("s3://lake", &StoreSettings::default(), half);
            assert!(matches!(told, Some(Trouble::Setting { what: "AWS_ACCESS_KEY_ID", .. })), "{told:?}");
        }
    }

    #[test]
    fn azure_needs_to_know_whose_container_it_is() {
        let env = [("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")];
        let none = StoreSettings::default();
        assert!(matches!(trouble("az://lake", &none, &env), Some(Trouble::Setting { what: "account", .. })));
        assert_eq!(trouble("abfss://lake@acc.dfs.core.windows.net/a", &none, &env), None);
        let env = [env.as_slice(), &[("AZURE_STORAGE_ACCOUNT_NAME", "acc")]].concat();
        assert_eq!(trouble("az://lake", &none, &env), None);
    }
}

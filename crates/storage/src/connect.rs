//! Connections to stores: TLS, trust, time limits and whose credentials.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::SpawnedReqwestConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::{Host, Url};

use crate::error::{StorageError, Trouble};
use crate::location::{Location, Scheme};
use crate::settings::StoreSettings;

const CONNECT: Duration = Duration::from_secs(10);
/// Of a whole request; a part of a multipart upload is one.
const REQUEST: Duration = Duration::from_mins(2);
const RETRY_SECONDS: u64 = 60;
const MOST_RETRIES: usize = 10;

/// What of the environment is passed on. Nothing of it can turn off TLS, its checks or signatures.
const AWS: [&str; 13] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
];
const AZURE: [&str; 11] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_MSI_RESOURCE_ID",
    "AZURE_STORAGE_ENDPOINT",
];
const GOOGLE: [&str; 3] = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"];

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

impl Connector<'_> {
    pub(crate) fn connect(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        match self.location.scheme() {
            Scheme::S3 => self.s3(),
            Scheme::Azure => self.azure(),
            Scheme::Google => self.google(),
            Scheme::Hdfs => self.hdfs(),
        }
    }

    fn s3(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let mut builder = AmazonS3Builder::new();
        let mut found = self.named::<AmazonS3ConfigKey>(&AWS);
        let has = |found: &[(AmazonS3ConfigKey, String)], key| found.iter().any(|(known, _)| *known == key);
        let profile = self.settings.profile.clone().or_else(|| self.var("AWS_PROFILE"));
        // As with the cloud's own tools, what the environment says itself counts before a profile, and a profile that is asked for by
        // name in the project before the environment.
        if self.settings.profile.is_some() || !has(&found, AmazonS3ConfigKey::AccessKeyId) {
            for (key, value) in self.profile(profile.as_deref())? {
                found.retain(|(known, _)| *known != key || self.settings.profile.is_none());
                if !has(&found, key) {
                    found.push((key, value));
                }
            }
        }
        if has(&found, AmazonS3ConfigKey::AccessKeyId) != has(&found, AmazonS3ConfigKey::SecretAccessKey) {
            let help = "it and `AWS_SECRET_ACCESS_KEY` go together: set both, or neither";
            return Err(self.setting("AWS_ACCESS_KEY_ID", help));
        }
        let endpoint = self.settings.endpoint.clone().or_else(|| {
            let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
            keys.iter().find_map(|key| found.iter().find(|(known, _)| known == key)).map(|(_, url)| url.clone())
        });
        found.retain(|(key, _)| !matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint));
        let anybody = [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::WebIdentityTokenFile,
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ]
        .into_iter()
        .any(|key| has(&found, key));
        if !anybody {
            self.machine("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_WEB_IDENTITY_TOKEN_FILE")?;
        }
        for (key, value) in found {
            builder = builder.with_config(key, value);
        }
        if let Some(region) = &self.settings.region {
            builder = builder.with_region(region);
        }
        let allow_http = match &endpoint {
            Some(endpoint) => {
                builder = builder.with_endpoint(endpoint);
                self.endpoint(endpoint)?
            }
            None => false,
        };
        if let Some(key) = &self.settings.sse_kms_key {
            builder = builder.with_sse_kms_encryption(key);
        }
        let store = builder
            .with_bucket_name(self.location.bucket())
            .with_client_options(self.client(allow_http)?)
            .with_retry(self.retry())
            .with_http_connector(self.connector()?)
            .build()
            .map_err(|error| self.failed(&error))?;
        Ok(Arc::new(store))
    }

    fn azure(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let mut builder = MicrosoftAzureBuilder::new();
        let mut found = self.named::<AzureConfigKey>(&AZURE);
        let has = |key| found.iter().any(|(known, _)| *known == key);
        let named = [
            AzureConfigKey::AccessKey,
            AzureConfigKey::SasKey,
            AzureConfigKey::ClientSecret,
            AzureConfigKey::FederatedTokenFile,
        ];
        if !named.into_iter().any(has) && !has(AzureConfigKey::MsiEndpoint) {
            self.machine(
                "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE",
            )?;
        }
        let in_environment = |key| found.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone());
        let account = self.location.account().map(str::to_owned);
        let account =
            account.or_else(|| self.settings.account.clone()).or_else(|| in_environment(AzureConfigKey::AccountName));
        let Some(account) = account else {
            return Err(self.setting("account", "say whose container it is: `account`, or AZURE_STORAGE_ACCOUNT_NAME"));
        };
        let endpoint = self.settings.endpoint.clone().or_else(|| in_environment(AzureConfigKey::Endpoint));
        found.retain(|(key, _)| !matches!(key, AzureConfigKey::Endpoint | AzureConfigKey::AccountName));
        for (key, value) in found {
            builder = builder.with_config(key, value);
        }
        let allow_http = match endpoint {
            Some(endpoint) => {
                let allow_http = self.endpoint(&endpoint)?;
                builder = builder.with_endpoint(endpoint);
                allow_http
            }
            None => false,
        };
        let store = builder
            .with_account(account)
            .with_container_name(self.location.bucket())
            .with_client_options(self.client(allow_http)?)
            .with_retry(self.retry())
            .with_http_connector(self.connector()?)
            .build()
            .map_err(|error| self.failed(&error))?;
        Ok(Arc::new(store))
    }

    fn google(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let mut builder = GoogleCloudStorageBuilder::new();
        let mut found = self.named::<GoogleConfigKey>(&GOOGLE);
        // Which the cloud's own tool leaves in the home folder.
        let default = self.home().map(|home| home.join(".config/gcloud/application_default_credentials.json"));
        if found.is_empty() {
            match default.filter(|file| file.is_file()) {
                Some(file) => {
                    found.push((GoogleConfigKey::ApplicationCredentials, file.to_string_lossy().into_owned()));
                }
                None => self.machine("GOOGLE_APPLICATION_CREDENTIALS")?,
            }
        }
        for (key, value) in found {
            builder = builder.with_config(key, value);
        }
        let allow_http = match &self.settings.endpoint {
            Some(endpoint) => {
                builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
                self.endpoint(endpoint)?
            }
            None => false,
        };
        let store = builder
            .with_bucket_name(self.location.bucket())
            .with_client_options(self.client(allow_http)?)
            .with_retry(self.retry())
            .with_http_connector(self.connector()?)
            .build()
            .map_err(|error| self.failed(&error))?;
        Ok(Arc::new(store))
    }

    pub(crate) fn var(&self, name: &str) -> Option<String> {
        let prefix = self.settings.env_prefix.as_deref().unwrap_or_default();
        (self.env)(&format!("{prefix}{name}")).filter(|value| !value.is_empty())
    }

    fn named<K: FromStr>(&self, names: &[&str]) -> Vec<(K, String)> {
        let known = names.iter().filter_map(|name| Some((name.to_ascii_lowercase().parse().ok()?, self.var(name)?)));
        known.collect()
    }

    fn home(&self) -> Option<PathBuf> {
        (self.env)("HOME").map(PathBuf::from)
    }

    /// Credentials of a profile, or of the default one where there is one.
    fn profile(&self, name: Option<&str>) -> Result<Vec<(AmazonS3ConfigKey, String)>, StorageError> {
        let of_home = |name: &str| self.home().map(|home| home.join(".aws").join(name));
        let file = |variable: &str, name: &str| self.var(variable).map(PathBuf::from).or_else(|| of_home(name));
        let read = |path: Option<PathBuf>| path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let credentials = read(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        let config = read(file("AWS_CONFIG_FILE", "config"));
        let wanted = name.unwrap_or("default");
        let mut found = section(&credentials, |head| head == wanted);
        let in_config =
            |head: &str| head == wanted && wanted == "default" || head.strip_prefix("profile ") == Some(wanted);
        found.extend(section(&config, in_config));
        if name.is_some() && found.is_empty() {
            return Err(self.setting("profile", "neither ~/.aws/credentials nor ~/.aws/config has it"));
        }
        let keys = [
            ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
            ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
            ("aws_session_token", AmazonS3ConfigKey::Token),
            ("region", AmazonS3ConfigKey::Region),
            ("endpoint_url", AmazonS3ConfigKey::Endpoint),
            ("web_identity_token_file", AmazonS3ConfigKey::WebIdentityTokenFile),
            ("role_arn", AmazonS3ConfigKey::RoleArn),
        ];
        let value = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Ok(keys.into_iter().filter_map(|(name, key)| Some((key, value(name)?))).collect())
    }

    /// Where nobody gave credentials, the machine may have an identity: asked for only where somebody answers.
    fn machine(&self, wanted: &'static str) -> Result<(), StorageError> {
        if (self.has_identity)() { Ok(()) } else { Err(self.error(Trouble::NoCredentials { wanted })) }
    }

    /// Whether an endpoint may be spoken to without TLS: only where it is this machine.
    fn endpoint(&self, endpoint: &str) -> Result<bool, StorageError> {
        let url = Url::parse(endpoint).map_err(|_| self.setting("endpoint", "write `https://HOST[:PORT]`"))?;
        if url.password().is_some() || !url.username().is_empty() || url.query().is_some() {
            return Err(self.setting("endpoint", "credentials come from the environment"));
        }
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => Ok(false),
            "http" if local => Ok(true),
            _ => Err(self.setting(
                "endpoint",
                "it must begin with `https://`: what is not on this machine is spoken to over TLS only",
            )),
        }
    }

    fn client(&self, allow_http: bool) -> Result<ClientOptions, StorageError> {
        let mut client =
            ClientOptions::new().with_allow_http(allow_http).with_connect_timeout(CONNECT).with_timeout(REQUEST);
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

    fn connector(&self) -> Result<SpawnedReqwestConnector, StorageError> {
        let handle = crate::runtime::handle().ok_or_else(|| self.error(Trouble::Interrupted))?;
        Ok(SpawnedReqwestConnector::new(handle))
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

/// The lines of a section of an INI file, names in lower case.
fn section(text: &str, is_it: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let (mut within, mut found) = (false, Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = is_it(head.trim());
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within && !line.starts_with(['#', ';'])) {
            found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
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
    fn profiles_are_read_as_the_clouds_own_tools_do() -> Result<(), std::io::Error> {
        let home = tempfile::tempdir()?;
        std::fs::create_dir(home.path().join(".aws"))?;
        let credentials =
            "[default]\naws_access_key_id = d\n# x = y\n[lake]\naws_access_key_id=l\nAWS_SECRET_ACCESS_KEY = s = 1\n";
        std::fs::write(home.path().join(".aws/credentials"), credentials)?;
        std::fs::write(
            home.path().join(".aws/config"),
            "[profile lake]\nregion = eu-west-1\n[profile other]\nregion = x\n",
        )?;
        let home_path = home.path().to_string_lossy().into_owned();
        let env = |name: &str| (name == "HOME").then(|| home_path.clone());
        let location = Location::parse("s3://lake").map_err(std::io::Error::other)?;
        let settings = StoreSettings::default();
        let connector = Connector {
            location: &location,
            settings: &settings,
            folder: Path::new("."),
            env: &env,
            has_identity: &|| false,
        };
        let lake = connector.profile(Some("lake")).map_err(std::io::Error::other)?;
        assert_eq!(
            lake,
            [
                (AmazonS3ConfigKey::AccessKeyId, "l".to_owned()),
                (AmazonS3ConfigKey::SecretAccessKey, "s = 1".to_owned()),
                (AmazonS3ConfigKey::Region, "eu-west-1".to_owned()),
            ]
        );
        assert!(connector.profile(Some("nobody")).is_err());
        assert_eq!(connector.profile(None).map_err(std::io::Error::other)?.len(), 1);
        Ok(())
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

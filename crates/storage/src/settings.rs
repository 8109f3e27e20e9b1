//! How a store is reached.

use schemars::JsonSchema;
use serde::Deserialize;

/// What a project's file says of a store. Credentials are not among it: they come from the environment, from the profile that the
/// cloud's own tools use, or from the identity that the machine or the pod has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreSettings {
    /// The address of the service, where it is not the cloud's own. `https://`, except on this machine.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Of S3; else `AWS_REGION`.
    #[serde(default)]
    pub region: Option<String>,
    /// The storage account of Azure; else `AZURE_STORAGE_ACCOUNT_NAME`.
    #[serde(default)]
    pub account: Option<String>,
    /// Certificates (PEM) that are trusted besides those of the system, relative to the project.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Names of the environment variables begin with this: `LAKE_` reads `LAKE_AWS_ACCESS_KEY_ID`. For two stores with two identities.
    #[serde(default)]
    pub env_prefix: Option<String>,
    /// A profile of `~/.aws/credentials` and `~/.aws/config`; else `AWS_PROFILE`.
    #[serde(default)]
    pub profile: Option<String>,
    /// Server-side encryption, on top of what is encrypted before it leaves. A store that does not do it is refused.
    #[serde(default)]
    pub server_encryption: Option<ServerEncryption>,
    /// Of HDFS: the folder of `core-site.xml` and `hdfs-site.xml`, relative to the project; else `HADOOP_CONF_DIR`.
    #[serde(default)]
    pub config_dir: Option<String>,
    /// Of HDFS: whose ticket or keytab is used, `NAME@REALM`; else that of the ticket cache.
    #[serde(default)]
    pub principal: Option<String>,
    /// How long a request is tried again while the store does not answer or says that it is busy.
    #[serde(default)]
    pub retry_seconds: Option<u64>,
}

/// What a store is to do to what is written, besides: asked for with every write, and looked at after the first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ServerEncryption {
    /// Of S3, with keys that the store manages.
    SseS3,
    /// Of S3, with a key of its KMS.
    SseKms(KmsKey),
    /// Of Azure: an encryption scope of the storage account.
    AzureScope(String),
    /// Of Google: a key of Cloud KMS, `projects/…/locations/…/keyRings/…/cryptoKeys/…`.
    GoogleKms(String),
}

/// A key of the store's KMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KmsKey {
    /// An id, an ARN or `alias/NAME`; without it, the one that the store keeps for that.
    #[serde(default)]
    pub key: Option<String>,
    /// One data key for many objects of the bucket, so that the KMS is asked seldom.
    #[serde(default)]
    pub bucket_key: bool,
}

//! The sections of `cordon.yaml` that say where keys, vault and record are.

use cordon_deid::yaml::At;
use cordon_keystore::config::{
    AwsKmsConfig, AzureKeyVaultConfig, GoogleKmsConfig, Pkcs11Config, StoreConfig, TransitConfig, TransitMastersConfig,
};
use cordon_vault::PostgresConfig;
use schemars::JsonSchema;
use serde::Deserialize;

/// The key ring: purpose keys, each wrapped under one root key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeysSection {
    /// The file of wrapped keys; it is of no use without the root key.
    #[serde(default = "default_keyring")]
    pub keyring: String,
    /// After how many days `cordon keys status` says that a key is due for rotation, such as `365d`.
    #[serde(default)]
    pub rotate_after: Option<At<String>>,
    /// Where the root key comes from.
    pub root: RootSection,
    /// Where the master keys of tables are that new files are wrapped under.
    #[serde(default)]
    pub masters: MastersSection,
}

/// The master keys of tables: `ring`, or `{ transit: { … } }`, where Spark and pyarrow ask for them too.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one a project")]
pub enum MastersSection {
    /// In the key ring.
    #[default]
    Ring,
    /// In the transit engine of OpenBao or HashiCorp Vault, which they do not leave.
    Transit(TransitMastersConfig),
}

fn default_keyring() -> String {
    ".cordon/keyring.json".to_owned()
}

/// The root key: `{ key-file: PATH }`, `{ passphrase-env: NAME }`, `{ passphrase-file: PATH }`, `prompt`, or a store that keeps the
/// key which wraps it: `{ transit: { … } }`, `{ pkcs11: { … } }`, `{ aws-kms: { … } }`,
/// `{ azure-key-vault: { … } }`, `{ google-kms: { … } }`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum RootSection {
    /// A file of 64 hexadecimal digits that only its owner can read. Keep it away from the data.
    KeyFile(String),
    /// An environment variable that holds a passphrase; the key is made of it by Argon2id.
    PassphraseEnv(String),
    /// A file whose first line is a passphrase.
    PassphraseFile(String),
    /// Ask on the terminal.
    Prompt,
    /// The transit engine of OpenBao or HashiCorp Vault.
    Transit(TransitConfig),
    /// An AES key in a hardware security module.
    Pkcs11(Pkcs11Config),
    /// A key in AWS KMS.
    AwsKms(AwsKmsConfig),
    /// A key in Azure Key Vault or Managed HSM.
    AzureKeyVault(AzureKeyVaultConfig),
    /// A key in Google Cloud KMS.
    GoogleKms(GoogleKmsConfig),
}

impl RootSection {
    /// The store that keeps the key, where one does.
    pub fn store(&self) -> Option<StoreConfig> {
        match self {
            Self::KeyFile(_) | Self::PassphraseEnv(_) | Self::PassphraseFile(_) | Self::Prompt => None,
            Self::Transit(config) => Some(StoreConfig::Transit(config.clone())),
            Self::Pkcs11(config) => Some(StoreConfig::Pkcs11(config.clone())),
            Self::AwsKms(config) => Some(StoreConfig::AwsKms(config.clone())),
            Self::AzureKeyVault(config) => Some(StoreConfig::AzureKeyVault(config.clone())),
            Self::GoogleKms(config) => Some(StoreConfig::GoogleKms(config.clone())),
        }
    }
}

/// The token vault.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct VaultSection {
    pub path: String,
    /// What records say of each person, for notes that name them: only where a pipeline declares an `identity`.
    pub dossiers: String,
    /// The vault is in a PostgreSQL database and not in a folder, and so are the dossiers.
    pub postgres: Option<PostgresConfig>,
}

impl Default for VaultSection {
    fn default() -> Self {
        Self { path: ".cordon/vault".to_owned(), dossiers: ".cordon/dossiers".to_owned(), postgres: None }
    }
}

/// The audit log.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AuditSection {
    pub path: String,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self { path: ".cordon/audit".to_owned() }
    }
}

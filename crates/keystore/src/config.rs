//! A key store as `cordon.yaml` names it. Never a credential: only where one is found.

use schemars::JsonSchema;
use serde::Deserialize;

/// One of the stores. Paths are relative to the project folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum StoreConfig {
    Transit(TransitConfig),
    Pkcs11(Pkcs11Config),
    AwsKms(AwsKmsConfig),
    AzureKeyVault(AzureKeyVaultConfig),
    GoogleKms(GoogleKmsConfig),
}

/// The transit engine of OpenBao or HashiCorp Vault.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TransitConfig {
    /// Such as `https://bao.hospital.example:8200`; `http` for this machine only.
    pub address: String,
    /// The path at which the engine is mounted.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The key's name: of type `aes256-gcm96` or `chacha20-poly1305`, not exportable.
    pub key: String,
    #[serde(default)]
    pub namespace: Option<String>,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// How to log in; without it, a token from `BAO_TOKEN`, `VAULT_TOKEN` or `~/.vault-token`.
    #[serde(default)]
    pub auth: Option<TransitAuth>,
    /// After so long without an answer the store counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

/// Master keys of tables in the transit engine, each a key of its own: `PREFIX-footer`, `PREFIX-direct`, `PREFIX-quasi` and
/// `PREFIX-clinical`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TransitMastersConfig {
    /// Such as `https://bao.hospital.example:8200`; `http` for this machine only.
    pub address: String,
    /// The path at which the engine is mounted.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// What the names of the keys begin with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    #[serde(default)]
    pub namespace: Option<String>,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// How to log in; without it, a token from `BAO_TOKEN`, `VAULT_TOKEN` or `~/.vault-token`.
    #[serde(default)]
    pub auth: Option<TransitAuth>,
    /// After so long without an answer the store counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

fn default_prefix() -> String {
    "cordon".to_owned()
}

fn default_mount() -> String {
    "transit".to_owned()
}

fn default_timeout() -> u16 {
    30
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum TransitAuth {
    /// An environment variable that holds a token.
    TokenEnv(String),
    /// A file that holds a token, and that only its owner can read.
    TokenFile(String),
    Approle(AppRole),
    Cert(ClientCertificate),
}

/// A role id and a secret id, each from one place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppRole {
    #[serde(default = "default_approle")]
    pub mount: String,
    /// Not a secret.
    #[serde(default)]
    pub role_id: Option<String>,
    #[serde(default)]
    pub role_id_env: Option<String>,
    #[serde(default)]
    pub role_id_file: Option<String>,
    #[serde(default)]
    pub secret_id_env: Option<String>,
    #[serde(default)]
    pub secret_id_file: Option<String>,
}

fn default_approle() -> String {
    "approle".to_owned()
}

/// Log-in by the certificate that this machine shows in the TLS handshake.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientCertificate {
    #[serde(default = "default_cert")]
    pub mount: String,
    /// Which role; without it, the first that the certificate fits.
    #[serde(default)]
    pub role: Option<String>,
    /// The chain, PEM.
    pub certificate: String,
    /// The private key, PEM, which only its owner can read.
    pub key: String,
}

fn default_cert() -> String {
    "cert".to_owned()
}

/// An AES key in a hardware security module, reached through the module's PKCS#11 library.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pkcs11Config {
    /// The library, such as `/usr/lib/softhsm/libsofthsm2.so`. It runs inside this program: only its owner may change it.
    pub module: String,
    /// The token's label.
    pub token: String,
    /// The key's label: AES, 256 bits, sensitive, not extractable.
    pub key: String,
    /// The key's id in hexadecimal digits, where several have that label.
    #[serde(default)]
    pub id: Option<String>,
    /// An environment variable that holds the user's PIN.
    #[serde(default)]
    pub pin_env: Option<String>,
    /// A file that holds the PIN, and that only its owner can read.
    #[serde(default)]
    pub pin_file: Option<String>,
}

/// A symmetric key in AWS KMS. Credentials come from where AWS's own tools look for them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AwsKmsConfig {
    /// An id, an ARN, or `alias/NAME`.
    pub key: String,
    /// Without it, that of the ARN or of `AWS_REGION`.
    #[serde(default)]
    pub region: Option<String>,
    /// Another address than `https://kms.REGION.amazonaws.com`: a VPC endpoint, or FIPS.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// A profile of `~/.aws`, and no other credentials.
    #[serde(default)]
    pub profile: Option<String>,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// After so long without an answer the store counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

/// An RSA key in Azure Key Vault or Managed HSM. Credentials come from the environment or from the machine's identity.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AzureKeyVaultConfig {
    /// Such as `https://hospital.vault.azure.net`.
    pub vault: String,
    /// The key's name; its newest version wraps.
    pub key: String,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// After so long without an answer the store counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

/// A symmetric key in Google Cloud KMS. Credentials are Google's application default credentials.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GoogleKmsConfig {
    /// `projects/…/locations/…/keyRings/…/cryptoKeys/…`; its primary version wraps.
    pub key: String,
    /// Another address than `https://cloudkms.googleapis.com`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The certificates to trust, PEM; without it, those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// After so long without an answer the store counts as down.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u16,
}

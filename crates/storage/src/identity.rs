//! Who asks a store, as the client of object stores wants to be told it. Where credentials are looked for is `cordon-keystore`'s.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cordon_keystore::credentials::{AwsIdentity, AzureIdentity, GoogleIdentity, Tokens};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::AzureCredential;
use object_store::gcp::GcpCredential;
use tokio::runtime::Handle;

use crate::error::Trouble;

/// An identity that is asked on a thread that may wait: looking for credentials reads files and asks services.
pub(crate) struct Asked<I> {
    identity: Arc<I>,
    handle: Handle,
}

impl<I> Asked<I> {
    pub(crate) fn new(identity: I, handle: Handle) -> Arc<Self> {
        Arc::new(Self { identity: Arc::new(identity), handle })
    }
}

impl<I: Send + Sync + 'static> Asked<I> {
    async fn ask<T: Send + 'static>(
        &self,
        store: &'static str,
        ask: impl FnOnce(&I) -> Result<T, cordon_keystore::Trouble> + Send + 'static,
    ) -> object_store::Result<Arc<T>> {
        let identity = Arc::clone(&self.identity);
        let failed = |trouble: Trouble| object_store::Error::Generic { store, source: Box::new(trouble) };
        match self.handle.spawn_blocking(move || ask(&identity)).await {
            Ok(found) => found.map(Arc::new).map_err(|trouble| failed(Trouble::of_identity(&trouble))),
            Err(_) => Err(failed(Trouble::Interrupted)),
        }
    }
}

impl<I> fmt::Debug for Asked<I> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Asked")
    }
}

#[async_trait]
impl CredentialProvider for Asked<AwsIdentity> {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let ask = |identity: &AwsIdentity| {
            let keys = identity.credentials()?;
            Ok(AwsCredential {
                key_id: keys.access().to_owned(),
                secret_key: keys.expose_secret().to_owned(),
                token: keys.expose_session().map(str::to_owned),
            })
        };
        self.ask("S3", ask).await
    }
}

#[async_trait]
impl CredentialProvider for Asked<AzureIdentity> {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        self.ask("Azure", |identity| Ok(AzureCredential::BearerToken(identity.token()?.to_string()))).await
    }
}

#[async_trait]
impl CredentialProvider for Asked<GoogleIdentity> {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        self.ask("Google", |identity| Ok(GcpCredential { bearer: identity.token()?.to_string() })).await
    }
}

//! Tokens of Microsoft Entra: of a client with a secret, of a workload whose platform gives it a token, or of the machine's managed
//! identity (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Found, Kept, Surroundings, Tokens, of_service};
use crate::error::Trouble;
use crate::http::{Http, escape};
use crate::secret::Text;

/// Whom tokens for Blob Storage are for.
pub const SCOPE_OF_STORAGE: &str = "https://storage.azure.com";

/// Somebody known to Entra, to one service.
pub struct AzureIdentity {
    around: Surroundings,
    audience: String,
    kept: Kept<Text>,
}

impl AzureIdentity {
    /// Nothing is asked yet. `audience`: the service that the tokens are for.
    pub fn new(around: Surroundings, audience: &str) -> Self {
        Self { around, audience: audience.to_owned(), kept: Kept::default() }
    }

    fn find(&self) -> Result<Found<Text>, Trouble> {
        let around = &self.around;
        let client = around.variable("AZURE_CLIENT_ID");
        if let (Some(tenant), Some(client)) = (around.variable("AZURE_TENANT_ID"), &client) {
            let scope = format!("{}/.default", self.audience);
            let mut form =
                vec![("grant_type", "client_credentials"), ("client_id", client.as_str()), ("scope", &scope)];
            if let Some(secret) = around.variable("AZURE_CLIENT_SECRET") {
                form.push(("client_secret", &secret));
                return self.log_in(&tenant, &form);
            }
            if let Some(path) = around.path("AZURE_FEDERATED_TOKEN_FILE") {
                let assertion = of_service(&path)?;
                form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
                form.push(("client_assertion", &assertion));
                return self.log_in(&tenant, &form);
            }
        }
        self.of_machine(client.as_ref().map(|client| client.as_str()))
    }

    fn log_in(&self, tenant: &str, form: &[(&str, &str)]) -> Result<Found<Text>, Trouble> {
        let base = self
            .around
            .variable("AZURE_AUTHORITY_HOST")
            .map_or_else(|| "https://login.microsoftonline.com".to_owned(), |url| url.trim_end_matches('/').to_owned());
        self.around.http(&base)?.token(&format!("{base}/{}/oauth2/v2.0/token", escape(tenant)), form)
    }

    fn of_machine(&self, client: Option<&str>) -> Result<Found<Text>, Trouble> {
        let around = &self.around;
        let client = client.map(|client| format!("&client_id={}", escape(client))).unwrap_or_default();
        let id = around.variable("AZURE_MSI_RESOURCE_ID");
        let which = client + &id.map(|id| format!("&msi_res_id={}", escape(&id))).unwrap_or_default();
        let resource = escape(&self.audience);
        // App Service and Container Apps say where to ask; virtual machines have a fixed address.
        let of_app = around.variable("IDENTITY_ENDPOINT").zip(around.variable("IDENTITY_HEADER"));
        let (base, url, header) = if let Some((endpoint, header)) = of_app {
            let url = format!("{}?api-version=2019-08-01&resource={resource}{which}", endpoint.as_str());
            (endpoint.to_string(), url, ("x-identity-header", header))
        } else {
            let base = around
                .variable("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                .map_or_else(|| "http://169.254.169.254".to_owned(), |url| url.trim_end_matches('/').to_owned());
            let url =
                format!("{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{which}");
            (base, url, ("metadata", Zeroizing::new("true".to_owned())))
        };
        let headers = [(header.0, header.1.as_str())];
        let none = "there are no Azure credentials in the environment, and this machine has no managed identity";
        Http::token_of_machine(&base, &url, &headers, none, "this machine's managed identity gives no token")
    }
}

impl Tokens for AzureIdentity {
    fn token(&self) -> Result<Arc<Text>, Trouble> {
        self.kept.get(|| self.find())
    }

    fn forget(&self) {
        self.kept.forget();
    }

    fn of_machine_only(&self) -> bool {
        let has = |name: &str| self.around.has(name);
        let logs_in = has("AZURE_TENANT_ID")
            && has("AZURE_CLIENT_ID")
            && (has("AZURE_CLIENT_SECRET") || has("AZURE_FEDERATED_TOKEN_FILE"));
        !logs_in && !has("IDENTITY_ENDPOINT") && !has("AZURE_POD_IDENTITY_AUTHORITY_HOST")
    }
}

//! Uploads in parts that nobody finishes any more: their writer was killed, and their parts cost money and stay.
//!
//! S3 and Google Cloud Storage keep them until they are given up; Azure forgets blocks that nothing came of after a week, HDFS has
//! drafts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredential;
use object_store::{BackoffConfig, ClientOptions, CredentialProvider, RetryConfig};
use roxmltree::{Document, Node};
use url::form_urlencoded;

use crate::error::Trouble;

/// No page is near as large.
const MOST_PAGE: usize = 16 << 20;

pub(crate) enum Who {
    Aws { provider: Arc<dyn CredentialProvider<Credential = AwsCredential>>, region: String },
    Google(Arc<dyn CredentialProvider<Credential = GcpCredential>>),
}

/// The uploads of one bucket.
pub(crate) struct Uploads {
    pub connector: Arc<dyn HttpConnector>,
    pub options: ClientOptions,
    /// The bucket's own address.
    pub bucket: String,
    pub who: Who,
    pub retry: RetryConfig,
}

/// One that was begun and not finished.
#[derive(Debug, PartialEq, Eq)]
struct Begun {
    key: String,
    id: String,
    since: SystemTime,
}

struct Page {
    uploads: Vec<Begun>,
    /// Where the next page begins: a name, and an upload of that name.
    next: Option<(String, String)>,
}

impl Uploads {
    /// Gives up what was begun below a prefix before `since`; says how many.
    pub(crate) async fn give_up(&self, prefix: &str, before: SystemTime) -> Result<usize, Trouble> {
        let client = self.connector.connect(&self.options).map_err(|error| crate::error::trouble(&error))?;
        let (mut given_up, mut from) = (0, None::<(String, String)>);
        loop {
            let mut query = vec![("uploads", ""), ("prefix", prefix)];
            if let Some((key, id)) = &from {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
            }
            // One that does not know the question answers another.
            let page = read(&self.ask(&client, "GET", "", &query).await?).ok_or(Trouble::Unsupported)?;
            for upload in page.uploads.iter().filter(|upload| upload.since < before && upload.key.starts_with(prefix)) {
                match self.ask(&client, "DELETE", &upload.key, &[("uploadId", &upload.id)]).await {
                    // Somebody else gave it up, or finished it.
                    Ok(_) | Err(Trouble::NotFound) => given_up += 1,
                    Err(trouble) => return Err(trouble),
                }
            }
            // A store that answers the same page for ever is not asked for ever.
            if page.next.is_none() || page.next == from {
                return Ok(given_up);
            }
            from = page.next;
        }
    }

    async fn ask(
        &self,
        client: &HttpClient,
        method: &'static str,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<String, Trouble> {
        let BackoffConfig { init_backoff, max_backoff, .. } = self.retry.backoff;
        let until = tokio::time::Instant::now() + self.retry.retry_timeout;
        let mut pause = init_backoff;
        loop {
            match self.once(client, method, key, query).await {
                Err(trouble) if trouble.is_passing() && tokio::time::Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(max_backoff);
                }
                answer => return answer,
            }
        }
    }

    async fn once(
        &self,
        client: &HttpClient,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<String, Trouble> {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", escaped(value, false))).collect();
        let below = if key.is_empty() { String::new() } else { format!("/{}", escaped(key, true)) };
        let url = format!("{}{below}?{}", self.bucket, query.join("&"));
        let mut request: HttpRequest = http::Request::builder()
            .method(method)
            .uri(url)
            .body(HttpRequestBody::empty())
            .map_err(|_| Trouble::Unsupported)?;
        let told = |error: object_store::Error| crate::error::trouble(&error);
        match &self.who {
            Who::Aws { provider, region } => {
                let credential = provider.get_credential().await.map_err(told)?;
                AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
            }
            Who::Google(provider) => {
                let credential = provider.get_credential().await.map_err(told)?;
                let bearer = format!("Bearer {}", credential.bearer).parse().map_err(|_| Trouble::Denied)?;
                request.headers_mut().insert("authorization", bearer);
            }
        }
        let answer = client.execute(request).await.map_err(|error| crate::error::of_http(&error))?;
        match answer.status().as_u16() {
            200..300 => {}
            401 | 403 => return Err(Trouble::Denied),
            404 => return Err(Trouble::NotFound),
            400 | 405 | 501 => return Err(Trouble::Unsupported),
            status => return Err(Trouble::Status { status }),
        }
        let bytes = answer.into_body().bytes().await.map_err(|error| crate::error::of_http(&error))?;
        if bytes.len() > MOST_PAGE {
            return Err(Trouble::Interrupted);
        }
        String::from_utf8(bytes.into()).map_err(|_| Trouble::Interrupted)
    }
}

/// All but what RFC 3986 leaves unreserved, as signatures want it; of a name its slashes stay.
fn escaped(text: &str, name: bool) -> String {
    // A form writes a space as `+`, and leaves `*` and writes `~`.
    let part = |text: &str| {
        let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        text.replace('+', "%20").replace('*', "%2A").replace("%7E", "~")
    };
    if name { text.split('/').map(part).collect::<Vec<_>>().join("/") } else { part(text) }
}

/// `ListMultipartUploadsResult` of either store.
fn read(xml: &str) -> Option<Page> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "ListMultipartUploadsResult" {
        return None;
    }
    let child = |node: Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.tag_name().name() == name)?;
        Some(found.text().unwrap_or_default().to_owned())
    };
    let uploads = root.children().filter(|node| node.tag_name().name() == "Upload").map(|node| {
        let since = DateTime::parse_from_rfc3339(&child(node, "Initiated")?).ok()?;
        Some(Begun { key: child(node, "Key")?, id: child(node, "UploadId")?, since: since.into() })
    });
    let uploads = uploads.collect::<Option<Vec<_>>>()?;
    let more = child(root, "IsTruncated").is_some_and(|text| text == "true");
    let next = child(root, "NextKeyMarker").zip(child(root, "NextUploadIdMarker")).filter(|_| more);
    Some(Page { uploads, next })
}

/// A day: nothing that is written here takes as long, nor is it the clock of one machine that counts.
pub(crate) fn abandoned(now: SystemTime, age: Duration) -> SystemTime {
    now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_uploads_are_read_or_refused() {
        let upload = |key: &str| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>u&amp;1</UploadId><Initiated>2026-11-27T08:00:00.000Z</Initiated></Upload>"
            )
        };
        let xml = |inner: &str| {
            format!(
                "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListMultipartUploadsResult>"
            )
        };
        let next = "<NextKeyMarker>b</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>";
        let page = read(&xml(&format!("<IsTruncated>true</IsTruncated>{next}{}{}", upload("a"), upload("b"))));
        let page = page.map(|page| (page.uploads.len(), page.uploads.first().map(|first| first.id.clone()), page.next));
        assert_eq!(page, Some((2, Some("u&1".to_owned()), Some(("b".to_owned(), "u".to_owned())))));
        let last = read(&xml(&format!("<IsTruncated>false</IsTruncated>{next}")));
        assert!(last.is_some_and(|page| page.uploads.is_empty() && page.next.is_none()));
        for wrong in ["", "<a/>", "<ListMultipartUploadsResult><Upload/></ListMultipartUploadsResult>", "<html>"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert_eq!(escaped("a b/ü~*+", true), "a%20b/%C3%BC~%2A%2B");
        assert_eq!(escaped("a/b", false), "a%2Fb");
    }
}

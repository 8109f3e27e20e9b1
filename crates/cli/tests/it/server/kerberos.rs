//! Kerberos over HTTP, with a realm and curl.

use std::fs;

use super::realm::Realm;
use super::site::{Site, folder};

#[test]
fn a_ticket_lets_in_the_people_of_the_realm_once() {
    let Some(realm) = Realm::start() else { return };
    let log_in =
        format!("    kerberos: {{ keytab: {}, realms: [CLINIC.EXAMPLE] }}", realm.path("http.keytab").display());
    let Some(site) = Site::start_in(folder(""), &log_in, "") else { return };
    let (url, ca) = (format!("https://localhost:{}/v1/status", site.http), site.pki.path("ca.pem"));
    let out = site.folder.dir.path().join("answer.json");
    let negotiate = || {
        let args =
            ["-sS", "--negotiate", "-u", ":", "--noproxy", "*", "--cacert", &ca, "-o", out.to_str().unwrap(), &url];
        realm.run("/usr/bin/curl", &args);
        serde_json::from_slice::<serde_json::Value>(&fs::read(&out).unwrap()).unwrap()
    };
    realm.ticket("ada", "ada.keytab", "5m");
    let said = negotiate();
    assert_eq!((said["principal"].as_str(), said["method"].as_str()), (Some("ada"), Some("Kerberos")), "{said}");
    // Another principal of the same person is not that person.
    realm.ticket("ada/admin", "admin.keytab", "5m");
    assert_eq!(negotiate()["status"], 401);
    realm.ticket("ada", "ada.keytab", "5m");
    let token = data_encoding::BASE64.encode(&realm.token().unwrap());
    let shown = || site.curl(&["-H", &format!("Authorization: Negotiate {token}"), &site.url("/v1/status")]);
    assert!(shown().is(200).header("www-authenticate").is_some_and(|reply| reply.starts_with("Negotiate ")));
    shown().is(401);
    // NTLM, and what is nothing.
    for other in ["TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAA", "!"] {
        site.curl(&["-H", &format!("Authorization: Negotiate {other}"), &site.url("/v1/status")]).is(401);
    }
    let failed = site.folder.audit("log_in_failed");
    assert!(failed.iter().any(|event| event["what"] == "used before"), "{failed:?}");
}

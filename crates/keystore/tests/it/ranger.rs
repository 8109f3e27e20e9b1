//! The client of a Ranger Admin over TLS: whom it trusts, and Kerberos. The Admin is a server of the test's own.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cordon_kerberos::Acceptor;
use cordon_keystore::Trouble;
use cordon_keystore::ranger::{Download, Fetched, Kerberos, RangerAdmin};
use data_encoding::BASE64;

use crate::realm::Realm;
use crate::servers::Pki;
use crate::standin::again_with;
use crate::tls::{Reply, serve};

const POLICIES: &str = "{ \"serviceName\": \"clinic\", \"policyVersion\": 1, \"policies\": [] }";

fn open(url: &str, ca: &str, client: Option<(&Path, &Path)>, kerberos: Option<Kerberos<'_>>) -> RangerAdmin {
    RangerAdmin::open(url, "clinic", "cordon@test", Some(ca.as_ref()), client, kerberos, 3).unwrap()
}

fn fetch(admin: &RangerAdmin) -> Result<bool, Trouble> {
    admin
        .fetch(Download::Policies, -1, 0)
        .map(|fetched| matches!(fetched, Fetched::Document(text) if text == POLICIES.as_bytes()))
}

#[test]
fn an_admin_with_a_certificate_of_others_or_for_another_name_is_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(dir.path()) else { return };
    pki.authority("other");
    let asked = Arc::new(Mutex::new(0));
    let admin = |pki: &Pki| {
        let asked = Arc::clone(&asked);
        serve(pki, move |_| {
            *asked.lock().unwrap() += 1;
            Reply::text(200, POLICIES)
        })
    };
    let url = admin(&pki);
    let (pem, key) = (pki.dir.join("client.pem"), pki.dir.join("client.key"));
    let of = |url: &str, ca: &str| fetch(&open(url, &pki.path(ca), Some((&pem, &key)), None));
    assert_eq!(of(&url, "ca.pem"), Ok(true));
    assert_eq!(*asked.lock().unwrap(), 1);
    let distrusted = of(&url, "other.pem").unwrap_err();
    assert_eq!(distrusted, Trouble::NotTrusted { how: "nobody whom this machine trusts issued it" });
    // The right authority's, for another host.
    pki.issue("server", "subjectAltName=DNS:elsewhere.example\nextendedKeyUsage=serverAuth");
    let distrusted = of(&admin(&pki), "ca.pem").unwrap_err();
    assert_eq!(distrusted, Trouble::NotTrusted { how: "it is for another host" });
    assert_eq!(*asked.lock().unwrap(), 1, "what is asked, and by whom, went to nobody else");
    // Nor without TLS beyond this machine.
    let plain = RangerAdmin::open("http://ranger.example", "clinic", "c", None, Some((&pem, &key)), None, 3).map(drop);
    assert!(matches!(plain, Err(Trouble::Configuration { .. })), "{plain:?}");
}

/// Set for the process in which Kerberos finds the realm.
const FOLDER: &str = "CORDON_TEST_REALM";

#[test]
fn kerberos_logs_in_with_a_keytab_or_with_tickets() {
    const NAME: &str = "ranger::kerberos_logs_in_with_a_keytab_or_with_tickets";
    let Some(folder) = std::env::var_os(FOLDER) else {
        let Some(realm) = Realm::start() else { return };
        realm.ticket("bob", "bob.keytab", "5m");
        let path = |name: &str| realm.path(name).display().to_string();
        let cache = format!("FILE:{}", path("cache"));
        let variables = [
            (FOLDER, path("")),
            ("KRB5_CONFIG", path("krb5.conf")),
            ("KRB5CCNAME", cache),
            ("KRB5_CLIENT_KTNAME", path("none")),
        ];
        again_with(NAME, &variables);
        return;
    };
    let folder = Path::new(&folder);
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(dir.path()) else { return };
    let acceptor = Acceptor::open(&folder.join("http.keytab"), "HTTP").unwrap();
    let known = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&known);
    let url = serve(&pki, move |request| {
        let token = request.header("authorization").strip_prefix("Negotiate ").map(str::to_owned);
        let token = token.and_then(|token| BASE64.decode(token.as_bytes()).ok());
        match token.map(|token| acceptor.accept(&token)) {
            Some(Ok(accepted)) if request.path.starts_with("/service/plugins/secure/policies/download/") => {
                let mut seen = seen.lock().unwrap();
                seen.push(accepted.principal);
                // The answer to the second is lost: the same token would be refused then.
                if seen.len() == 2 { Reply::Nothing } else { Reply::text(200, POLICIES) }
            }
            _ => Reply::text(401, "CANARY"),
        }
    });
    let keytab = folder.join("ada.keytab");
    let ada = Kerberos { principal: Some("ada@CLINIC.EXAMPLE"), keytab: Some(&keytab) };
    let admin = open(&url, &pki.path("ca.pem"), None, Some(ada));
    for _ in 0..3 {
        assert_eq!(fetch(&admin), Ok(true), "a ticket is used again, a token is not");
    }
    let tickets = open(&url, &pki.path("ca.pem"), None, Some(Kerberos { principal: None, keytab: None }));
    assert_eq!(fetch(&tickets), Ok(true));
    let mut principals = known.lock().unwrap().clone();
    principals.dedup();
    assert_eq!(principals, ["ada@CLINIC.EXAMPLE", "bob@CLINIC.EXAMPLE"]);
    // A principal that the keytab has no key of, and one whose key is another by now.
    for principal in ["eve@CLINIC.EXAMPLE", "bob@CLINIC.EXAMPLE"] {
        let wrong = Kerberos { principal: Some(principal), keytab: Some(&keytab) };
        let refused = fetch(&open(&url, &pki.path("ca.pem"), None, Some(wrong))).unwrap_err();
        let Trouble::NoCredentials { what } = refused else { panic!("{refused}") };
        assert!(what.contains("no ticket") && !what.contains("eve"), "{what}");
    }
    // A keytab that everybody can read is none.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&keytab, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = RangerAdmin::open(&url, "clinic", "c", None, None, Some(ada), 3).map(drop);
    assert!(matches!(open, Err(Trouble::NoCredentials { .. })), "{open:?}");
}

//! Who is let in, and who is not.

use std::fs;
use std::process::Command;

use cordon_kerberos::{Acceptor, KerberosError, Realms};

use crate::realm::{NAME, Realm};

#[test]
fn a_client_with_a_ticket_is_who_the_ticket_says_and_once() {
    let Some(realm) = Realm::start() else { return };
    let acceptor = Acceptor::open(&realm.path("http.keytab"), "HTTP").unwrap();
    assert_eq!(realm.token(), None, "without a ticket curl shows nothing");
    realm.ticket("ada", "ada.keytab", "1h");
    let token = realm.token().unwrap();
    let accepted = acceptor.accept(&token).unwrap();
    assert_eq!(accepted.principal, format!("ada@{NAME}"));
    assert!(!accepted.reply.is_empty(), "the client can see whom it talks to");
    assert_eq!(Realms::new([NAME]).user(&accepted.principal), Some("ada"));
    assert_eq!(acceptor.accept(&token).map(drop), Err(KerberosError::Replayed));
    // Not by another process's keys either: the book of replays is the machine's.
    let again = Acceptor::open(&realm.path("http.keytab"), "HTTP").unwrap();
    assert_eq!(again.accept(&token).map(drop), Err(KerberosError::Replayed));
    assert_eq!(acceptor.accept(&realm.token().unwrap()).unwrap().principal, format!("ada@{NAME}"));

    realm.ticket("ada/admin", "admin.keytab", "1h");
    let admin = acceptor.accept(&realm.token().unwrap()).unwrap();
    assert_eq!(admin.principal, format!("ada/admin@{NAME}"));
    assert_eq!(Realms::new([NAME]).user(&admin.principal), None);
}

#[test]
fn every_token_that_was_changed_is_refused() {
    let Some(realm) = Realm::start() else { return };
    let acceptor = Acceptor::open(&realm.path("http.keytab"), "HTTP").unwrap();
    realm.ticket("ada", "ada.keytab", "1h");
    let token = realm.token().unwrap();
    for length in (0..token.len()).step_by(7) {
        assert!(acceptor.accept(&token[..length]).is_err(), "the first {length} of {}", token.len());
    }
    let mut accepted = 0;
    for place in 0..token.len() {
        let mut changed = token.clone();
        changed[place] ^= 1;
        // What stands around the ticket, such as a length or a list of mechanisms, may be read all the same; the ticket is ada's then.
        match acceptor.accept(&changed) {
            Ok(said) => {
                assert_eq!(said.principal, format!("ada@{NAME}"));
                accepted += 1;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(accepted <= 1, "{accepted} of {}: once, then it is a replay", token.len());
    for junk in [b"NTLMSSP\0\x01\0\0\0".as_slice(), b"\x60", &[0x60, 0x84, 0xff, 0xff, 0xff, 0xff], &[0; 4096]] {
        let refused = acceptor.accept(junk).unwrap_err();
        assert!(
            matches!(refused, KerberosError::NoToken | KerberosError::OtherMechanism | KerberosError::Refused),
            "{refused}"
        );
    }
}

#[test]
fn tickets_of_other_services_times_and_keys_are_refused() {
    let Some(realm) = Realm::start() else { return };
    let http = realm.path("http.keytab");
    realm.ticket("ada", "ada.keytab", "1h");
    let token = realm.token().unwrap();
    // A keytab without the service, of nothing, and a service that has no name.
    assert_eq!(Acceptor::open(&realm.path("ldap.keytab"), "HTTP").map(drop), Err(KerberosError::Keytab));
    assert_eq!(Acceptor::open(&realm.path("none.keytab"), "HTTP").map(drop), Err(KerberosError::Keytab));
    fs::write(realm.path("junk.keytab"), b"no keytab").unwrap();
    assert_eq!(Acceptor::open(&realm.path("junk.keytab"), "HTTP").map(drop), Err(KerberosError::Keytab));
    for name in ["", "HTTP/localhost", "HTTP@localhost", "HT\0TP"] {
        assert_eq!(Acceptor::open(&http, name).map(drop), Err(KerberosError::ServiceName), "{name}");
    }
    // Another service's keys do not open it.
    let ldap = Acceptor::open(&realm.path("ldap.keytab"), "ldap").unwrap();
    assert_eq!(ldap.accept(&token).map(drop), Err(KerberosError::OtherKey));
    // The service's key was changed since the ticket was made: the old key is the wrong one.
    fs::copy(&http, realm.path("old.keytab")).unwrap();
    let query = format!("ktadd -k {} HTTP/localhost", realm.path("new.keytab").display());
    realm.run("/usr/sbin/kadmin.local", &["-r", NAME, "-q", &query]);
    let renewed = Acceptor::open(&realm.path("new.keytab"), "HTTP").unwrap();
    assert_eq!(renewed.accept(&token).map(drop), Err(KerberosError::OtherKey));
}

#[test]
fn a_ticket_whose_time_is_over_is_refused() {
    let Some(realm) = Realm::start() else { return };
    realm.ticket("ada", "ada.keytab", "3s");
    fs::write(realm.path("token"), realm.token().unwrap()).unwrap();
    let late = || {
        let mut again = Command::new(std::env::current_exe().unwrap());
        // Clocks may differ by five minutes where nobody says otherwise.
        fs::write(realm.path("strict.conf"), "[libdefaults]\n clockskew = 1\n").unwrap();
        again
            .args(["log_in::late", "--exact", "--ignored", "--nocapture"])
            .env("KRB5_CONFIG", realm.path("strict.conf"));
        let said = again.env(FOLDER, realm.path("")).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stderr).unwrap()
    };
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(late().contains("said: the ticket's time is over"), "{}", late());
}

const FOLDER: &str = "CORDON_TEST_KERBEROS";

#[test]
#[ignore = "run by another test, with another configuration of Kerberos"]
fn late() {
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let acceptor = Acceptor::open(&folder.join("http.keytab"), "HTTP").unwrap();
    let said = acceptor.accept(&fs::read(folder.join("token")).unwrap());
    eprintln!("said: {}", said.map_or_else(|error| error.to_string(), |accepted| accepted.principal));
}

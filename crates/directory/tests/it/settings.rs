//! What is refused before anything is asked.

use std::path::Path;

use cordon_directory::{Directory, DirectoryConfig, DirectoryError, Kind};
use zeroize::Zeroizing;

pub fn config(url: &str) -> DirectoryConfig {
    DirectoryConfig {
        url: url.to_owned(),
        starttls: false,
        ca_file: None,
        kind: Kind::Ldap,
        bind: None,
        users: "dc=clinic,dc=example".to_owned(),
        groups: None,
        keep_seconds: 1,
        timeout_seconds: 5,
    }
}

#[test]
fn nothing_is_said_without_tls_beyond_this_machine_and_nobody_binds_without_a_password() {
    let open = |config: DirectoryConfig, password: Option<&str>| {
        let password = password.map(|text| Zeroizing::new(text.to_owned()));
        match Directory::open(config, Path::new("/"), password) {
            Ok(_) => String::new(),
            Err(DirectoryError::Configuration(what)) => what,
            Err(other) => panic!("{other}"),
        }
    };
    for (url, said) in [
        ("ldap://ldap.clinic.example", "this machine only"),
        ("ldap://127.0.0.1.clinic.example", "this machine only"),
        ("ldaps://ada:CANARY@localhost", "more than a host"),
        ("ldaps://localhost/dc=x?uid", "more than a host"),
        ("https://localhost", "begins with"),
        ("ldapi://%2Frun%2Fslapd", "begins with"),
        ("localhost", "no URL"),
        ("ldaps:///dc=x", "names no host"),
    ] {
        let told = open(config(url), None);
        assert!(told.contains(said) && !told.contains("CANARY"), "{url}: {told}");
    }
    assert_eq!(open(config("ldap://localhost:389"), None), "");
    assert_eq!(open(DirectoryConfig { starttls: true, ..config("ldap://ldap.clinic.example") }, None), "");
    let twice = DirectoryConfig { starttls: true, ..config("ldaps://localhost") };
    assert!(open(twice, None).contains("`ldaps://` has TLS"));
    let bound = DirectoryConfig { bind: Some("cn=cordon".to_owned()), ..config("ldaps://localhost") };
    assert!(open(bound.clone(), None).contains("CORDON_LDAP_PASSWORD"));
    assert!(open(bound.clone(), Some("")).contains("CORDON_LDAP_PASSWORD"), "it would bind as nobody and succeed");
    assert_eq!(open(bound, Some("secret")), "");
    let no_file = DirectoryConfig { ca_file: Some("none.pem".into()), ..config("ldaps://localhost") };
    assert!(open(no_file, None).contains("none.pem"));
}

//! OpenLDAP, over TLS.

use std::net::TcpListener;
use std::time::Duration;

use cordon_directory::{Directory, DirectoryConfig, DirectoryError, Kind};
use zeroize::Zeroizing;

use crate::settings::config;
use crate::slapd::{PASSWORD, Slapd, entries};

fn config_of(slapd: &Slapd) -> DirectoryConfig {
    DirectoryConfig {
        ca_file: Some(slapd.path("ca.pem")),
        bind: Some("uid=cordon,ou=services,dc=clinic,dc=example".to_owned()),
        users: "ou=people,dc=clinic,dc=example".to_owned(),
        groups: Some("ou=groups,dc=clinic,dc=example".to_owned()),
        ..config(&format!("ldaps://localhost:{}", slapd.port))
    }
}

fn open(slapd: &Slapd, config: DirectoryConfig, password: &str) -> Directory {
    Directory::open(config, &slapd.path(""), Some(Zeroizing::new(password.to_owned()))).unwrap()
}

#[tokio::test]
async fn groups_in_groups_count_and_nothing_is_guessed() {
    let Some(mut slapd) = Slapd::start(&entries()) else { return };
    let directory = open(&slapd, config_of(&slapd), PASSWORD);
    for (user, groups) in [
        ("ada", vec!["clinicians", "readers", "ward"]),
        ("bob", vec!["clinicians", "readers"]),
        ("carl", vec!["left", "right"]),
        ("o(ddly)*named", vec!["odd"]),
    ] {
        let found = directory.groups_of(user).await.unwrap().unwrap();
        assert_eq!(found.groups.iter().map(String::as_str).collect::<Vec<_>>(), groups, "{user}");
    }
    // Names are names and no patterns; who is below another place, or not there, is nobody.
    // Nor is one who is written in another way, whom the directory finds: all else tells them apart.
    for nobody in ["*", "a*", "ada)(uid=*", "eve", "cordon", "", "ad", "ada\0", "uid=ada", "Ada", "ADA", "ada ", " ada"]
    {
        assert_eq!(directory.groups_of(nobody).await, Ok(None), "{nobody:?}");
    }
    assert_eq!(directory.groups_of("twin").await, Err(DirectoryError::Ambiguous));
    let posix = open(&slapd, DirectoryConfig { kind: Kind::Posix, ..config_of(&slapd) }, PASSWORD);
    assert!(posix.groups_of("pat").await.unwrap().unwrap().groups.contains("nurses"));
    assert_eq!(posix.groups_of("Pat").await, Ok(None));

    // Kept for a second, and not for longer: who is down is not believed by what was said before.
    slapd.stop();
    directory.groups_of("bob").await.ok();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(directory.groups_of("ada").await, Err(DirectoryError::Down));
    slapd.resume();
    assert!(directory.groups_of("ada").await.unwrap().is_some());
}

#[tokio::test]
async fn a_directory_that_is_not_trusted_or_does_not_trust_is_told_as_that() {
    let Some(slapd) = Slapd::start(&entries()) else { return };
    let of = |change: &dyn Fn(&mut DirectoryConfig), password: &str| {
        let mut config = config_of(&slapd);
        change(&mut config);
        open(&slapd, config, password)
    };
    let wrong = of(&|_| {}, "CANARY");
    assert_eq!(wrong.groups_of("ada").await, Err(DirectoryError::Refused));
    let stranger = of(&|config| config.bind = Some("uid=ada,ou=people,dc=clinic,dc=example".to_owned()), PASSWORD);
    assert_eq!(stranger.groups_of("ada").await, Err(DirectoryError::Refused));
    // Whoever does not bind sees nothing here; that is not taken for "in no group".
    let unbound = of(&|config| config.bind = None, PASSWORD).groups_of("ada").await;
    assert!(!matches!(unbound, Ok(Some(_))), "{unbound:?}");
    let other = of(&|config| config.ca_file = Some(slapd.path("other.pem")), PASSWORD);
    assert_eq!(other.groups_of("ada").await, Err(DirectoryError::NotTrusted));
    let name = of(&|config| config.url = format!("ldaps://127.0.0.2:{}", slapd.port), PASSWORD);
    assert!(matches!(name.groups_of("ada").await, Err(DirectoryError::NotTrusted | DirectoryError::Down)));
    // Somebody who says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let slow = of(
        &|config| {
            config.url = format!("ldaps://localhost:{port}");
            config.timeout_seconds = 1;
        },
        PASSWORD,
    );
    assert_eq!(slow.groups_of("ada").await, Err(DirectoryError::Slow));
}

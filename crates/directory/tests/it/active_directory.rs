//! Who is in which group of Samba's Active Directory.

use cordon_directory::{Directory, DirectoryConfig, Kind};
use zeroize::Zeroizing;

use crate::samba::{self, PASSWORD, Samba};
use crate::settings::config;

#[test]
fn nested_groups_of_active_directory() {
    samba::in_a_network("active_directory::inside");
}

#[tokio::test]
#[ignore = "run by the test above, in a network of its own"]
async fn inside() {
    let samba = Samba::start();
    for user in ["ada", "gone"] {
        samba.tool(&["user", "create", user, PASSWORD]);
    }
    for group in ["ward", "clinicians", "readers", "others"] {
        samba.tool(&["group", "add", group]);
    }
    samba.tool(&["group", "addmembers", "ward", "ada,gone"]);
    samba.tool(&["group", "addmembers", "clinicians", "ward"]);
    samba.tool(&["group", "addmembers", "readers", "clinicians"]);
    samba.tool(&["user", "disable", "gone"]);
    // Another group whose `cn` is that of `readers`, in another place.
    samba.tool(&["ou", "create", "OU=projects,DC=clinic,DC=test"]);
    samba.tool(&["group", "add", "project-readers", "--groupou=OU=projects"]);
    samba.tool(&["group", "rename", "project-readers", "--force-new-cn=others-readers"]);
    samba.tool(&["group", "addmembers", "project-readers", "ada"]);

    let asked = DirectoryConfig {
        kind: Kind::ActiveDirectory,
        ca_file: Some(samba.path("ca.pem")),
        bind: Some("ada@clinic.test".to_owned()),
        users: "DC=clinic,DC=test".to_owned(),
        timeout_seconds: 20,
        ..config("ldaps://localhost")
    };
    let directory = Directory::open(asked, &samba.dir, Some(Zeroizing::new(PASSWORD.to_owned()))).unwrap();
    let found = directory.groups_of("ada").await.unwrap().unwrap();
    assert_eq!(
        found.groups.iter().map(String::as_str).collect::<Vec<_>>(),
        ["clinicians", "project-readers", "readers", "ward"]
    );
    assert_eq!(directory.groups_of("gone").await, Ok(None), "an account that is disabled");
    assert_eq!(directory.groups_of("nobody").await, Ok(None));
    assert_eq!(directory.groups_of("*").await, Ok(None));
    assert_eq!(directory.groups_of("Ada").await, Ok(None), "another name, whatever the directory thinks");
}

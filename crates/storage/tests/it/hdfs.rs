//! HDFS with Kerberos.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use cordon_storage::{Kerberos, Location, Store, StoreSettings, Trouble};

use crate::hdfs_server::{AUTHORITY, FOLDER, Hdfs, REALM, STEP, prepare, store};

fn step(hdfs: &Hdfs, name: &str, env: &[(&'static str, String)]) {
    hdfs.step("hdfs::asked_in_a_process_of_its_own", name, env);
}

#[test]
fn a_cluster_with_kerberos_and_privacy() {
    let Some(mut hdfs) = Hdfs::start() else { return };
    step(&hdfs, "prepare", &hdfs.keytab("admin"));
    step(&hdfs, "whole", &hdfs.keytab("clinic"));
    step(&hdfs, "reader", &hdfs.keytab("reader"));
    step(&hdfs, "wrong key", &hdfs.keytab("old"));
    step(&hdfs, "no ticket", &hdfs.cache("none.cache"));
    hdfs.ticket("clinic", "short.cache", "2s");
    std::thread::sleep(std::time::Duration::from_secs(3));
    step(&hdfs, "expired", &hdfs.cache("short.cache"));
    hdfs.stop_data_node();
    step(&hdfs, "no data node", &hdfs.keytab("clinic"));
    hdfs.stop_name_node();
    step(&hdfs, "away", &hdfs.keytab("clinic"));
    hdfs.start_name_node();
    step(&hdfs, "safe mode", &hdfs.keytab("clinic"));
    hdfs.start_data_node();
    step(&hdfs, "back", &hdfs.keytab("clinic"));
    // A name node that would do with less is not spoken to.
    hdfs.stop_name_node();
    hdfs.configure("authentication");
    hdfs.start_name_node();
    step(&hdfs, "in clear", &hdfs.keytab("clinic"));
    hdfs.stop_centre();
    let mut none = hdfs.keytab("clinic");
    none[2].1 = format!("FILE:{}", hdfs.path("new.cache"));
    step(&hdfs, "no centre", &none);
}

#[test]
#[ignore = "run by the other test"]
fn asked_in_a_process_of_its_own() {
    let tables = || store("clinic/tables", 3);
    let told = |trouble: &[Trouble]| {
        let store = tables();
        for error in [
            store.put_new("CANARY-new", vec![1; 10]).unwrap_err(),
            store.find("CANARY-file").unwrap_err(),
            store.list("").next().unwrap().unwrap_err(),
        ] {
            assert!(trouble.contains(&error.trouble), "{error}");
            assert!(error.to_string().contains("hdfs://localhost") && !error.to_string().contains("CANARY"), "{error}");
        }
    };
    match std::env::var(STEP).unwrap().as_str() {
        "prepare" => prepare(),
        "whole" => whole(),
        "reader" => {
            let store = tables();
            assert_eq!(store.put_new("new", vec![1]).unwrap_err().trouble, Trouble::Forbidden);
            assert_eq!(store.remove("first").unwrap_err().trouble, Trouble::Forbidden);
            let object = store.find("first").unwrap().unwrap();
            // Its owner and group may.
            assert!(matches!(store.reader(&object).map(drop), Err(error) if error.trouble == Trouble::Forbidden));
        }
        "wrong key" => told(&[Trouble::Kerberos(Kerberos::WrongKey)]),
        "no ticket" => told(&[Trouble::Kerberos(Kerberos::NoTicket)]),
        "expired" => told(&[Trouble::Kerberos(Kerberos::Expired)]),
        "no data node" => {
            let error = tables().put_new("CANARY", vec![1; 10]).unwrap_err();
            assert_eq!(error.trouble, Trouble::NoDataNode, "{error}");
            let object = tables().find("large").unwrap().unwrap();
            let mut bytes = Vec::new();
            let read = tables().reader(&object).map(|mut reader| reader.read_to_end(&mut bytes));
            assert!(!matches!(read, Ok(Ok(_))), "what cannot be read is no shorter object");
        }
        "away" => told(&[Trouble::Unreachable, Trouble::Interrupted]),
        "safe mode" => {
            let error = tables().put_new("new", vec![1; 10]).unwrap_err();
            assert_eq!(error.trouble, Trouble::SafeMode, "{error}");
        }
        "back" => {
            let store = store("clinic/tables", 60);
            store.put_new("back", vec![9; 10]).unwrap();
            assert_eq!(&store.range("back", 0..10).unwrap()[..], &[9; 10]);
            assert_eq!(store.range("large", 10_000_000..10_000_100).unwrap().len(), 100);
        }
        "in clear" => told(&[Trouble::InClear]),
        "no centre" => told(&[Trouble::Kerberos(Kerberos::NoCentre), Trouble::Kerberos(Kerberos::NoTicket)]),
        other => panic!("{other}"),
    }
}

fn whole() {
    let store = store("clinic/tables", 60);
    assert_eq!(store.list("").count(), 0, "a folder that does not exist is empty");
    store.put_new("first", b"PAREfirst".to_vec()).unwrap();
    assert_eq!(store.put_new("first", vec![1]).unwrap_err().trouble, Trouble::Exists);
    // Of eight who take one name, from clients of their own, one wins, and its content is whole.
    for round in 0..4 {
        let name = format!("race{round}");
        let won: Vec<u8> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8_u8)
                .map(|i| {
                    let (store, name) = (self::store("clinic/tables", 60), name.clone());
                    scope.spawn(move || match store.put_new(&name, vec![i; 10_000]) {
                        Ok(()) => Some(i),
                        Err(error) => {
                            assert_eq!(error.trouble, Trouble::Exists);
                            None
                        }
                    })
                })
                .collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1);
        assert_eq!(store.small(&name, 1 << 20).unwrap().unwrap(), vec![won[0]; 10_000]);
    }
    // More than one part of an upload, ranges and tails.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&file, &large).unwrap();
    store.upload("large", &file).unwrap();
    let object = store.find("large").unwrap().unwrap();
    let mut back = Vec::new();
    store.reader(&object).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == large);
    assert_eq!(&store.range("large", 10_000_000..10_000_100).unwrap()[..], &large[10_000_000..10_000_100]);
    let (tail, len) = store.tail("large", 1000).unwrap();
    assert!(tail[..] == large[large.len() - 1000..] && len == large.len() as u64);
    assert_eq!(store.tail("first", 1000).unwrap().0.len(), 9);
    assert_eq!(store.tail("none", 10).unwrap_err().trouble, Trouble::NotFound);
    // Written over as a whole; who began with the one before is told.
    fs::write(&file, vec![7; 1000]).unwrap();
    store.upload("other", &file).unwrap();
    let before = store.find("other").unwrap().unwrap();
    fs::write(&file, vec![8; 2000]).unwrap();
    store.upload("other", &file).unwrap();
    assert!(matches!(store.reader(&before).map(drop), Err(error) if error.trouble == Trouble::Changed));
    assert_eq!(store.small("other", 10_000).unwrap().unwrap(), vec![8; 2000]);
    // Names as they are, and folders.
    for name in ["odd/a b#1%20.csv", "odd/[x]{y}~.csv", "odd/deeper/é.csv", "odd/.draft-left"] {
        store.put_new(name, vec![1, 2, 3]).unwrap();
    }
    let listed: Vec<_> = store.list("odd").collect::<Result<_, _>>().unwrap();
    let keys: BTreeSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["odd/[x]{y}~.csv", "odd/a b#1%20.csv", "odd/deeper/é.csv"]));
    for object in &listed {
        let mut bytes = Vec::new();
        store.reader(object).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3], "{}", object.key);
    }
    let (objects, folders) = store.names("odd").unwrap();
    assert_eq!((objects.len(), folders), (3, vec!["deeper".to_owned()]), "drafts are seen by who may remove them");
    assert_eq!(store.list("odd").take(1).count(), 1, "who reads no further is no trouble");
    store.remove("first").unwrap();
    store.remove("first").unwrap();
    assert_eq!(store.find("first").unwrap(), None);
    assert_eq!(store.find("odd").unwrap(), None, "a folder is no object");
    store.put_new("first", vec![1]).unwrap();
    // No draft is left of all that, but the one that was put there.
    let left = store.names("").unwrap().0.into_iter().filter(|object| object.key.contains(".draft-")).count();
    assert_eq!(left, 0);
    // Another identity, told apart by its prefix.
    let (folder, authority) = (std::env::var(FOLDER).unwrap(), std::env::var(AUTHORITY).unwrap());
    let env = |name: &str| (name == "LAB_KRB5_CLIENT_KTNAME").then(|| format!("{folder}/reader.keytab"));
    let settings = StoreSettings {
        config_dir: Some("client".to_owned()),
        env_prefix: Some("LAB_".to_owned()),
        principal: Some(format!("reader@{REALM}")),
        retry_seconds: Some(5),
        ..StoreSettings::default()
    };
    let location = Location::parse(&format!("hdfs://{authority}/clinic/tables")).unwrap();
    let lab = Store::open_in(&location, &settings, Path::new(&folder), &env).unwrap();
    assert_eq!(lab.put_new("lab", vec![1]).unwrap_err().trouble, Trouble::Forbidden);
    assert!(lab.find("large").unwrap().is_some());
}

//! What a restore must not undo: of the subject keys the newest copy comes back, requests are there, and a database that is older than
//! the backup is refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::backup::{at, backup};
use crate::postgres_server::{Server, is_installed};
use crate::shred::{CANARY, approve, ask, folder as thousand, revealed, shred};
use crate::support::{Folder, Said, binary, copy_tree, said};

const KEYS: [&str; 2] = [".cordon/subject-keys", ".cordon/keyring.json"];

/// Copies of subject keys and ring as they are now.
fn keep(folder: &Folder, name: &str) -> PathBuf {
    let to = folder.dir.path().join(name);
    fs::create_dir_all(to.join(".cordon")).unwrap();
    for key in KEYS {
        fs::copy(folder.path().join(key), to.join(key)).unwrap();
    }
    to
}

fn restore(dir: &Path, to: &Path, more: &[&str]) -> Said {
    said(binary().args(["backup", "restore", "--format", "json"]).args([dir, to]).args(more).output().unwrap())
}

/// With what no backup holds.
fn opened(folder: &Folder, to: PathBuf) -> Folder {
    let new = Folder { dir: tempfile::tempdir().unwrap() };
    fs::rename(to, new.path()).unwrap();
    copy_tree(&folder.path().join("secrets"), &new.path().join("secrets"));
    copy_tree(&folder.path().join("warehouse"), &new.path().join("warehouse"));
    new
}

fn is_gone(new: &Folder, tokens: &[String]) {
    let gone = revealed(new, &tokens[7]).exits(1);
    assert!(!gone.all().contains(CANARY));
    assert_eq!(revealed(new, &tokens[8]).ok().out, format!("{}\tp-0008\n", tokens[8]));
    new.cordon(&["vault", "verify"]).ok();
    assert_eq!(new.audit("backup_restored").len(), 1, "once");
}

#[test]
fn of_the_subject_keys_the_newest_copy_comes_back_and_no_older_one() {
    let (folder, tokens) = thousand();
    let before = backup(&folder, "before", &[]);
    let old = keep(&folder, "old");
    let id = ask(&folder, &tokens[7], true);
    approve(&folder, &id, "compliance-officer").ok();
    shred(&folder, &id, "privacy-officer", "certificate.json").ok();
    let new = keep(&folder, "new");
    let after = backup(&folder, "after", &[]);
    let bare = backup(&folder, "bare", &["--without-keys"]);
    let path = |at: &Path, key: &str| at.join(key).display().to_string();
    let certificate = folder.path().join("certificate.json").display().to_string();
    let target = folder.dir.path().join("target");
    let [subject_keys, keyring] = KEYS;

    // An old backup, and somebody who has the certificate: its own subject keys will not do, nor the newer ones without their ring.
    let refused = restore(&before, &target, &["--certificate", &certificate]).exits(2);
    assert!(refused.err.contains("of epoch 1") && refused.err.contains("up to epoch 2"), "{}", refused.err);
    let newer = ["--certificate", &certificate, "--subject-keys", &path(&new, subject_keys)];
    let refused = restore(&before, &target, &newer).exits(2);
    assert!(refused.err.contains("version 2 of their key") && refused.err.contains("--keyring"), "{}", refused.err);
    assert!(!target.exists(), "nothing was put in place");
    let ring = path(&new, keyring);
    let both = [&newer[..], &["--keyring", &ring]].concat();
    let told = restore(&before, &target, &both).ok().json();
    assert_eq!((&told["subject_keys"], &told["keyring"]), (&"given".into(), &"given".into()));
    is_gone(&opened(&folder, target.clone()), &tokens);

    // In its place already, with its ring: it stays.
    copy_tree(&new, &target);
    let told = restore(&before, &target, &[]).ok().json();
    assert_eq!((&told["subject_keys"], &told["keyring"]), (&"place".into(), &"place".into()));
    for key in KEYS {
        assert!(fs::read(target.join(key)).unwrap() == fs::read(new.join(key)).unwrap());
    }
    is_gone(&opened(&folder, target.clone()), &tokens);

    // An older one in its place, or given: that of the backup is newer.
    fs::create_dir_all(target.join(".cordon")).unwrap();
    fs::copy(old.join(subject_keys), target.join(subject_keys)).unwrap();
    let told = restore(&after, &target, &["--subject-keys", &path(&old, subject_keys)]).ok().json();
    assert_eq!((&told["subject_keys"], &told["subject_epoch"]), (&"backup".into(), &2.into()));
    is_gone(&opened(&folder, target.clone()), &tokens);

    // A ring in its place is never replaced, also where it is too old.
    copy_tree(&old, &target);
    let refused = restore(&after, &target, &[]).exits(2);
    assert!(refused.err.contains("does not hold"), "{}", refused.err);
    assert!(fs::read(target.join(keyring)).unwrap() == fs::read(old.join(keyring)).unwrap());
    assert!(!target.join("cordon.yaml").exists());
    // Only older ones, where the backup has none: its list knows better.
    let refused = restore(&bare, &target, &[]).exits(2);
    assert!(refused.err.contains("up to epoch 2"), "{}", refused.err);
    fs::remove_dir_all(&target).unwrap();

    // By hand after the restore: the first command looks, and so does every one until it is right.
    restore(&bare, &target, &[]).ok();
    let by_hand = opened(&folder, target.clone());
    copy_tree(&old, &by_hand.path());
    for args in [&["keys", "status"][..], &["vault", "verify"], &["run", "test"]] {
        let refused = by_hand.cordon(args).exits(7);
        assert!(refused.err.contains("older copy"), "{}", refused.err);
    }
    copy_tree(&new, &by_hand.path());
    is_gone(&by_hand, &tokens);

    // Another project's.
    let (other, _) = thousand();
    let others = keep(&other, "others");
    let refused = restore(&after, &target, &["--subject-keys", &path(&others, subject_keys)]).exits(2);
    assert!(refused.err.contains("another vault"), "{}", refused.err);
    let refused = restore(&after, &target, &["--keyring", &path(&others, keyring)]).exits(2);
    assert!(refused.err.contains("another project"), "{}", refused.err);
    assert!(!target.exists());
}

#[test]
fn requests_come_back_with_the_log_that_has_them() {
    let (folder, tokens) = thousand();
    let id = ask(&folder, &tokens[3], false);
    let dir = backup(&folder, "b", &[]);
    let target = folder.dir.path().join("target");
    restore(&dir, &target, &[]).ok();
    let new = opened(&folder, target);
    approve(&new, &id, "compliance-officer").ok();
    let out = new.cordon(&["token", "reveal", &id, "--as", "privacy-officer"]).ok().out;
    assert_eq!(out, format!("{}\tp-0003\n", tokens[3]));
}

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";

#[test]
fn a_database_that_is_older_than_the_backup_is_found() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: \"in/*.csv\" }");
    fs::remove_file(folder.path().join("pipelines/nightly.yaml")).unwrap();
    let vault = |base: &str| {
        format!(
            "vault:\n  postgres: {{ host: 127.0.0.1, port: {}, database: vault, user: cordon, ca-file: \"{base}/ca.crt\", pgpass: \
             \"{base}/work.pgpass\" }}\n",
            server.port
        )
    };
    let config = folder.read("cordon.yaml");
    let start = config.find("\nvault:").unwrap() + 1;
    let end = start + config[start..].find("\n\n").map_or(config.len() - start, |at| at + 1);
    folder.write("cordon.yaml", [&config[..start], &vault("database"), &config[end..]].concat());
    for file in ["ca.crt", "work.pgpass"] {
        fs::create_dir_all(folder.path().join("database")).unwrap();
        fs::copy(server.dir.path().join(file), folder.path().join("database").join(file)).unwrap();
    }
    let mut migrate = binary();
    migrate.args(["vault", "migrate", "--owner", "vault_owner", "--password-env", "OWNER"]).env("OWNER", "owner-pw");
    said(migrate.current_dir(folder.path()).output().unwrap()).ok();
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2021-05-06\n");
    folder.run_json("test", 0);

    let before = server.dump();
    let made = folder.cordon(&["backup", "create", folder.dir.path().join("b").to_str().unwrap()]).ok();
    assert!(made.err.contains("The tokens are not in it") && made.err.contains("127.0.0.1"), "{}", made.err);
    let after = server.dump();
    let dir = folder.dir.path().join("b");
    let base = folder.path().display().to_string();
    let unseen = at(&["backup", "verify"], &[&dir]).ok();
    assert!(unseen.err.contains("was not looked at"), "{}", unseen.err);
    at(&["backup", "verify", "--database", &base], &[&dir]).ok();
    folder.write("in/b.csv", "patient,day\np3,2022-01-02\n");
    folder.run_json("test", 0);
    // What came since is no harm.
    at(&["backup", "verify", "--database", &base], &[&dir]).ok();

    // Everything is lost, and the database comes back from a dump.
    let target = folder.dir.path().join("target");
    server.restore(&before);
    let older = at(&["backup", "verify", "--database", &base], &[&dir]).exits(7);
    assert!(older.err.contains("older than the backup") && older.err.contains("made after"), "{}", older.err);
    restore(&dir, &target, &["--database", &base]).exits(7);
    assert!(!target.exists());
    // Without a look: the first command looks.
    restore(&dir, &target, &[]).ok();
    let new = opened(&folder, target);
    copy_tree(&folder.path().join("database"), &new.path().join("database"));
    copy_tree(&folder.path().join("in"), &new.path().join("in"));
    fs::remove_dir_all(new.path().join("warehouse")).unwrap();
    for _ in 0..2 {
        let refused = new.cordon(&["run", "test"]).exits(7);
        assert!(refused.err.contains("older than the backup"), "{}", refused.err);
    }
    // A server that is down is no reason to refuse what does not need it.
    server.down("immediate");
    new.cordon(&["audit", "list"]).ok();
    new.cordon(&["keys", "status"]).ok();
    server.up();
    server.restore(&after);
    new.cordon(&["vault", "verify"]).ok();
    assert_eq!(new.audit("backup_restored").len(), 1);
    new.run_json("test", 0);
    new.cordon(&["audit", "verify"]).ok();
}

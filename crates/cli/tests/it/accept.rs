//! A vault that was set back is refused until an operator accepts it, by name and with a reason; then everybody has one token again.

use std::fs;

use crate::support::{Folder, binary, copy_tree};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      number: { kind: clinical }
";

/// Patients of these numbers, each with rows in all files before.
fn add(folder: &Folder, number: usize, people: std::ops::Range<usize>) {
    let rows = people.map(|person| format!("p{person},{}\n", 1000 * (number + 1) + person)).collect::<String>();
    folder.write(&format!("in/{number}.csv"), format!("patient,number\n{rows}"));
}

#[test]
fn a_vault_that_was_set_back_is_accepted_by_name_and_reason_and_rows_are_made_again() {
    for fail_at in [None, Some("accept-recorded"), Some("accepted")] {
        let folder = Folder::with(POLICY, "  - { dataset: visits, path: \"in/*.csv\" }");
        add(&folder, 0, 0..10);
        folder.run_json("test", 0);
        let old = folder.dir.path().join("old");
        copy_tree(&folder.path().join(".cordon/vault"), &old);
        add(&folder, 1, 5..20);
        folder.run_json("test", 0);
        let accept = ["vault", "accept-older", "--as", "engineer", "--reason", "the disk of the vault was lost"];
        folder.cordon(&accept).exits(2);
        fs::remove_dir_all(folder.path().join(".cordon/vault")).unwrap();
        copy_tree(&old, &folder.path().join(".cordon/vault"));
        add(&folder, 2, 0..25);
        let refused = folder.cordon(&["run", "test"]).exits(7);
        assert!(refused.err.contains("older copy"), "{}", refused.err);

        folder.cordon(&["vault", "accept-older", "--as", "engineer", "--reason", "so"]).exits(2);
        folder.cordon(&["vault", "accept-older", "--as", "nobody", "--reason", "the disk was lost"]).exits(4);
        assert!(folder.audit("older_vault_accepted").is_empty());
        folder.cordon(&["run", "test"]).exits(7);
        if let Some(at) = fail_at {
            let mut command = binary();
            command.args(accept).current_dir(folder.path()).env("CORDON_FAIL_AT", at);
            assert!(!command.output().unwrap().status.success(), "{at}");
        }
        let again = folder.cordon(&accept);
        assert_eq!(again.code, if fail_at == Some("accepted") { 2 } else { 0 }, "{}", again.all());
        let told = folder.audit("older_vault_accepted");
        assert_eq!(told.len(), if fail_at == Some("accept-recorded") { 2 } else { 1 });
        assert_eq!((&told[0]["principal"], &told[0]["pipelines"][0]), (&"engineer".into(), &"test".into()));
        assert_eq!((&told[0]["vault"], &told[0]["dossiers"]), (&true.into(), &false.into()));

        folder.run_json("test", 0);
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 50);
        assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM visits"), 25, "everybody has one token");
        assert_eq!(folder.run_json("test", 0)["files_read"], 0);
        for args in [&["vault", "verify"][..], &["tables", "verify"], &["audit", "verify"]] {
            folder.cordon(args).ok();
        }
        folder.cordon(&accept).exits(2);
    }
}

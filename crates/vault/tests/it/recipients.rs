//! Tokens of recipients: one for each person and recipient, in whatever process, and nothing that two of them share.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
    thread,
};

use cordon_phi::{Dossiers as _, IdentifierKind, KnownFacts, Whose};
use cordon_phi::{Identifier, NameDraw, Sex, Token, TokenStore as _};
use cordon_vault::{
    DossierOptions, DossierStore, TokenVault, Vault,
    recipient::{RecipientDossiers, RecipientTokens, domain_of, given_to, owners, recipient_of},
};

use crate::{keys, name, same, scratch, tiny, try_subjects};

fn vault(home: &Path) -> Arc<dyn Vault> {
    Arc::new(TokenVault::open(&home.join("vault"), keys(), try_subjects(home).unwrap(), tiny()).unwrap())
}

fn given(vault: &Arc<dyn Vault>, recipient: &str, domain: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Token> {
    let values: Vec<String> = numbers.into_iter().map(name).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    RecipientTokens::new(Arc::clone(vault), recipient).get_or_create(domain, &values, &mut out).unwrap();
    assert_eq!(out.len(), values.len());
    out
}

fn own(vault: &Arc<dyn Vault>, domain: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Token> {
    let values: Vec<String> = numbers.into_iter().map(name).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    RecipientTokens::new(Arc::clone(vault), "whoever").get_or_create_own(domain, &values, &mut out).unwrap();
    out
}

#[test]
fn two_recipients_share_no_token_and_each_keeps_its_own() {
    let home = scratch();
    let before = {
        let vault = vault(home.path());
        // Twice in one batch, and in two domains.
        let twice = given(&vault, "a", "mrn", [1, 2, 1]);
        assert!(twice[0] == twice[2] && twice[0] != twice[1]);
        let all: Vec<Vec<Token>> = [("a", "mrn"), ("a", "encounter"), ("b", "mrn"), ("b", "encounter")]
            .map(|(recipient, domain)| given(&vault, recipient, domain, 0..3_000))
            .into_iter()
            .chain([own(&vault, "mrn", 0..3_000), own(&vault, "encounter", 0..3_000)])
            .collect();
        assert_eq!(all.iter().flatten().collect::<HashSet<_>>().len(), 18_000);
        vault.sync().unwrap();
        let domains: BTreeMap<String, u64> = vault.stats().unwrap().domains.into_iter().collect();
        assert_eq!((domains["recipient:a"], domains["recipient:b"], domains["mrn"]), (6_000, 6_000, 3_000));
        all
    };
    let vault = vault(home.path());
    same(&given(&vault, "a", "mrn", (0..3_000).rev()), &before[0].iter().rev().copied().collect::<Vec<_>>());
    same(&given(&vault, "b", "encounter", 0..3_000), &before[3]);
    vault.verify().unwrap();
}

#[test]
fn runs_at_once_for_one_recipient_and_two_give_each_person_one_token() {
    let home = scratch();
    // As two processes have them: each with the vault opened for itself.
    let all: Vec<(&str, Vec<Token>)> = thread::scope(|scope| {
        let home = home.path();
        let runs = ["a", "b", "a", "b"].map(|recipient| {
            scope.spawn(move || {
                let vault = vault(home);
                let tokens: Vec<_> =
                    (0..20).flat_map(|batch| given(&vault, recipient, "mrn", batch * 97..batch * 97 + 200)).collect();
                vault.sync().unwrap();
                (recipient, tokens)
            })
        });
        runs.map(|run| run.join().unwrap()).into_iter().collect()
    });
    same(&all[0].1, &all[2].1);
    same(&all[1].1, &all[3].1);
    let (a, b): (HashSet<_>, HashSet<_>) = (all[0].1.iter().collect(), all[1].1.iter().collect());
    assert_eq!((a.len(), a.len()), (19 * 97 + 200, b.len()));
    assert!(a.is_disjoint(&b));
    let vault = vault(home.path());
    assert_eq!(vault.verify().unwrap().tokens, 3 * a.len() as u64, "no orphan");
}

#[test]
fn people_who_turn_out_to_be_one_are_one_for_each_recipient() {
    let home = scratch();
    let vault = vault(home.path());
    let [mrn, ssn] = ["mrn", "ssn"].map(|domain| given(&vault, "a", domain, [1]));
    assert!(mrn[0] != ssn[0]);
    let value = name(1);
    let link = ["mrn", "ssn"].map(|namespace| Identifier { namespace, value: value.as_bytes() });
    assert_eq!(vault.link(&link, &[2], &mut Vec::new()).unwrap().merged, 1);
    // The older of the two stays.
    for domain in ["mrn", "ssn"] {
        same(&given(&vault, "a", domain, [1]), &mrn);
    }
    let b = given(&vault, "b", "ssn", [1]);
    same(&b, &given(&vault, "b", "mrn", [1]));

    // Either of the tokens that the one was given leads to the one that the other has.
    let root = own(&vault, "mrn", [1]);
    let behind = owners(&*vault, &[mrn[0], ssn[0], b[0], root[0]]).unwrap();
    let [Some((a, first)), Some((_, second)), Some((other, third)), None] = &behind[..] else { panic!() };
    assert_eq!((a.as_str(), other.as_str()), ("a", "b"));
    assert!(first == &root[0] && second != first && third == first);
    for of in [*first, *second] {
        assert!(given_to(&*vault, "b", &[of]).unwrap() == [Some(b[0])]);
        assert!(given_to(&*vault, "a", &[of]).unwrap() == [Some(mrn[0])], "what stands for the person now");
        assert!(given_to(&*vault, "c", &[of]).unwrap() == [None], "no token is made by asking");
    }
    assert!(vault.stats().unwrap().domains.iter().all(|(domain, _)| domain != "recipient:c"));
    let values = vault.reveal_all("ssn", second).unwrap();
    assert_eq!(values.iter().map(|value| value.expose_phi().as_str()).collect::<Vec<_>>(), [value.as_str()]);
}

#[test]
fn a_name_is_drawn_for_each_recipient_and_known_once() {
    let home = scratch();
    let vault = Arc::new(
        TokenVault::open(&home.path().join("vault"), keys(), try_subjects(home.path()).unwrap(), tiny()).unwrap(),
    );
    let dossiers = Arc::new(
        DossierStore::open(&home.path().join("dossiers"), Arc::clone(&vault), DossierOptions::default()).unwrap(),
    );
    let vault: Arc<dyn Vault> = vault;
    let of = |recipient| {
        RecipientDossiers::new(dossiers.clone(), Arc::new(RecipientTokens::new(Arc::clone(&vault), recipient)))
    };
    let people = own(&vault, "mrn", 0..2);
    let mut facts = KnownFacts::default();
    facts.push(IdentifierKind::City, Whose::Subject, "Springfield");
    of("a").add(&people[..1], &facts).unwrap();
    let drawn = |skips| NameDraw { sex: Some(Sex::Male), given_skips: skips, family_skips: 0 };
    for (recipient, skips) in [("a", 1), ("b", 2)] {
        of(recipient).decide(&people[..1], &mut [drawn(skips)]).unwrap();
    }
    dossiers.sync().unwrap();
    for (recipient, skips) in [("a", Some(1)), ("b", Some(2)), ("c", None)] {
        let (mut draws, mut known) = (Vec::new(), Vec::new());
        of(recipient).draws(&people, &mut draws).unwrap();
        of(recipient).known(&people, &mut known).unwrap();
        assert_eq!((draws[0], draws[1]), (skips.map(drawn), None), "{recipient}");
        assert_eq!((known[0].len(), known[1].len()), (1, 0), "{recipient}");
    }
    let mut draws = Vec::new();
    dossiers.draws(&people, &mut draws).unwrap();
    assert_eq!(draws, [None, None], "the project's own tables have names of their own");
}

#[test]
fn whoever_was_destroyed_is_somebody_new_to_each_recipient() {
    let home = scratch();
    let (one, other) = (
        vault(home.path()),
        TokenVault::open(&home.path().join("vault"), keys(), try_subjects(home.path()).unwrap(), tiny()).unwrap(),
    );
    let before = ["a", "b"].map(|recipient| given(&one, recipient, "mrn", 0..50));
    other.shred(&before[0][7..8], None).unwrap();
    assert!(owners(&*one, &[before[0][7], before[1][7]]).unwrap() == [None, None]);
    for (recipient, before) in ["a", "b"].into_iter().zip(&before) {
        let after = given(&one, recipient, "mrn", 0..50);
        for (n, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!(before == after, n != 7, "{n}");
        }
    }
    one.verify().unwrap();
}

#[test]
fn a_domain_is_a_recipients_by_its_name() {
    assert_eq!(recipient_of(&domain_of("study-a")), Some("study-a"));
    assert_eq!(recipient_of("patient"), None);
}

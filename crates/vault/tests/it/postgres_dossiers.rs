//! Dossiers in a real PostgreSQL: as those in a folder, and for several at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cordon_phi::{
    Dossiers, Identifier, IdentifierKind, IdentityStore, KnownFacts, NameDraw, Sex, Token, TokenError, TokenStore as _,
    Whose,
};
use cordon_vault::{
    DossierKeeper as _, DossierOptions, DossierStore, PostgresDossiers, PostgresVault, Vault as _, VaultError,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    postgres::{config, migrated, named, open, open_as, tokens},
    postgres_server::{Server, is_installed},
    scratch,
};

const WRITER: &str = "CORDON_TEST_DOSSIER_WRITER";

type Fact = (IdentifierKind, Whose, String);

fn store_of(vault: &Arc<PostgresVault>) -> PostgresDossiers {
    // A few hundred facts fill the memory.
    let options = DossierOptions { memory_bytes: 24 << 10, ..DossierOptions::default() };
    PostgresDossiers::open(Arc::clone(vault), options).unwrap_or_else(|error| panic!("{error}"))
}

fn store(server: &Server) -> (Arc<PostgresVault>, PostgresDossiers) {
    let vault = Arc::new(open(server));
    let dossiers = store_of(&vault);
    (vault, dossiers)
}

fn add(store: &dyn Dossiers, facts: &[(Token, Fact)]) {
    let mut all = KnownFacts::default();
    for (_, (kind, whose, text)) in facts {
        all.push(*kind, *whose, text);
    }
    store.add(&facts.iter().map(|(token, _)| *token).collect::<Vec<_>>(), &all).unwrap();
}

fn try_known(store: &dyn Dossiers, subjects: &[Token]) -> Result<Vec<Vec<Fact>>, TokenError> {
    let mut out = Vec::new();
    store.known(subjects, &mut out)?;
    assert_eq!(out.len(), subjects.len());
    let list = |facts: &KnownFacts| facts.iter().map(|fact| (fact.kind, fact.whose, fact.text.to_owned())).collect();
    Ok(out.iter().map(list).collect())
}

fn known(store: &dyn Dossiers, subject: Token) -> Vec<Fact> {
    try_known(store, &[subject]).unwrap().pop().unwrap()
}

fn draws(store: &dyn Dossiers, subjects: &[Token]) -> Vec<Option<NameDraw>> {
    let mut out = Vec::new();
    store.draws(subjects, &mut out).unwrap();
    out
}

fn decide(store: &dyn Dossiers, subject: Token, draw: NameDraw) -> NameDraw {
    let mut draws = [draw];
    store.decide(&[subject], &mut draws).unwrap();
    draws[0]
}

fn name(text: &str) -> Fact {
    (IdentifierKind::Name, Whose::Subject, text.to_owned())
}

fn some_draw(rng: &mut StdRng) -> NameDraw {
    let sex = [None, Some(Sex::Female), Some(Sex::Male)][rng.random_range(0..3)];
    NameDraw { sex, given_skips: rng.random_range(0..3), family_skips: 0 }
}

const FEMALE: NameDraw = NameDraw { sex: Some(Sex::Female), given_skips: 0, family_skips: 2 };
const MALE: NameDraw = NameDraw { sex: Some(Sex::Male), given_skips: 1, family_skips: 0 };

/// The same is done to dossiers in a folder and in the database, by several handles; both say the same at any time.
#[test]
fn both_kinds_say_the_same_whatever_is_done() {
    const PEOPLE: usize = 60;
    if !is_installed() {
        return;
    }
    let server = migrated();
    let home = scratch();
    let folder_vault = Arc::new(crate::open(&home.path().join("vault")));
    let folder = || {
        let options = DossierOptions { memory_bytes: 24 << 10, fan_in: 2 };
        DossierStore::open(&home.path().join("dossiers"), Arc::clone(&folder_vault), options).unwrap()
    };
    let in_folder = folder();
    let mut handles: Vec<_> = (0..2).map(|_| store(&server)).collect();
    let seed = 0xd055;
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for name in named(0..PEOPLE as u32) {
        // One after the other, so that of any two the same one is the older in both.
        folder_vault.get_or_create("mrn", &[name.as_bytes()], &mut here).unwrap();
        handles[0].0.get_or_create("mrn", &[name.as_bytes()], &mut there).unwrap();
    }
    for round in 0..80 {
        let at = rng.random_range(0..2);
        let facts: Vec<(usize, Fact)> = (0..rng.random_range(0..40))
            .map(|_| {
                let kind = IdentifierKind::ALL[rng.random_range(0..4)];
                let whose = Whose::ALL[rng.random_range(0..2)];
                (rng.random_range(0..PEOPLE), (kind, whose, format!("canary {} \u{1f}Zoë", rng.random_range(0..6))))
            })
            .collect();
        let of = |people: &[Token]| facts.iter().map(|(n, fact)| (people[*n], fact.clone())).collect::<Vec<_>>();
        add(&in_folder, &of(&here));
        add(&handles[at].1, &of(&there));
        if rng.random_bool(0.2) {
            let pair = [rng.random_range(0..PEOPLE), rng.random_range(0..PEOPLE)];
            let names = pair.map(|n| named(n as u32..n as u32 + 1).remove(0));
            let all = names.each_ref().map(|value| Identifier { namespace: "mrn", value: value.as_bytes() });
            let (mut one, mut other) = (Vec::new(), Vec::new());
            folder_vault.link(&all, &[2], &mut one).unwrap();
            handles[at].0.link(&all, &[2], &mut other).unwrap();
            let number = |token: Option<Token>, people: &[Token]| people.iter().position(|of| Some(*of) == token);
            assert_eq!(number(one[0], &here), number(other[0], &there), "seed {seed}, round {round}");
        }
        if rng.random_bool(0.3) {
            let (n, draw) = (rng.random_range(0..PEOPLE), some_draw(&mut rng));
            let one = decide(&in_folder, here[n], draw);
            assert_eq!(one, decide(&handles[at].1, there[n], draw), "seed {seed}, round {round}");
        }
        if rng.random_bool(0.2) {
            handles[at].1.sync().unwrap();
            handles[at] = store(&server);
        }
        if round % 10 == 9 {
            in_folder.sync().unwrap();
            for (_, dossiers) in &handles {
                dossiers.sync().unwrap();
            }
            let asked: Vec<usize> = (0..100).map(|_| rng.random_range(0..PEOPLE)).collect();
            let of = |people: &[Token]| asked.iter().map(|n| people[*n]).collect::<Vec<_>>();
            let expected = try_known(&in_folder, &of(&here)).unwrap();
            for (_, dossiers) in &handles {
                let found = try_known(dossiers, &of(&there)).unwrap();
                for (one, other) in expected.iter().zip(found) {
                    let set = other.iter().collect::<BTreeSet<_>>();
                    assert_eq!(set.len(), other.len(), "a fact twice");
                    assert!(set == one.iter().collect(), "seed {seed}, round {round}");
                }
                assert!(draws(dossiers, &of(&there)) == draws(&in_folder, &of(&here)), "seed {seed}, round {round}");
            }
            handles[0].1.verify().unwrap();
        }
    }
    let mark = in_folder.sync().map(|()| handles[0].1.mark().unwrap()).unwrap();
    assert!(handles[1].1.contains(&mark).unwrap());
}

#[test]
fn of_too_many_facts_the_newest_stay_and_what_is_known_is_not_written_again() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (vault, dossiers) = store(&server);
    let person = tokens(&vault, "mrn", &named(1..2))[0];
    for visit in 0..2_000 {
        let number = (IdentifierKind::UniqueId, Whose::Subject, format!("visit {visit}"));
        add(&dossiers, &[(person, number), (person, name("Ann"))]);
    }
    dossiers.sync().unwrap();
    let facts = known(&dossiers, person);
    assert_eq!(facts.len(), 512);
    assert!(facts.contains(&name("Ann")) && facts.iter().any(|fact| fact.2 == "visit 1999"));
    assert_eq!(dossiers.stats().unwrap().people, 1);
    let other = tokens(&vault, "mrn", &named(2..3))[0];
    let long = "y".repeat(1_024);
    add(&dossiers, &[(other, name(&"x".repeat(1_025))), (other, name(&long)), (other, name("Bo"))]);
    dossiers.sync().unwrap();
    assert_eq!(known(&dossiers, other), [name(&long), name("Bo")]);
    // A row's sealed bytes change with every writing.
    let row = || server.admin("vault", "SELECT md5(string_agg(sealed::text, '' ORDER BY place)) FROM cordon.dossiers");
    let before = row();
    add(&store_of(&vault), &[(other, name("Bo")), (other, name(&long))]);
    let again = store_of(&vault);
    add(&again, &[(other, name("Bo")), (other, name(&long))]);
    again.sync().unwrap();
    assert_eq!(row(), before);
    add(&again, &[(other, name("Cy"))]);
    again.sync().unwrap();
    assert_ne!(row(), before);
}

#[test]
fn of_two_who_decide_a_name_the_second_takes_over_what_the_first_decided() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let ((vault, one), (_, other)) = (store(&server), store(&server));
    let people = tokens(&vault, "mrn", &named(1..5));
    assert_eq!(draws(&one, &people), [None; 4]);
    assert_eq!(decide(&one, people[0], FEMALE), FEMALE);
    assert_eq!(decide(&other, people[0], MALE), FEMALE);
    // Facts of before and after do not matter to it.
    add(&other, &[(people[1], name("Ann"))]);
    assert_eq!(decide(&one, people[1], MALE), MALE);
    other.sync().unwrap();
    assert_eq!(decide(&other, people[1], FEMALE), MALE);
    let mut both = [MALE, FEMALE, NameDraw::default()];
    other.decide(&[people[2], people[2], people[0]], &mut both).unwrap();
    assert_eq!(both, [MALE, MALE, FEMALE]);
    let many: Vec<_> = (0..700).map(|n| (people[1], name(&format!("Town {n}")))).collect();
    add(&one, &many);
    one.sync().unwrap();
    let third = store_of(&vault);
    assert_eq!(draws(&third, &people), [Some(FEMALE), Some(MALE), Some(MALE), None]);
    assert_eq!(known(&third, people[1]).len(), 512);
    assert_eq!(known(&third, people[0]), []);
    // At the same instant.
    let people = tokens(&vault, "mrn", &named(100..400));
    let said: Vec<Vec<NameDraw>> = thread::scope(|scope| {
        let all: Vec<_> = [(&one, FEMALE), (&other, MALE), (&third, NameDraw::default())]
            .into_iter()
            .map(|(dossiers, draw)| {
                let people = &people;
                scope.spawn(move || {
                    let mut draws = vec![draw; people.len()];
                    for (people, draws) in people.chunks(25).zip(draws.chunks_mut(25)) {
                        dossiers.decide(people, draws).unwrap();
                    }
                    draws
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(said[0] == said[1] && said[1] == said[2]);
}

#[test]
fn many_who_add_to_the_same_people_at_once_lose_nothing() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let handles: Vec<_> = (0..4).map(|_| store(&server)).collect();
    let people = tokens(&handles[0].0, "mrn", &named(0..300));
    thread::scope(|scope| {
        for (thread, (_, dossiers)) in handles.iter().enumerate() {
            let people = &people;
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(thread as u64);
                for round in 0..12 {
                    let mut facts: Vec<_> =
                        people.iter().map(|token| (*token, name(&format!("by {thread} in {round}")))).collect();
                    rand::seq::SliceRandom::shuffle(&mut facts[..], &mut rng);
                    facts.truncate(200);
                    facts.extend(people.iter().map(|token| (*token, name(&format!("by {thread}")))));
                    add(dossiers, &facts);
                    dossiers.sync().unwrap();
                    let found = try_known(dossiers, people).unwrap();
                    assert!(found.iter().all(|facts| facts.contains(&name(&format!("by {thread}")))));
                }
            });
        }
    });
    let found = try_known(&handles[0].1, &people).unwrap();
    for thread in 0..4 {
        assert!(found.iter().all(|facts| facts.contains(&name(&format!("by {thread}")))));
        let more =
            |facts: &Vec<Fact>| facts.iter().filter(|fact| fact.2.starts_with(&format!("by {thread} in"))).count();
        assert_eq!(found.iter().map(more).sum::<usize>(), 12 * 200);
    }
    assert_eq!(handles[0].1.verify().unwrap().people, 300);
}

/// Of everybody a name, and all dossiers' rows as they stand in the table.
fn with_names(server: &Server) -> (Arc<PostgresVault>, PostgresDossiers, Vec<Token>) {
    let (vault, dossiers) = store(server);
    let people = tokens(&vault, "mrn", &named(0..100));
    let facts: Vec<_> = (0..100).map(|n| (people[n], name(&format!("Canary{n:03}")))).collect();
    add(&dossiers, &facts);
    dossiers.sync().unwrap();
    (vault, dossiers, people)
}

#[test]
fn who_is_destroyed_is_gone_from_old_copies_and_whoever_still_holds_the_token_writes_nothing() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (vault, dossiers, people) = with_names(&server);
    decide(&dossiers, people[7], FEMALE);
    let pair = named(7..9);
    let all = [("mrn", &pair[0]), ("mrn", &pair[1]), ("ssn", &pair[0])];
    let all = all.map(|(namespace, value)| Identifier { namespace, value: value.as_bytes() });
    vault.link(&all, &[3], &mut Vec::new()).unwrap();
    let holder = store(&server);
    assert_eq!(known(&holder.1, people[8]).len(), 2);
    add(&holder.1, &[(people[7], name("late")), (people[8], name("later")), (people[9], name("kept"))]);
    let copy = server.admin("vault", "CREATE TABLE old AS SELECT * FROM cordon.dossiers; SELECT count(*) FROM old");
    assert!(copy.ends_with("100"), "{copy}");

    let done = vault.shred(&people[8..9]).unwrap();
    assert_eq!(done.domains, [("mrn".to_owned(), 2), ("ssn".to_owned(), 1)]);
    assert_eq!((done.entries, done.merges, done.dossiers), (3, 1, 2));
    assert_eq!(vault.shred(&people[8..9]).unwrap().dossiers, 0);

    holder.1.sync().unwrap();
    assert_eq!(decide(&holder.1, people[7], MALE), MALE, "somebody who is nobody");
    for old in [false, true] {
        if old {
            let back = "TRUNCATE cordon.dossiers; INSERT INTO cordon.dossiers SELECT * FROM old";
            server.admin("vault", back);
        }
        let (_, fresh) = store(&server);
        for gone in &people[7..9] {
            assert_eq!(known(&fresh, *gone), []);
        }
        assert_eq!(draws(&fresh, &people[7..9]), [None, None]);
        let found = try_known(&fresh, &people).unwrap();
        assert_eq!(found.iter().filter(|facts| facts.is_empty()).count(), 2);
        assert_eq!(found[9].contains(&name("kept")), !old);
        fresh.verify().unwrap();
    }
    let rows = "SELECT count(*) FROM cordon.dossiers WHERE slot NOT IN (SELECT slot FROM old)";
    assert_eq!(server.admin("vault", rows), "0", "no row was made for who is gone");
    // Whoever comes with the value again is somebody else.
    let again = tokens(&vault, "mrn", &named(7..8));
    assert!(again[0] != people[7] && known(&dossiers, again[0]).is_empty());
    add(&dossiers, &[(again[0], name("new"))]);
    dossiers.sync().unwrap();
    assert_eq!(known(&store(&server).1, again[0]), [name("new")]);
}

#[test]
fn nothing_of_a_person_is_left_though_others_link_and_add_meanwhile() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (vault, _, people) = with_names(&server);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let ((other, dossiers), people, stop) = (store(&server), &people, &stop);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let number = format!("{thread}-{round}");
                    // Each time another number of everybody, under the token that this process has in hand.
                    let mut of = Vec::new();
                    for name in named(0..20).leak() {
                        of.push(Identifier { namespace: "mrn", value: name.as_bytes() });
                        of.push(Identifier { namespace: "visit", value: format!("{name}{number}").leak().as_bytes() });
                    }
                    let ends: Vec<usize> = (1..=20).map(|n| n * 2).collect();
                    let mut linked = Vec::new();
                    other.link(&of, &ends, &mut linked).unwrap();
                    let facts: Vec<_> = people[..20].iter().map(|token| (*token, name(&number))).collect();
                    add(&dossiers, &facts);
                    dossiers.sync().unwrap();
                }
            });
        }
        thread::sleep(Duration::from_millis(400));
        for gone in people[..5].chunks(1) {
            vault.shred(gone).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    // A second look finds nothing that was written under their tokens behind the first one's back.
    for gone in people[..5].chunks(1) {
        let left = vault.shred(gone).unwrap();
        assert_eq!((left.entries, left.merges, left.dossiers), (0, 0, 0));
    }
    let (fresh, dossiers) = store(&server);
    let found = try_known(&dossiers, &people).unwrap();
    assert!(found[..5].iter().all(Vec::is_empty) && found[5..].iter().all(|facts| !facts.is_empty()));
    let now = tokens(&fresh, "mrn", &named(0..20));
    assert!(now.iter().zip(&people).enumerate().all(|(n, (now, then))| (now == then) == (n >= 5)));
    fresh.verify().unwrap();
}

#[test]
fn rows_that_were_changed_are_found() {
    if !is_installed() {
        return;
    }
    for change in [
        "UPDATE cordon.dossiers SET sealed = (SELECT sealed FROM cordon.dossiers ORDER BY place LIMIT 1)",
        "UPDATE cordon.dossiers SET slot = slot + 1",
        "UPDATE cordon.dossiers SET sealed = substr(sealed, 1, 40)",
        "UPDATE cordon.dossiers SET sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1)",
        "UPDATE cordon.dossiers SET place = gen_random_uuid()",
    ] {
        let server = migrated();
        let (_, dossiers, people) = with_names(&server);
        server.admin("vault", change);
        assert!(matches!(dossiers.verify(), Err(VaultError::DamagedRows { .. })), "{change}");
        if !change.contains("place =") {
            assert!(matches!(try_known(&dossiers, &people), Err(TokenError::Damaged(_))), "{change}");
            let error = try_known(&dossiers, &people).err().unwrap().to_string();
            assert!(!error.contains("Canary") && error.contains("not authentic"), "{error}");
        }
    }
    // A list of kinds that was changed, and one of a program that numbers them in another way.
    let server = migrated();
    let (_, dossiers, people) = with_names(&server);
    server.admin("vault", "UPDATE cordon.dossiers SET sealed = sealed; UPDATE cordon.kinds SET sealed = '\\x00'");
    assert_eq!(known(&dossiers, people[1]), [name("Canary001")], "this program's own list is not asked for");
    assert!(dossiers.verify().is_ok());
}

#[test]
fn a_server_that_stops_while_dossiers_are_written_and_comes_back_loses_nothing() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (vault, dossiers) = store(&server);
    let people = tokens(&vault, "mrn", &named(0..200));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..80 {
                let facts: Vec<_> = people.iter().map(|token| (*token, name(&format!("in {round}")))).collect();
                add(&dossiers, &facts);
                dossiers.sync().unwrap();
            }
        });
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(300));
            server.down("immediate");
            thread::sleep(Duration::from_millis(200));
            server.up();
        }
        writer.join().unwrap();
    });
    let found = try_known(&store(&server).1, &people).unwrap();
    assert!(found.iter().all(|facts| facts.len() == 80));
}

/// Runs only as another process of the test below: writes down what was synced, and what was decided.
#[test]
fn adds_until_it_is_killed() {
    let Ok(told) = std::env::var(WRITER) else { return };
    let parts: Vec<&str> = told.split('|').collect();
    let (base, seed) = (Path::new(parts[0]), parts[2].parse().unwrap());
    let vault = Arc::new(open_as(&config(parts[1].parse().unwrap(), "cordon", "work.pgpass"), base).unwrap());
    let dossiers = store_of(&vault);
    let people = tokens(&vault, "mrn", &named(0..150));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut told = fs::File::create(base.join(format!("told-{seed}"))).unwrap();
    loop {
        let facts: Vec<(u8, u32)> = (0..60).map(|_| (rng.random_range(0..150), rng.random_range(0..200))).collect();
        let texts: Vec<_> =
            facts.iter().map(|(n, number)| (people[usize::from(*n)], name(&number.to_string()))).collect();
        add(&dossiers, &texts);
        let (who, draw) = (rng.random_range(0..150_u8), some_draw(&mut rng));
        let decided = decide(&dossiers, people[usize::from(who)], draw);
        dossiers.sync().unwrap();
        let mut lines = Vec::new();
        for (n, number) in &facts {
            writeln!(lines, "f {n} {number}").unwrap();
        }
        writeln!(lines, "d {who} {decided:?}").unwrap();
        told.write_all(&lines).unwrap();
    }
}

fn spawn(server: &Server, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres_dossiers::adds_until_it_is_killed", "--nocapture"])
        .env(WRITER, format!("{}|{}|{seed}", server.dir.path().display(), server.port))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_instant_nothing_that_was_synced_or_decided_is_lost() {
    if !is_installed() {
        return;
    }
    let seed: u64 = std::env::var("CORDON_KILL_SEED").map_or(11, |seed| seed.parse().unwrap());
    let kills: u64 = std::env::var("CORDON_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(seed);
    let server = migrated();
    let (vault, _) = store(&server);
    let people = tokens(&vault, "mrn", &named(0..150));
    let (mut facts, mut decided) = (BTreeMap::<usize, BTreeSet<String>>::new(), HashMap::<usize, String>::new());
    for round in 0..kills {
        let told = |n: u64| server.dir.path().join(format!("told-{}", seed * 1000 + round * 2 + n));
        let children = [0, 1].map(|n| (spawn(&server, seed * 1000 + round * 2 + n), told(n)));
        for (mut child, told) in children {
            // However slow the machine is, something was synced by then.
            let until = Instant::now() + Duration::from_mins(2);
            while fs::metadata(&told).map_or(0, |file| file.len()) == 0 {
                assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "nothing was ever synced");
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis(rng.random_range(0..400)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for n in 0..2 {
            let text = fs::read_to_string(told(n)).unwrap();
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                let mut words = line.splitn(3, ' ');
                let (what, who, said) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
                let who: usize = who.parse().unwrap();
                if what == "f" {
                    facts.entry(who).or_default().insert(said.to_owned());
                } else if let Some(before) = decided.insert(who, said.to_owned()) {
                    assert_eq!(before, said, "round {round} of seed {seed}: decided twice");
                }
            }
        }
        let (_, fresh) = store(&server);
        let standing = draws(&fresh, &people);
        for (person, found) in try_known(&fresh, &people).unwrap().into_iter().enumerate() {
            let found: BTreeSet<String> = found.into_iter().map(|(.., text)| text).collect();
            let told = facts.get(&person).cloned().unwrap_or_default();
            assert!(found.is_superset(&told), "round {round} of seed {seed}: a fact was lost");
            if let Some(said) = decided.get(&person) {
                assert_eq!(format!("{:?}", standing[person].unwrap()), *said, "round {round} of seed {seed}");
            }
        }
        fresh.verify().unwrap();
    }
    let count: usize = facts.values().map(BTreeSet::len).sum();
    assert!(count > 100, "only {count} facts before the kills");
    assert_eq!(vault.stats().unwrap().domains[0].1, 150);
}

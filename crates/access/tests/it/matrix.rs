//! Who may see what, as one table: every user × purpose × dataset × column. Complete by construction: the table is
//! made from what exists, so that a user or a column without a row is a difference, and a difference fails.

use std::fmt::Write as _;

use cordon_access::{
    AccessFile, Action, Authorizer, Dataset, Decision, Grants, Principal, Privilege, Purpose, Reason, Request,
};
use serde::Deserialize;

use crate::{cases, check_golden};

#[derive(Deserialize)]
struct Table {
    name: String,
    columns: Vec<String>,
}

const STRANGER: &str = "(stranger)";

fn load() -> (Grants, Vec<Table>) {
    let read = |name: &str| std::fs::read_to_string(cases().join("clinic").join(name)).unwrap();
    let file: AccessFile = serde_saphyr::from_str(&read("access.yaml")).unwrap();
    (Grants::check(file).unwrap(), serde_saphyr::from_str(&read("datasets.yaml")).unwrap())
}

fn decide(grants: &Grants, user: &str, purpose: Purpose, table: &Table) -> Decision {
    let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let (principal, usage) = (&Principal::named(user), &purpose.into());
    grants.decide(&Request {
        principal,
        usage,
        time: 0,
        dataset: &table.name,
        columns: &columns,
        facts: &[],
        action: Action::Read,
    })
}

#[test]
fn the_golden_matrix() {
    let (grants, tables) = load();
    let users: Vec<&str> = grants.users().chain([STRANGER]).collect();
    let mut out = String::from("Who may see what, for which purpose:");
    for purpose in Purpose::ALL {
        write!(out, " {}={}", purpose.letter(), purpose).unwrap();
    }
    out.push('\n');
    for table in &tables {
        write!(out, "\n{:<20}", table.name).unwrap();
        for user in &users {
            write!(out, " {user:<12}").unwrap();
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        for column in &table.columns {
            write!(out, "  {column:<18}").unwrap();
            for user in &users {
                let cell: String = Purpose::ALL
                    .into_iter()
                    .map(|purpose| {
                        let seen = decide(&grants, user, purpose, table).columns.contains(column);
                        if seen { purpose.letter() } else { '.' }
                    })
                    .collect();
                write!(out, " {cell:<12}").unwrap();
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
    }
    write!(out, "\n{:<20}", "(privileged)").unwrap();
    for user in &users {
        write!(out, " {user:<12}").unwrap();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    for privilege in Privilege::ALL {
        write!(out, "  {privilege:<18}", privilege = privilege.name()).unwrap();
        for user in &users {
            let allows = |purpose: &Purpose| privileged(&grants, user, *purpose, privilege).allowed;
            let cell: String =
                Purpose::ALL.iter().map(|purpose| if allows(purpose) { purpose.letter() } else { '.' }).collect();
            write!(out, " {cell:<12}").unwrap();
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    check_golden(&cases().join("clinic/matrix.txt"), &out);
}

fn privileged(grants: &Grants, user: &str, purpose: Purpose, privilege: Privilege) -> Decision {
    let action = Action::Privileged(privilege);
    let (principal, usage) = (&Principal::named(user), &purpose.into());
    let columns = &["patient", "name"];
    grants.decide(&Request { principal, usage, time: 0, dataset: "patients", columns, facts: &[], action })
}

#[test]
fn reading_everything_does_not_lead_back_to_anybody() {
    let (grants, tables) = load();
    for table in &tables {
        assert_eq!(decide(&grants, "dana", Purpose::Emergency, table).columns, table.columns);
    }
    for purpose in Purpose::ALL {
        for privilege in Privilege::ALL {
            assert_eq!(privileged(&grants, "dana", purpose, privilege), Decision::denied());
        }
    }
    // Nor the other way round, and one action does not bring another.
    let revealed = privileged(&grants, "erin", Purpose::Treatment, Privilege::Reveal);
    assert_eq!(revealed.why, [Reason::Action { role: "re-identification".into(), action: 0 }]);
    assert!(revealed.columns.is_empty());
    assert!(!privileged(&grants, "erin", Purpose::Treatment, Privilege::UnwrapKeys).allowed);
    assert!(tables.iter().all(|table| !decide(&grants, "erin", Purpose::Treatment, table).allowed));
}

#[test]
fn a_decision_is_consistent_and_says_why() {
    let (grants, tables) = load();
    for table in &tables {
        for user in grants.users().chain([STRANGER]) {
            for purpose in Purpose::ALL {
                let decision = decide(&grants, user, purpose, table);
                assert_eq!(decision.allowed, !decision.columns.is_empty());
                assert_eq!(decision.row_filter, None);
                assert!(decision.masks.is_empty());
                if decision.allowed {
                    assert!(!decision.why.contains(&Reason::NoGrant) && !decision.why.is_empty());
                    let mut in_order = table.columns.iter();
                    assert!(decision.columns.iter().all(|seen| in_order.any(|column| column == seen)));
                } else {
                    assert_eq!(decision, Decision::denied());
                }
            }
        }
    }
    let both = decide(&grants, "chen", Purpose::Operations, &tables[1]);
    assert_eq!(both.why, [Reason::Grant { role: "billing".into(), grant: 1 }]);
}

#[test]
fn nobody_can_tell_a_missing_grant_from_a_missing_user_or_dataset() {
    let (grants, tables) = load();
    let absent = Table { name: "no_such_dataset".into(), columns: vec!["id".into()] };
    let no_grant = decide(&grants, "boris", Purpose::Research, &tables[0]);
    assert_eq!(no_grant, decide(&grants, STRANGER, Purpose::Research, &tables[0]));
    assert_eq!(no_grant, decide(&grants, "boris", Purpose::Research, &absent));
    let nameless = Table { name: "claims".into(), columns: vec![] };
    assert_eq!(no_grant, decide(&grants, "boris", Purpose::Payment, &nameless));
}

#[test]
fn names_that_fit_nothing_are_told_when_the_datasets_are_known() {
    let (grants, tables) = load();
    let columns: Vec<Vec<&str>> = tables.iter().map(|t| t.columns.iter().map(String::as_str).collect()).collect();
    let datasets: Vec<Dataset<'_>> =
        tables.iter().zip(&columns).map(|(table, columns)| Dataset { name: &table.name, columns }).collect();
    let told: Vec<String> = grants.unmatched(&datasets).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "/roles/3/grants/0/datasets/0: no dataset is named `stage`; did you mean `staging`?",
            "/roles/3/grants/1/columns/0: no column is named `Id`; did you mean `id`?",
        ]
    );
}

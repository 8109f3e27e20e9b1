//! The state of a request from entries of any time and order, without a log on disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use cordon_audit::{Principal, Record, WriterInfo};
use cordon_crypto::AuditSealKey;

use super::*;

/// Entries at seconds of an hour that is as good as any.
struct Story {
    rules: RevealRules,
    entries: Vec<Entry>,
    os_user: &'static str,
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

impl Story {
    fn new(rules: &str) -> Self {
        Self { rules: serde_saphyr::from_str(rules).unwrap(), entries: Vec::new(), os_user: "one(1)" }
    }

    fn add(&mut self, second: i64, event: Event) -> Digest {
        let seq = self.entries.len() as u64 + 1;
        let principal = Principal { user: "x".into(), os_user: self.os_user.into(), host: "h".into(), pid: 1 };
        let record = Record {
            seq,
            time: at(second),
            writer: WriterInfo { principal, cordon: "0".into() },
            prev: self.entries.last().map_or(Digest([0; 32]), |entry| entry.hash),
            event,
        };
        let hash = Digest::of(&[&seq.to_be_bytes()]);
        self.entries.push(Entry { record, hash });
        hash
    }

    fn ask(&mut self, second: i64, by: &str, lifetime_seconds: u64) -> Digest {
        self.add(
            second,
            Event::TokenRequested {
                request: "r".into(),
                act: RequestedAct::Reveal,
                principal: by.into(),
                purpose: Purpose::Treatment,
                domain: "patient".into(),
                tokens: vec![cordon_audit::Tagger::new(&AuditSealKey::from_bytes([1; 32])).tag("token", b"t")],
                reason: "a reason".into(),
                lifetime_seconds,
                times: None,
                crosswalk: None,
            },
        )
    }

    fn approve(&mut self, second: i64, by: &str, requested: Digest) {
        self.add(
            second,
            Event::RequestApproved {
                request: "r".into(),
                requested,
                principal: by.into(),
                purpose: Purpose::Treatment,
                reason: "a reason".into(),
            },
        );
    }

    fn revoke(&mut self, second: i64, requested: Digest) {
        self.add(
            second,
            Event::RequestRevoked {
                request: "r".into(),
                requested,
                principal: "ana".into(),
                purpose: Purpose::Treatment,
                reason: "a reason".into(),
            },
        );
    }

    fn idle(&mut self, second: i64) {
        self.add(second, Event::AuditShown { entries: 0 });
    }

    fn status(&self, second: i64) -> Status {
        let mut reading =
            Reading { rules: &self.rules, cases: BTreeMap::new(), newest: DateTime::<Utc>::MIN_UTC, last: None };
        for entry in &self.entries {
            reading.add(entry);
        }
        reading.cases["r"].status_at(at(second), reading.newest)
    }
}

#[test]
fn an_approval_opens_for_its_time_and_not_a_second_longer() {
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    assert_eq!(story.status(1), Status::Pending(1));
    story.approve(100, "ben", asked);
    assert_eq!(story.status(100), Status::Open { until: at(160) });
    assert_eq!(story.status(159), Status::Open { until: at(160) });
    assert_eq!(story.status(160), Status::Expired);
}

#[test]
fn who_asks_is_not_the_second_person_however_the_name_is_spelt() {
    for name in ["ana", "Ana", "ANA", " ana"] {
        let mut story = Story::new("{}");
        let asked = story.ask(0, "ana", 60);
        story.approve(1, name, asked);
        assert_eq!(story.status(2), Status::Pending(1), "{name}");
    }
}

#[test]
fn two_approvals_are_two_persons() {
    let mut story = Story::new("approvals: 2");
    let asked = story.ask(0, "ana", 60);
    story.approve(1, "ben", asked);
    story.approve(2, "Ben", asked);
    assert_eq!(story.status(3), Status::Pending(1));
    story.approve(50, "cem", asked);
    // From the last one that was needed.
    assert_eq!(story.status(109), Status::Open { until: at(110) });
    assert_eq!(story.status(110), Status::Expired);
    story.approve(200, "dora", asked);
    assert_eq!(story.status(201), Status::Expired, "a further approval makes nothing longer");
}

#[test]
fn a_clock_that_was_set_back_opens_nothing_again() {
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    story.approve(10, "ben", asked);
    story.idle(100);
    assert_eq!(story.status(20), Status::Expired, "the log has seen a later time");
    // Approved while the clock was behind what the log has seen: opens for no longer than from there.
    let mut story = Story::new("{}");
    story.idle(1000);
    let asked = story.ask(0, "ana", 60);
    story.approve(10, "ben", asked);
    assert_eq!(story.status(20), Status::Open { until: at(70) });
    story.idle(1060);
    assert_eq!(story.status(20), Status::Expired);
}

#[test]
fn a_clock_that_was_ahead_once_makes_no_approval_last() {
    let mut story = Story::new("{}");
    story.idle(1_000_000);
    let asked = story.ask(0, "ana", 60);
    story.approve(10, "ben", asked);
    assert_eq!(story.status(69), Status::Open { until: at(70) });
    assert_eq!(story.status(70), Status::Expired);
}

#[test]
fn nothing_opens_again_what_was_revoked() {
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    story.approve(1, "ben", asked);
    story.revoke(2, asked);
    assert_eq!(story.status(3), Status::Revoked);
    story.approve(4, "cem", asked);
    assert_eq!(story.status(5), Status::Revoked);
    // Before any approval too.
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    story.revoke(1, asked);
    story.approve(2, "ben", asked);
    assert_eq!(story.status(3), Status::Revoked);
}

#[test]
fn an_approval_is_of_one_entry_and_a_name_is_of_one_request() {
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    let mut other = asked;
    other.0[0] ^= 1;
    story.approve(1, "ben", other);
    assert_eq!(story.status(2), Status::Revoked, "an approval of something else under this name");
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", 60);
    story.approve(1, "ben", asked);
    story.ask(2, "eve", 60);
    assert_eq!(story.status(3), Status::Revoked, "the same name once more");
    let mut story = Story::new("{}");
    let asked = story.ask(0, "ana", u64::MAX);
    story.approve(1, "ben", asked);
    assert_eq!(story.status(3), Status::Revoked, "for ever is no lifetime");
}

#[test]
fn where_system_users_must_differ_another_name_is_not_enough() {
    let mut story = Story::new("system-users-apart: true");
    let asked = story.ask(0, "ana", 60);
    story.approve(1, "ben", asked);
    assert_eq!(story.status(2), Status::Pending(1));
    story.os_user = "two(2)";
    story.approve(3, "ben", asked);
    assert_eq!(story.status(4), Status::Open { until: at(63) });
}

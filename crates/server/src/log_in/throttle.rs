//! Guessing costs time: for a client, for a user from that client, and, much later, for a user from anywhere.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A slip of the finger or two cost nothing.
const FREE: u32 = 4;
/// From anywhere: lower, and whoever knows a name could lock its owner out.
const FREE_ANYWHERE: u32 = 40;
/// Of one address, behind which may be many people.
const FREE_OF_CLIENT: u32 = 20;
const LONGEST: Duration = Duration::from_mins(5);
/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_mins(15);
const MOST: usize = 20_000;
/// Who logged in there lately is not kept waiting by what others do: behind one address, or with their name elsewhere.
const LATELY: Duration = Duration::from_hours(24);
/// Failures from one network that are on the record one by one within [`MEMORY`], where nothing else holds them up.
const RECORDED: u32 = 20;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Of {
    Client(IpAddr),
    User(String, IpAddr),
    Anywhere(String),
}

impl Of {
    fn free(&self) -> u32 {
        match self {
            Self::Client(_) => FREE_OF_CLIENT,
            Self::User(..) => FREE,
            Self::Anywhere(_) => FREE_ANYWHERE,
        }
    }
}

struct Failures {
    count: u32,
    last: Instant,
    until: Instant,
}

/// Whether a failure goes on the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    Each,
    /// With word that those after it are only counted.
    Last,
    Counted,
}

#[derive(Default)]
pub struct Throttle {
    failures: Mutex<HashMap<Of, Failures>>,
    /// When somebody logged in from a network.
    lately: Mutex<HashMap<(String, IpAddr), Instant>>,
    /// Since when, and how many failures of ways that have no waits.
    recorded: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Throttle {
    /// How long to wait yet.
    pub fn wait(&self, client: IpAddr, user: Option<&str>, now: Instant) -> Option<Duration> {
        let is_known = user.is_some_and(|user| {
            let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
            lately.get(&(user.to_owned(), network(client))).is_some_and(|at| now.duration_since(*at) < LATELY)
        });
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        keys(client, user)
            .filter(|key| !is_known || matches!(key, Of::User(..)))
            .filter_map(|key| failures.get(&key)?.until.checked_duration_since(now))
            .max()
            .filter(|wait| !wait.is_zero())
    }

    pub fn failed(&self, client: IpAddr, user: Option<&str>, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() + 3 > MOST {
            failures.retain(|_, one| now.duration_since(one.last) < MEMORY);
        }
        if failures.len() + 3 > MOST {
            // So many at once are one who has many addresses: names, of which there are fewer, are kept.
            failures.retain(|key, _| matches!(key, Of::Anywhere(_)));
        }
        for key in keys(client, user) {
            let free = key.free();
            let one = failures.entry(key).or_insert(Failures { count: 0, last: now, until: now });
            if now.duration_since(one.last) >= MEMORY {
                one.count = 0;
            }
            one.count += 1;
            one.last = now;
            if let Some(over) = one.count.checked_sub(free).filter(|over| *over > 0) {
                one.until = now + Duration::from_secs(1u64 << over.min(12).saturating_sub(1)).min(LONGEST);
            }
        }
    }

    /// Who knows the password may forget failures of that user there; the address keeps its own.
    pub fn succeeded(&self, client: IpAddr, user: &str, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Of::User(user.to_owned(), network(client)));
        drop(failures);
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.len() >= MOST {
            lately.retain(|_, at| now.duration_since(*at) < LATELY);
        }
        let of = (user.to_owned(), network(client));
        if lately.len() < MOST || lately.contains_key(&of) {
            lately.insert(of, now);
        }
    }

    /// How one more failure of a way that keeps nobody waiting is written down: without end, whoever fails on purpose would fill the record.
    pub fn recording(&self, client: IpAddr, now: Instant) -> Recording {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.len() >= MOST {
            recorded.retain(|_, (since, _)| now.duration_since(*since) < MEMORY);
        }
        let client = network(client);
        if recorded.len() >= MOST && !recorded.contains_key(&client) {
            return Recording::Counted;
        }
        let one = recorded.entry(client).or_insert((now, 0));
        if now.duration_since(one.0) >= MEMORY {
            *one = (now, 0);
        }
        one.1 = one.1.saturating_add(1);
        match one.1.cmp(&RECORDED) {
            Ordering::Less => Recording::Each,
            Ordering::Equal => Recording::Last,
            Ordering::Greater => Recording::Counted,
        }
    }
}

fn keys(client: IpAddr, user: Option<&str>) -> impl Iterator<Item = Of> {
    let client = network(client);
    let of_user = user.map(|user| [Of::User(user.to_owned(), client), Of::Anywhere(user.to_owned())]);
    std::iter::once(Of::Client(client)).chain(of_user.into_iter().flatten())
}

/// Of IPv6 whoever has one address has 2^64.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn guesses_take_longer_and_longer_and_others_do_not_wait() {
        let (throttle, began) = (Throttle::default(), Instant::now());
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..FREE {
            throttle.failed(one, Some("ana"), began);
            assert!(throttle.wait(one, Some("ana"), began).is_none());
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            throttle.failed(one, Some("ana"), began);
            waits.push(throttle.wait(one, Some("ana"), began).unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!(throttle.wait(one, Some("ben"), began).is_none());
        assert!(throttle.wait(other, Some("ana"), began).is_none());
        throttle.succeeded(one, "ana", began);
        assert!(throttle.wait(one, Some("ana"), began).is_none());
    }

    #[test]
    fn an_address_that_tries_all_names_waits_and_a_name_that_is_tried_from_everywhere_does() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        for number in 0..=FREE_OF_CLIENT {
            let from: IpAddr = format!("2001:db8::{number:x}").parse().unwrap();
            throttle.failed(from, Some(&format!("user{number}")), now);
        }
        assert!(throttle.wait(one, Some("somebody"), now).is_some(), "one network of IPv6 is one client");
        let throttle = Throttle::default();
        for number in 0..=FREE_ANYWHERE {
            throttle.failed(format!("192.0.2.{number}").parse().unwrap(), Some("ana"), now);
        }
        assert!(throttle.wait(one, Some("ana"), now).is_some());
    }

    #[test]
    fn who_logged_in_there_lately_is_locked_out_by_nobody_else() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let (office, elsewhere): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        throttle.succeeded(office, "ana", now);
        for number in 0..2 * FREE_ANYWHERE {
            throttle.failed(office, Some(&format!("user{number}")), now);
            throttle.failed(IpAddr::V4((0x0a00_0000 + number).into()), Some("ana"), now);
        }
        assert!(throttle.wait(office, Some("ana"), now).is_none());
        assert!(
            throttle.wait(office, Some("ben"), now).is_some() && throttle.wait(elsewhere, Some("ana"), now).is_some()
        );
        let later = now + LATELY;
        throttle.failed(elsewhere, Some("ana"), later);
        (0..=FREE).for_each(|_| throttle.failed(office, Some("ana"), later));
        assert!(throttle.wait(office, Some("ana"), later).is_some(), "guesses from there are guesses");
    }

    #[test]
    fn the_record_is_not_filled_by_failures_that_cost_nothing() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let kinds: Vec<_> = (0..RECORDED + 2).map(|_| throttle.recording(one, now)).collect();
        assert!(kinds[..19].iter().all(|kind| *kind == Recording::Each));
        assert_eq!(kinds[19..], [Recording::Last, Recording::Counted, Recording::Counted]);
        assert_eq!(throttle.recording("2001:db8:1::1".parse().unwrap(), now), Recording::Each);
        assert_eq!(throttle.recording(one, now + MEMORY), Recording::Each);
    }

    #[test]
    fn what_it_keeps_in_mind_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..2 * MOST as u32 {
            throttle.failed(IpAddr::V4(number.into()), None, now);
            if number < MOST as u32 + 50 {
                throttle.succeeded(IpAddr::V4(number.into()), "ana", now);
                throttle.recording(IpAddr::V4(number.into()), now);
            }
        }
        assert!(throttle.failures.lock().unwrap().len() <= MOST && throttle.lately.lock().unwrap().len() <= MOST);
        assert!(throttle.recorded.lock().unwrap().len() <= MOST);
    }
}

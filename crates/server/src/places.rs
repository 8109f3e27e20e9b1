//! Room for so many at one time, and of it so much for one: whoever opens connections and does nothing holds no others out.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Room, shared out by who asks for it.
pub struct Places<K: Eq + Hash> {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// One place, until it is dropped.
pub struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    of: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, taken: Mutex::new(Taken { all: 0, of: HashMap::new() }) })
    }

    pub fn take<Q>(self: &Arc<Self>, of: &Q) -> Option<Place<K>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let has = taken.of.get(of).copied().unwrap_or_default();
        if taken.all >= self.most || has >= self.most_of_one {
            return None;
        }
        taken.all += 1;
        taken.of.insert(of.to_owned(), has + 1);
        Some(Place { places: Arc::clone(self), of: of.to_owned() })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(has) = taken.of.get_mut(&self.of) {
            *has = has.saturating_sub(1);
            if *has == 0 {
                taken.of.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_leaves_room_for_others_and_all_do_not_take_more_than_there_is() {
        let places: Arc<Places<String>> = Places::new(3, 2);
        let mut held: Vec<_> = ["a", "a"].map(|of| places.take(of).unwrap()).into();
        assert!(places.take("a").is_none());
        held.push(places.take("b").unwrap());
        assert!(places.take("c").is_none(), "full");
        held.clear();
        assert!(places.take("a").is_some() && places.taken.lock().unwrap().of.is_empty());
    }
}

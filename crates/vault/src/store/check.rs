//! What is asked of a vault seldom and may read all of it.

use std::collections::{BTreeMap, HashSet};

use cordon_phi::{Phi, Token};

use super::{
    NONE, TokenVault, VaultStats,
    error::{Fault, VaultError},
    frame::{Frame, Position},
    link::Merge,
    log::{Follow, Log, Step},
    read,
    table::Key,
};
use crate::recipient::{Given, recipient_of};

/// What a full check has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    pub frames: u64,
    pub tokens: u64,
    /// Tokens, and merges that are counted beside them, whose keys were destroyed.
    pub destroyed: u64,
    pub merges: u64,
    /// The merges included.
    pub log_bytes: u64,
    pub runs: usize,
}

impl TokenVault {
    /// The first `most` values in `domain` of the person of `token`.
    pub(super) fn search(&self, domain: &str, token: &Token, most: usize) -> Result<Vec<Phi<String>>, VaultError> {
        let end = self.exclusive(|writer| Ok(writer.position))?;
        let mut tokens = HashSet::new();
        self.members(&[*token], |_, member| tokens.extend([member]));
        let mut answers = Vec::new();
        let mut leaves = self.subjects.leaves();
        walk(&self.log, &Log::NOWHERE, &end, |frame, at| {
            if frame.domain() != Some(domain) {
                return Ok(true);
            }
            if !frame.entries(&mut leaves).flatten().any(|entry| tokens.contains(&entry.token)) {
                return Ok(true);
            }
            let found = frame.with_values(&mut leaves).flatten().filter(|(entry, _)| tokens.contains(&entry.token));
            for (_, value) in found.take(most - answers.len()) {
                let text = std::str::from_utf8(&value).map_err(|_| {
                    VaultError::damaged(&self.log.path(at.segment), at.offset.into(), "a value is not text")
                })?;
                answers.push(Phi::new(text.to_owned()));
            }
            Ok(answers.len() < most)
        })?;
        Ok(answers)
    }

    /// Every token of a recipient, or of any.
    pub(crate) fn each_given(
        &self,
        recipient: Option<&str>,
        each: &mut dyn FnMut(Given<'_>),
    ) -> Result<(), VaultError> {
        let end = self.exclusive(|writer| Ok(writer.position))?;
        let mut leaves = self.subjects.leaves();
        walk(&self.log, &Log::NOWHERE, &end, |frame, at| {
            let domain = frame.domain().unwrap_or_default();
            let is_wanted = recipient_of(domain).is_some_and(|of| recipient.is_none_or(|wanted| wanted == of));
            if !is_wanted {
                return Ok(true);
            }
            for (entry, value) in frame.with_values(&mut leaves).flatten() {
                let what = "what a recipient's token was made of is no token";
                let given = Given::of(domain, entry.token, &value);
                each(given.ok_or_else(|| VaultError::damaged(&self.log.path(at.segment), at.offset.into(), what))?);
            }
            Ok(true)
        })
    }

    pub(super) fn count(&self) -> Result<VaultStats, VaultError> {
        self.exclusive(|writer| {
            let index_bytes = read(&self.runs).iter().filter_map(|run| run.path.metadata().ok()).map(|m| m.len()).sum();
            Ok(VaultStats {
                domains: writer.domains.iter().map(|(name, count)| (name.clone(), *count)).collect(),
                merges: self.merges.count(),
                log_bytes: log_bytes(&writer.closed, &writer.position) + u64::from(writer.merged.offset),
                index_bytes,
                runs: writer.manifest.runs.len(),
                rebuilt_runs: self.rebuilt.load(std::sync::atomic::Ordering::Relaxed),
            })
        })
    }

    pub(super) fn check(&self) -> Result<VerifyReport, VaultError> {
        const ATTEMPTS: usize = 3;
        for _ in 1..ATTEMPTS {
            let epoch = self.subjects.refresh()?;
            let checked = self.check_once();
            // Whoever was destroyed meanwhile was seen by one half of the check.
            if self.subjects.refresh()? == epoch {
                return checked;
            }
        }
        self.check_once()
    }

    fn check_once(&self) -> Result<VerifyReport, VaultError> {
        let (end, merged, merges, closed, table, runs, domains) = self.exclusive(|writer| {
            let runs = std::sync::Arc::clone(&read(&self.runs));
            let (closed, domains) = (writer.closed.clone(), writer.domains.clone());
            let table = read(&self.table).len() as u64;
            Ok((writer.position, writer.merged, self.merges.count(), closed, table, runs, domains))
        })?;
        let mut leaves = self.subjects.leaves();
        let mut indexed = table;
        for run in runs.iter() {
            let mut scan = run.scan();
            let mut last = None;
            while let Some(entry) = scan.next().map_err(Fault::from)? {
                if last.is_some_and(|last: Key| last >= entry.key) {
                    return Err(VaultError::damaged(&run.path, 0, "an index run is not in order"));
                }
                last = Some(entry.key);
                indexed += u64::from(leaves.holds(entry.slot));
            }
        }
        let (mut tokens, mut destroyed) = (0, 0);
        let mut counted = BTreeMap::<String, u64>::new();
        walk(&self.log, &Log::NOWHERE, &end, |frame, at| {
            let mut asked: Vec<_> =
                frame.entries(&mut leaves).flatten().zip(0..).map(|(entry, i)| (entry.key, i, entry.token)).collect();
            asked.sort_unstable_by_key(|(key, ..)| *key);
            let keys: Vec<Key> = asked.iter().map(|(key, ..)| *key).collect();
            let mut answers = vec![NONE; keys.len()];
            let unknown = self.known(&keys, &mut answers);
            let mut found = vec![NONE; unknown.len()];
            let runs = std::sync::Arc::clone(&read(&self.runs));
            self.find_in_runs(&runs, &unknown, &mut found)?;
            let mut found = found.into_iter();
            let mut unknown = unknown.into_iter().map(|(_, place)| place).peekable();
            for (number, ((_, _, token), answer)) in (0..).zip(asked.iter().zip(answers)) {
                let answer = match unknown.next_if_eq(&number) {
                    Some(_) => found.next().unwrap_or(NONE),
                    None => answer,
                };
                if answer != *token {
                    let what = "the index does not hold this frame's tokens";
                    return Err(VaultError::damaged(&self.log.path(at.segment), at.offset.into(), what));
                }
            }
            tokens += asked.len() as u64;
            destroyed += (frame.count - asked.len()) as u64;
            *counted.entry(frame.domain().unwrap_or_default().to_owned()).or_default() += frame.count as u64;
            Ok(true)
        })?;
        if tokens != indexed || counted != domains {
            return Err(VaultError::damaged(&self.dir, 0, "the log and the index do not hold as many tokens"));
        }
        let mut read = 0;
        walk(&self.merges.log, &Log::NOWHERE, &merged, |frame, _| {
            read += frame.count as u64;
            destroyed += (frame.count - Merge::all_in(frame, &mut leaves).count()) as u64;
            Ok(true)
        })?;
        if read != merges {
            let what = "the file holds other merges than were read before";
            return Err(VaultError::damaged(&self.merges.log.path(1), 0, what));
        }
        let log_bytes = log_bytes(&closed, &end) + u64::from(merged.offset);
        Ok(VerifyReport { frames: end.sequence, tokens, destroyed, merges, log_bytes, runs: runs.len() })
    }
}

/// Gives every frame from `from` to `end` to `visit`, in order, checking the chain, until it says stop.
pub(super) fn walk(
    log: &Log,
    from: &Position,
    end: &Position,
    mut visit: impl FnMut(&Frame, &Position) -> Result<bool, VaultError>,
) -> Result<(), VaultError> {
    let mut reader = log.reader();
    let mut at = *from;
    if at == Log::NOWHERE {
        let Follow::Segment(first) = log.follow(&at)? else {
            return Err(VaultError::damaged(&log.path(1), 0, "the log is missing"));
        };
        at = first;
    }
    while at.sequence < end.sequence {
        let damaged = |what| VaultError::damaged(&log.path(at.segment), at.offset.into(), what);
        at = match reader.step(&at)? {
            Step::Frame(frame, next) => {
                if !visit(&frame, &at)? {
                    return Ok(());
                }
                next
            }
            Step::End => match log.follow(&at)? {
                Follow::Segment(next) => next,
                _ => return Err(damaged("the log ends too early")),
            },
            Step::Bad(what) => return Err(damaged(what)),
        };
    }
    Ok(())
}

fn log_bytes(closed: &[u32], at: &Position) -> u64 {
    closed.iter().map(|length| u64::from(*length)).sum::<u64>() + u64::from(at.offset)
}

//! From what kernels made to the documents that come out, and their tables.

use arrow_array::RecordBatch;
use cordon_formats::ccda::{Attribute, Document, DocumentBatch, Edits, Kind, Limits, tables};

use super::place::{Disposal, Labels, Spelling, What};
use super::recipe::CcdaRecipe;
use super::walk::Walk;
use crate::document::{Change, DocumentOutput, Plan, Replacement, SeedBy};
use crate::kernel::{Env, KernelError};
use crate::tally::{Class, Tally, Values};

/// What stands in place of a declaration that says more than it should.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

impl CcdaRecipe {
    /// De-identifies one batch. `Err` means that nothing of it may be used.
    pub fn apply(&self, batch: &DocumentBatch, env: &Env) -> Result<DocumentOutput, KernelError> {
        let mut walk = Walk::new(self);
        let mut plan = Plan::new(&self.kernels, &self.lenient, &self.namespaces);
        for document in &batch.documents {
            walk.document(document, &mut plan);
        }
        let by = if self.seed_by_token { SeedBy::Token(None) } else { SeedBy::Identity };
        let done = plan.run(by, env)?;
        let mut written = Vec::with_capacity(batch.documents.len());
        let mut unfit = false;
        let (mut tally, mut labels) = (Tally::default(), Tally::default());
        let failures = done.documents(
            |_, mark| walk.place(mark),
            |index, changes| {
                let document = batch.documents.get(index);
                let document = document.and_then(|document| walk.rewrite(document, index, changes, &mut labels));
                let fits = document.is_some();
                unfit |= !fits;
                written.extend(document);
                fits
            },
            &mut tally,
        );
        tally.add(&labels);
        if unfit {
            return Err(KernelError::Shape);
        }
        let documents = written.len() as u64;
        Ok(DocumentOutput { tables: self.tables(&written)?, documents, failures, undeclared: walk.report(), tally })
    }

    fn tables(&self, written: &[Document]) -> Result<Vec<(String, RecordBatch)>, KernelError> {
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let flat = tables::flatten(written).map_err(|_| KernelError::Shape)?;
        flat.into_iter()
            .filter(|(_, rows)| rows.num_rows() > 0)
            .map(|(name, rows)| {
                let schema = self.classed(&rows.schema());
                Ok((name, rows.with_schema(schema).map_err(|_| KernelError::Shape)?))
            })
            .collect()
    }
}

impl Walk<'_> {
    /// One document with its changes; `None` when they do not fit, which is a mistake of the walk's.
    fn rewrite(
        &self,
        document: &Document,
        index: usize,
        changes: &[Change<'_>],
        tally: &mut Tally,
    ) -> Option<Document> {
        let first = index.checked_sub(1).and_then(|before| self.node_ends.get(before)).copied().unwrap_or(0);
        let nodes = self.nodes.get(first..*self.node_ends.get(index)?)?;
        let mut alive: Vec<bool> = nodes.iter().map(|node| node.alive).collect();
        let mut lost: Vec<bool> = nodes.iter().map(|node| node.lost).collect();
        let place = |node: u32| (node as usize).checked_sub(first);
        let mut edits = Edits::new();
        for change in changes {
            let target = self.targets.get(change.mark as usize)?;
            let text = match change.with {
                Replacement::Text(text) => Some(text),
                Replacement::Nothing | Replacement::Removed => None,
            };
            let stays = apply(&mut edits, document, target.what, text);
            if stays && let Some(slot) = target.node.and_then(place).and_then(|at| alive.get_mut(at)) {
                *slot = true;
            }
        }
        // Parts come behind their wholes, so from the end each part is settled before its whole.
        for (at, node) in nodes.iter().enumerate().rev() {
            let (is_alive, is_lost) = (*alive.get(at)?, *lost.get(at)?);
            if let Some(parent) = node.parent.and_then(place) {
                *alive.get_mut(parent)? |= is_alive;
                *lost.get_mut(parent)? |= is_lost;
            }
            if is_lost && !is_alive {
                match node.disposal {
                    Disposal::Mask => edits.mask(document, node.event),
                    Disposal::Remove => edits.remove(document, node.event),
                    Disposal::Empty => edits.empty(document, node.event),
                }
            }
        }
        // With a whole go its parts.
        let mut gone = vec![false; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            let with_whole = node.parent.and_then(place).and_then(|at| gone.get(at)).copied().unwrap_or(false);
            let disposed = (*lost.get(at)? && !*alive.get(at)?).then_some(node.disposal);
            *gone.get_mut(at)? = with_whole || disposed.is_some();
            let Labels { structure, own, inner } = node.labels;
            let stay = match disposed {
                _ if with_whole => 0,
                None => structure + own + inner,
                Some(Disposal::Empty) => structure + own,
                Some(Disposal::Mask) => structure,
                Some(Disposal::Remove) => 0,
            };
            tally.count(Values { class: Class::STRUCTURE, count: stay });
            let count = structure + own + inner - stay;
            tally.count(Values { class: Class::STRUCTURE.dropped(), count });
        }
        let text = edits.apply(document.text()).ok()?;
        // Its own reader's bounds have been kept.
        let limits = Limits { max_depth: usize::MAX, max_nodes: usize::MAX };
        Document::parse(text, limits).ok()
    }
}

/// Whether something stands there afterwards.
fn apply(edits: &mut Edits, document: &Document, what: What, text: Option<&str>) -> bool {
    match what {
        What::Attribute { event, at, spelling } => {
            let Some(attribute) = document.attributes(event).get(at) else { return false };
            set(edits, document, attribute, text.and_then(|text| spelling.spell(text)))
        }
        What::OwnText { event } => {
            let mut text = text;
            let stays = text.is_some();
            let content = document.content(event);
            let mut at = content.start;
            while let Some(piece) = document.event(at).filter(|_| at < content.end) {
                if matches!(piece.kind, Kind::Text | Kind::CData) && !document.piece(piece).trim().is_empty() {
                    edits.set_piece(document, at, &spaced(&document.piece(piece), text.take()));
                }
                at = (piece.next as usize).max(at + 1);
            }
            stays
        }
        What::Content { event } => {
            edits.set_content(document, event, text.unwrap_or_default());
            text.is_some()
        }
        What::Piece { event } => {
            if let Some(piece) = document.event(event) {
                edits.set_piece(document, event, &spaced(&document.piece(piece), text));
            }
            text.is_some()
        }
        What::Whole { event } => {
            edits.remove(document, event);
            false
        }
        What::Declaration { event } => {
            if let Some(declaration) = document.event(event) {
                edits.replace(declaration.span(), DECLARATION.to_owned());
            }
            false
        }
    }
}

/// A text with the white space that was around what it replaces: words beside it stay words of their own.
fn spaced(old: &str, new: Option<&str>) -> String {
    let behind = old.len() - old.trim_end().len();
    let before = old.len() - old.trim_start().len();
    let space = |from: usize, to: usize| old.get(from..to).unwrap_or_default();
    match new {
        Some(new) => [space(0, before), new, space(old.len() - behind, old.len())].concat(),
        None => String::new(),
    }
}

fn set(edits: &mut Edits, document: &Document, attribute: &Attribute, text: Option<String>) -> bool {
    let stays = text.is_some();
    if let Some(text) = text {
        edits.set_attribute(document, attribute, &text);
    } else {
        edits.remove_attribute(attribute);
    }
    stays
}

impl Spelling {
    /// A result as its place has it; `None` when it does not fit there.
    fn spell(self, text: &str) -> Option<String> {
        match self {
            Self::Plain => Some(text.to_owned()),
            Self::Anchor => Some(format!("_{text}")),
            Self::Link => Some(format!("#_{text}")),
            Self::Uuid => {
                let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok();
                let bytes = bytes.or_else(|| data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
                let hex = data_encoding::HEXLOWER.encode(&bytes.filter(|bytes| bytes.len() == 16)?);
                let part = |from: usize, to: usize| hex.get(from..to);
                let parts = [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?];
                Some(parts.join("-"))
            }
        }
    }
}

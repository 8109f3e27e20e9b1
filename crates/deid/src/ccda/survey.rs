//! Whose documents a batch holds.

use cordon_formats::ccda::DocumentBatch;

use super::recipe::CcdaRecipe;
use crate::survey::Survey;

impl CcdaRecipe {
    /// Tells whose documents these are.
    pub fn survey(&self, batch: &DocumentBatch, survey: &mut Survey) {
        for document in &batch.documents {
            self.identities(document, |_, namespace, value| survey.identifier(namespace, value));
            survey.end_person();
        }
    }
}

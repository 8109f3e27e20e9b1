//! Whose messages a batch holds.

use cordon_formats::hl7v2::{MessageBatch, RecordKind};

use super::recipe::Hl7v2Recipe;
use crate::survey::Survey;

impl Hl7v2Recipe {
    /// Tells whose messages these are.
    pub fn survey(&self, batch: &MessageBatch, survey: &mut Survey) {
        for (index, record) in batch.records.iter().enumerate() {
            let Some(Ok(message)) = (record.kind == RecordKind::Message).then(|| batch.parse(index)) else { continue };
            let mut last = 0;
            self.identities(&message, |person, namespace, value| {
                if person != last {
                    survey.end_person();
                    last = person;
                }
                survey.identifier(namespace, value);
            });
            survey.end_person();
        }
    }
}

//! Who a batch of resources is about: the identifiers of each patient, and whose every other resource is.

use cordon_formats::fhir::ResourceBatch;
use indexmap::IndexMap;

use super::recipe::FhirRecipe;
use super::walk::Walk;
use crate::survey::Survey;

/// What a pipeline declares of FHIR: systems and their namespaces.
pub(super) type Systems = Vec<(Box<str>, String)>;

/// Reads `Patient.id: patient` and `Patient.identifier[http://hospital.example/mrn]: mrn`. Ids must have the policy's own domain: references
/// to them have its tokens.
pub(super) fn systems(
    identities: &IndexMap<String, String>,
    subject_domain: &str,
) -> Result<Systems, Vec<(String, String)>> {
    let (mut systems, mut problems) = (Vec::new(), Vec::new());
    for (place, namespace) in identities {
        let system = place.strip_prefix("Patient.identifier[").and_then(|rest| rest.strip_suffix(']'));
        match (place.as_str(), system.map(str::trim)) {
            ("Patient.id", _) if namespace == subject_domain => {}
            ("Patient.id", _) => problems.push((
                format!(
                    "the pipeline's `identity` puts `Patient.id` in the namespace `{namespace}`, and the policy gives ids of \
                     patients tokens of the domain `{subject_domain}`: one person would have two tokens"
                ),
                format!("write `Patient.id: {subject_domain}`"),
            )),
            (_, Some(system)) if !system.is_empty() => systems.push((system.into(), namespace.clone())),
            _ => problems.push((
                format!("the pipeline's `identity` names `{place}`, which is no place of a patient's identifier in FHIR"),
                "write `Patient.id` or `Patient.identifier[SYSTEM]`".to_owned(),
            )),
        }
    }
    Ok(systems).and_then(|systems| if problems.is_empty() { Ok(systems) } else { Err(problems) })
}

impl FhirRecipe {
    /// Tells who the resources are about: each patient's id and identifiers of declared systems, and of other resources the patient
    /// in whose compartment they are.
    pub fn survey(&self, batch: &ResourceBatch, survey: &mut Survey) {
        let Some(patient_ids) = &self.seed_domain else { return };
        let mut walk = Walk::new(self, batch);
        for resource in &batch.resources {
            if self.is_excluded(resource.type_id) {
                walk.skip(resource);
            } else {
                walk.resource(resource);
            }
        }
        for (number, resource) in batch.resources.iter().enumerate() {
            let subject = walk.subjects.get(number).copied().flatten();
            let identity = subject.and_then(|(start, end)| walk.identities.get(start as usize..end as usize));
            if let Some(identity) = identity {
                survey.identifier(patient_ids, identity);
            }
            if self.definitions.get(resource.type_id).name == "Patient" {
                super::survey::identifiers(batch, resource, &self.identities, survey);
            }
            super::survey::facts(batch, resource, survey);
            survey.end_person();
        }
    }
}

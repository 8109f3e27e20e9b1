//! A new project folder: commented, valid and runnable as it stands.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use cordon_audit::{Event, KeyOperationKind, Outcome, StoreUse};
use cordon_vault::keyring::{KeyRing, RootSecret};
use zeroize::Zeroizing;

use crate::config::schema_texts;
use crate::error::RunError;
use cordon_custody::root::open_store;

use crate::project::{Existing, OpenProject, Project, parse_root};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Template {
    Hospital,
    Synthea,
    Hl7v2,
    Ccda,
    X12,
    Notes,
    Fhir,
    Dicom,
    Research,
}

pub struct InitOptions {
    pub template: Template,
    /// A limited data set, 164.514(e), in place of Safe Harbor.
    pub limited: bool,
    /// The environment variable that holds the passphrase; without it a key file is made.
    pub passphrase_env: Option<String>,
    /// A root as `keys.root` names it, in one line.
    pub root: Option<String>,
    /// Who makes the project, for the record.
    pub user: String,
}

const FHIR_POLICY: &str = include_str!("../../deid/policies/fhir-r4.yaml");
const HOSPITAL_POLICY: &str = include_str!("../../deid/policies/hospital.yaml");
const SYNTHEA_POLICY: &str = include_str!("../../deid/policies/synthea-csv.yaml");
const HL7V2_POLICY: &str = include_str!("../../deid/policies/hl7v2.yaml");
const CCDA_POLICY: &str = include_str!("../../deid/policies/ccda.yaml");
const X12_POLICY: &str = include_str!("../../deid/policies/x12.yaml");
const X12_LIMITED: &str = include_str!("../../deid/policies/x12-limited-data-set.yaml");
const FHIR_LIMITED: &str = include_str!("../../deid/policies/fhir-r4-limited-data-set.yaml");
const HL7V2_LIMITED: &str = include_str!("../../deid/policies/hl7v2-limited-data-set.yaml");
const CCDA_LIMITED: &str = include_str!("../../deid/policies/ccda-limited-data-set.yaml");
const NOTES_POLICY: &str = include_str!("../../deid/policies/notes.yaml");
const RESEARCH_POLICY: &str = include_str!("../../deid/policies/research.yaml");
const DICOM_POLICY: &str = include_str!("../../deid/policies/dicom.yaml");
const DICOM_LIMITED: &str = include_str!("../../deid/policies/dicom-limited-data-set.yaml");
const PROJECT: &str = include_str!("../templates/cordon.yaml");
const HOSPITAL_PIPELINE: &str = include_str!("../templates/nightly-hospital.yaml");
const SYNTHEA_PIPELINE: &str = include_str!("../templates/nightly-synthea.yaml");
const HL7V2_PIPELINE: &str = include_str!("../templates/nightly-hl7v2.yaml");
const CCDA_PIPELINE: &str = include_str!("../templates/nightly-ccda.yaml");
const X12_PIPELINE: &str = include_str!("../templates/nightly-x12.yaml");
const NOTES_PIPELINE: &str = include_str!("../templates/nightly-notes.yaml");
const FHIR_PIPELINE: &str = include_str!("../templates/nightly-fhir.yaml");
const RESEARCH_PIPELINE: &str = include_str!("../templates/nightly-research.yaml");
const DICOM_PIPELINE: &str = include_str!("../templates/nightly-dicom.yaml");
const GITIGNORE: &str =
    "# Keys, state and data do not belong in a repository.\n/secrets/\n/.cordon/\n/warehouse/\n/data/\n";

/// Makes the folder and returns what stands in it. Refuses a folder that is not empty.
pub fn init(dir: &Path, options: &InitOptions) -> Result<Vec<(String, &'static str)>, RunError> {
    let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(RunError::usage(
            format!("{} is not empty", dir.display()),
            "name a folder that is empty or does not exist",
        ));
    }
    let given = options.root.as_deref().map(|text| parse_root(text, "--root")).transpose()?;
    if options.root.as_deref().is_some_and(|text| text.trim().contains('\n')) {
        return Err(RunError::usage(
            "`--root` is longer than a line",
            "write it as `{ transit: { address: …, key: … } }`",
        ));
    }
    let secret = match (&options.passphrase_env, given) {
        (None, None) => None,
        (_, Some(root)) => match root.store() {
            Some(store) => Some(open_store(&store, dir)?),
            None => {
                return Err(RunError::usage(
                    "`--root` names no key store",
                    "leave it out for a key file, or use `--passphrase-env NAME`",
                ));
            }
        },
        (Some(name), None) => {
            let passphrase = Zeroizing::new(std::env::var(name).unwrap_or_default());
            if passphrase.len() < 12 {
                return Err(RunError::usage(
                    format!("the environment variable `{name}` holds no passphrase of at least 12 characters"),
                    "set it, or leave the option out for a key file",
                ));
            }
            Some(RootSecret::Passphrase(passphrase))
        }
    };
    let root_line = match (&options.root, &options.passphrase_env) {
        (Some(root), _) => root.trim().to_owned(),
        (None, Some(name)) => format!("{{ passphrase-env: {name} }}"),
        (None, None) => "{ key-file: secrets/root.key }".to_owned(),
    };
    let name = dir
        .canonicalize()
        .ok()
        .as_deref()
        .unwrap_or(dir)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let name = if name.is_empty() { "cordon-project".to_owned() } else { name };
    let (policy_name, policy, pipeline) = match options.template {
        Template::Hospital => ("safe-harbor-hospital", with_fhir(HOSPITAL_POLICY), HOSPITAL_PIPELINE),
        Template::Synthea => ("safe-harbor-synthea", with_fhir(SYNTHEA_POLICY), SYNTHEA_PIPELINE),
        Template::Hl7v2 => ("safe-harbor-hl7v2", HL7V2_POLICY.to_owned(), HL7V2_PIPELINE),
        Template::Ccda => ("safe-harbor-ccda", CCDA_POLICY.to_owned(), CCDA_PIPELINE),
        Template::X12 => ("safe-harbor-x12", X12_POLICY.to_owned(), X12_PIPELINE),
        Template::Notes => ("safe-harbor-notes", NOTES_POLICY.to_owned(), NOTES_PIPELINE),
        Template::Fhir => ("safe-harbor-fhir", FHIR_POLICY.to_owned(), FHIR_PIPELINE),
        Template::Research => ("research", RESEARCH_POLICY.to_owned(), RESEARCH_PIPELINE),
        Template::Dicom => ("safe-harbor-dicom", DICOM_POLICY.to_owned(), DICOM_PIPELINE),
    };
    let limited = match options.template {
        Template::Hl7v2 => Some(("limited-data-set-hl7v2", HL7V2_LIMITED)),
        Template::Ccda => Some(("limited-data-set-ccda", CCDA_LIMITED)),
        Template::X12 => Some(("limited-data-set-x12", X12_LIMITED)),
        Template::Fhir => Some(("limited-data-set-fhir", FHIR_LIMITED)),
        Template::Dicom => Some(("limited-data-set-dicom", DICOM_LIMITED)),
        Template::Hospital | Template::Synthea | Template::Notes | Template::Research => None,
    };
    let (policy_name, policy, pipeline) = match (options.limited, limited) {
        (false, _) => (policy_name, policy, pipeline.to_owned()),
        (true, Some((name, limited))) => {
            let pipeline = pipeline.replace(policy_name, name).replace("by Safe Harbor", "as a limited data set");
            (name, limited.to_owned(), pipeline)
        }
        (true, None) => {
            return Err(RunError::usage(
                "this template has no policy for a limited data set",
                "choose `--template hl7v2`, `ccda`, `x12`, `dicom` or `fhir`, or leave `--method` out",
            ));
        }
    };
    // The columns that hold documents as a whole.
    let whole = match options.template {
        Template::Hospital | Template::Synthea | Template::Fhir => "resource",
        Template::Hl7v2 => "message",
        Template::Ccda => "xml",
        Template::X12 => "header, text",
        Template::Notes => "text",
        Template::Research => "resource, message, xml, header, text",
        Template::Dicom => "file",
    };
    let policy_file = format!("policies/{policy_name}.yaml");
    let files = [
        (
            "cordon.yaml",
            PROJECT
                .replace("{{project}}", &yaml_text(&name))
                .replace("{{root}}", &root_line)
                .replace("{{whole}}", whole),
        ),
        (policy_file.as_str(), with_schema("policy", &policy)),
        ("pipelines/nightly.yaml", with_schema("pipeline", &pipeline)),
        (".gitignore", GITIGNORE.to_owned()),
    ];
    let ring_file = dir.join(".cordon/keyring.json");
    if let Some(store @ RootSecret::Store(_)) = &secret {
        // First of all: a store that says no leaves no half of a project behind.
        make_folder(&dir.join(".cordon"))?;
        if let Err(error) = KeyRing::create(&ring_file, store, &crate::run::now()) {
            // Only what is empty, so only what was made here.
            let _ = fs::remove_dir(dir.join(".cordon")).and_then(|()| fs::remove_dir(dir));
            return Err(error.into());
        }
    }
    for (file, text) in &files {
        write_new(&dir.join(file), text)?;
    }
    let secret = if let Some(secret) = secret {
        secret
    } else {
        let path = dir.join("secrets/root.key");
        make_folder(path.parent().unwrap_or(dir))?;
        KeyRing::generate_key_file(&path)?;
        RootSecret::KeyFile(path)
    };
    make_folder(&dir.join(".cordon"))?;
    for (name, text) in schema_texts() {
        write_new(&dir.join(format!(".cordon/schema/{name}.json")), &text)?;
    }
    if !matches!(secret, RootSecret::Store(_)) {
        KeyRing::create(&ring_file, &secret, &crate::run::now())?;
    }
    let ring = KeyRing::open(&ring_file, &secret)?;
    let project = OpenProject::new(Project::find(dir)?, ring, &options.user, Existing::New)?;
    project.audit(&Event::ProjectInitialised { project: name.clone() })?;
    let (what, key_ids) = (KeyOperationKind::Created, project.key_ids());
    project.audit(&Event::KeyOperation { what, key_ids, outcome: Outcome::Done })?;
    project.record_store_use(StoreUse::Wrapped)?;
    let mut made = vec![
        ("cordon.yaml".to_owned(), "keys, vault, audit log, storage, users and roles"),
        (policy_file, "what is done with each field, for a privacy officer to read"),
        ("pipelines/nightly.yaml".to_owned(), "sources → datasets → encrypted tables"),
        (".cordon/schema/".to_owned(), "JSON Schemas, by which editors complete and check the YAML"),
        (".cordon/keyring.json".to_owned(), "purpose keys, each wrapped under the root key"),
    ];
    if options.passphrase_env.is_none() && options.root.is_none() {
        made.push(("secrets/root.key".to_owned(), "the root key: only its owner can read it"));
    }
    Ok(made)
}

/// One policy for tables and documents: the FHIR dataset of the shipped policy joins the tables.
fn with_fhir(tables: &str) -> String {
    let fhir = FHIR_POLICY.split_once("\ndatasets:\n").map_or("", |(_, datasets)| datasets);
    format!("{}\n{fhir}", tables.trim_end())
}

/// Editors that speak the YAML language server find the schema by the first line, with no set-up.
fn with_schema(name: &str, text: &str) -> String {
    format!("# yaml-language-server: $schema=../.cordon/schema/{name}.json\n{text}")
}

fn yaml_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| RunError::io("create", path, &error))
}

fn write_new(path: &Path, text: &str) -> Result<(), RunError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| RunError::io("create", folder, &error))?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| RunError::io("write", path, &error))
}

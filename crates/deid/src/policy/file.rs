//! The policy as a privacy officer writes it. Checking and compiling it is [`super::check`]'s work.

use indexmap::IndexMap;

use cordon_phi::{IdentifierKind, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ccda::CcdaSection;
use crate::dicom::DicomSection;
use crate::fhir::FhirSection;
use crate::hl7v2::Hl7v2Section;
use crate::x12::X12Section;
use crate::yaml::At;

/// A de-identification policy: one method, one subject, and a rule for each field of each dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Cordon de-identification policy")]
pub struct PolicyFile {
    /// The policy's name; pipelines refer to it. The file is `policies/<name>.yaml`.
    pub policy: At<String>,
    /// What the policy is for, in words.
    #[serde(default)]
    pub description: Option<String>,
    /// The HIPAA method (45 CFR 164.514): `safe-harbor`, `limited-data-set` or `expert-determination`.
    pub method: At<Method>,
    /// The day at which ages are counted, as `YYYY-MM-DD`. Without it: the day on which the run starts. Under Safe Harbor
    /// an age over 89 on the day of the run counts as such too, whatever day stands here.
    #[serde(default)]
    pub reference_date: Option<At<String>>,
    /// Which ZIP3 population table decides what becomes `000`.
    #[serde(default)]
    pub zip3_vintage: Option<At<Vintage>>,
    /// Whose identity ties records together.
    #[serde(default)]
    pub subject: SubjectSection,
    /// What happens to a field that the data has and the policy does not name. It never passes.
    #[serde(default)]
    pub undeclared: Undeclared,
    /// The recipient, its permitted uses and the agreement's date: required for a limited data set, 164.514(e)(4).
    #[serde(default)]
    pub data_use_agreement: Option<At<DataUseAgreement>>,
    /// Who determined that the risk is very small, and where it is documented: required for expert determination.
    #[serde(default)]
    pub expert: Option<At<ExpertSection>>,
    /// The datasets, by name.
    pub datasets: IndexMap<String, At<DatasetSection>>,
}

/// Where a person's identity stands.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SubjectSection {
    /// The token domain of persons: the same person has the same token wherever this domain is used.
    pub domain: String,
}

impl Default for SubjectSection {
    fn default() -> Self {
        Self { domain: "patient".to_owned() }
    }
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// The field is left out of the output and the run reports it.
    #[default]
    Drop,
    /// The file is refused.
    Fail,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Vintage {
    /// A prefix restricted in any vintage is restricted.
    #[default]
    Union,
    /// ZCTA counts of Census 2010 and of Census 2020: the same set.
    #[serde(rename = "2010", alias = "2020")]
    Census2010,
    /// Census 2000, as listed in the guidance of HHS. Not the "current" data that Safe Harbor asks for.
    #[serde(rename = "2000")]
    Census2000,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataUseAgreement {
    pub recipient: String,
    pub permitted_uses: Vec<String>,
    /// `YYYY-MM-DD`.
    pub signed: String,
    /// The recipient has agreed not to identify the information or contact the individuals, 164.514(e)(4)(ii)(C)(5).
    #[serde(default)]
    pub no_reidentification: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpertSection {
    pub name: String,
    /// Where the determination is kept.
    pub document: String,
}

/// One dataset: a table, or documents of one format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DatasetSection {
    #[serde(default)]
    pub description: Option<String>,
    /// The field that says whose record a row is; leave it out for what is not about a person.
    #[serde(default)]
    pub subject: Option<At<String>>,
    /// What happens to undeclared fields here, where it differs from the policy's.
    #[serde(default)]
    pub undeclared: Option<Undeclared>,
    /// A table's fields by name, each with its rule.
    #[serde(default)]
    pub fields: IndexMap<String, At<FieldSection>>,
    /// Columns made from a field besides the field's own, such as an age from a birth date.
    #[serde(default)]
    pub derive: IndexMap<String, At<FieldSection>>,
    /// The rules of FHIR R4 resources, in place of `fields`.
    #[serde(default)]
    pub fhir: Option<FhirSection>,
    /// The rules of HL7 v2 messages, in place of `fields`.
    #[serde(default)]
    pub hl7v2: Option<Hl7v2Section>,
    /// The rules of CDA R2 documents (C-CDA), in place of `fields`.
    #[serde(default)]
    pub ccda: Option<CcdaSection>,
    /// The rules of X12 transaction sets, in place of `fields`.
    #[serde(default)]
    pub x12: Option<X12Section>,
    /// The rules of DICOM files, in place of `fields`.
    #[serde(default)]
    pub dicom: Option<DicomSection>,
}

/// What a field is and what is done with it. Without an action, the method's default for the kind applies.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FieldSection {
    /// The kind of identifier the field holds.
    pub kind: IdentifierKind,
    /// What is done with its values.
    #[serde(default)]
    pub action: Option<Action>,
    /// The type of a value that stays: bad values go to quarantine.
    #[serde(default, rename = "type")]
    pub value_type: Option<ValueType>,
    /// The field may be missing from a file; its column is then null.
    #[serde(default)]
    pub optional: bool,
    /// The column's name in the output, where it differs.
    #[serde(default, rename = "as")]
    pub output: Option<String>,
    /// In `derive` only: the field that the column is made from.
    #[serde(default)]
    pub from: Option<String>,
    /// `token`, `hash`, `encrypt`, `shift-date`, `scrub` with surrogates: values of one domain are comparable, of two are not.
    #[serde(default)]
    pub domain: Option<String>,
    /// `keep`: the only values that may stay; all others become blank. `numbers` stands for numbers as results are
    /// written (six digits before the point at most), `us-states` for the states' codes and names, `countries` for
    /// those of countries.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// `keep`: the value becomes blank where another field of the row (or, in FHIR, an element beside it, by its path)
    /// has one of these values: results whose code says that they are an age, a date or a number of a person.
    #[serde(default)]
    pub blank_where: Option<IndexMap<String, Vec<String>>>,
    /// `keep`: the field that holds the value's unit. A span of 90 years and more becomes 90 years, in any unit of time:
    /// it shows an age over 89.
    #[serde(default)]
    pub unit: Option<String>,
    /// `redact`: the constant. `scrub`: `label` (default) or, by expert determination, `surrogate`: made-up values, and
    /// dates that are shifted as the subject's other dates are.
    #[serde(default)]
    pub with: Option<String>,
    /// `bin`: the width of each bin, from zero.
    #[serde(default)]
    pub width: Option<f64>,
    /// `bin`: the edges, ascending.
    #[serde(default)]
    pub edges: Option<Vec<f64>>,
    /// `first-chars`: how many.
    #[serde(default)]
    pub chars: Option<usize>,
    /// `shift-date`, `scrub` with surrogates: the largest shift, in days (default 365).
    #[serde(default)]
    pub max_days: Option<u32>,
    /// `encrypt`: the alphabet of the characters that are encrypted; all others stay in place.
    #[serde(default)]
    pub alphabet: Option<Alphabet>,
    /// `surrogate`: what to make up.
    #[serde(default)]
    pub surrogate: Option<SurrogateName>,
    /// Dates: the accepted formats (strftime), in place of the usual ones.
    #[serde(default)]
    pub formats: Option<Vec<String>>,
    /// `zip3`: what becomes of a value that is no US ZIP code (default: quarantine).
    #[serde(default)]
    pub otherwise: Option<Otherwise>,
    /// `zip3`: the field holds three-digit prefixes. Without it three digits are refused: `501` may be a prefix, or what
    /// a spreadsheet left of `00501`.
    #[serde(default)]
    pub of_prefixes: bool,
    /// `scrub`: names of hospitals, insurers and employers stay. By expert determination only.
    #[serde(default)]
    pub keep_organizations: bool,
    /// Why the rule departs from the default. Required where an expert keeps a direct identifier.
    #[serde(default)]
    pub because: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueType {
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Alphabet {
    /// `0`–`9`.
    Digits,
    /// `0`–`9`, `A`–`Z`.
    UpperAlphanumeric,
    /// `0`–`9`, `A`–`Z`, `a`–`z`.
    Alphanumeric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// No value.
    Blank,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SurrogateName {
    FirstName,
    LastName,
    FullName,
    StreetAddress,
    City,
    Phone,
    Email,
    Ssn,
    RecordNumber,
    Url,
    Company,
}

/// What is done with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// As it is.
    Keep,
    /// The field is not in the output.
    Drop,
    /// The field stays, its values do not.
    Blank,
    /// A constant in place of each value.
    Redact,
    /// The year of a date, where it shows no age over 89.
    Year,
    /// The age in whole years at the reference date; 90 means "90 or older".
    Age,
    /// An age; 90 means "90 or older".
    AgeCap,
    /// The first three ZIP digits, or `000` where 20,000 people or fewer share them.
    Zip3,
    /// The bin that a number falls into.
    Bin,
    /// The first characters.
    FirstChars,
    /// Moved by a number of days that is the subject's own: order and intervals stay.
    ShiftDate,
    /// A random token from the vault: not derived from the value, 164.514(c).
    Token,
    /// A keyed hash (HMAC-SHA256, 128 bits): the same value gives the same hash under the same key.
    Hash,
    /// Format-preserving encryption (FF1): digits stay digits, reversible with the key.
    Encrypt,
    /// A made-up value of the same sort, the same for all records of the subject.
    Surrogate,
    /// Free text in which what is recognised as identifying is replaced. No proof: what is not recognised stays.
    Scrub,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Blank => "blank",
            Self::Redact => "redact",
            Self::Year => "year",
            Self::Age => "age",
            Self::AgeCap => "age-cap",
            Self::Zip3 => "zip3",
            Self::Bin => "bin",
            Self::FirstChars => "first-chars",
            Self::ShiftDate => "shift-date",
            Self::Token => "token",
            Self::Hash => "hash",
            Self::Encrypt => "encrypt",
            Self::Surrogate => "surrogate",
            Self::Scrub => "scrub",
        }
    }
}

//! From the policy as written to the recipe that runs: every rule is checked here, and nowhere else.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use chrono::{Datelike, NaiveDate};
use cordon_phi::{IdentifierKind, Method, RECIPIENT_DOMAINS};
use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::file::{Action, DatasetSection, FieldSection, Otherwise, PolicyFile, Undeclared, ValueType, Vintage};
use super::method;
use crate::document::Documents;
use crate::kernel::{
    AgeRule, Alphabet, BinRule, DateFormats, Day, FpeRule, Kernel, Otherwise as NoZip, Parse, ScrubRule, ScrubWith,
    ShiftForm, ShiftRule, SurrogateKind, SurrogateRule, Vintage as Zip3Vintage, YearRule, Zip3Rule,
};
use crate::recipe::{Allow, FieldRule, Limits, Recipe, TableRecipe};
use crate::yaml::{At, Issue, Issues, Position, nearest};

/// What the compiler needs to know besides the policy.
#[derive(Clone, Copy)]
pub struct CompileOptions<'a> {
    /// The day on which ages are counted when the policy names none.
    pub run_date: NaiveDate,
    /// For each dataset the places whose identifiers mean the person, each with its namespace: what a pipeline declares.
    pub identities: Option<&'a IndexMap<String, IndexMap<String, String>>>,
}

impl CompileOptions<'_> {
    /// For a day, without declared identities.
    pub fn on(run_date: NaiveDate) -> Self {
        Self { run_date, identities: None }
    }
}

/// Reads, checks and compiles one policy.
pub fn compile(text: &str, file: &Path, options: CompileOptions<'_>) -> Result<Recipe, Issues> {
    let written: PolicyFile = crate::yaml::parse(text, file)?;
    let mut checker = Checker { file: file.to_path_buf(), method: written.method.value, issues: Vec::new() };
    let recipe = checker.policy(&written, text, options);
    if checker.issues.is_empty() {
        return Ok(recipe);
    }
    checker.issues.sort_by_key(|issue| issue.position);
    Err(Issues(checker.issues))
}

struct Checker {
    file: PathBuf,
    method: Method,
    issues: Vec<Issue>,
}

/// What is true for all rules of one policy.
pub(crate) struct Common {
    pub method: Method,
    pub reference: NaiveDate,
    /// The day on which nobody may show as over 89.
    pub ages_capped_at: NaiveDate,
    pub vintage: Zip3Vintage,
    pub subject_domain: String,
    /// A pipeline declares who people are: whatever follows from a person follows from the token.
    pub linked: bool,
    /// The date shifts so far.
    shifts: RefCell<Vec<Shift>>,
}

struct Shift {
    dataset: String,
    position: Position,
    domain: String,
    max_days: u32,
}

impl Common {
    /// Notes how a kernel moves dates, for the check that one subject moves by one number of days.
    pub(crate) fn note_shift(&self, dataset: &str, position: Position, kernel: &Kernel) {
        if let Some((domain, max_days)) = kernel.shift() {
            self.shifts.borrow_mut().push(Shift {
                dataset: dataset.to_owned(),
                position,
                domain: domain.to_owned(),
                max_days,
            });
        }
    }
}

/// Whose the values of a rule are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The dataset is not about persons.
    None,
    /// A file may lack the field.
    Optional,
    Known,
    /// Each document says, or its values fail.
    OfDocument,
}

impl Checker {
    fn issue(&mut self, position: Position, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.issues.push(Issue { file: self.file.clone(), position, message: message.into(), help: help.into() });
    }

    fn policy(&mut self, written: &PolicyFile, text: &str, options: CompileOptions<'_>) -> Recipe {
        let reference = self.reference_date(written, options);
        self.method_papers(written);
        if written.datasets.is_empty() {
            self.issue(written.policy.position, "the policy has no dataset", "add one under `datasets:`".to_owned());
        }
        let common = Common {
            method: self.method,
            reference,
            ages_capped_at: match self.method {
                // Who turned 90 since the reference date is over 89 in what is released now.
                Method::SafeHarbor => reference.max(options.run_date),
                Method::LimitedDataSet | Method::ExpertDetermination => reference,
            },
            vintage: self.vintage(written),
            subject_domain: written.subject.domain.clone(),
            linked: options.identities.is_some_and(|all| !all.is_empty()),
            shifts: RefCell::default(),
        };
        let namespaces = options.identities.into_iter().flat_map(|all| all.values()).flat_map(|places| places.values());
        if let Some((message, help)) = namespaces.chain([&common.subject_domain]).find_map(|name| reserved(name)) {
            self.issue(written.policy.position, message, help.to_owned());
        }
        let mut tables = IndexMap::new();
        let mut documents = IndexMap::new();
        let none = IndexMap::new();
        for (name, at) in &written.datasets {
            let section = &at.value;
            let undeclared = section.undeclared.unwrap_or(written.undeclared);
            let identities = options.identities.and_then(|all| all.get(name)).unwrap_or(&none);
            let of_fhir = |fhir| crate::fhir::compile(name, fhir, undeclared, identities, &common).map(Documents::Fhir);
            let of_hl7v2 =
                |hl7v2| crate::hl7v2::compile(name, hl7v2, undeclared, identities, &common).map(Documents::Hl7v2);
            let of_ccda = |ccda| {
                crate::ccda::compile(name, ccda, undeclared, identities, &common)
                    .map(|recipe| Documents::Ccda(Box::new(recipe)))
            };
            let of_x12 = |x12| crate::x12::compile(name, x12, undeclared, identities, &common).map(Documents::X12);
            let of_dicom = |dicom| {
                crate::dicom::compile(name, dicom, undeclared, identities, &common)
                    .map(|recipe| Documents::Dicom(Box::new(recipe)))
            };
            let mut compiled: Vec<Result<Documents, Vec<_>>> = Vec::new();
            compiled.extend(section.fhir.as_ref().map(of_fhir));
            compiled.extend(section.hl7v2.as_ref().map(of_hl7v2));
            compiled.extend(section.ccda.as_ref().map(of_ccda));
            compiled.extend(section.x12.as_ref().map(of_x12));
            compiled.extend(section.dicom.as_ref().map(of_dicom));
            if compiled.len() > 1 {
                self.issue(
                    at.position,
                    format!("dataset `{name}` is of more than one format"),
                    "documents of each format are a dataset of their own".to_owned(),
                );
                continue;
            }
            if let Some(compiled) = compiled.pop() {
                if !section.fields.is_empty() || !section.derive.is_empty() || section.subject.is_some() {
                    self.issue(
                        at.position,
                        format!("dataset `{name}` has both rules of documents and `fields`, `derive` or `subject`"),
                        "a dataset is a table or documents: split it in two".to_owned(),
                    );
                }
                match compiled {
                    Ok(recipe) => {
                        documents.insert(name.clone(), recipe);
                    }
                    Err(found) => {
                        for (position, message, help) in found {
                            self.issue(position, message, help);
                        }
                    }
                }
            } else {
                let table = self.table(name, at, undeclared, identities, &common);
                tables.insert(name.clone(), table);
            }
        }
        self.one_shift_a_subject(&common);
        Recipe {
            name: written.policy.value.clone(),
            description: written.description.clone(),
            method: self.method,
            hash: hex(&Sha256::digest(text.as_bytes())),
            reference_date: reference,
            ages_capped_at: common.ages_capped_at,
            tables,
            documents,
        }
    }

    fn reference_date(&mut self, written: &PolicyFile, options: CompileOptions<'_>) -> NaiveDate {
        let Some(at) = &written.reference_date else { return options.run_date };
        if let Some(date) = strict_date(&at.value) {
            return date;
        }
        self.issue(at.position, "`reference-date` is not a date", "write it as `YYYY-MM-DD`".to_owned());
        options.run_date
    }

    fn vintage(&mut self, written: &PolicyFile) -> Zip3Vintage {
        let Some(at) = &written.zip3_vintage else { return Zip3Vintage::Union };
        match at.value {
            Vintage::Union => Zip3Vintage::Union,
            Vintage::Census2010 => Zip3Vintage::Census2010,
            Vintage::Census2000 => {
                if self.method == Method::SafeHarbor {
                    self.issue(
                        at.position,
                        "Safe Harbor counts people by the current data of the Census, 164.514(b)(2)(i)(B), and those of \
                         2000 are not",
                        "use `zip3-vintage: union` (every census) or `\"2020\"`".to_owned(),
                    );
                }
                Zip3Vintage::Census2000
            }
        }
    }

    /// What each method asks for on paper.
    fn method_papers(&mut self, written: &PolicyFile) {
        let blank = |text: &str| text.trim().is_empty();
        match (self.method, &written.data_use_agreement, &written.expert) {
            (Method::LimitedDataSet, None, _) => self.issue(
                written.method.position,
                "a limited data set needs a data use agreement, 164.514(e)(4)",
                "add `data-use-agreement: { recipient: …, permitted-uses: […], signed: YYYY-MM-DD, \
                 no-reidentification: true }`"
                    .to_owned(),
            ),
            (Method::LimitedDataSet, Some(at), _) => {
                let (agreement, position) = (&at.value, at.position);
                if blank(&agreement.recipient) {
                    let message = "the data use agreement names no recipient, 164.514(e)(4)(ii)(B)";
                    self.issue(position, message, "write who may use the data as `recipient: …`".to_owned());
                }
                if agreement.permitted_uses.is_empty() || agreement.permitted_uses.iter().any(|text| blank(text)) {
                    let message = "the data use agreement names no permitted use, 164.514(e)(4)(ii)(A)";
                    self.issue(position, message, "write what the data is for as `permitted-uses: […]`".to_owned());
                }
                if strict_date(&agreement.signed).is_none() {
                    let message = "the date of the data use agreement is not a date";
                    self.issue(position, message, "write it as `signed: YYYY-MM-DD`".to_owned());
                }
                if !agreement.no_reidentification {
                    self.issue(
                        position,
                        "the recipient of a limited data set agrees not to identify the information or contact the \
                         individuals, 164.514(e)(4)(ii)(C)(5)",
                        "if the agreement says so, write `no-reidentification: true`".to_owned(),
                    );
                }
            }
            (Method::ExpertDetermination, _, None) => self.issue(
                written.method.position,
                "an expert determination names its expert and document, 164.514(b)(1)(ii)",
                "add `expert: { name: …, document: … }`".to_owned(),
            ),
            (Method::ExpertDetermination, _, Some(at)) if blank(&at.value.name) || blank(&at.value.document) => self
                .issue(
                    at.position,
                    "an expert determination names its expert and document, 164.514(b)(1)(ii)",
                    "write who determined it as `name: …`, and where it is kept as `document: …`".to_owned(),
                ),
            _ => {}
        }
    }

    /// Dates of one subject that move by different numbers of days lose their order and intervals, and the difference
    /// of two shifts narrows down both.
    fn one_shift_a_subject(&mut self, common: &Common) {
        let shifts = common.shifts.take();
        for (at, shift) in shifts.iter().enumerate() {
            let before = shifts.iter().take(at);
            if let Some(other) =
                before.clone().find(|other| other.domain == shift.domain && other.max_days != shift.max_days)
            {
                self.issue(
                    shift.position,
                    format!(
                        "dates of the domain `{}` are shifted by up to {} and by up to {} days, so one subject would have \
                         two shifts",
                        shift.domain, other.max_days, shift.max_days
                    ),
                    "give all of them one `max-days`".to_owned(),
                );
            } else if let Some(other) =
                before.clone().find(|other| other.dataset == shift.dataset && other.domain != shift.domain)
            {
                self.issue(
                    shift.position,
                    format!(
                        "dataset `{}` shifts dates in the domains `{}` and `{}`, so one subject would have two shifts",
                        shift.dataset, other.domain, shift.domain
                    ),
                    "give all of them one `domain`, or none".to_owned(),
                );
            }
        }
    }

    fn table(
        &mut self,
        name: &str,
        at: &At<DatasetSection>,
        undeclared: Undeclared,
        identities: &IndexMap<String, String>,
        common: &Common,
    ) -> TableRecipe {
        let section = &at.value;
        let mut rules = Vec::new();
        if section.fields.is_empty() {
            self.issue(
                at.position,
                format!("dataset `{name}` declares no field"),
                "list each field under `fields:` with its `kind`".to_owned(),
            );
        }
        let subject = section.subject.as_ref().and_then(|subject| self.subject(name, section, subject));
        let whose = match subject.as_ref().and_then(|field| section.fields.get(field)) {
            None => Subject::None,
            Some(field) if field.value.optional => Subject::Optional,
            Some(_) => Subject::Known,
        };
        for (field, at) in &section.fields {
            if at.value.from.is_some() {
                self.issue(at.position, format!("`{name}.{field}`: `from` belongs under `derive`"), None);
            }
            let is_subject = subject.as_deref() == Some(field.as_str());
            let output = at.value.output.clone().unwrap_or_else(|| field.clone());
            self.conditions(name, field, section, at);
            rules.extend(self.rule(name, field, output, at, is_subject, whose, common));
        }
        for (output, at) in &section.derive {
            let Some(from) = &at.value.from else {
                self.issue(
                    at.position,
                    format!("`{name}.{output}` does not say what it is made from"),
                    "add `from: FIELD`".to_owned(),
                );
                continue;
            };
            let Some(source) = section.fields.get(from) else {
                let help = nearest(from, section.fields.keys().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"));
                self.issue(
                    at.position,
                    format!("`{name}.{output}` is made from `{from}`, which is not declared"),
                    help,
                );
                continue;
            };
            let mut made = at.clone();
            made.value.optional |= source.value.optional;
            if at.value.output.is_some() {
                self.issue(
                    at.position,
                    format!("`{name}.{output}`: `as` means nothing under `derive`"),
                    "the key is the column's name already".to_owned(),
                );
            }
            // A derived column cannot pass off an identifier as something harmless, nor as another identifier, of which
            // more may stay.
            if !derives(source.value.kind, at.value.kind) {
                self.issue(
                    at.position,
                    format!(
                        "`{name}.{output}` is of kind `{}` but made from `{from}`, which is `{}`",
                        at.value.kind.name(),
                        source.value.kind.name()
                    ),
                    "give it the kind of the field that it is made from".to_owned(),
                );
            }
            if at.value.kind == IdentifierKind::Age && source.value.kind == IdentifierKind::BirthDate {
                made.value.kind = IdentifierKind::BirthDate;
                made.value.action = made.value.action.or(Some(Action::Age));
            }
            self.conditions(name, output, section, at);
            let is_subject = subject.as_ref() == Some(from);
            let rule = self.rule(name, from, output.clone(), &made, is_subject, whose, common);
            // What may not stay of the field may not stay of what is made from it.
            rules.extend(rule.map(|rule| FieldRule { limits: rule.limits.or(&limits_of(&source.value)), ..rule }));
        }
        self.unique_outputs(name, section, &rules);
        self.identities(name, at, subject.as_deref(), &rules, identities);
        let namespace = subject.as_ref().and_then(|subject| identities.get(subject)).cloned();
        TableRecipe {
            name: name.to_owned(),
            subject,
            undeclared,
            rules,
            seed_domain: namespace.or_else(|| seed_domain(common)),
            linked: common.linked,
            identities: identities.iter().map(|(column, namespace)| (column.clone(), namespace.clone())).collect(),
        }
    }

    /// What a pipeline declares as identity must be what the policy makes tokens of.
    fn identities(
        &mut self,
        name: &str,
        at: &At<DatasetSection>,
        subject: Option<&str>,
        rules: &[FieldRule],
        identities: &IndexMap<String, String>,
    ) {
        for (column, namespace) in identities {
            if !at.value.fields.contains_key(column) {
                let help = nearest(column, at.value.fields.keys().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"));
                let message =
                    format!("the pipeline's `identity` names `{column}`, which is not among the fields of `{name}`");
                self.issue(at.position, message, help);
            }
            for rule in rules.iter().filter(|rule| rule.input == *column) {
                if let Some(Kernel::Token { domain }) = &rule.kernel
                    && domain != namespace
                {
                    self.issue(
                        at.position,
                        format!(
                            "`{name}.{}` gets tokens of the domain `{domain}`, and the pipeline's `identity` puts \
                             `{column}` in the namespace `{namespace}`: one person would have two tokens",
                            rule.output
                        ),
                        "write the same for both".to_owned(),
                    );
                }
            }
        }
        if let Some(subject) = subject.filter(|subject| !identities.is_empty() && !identities.contains_key(*subject)) {
            self.issue(
                at.position,
                format!("the pipeline's `identity` of `{name}` leaves out `{subject}`, by which the policy knows whose a row is"),
                format!("add `{subject}: NAMESPACE` to it"),
            );
        }
    }

    /// The fields that a rule looks at besides its own must be there.
    fn conditions(&mut self, name: &str, field: &str, section: &DatasetSection, at: &At<FieldSection>) {
        let asked = at.value.blank_where.iter().flat_map(IndexMap::keys).chain(&at.value.unit);
        for other in asked {
            match section.fields.get(other) {
                Some(found) if found.value.optional => self.issue(
                    at.position,
                    format!("`{name}.{field}` depends on `{other}`, which files may lack"),
                    format!("leave `optional` out of `{other}`"),
                ),
                Some(_) => {}
                None => {
                    let help = nearest(other, section.fields.keys().map(String::as_str))
                        .map(|near| format!("did you mean `{near}`?"));
                    self.issue(
                        at.position,
                        format!("`{name}.{field}` depends on `{other}`, which is not among the dataset's fields"),
                        help,
                    );
                }
            }
        }
    }

    fn subject(&mut self, name: &str, section: &DatasetSection, subject: &At<String>) -> Option<String> {
        if section.fields.contains_key(&subject.value) {
            return Some(subject.value.clone());
        }
        let help = nearest(&subject.value, section.fields.keys().map(String::as_str))
            .map(|near| format!("did you mean `{near}`?"));
        self.issue(
            subject.position,
            format!("the subject `{}` of dataset `{name}` is not among its fields", subject.value),
            help,
        );
        None
    }

    fn unique_outputs(&mut self, name: &str, section: &DatasetSection, rules: &[FieldRule]) {
        let mut seen = std::collections::HashSet::new();
        for rule in rules.iter().filter(|rule| rule.kernel.is_some()) {
            if !seen.insert(rule.output.to_lowercase()) {
                let position = section
                    .derive
                    .get(&rule.output)
                    .or_else(|| section.fields.get(&rule.input))
                    .map_or_else(Position::default, |at| at.position);
                self.issue(
                    position,
                    format!("dataset `{name}` has two columns named `{}`", rule.output),
                    "rename one with `as: NAME`".to_owned(),
                );
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what surrounds one rule, used here once")]
    fn rule(
        &mut self,
        dataset: &str,
        field: &str,
        output: String,
        at: &At<FieldSection>,
        is_subject: bool,
        whose: Subject,
        common: &Common,
    ) -> Option<FieldRule> {
        let section = &at.value;
        let place = format!("{dataset}.{field}");
        let defaulted = section.action.is_none();
        let action = section.action.unwrap_or_else(|| default_of(self.method, section.kind, is_subject));
        match rule_kernel(&place, section, action, is_subject, whose, common) {
            Ok(kernel) => {
                if let Some(kernel) = &kernel {
                    common.note_shift(dataset, at.position, kernel);
                }
                Some(FieldRule {
                    input: field.to_owned(),
                    output,
                    kind: section.kind,
                    action,
                    defaulted,
                    kernel,
                    optional: section.optional,
                    limits: limits_of(section),
                    because: section.because.clone(),
                })
            }
            Err((message, help)) => {
                self.issue(at.position, format!("`{place}`: {message}"), help);
                None
            }
        }
    }
}

/// Surrogates of a subject are seeded by its random token where the method forbids what is derived from the person.
fn seed_domain(common: &Common) -> Option<String> {
    (common.method != Method::ExpertDetermination || common.linked).then(|| common.subject_domain.clone())
}

fn default_of(method: Method, kind: IdentifierKind, is_subject: bool) -> Action {
    // Whose record it is stays joinable, whatever number serves as identity.
    if is_subject { Action::Token } else { method::default_action(method, kind) }
}

/// Checks one rule against the method and makes its kernel; `Ok(None)` drops the field.
/// The error is what is wrong and what would be right.
pub(crate) fn rule_kernel(
    place: &str,
    section: &FieldSection,
    action: Action,
    is_subject: bool,
    whose: Subject,
    common: &Common,
) -> Result<Option<Kernel>, (String, Option<String>)> {
    let wrong = |message: String, help: &str| Err((message, (!help.is_empty()).then(|| help.to_owned())));
    if let Some(refusal) = method::refusal(common.method, section.kind, action) {
        return wrong(
            format!(
                "`{}` on kind `{}` is not allowed under {}, {}: {}",
                action.name(),
                section.kind.name(),
                common.method.name(),
                refusal.clause,
                refusal.why
            ),
            &format!("use {}", refusal.instead),
        );
    }
    if method::needs_reason(common.method, section.kind, action) && section.because.is_none() {
        return wrong(
            format!("a direct identifier (`{}`), or a part of it, is kept without a reason", section.kind.name()),
            "add `because: \"…\"`, or another action",
        );
    }
    parameters_fit(section, action)?;
    if action == Action::ShiftDate && whose == Subject::None {
        return wrong("a date is shifted by its subject, and this dataset has none".to_owned(), "add `subject: FIELD`");
    }
    if common.method == Method::SafeHarbor
        && section.kind.clause().is_none()
        && matches!(section.value_type, Some(ValueType::Date | ValueType::Timestamp))
    {
        return wrong(
            format!(
                "a date of kind `{}` is kept whole, and only the year may stay, 164.514(b)(2)(i)(C)",
                section.kind.name()
            ),
            "give it `kind: service-date`, or the kind of the date that it is",
        );
    }
    let by_expert = common.method == Method::ExpertDetermination;
    if action == Action::Surrogate && !by_expert && matches!(whose, Subject::None | Subject::Optional) {
        return wrong(
            "a surrogate follows from its subject; without one it would be derived from the value, 164.514(c)(1)"
                .to_owned(),
            "name a `subject` that every file has, or use `token` or `drop`",
        );
    }
    let is_date =
        matches!(section.kind, IdentifierKind::BirthDate | IdentifierKind::DeathDate | IdentifierKind::ServiceDate);
    let formats = match &section.formats {
        None => DateFormats::builtin(),
        Some(formats) => DateFormats::only(formats.clone())
            .map_err(|bad| (bad.to_string(), Some("write formats as strftime does, such as `%d.%m.%Y`".to_owned())))?,
    };
    let domain = || {
        section
            .domain
            .clone()
            .unwrap_or_else(|| if is_subject { common.subject_domain.clone() } else { place.to_owned() })
    };
    let (reference, capped_at) = (day(common.reference), day(common.ages_capped_at));
    Ok(Some(match action {
        Action::Drop => return Ok(None),
        Action::Keep => Kernel::Keep(parse_of(section.value_type, formats)),
        Action::Blank => Kernel::Null(arrow_schema::DataType::Utf8View),
        Action::Redact => Kernel::Redact { with: section.with.clone().unwrap_or_else(|| "[redacted]".to_owned()) },
        Action::Year if is_date => {
            let capped = common.method == Method::SafeHarbor || section.kind == IdentifierKind::BirthDate;
            Kernel::Year(YearRule { reference: capped_at, cap: capped.then_some(89), formats })
        }
        Action::Year => return wrong(format!("`year` is for dates, and the kind is `{}`", section.kind.name()), ""),
        Action::Age if section.kind == IdentifierKind::BirthDate => {
            let release = (capped_at > reference).then_some(capped_at);
            Kernel::AgeFromBirth(AgeRule { reference, release, cap: 90, formats })
        }
        Action::Age => {
            return wrong("`age` is made from a birth date".to_owned(), "for an age as a number use `age-cap`");
        }
        Action::AgeCap => Kernel::AgeCap { cap: 90 },
        Action::Zip3 => Kernel::Zip3(Zip3Rule {
            vintage: common.vintage,
            otherwise: match section.otherwise {
                Some(Otherwise::Blank) => NoZip::Null,
                Some(Otherwise::Fail) | None => NoZip::Fail,
            },
            of_prefixes: section.of_prefixes,
        }),
        Action::Bin => Kernel::Bin(bin_rule(section)?),
        Action::FirstChars => Kernel::FirstChars { n: section.chars.unwrap_or(1) },
        Action::ShiftDate => Kernel::ShiftDate(ShiftRule {
            max_days: max_days(section)?,
            domain: shift_domain(section, common),
            form: match section.value_type {
                Some(ValueType::Timestamp) => ShiftForm::Timestamp,
                Some(ValueType::Text) => ShiftForm::Text,
                _ => ShiftForm::Date,
            },
            formats,
        }),
        Action::Token => {
            let domain = domain();
            if let Some((message, help)) = reserved(&domain) {
                return wrong(message, help);
            }
            Kernel::Token { domain }
        }
        Action::Hash => Kernel::Hash { domain: domain() },
        Action::Encrypt => Kernel::Fpe(FpeRule {
            alphabet: match section.alphabet {
                None | Some(super::file::Alphabet::Digits) => Alphabet::Digits,
                Some(super::file::Alphabet::UpperAlphanumeric) => Alphabet::UpperAlphanumeric,
                Some(super::file::Alphabet::Alphanumeric) => Alphabet::Alphanumeric,
            },
            domain: domain(),
        }),
        Action::Scrub => Kernel::Scrub(scrub_rule(section, whose, common)?),
        Action::Surrogate => Kernel::Surrogate(SurrogateRule { kind: surrogate_of(section)?, of_value: by_expert }),
    }))
}

/// Whether a column of kind `made` may be made from a field of kind `source`: what is listed stays what it is.
pub(crate) fn derives(source: IdentifierKind, made: IdentifierKind) -> bool {
    source.clause().is_none() || made == source || (made == IdentifierKind::Age && source == IdentifierKind::BirthDate)
}

pub(crate) fn limits_of(section: &FieldSection) -> Limits {
    let blank_where = section.blank_where.iter().flatten();
    Limits {
        allow: section.allow.as_deref().map(Allow::of),
        blank_where: blank_where.map(|(field, values)| (field.clone(), values.clone())).collect(),
        unit: section.unit.clone(),
    }
}

fn day(date: NaiveDate) -> Day {
    Day(date.num_days_from_ce() - UNIX_EPOCH_FROM_CE)
}

/// `YYYY-MM-DD` and nothing else: `26-01-01` is a day of the year 26 to a lenient reader.
fn strict_date(text: &str) -> Option<NaiveDate> {
    let (year, month, day) = text.parse::<Day>().ok()?.ymd();
    NaiveDate::from_ymd_opt(year, month, day)
}

type Wrong = (String, Option<String>);

fn parse_of(value_type: Option<ValueType>, formats: DateFormats) -> Parse {
    match value_type {
        None | Some(ValueType::Text) => Parse::Text,
        Some(ValueType::Integer) => Parse::Integer,
        Some(ValueType::Decimal) => Parse::Decimal,
        Some(ValueType::Boolean) => Parse::Boolean,
        Some(ValueType::Date) => Parse::Date(formats),
        Some(ValueType::Timestamp) => Parse::Timestamp(formats),
    }
}

fn max_days(section: &FieldSection) -> Result<u32, Wrong> {
    match section.max_days {
        Some(0) => Err(("`max-days` must be at least 1".to_owned(), None)),
        Some(most) if most > 3650 => Err(("`max-days` must be at most 3650".to_owned(), None)),
        other => Ok(other.unwrap_or(365)),
    }
}

/// What is wrong with a token domain that only recipients' tokens may be in.
fn reserved(domain: &str) -> Option<(String, &'static str)> {
    domain.starts_with(RECIPIENT_DOMAINS).then(|| {
        (
            format!("`{domain}` cannot name a token domain: what begins with `{RECIPIENT_DOMAINS}` holds the tokens of recipients"),
            "give it another name; a pipeline names its recipient as `recipient: NAME`",
        )
    })
}

fn shift_domain(section: &FieldSection, common: &Common) -> String {
    section.domain.clone().unwrap_or_else(|| common.subject_domain.clone())
}

fn scrub_rule(section: &FieldSection, whose: Subject, common: &Common) -> Result<ScrubRule, Wrong> {
    let wrong = |message: &str, help: &str| Err((message.to_owned(), Some(help.to_owned())));
    let by_expert = common.method == Method::ExpertDetermination;
    let with = match section.with.as_deref() {
        None | Some("label") => ScrubWith::Label,
        Some("surrogate") if !by_expert => {
            return wrong(
                "surrogates of what stands in a text are derived from it, 164.514(c)(1), and shifted dates are dates",
                "leave `with` out, or use a policy by `expert-determination`",
            );
        }
        Some("surrogate") if whose == Subject::None => {
            return wrong(
                "surrogates and shifted dates follow from the subject, and this dataset has none",
                "add `subject: FIELD`",
            );
        }
        Some("surrogate") => {
            ScrubWith::Surrogate { max_days: max_days(section)?, domain: shift_domain(section, common) }
        }
        Some(_) => {
            return wrong(
                "`scrub` replaces what it finds by a `label` or a `surrogate`",
                "use `with: surrogate`, or leave it out",
            );
        }
    };
    if with == ScrubWith::Label && (section.max_days.is_some() || section.domain.is_some()) {
        return wrong("`max-days` and `domain` mean nothing where no date is shifted", "add `with: surrogate`");
    }
    if section.keep_organizations && !by_expert {
        return wrong(
            "identifiers of employers are listed too, 164.514(b)(2)(i), and no program knows an employer from a hospital",
            "leave `keep-organizations` out, or use a policy by `expert-determination`",
        );
    }
    Ok(ScrubRule {
        with,
        reference: day(common.ages_capped_at),
        vintage: common.vintage,
        limited: common.method == Method::LimitedDataSet,
        keep_organizations: section.keep_organizations,
        known: common.linked,
    })
}

fn bin_rule(section: &FieldSection) -> Result<BinRule, Wrong> {
    match (&section.edges, section.width) {
        (Some(edges), None) if edges.len() >= 2 && edges.is_sorted_by(|a, b| a < b) => {
            Ok(BinRule::Edges(edges.clone()))
        }
        (None, Some(width)) if width > 0.0 && width.is_finite() => Ok(BinRule::Width { width, origin: 0.0 }),
        _ => Err((
            "`bin` needs either a positive `width` or at least two ascending `edges`".to_owned(),
            Some("for example `width: 10000` or `edges: [0, 18, 65, 90]`".to_owned()),
        )),
    }
}

fn surrogate_of(section: &FieldSection) -> Result<SurrogateKind, Wrong> {
    use super::file::SurrogateName as Name;
    let named = match section.surrogate {
        Some(name) => name,
        None => match section.kind {
            IdentifierKind::Name => Name::FullName,
            IdentifierKind::StreetAddress => Name::StreetAddress,
            IdentifierKind::City => Name::City,
            IdentifierKind::Phone | IdentifierKind::Fax => Name::Phone,
            IdentifierKind::Email => Name::Email,
            IdentifierKind::Ssn => Name::Ssn,
            IdentifierKind::Url => Name::Url,
            IdentifierKind::Organization => Name::Company,
            kind if kind.key_class() == cordon_phi::KeyClass::Direct && kind != IdentifierKind::FreeText => {
                Name::RecordNumber
            }
            kind => {
                return Err((
                    format!("there is no surrogate for kind `{}`", kind.name()),
                    Some("name one with `surrogate: …`, or use another action".to_owned()),
                ));
            }
        },
    };
    Ok(match named {
        Name::FirstName => SurrogateKind::FirstName,
        Name::LastName => SurrogateKind::LastName,
        Name::FullName => SurrogateKind::FullName,
        Name::StreetAddress => SurrogateKind::StreetAddress,
        Name::City => SurrogateKind::City,
        Name::Phone => SurrogateKind::Phone,
        Name::Email => SurrogateKind::Email,
        Name::Ssn => SurrogateKind::Ssn,
        Name::RecordNumber => SurrogateKind::RecordNumber,
        Name::Url => SurrogateKind::Url,
        Name::Company => SurrogateKind::Company,
    })
}

/// A parameter that its action does not read is a misunderstanding, and is said.
fn parameters_fit(section: &FieldSection, action: Action) -> Result<(), Wrong> {
    let given = [
        (
            "domain",
            section.domain.is_some(),
            &[Action::Token, Action::Hash, Action::Encrypt, Action::ShiftDate, Action::Scrub][..],
        ),
        ("allow", section.allow.is_some(), &[Action::Keep]),
        ("blank-where", section.blank_where.is_some(), &[Action::Keep]),
        ("unit", section.unit.is_some(), &[Action::Keep]),
        ("type", section.value_type.is_some(), &[Action::Keep, Action::ShiftDate]),
        ("of-prefixes", section.of_prefixes, &[Action::Zip3]),
        ("with", section.with.is_some(), &[Action::Redact, Action::Scrub]),
        ("width", section.width.is_some(), &[Action::Bin]),
        ("edges", section.edges.is_some(), &[Action::Bin]),
        ("chars", section.chars.is_some(), &[Action::FirstChars]),
        ("max-days", section.max_days.is_some(), &[Action::ShiftDate, Action::Scrub]),
        ("keep-organizations", section.keep_organizations, &[Action::Scrub]),
        ("alphabet", section.alphabet.is_some(), &[Action::Encrypt]),
        ("surrogate", section.surrogate.is_some(), &[Action::Surrogate]),
        ("formats", section.formats.is_some(), &[Action::Keep, Action::Year, Action::Age, Action::ShiftDate]),
        ("otherwise", section.otherwise.is_some(), &[Action::Zip3]),
    ];
    for (name, is_given, readers) in given {
        if is_given && !readers.contains(&action) {
            let names: Vec<_> = readers.iter().map(|reader| format!("`{}`", reader.name())).collect();
            return Err((
                format!("`{name}` means nothing to the action `{}`", action.name()),
                Some(format!("it belongs to {}", names.join(", "))),
            ));
        }
    }
    let typed_date = matches!(section.value_type, Some(ValueType::Date | ValueType::Timestamp));
    if action == Action::Keep && section.formats.is_some() && !typed_date {
        return Err((
            "`formats` means nothing to what is kept as it is".to_owned(),
            Some("add `type: date` or `type: timestamp`".to_owned()),
        ));
    }
    if action == Action::ShiftDate && section.value_type.is_some_and(|kind| !typed_date && kind != ValueType::Text) {
        return Err((
            "a shifted date is no number and no truth value".to_owned(),
            Some("use `type: date`, `timestamp` or `text`".to_owned()),
        ));
    }
    Ok(())
}

/// 1970-01-01 as a day of the common era.
const UNIX_EPOCH_FROM_CE: i32 = 719_163;

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

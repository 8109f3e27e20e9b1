//! From the DICOM section of a policy to acts: every rule is checked here, and nowhere else.

use cordon_formats::dicom::confidentiality::{Column, Row, rows};
use cordon_formats::dicom::{Pixels, Tag, VR, keyword};
use cordon_phi::{IdentifierKind as Kind, Method};
use hashbrown::HashMap;
use indexmap::IndexMap;

use super::path::{Name, Place, Problem};
use super::profile::{PATIENT_ID, Wanted, floor_of, kind_of, vr_of, wanted};
use super::recipe::{Act, Device, DicomRecipe, Ruled, Within};
use super::section::{DicomSection, KeepWhere, PixelSection, PixelWord, Profile, ProfileOption};
use crate::document::{Identities, Issue, Rule, Rules};
use crate::fhir::recipe::Settled;
use crate::policy::check::Common;
use crate::policy::file::{Action, FieldSection, Otherwise, Undeclared};
use crate::tally::Class;
use crate::yaml::{At, Position, nearest};

/// The token domain of UIDs: one UID has one successor, in whatever attribute it stands.
const UIDS: &str = "dicom-uid";

/// Checks and compiles the DICOM section of one dataset. `identities`: places and the namespaces that they are in.
pub(crate) fn compile(
    dataset: &str,
    section: &DicomSection,
    undeclared: Undeclared,
    identities: &IndexMap<String, String>,
    common: &Common,
) -> Result<DicomRecipe, Vec<Issue>> {
    let mut compiler =
        Compiler { rules: Rules::new(dataset, common), types: HashMap::new(), type_acts: HashMap::new() };
    let recipe = compiler.section(section, undeclared, identities);
    if compiler.rules.issues.is_empty() { Ok(recipe) } else { Err(compiler.rules.issues) }
}

struct Compiler<'a> {
    rules: Rules<'a>,
    types: HashMap<VR, Rule>,
    type_acts: HashMap<VR, Ruled>,
}

/// A rule that the profile makes.
fn made(kind: Kind, action: Action, position: Position) -> At<FieldSection> {
    let value = FieldSection {
        kind,
        action: Some(action),
        value_type: None,
        optional: false,
        output: None,
        from: None,
        domain: None,
        allow: None,
        blank_where: None,
        unit: None,
        with: None,
        width: None,
        edges: None,
        chars: None,
        max_days: None,
        alphabet: None,
        surrogate: None,
        formats: None,
        // A date that is none leaves an empty place, which the profile allows.
        otherwise: (action == Action::ShiftDate).then_some(Otherwise::Blank),
        of_prefixes: false,
        keep_organizations: false,
        because: Some("table E.1-1 of PS3.15".to_owned()),
    };
    At { value, position }
}

impl Compiler<'_> {
    fn section(
        &mut self,
        section: &DicomSection,
        undeclared: Undeclared,
        identities: &IndexMap<String, String>,
    ) -> DicomRecipe {
        let common = self.rules.facts.common;
        self.type_rules(section);
        let options = self.options(section);
        let profile = (section.profile == Profile::Basic).then(|| self.profile(&options));
        let (elements, private) = self.element_rules(section, &options);
        let (devices, pixels_otherwise) = self.pixels(section);
        let subject_line = section.subject.as_ref().map_or_else(|| "PatientID".to_owned(), |at| at.value.clone());
        let position = section.subject.as_ref().map(|at| at.position).unwrap_or_default();
        let subject = self.place("subject", &subject_line, position);
        let Identities { places, namespaces } =
            Identities::declared(common, identities, |text| self.place("identity", text, Position::default()));
        DicomRecipe {
            elements,
            private,
            profile,
            types: std::mem::take(&mut self.type_acts),
            devices,
            pixels_otherwise,
            subject: subject.unwrap_or(Place { within: Vec::new(), name: Name::Standard(PATIENT_ID), issuer: None }),
            seed_by_token: common.method != Method::ExpertDetermination || common.linked,
            identities: places,
            namespaces,
            kernels: std::mem::take(&mut self.rules.kernels),
            lenient: std::mem::take(&mut self.rules.lenient),
            undeclared,
            options: options.iter().map(|(option, _)| *option).collect(),
            subject_line,
            lines: std::mem::take(&mut self.rules.lines),
        }
    }

    /// A place that identifies; it says where it is wrong.
    fn place(&mut self, what: &str, text: &str, position: Position) -> Option<Place> {
        match Place::parse(text) {
            Ok(place) if place.tag().is_some() => Some(place),
            Ok(_) => {
                self.rules.issue(position, format!("{what} `{text}`: a private attribute identifies nobody"), None);
                None
            }
            Err(problem) => {
                self.rules.issue(position, format!("{what} `{text}`: {problem}"), help_of(&problem));
                None
            }
        }
    }

    fn options(&mut self, section: &DicomSection) -> Vec<(ProfileOption, Position)> {
        let mut options: Vec<(ProfileOption, Position)> = Vec::new();
        for at in &section.options {
            if section.profile == Profile::None {
                self.rules.issue(at.position, "options belong to the profile `basic`, and it is `none`", None);
            } else if options.iter().any(|(known, _)| *known == at.value) {
                self.rules.issue(at.position, format!("`{}` stands twice", at.value.name()), None);
            } else {
                options.push((at.value, at.position));
            }
        }
        let position_of = |wanted| options.iter().find(|(option, _)| *option == wanted).map(|(_, position)| *position);
        if let (Some(_), Some(position)) = (
            position_of(ProfileOption::RetainLongitudinalFullDates),
            position_of(ProfileOption::RetainLongitudinalModifiedDates),
        ) {
            self.rules.issue(
                position,
                "dates are either kept as they are or shifted",
                Some("choose one of `retain-longitudinal-full-dates` and `-modified-dates`".to_owned()),
            );
        }
        // The order of the table's columns.
        options.sort_by_key(|(option, _)| option.column());
        options
    }

    fn type_rules(&mut self, section: &DicomSection) {
        for (text, at) in &section.types {
            let Ok(vr) = text.parse::<VR>() else {
                let message = format!("`{text}` is no value representation of DICOM");
                self.rules.issue(at.position, message, Some("such as `PN`, `DA`, `CS`".to_owned()));
                continue;
            };
            if vr == VR::SQ {
                let help = "what stands in them goes by its own rules; name a sequence under `elements`".to_owned();
                self.rules.issue(at.position, "sequences have no rule by type", Some(help));
                continue;
            }
            let place = format!("types.{text}");
            let domain = self.domain(vr, Tag(0, 0), text);
            if let Some(rule) = self.rules.rule(&place, at, &domain) {
                if let Some(floor) = floor_of(vr) {
                    self.rules.hold_to_floor(&place, &rule, floor);
                }
                if let Some(act) = self.fitting(&place, &rule, vr) {
                    self.type_acts.insert(vr, Ruled { act, class: rule.class() });
                    self.types.insert(vr, rule);
                }
            }
        }
    }

    /// What a rule does to values of a representation; it says so where the two do not go together.
    fn fitting(&mut self, place: &str, rule: &Rule, vr: VR) -> Option<Act> {
        let is_date = matches!(vr, VR::DA | VR::DT);
        let is_text = matches!(
            vr,
            VR::LO | VR::SH | VR::UC | VR::LT | VR::ST | VR::UT | VR::PN | VR::UR | VR::AE | VR::CS | VR::UI
        );
        let fits = match rule.action {
            Action::Keep | Action::Drop | Action::Blank => true,
            Action::Year | Action::ShiftDate => is_date,
            Action::AgeCap => vr == VR::AS,
            Action::Scrub => super::profile::is_text(vr),
            Action::Token => is_text,
            Action::Bin | Action::Age | Action::Encrypt => false,
            Action::Surrogate | Action::Redact | Action::Zip3 | Action::FirstChars | Action::Hash => {
                is_text && vr != VR::UI
            }
        };
        if !fits {
            let message = format!("`{place}`: `{}` makes no value of {}", rule.action.name(), vr.to_string());
            let help = "drop it, blank it, or choose what suits its representation".to_owned();
            self.rules.issue(rule.position, message, Some(help));
            return None;
        }
        Some(act_of(rule))
    }

    /// The domain of an attribute's tokens, where a rule names none.
    fn domain(&self, vr: VR, tag: Tag, otherwise: &str) -> String {
        match vr {
            // The patient's token is that of the subject.
            _ if tag == PATIENT_ID => self.rules.facts.common.subject_domain.clone(),
            VR::UI => UIDS.to_owned(),
            VR::AE => "dicom-ae-title".to_owned(),
            _ => otherwise.to_owned(),
        }
    }

    fn profile(&mut self, options: &[(ProfileOption, Position)]) -> HashMap<Tag, Ruled> {
        let enabled: Vec<Column> = options.iter().map(|(option, _)| option.column()).collect();
        let mut acts = HashMap::new();
        let mut refused: Vec<Column> = Vec::new();
        for row in rows().iter().filter(|row| !row.is_pattern()) {
            let (wanted, column) = wanted(row, &enabled);
            let option = column.and_then(|column| options.iter().find(|(option, _)| option.column() == column));
            let before = self.rules.issues.len();
            let act = self.act(row, wanted, option.map(|(_, position)| *position).unwrap_or_default());
            if let (Some((option, position)), Some((_, message, help))) =
                (option, self.rules.issues.get(before).cloned())
            {
                self.rules.issues.truncate(before);
                // One attribute says enough of an option.
                if !refused.contains(&option.column()) {
                    refused.push(option.column());
                    self.rules.issue(*position, format!("`{}`: {message}", option.name()), help);
                }
            }
            let removed = || Ruled { act: Act::Remove, class: Class::of(kind_of(row), Action::Drop) };
            acts.insert(row.tag, act.unwrap_or_else(removed));
        }
        acts
    }

    fn act(&mut self, row: &Row, wanted: Wanted, position: Position) -> Option<Ruled> {
        let place = keyword(row.tag).map_or_else(|| cordon_formats::dicom::show(row.tag), str::to_owned);
        let (kind, vr) = (kind_of(row), vr_of(row.tag));
        let by_safe_harbor = self.rules.facts.common.method == Method::SafeHarbor;
        let (kind, action) = match wanted {
            Wanted::Remove => (kind, Action::Drop),
            Wanted::Empty => (kind, Action::Blank),
            Wanted::Uid => (Kind::UniqueId, Action::Token),
            Wanted::Token => (kind, Action::Token),
            // An age stays as far as it may.
            Wanted::Keep if kind == Kind::Age && vr == VR::AS && by_safe_harbor => (kind, Action::AgeCap),
            Wanted::Keep => (kind, Action::Keep),
            Wanted::Shift => (kind, Action::ShiftDate),
            Wanted::Scrub => (Kind::FreeText, Action::Scrub),
            Wanted::Walk { dummy: false } if row.basic != cordon_formats::dicom::confidentiality::Code::XZU => {
                // What stands in it goes by its own rules, and no rule says more of the sequence.
                let is_kept = [Column::DeviceIdentity, Column::InstitutionIdentity].into_iter();
                let of_kept = is_kept.clone().any(|column| row.option(column).is_some());
                (if of_kept { kind } else { Kind::Operational }, Action::Keep)
            }
            Wanted::Walk { .. } => (Kind::Operational, Action::Keep),
            Wanted::Dummy => {
                if let Some(rule) = self.types.get(&vr)
                    && let Settled::Gather(_) = rule.settled
                    && !matches!(rule.action, Action::Keep | Action::Scrub)
                {
                    return Some(Ruled { act: act_of(rule), class: rule.class() });
                }
                (kind, Action::Redact)
            }
        };
        let domain = self.domain(vr, row.tag, &place);
        let rule = self.rules.rule(&place, &made(kind, action, position), &domain);
        let act = match wanted {
            Wanted::Walk { dummy } => rule.map(|_| Act::Walk { dummy })?,
            Wanted::Dummy => Act::Dummy,
            _ => act_of(&rule?),
        };
        Some(Ruled { act, class: Class::of(kind, action) })
    }

    #[expect(clippy::type_complexity, reason = "two maps that the recipe holds side by side")]
    fn element_rules(
        &mut self,
        section: &DicomSection,
        options: &[(ProfileOption, Position)],
    ) -> (HashMap<Tag, Vec<Within>>, HashMap<(u16, u8), Vec<(String, Ruled)>>) {
        let (mut elements, mut private) = (HashMap::<Tag, Vec<Within>>::new(), HashMap::<_, Vec<_>>::new());
        for (text, at) in &section.elements {
            let place = match Place::parse(text) {
                Ok(place) if place.issuer.is_some() => {
                    self.rules.issue(at.position, format!("`elements.{text}`: an issuer is for identities"), None);
                    continue;
                }
                Ok(place) => place,
                Err(problem) => {
                    self.rules.issue(at.position, format!("`elements.{text}`: {problem}"), help_of(&problem));
                    continue;
                }
            };
            match place.name {
                Name::Private { group, creator, element } => {
                    if !options.iter().any(|(option, _)| *option == ProfileOption::RetainSafePrivate) {
                        self.rules.issue(
                            at.position,
                            format!("`{text}`: private attributes are removed"),
                            Some("add the option `retain-safe-private`".to_owned()),
                        );
                        continue;
                    }
                    let Some(rule) = self.rules.rule(text, at, text) else { continue };
                    self.rules.hold_to_floor(text, &rule, Kind::FreeText);
                    if !matches!(rule.action, Action::Keep | Action::Drop) {
                        let message = format!("`{text}`: a private attribute is kept or dropped");
                        self.rules.issue(at.position, message, None);
                    }
                    let ruled = Ruled { act: act_of(&rule), class: rule.class() };
                    private.entry((group, element)).or_default().push((creator, ruled));
                }
                Name::Standard(tag) => {
                    if let Some(ruled) = self.element_rule(text, at, tag) {
                        elements.entry(tag).or_default().push(Within { sequences: place.within, ruled });
                    }
                }
            }
        }
        for rules in elements.values_mut() {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.sequences.len()));
        }
        (elements, private)
    }

    fn element_rule(&mut self, text: &str, at: &At<FieldSection>, tag: Tag) -> Option<Ruled> {
        if STRUCTURE.contains(&tag) || tag.group() == 0x0002 && tag != MEDIA_INSTANCE {
            let message = format!("`{text}` tells how the file is to be read, and is not for policies to change");
            self.rules.issue(at.position, message, None);
            return None;
        }
        let vr = vr_of(tag);
        let domain = self.domain(vr, tag, text);
        let rule = self.rules.rule(text, at, &domain)?;
        let row = cordon_formats::dicom::confidentiality::row_of(tag);
        if let Some(floor) = row.map(kind_of).or_else(|| floor_of(vr)) {
            self.rules.hold_to_floor(text, &rule, floor);
        }
        let ruled = |act| Ruled { act, class: rule.class() };
        if vr != VR::SQ {
            return self.fitting(text, &rule, vr).map(ruled);
        }
        match rule.action {
            Action::Keep => Some(ruled(Act::Walk { dummy: false })),
            Action::Drop => Some(ruled(Act::Remove)),
            Action::Blank => Some(ruled(Act::Empty)),
            _ => {
                let message = format!("`{text}` is a sequence: it is kept, dropped or blanked");
                let help = "what stands in a kept one goes by its own rules".to_owned();
                self.rules.issue(at.position, message, Some(help));
                None
            }
        }
    }

    fn pixels(&mut self, section: &DicomSection) -> (Vec<Device>, Pixels) {
        let of_word = |word| match word {
            PixelWord::Refuse => Pixels::Refuse,
            PixelWord::Drop => Pixels::LeaveOut,
        };
        let Some(at) = &section.pixel_data else { return (Vec::new(), Pixels::Refuse) };
        match &at.value {
            PixelSection::Word(word) => (Vec::new(), of_word(*word)),
            PixelSection::Where(KeepWhere { keep_where, otherwise }) => {
                let mut devices = Vec::new();
                for device in keep_where {
                    if device.manufacturer.is_none() && device.model.is_none() && device.modality.is_none() {
                        let message = "`pixel-data`: a device is known by its manufacturer, model or modality";
                        self.rules.issue(at.position, message, None);
                    }
                    if device.because.trim().is_empty() {
                        self.rules.issue(
                            at.position,
                            "`pixel-data`: pictures are kept without a reason, and pictures comparable to a face and \
                             text that is burned in are listed, 164.514(b)(2)(i)(Q)",
                            Some("add `because: \"…\"`: how it is known that its pictures show nobody".to_owned()),
                        );
                    }
                    let small = |text: &Option<String>| text.as_ref().map(|text| text.trim().to_lowercase());
                    devices.push(Device {
                        manufacturer: small(&device.manufacturer),
                        model: small(&device.model),
                        modality: small(&device.modality),
                    });
                }
                (devices, of_word(*otherwise))
            }
        }
    }
}

/// Without which nothing of a data set can be read.
pub(super) const STRUCTURE: [Tag; 1] = [Tag(0x0008, 0x0005)];
pub(super) const MEDIA_INSTANCE: Tag = Tag(0x0002, 0x0003);

fn act_of(rule: &Rule) -> Act {
    match rule.settled {
        Settled::Keep => Act::Keep,
        Settled::Drop if rule.action == Action::Blank => Act::Empty,
        Settled::Drop => Act::Remove,
        Settled::Gather(column) => Act::Gather { column, action: rule.action },
    }
}

fn help_of(problem: &Problem) -> Option<String> {
    let Problem::Unknown(name) = problem else { return None };
    let known = rows().iter().filter_map(|row| keyword(row.tag));
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

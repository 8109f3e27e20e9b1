//! What values mean, by the names that a policy has for it, and what each is whatever a policy calls it.

use std::sync::{Arc, LazyLock};

use cordon_formats::x12::{CodeList, DateOf, Envelope, Id, Kind, Role, facts, parse};
use cordon_phi::IdentifierKind;

use super::path::{Name, text_of};

macro_rules! meanings {
    ($($variant:ident = $name:literal, $floor:expr;)*) => {
        /// What a value means. A name with a dot is of the group before it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(super) enum Meaning {
            $($variant,)*
        }

        impl Meaning {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What such a value is whatever a policy calls it; `None` for what says nothing of one person.
            pub fn floor(self) -> Option<IdentifierKind> {
                use IdentifierKind::*;
                match self { $(Self::$variant => $floor,)* }
            }
        }
    };
}

meanings! {
    FamilyName = "name.family", Some(Name);
    GivenName = "name.given", Some(Name);
    MiddleName = "name.middle", Some(Name);
    NamePrefix = "name.prefix", Some(Name);
    NameSuffix = "name.suffix", Some(Name);
    WholeName = "name.whole", Some(Name);
    // An employer's name is an identifier of who works there, and a group is often an employer.
    EmployerName = "name.employer", Some(Name);
    Organization = "organization", None;
    AddressLine = "address.line", Some(StreetAddress);
    City = "address.city", Some(City);
    State = "address.state", None;
    PostalCode = "address.postal-code", Some(PostalCode);
    Country = "address.country", None;
    Location = "address.location", Some(County);
    Birth = "date.birth", Some(BirthDate);
    Death = "date.death", Some(DeathDate);
    Service = "date.service", Some(ServiceDate);
    Admission = "date.admission", Some(ServiceDate);
    Discharge = "date.discharge", Some(ServiceDate);
    Illness = "date.illness", Some(ServiceDate);
    Coverage = "date.coverage", Some(ServiceDate);
    Business = "date.business", Some(ServiceDate);
    OtherDate = "date.other", Some(ServiceDate);
    Time = "time", Some(ServiceDate);
    Phone = "phone", Some(Phone);
    Fax = "fax", Some(Fax);
    Email = "email", Some(Email);
    Url = "url", Some(Url);
    Member = "id.member", Some(HealthPlanId);
    SocialSecurity = "id.ssn", Some(Ssn);
    // Of a person it is the number of social security.
    Tax = "id.tax", Some(Ssn);
    Npi = "id.npi", None;
    Provider = "id.provider", None;
    License = "id.license", Some(LicenceNumber);
    Payer = "id.payer", None;
    Policy = "id.policy", Some(HealthPlanId);
    Claim = "id.claim", Some(UniqueId);
    PayerClaim = "id.payer-claim", Some(UniqueId);
    MedicalRecord = "id.medical-record", Some(MedicalRecordNumber);
    Authorization = "id.authorization", Some(UniqueId);
    Line = "id.line", Some(UniqueId);
    Trace = "id.trace", Some(UniqueId);
    Control = "id.control", Some(UniqueId);
    Sender = "id.sender", None;
    BankAccount = "id.bank-account", Some(AccountNumber);
    Device = "id.device", Some(DeviceId);
    OtherId = "id.other", Some(UniqueId);
    Code = "code", None;
    Diagnosis = "clinical.diagnosis", None;
    Procedure = "clinical.procedure", None;
    Hcpcs = "clinical.hcpcs", None;
    Dental = "clinical.dental", None;
    Ndc = "clinical.ndc", None;
    // A number of a product may be that of one piece.
    Supply = "clinical.supply", Some(DeviceId);
    Revenue = "clinical.revenue", None;
    Drg = "clinical.drg", None;
    Occurrence = "clinical.occurrence", None;
    Value = "clinical.value", None;
    Condition = "clinical.condition", None;
    OtherClinical = "clinical.other", None;
    Demographic = "demographic", None;
    Amount = "amount", None;
    Number = "number", None;
    Text = "text", Some(FreeText);
    // What X12 does not have: only a path reaches it.
    Unknown = "?", Some(FreeText);
}

impl Meaning {
    /// The group of a name with a dot, and the name of every other.
    pub fn group(self) -> &'static str {
        let name = self.name();
        name.split_once('.').map_or(name, |(group, _)| group)
    }

    pub fn is_identifier(self) -> bool {
        self.group() == "id"
    }

    pub fn is_date(self) -> bool {
        self.group() == "date"
    }

    /// A bit of a set of meanings.
    pub fn bit(self) -> u128 {
        1 << (self as u8)
    }

    /// Of a value of this kind, in a segment about somebody of this role. `has_party`: the segment is about somebody whom
    /// an entity code names.
    pub fn of(kind: Kind, role: Role, has_party: bool) -> Self {
        match kind {
            Kind::Code => Self::Code,
            Kind::FamilyName => Self::FamilyName,
            Kind::GivenName => Self::GivenName,
            Kind::MiddleName => Self::MiddleName,
            Kind::NamePrefix => Self::NamePrefix,
            Kind::NameSuffix => Self::NameSuffix,
            Kind::Name => Self::WholeName,
            // Who is a patient is a person, whatever the set says.
            Kind::OrganizationName => match role {
                Role::Provider | Role::Payer | Role::Submitter => Self::Organization,
                Role::Subject | Role::OtherPerson if has_party => Self::WholeName,
                _ => Self::EmployerName,
            },
            Kind::AddressLine => Self::AddressLine,
            Kind::City => Self::City,
            Kind::State => Self::State,
            Kind::PostalCode => Self::PostalCode,
            Kind::Country => Self::Country,
            Kind::Location => Self::Location,
            Kind::Date(_, of) => match of {
                DateOf::Birth => Self::Birth,
                DateOf::Death => Self::Death,
                DateOf::Service => Self::Service,
                DateOf::Admission => Self::Admission,
                DateOf::Discharge => Self::Discharge,
                DateOf::Illness => Self::Illness,
                DateOf::Coverage => Self::Coverage,
                DateOf::Business => Self::Business,
                DateOf::Other => Self::OtherDate,
            },
            Kind::Time => Self::Time,
            Kind::Phone => Self::Phone,
            Kind::Fax => Self::Fax,
            Kind::Email => Self::Email,
            Kind::Url => Self::Url,
            Kind::Identifier(id) => Self::of_id(id),
            Kind::Clinical(list) => match list {
                CodeList::Icd10Diagnosis | CodeList::Icd9Diagnosis => Self::Diagnosis,
                CodeList::Icd10Procedure | CodeList::Icd9Procedure => Self::Procedure,
                CodeList::Hcpcs => Self::Hcpcs,
                CodeList::Dental => Self::Dental,
                CodeList::Ndc => Self::Ndc,
                CodeList::Supply => Self::Supply,
                CodeList::Revenue => Self::Revenue,
                CodeList::Drg => Self::Drg,
                CodeList::Occurrence | CodeList::OccurrenceSpan => Self::Occurrence,
                CodeList::Value => Self::Value,
                CodeList::Condition => Self::Condition,
                CodeList::Other => Self::OtherClinical,
            },
            Kind::Demographic => Self::Demographic,
            Kind::Amount => Self::Amount,
            Kind::Number => Self::Number,
            Kind::Text => Self::Text,
            Kind::Unknown => Self::Unknown,
        }
    }

    pub fn of_id(id: Id) -> Self {
        match id {
            Id::Member => Self::Member,
            Id::SocialSecurity => Self::SocialSecurity,
            Id::Tax => Self::Tax,
            Id::Npi => Self::Npi,
            Id::Provider => Self::Provider,
            Id::License => Self::License,
            Id::Payer => Self::Payer,
            Id::Policy => Self::Policy,
            Id::Claim => Self::Claim,
            Id::PayerClaim => Self::PayerClaim,
            Id::MedicalRecord => Self::MedicalRecord,
            Id::Authorization => Self::Authorization,
            Id::Line => Self::Line,
            Id::Trace => Self::Trace,
            Id::Control => Self::Control,
            Id::Sender => Self::Sender,
            Id::BankAccount => Self::BankAccount,
            Id::Device => Self::Device,
            Id::Other => Self::OtherId,
        }
    }

    /// All that a value may be whose place gives this meaning when no qualifier is known.
    pub fn possible(self) -> impl Iterator<Item = Self> {
        let has_others = matches!(self.group(), "id" | "date" | "clinical" | "name");
        let is_number = |meaning| matches!(meaning, Self::Phone | Self::Fax | Self::Email | Self::Url);
        Self::ALL.iter().copied().filter(move |other| {
            *other == self
                || (has_others && other.group() == self.group())
                || (self.group() == "name" && *other == Self::Organization)
                || (is_number(self) && is_number(*other))
                || (self.is_date() && *other == Self::Time)
        })
    }
}

/// What the value of an element (of a component) means, where nothing but the segment's own qualifier is known, that of the
/// identifier and the segment's entity code. `None` for what X12 does not have there.
pub(super) fn meaning_at(
    segment: Name,
    qualifier: Option<&str>,
    element: u16,
    component: Option<u16>,
    only: Option<&str>,
) -> Option<Meaning> {
    static USUAL: LazyLock<Option<Arc<Envelope>>> = LazyLock::new(|| {
        let isa = b"ISA*00*          *00*          *ZZ*A              *ZZ*B              *240102*1200*^*00501*000000001*0*P*:~";
        Envelope::new(isa, &[]).map(Arc::new)
    });
    let envelope = USUAL.as_ref()?;
    let name = text_of(segment);
    // Every element and component is there; what no qualifier is says nothing.
    let mut text = name.clone();
    for number in 1..=element.max(9) {
        text.push('*');
        let first = match (name.as_str(), qualifier, only) {
            ("HL", Some(qualifier), _) if number == 3 => qualifier,
            ("HI", Some(qualifier), _) => qualifier,
            (_, Some(qualifier), _) if number == 1 => qualifier,
            (_, _, Some(only)) if number < element => only,
            _ => "1",
        };
        text.push_str(first);
        for part in 2..=component.unwrap_or(1).max(2) {
            text.push(':');
            text.push_str(if part < component.unwrap_or(1) { only.unwrap_or("1") } else { "1" });
        }
    }
    let set = parse(text.as_bytes(), envelope).ok()?;
    let segment = set.segment(0)?;
    let role = Role::of_entity(segment.code(1));
    let is_party = matches!(name.as_str(), "NM1" | "N1");
    let role = if is_party { role } else { Role::Unknown };
    let mut found = None;
    facts(&segment, |fact| {
        let is_component = component.is_none_or(|wanted| fact.leaf.component == usize::from(wanted));
        if fact.element == usize::from(element) && is_component && found.is_none() && fact.kind != Kind::Unknown {
            found = Some(Meaning::of(fact.kind, role, is_party));
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_fit_a_set_and_have_names_of_their_own() {
        assert!(Meaning::ALL.len() <= 128);
        let names: std::collections::BTreeSet<_> = Meaning::ALL.iter().map(|meaning| meaning.name()).collect();
        assert_eq!(names.len(), Meaning::ALL.len());
    }

    #[test]
    fn places_mean_what_their_qualifiers_say() {
        let of = |name: &[u8; 3], qualifier, element, component, only| {
            meaning_at(*name, qualifier, element, component, only)
        };
        assert_eq!(of(b"NM1", Some("IL"), 3, None, None), Some(Meaning::FamilyName));
        assert_eq!(of(b"NM1", Some("PR"), 3, None, None), Some(Meaning::Organization));
        assert_eq!(of(b"NM1", Some("36"), 3, None, None), Some(Meaning::EmployerName));
        assert_eq!(of(b"NM1", Some("IL"), 9, None, Some("MI")), Some(Meaning::Member));
        assert_eq!(of(b"NM1", None, 9, None, None), Some(Meaning::OtherId));
        assert_eq!(of(b"REF", Some("SY"), 2, None, None), Some(Meaning::SocialSecurity));
        assert_eq!(of(b"DTP", Some("472"), 3, None, None), Some(Meaning::Service));
        assert_eq!(of(b"DMG", None, 2, None, None), Some(Meaning::Birth));
        assert_eq!(of(b"SV1", None, 2, None, None), Some(Meaning::Amount));
        assert_eq!(of(b"HI ", Some("ABK"), 3, Some(2), None), Some(Meaning::Diagnosis));
        assert_eq!(of(b"NM1", None, 44, None, None), None);
        assert_eq!(of(b"N3 ", None, 1, None, None), Some(Meaning::AddressLine));
    }
}

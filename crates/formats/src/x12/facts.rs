//! What values mean: qualifiers tell it, and a value's own number in X12's directory of data elements.

use super::dictionary::Dictionary;
use super::interchange::{Leaf, Segment, Transaction};
use super::loops::Outline;

/// Who a segment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The subscriber, patient or member whose part of the set this is.
    Subject,
    /// Another person: who is insured elsewhere, a responsible person, a guardian.
    OtherPerson,
    Provider,
    Payer,
    /// A sponsor or an employer.
    Employer,
    /// Who sends or receives the interchange.
    Submitter,
    Unknown,
}

impl Role {
    /// The role of a segment in its set.
    pub fn of(set: &Transaction<'_>, outline: &Outline, segment: usize) -> Self {
        let Some(place) = outline.place(segment) else {
            return Self::Unknown;
        };
        let Some(party) = place.party.and_then(|party| set.segment(party as usize)) else {
            return match place.subject {
                Some(_) => Self::Subject,
                None => Self::Unknown,
            };
        };
        let of_code = Self::of_entity(party.code(1));
        let is_insured_elsewhere = place.loop_id == "2330A" && set.set() == b"837";
        match of_code {
            Self::Subject if is_insured_elsewhere || (place.subject.is_none() && party.is(1, b"IL")) => {
                Self::OtherPerson
            }
            Self::Subject if party.is(1, b"IL") && set.set() == b"835" => Self::OtherPerson,
            role => role,
        }
    }

    /// The role of an entity code (NM1-1, N1-1).
    pub fn of_entity(code: &[u8]) -> Self {
        match code {
            // The places of an ambulance are often the patient's home.
            b"IL" | b"QC" | b"03" | b"74" | b"70" | b"31" | b"PW" | b"45" => Self::Subject,
            b"S3" | b"6Y" | b"9K" | b"E1" | b"EI" | b"EXS" | b"GB" | b"GD" | b"J6" | b"LR" | b"QD" | b"S1" | b"TZ"
            | b"X4" | b"GW" | b"AO" | b"HK" | b"M8" => Self::OtherPerson,
            b"85" | b"87" | b"82" | b"77" | b"DN" | b"P3" | b"DQ" | b"DK" | b"71" | b"72" | b"73" | b"ZZ" | b"FA"
            | b"QB" | b"1P" | b"1T" | b"SJ" | b"DD" | b"80" | b"1X" | b"3D" | b"OD" | b"QA" | b"QN" | b"Y2" | b"13"
            | b"PE" | b"TT" | b"QV" | b"AAJ" | b"BS" | b"G3" | b"L5" | b"SU" => Self::Provider,
            b"PR" | b"PRP" | b"SEP" | b"TTP" | b"NF" | b"TV" | b"IN" | b"ACV" | b"P4" | b"VN" | b"X3" | b"BO" => {
                Self::Payer
            }
            b"P5" | b"36" | b"ES" | b"GP" => Self::Employer,
            b"41" | b"40" | b"AY" | b"2B" => Self::Submitter,
            _ => Self::Unknown,
        }
    }
}

/// How a date is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateFormat {
    /// D8: 20050203; also TM's and DT's element alone.
    Day,
    /// D6, 050203.
    ShortDay,
    /// RD8, two days with a hyphen.
    DayRange,
    /// DT, 200502031112.
    Minute,
    /// RDT, two of them with a hyphen.
    MinuteRange,
    /// CM, 200502.
    Month,
    /// CY, 2005.
    Year,
    /// TM, 1112.
    Time,
    /// A qualifier that these sets do not know.
    Unknown,
}

impl DateFormat {
    /// The format that a qualifier (DTP-2, DMG-1) tells.
    pub fn of(qualifier: &[u8]) -> Self {
        match qualifier {
            b"D8" => Self::Day,
            b"D6" => Self::ShortDay,
            b"RD8" => Self::DayRange,
            b"DT" => Self::Minute,
            b"RDT" | b"DTS" => Self::MinuteRange,
            b"CM" => Self::Month,
            b"CY" => Self::Year,
            b"TM" => Self::Time,
            _ => Self::Unknown,
        }
    }
}

/// What happened then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateOf {
    Birth,
    Death,
    Service,
    Admission,
    Discharge,
    /// Onset, accident, last period and other dates of an illness.
    Illness,
    Coverage,
    /// Of a message, a payment or a decision.
    Business,
    Other,
}

impl DateOf {
    /// What a date qualifier (DTP-1, DTM-1) tells.
    pub fn of(qualifier: &[u8]) -> Self {
        match qualifier {
            b"472" | b"434" | b"150" | b"151" | b"232" | b"233" | b"090" | b"091" => Self::Service,
            b"435" => Self::Admission,
            b"096" => Self::Discharge,
            b"431" | b"439" | b"484" | b"454" | b"304" | b"453" | b"455" | b"471" | b"360" | b"361" | b"297"
            | b"296" | b"314" | b"444" | b"461" | b"463" | b"607" | b"738" | b"739" | b"452" | b"441" | b"446" => {
                Self::Illness
            }
            b"348" | b"349" | b"356" | b"357" | b"336" | b"337" | b"338" | b"339" | b"340" | b"341" | b"290"
            | b"291" | b"292" | b"295" | b"300" | b"303" | b"307" | b"318" | b"346" | b"347" | b"350" | b"351"
            | b"382" | b"383" | b"343" | b"344" | b"345" => Self::Coverage,
            b"050" | b"009" | b"036" | b"405" | b"573" | b"007" | b"388" | b"193" | b"194" => Self::Business,
            b"442" => Self::Death,
            _ => Self::Other,
        }
    }
}

/// Whose number something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// Of a plan's member, beneficiary or recipient.
    Member,
    SocialSecurity,
    /// An employer's number; of a person it is that of social security.
    Tax,
    Npi,
    /// Another number of a provider.
    Provider,
    License,
    Payer,
    /// Of a group or policy.
    Policy,
    /// Given to a claim by its sender: CLM-1, CLP-1.
    Claim,
    /// Given to a claim by its payer or a clearing house.
    PayerClaim,
    MedicalRecord,
    /// A referral or prior authorization.
    Authorization,
    /// Of a service line.
    Line,
    /// TRN-2 and the like.
    Trace,
    /// Control numbers of sets, groups and interchanges, and numbers that count levels.
    Control,
    /// A sender or receiver of interchanges.
    Sender,
    BankAccount,
    Device,
    Other,
}

impl Id {
    /// What an identification code qualifier (NM1-8, N1-3) tells.
    pub fn of_code(qualifier: &[u8]) -> Self {
        match qualifier {
            b"MI" | b"II" | b"HN" | b"N" | b"MR" | b"EI" | b"ZZ" => Self::Member,
            b"34" | b"SY" => Self::SocialSecurity,
            b"24" | b"FI" => Self::Tax,
            b"XX" => Self::Npi,
            b"SV" | b"FA" | b"UP" | b"BS" | b"MC" | b"PP" | b"A" | b"SL" => Self::Provider,
            b"PI" | b"XV" | b"NI" | b"AD" => Self::Payer,
            b"46" => Self::Sender,
            _ => Self::Other,
        }
    }

    /// What a reference qualifier (REF-1) tells.
    pub fn of_reference(qualifier: &[u8]) -> Self {
        match qualifier {
            b"1W" | b"0F" | b"23" | b"NQ" | b"F6" | b"Q4" | b"49" | b"3H" | b"ABB" | b"HJ" | b"GH" | b"A6" | b"60"
            | b"17" | b"6O" => Self::Member,
            b"SY" => Self::SocialSecurity,
            b"EI" | b"TJ" => Self::Tax,
            b"HPI" => Self::Npi,
            b"0B" | b"X4" | b"EW" | b"C5" => Self::License,
            b"1A" | b"1B" | b"1C" | b"1D" | b"1E" | b"1G" | b"1H" | b"1J" | b"G2" | b"G5" | b"LU" | b"N5" | b"N7"
            | b"EO" | b"D3" | b"PQ" | b"4A" | b"JD" | b"S1" | b"SD" => Self::Provider,
            b"2U" | b"NF" | b"FY" | b"HI" => Self::Payer,
            b"1L" | b"6P" | b"18" | b"IG" | b"CE" | b"CT" | b"X9" | b"ML" | b"N6" | b"IF" | b"38" => Self::Policy,
            b"EJ" | b"BB" => Self::Claim,
            b"F8" | b"1K" | b"D9" | b"9A" | b"9C" | b"9B" | b"9D" | b"Y4" | b"F5" | b"28" | b"T4" => Self::PayerClaim,
            b"EA" | b"MRN" => Self::MedicalRecord,
            b"G1" | b"9F" | b"G3" | b"XZ" | b"VY" | b"4N" => Self::Authorization,
            b"6R" | b"FJ" => Self::Line,
            b"EV" | b"F2" | b"87" => Self::Control,
            b"LX" | b"P4" => Self::Device,
            _ => Self::Other,
        }
    }
}

/// Where a code is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeList {
    Icd10Diagnosis,
    Icd9Diagnosis,
    Icd10Procedure,
    Icd9Procedure,
    /// HCPCS and CPT.
    Hcpcs,
    /// CDT, of dentists.
    Dental,
    Ndc,
    /// Universal product numbers and HIBC.
    Supply,
    Revenue,
    Drg,
    Occurrence,
    OccurrenceSpan,
    Value,
    Condition,
    Other,
}

impl CodeList {
    /// What a code list qualifier (HI-1.1) tells.
    pub fn of_list(qualifier: &[u8]) -> Self {
        match qualifier {
            b"ABK" | b"ABF" | b"ABJ" | b"ABN" | b"APR" => Self::Icd10Diagnosis,
            b"BK" | b"BF" | b"BJ" | b"BN" | b"PR" | b"ZZ" | b"BZ" => Self::Icd9Diagnosis,
            b"BBR" | b"BBQ" => Self::Icd10Procedure,
            b"BR" | b"BQ" => Self::Icd9Procedure,
            b"BP" | b"BO" | b"CAH" => Self::Hcpcs,
            b"DR" => Self::Drg,
            b"BH" => Self::Occurrence,
            b"BI" => Self::OccurrenceSpan,
            b"BE" => Self::Value,
            b"BG" => Self::Condition,
            b"JP" | b"JO" => Self::Dental,
            _ => Self::Other,
        }
    }

    /// What a product or service qualifier (SV1-1.1) tells.
    pub fn of_service(qualifier: &[u8]) -> Self {
        match qualifier {
            b"HC" | b"WK" | b"CJ" => Self::Hcpcs,
            b"AD" => Self::Dental,
            b"N4" | b"N1" | b"N2" | b"N3" | b"N5" | b"N6" => Self::Ndc,
            b"NU" => Self::Revenue,
            b"ID" => Self::Icd9Procedure,
            b"UI" | b"UN" | b"UK" | b"UP" | b"HI" | b"EN" | b"EO" | b"ON" => Self::Supply,
            _ => Self::Other,
        }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A code of X12 or of a list that says nothing of one person: qualifiers, yes and no, relationships.
    Code,
    FamilyName,
    GivenName,
    MiddleName,
    NamePrefix,
    NameSuffix,
    /// A whole name (N1-2, PER-2): a person's or an organization's.
    Name,
    OrganizationName,
    AddressLine,
    City,
    State,
    PostalCode,
    Country,
    /// A county or the like.
    Location,
    Date(DateFormat, DateOf),
    Time,
    Phone,
    Fax,
    Email,
    Url,
    Identifier(Id),
    Clinical(CodeList),
    /// An administrative code of a patient: gender, marital status, race.
    Demographic,
    Amount,
    /// Quantities, percentages, rates and measures.
    Number,
    /// Whatever a person typed.
    Text,
    /// An element that X12 does not have here, or a text that is no segment.
    Unknown,
}

/// A value with what it is. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Fact<'m> {
    /// The number of its element, from 1.
    pub element: usize,
    pub leaf: Leaf<'m>,
    pub kind: Kind,
    /// `AN`, `ID`, `DT`, …; empty for what X12 does not have here.
    pub data_type: &'static str,
    /// Of an identifier the qualifier that says whose it is: `MI` of NM1-9, `SY` of REF-2; empty where none does.
    pub qualifier: &'m [u8],
}

/// Hands out every component of every element of a segment that is not empty, with what it is, in one pass.
pub fn facts<'m>(segment: &Segment<'m>, mut each: impl FnMut(Fact<'m>)) {
    let name = segment.name();
    let definition = Dictionary::get().segment(name);
    let mut told = Qualifiers::default();
    if name == b"NM1" || name == b"N1" {
        told.is_organization =
            segment.is(2, b"2") || matches!(Role::of_entity(segment.code(1)), Role::Payer | Role::Employer);
    }
    for element in segment.elements() {
        let known = definition.and_then(|definition| definition.element(element.number));
        for leaf in element.value.leaves().filter(|leaf| !leaf.value.is_empty()) {
            let definition = known.and_then(|known| match known.components.as_slice() {
                [] if leaf.component == 1 => Some((known.data_type, known.data_element)),
                [] => None,
                _ => known.component(leaf.component).map(|part| (part.data_type, part.data_element)),
            });
            let (kind, data_type, qualifier) = match definition {
                Some((data_type, data_element)) => {
                    let kind = told.kind(name, element.number, data_type, data_element, leaf.value.bytes());
                    let qualifier = match data_element {
                        "67" => told.identification,
                        "127" => told.reference,
                        _ => &[],
                    };
                    (kind, data_type, qualifier)
                }
                None => (Kind::Unknown, "", &[][..]),
            };
            each(Fact { element: element.number, leaf, kind, data_type, qualifier });
        }
    }
}

/// The qualifiers that were met last in a segment.
#[derive(Default)]
struct Qualifiers<'m> {
    is_organization: bool,
    identification: &'m [u8],
    reference: &'m [u8],
    format: &'m [u8],
    date: &'m [u8],
    communication: &'m [u8],
    list: &'m [u8],
    service: &'m [u8],
}

impl<'m> Qualifiers<'m> {
    fn kind(&mut self, segment: &[u8], number: usize, data_type: &str, data_element: &str, value: &'m [u8]) -> Kind {
        let code = value.trim_ascii();
        let slot = match data_element {
            "66" => &mut self.identification,
            "128" => &mut self.reference,
            "1250" => &mut self.format,
            "374" => &mut self.date,
            "365" => &mut self.communication,
            "1270" => &mut self.list,
            "235" => &mut self.service,
            _ => return self.value_kind(segment, number, data_type, data_element, code),
        };
        *slot = code;
        Kind::Code
    }

    fn value_kind(&self, segment: &[u8], number: usize, data_type: &str, data_element: &str, value: &[u8]) -> Kind {
        let of_date = || match (segment, number) {
            (b"DMG", 2) => DateOf::Birth,
            (b"INS", 12) | (b"PAT", 6) => DateOf::Death,
            (b"HI", _) => DateOf::Service,
            _ if self.date.is_empty() => DateOf::Business,
            _ => DateOf::of(self.date),
        };
        match (segment, number) {
            (b"CLP", 7) => return Kind::Identifier(Id::PayerClaim),
            (b"SBR", 3) => return Kind::Identifier(Id::Policy),
            (b"SBR" | b"HD", 4) => return Kind::OrganizationName,
            (b"TRN", 2 | 4) | (b"BHT", 3) | (b"BGN", 2) => return Kind::Identifier(Id::Trace),
            (b"TRN", 3) => return Kind::Identifier(Id::Payer),
            (b"PRV", 3) | (b"PLB" | b"TS3", 1) => {
                let is_taxonomy = segment == b"PRV" && matches!(self.reference, b"PXC" | b"ZZ" | b"");
                return if is_taxonomy { Kind::Code } else { Kind::Identifier(Id::Provider) };
            }
            (b"BPR", 7 | 13) => return Kind::Identifier(Id::BankAccount),
            (b"STC", 1 | 10 | 11) | (b"LQ", 2) if data_element == "1271" => return Kind::Code,
            // Remark codes of the payer's.
            (b"MIA", 5 | 20..=23) | (b"MOA", 3..=7) => return Kind::Code,
            (b"DMG", 3..=5) => return Kind::Demographic,
            (b"III", 4) => return Kind::Text,
            _ => {}
        }
        match data_element {
            "93" | "1035" | "1036" | "1037" | "1039" if self.is_organization => Kind::OrganizationName,
            "1035" => Kind::FamilyName,
            "1036" => Kind::GivenName,
            "1037" => Kind::MiddleName,
            "1038" => Kind::NamePrefix,
            "1039" => Kind::NameSuffix,
            "93" => Kind::Name,
            "166" => Kind::AddressLine,
            "19" => Kind::City,
            "156" => Kind::State,
            "116" => Kind::PostalCode,
            "26" => Kind::Country,
            "310" | "1715" => Kind::Location,
            "67" => Kind::Identifier(Id::of_code(self.identification)),
            "127" => {
                Kind::Identifier(if self.reference.is_empty() { Id::Other } else { Id::of_reference(self.reference) })
            }
            "364" => match self.communication {
                b"FX" => Kind::Fax,
                b"EM" => Kind::Email,
                b"UR" => Kind::Url,
                // An extension goes where its number goes; and whatever is not told is taken for one.
                _ => Kind::Phone,
            },
            "1251" => match DateFormat::of(self.format) {
                DateFormat::Time => Kind::Time,
                format => Kind::Date(format, of_date()),
            },
            "373" | "I08" => {
                Kind::Date(if value.len() == 6 { DateFormat::ShortDay } else { DateFormat::Day }, of_date())
            }
            "337" | "I09" => Kind::Time,
            "1271" => Kind::Clinical(CodeList::of_list(self.list)),
            "234" => match (segment, number) {
                (b"SV2", 1) | (b"SVC" | b"SVD", 4) => Kind::Clinical(CodeList::Revenue),
                _ => Kind::Clinical(CodeList::of_service(self.service)),
            },
            "1339" => Kind::Clinical(CodeList::Hcpcs),
            "1354" => Kind::Clinical(CodeList::Drg),
            "1028" => Kind::Identifier(Id::Claim),
            "350" | "554" | "628" | "734" => Kind::Identifier(if segment == b"LX" { Id::Line } else { Id::Control }),
            "28" | "329" | "I12" => Kind::Identifier(Id::Control),
            "142" | "124" | "I06" | "I07" => Kind::Identifier(Id::Sender),
            "I02" | "I04" | "443" => Kind::Identifier(Id::Other),
            "508" | "507" => Kind::Identifier(Id::BankAccount),
            "509" | "510" => Kind::Identifier(Id::Payer),
            "429" | "770" => Kind::Identifier(Id::Trace),
            "1068" | "1067" | "1109" => Kind::Demographic,
            "782" | "610" | "212" => Kind::Amount,
            "480" | "1705" | "I11" | "I15" | "I65" | "1331" | "1341" | "447" | "799" => Kind::Code,
            _ => match data_type {
                "ID" => Kind::Code,
                "R" | "N0" | "N2" => Kind::Number,
                "DT" => Kind::Date(DateFormat::Day, of_date()),
                "TM" => Kind::Time,
                _ => Kind::Text,
            },
        }
    }
}

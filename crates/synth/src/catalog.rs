//! What every column of every table is: the machine-readable key to the data.

/// The type of a column where it is clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Text,
    Integer,
    Decimal,
    /// `2019-03-04`; Parquet DATE.
    Date,
    /// `2019-03-04T05:06:07Z`; Parquet TIMESTAMP(MICROS, UTC).
    Timestamp,
}

impl ColumnType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct CatalogEntry {
    pub table: &'static str,
    pub column: &'static str,
    /// The name of an identifier kind, as a policy writes it.
    pub kind: &'static str,
    pub column_type: ColumnType,
    pub description: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "as in CatalogEntry, where `type` cannot be a name")]
pub(crate) struct Column {
    pub name: &'static str,
    pub kind: &'static str,
    pub column_type: ColumnType,
    pub description: &'static str,
}

pub(crate) struct TableSpec {
    pub name: &'static str,
    pub columns: &'static [Column],
}

macro_rules! table {
    ($name:literal: $($column:ident $type:ident $kind:literal $description:literal;)*) => {
        TableSpec {
            name: $name,
            columns: &[$(Column {
                name: stringify!($column),
                kind: $kind,
                column_type: ColumnType::$type,
                description: $description,
            },)*],
        }
    };
}

/// The tables by their place in [`TABLES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Patients,
    Encounters,
    Conditions,
    Observations,
    Medications,
    Procedures,
    Claims,
    Devices,
    Notes,
}

pub(crate) const TABLES: [TableSpec; 9] = [
    table! { "patients":
        patient_id Text "unique-id" "Key of the person's record; other tables refer to it.";
        mrn Text "medical-record-number" "Medical record number: eight digits, zeros before.";
        ssn Text "ssn" "Social security number of an area never issued (9xx, 000, 666).";
        first_name Text "name" "Given name.";
        middle_name Text "name" "Middle name or initial.";
        last_name Text "name" "Surname.";
        maiden_name Text "name" "Surname before marriage.";
        birth_date Date "birth-date" "Date of birth.";
        death_date Date "death-date" "Date of death, empty for the living.";
        gender Text "demographic" "Administrative gender: F, M, O.";
        race Text "demographic" "OMB race category.";
        ethnicity Text "demographic" "OMB ethnicity.";
        marital_status Text "demographic" "M married, S never married, D divorced, W widowed.";
        language Text "demographic" "Preferred language, BCP 47.";
        street Text "street-address" "House number, street, unit.";
        city Text "city" "City or town.";
        county Text "county" "County or parish.";
        state Text "state" "Two-letter state.";
        zip Text "postal-code" "ZIP or ZIP+4.";
        latitude Decimal "geo-coordinate" "Latitude of the home, degrees.";
        longitude Decimal "geo-coordinate" "Longitude of the home, degrees.";
        phone Text "phone" "Telephone of the range 555-0100 to 555-0199.";
        fax Text "fax" "Fax number of the same range.";
        email Text "email" "E-mail address at a reserved domain.";
        health_plan_id Text "health-plan-id" "Member number, or a beneficiary identifier of Medicare's shape with a letter that Medicare never uses.";
        account_number Text "account-number" "Billing account.";
        drivers_licence Text "licence-number" "Driver's licence number.";
        passport Text "licence-number" "Passport number.";
        licence_plate Text "vehicle-id" "Vehicle licence plate.";
        vin Text "vehicle-id" "Vehicle identification number with a right check digit and a model year that does not exist.";
        device_serial Text "device-id" "Serial number of the person's device.";
        portal_url Text "url" "The person's page at the patient portal.";
        ip_address Text "ip-address" "Last log-in address, of a range reserved for documentation.";
        fingerprint_template Text "biometric" "Base64 of a fingerprint minutiae record.";
        photo_ref Text "photo" "File of the full-face photograph.";
        employer Text "name" "Employer.";
        emergency_contact_name Text "name" "A relative or neighbor.";
        emergency_contact_phone Text "phone" "Their telephone.";
    },
    table! { "encounters":
        encounter_id Text "unique-id" "Key of the encounter.";
        patient_id Text "unique-id" "Whose encounter.";
        start Timestamp "service-date" "Admission or start.";
        stop Timestamp "service-date" "Discharge or end.";
        class Text "operational" "HL7 v3 ActCode: AMB, EMER, IMP, VR.";
        code Text "clinical" "SNOMED CT code of the encounter's type.";
        description Text "clinical" "Its display.";
        reason_code Text "clinical" "SNOMED CT code of the reason.";
        reason_description Text "clinical" "Its display.";
        provider_name Text "name" "Who treated.";
        provider_npi Text "provider-id" "Their National Provider Identifier (of a range never issued).";
        facility Text "organization" "Where.";
        total_cost Decimal "financial" "US dollars.";
    },
    table! { "conditions":
        condition_id Text "unique-id" "Key of the condition.";
        patient_id Text "unique-id" "Who has it.";
        encounter_id Text "unique-id" "Where it was recorded.";
        onset Date "service-date" "When it began.";
        abatement Date "service-date" "When it ended; empty if it has not.";
        recorded_at Timestamp "service-date" "When it was written down.";
        code Text "clinical" "SNOMED CT.";
        icd10 Text "clinical" "ICD-10-CM.";
        description Text "clinical" "SNOMED CT display.";
        status Text "clinical" "active or resolved.";
    },
    table! { "observations":
        observation_id Text "unique-id" "Key of the observation.";
        patient_id Text "unique-id" "Of whom.";
        encounter_id Text "unique-id" "In which encounter.";
        observed_at Timestamp "service-date" "When.";
        category Text "operational" "vital-signs or laboratory.";
        code Text "clinical" "LOINC.";
        description Text "clinical" "LOINC long common name.";
        value Decimal "clinical" "The value.";
        unit Text "clinical" "UCUM.";
        reference_range Text "clinical" "low-high, <high or >low; empty where there is none.";
        abnormal Text "clinical" "N normal, H high, L low; empty without a reference range.";
    },
    table! { "medications":
        medication_id Text "unique-id" "Key of the prescription.";
        patient_id Text "unique-id" "For whom.";
        encounter_id Text "unique-id" "Where it was written.";
        start Timestamp "service-date" "First day.";
        stop Timestamp "service-date" "Last day; empty while it runs.";
        code Text "clinical" "RxNorm.";
        description Text "clinical" "RxNorm name.";
        dosage Text "clinical" "What the label says.";
        dispenses Integer "clinical" "How often it was dispensed.";
        total_cost Decimal "financial" "US dollars.";
        reason_code Text "clinical" "SNOMED CT code of what it is for.";
        reason_description Text "clinical" "Its display.";
        prescriber_npi Text "provider-id" "Who prescribed.";
    },
    table! { "procedures":
        procedure_id Text "unique-id" "Key of the procedure.";
        patient_id Text "unique-id" "On whom.";
        encounter_id Text "unique-id" "In which encounter.";
        start Timestamp "service-date" "Start.";
        stop Timestamp "service-date" "End.";
        code Text "clinical" "SNOMED CT.";
        description Text "clinical" "Its display.";
        cpt Text "clinical" "CPT code.";
        billed_as Text "clinical" "What is billed, in plain words.";
        cost Decimal "financial" "US dollars.";
        performer_npi Text "provider-id" "Who performed it.";
    },
    table! { "claims":
        claim_id Text "unique-id" "Key of the claim.";
        patient_id Text "unique-id" "Whose care.";
        encounter_id Text "unique-id" "For which encounter.";
        member_id Text "health-plan-id" "The person's number at the payer.";
        account_number Text "account-number" "Billing account.";
        payer Text "organization" "Who pays.";
        service_from Date "service-date" "First day of service.";
        service_to Date "service-date" "Last day of service.";
        submitted Date "service-date" "When it was sent.";
        icd10_1 Text "clinical" "Principal diagnosis, ICD-10-CM.";
        icd10_2 Text "clinical" "Second diagnosis.";
        icd10_3 Text "clinical" "Third diagnosis.";
        cpt Text "clinical" "Principal procedure, CPT.";
        place_of_service Text "operational" "CMS place of service code.";
        lines Integer "operational" "Number of service lines.";
        billed_amount Decimal "financial" "US dollars billed.";
        allowed_amount Decimal "financial" "US dollars allowed.";
        paid_amount Decimal "financial" "US dollars paid by the payer.";
        patient_amount Decimal "financial" "US dollars left to the patient.";
        provider_npi Text "provider-id" "Billing provider.";
        status Text "operational" "active or cancelled.";
    },
    table! { "devices":
        device_id Text "unique-id" "Key of the device record.";
        patient_id Text "unique-id" "Whose device.";
        encounter_id Text "unique-id" "Where it was given or implanted.";
        start Timestamp "service-date" "When.";
        code Text "clinical" "SNOMED CT.";
        description Text "clinical" "Its display.";
        manufacturer Text "organization" "An invented manufacturer.";
        udi Text "device-id" "Unique device identifier, GS1 human-readable form.";
        lot Text "device-id" "Lot, the UDI's (10).";
        serial Text "device-id" "Serial number, the UDI's (21).";
        manufactured Date "device-id" "The UDI's (11).";
        expires Date "device-id" "The UDI's (17).";
    },
    table! { "notes":
        note_id Text "unique-id" "Key of the note.";
        encounter_id Text "unique-id" "In which encounter.";
        patient_id Text "unique-id" "About whom.";
        author Text "name" "Who wrote it.";
        written_at Timestamp "service-date" "When.";
        type Text "operational" "Progress note, discharge summary, telephone note, consult note.";
        loinc Text "operational" "LOINC code of the type.";
        text Text "free-text" "The note: several lines, identifiers and all.";
    },
];

/// Every column of every table, in the order of the files.
pub fn catalog() -> Vec<CatalogEntry> {
    TABLES
        .iter()
        .flat_map(|table| {
            table.columns.iter().map(|column| CatalogEntry {
                table: table.name,
                column: column.name,
                kind: column.kind,
                column_type: column.column_type,
                description: column.description,
            })
        })
        .collect()
}

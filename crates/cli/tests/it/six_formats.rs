//! One hospital in six formats: each person has one token, one shift of dates and one made-up name in all of them, notes included.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::support::Folder;

const PATIENTS: usize = 60;

/// The shipped project, with a few identifiers kept, so that a test can tell who is who.
fn hospital() -> Folder {
    let folder = Folder::init("research");
    let mut policy = folder.read("policies/research.yaml");
    let kept = ", because: a test compares }";
    for (rule, kind) in [
        ("account_number:          { kind: account-number }", "account_number: { kind: account-number"),
        ("      note_id:      { kind: unique-id, action: token, domain: note }", "      note_id: { kind: unique-id"),
        ("      number:    { kind: unique-id, action: token, domain: note }", "      number: { kind: unique-id"),
    ] {
        assert!(policy.contains(rule), "{rule}");
        policy = policy.replace(rule, &format!("{kind}, action: keep{kept}"));
    }
    folder.write("policies/research.yaml", policy);
    let formats = ["--formats", "csv,fhir,hl7v2,ccda,x12,notes", "--seed", "11", "--clean", "--truth"];
    folder.synth(PATIENTS as u32, &formats);
    let report = folder.run_json("nightly", 0);
    assert_eq!(report["rows_in"], report["rows_out"], "{report}");
    folder
}

fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap_or_default().to_owned()
}

/// What one format says of a person: given name, family name and birth date, letters small and signs gone.
fn person(given: &str, family: &str, born: &str) -> (String, String, String) {
    let plain =
        |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    (plain(given), plain(family), plain(born).chars().take(8).collect())
}

type People = BTreeMap<String, BTreeSet<(String, String, String)>>;

fn people(folder: &Folder, query: &str) -> People {
    let mut people = People::new();
    for row in folder.sql(query) {
        let said = person(&text(&row, "given"), &text(&row, "family"), &text(&row, "born"));
        people.entry(text(&row, "token")).or_default().insert(said);
    }
    people
}

/// The text between two others.
fn between<'t>(text: &'t str, from: &str, to: &str) -> Option<&'t str> {
    let start = text.find(from)? + from.len();
    let rest = &text[start..];
    Some(&rest[..rest.find(to)?])
}

#[test]
fn a_person_is_one_in_six_formats() {
    let folder = hospital();
    let tables = people(
        &folder,
        "SELECT patient_id AS token, first_name AS given, last_name AS family, CAST(birth_date AS VARCHAR) AS born FROM patients",
    );
    assert_eq!(tables.len(), PATIENTS);
    let names: BTreeSet<_> = tables.values().flatten().map(|(given, family, _)| (given, family)).collect();
    assert!(names.len() > PATIENTS * 9 / 10, "made-up names are many");
    made_up_names_go_with_the_sex(&folder);
    let same = |format: &str, found: &People, least: usize| {
        assert!(found.len() >= least, "{format}: {} people", found.len());
        for (token, said) in found {
            assert_eq!(Some(said), tables.get(token), "{format}: somebody is another there");
        }
    };
    same(
        "HL7 v2",
        &people(
            &folder,
            "SELECT patient AS token, pid_5_2_given_name AS given, pid_5_1_family_name AS family, pid_7_date_time_of_birth AS born \
             FROM hl7_pid WHERE pid_5_1_family_name IS NOT NULL AND pid_7_date_time_of_birth IS NOT NULL",
        ),
        PATIENTS,
    );
    // Of X12 whoever has a number there: the subscriber, or the patient of a remittance.
    same(
        "X12",
        &people(
            &folder,
            "SELECT c.patient_id AS token, n.e4 AS given, n.e3 AS family, c.patient_birth_date AS born FROM x12_claim c \
             JOIN x12_segment n ON n.set_control = c.set_control AND n.group_control = c.group_control \
             AND n.interchange_control = c.interchange_control AND n.subject = c.subject AND n.name = 'NM1' AND n.e1 IN ('IL', 'QC') \
             AND n.e9 = c.patient_id WHERE c.type = '837' AND c.patient_birth_date IS NOT NULL",
        ),
        PATIENTS / 3,
    );

    let mut fhir = People::new();
    for row in folder.sql("SELECT id, resource FROM fhir_patient") {
        let resource: Value = serde_json::from_str(row["resource"].as_str().unwrap()).unwrap();
        let name = &resource["name"][0];
        let born = resource["birthDate"].as_str().unwrap();
        let said = person(name["given"][0].as_str().unwrap(), name["family"].as_str().unwrap(), born);
        fhir.entry(text(&row, "id")).or_default().insert(said);
    }
    same("FHIR", &fhir, PATIENTS);

    let mut documents = People::new();
    for row in folder.sql("SELECT patient, xml, birth_time FROM ccda_document") {
        let xml = text(&row, "xml");
        let name = between(&xml, "<patient><name use=\"L\">", "</name>").unwrap();
        let said = person(
            between(name, "<given>", "</given>").unwrap(),
            between(name, "<family>", "</family>").unwrap(),
            &text(&row, "birth_time"),
        );
        documents.entry(text(&row, "patient")).or_default().insert(said);
    }
    same("C-CDA", &documents, PATIENTS);

    // Notes say it in their own words.
    let mut said = 0;
    for row in folder.sql("SELECT mrn, text FROM text_notes") {
        let note = text(&row, "text");
        let (given, family, born) = tables[&text(&row, "mrn")].first().unwrap();
        let Some(head) = between(&note, "Patient: ", "    MRN").filter(|head| !head.contains('\n')) else { continue };
        let (head, _, _) = person(head, "", "");
        assert!(head.contains(given.as_str()), "{head} {given}");
        assert!(head.contains(family.as_str()), "{head} {family}");
        if let Some(day) = between(&note, "DOB: ", "\n").and_then(|day| day.get(..10)) {
            let digits = |range: std::ops::Range<usize>| &day[range];
            let day = if day.as_bytes()[2] == b'/' {
                [digits(6..10), digits(0..2), digits(3..5)].concat()
            } else {
                day.replace('-', "")
            };
            assert_eq!(&day, born);
        }
        said += 1;
    }
    assert!(said > PATIENTS, "{said}");
    // And the events of a person keep their distance: a shift is the person's, not the format's.
    let moved = folder.count(
        "SELECT count(*) FROM encounters e JOIN fhir_encounter f ON f.id = e.encounter_id \
         WHERE CAST(e.start AS VARCHAR) LIKE substr(f.start, 1, 10) || '%'",
    );
    assert_eq!(moved, folder.count("SELECT count(*) FROM encounters"));
    known_identifiers_are_gone(&folder);
    folder.cordon(&["vault", "verify"]).ok();
    folder.cordon(&["audit", "verify"]).ok();
}

/// A woman's is a woman's; the names of all formats are those of the tables.
fn made_up_names_go_with_the_sex(folder: &Folder) {
    let female = include_str!("../../../deid/src/kernel/names/female.txt");
    let male = include_str!("../../../deid/src/kernel/names/male.txt");
    let mut seen = BTreeMap::new();
    for row in folder.sql("SELECT first_name, gender FROM patients") {
        let (name, sex) = (text(&row, "first_name").to_lowercase(), text(&row, "gender").to_lowercase());
        let pool = match sex.chars().next() {
            Some('f') => female,
            Some('m') => male,
            _ => continue,
        };
        assert!(pool.lines().any(|known| known.to_lowercase() == name), "{name} is not of {sex}");
        *seen.entry(sex).or_insert(0) += 1;
    }
    assert!(seen.len() == 2 && seen.values().sum::<i32>() > PATIENTS as i32 / 2, "{seen:?}");
}

/// A line of `truth/mentions.ndjson`, as far as it matters here.
struct Mention {
    start: usize,
    end: usize,
    form: String,
    spelt: String,
}

/// How often the words stand in the text as words.
fn count(text: &str, words: &str) -> usize {
    let bounded = |(at, _): &(usize, &str)| {
        !text[..*at].ends_with(char::is_alphanumeric) && !text[at + words.len()..].starts_with(char::is_alphanumeric)
    };
    text.match_indices(words).filter(bounded).count()
}

/// Of what a note says of people whom records know, 99.9 in a hundred is replaced.
fn known_identifiers_are_gone(folder: &Folder) {
    let (all, mut left) = left_in_notes(folder);
    if !left.is_empty() {
        // A made-up name may be a real one by chance, and is another under other keys. What nobody replaced stays under any.
        let (_, again) = left_in_notes(&hospital());
        left.retain(|place, left| match again.get(place) {
            Some(again) => {
                *left = (*left).min(*again);
                true
            }
            None => false,
        });
    }
    let mut forms = BTreeMap::<&str, usize>::new();
    for (place, left) in &left {
        *forms.entry(&place.form).or_default() += left;
    }
    let sum: usize = forms.values().sum();
    eprintln!("{all} mentions of people whom records know in notes, {sum} left: {forms:?}");
    assert!(all > 2000, "{all}");
    assert!(sum * 1000 <= all, "{sum} of {all} left, by form: {forms:?}");
}

/// Where words that a note says of somebody stand, the note's file and its record there.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    record: String,
    form: String,
    spelt: String,
}

/// How many mentions there are, and how often which of them are in what came out.
fn left_in_notes(folder: &Folder) -> (usize, BTreeMap<Place, usize>) {
    let known = [
        "name",
        "phone",
        "fax",
        "email",
        "ssn",
        "medical-record-number",
        "health-plan-id",
        "account-number",
        "licence-number",
        "street-address",
        "city",
        "postal-code",
        "birth-date",
        "url",
        "ip-address",
        "vehicle-id",
        "device-id",
    ];
    let lines = |name: &str| -> Vec<Value> {
        folder.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut account: HashMap<String, String> = HashMap::new();
    for patient in lines("data/truth/patients.ndjson") {
        let older = patient["older_mrns"].as_array().unwrap().iter().map(|older| older["mrn"].as_str().unwrap());
        for mrn in older.chain(patient["mrn"].as_str()) {
            account.insert(mrn.to_owned(), text(&patient, "account_number"));
        }
    }
    let mut mentions: HashMap<(String, String), Vec<Mention>> = HashMap::new();
    for line in lines("data/truth/mentions.ndjson") {
        let is_known = known.contains(&line["kind"].as_str().unwrap()) && line["role"] != "organisation";
        let file = text(&line, "file");
        if is_known && (file.starts_with("notes/") || file == "csv/notes.csv") {
            let place = |name: &str| line[name].as_u64().unwrap() as usize;
            let mention = Mention {
                start: place("start"),
                end: place("end"),
                form: text(&line, "form"),
                spelt: text(&line, "text"),
            };
            let record = if file == "csv/notes.csv" { text(&line, "record") } else { String::new() };
            mentions.entry((file, record)).or_default().push(mention);
        }
    }

    // What came out, by file and record.
    let mut out: HashMap<(String, String), (String, String)> = HashMap::new();
    for row in folder
        .sql("SELECT n.note_id, n.text, p.first_name, p.last_name FROM notes n JOIN patients p USING (patient_id)")
    {
        let initials = initials(&row);
        out.insert(("csv/notes.csv".to_owned(), text(&row, "note_id")), (text(&row, "text"), initials));
    }
    let mut of_files: HashMap<(String, String), (String, String)> = HashMap::new();
    for row in folder.sql(
        "SELECT t.number, t.text, p.account_number, p.first_name, p.last_name FROM text_notes t JOIN patients p ON p.patient_id = t.mrn",
    ) {
        let initials = initials(&row);
        of_files.insert((text(&row, "account_number"), text(&row, "number")), (text(&row, "text"), initials));
    }
    let sent = folder.read("data/csv/notes.csv");
    let mut reader = csv::Reader::from_reader(sent.as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (id, words) = (column("note_id"), column("text"));
    let sent: HashMap<String, String> =
        reader.records().map(|row| row.unwrap()).map(|row| (row[id].to_owned(), row[words].to_owned())).collect();

    let (mut all, mut left) = (0, BTreeMap::new());
    for ((file, record), mentions) in &mut mentions {
        let (before, (after, initials)) = if file == "csv/notes.csv" {
            (sent[record].clone(), &out[&(file.clone(), record.clone())])
        } else {
            let parts: Vec<&str> = file["notes/".len()..].split('_').collect();
            (folder.read(&format!("data/{file}")), &of_files[&(account[parts[0]].clone(), parts[1].to_owned())])
        };
        mentions.sort_by_key(|mention| mention.start);
        // The note without its mentions: a word that stands there too is no identifier in that place.
        let (mut rest, mut at) = (String::new(), 0);
        for mention in mentions.iter().filter(|mention| mention.form != "initials" || mention.spelt != *initials) {
            if mention.start >= at {
                rest.push_str(&before[at..mention.start]);
                rest.push('\u{1f}');
                at = mention.end;
            }
        }
        rest.push_str(&before[at..]);
        let mut of_words: BTreeMap<&str, Vec<&Mention>> = BTreeMap::new();
        for mention in mentions.iter() {
            of_words.entry(&mention.spelt).or_default().push(mention);
        }
        for (spelt, mentions) in of_words {
            all += mentions.len();
            // Made-up initials may be the real ones by chance.
            let letters: String = spelt.chars().filter(|c| c.is_alphanumeric()).collect();
            if mentions[0].form == "initials" && letters == *initials {
                continue;
            }
            let stayed = count(after, spelt).saturating_sub(count(&rest, spelt)).min(mentions.len());
            if stayed > 0 {
                let form = mentions[0].form.clone();
                let (file, record, spelt) = (file.clone(), record.clone(), spelt.to_owned());
                *left.entry(Place { file, record, form, spelt }).or_default() += stayed;
            }
        }
    }
    (all, left)
}

fn initials(row: &Value) -> String {
    ["first_name", "last_name"].into_iter().filter_map(|name| row[name].as_str()?.chars().next()).collect()
}

//! What a file may not say, and what it is told.

use cordon_access::{AccessFile, Grants};

use crate::{cases, check_golden};

#[test]
fn every_refused_file_is_told_where_and_what_would_be_right() {
    let mut seen = 0;
    for entry in std::fs::read_dir(cases().join("refused")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let told = match serde_saphyr::from_str::<AccessFile>(&text) {
            // The wording belongs to the YAML library: only that it refuses is ours.
            Err(_) => "refused when read\n".to_owned(),
            Ok(file) => match Grants::check(file) {
                Err(error) => format!("{error}\n"),
                Ok(_) => panic!("{} was accepted", path.display()),
            },
        };
        check_golden(&path.with_extension("txt"), &told);
    }
    assert!(seen >= 6, "cases are missing");
}

#[test]
fn the_schema_is_published_from_the_types_and_refuses_unknown_keys() {
    let schema = schemars::schema_for!(AccessFile);
    let text = serde_json::to_string(&schema).unwrap();
    assert!(text.contains("\"additionalProperties\":false"));
    assert!(text.contains("public-health"));
    assert!(text.contains("Whatever is not granted here is denied"));
}

//! psql.

use std::process::Command;

use super::site::{PASSWORD, Site, client_certificate, folder};
use crate::servers::absent;
use crate::support::{Said, said};

pub fn psql(site: &Site, user: &str, options: &str, args: &[&str]) -> Option<Said> {
    if Command::new("psql").arg("--version").output().is_err() {
        return absent("psql");
    }
    let place = format!(
        "host=127.0.0.1 port={} user={user} dbname=cordon sslmode=verify-full sslrootcert={}",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let out = Command::new("psql")
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", &place])
        .args(args)
        .env("PGPASSWORD", format!("{PASSWORD} of {user}"))
        .env("PGOPTIONS", options)
        .output()
        .unwrap();
    Some(said(out))
}

const RESEARCH: &str = "-c cordon.purpose=research";

#[test]
fn psql_asks_for_a_purpose_and_sees_what_is_granted() {
    let Some(site) = Site::start("", "") else { return };
    let ana = |sql: &str| psql(&site, "ana", RESEARCH, &["-c", sql]);
    let Some(counted) = ana("SELECT count(*) FROM visits") else { return };
    assert_eq!(counted.ok().out, "400\n");
    let told =
        ana("SELECT code, points, points * 0.5, points > 1, NULL FROM visits ORDER BY points LIMIT 3").unwrap().ok();
    assert_eq!(told.out, "E00|0|0|f|\nE01|1|0.5|f|\nE02|2|1|t|\n");
    assert_eq!(
        ana("SELECT DATE '2024-02-29', TIMESTAMP '2024-02-29 12:34:56.5', CAST(1.50 AS DECIMAL(5,2))")
            .unwrap()
            .ok()
            .out,
        "2024-02-29|2024-02-29 12:34:56.500|1.50\n"
    );

    let none = psql(&site, "ana", "", &["-c", "SELECT count(*) FROM visits"]).unwrap();
    assert!(none.code != 0 && none.err.contains("22023") && none.err.contains("cordon.purpose"), "{}", none.err);
    let set =
        ["-c", "SET cordon.purpose = 'research'", "-c", "SELECT count(*) FROM visits", "-c", "SHOW cordon.purpose"];
    assert_eq!(psql(&site, "ana", "", &set).unwrap().ok().out, "SET\n400\nresearch\n");
    for (sql, code) in [
        ("SELECT patient FROM visits", "42703"),
        ("SELECT * FROM costs", "42P01"),
        ("SELECT * FROM nothing", "42P01"),
        ("CREATE TABLE x (a int)", "42501"),
        ("COPY visits TO STDOUT", "42"),
        ("COPY visits TO PROGRAM 'id'", "42"),
        ("SELEC", "42601"),
        ("SELECT points / 0 FROM visits", "22000"),
        ("SELECT CAST('canary-4711' AS INT)", "22"),
        ("SELECT * FROM pg_catalog.pg_authid", "0A000"),
        ("SET session_authorization = 'engineer'", "42501"),
        ("SET client_encoding = 'LATIN1'", "22023"),
    ] {
        let refused = ana(sql).unwrap();
        assert!(refused.code != 0 && refused.err.contains(&format!("ERROR:  {code}")), "{sql}: {}", refused.all());
        assert!(!refused.err.replace(sql, "").contains("canary-4711"), "{}", refused.err);
    }
    // Several statements, a transaction, and one that has failed.
    let several = "BEGIN; SELECT 1; SELECT ';'; COMMIT";
    assert_eq!(ana(several).unwrap().ok().out, "BEGIN\n1\n;\nCOMMIT\n");
    let failed = psql(
        &site,
        "ana",
        RESEARCH,
        &["-v", "ON_ERROR_STOP=0", "-c", "BEGIN", "-c", "SELEC", "-c", "SELECT 1", "-c", "ROLLBACK", "-c", "SELECT 2"],
    )
    .unwrap();
    assert!(failed.err.contains("25P02") && failed.out.ends_with("ROLLBACK\n2\n"), "{}", failed.all());

    let tables = ana("\\dt").unwrap().ok();
    assert_eq!(tables.out, "main|visits|table|cordon\n");
    let columns = ana("\\d visits").unwrap().ok();
    assert!(columns.out.contains("points|bigint") && columns.out.contains("code|text"), "{}", columns.out);
    assert!(!columns.out.contains("patient"), "{}", columns.out);
    let more = ana("\\d+ visits").unwrap().ok();
    assert!(more.out.contains("points|bigint"), "{}", more.out);
    let other = ana("\\d costs").unwrap();
    assert!(other.err.contains("Did not find any relation"), "{}", other.all());
    let of_schema = ana("SELECT table_name FROM information_schema.tables").unwrap().ok();
    assert_eq!(of_schema.out, "visits\n");
    let long = ana("SELECT a.points FROM visits a, visits b LIMIT 100000").unwrap().ok();
    assert_eq!(long.out.lines().count(), 100_000);

    let entries = site.folder.audit("query_started");
    assert!(entries.iter().all(|event| event["principal"] == "ana"));
}

#[test]
fn psql_is_let_in_over_tls_with_the_right_credential_alone() {
    let project = folder("");
    let dir = project.dir.path().join("pki");
    let Some(pki) = crate::servers::Pki::make(&dir) else { return };
    pki.authority("clients");
    let [pem, key] = client_certificate(&pki, "clients", "ana", "/CN=ana", "");
    let log_in = format!("    certificates: {{ ca-file: {}/clients.pem }}", dir.display());
    let Some(site) = Site::start_in(project, &log_in, "") else { return };
    let Some(wrong) = psql(&site, "nobody", RESEARCH, &["-c", "SELECT 1"]) else { return };
    assert!(wrong.code != 0 && wrong.err.contains("log-in failed"), "{}", wrong.err);
    let at = |more: &str, user: &str| {
        let place = format!("host=127.0.0.1 port={} user={user} dbname=cordon {more}", site.postgres);
        said(
            Command::new("psql")
                .args(["-X", "-A", "-t", "-w", "-d", &place, "-c", "SELECT 1"])
                .env("PGOPTIONS", RESEARCH)
                .env_remove("PGPASSWORD")
                .output()
                .unwrap(),
        )
    };
    let plain = at("sslmode=disable", "ana");
    assert!(plain.code != 0 && plain.err.contains("takes TLS"), "{}", plain.err);
    let ca = site.pki.path("ca.pem");
    let shown = format!("sslmode=verify-full sslrootcert={ca} sslcert={} sslkey={}", pem.display(), key.display());
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(at(&shown, "ana").ok().out, "1\n");
    let other = at(&shown, "engineer");
    assert!(other.code != 0, "a certificate of ana is no one else's: {}", other.out);
    let failed = site.folder.audit("log_in_failed");
    assert!(
        failed.iter().any(|event| event["what"] == "another principal than was said" && event["principal"] == "ana")
    );
    assert_eq!(site.folder.audit("logged_in").len(), 1);
}

#[test]
fn what_is_not_the_protocol_ends_the_connection_and_not_the_server() {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    let Some(site) = Site::start("", "") else { return };
    for bytes in [
        b"\0\0\0\0".as_slice(),
        b"\x7f\xff\xff\xff\0\x03\0\0".as_slice(),
        b"\0\0\0\x08\0\x02\0\0".as_slice(),
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\0\0\0\x09\0\x03\0\0x".as_slice(),
        // Plain text behind the request for TLS is not taken into it.
        b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x20\0\x03\0\0user\0ana\0\0".as_slice(),
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02".as_slice(),
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", site.postgres)).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        socket.write_all(bytes).unwrap();
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.windows(4).any(|window| window == b"Z\0\0\0"), "{bytes:?}: {answer:?}");
    }
    site.get("ana", "/v1/status").is(200);
}

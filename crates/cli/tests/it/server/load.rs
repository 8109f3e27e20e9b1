//! Too much at once, clients that go or take nothing, and the end of the server.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::crowd::{self, Load, Question, Told, User};
use super::postgres::psql;
use super::site::{PASSWORD, Site};
use crate::servers::Running;

/// Far more rows than any pipe or socket holds.
const LONG: &str = "SELECT a.code, b.code, c.points FROM visits a, visits b, visits c";

/// A client that has asked and takes nothing.
fn stalled(site: &Site, user: &str, sql: &str) -> Running {
    let question = json!({ "sql": sql, "purpose": "research" }).to_string();
    let child = Command::new("curl")
        .args([
            "-sS",
            "-N",
            "--noproxy",
            "*",
            "--cacert",
            &site.pki.path("ca.pem"),
            "-u",
            &format!("{user}:{PASSWORD} of {user}"),
        ])
        .args(["-H", "content-type: application/json", "-d", &question, &site.url("/v1/query")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

#[test]
fn what_is_too_much_is_refused_at_once_and_clients_that_vanish_make_room() {
    let Some(site) = Site::start("", "    queries: 2\n    queries-per-principal: 1") else { return };
    let ana = stalled(&site, "ana", LONG);
    site.until("one runs", 20, |site| site.count("cordon_queries_running") == 1);
    let shed = site.ask("ana", "SELECT 1", "research").is(429);
    assert!(shed.header("retry-after").is_some());
    let ben = stalled(&site, "ben", LONG);
    site.until("two run", 20, |site| site.count("cordon_queries_running") == 2);
    let credential = format!("ida:{PASSWORD} of ida");
    let question = json!({ "sql": "SELECT 1", "purpose": "oversight" });
    let shed = site.ask_as(&["-u", &credential], &question, &[]).is(503);
    assert!(shed.header("retry-after").is_some() && shed.header("content-type") == Some("application/problem+json"));
    if let Some(said) = psql(&site, "ida", "-c cordon.purpose=oversight", &["-c", "SELECT 1"]) {
        assert!(said.code != 0 && said.err.contains("53300"), "{}", said.err);
    }
    site.curl(&[&site.url("/readyz")]).is(200);
    // Who waits for a socket to be read holds a few batches and no more.
    let before = site.metric("cordon_resident_memory_bytes");
    let rows = site.metric("cordon_rows_total");
    sleep(Duration::from_secs(3));
    assert!(site.metric("cordon_rows_total") - rows < 100_000.0, "rows are computed that nobody takes");
    assert!(site.metric("cordon_resident_memory_bytes") - before < 64e6);
    drop((ana, ben));
    site.until("both are gone", 20, |site| site.count("cordon_queries_running") == 0);
    site.ask("ana", "SELECT 1", "research").is(200);
    site.until("the record says so", 10, |site| {
        site.folder.audit("query_failed").iter().filter(|event| event["what"] == "abandoned").count() >= 2
    });
}

/// Each hash takes 64 MiB. Who goes away does not make room for another one while it is made.
#[test]
fn guesses_whose_clients_do_not_wait_are_checked_two_at_a_time() {
    let Some(site) = Site::start("", "") else { return };
    let peak = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.running.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    site.get("ben", "/v1/status").is(200);
    let before = peak();
    let checked = || site.folder.audit("log_in_failed").len();
    for patience in ["0.4", "0.8", "1.6", "3.2"] {
        let guesses: Vec<_> = (0..60)
            .map(|number| {
                let (ca, guess) = (site.pki.path("ca.pem"), format!("somebody{number}:guess"));
                let mut curl = Command::new("curl");
                curl.args(["-s", "--max-time", patience, "--noproxy", "*", "--cacert", &ca, "-u", &guess]);
                curl.arg(site.url("/v1/status")).stdout(Stdio::null()).stderr(Stdio::null());
                Running(curl.spawn().unwrap())
            })
            .collect();
        for mut guess in guesses {
            guess.0.wait().unwrap();
        }
        // On a slow machine they may all have gone before they were heard.
        if checked() > 2 {
            break;
        }
    }
    assert!(checked() > 2);
    // What is being checked ends.
    sleep(Duration::from_secs(2));
    site.get("ben", "/v1/status").is(200);
    let after = peak();
    assert!(after - before < 4 * 64, "{before} MiB before and {after} after");
}

#[test]
fn a_client_that_vanishes_while_nothing_is_ready_ends_its_query() {
    let Some(site) = Site::start("", "") else { return };
    // No row comes of it for a long time.
    let busy = "SELECT count(*) FROM visits a, visits b, visits c, visits d WHERE a.points + b.points + c.points + d.points = -1";
    let ana = stalled(&site, "ana", busy);
    site.until("it runs", 20, |site| site.count("cordon_queries_running") == 1);
    drop(ana);
    site.until("it is gone", 20, |site| site.count("cordon_queries_running") == 0);
}

#[test]
fn a_client_that_takes_nothing_for_too_long_and_a_query_that_takes_too_long_are_ended() {
    let Some(site) = Site::start("", "    stall-timeout: 3s\n    query-timeout: 6s") else { return };
    let _ana = stalled(&site, "ana", LONG);
    site.until("it runs", 20, |site| site.count("cordon_queries_running") == 1);
    site.until("it is given up", 20, |site| site.count("cordon_queries_running") == 0);
    let busy = "SELECT count(*) FROM visits a, visits b, visits c, visits d WHERE a.points + b.points + c.points + d.points = -1";
    site.ask("ben", busy, "research").is(504);
    let failed = site.folder.audit("query_failed");
    assert!(failed.iter().any(|event| event["what"] == "late" && event["rows"].is_null()), "{failed:?}");
}

#[test]
fn a_server_that_is_stopped_lets_what_runs_end_and_takes_nothing_new() {
    let Some(site) = Site::start("", "    drain: 200s") else { return };
    let sql = "SELECT a.points FROM visits a, visits b, visits c LIMIT 3000000";
    let mut running = stalled(&site, "ana", sql);
    site.until("it runs", 20, |site| site.count("cordon_queries_running") == 1);
    site.running.signal("-TERM");
    site.until("it drains", 20, |site| site.count("cordon_draining") == 1);
    assert_ne!(site.curl(&["--max-time", "5", &site.url("/healthz")]).status, 200, "no new connection");
    let mut answer = Vec::new();
    running.0.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    assert!(running.0.wait().unwrap().success());
    assert_eq!(answer.split(|byte| *byte == b'\n').count(), 3_000_001, "the answer is whole");
    let (folder, code) = site.stop();
    assert_eq!(code, 0);
    assert!(folder.audit("query_finished").iter().any(|event| event["rows"] == 3_000_000));
}

#[test]
fn what_does_not_end_in_time_is_cut_and_no_half_answer_looks_whole() {
    let Some(site) = Site::start("", "    drain: 1s") else { return };
    let mut running = stalled(&site, "ana", LONG);
    site.until("it runs", 20, |site| site.count("cordon_queries_running") == 1);
    site.running.signal("-TERM");
    let mut answer = Vec::new();
    running.0.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    assert!(!running.0.wait().unwrap().success(), "curl is told that the answer ended early");
    let (folder, code) = site.stop();
    assert_eq!(code, 0);
    assert!(folder.audit("query_failed").len() == 1);
}

/// So many clients, half over HTTP and half over PostgreSQL's protocol, of users who may see the same.
fn crowd(site: &Site, clients: usize, ramp_seconds: f64, seconds: f64) -> Load {
    let user = |name: &str| User { name: name.to_owned(), password: format!("{PASSWORD} of {name}") };
    let question = |sql: &str, parameters: &[&str], weight: usize| {
        let literal = parameters.iter().fold(sql.to_owned(), |sql, value| sql.replace("$1", &format!("'{value}'")));
        let asked = ["sql", &literal, "--as", "ana", "--purpose", "research", "--format", "csv"];
        let answer = site.folder.cordon(&asked).ok().out;
        assert!(answer.lines().count() > 1, "{answer}");
        let parameters = parameters.iter().map(|value| (*value).to_owned()).collect();
        Question { sql: sql.to_owned(), parameters, answer, weight }
    };
    Load {
        http: site.http,
        postgres: site.postgres,
        ca: site.pki.dir.join("ca.pem"),
        purpose: "research".to_owned(),
        users: vec![user("ana"), user("ben")],
        questions: vec![
            question("SELECT count(*) AS n, sum(points) AS points FROM visits WHERE code = $1", &["E07"], 3),
            question("SELECT code, count(*) AS n FROM visits GROUP BY code ORDER BY code", &[], 2),
            question(
                "SELECT a.code, b.points FROM visits a, visits b WHERE b.points < 20 ORDER BY a.points, b.points",
                &[],
                1,
            ),
        ],
        clients,
        ramp_seconds,
        seconds,
    }
}

fn blocking<T>(work: impl Future<Output = std::io::Result<T>>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work).unwrap()
}

fn all_is_free(site: &Site) {
    site.until("all places are free", 60, |site| {
        site.count("cordon_queries_running") == 0 && site.count("cordon_connections") == 0
    });
}

#[test]
fn many_clients_get_right_answers_and_too_many_are_told_so_and_nobody_leaves_anything_behind() {
    let limits = "    queries: 40\n    queries-per-principal: 40\n    connections: 44\n    connections-of-one: 44";
    let Some(site) = Site::start("", limits) else { return };
    let right = |told: &Told| {
        assert!(told.errors.is_empty(), "{:?}", told.errors);
        assert!(told.http.count > 0 && told.postgres.count > 0);
    };
    let told = blocking(crowd::run(&crowd(&site, 40, 15.0, 10.0)));
    right(&told);
    assert!(told.shed.is_empty(), "nobody is one too many: {:?}", told.shed);
    all_is_free(&site);
    let before = site.metric("cordon_resident_memory_bytes");
    // Fewer than may ask: each of them gets as far as rows.
    for _ in 0..3 {
        assert_eq!(blocking(crowd::vanish(&crowd(&site, 30, 10.0, 0.0), LONG)), 30);
        all_is_free(&site);
    }
    let grown = site.metric("cordon_resident_memory_bytes") - before;
    assert!(grown < 96e6, "ninety clients that vanished left {grown} bytes");
    // More than may connect, at once: right answers for some, and for the others a code that says to come again. Who connects by PostgreSQL's
    // protocol logs in each time, two at a time, which beside other tests takes longer than a few seconds for the first answer.
    let told = blocking(crowd::run(&crowd(&site, 120, 0.0, 24.0)));
    right(&told);
    for code in ["503", "53300"] {
        assert!(told.shed.get(code).is_some_and(|count| *count > 0), "{:?}", told.shed);
    }
    all_is_free(&site);
    right(&blocking(crowd::run(&crowd(&site, 4, 0.0, 2.0))));
    let (folder, code) = site.stop();
    assert_eq!(code, 0);
    assert!(folder.cordon(&["audit", "verify"]).ok().code == 0);
}

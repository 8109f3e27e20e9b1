//! What needs no Spark: addresses, and servers that are none.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use cordon_spark::{Canceller, Endpoint, PythonFunction, Session, SparkError, Told};
use tokio::io::AsyncWriteExt;

use crate::cluster::listening;
use crate::fake::{Answer, field, framed, number, serve, serve_for, version};

fn parsed(text: &str) -> Result<Endpoint, SparkError> {
    Endpoint::parse(text, &|_| None)
}

#[test]
fn addresses_are_those_of_spark() {
    for (text, shown) in [
        ("sc://localhost", "sc://localhost:15002"),
        ("sc://127.0.0.1:15003", "sc://127.0.0.1:15003"),
        ("sc://[::1]:7", "sc://[::1]:7"),
        ("sc://[::1]", "sc://[::1]:15002"),
        ("sc://localhost/;use_ssl=false;user_id=Zo%C3%AB", "sc://localhost:15002"),
        ("sc://a.example.org:443/;use_ssl=true;ca_file=/etc/ca%20file.pem;", "sc://a.example.org:443"),
    ] {
        assert_eq!(parsed(text).unwrap().shown(), shown, "{text}");
    }
}

#[test]
fn addresses_that_are_wrong_say_how_and_what_to_do() {
    for (text, says, helps) in [
        ("", "begins with `sc://`", "sc://host"),
        ("http://localhost:15002", "begins with `sc://`", "sc://host"),
        ("sc://", "no host", "sc://host"),
        ("sc://:15002", "no host", "sc://host"),
        ("sc://localhost:0", "no host and port", "sc://host"),
        ("sc://localhost:99999", "no host and port", "sc://host"),
        ("sc://::1:15002", "no host and port", "sc://host"),
        ("sc://localhost;use_ssl=true", "behind a slash", "sc://host"),
        ("sc://localhost/path", "has a path", "sc://host"),
        ("sc://user:hush@localhost", "a user name or a password", "SPARK_CONNECT_AUTHENTICATE_TOKEN"),
        ("sc://localhost/;token=hush", "holds a token", "SPARK_CONNECT_AUTHENTICATE_TOKEN"),
        ("sc://localhost/;Token=hush", "holds a token", "SPARK_CONNECT_AUTHENTICATE_TOKEN"),
        ("sc://localhost/;use_ssl", "has no value", "use_ssl=…"),
        ("sc://localhost/;use_ssl=yes", "`true` or `false`", "use_ssl=true"),
        ("sc://localhost/;session_id=x", "`session_id`", "use_ssl, ca_file, user_id"),
        ("sc://localhost/;user_id=%zz", "has no value", "user_id=…"),
        ("sc://localhost/;ca_file=/x", "is for TLS", "use_ssl=true"),
        ("sc://spark.example.org", "is not this machine", "use_ssl=true"),
        ("sc://10.0.0.1:15002/;use_ssl=false", "is not this machine", "use_ssl=true"),
        ("sc://localhost.example.org", "is not this machine", "use_ssl=true"),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(matches!(error, SparkError::Endpoint { .. }), "{text}: {error:?}");
        assert!(error.to_string().contains(says) && error.help().contains(helps), "{text}: {error} ({})", error.help());
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[test]
fn a_token_comes_from_the_environment_and_is_not_shown() {
    let asked = |name: &str| (name == "SPARK_CONNECT_AUTHENTICATE_TOKEN").then(|| "hush-1".to_owned());
    let endpoint = Endpoint::parse("sc://localhost", &asked).unwrap();
    assert_eq!(format!("{endpoint:?}"), "Endpoint(sc://localhost:15002)");
    let error = Endpoint::parse("sc://localhost", &|_| Some("hush\n1".to_owned())).unwrap_err();
    assert!(matches!(&error, SparkError::Endpoint { .. }) && !format!("{error:?}").contains("hush"), "{error:?}");
}

fn opened(address: &str) -> Result<Session, SparkError> {
    Session::open(&Endpoint::parse(address, &|_| Some("hush-1".to_owned()))?, "tester")
}

/// What a run ends with where executing is answered so.
fn run(answer: Answer) -> Result<u64, SparkError> {
    let address = serve(move |method| match method {
        "AnalyzePlan" => version(),
        "ExecutePlan" => answer.clone(),
        _ => Answer::of(framed(b"")),
    });
    let session = opened(&address)?;
    assert_eq!(session.version(), "4.3.0");
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let returns = r#"{"type":"struct","fields":[{"name":"id","type":"long"}]}"#;
    let function = PythonFunction { module: "m", name: "f", arguments: &[], returns, python: "3.11" };
    let mut tasks = 0;
    session.map_in_arrow(&batch, &function, &mut |told| {
        if let Told::Tasks { done, all, running } = told {
            tasks += done + all + running;
        }
        ControlFlow::Continue(())
    })?;
    Ok(tasks)
}

#[test]
fn answers_that_are_none_end_in_an_error() {
    let long = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[0; 100]].concat();
    let batch = |rows, data: &[u8]| framed(&field(2, &[number(1, rows), field(2, data)].concat()));
    for (answer, says) in [
        (Answer::of(long), "longer than 128 MiB"),
        (Answer::of(vec![1, 0, 0, 0, 0]), "compressed"),
        (Answer::of(vec![0, 0, 0, 0, 9, 1]), "cut short"),
        (Answer::of(framed(&[0xff; 40])), "no message of Spark Connect"),
        (Answer::of(batch(1, b"")), "other rows"),
        (Answer::of(batch(0, &[0xff; 64])), "no batch of Arrow"),
        (Answer::of(batch(0, b"\xff\xff\xff\xff\xff\xff\xff\x7f")), "no batch of Arrow"),
        (Answer { trailers: Some(Vec::new()), ..Answer::of(framed(b"")) }, "without a status"),
        (Answer { kind: "text/html", ..Answer::of(framed(b"")) }, "not gRPC"),
        (Answer::http(404, "text/html"), "HTTP 404"),
        (Answer::failed(12, "no"), "does not know"),
    ] {
        let error = run(answer).unwrap_err();
        assert!(matches!(error, SparkError::Protocol { .. }) && error.to_string().contains(says), "{says}: {error:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_from_one_that_says_no() {
    for answer in [
        Answer { trailers: None, ..Answer::of(framed(b"")) },
        Answer::http(502, "text/html"),
        Answer::http(503, "application/grpc"),
        Answer::failed(14, "down"),
    ] {
        let error = run(answer).unwrap_err();
        assert!(matches!(error, SparkError::Unreachable { .. }), "{error:?}");
    }
    for answer in [Answer::http(401, "text/html"), Answer::http(403, "application/grpc"), Answer::failed(16, "no")] {
        assert!(matches!(run(answer).unwrap_err(), SparkError::Refused));
    }
    assert!(matches!(run(Answer::failed(1, "")).unwrap_err(), SparkError::Cancelled));
    let error = run(Answer::failed(13, "[A.B] for hush-1%0A'Project %5Bsecret%5D")).unwrap_err();
    assert_eq!(error.to_string(), "Spark: [A.B] for …");
}

#[test]
fn progress_is_told_whatever_its_numbers_are() {
    let stage = |all, done| field(1, &[number(2, all), number(3, done)].concat());
    let progress = |stages: &[u8]| framed(&field(18, &[stages, &number(2, 5)].concat()));
    let two = [stage(10, 3), stage(4, 4)].concat();
    assert_eq!(run(Answer::of(progress(&two))).unwrap(), 7 + 14 + 5);
    assert_eq!(run(Answer::of(progress(&stage(u64::MAX, u64::MAX)))).unwrap(), 5, "-1");
}

/// A question that is asked besides shows that the server is there while nothing comes.
#[test]
fn silence_is_no_end() {
    let wait = Duration::from_secs(20);
    assert_eq!(run(Answer { wait, ..Answer::of(Vec::new()) }).unwrap(), 0);
}

#[test]
fn what_speaks_something_else_is_said_to() {
    let port = listening(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    let error = opened(&format!("sc://127.0.0.1:{port}")).err().unwrap();
    assert!(matches!(error, SparkError::Protocol { .. }), "{error:?}");
    let error = opened(&format!("sc://127.0.0.1:{port}/;use_ssl=true;ca_file=/nonexistent")).err().unwrap();
    assert!(matches!(error, SparkError::Endpoint { .. }), "{error:?}");
    let error = opened(&format!("sc://127.0.0.1:{}", crate::servers::free_port())).err().unwrap();
    assert!(matches!(error, SparkError::Unreachable { .. }) && error.to_string().contains("nobody listens"), "{error}");
    let cut = listening(|stream| async move {
        drop(stream);
        Ok(())
    });
    let error = opened(&format!("sc://127.0.0.1:{cut}")).err().unwrap();
    assert!(matches!(error, SparkError::Unreachable { .. }), "{error:?}");
}

#[test]
fn artifacts_are_whole_or_not_there() {
    let summary = |name: &[u8], good| framed(&field(1, &[field(1, name), number(2, good)].concat()));
    for (answer, length, said) in [
        (Answer::of(summary(b"files/x", 1)), 1 << 20, None),
        (Answer::of(summary(b"files/x", 1)), 5, None),
        (Answer::of(summary(b"files/x", 0)), 5, Some("damaged")),
        (Answer::of(summary(b"files/y", 1)), 1 << 20, Some("does not say")),
        (Answer::failed(13, "[FULL] no"), 1 << 20, Some("[FULL] no")),
    ] {
        let address = serve(move |method| if method == "AddArtifacts" { answer.clone() } else { version() });
        let session = opened(&address).unwrap();
        let done = session.add_artifact("files/x", &mut std::io::Read::take(std::io::repeat(7), length), length);
        match said {
            None => done.unwrap(),
            Some(said) => assert!(done.unwrap_err().to_string().contains(said)),
        }
    }
}

#[test]
fn a_session_of_a_server_that_is_busy_ends_soon() {
    let address = serve(|method| match method {
        "AnalyzePlan" => version(),
        _ => Answer { wait: Duration::from_secs(30), ..Answer::of(framed(b"")) },
    });
    let session = opened(&address).unwrap();
    let canceller = session.canceller();
    let begun = Instant::now();
    let error = std::thread::scope(|scope| {
        let setting = scope.spawn(|| session.set(&[("a", "b")]).unwrap_err());
        std::thread::sleep(Duration::from_millis(500));
        canceller.cancel();
        setting.join().unwrap()
    });
    assert!(matches!(error, SparkError::Cancelled) && begun.elapsed() < Duration::from_secs(8));
    drop(session);
    canceller.cancel();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_connection_that_ended_between_two_calls_is_made_anew() {
    let address = serve_for(Duration::from_secs(3), |_| version());
    let session = opened(&address).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(4));
        session.set(&[("a", "b")]).unwrap();
    }
}

#[test]
fn a_session_is_used_from_several_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Session>();
    shared::<Canceller>();
    shared::<Endpoint>();
    shared::<SparkError>();
}

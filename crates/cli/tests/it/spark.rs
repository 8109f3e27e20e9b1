//! Apache Spark with executors in processes of their own. A profile of its own: `cargo nextest run --profile spark`.

mod cluster;
mod oldest;
mod queries;
mod runs;
mod third_party;

use crate::python::pytest;

#[test]
fn a_cluster_makes_the_rows_of_a_run() {
    pytest("test_spark.py", "not connect and not readme");
}

#[test]
fn a_session_of_connect_makes_them_too() {
    pytest("test_spark.py", "connect or readme");
}

//! A client of Spark Connect, as small as what Cordon asks of a cluster: ship files to a session, run one function of Python over
//! record batches on its executors, and take what comes back.
//!
//! This crate exists so that nobody else opens a connection to a cluster: here TLS is required unless the server is this machine,
//! the token comes from the environment and is shown by nothing, everything that a server says is bounded, and of Spark's own
//! errors only their class and first line are told: plans and tracebacks hold values.
//!
//! gRPC is spoken over hyper's HTTP/2 with messages written by hand (`proto`), for the reasons of `docs/decisions/0033`: a client
//! made from Spark's `.proto` files needs `protoc` where it is built, and the ASF's crate brings a second Arrow.
//!
//! It is synchronous for its callers, with a small runtime of its own, and is not for use within asynchronous code: there, call
//! it from a thread that may block.
//!
//! ```
//! use cordon_spark::Endpoint;
//!
//! let none = |_: &str| None;
//! let cluster = Endpoint::parse("sc://spark.example.org/;use_ssl=true", &none)?;
//! assert_eq!(cluster.shown(), "sc://spark.example.org:15002");
//! assert!(Endpoint::parse("sc://spark.example.org", &none).is_err(), "in clear, beyond this machine");
//! # Ok::<(), cordon_spark::SparkError>(())
//! ```

mod endpoint;
mod error;
mod flow;
mod function;
mod grpc;
mod line;
mod pickle;
mod proto;
mod schema;
mod session;

pub use endpoint::Endpoint;
pub use error::{SparkError, worker_python};
pub use flow::{Flow, partition_keys};
pub use function::{Argument, PythonFunction};
pub use session::{Canceller, Session, Told};

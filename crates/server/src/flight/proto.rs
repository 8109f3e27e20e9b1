//! The messages of Arrow Flight and Flight SQL that are spoken here, with the fields that are read or written
//! (`Flight.proto` and `FlightSql.proto` of Apache Arrow). What is left out is passed over, as protobuf has it.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct HandshakeResponse {
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct ActionType {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(string, tag = "2")]
    pub description: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Action {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

/// `Result` of the protocol: what an action gives.
#[derive(Clone, PartialEq, Message)]
pub struct ActionResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct CancelFlightInfoRequest {
    #[prost(message, optional, tag = "1")]
    pub info: Option<FlightInfo>,
}

/// Of `CancelFlightInfoResult`, `CancelQueryResult` and `CloseSessionResult`, whose words have the same numbers.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Outcome {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl Outcome {
    pub const DONE: Self = Self { status: 1 };
    pub const NOT_POSSIBLE: Self = Self { status: 3 };
}

#[derive(Clone, PartialEq, Message)]
pub struct SchemaResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub schema: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlightDescriptor {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub cmd: Bytes,
    #[prost(string, repeated, tag = "3")]
    pub path: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlightInfo {
    #[prost(bytes = "bytes", tag = "1")]
    pub schema: Bytes,
    #[prost(message, optional, tag = "2")]
    pub flight_descriptor: Option<FlightDescriptor>,
    #[prost(message, repeated, tag = "3")]
    pub endpoint: Vec<FlightEndpoint>,
    #[prost(int64, tag = "4")]
    pub total_records: i64,
    #[prost(int64, tag = "5")]
    pub total_bytes: i64,
}

/// Without a location: where it was asked is where the answer is.
#[derive(Clone, PartialEq, Message)]
pub struct FlightEndpoint {
    #[prost(message, optional, tag = "1")]
    pub ticket: Option<Ticket>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ticket {
    #[prost(bytes = "bytes", tag = "1")]
    pub ticket: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct FlightData {
    #[prost(message, optional, tag = "1")]
    pub flight_descriptor: Option<FlightDescriptor>,
    #[prost(bytes = "bytes", tag = "2")]
    pub data_header: Bytes,
    #[prost(bytes = "bytes", tag = "1000")]
    pub data_body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct PutResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub app_metadata: Bytes,
}

/// `google.protobuf.Any`, in which messages of Flight SQL travel.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

const PACKAGE: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

impl Any {
    pub fn of(name: &str, message: &impl Message) -> Self {
        Self { type_url: format!("{PACKAGE}{name}"), value: message.encode_to_vec().into() }
    }

    /// The message's name, where it is one of Flight SQL.
    pub fn name(&self) -> Option<&str> {
        self.type_url.strip_prefix(PACKAGE)
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct GetSqlInfo {
    #[prost(uint32, repeated, tag = "1")]
    pub info: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetXdbcTypeInfo {
    #[prost(int32, optional, tag = "1")]
    pub data_type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetDbSchemas {
    #[prost(string, optional, tag = "1")]
    pub catalog: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub pattern: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetTables {
    #[prost(string, optional, tag = "1")]
    pub catalog: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub schema_pattern: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub table_pattern: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub table_types: Vec<String>,
    #[prost(bool, tag = "5")]
    pub include_schema: bool,
}

/// `CommandStatementQuery` and `ActionCreatePreparedStatementRequest`, which have the same fields.
#[derive(Clone, PartialEq, Message)]
pub struct StatementQuery {
    #[prost(string, tag = "1")]
    pub query: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub transaction_id: Option<Bytes>,
}

/// What stands for something that the server keeps: `TicketStatementQuery`, `CommandPreparedStatementQuery`,
/// `ActionClosePreparedStatementRequest`, `DoPutPreparedStatementResult`.
#[derive(Clone, PartialEq, Message)]
pub struct Handle {
    #[prost(bytes = "bytes", tag = "1")]
    pub handle: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreatedPreparedStatement {
    #[prost(bytes = "bytes", tag = "1")]
    pub handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub parameter_schema: Bytes,
}

/// `ActionCancelQueryRequest`, of before `CancelFlightInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct CancelQuery {
    /// A `FlightInfo`.
    #[prost(bytes = "bytes", tag = "1")]
    pub info: Bytes,
}

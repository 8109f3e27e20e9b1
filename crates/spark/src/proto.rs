//! The messages of Spark Connect that are spoken here, with the fields that are read or written (`spark/connect/*.proto` of Apache
//! Spark 4.3, whose numbers are those of 4.0). What is left out is passed over, as protobuf has it. Of a `oneof` each choice is an
//! optional field, which is the same on the line.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct UserContext {
    #[prost(string, tag = "1")]
    pub(crate) user_id: String,
    #[prost(string, tag = "2")]
    pub(crate) user_name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AnalyzePlanRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, optional, tag = "17")]
    pub(crate) observed_session: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(crate) client_type: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub(crate) spark_version: Option<Nothing>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AnalyzePlanResponse {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, tag = "15")]
    pub(crate) server_session: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) spark_version: Option<SparkVersion>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SparkVersion {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, optional, tag = "8")]
    pub(crate) observed_session: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub(crate) operation: Option<ConfigOperation>,
    #[prost(string, optional, tag = "4")]
    pub(crate) client_type: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigOperation {
    #[prost(message, optional, tag = "1")]
    pub(crate) set: Option<ConfigSet>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pairs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) value: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AddArtifactsRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, optional, tag = "7")]
    pub(crate) observed_session: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(string, optional, tag = "6")]
    pub(crate) client_type: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(crate) batch: Option<ArtifactBatch>,
    #[prost(message, optional, tag = "4")]
    pub(crate) begin: Option<ArtifactBegin>,
    #[prost(message, optional, tag = "5")]
    pub(crate) chunk: Option<Chunk>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ArtifactBatch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) artifacts: Vec<WholeArtifact>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WholeArtifact {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) data: Option<Chunk>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ArtifactBegin {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "2")]
    pub(crate) total_bytes: i64,
    #[prost(int64, tag = "3")]
    pub(crate) chunks: i64,
    #[prost(message, optional, tag = "4")]
    pub(crate) first: Option<Chunk>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Chunk {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) crc: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AddArtifactsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) artifacts: Vec<ArtifactSummary>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ArtifactSummary {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bool, tag = "2")]
    pub(crate) crc_is_right: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecutePlanRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, optional, tag = "8")]
    pub(crate) observed_session: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(string, optional, tag = "6")]
    pub(crate) operation_id: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(crate) plan: Option<Plan>,
    #[prost(string, optional, tag = "4")]
    pub(crate) client_type: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Plan {
    #[prost(message, optional, tag = "1")]
    pub(crate) root: Option<Relation>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Relation {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<RelationCommon>,
    #[prost(message, optional, boxed, tag = "6")]
    pub(crate) set_operation: Option<Box<SetOperation>>,
    #[prost(message, optional, tag = "11")]
    pub(crate) local: Option<LocalRelation>,
    #[prost(message, optional, boxed, tag = "27")]
    pub(crate) repartition: Option<Box<RepartitionByExpression>>,
    #[prost(message, optional, boxed, tag = "28")]
    pub(crate) map_partitions: Option<Box<MapPartitions>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RelationCommon {
    #[prost(int64, optional, tag = "2")]
    pub(crate) plan_id: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LocalRelation {
    /// A stream of Arrow IPC.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetOperation {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) left: Option<Box<Relation>>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) right: Option<Box<Relation>>,
    #[prost(int32, tag = "3")]
    pub(crate) kind: i32,
    #[prost(bool, optional, tag = "4")]
    pub(crate) all: Option<bool>,
}

/// `SET_OP_TYPE_UNION`.
pub(crate) const UNION: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepartitionByExpression {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) input: Option<Box<Relation>>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) by: Vec<Expression>,
    #[prost(int32, optional, tag = "3")]
    pub(crate) partitions: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MapPartitions {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) input: Option<Box<Relation>>,
    #[prost(message, optional, tag = "2")]
    pub(crate) function: Option<InlineFunction>,
}

/// `CommonInlineUserDefinedFunction`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InlineFunction {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bool, tag = "2")]
    pub(crate) deterministic: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) arguments: Vec<Expression>,
    #[prost(message, optional, tag = "4")]
    pub(crate) python: Option<PythonUdf>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Expression {
    #[prost(message, optional, tag = "2")]
    pub(crate) attribute: Option<UnresolvedAttribute>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct UnresolvedAttribute {
    #[prost(string, tag = "1")]
    pub(crate) identifier: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PythonUdf {
    #[prost(message, optional, tag = "1")]
    pub(crate) output: Option<DataType>,
    #[prost(int32, tag = "2")]
    pub(crate) eval_type: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) command: Bytes,
    #[prost(string, tag = "4")]
    pub(crate) python: String,
}

/// `PythonEvalType.SQL_MAP_ARROW_ITER_UDF`.
pub(crate) const MAP_ARROW_ITER: i32 = 207;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DataType {
    #[prost(message, optional, tag = "1")]
    pub(crate) null: Option<Nothing>,
    #[prost(message, optional, tag = "2")]
    pub(crate) binary: Option<Nothing>,
    #[prost(message, optional, tag = "3")]
    pub(crate) boolean: Option<Nothing>,
    #[prost(message, optional, tag = "4")]
    pub(crate) byte: Option<Nothing>,
    #[prost(message, optional, tag = "5")]
    pub(crate) short: Option<Nothing>,
    #[prost(message, optional, tag = "6")]
    pub(crate) integer: Option<Nothing>,
    #[prost(message, optional, tag = "7")]
    pub(crate) long: Option<Nothing>,
    #[prost(message, optional, tag = "8")]
    pub(crate) float: Option<Nothing>,
    #[prost(message, optional, tag = "9")]
    pub(crate) double: Option<Nothing>,
    #[prost(message, optional, tag = "10")]
    pub(crate) decimal: Option<Decimal>,
    #[prost(message, optional, tag = "11")]
    pub(crate) string: Option<Nothing>,
    #[prost(message, optional, tag = "12")]
    pub(crate) char: Option<Length>,
    #[prost(message, optional, tag = "13")]
    pub(crate) var_char: Option<Length>,
    #[prost(message, optional, tag = "14")]
    pub(crate) date: Option<Nothing>,
    #[prost(message, optional, tag = "15")]
    pub(crate) timestamp: Option<Nothing>,
    #[prost(message, optional, tag = "16")]
    pub(crate) timestamp_ntz: Option<Nothing>,
    #[prost(message, optional, boxed, tag = "20")]
    pub(crate) array: Option<Box<List>>,
    #[prost(message, optional, tag = "21")]
    pub(crate) r#struct: Option<Struct>,
    #[prost(message, optional, boxed, tag = "22")]
    pub(crate) map: Option<Box<Map>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Decimal {
    #[prost(int32, optional, tag = "1")]
    pub(crate) scale: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) precision: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Length {
    #[prost(int32, tag = "1")]
    pub(crate) length: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct List {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) element: Option<Box<DataType>>,
    #[prost(bool, tag = "2")]
    pub(crate) contains_null: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Map {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) key: Option<Box<DataType>>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) value: Option<Box<DataType>>,
    #[prost(bool, tag = "3")]
    pub(crate) value_contains_null: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) data_type: Option<DataType>,
    #[prost(bool, tag = "3")]
    pub(crate) nullable: bool,
    #[prost(string, optional, tag = "4")]
    pub(crate) metadata: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ExecutePlanResponse {
    #[prost(message, optional, tag = "2")]
    pub(crate) batch: Option<ArrowBatch>,
    #[prost(message, optional, tag = "18")]
    pub(crate) progress: Option<Progress>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ArrowBatch {
    #[prost(int64, tag = "1")]
    pub(crate) rows: i64,
    /// A whole stream of Arrow IPC.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
    #[prost(int64, optional, tag = "3")]
    pub(crate) start: Option<i64>,
    /// Only of clients that ask for it.
    #[prost(int64, optional, tag = "5")]
    pub(crate) chunks: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Progress {
    #[prost(message, repeated, tag = "1")]
    pub(crate) stages: Vec<Stage>,
    #[prost(int64, tag = "2")]
    pub(crate) running: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Stage {
    #[prost(int64, tag = "2")]
    pub(crate) tasks: i64,
    #[prost(int64, tag = "3")]
    pub(crate) completed: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InterruptRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(string, optional, tag = "7")]
    pub(crate) observed_session: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(crate) client_type: Option<String>,
    #[prost(int32, tag = "4")]
    pub(crate) kind: i32,
    #[prost(string, optional, tag = "6")]
    pub(crate) operation_id: Option<String>,
}

pub(crate) const INTERRUPT_ALL: i32 = 1;
pub(crate) const INTERRUPT_OPERATION: i32 = 3;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ReleaseSessionRequest {
    #[prost(string, tag = "1")]
    pub(crate) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(crate) client_type: Option<String>,
}

/// `google.rpc.Status`, in the trailers of a call that went wrong.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RpcStatus {
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) metadata: HashMap<String, String>,
}

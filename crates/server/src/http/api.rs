//! What goes in and out as JSON: the OpenAPI document is made from these types.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, StringArray};
use cordon_access::Purpose;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "sql": "SELECT 1 AS one", "purpose": "research" }]))]
pub struct Asked {
    /// One SELECT, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE statement.
    pub sql: String,
    /// The purpose of use. There is no answer without one.
    #[serde(default)]
    #[schemars(required, schema_with = "purposes")]
    pub purpose: Option<String>,
    /// The research project, where the purpose is research.
    #[serde(default)]
    pub project: Option<String>,
    /// Why, in your own words, where the purpose asks for it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Values of `$1`, `$2` and so on: null, true or false, numbers, texts. A text stands for a date where one is compared with.
    #[serde(default)]
    pub parameters: Vec<Value>,
}

/// The purposes that there are. That one is missing or another is for the record, which is why it is read as text.
pub fn purposes(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "string", "enum": Purpose::ALL.map(Purpose::name) })
}

/// What went wrong (RFC 9457). No value of the data is in it.
#[derive(Serialize, JsonSchema)]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
}

/// A table that exists for you.
#[derive(Serialize, JsonSchema)]
pub struct Table {
    pub table: String,
    pub columns: Vec<Column>,
}

#[derive(Serialize, JsonSchema)]
pub struct Column {
    pub name: String,
    /// Arrow's name of its type.
    pub r#type: String,
    /// Its values are replaced before you see them.
    pub masked: bool,
}

/// Who you are to the server, and what exists for you.
#[derive(Serialize, JsonSchema)]
pub struct Me {
    pub principal: String,
    pub groups: Vec<String>,
    /// How you logged in.
    pub method: String,
    pub purpose: String,
    pub tables: Vec<Rule>,
}

/// What was decided about a table.
#[derive(Serialize, JsonSchema)]
pub struct Rule {
    pub table: String,
    pub columns: Vec<String>,
    /// Columns whose values are replaced.
    pub masked: Vec<String>,
    /// Some rows may not exist for you.
    pub rows_filtered: bool,
    /// What in the policy decided it.
    pub why: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub principal: String,
    /// How you logged in.
    pub method: String,
    /// By this name the session stands in the audit log.
    pub session: String,
    pub queries_running: usize,
    pub draining: bool,
}

/// Parameters as typed values, each the only one of its array.
pub fn values(parameters: &[Value]) -> Result<Vec<ArrayRef>, &'static str> {
    parameters
        .iter()
        .map(|value| -> Result<ArrayRef, &'static str> {
            Ok(match value {
                Value::Null => Arc::new(NullArray::new(1)),
                Value::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(whole), _) => Arc::new(Int64Array::from(vec![whole])),
                    (None, Some(number)) if !value.is_u64() => Arc::new(Float64Array::from(vec![number])),
                    _ => return Err("a number among the parameters is too large"),
                },
                Value::String(text) => Arc::new(StringArray::from(vec![text.as_str()])),
                Value::Array(_) | Value::Object(_) => {
                    return Err("parameters are null, true, false, numbers and texts");
                }
            })
        })
        .collect()
}

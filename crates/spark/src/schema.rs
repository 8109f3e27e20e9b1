//! Spark's schemas, from the JSON that Spark writes (`StructType.json`) to the messages of Spark Connect.

use serde_json::Value;

use crate::error::SparkError;
use crate::proto::{DataType, Decimal, Field, Length, List, Map, Nothing, Struct};

/// Deeper than any table.
const DEEPEST: usize = 32;

pub(crate) fn parse(json: &str) -> Result<DataType, SparkError> {
    let value: Value = serde_json::from_str(json).map_err(|_| wrong())?;
    let found = data_type(&value, DEEPEST).ok_or_else(wrong)?;
    if found.r#struct.is_none() {
        return Err(wrong());
    }
    Ok(found)
}

fn wrong() -> SparkError {
    SparkError::input(
        "what the function returns is not described by a schema of Spark, as JSON, of types that are known here",
    )
}

fn data_type(value: &Value, deep: usize) -> Option<DataType> {
    let deep = deep.checked_sub(1)?;
    if let Some(name) = value.as_str() {
        return simple(name);
    }
    let inner = |name: &str| data_type(value.get(name)?, deep).map(Box::new);
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(true);
    match value.get("type")?.as_str()? {
        "struct" => {
            let fields = value.get("fields")?.as_array()?;
            let fields = fields.iter().map(|value| field(value, deep)).collect::<Option<_>>()?;
            Some(DataType { r#struct: Some(Struct { fields }), ..DataType::default() })
        }
        "array" => {
            let list = List { element: Some(inner("elementType")?), contains_null: flag("containsNull") };
            Some(DataType { array: Some(Box::new(list)), ..DataType::default() })
        }
        "map" => {
            let (key, value) = (Some(inner("keyType")?), Some(inner("valueType")?));
            let map = Map { key, value, value_contains_null: flag("valueContainsNull") };
            Some(DataType { map: Some(Box::new(map)), ..DataType::default() })
        }
        _ => None,
    }
}

fn field(value: &Value, deep: usize) -> Option<Field> {
    let metadata = value.get("metadata").filter(|it| it.as_object().is_some_and(|it| !it.is_empty()));
    Some(Field {
        name: value.get("name")?.as_str()?.to_owned(),
        data_type: Some(data_type(value.get("type")?, deep)?),
        nullable: value.get("nullable").and_then(Value::as_bool).unwrap_or(true),
        metadata: metadata.map(Value::to_string),
    })
}

fn simple(name: &str) -> Option<DataType> {
    let it = Some(Nothing {});
    let none = DataType::default();
    Some(match name {
        "void" | "null" => DataType { null: it, ..none },
        "binary" => DataType { binary: it, ..none },
        "boolean" => DataType { boolean: it, ..none },
        "byte" => DataType { byte: it, ..none },
        "short" => DataType { short: it, ..none },
        "integer" => DataType { integer: it, ..none },
        "long" => DataType { long: it, ..none },
        "float" => DataType { float: it, ..none },
        "double" => DataType { double: it, ..none },
        "string" => DataType { string: it, ..none },
        "date" => DataType { date: it, ..none },
        "timestamp" => DataType { timestamp: it, ..none },
        "timestamp_ntz" => DataType { timestamp_ntz: it, ..none },
        "decimal" => DataType { decimal: Some(Decimal { scale: Some(0), precision: Some(10) }), ..none },
        _ => {
            let (kind, numbers) = name.strip_suffix(')')?.split_once('(')?;
            match kind {
                "decimal" => {
                    let (precision, scale) = numbers.split_once(',')?;
                    let (scale, precision) = (scale.trim().parse().ok(), precision.trim().parse().ok());
                    DataType { decimal: Some(Decimal { scale: Some(scale?), precision: Some(precision?) }), ..none }
                }
                "char" => DataType { char: Some(Length { length: numbers.parse().ok()? }), ..none },
                "varchar" => DataType { var_char: Some(Length { length: numbers.parse().ok()? }), ..none },
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn schemas_are_read_as_spark_writes_them() {
        let json = r#"{"type":"struct","fields":[
            {"name":"a","type":"long","nullable":false,"metadata":{}},
            {"name":"b","type":"decimal(10,2)","nullable":true,"metadata":{"k":1}},
            {"name":"c","type":{"type":"array","elementType":"string","containsNull":false},"nullable":true,"metadata":{}},
            {"name":"d","type":{"type":"map","keyType":"string","valueType":{"type":"struct","fields":[]},"valueContainsNull":true}}
        ]}"#;
        let fields = parse(json).unwrap().r#struct.unwrap().fields;
        assert!(!fields[0].nullable && fields[0].metadata.is_none());
        assert_eq!(fields[1].metadata.as_deref(), Some(r#"{"k":1}"#));
        let types: Vec<_> = fields.into_iter().map(|field| field.data_type.unwrap()).collect();
        assert!(types[0].long.is_some());
        assert_eq!(types[1].decimal, Some(Decimal { scale: Some(2), precision: Some(10) }));
        assert!(types[2].array.as_ref().is_some_and(|it| !it.contains_null));
        assert!(types[3].map.as_ref().unwrap().value.as_ref().unwrap().r#struct.is_some());
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let deep = format!("{}\"long\"{}", r#"{"type":"array","elementType":"#.repeat(40), "}".repeat(40));
        let deep = format!(r#"{{"type":"struct","fields":[{{"name":"a","type":{deep}}}]}}"#);
        for json in ["", "a long", "\"long\"", r#"{"type":"struct"}"#, r#"{"type":"udt","class":"x"}"#, &deep] {
            assert!(matches!(parse(json), Err(SparkError::Input { .. })), "{json}");
        }
    }
}

//! What Flight SQL's clients ask of the server and its tables: from what the session sees and from nothing else.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array, UnionArray,
    new_empty_array, new_null_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, UnionFields, UnionMode};

use super::grpc::{Status, decoded};
use super::ipc;
use super::proto::{Any, GetDbSchemas, GetSqlInfo, GetTables, GetXdbcTypeInfo};
use crate::pg::catalog::{DATABASE, SCHEMA, is_like};

const TABLE: &str = "TABLE";

/// A question about what there is.
pub enum Asked {
    Catalogs,
    Schemas(GetDbSchemas),
    Tables(GetTables),
    TableTypes,
    SqlInfo(Vec<u32>),
    TypeInfo(Option<i32>),
    PrimaryKeys,
    /// Keys to, from and between tables. There are none, nor primary ones.
    ForeignKeys,
}

impl Asked {
    /// `None` where the message is another.
    pub fn read(message: &Any) -> Result<Option<Self>, Status> {
        Ok(Some(match message.name().unwrap_or_default() {
            "CommandGetCatalogs" => Self::Catalogs,
            "CommandGetDbSchemas" => Self::Schemas(decoded(&message.value)?),
            "CommandGetTables" => Self::Tables(decoded(&message.value)?),
            "CommandGetTableTypes" => Self::TableTypes,
            "CommandGetSqlInfo" => Self::SqlInfo(decoded::<GetSqlInfo>(&message.value)?.info),
            "CommandGetXdbcTypeInfo" => Self::TypeInfo(decoded::<GetXdbcTypeInfo>(&message.value)?.data_type),
            "CommandGetPrimaryKeys" => Self::PrimaryKeys,
            "CommandGetExportedKeys" | "CommandGetImportedKeys" | "CommandGetCrossReference" => Self::ForeignKeys,
            _ => return Ok(None),
        }))
    }

    /// Whether it takes to know what the session sees.
    pub fn needs_tables(&self) -> bool {
        matches!(self, Self::Tables(_))
    }

    pub fn schema(&self) -> SchemaRef {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let number = |name: &str, nullable| Field::new(name, DataType::Int32, nullable);
        let fields = match self {
            Self::Catalogs => vec![text("catalog_name", false)],
            Self::Schemas(_) => vec![text("catalog_name", true), text("db_schema_name", false)],
            Self::Tables(asked) => {
                let mut fields = vec![
                    text("catalog_name", true),
                    text("db_schema_name", true),
                    text("table_name", false),
                    text("table_type", false),
                ];
                if asked.include_schema {
                    fields.push(Field::new("table_schema", DataType::Binary, false));
                }
                fields
            }
            Self::TableTypes => vec![text("table_type", false)],
            Self::SqlInfo(_) => {
                let value = DataType::Union(values(), UnionMode::Dense);
                vec![Field::new("info_name", DataType::UInt32, false), Field::new("value", value, false)]
            }
            Self::TypeInfo(_) => {
                let truth = |name: &str, nullable| Field::new(name, DataType::Boolean, nullable);
                let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, false)));
                vec![
                    text("type_name", false),
                    number("data_type", false),
                    number("column_size", true),
                    text("literal_prefix", true),
                    text("literal_suffix", true),
                    Field::new("create_params", texts, true),
                    number("nullable", false),
                    truth("case_sensitive", false),
                    number("searchable", false),
                    truth("unsigned_attribute", true),
                    truth("fixed_prec_scale", false),
                    truth("auto_increment", true),
                    text("local_type_name", true),
                    number("minimum_scale", true),
                    number("maximum_scale", true),
                    number("sql_data_type", false),
                    number("datetime_subcode", true),
                    number("num_prec_radix", true),
                    number("interval_precision", true),
                ]
            }
            Self::PrimaryKeys => vec![
                text("catalog_name", true),
                text("db_schema_name", true),
                text("table_name", false),
                text("column_name", false),
                number("key_sequence", false),
                text("key_name", true),
            ],
            Self::ForeignKeys => {
                let rule = |name: &str| Field::new(name, DataType::UInt8, false);
                vec![
                    text("pk_catalog_name", true),
                    text("pk_db_schema_name", true),
                    text("pk_table_name", false),
                    text("pk_column_name", false),
                    text("fk_catalog_name", true),
                    text("fk_db_schema_name", true),
                    text("fk_table_name", false),
                    text("fk_column_name", false),
                    number("key_sequence", false),
                    text("fk_key_name", true),
                    text("pk_key_name", true),
                    rule("update_rule"),
                    rule("delete_rule"),
                ]
            }
        };
        Arc::new(Schema::new(fields))
    }

    pub fn answer(&self, tables: &[(String, SchemaRef)]) -> Result<RecordBatch, ArrowError> {
        let schema = self.schema();
        let texts = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
        let here = |catalog: Option<&str>| catalog.is_none_or(|name| name == DATABASE);
        let columns = match self {
            Self::Catalogs => vec![texts(vec![DATABASE])],
            Self::Schemas(asked) => {
                let there = here(asked.catalog.as_deref()) && is_like(asked.pattern.as_deref(), SCHEMA);
                let of = |name| texts(if there { vec![name] } else { Vec::new() });
                vec![of(DATABASE), of(SCHEMA)]
            }
            Self::Tables(asked) => {
                let there = here(asked.catalog.as_deref())
                    && is_like(asked.schema_pattern.as_deref(), SCHEMA)
                    && (asked.table_types.is_empty() || asked.table_types.iter().any(|kind| kind == TABLE));
                let found: Vec<_> = tables
                    .iter()
                    .filter(|(table, _)| there && is_like(asked.table_pattern.as_deref(), table))
                    .collect();
                let same = |name| texts(vec![name; found.len()]);
                let names = texts(found.iter().map(|(table, _)| table.as_str()).collect());
                let mut columns = vec![same(DATABASE), same(SCHEMA), names, same(TABLE)];
                if asked.include_schema {
                    let schemas = found.iter().map(|(_, schema)| {
                        ipc::schema(schema).map_err(|_| ArrowError::NotYetImplemented("a column's type".to_owned()))
                    });
                    let schemas = schemas.collect::<Result<Vec<_>, _>>()?;
                    columns.push(Arc::new(BinaryArray::from_iter_values(schemas)));
                }
                columns
            }
            Self::TableTypes => vec![texts(vec![TABLE])],
            Self::SqlInfo(asked) => sql_info(asked)?,
            Self::TypeInfo(asked) => type_info(*asked, &schema),
            Self::PrimaryKeys | Self::ForeignKeys => return Ok(RecordBatch::new_empty(schema)),
        };
        RecordBatch::try_new(schema, columns)
    }
}

enum Info {
    Text(&'static str),
    Is(bool),
    Number(i64),
    Bits(i32),
    Texts(&'static [&'static str]),
}

/// `SqlInfo`: what a client asks before it asks anything else. The numbers are those of `FlightSql.proto`.
const INFO: [(u32, Info); 43] = [
    (0, Info::Text("Cordon")),
    (1, Info::Text(env!("CARGO_PKG_VERSION"))),
    (2, Info::Text("59.3")),
    // Read only, by SQL and not by Substrait; no transactions; what runs can be cancelled; nothing is ingested.
    (3, Info::Is(true)),
    (4, Info::Is(true)),
    (5, Info::Is(false)),
    (8, Info::Bits(0)),
    (9, Info::Is(true)),
    (10, Info::Is(false)),
    (11, Info::Is(false)),
    // No definitions of catalogs, schemas or tables.
    (500, Info::Is(false)),
    (501, Info::Is(false)),
    (502, Info::Is(false)),
    // Names become small letters; within quotes they stay.
    (503, Info::Number(3)),
    (504, Info::Text("\"")),
    (505, Info::Number(0)),
    (506, Info::Is(true)),
    // Nulls count as the highest.
    (507, Info::Number(0)),
    (508, Info::Texts(&[])),
    (509, Info::Texts(&["abs", "ceil", "exp", "floor", "ln", "log", "power", "round", "sqrt", "trunc"])),
    (510, Info::Texts(&["concat", "left", "length", "lower", "replace", "right", "substr", "trim", "upper"])),
    (511, Info::Texts(&[])),
    (512, Info::Texts(&["current_date", "date_part", "date_trunc", "now"])),
    (513, Info::Text("\\")),
    (514, Info::Text("")),
    (515, Info::Is(true)),
    (516, Info::Is(true)),
    (518, Info::Is(true)),
    (519, Info::Is(false)),
    (520, Info::Is(true)),
    (521, Info::Is(true)),
    (522, Info::Bits(7)),
    (523, Info::Is(true)),
    (524, Info::Is(true)),
    (529, Info::Text("schema")),
    (531, Info::Text("catalog")),
    (532, Info::Is(true)),
    (536, Info::Is(false)),
    (537, Info::Is(false)),
    (539, Info::Is(true)),
    (563, Info::Is(false)),
    (572, Info::Is(false)),
    (573, Info::Is(false)),
];

/// The types that a value of `SqlInfo` may have, by which it is told apart.
fn values() -> UnionFields {
    let lists = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let pairs = Fields::from(vec![Field::new("keys", DataType::Int32, false), Field::new("values", lists, true)]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(pairs), false));
    UnionFields::from_fields(vec![
        Field::new("string_value", DataType::Utf8, false),
        Field::new("bool_value", DataType::Boolean, false),
        Field::new("bigint_value", DataType::Int64, false),
        Field::new("int32_bitmask", DataType::Int32, false),
        Field::new("string_list", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true),
        Field::new("int32_to_int32_list_map", DataType::Map(entries, false), true),
    ])
}

fn sql_info(asked: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
    let told: Vec<_> = INFO.iter().filter(|(name, _)| asked.is_empty() || asked.contains(name)).collect();
    let (mut kinds, mut places): (Vec<i8>, Vec<i32>) = (Vec::new(), Vec::new());
    let (mut texts, mut truths, mut numbers, mut bits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut in_lists = 0;
    for (_, info) in &told {
        let (kind, place) = match info {
            Info::Text(text) => {
                texts.push(*text);
                (0, texts.len())
            }
            Info::Is(truth) => {
                truths.push(*truth);
                (1, truths.len())
            }
            Info::Number(number) => {
                numbers.push(*number);
                (2, numbers.len())
            }
            Info::Bits(set) => {
                bits.push(*set);
                (3, bits.len())
            }
            Info::Texts(list) => {
                lists.append_value(list.iter().map(|text| Some(*text)));
                in_lists += 1;
                (4, in_lists)
            }
        };
        kinds.push(kind);
        places.push(place as i32 - 1);
    }
    let fields = values();
    let maps =
        fields.iter().find(|(kind, _)| *kind == 5).map_or(DataType::Null, |(_, field)| field.data_type().clone());
    let children: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(texts)),
        Arc::new(BooleanArray::from(truths)),
        Arc::new(Int64Array::from(numbers)),
        Arc::new(Int32Array::from(bits)),
        Arc::new(lists.finish()),
        new_empty_array(&maps),
    ];
    let union = UnionArray::try_new(fields, ScalarBuffer::from(kinds), Some(ScalarBuffer::from(places)), children)?;
    let names = UInt32Array::from_iter_values(told.iter().map(|(name, _)| *name));
    Ok(vec![Arc::new(names), Arc::new(union)])
}

/// A type of columns: its name, ODBC's number, its size, and what stands around a literal; where it is one of numbers their base, and of
/// dates and times the part behind ODBC's 9.
struct Type(&'static str, i32, Option<i32>, Option<&'static str>, Option<i32>, Option<i32>);

const TYPES: [Type; 12] = [
    Type("BIGINT", -5, Some(64), None, Some(2), None),
    Type("BOOLEAN", -7, Some(1), None, None, None),
    Type("DATE", 91, Some(10), Some("'"), None, Some(1)),
    Type("DECIMAL", 3, Some(38), None, Some(10), None),
    Type("DOUBLE", 8, Some(53), None, Some(2), None),
    Type("INTEGER", 4, Some(32), None, Some(2), None),
    Type("REAL", 7, Some(24), None, Some(2), None),
    Type("SMALLINT", 5, Some(16), None, Some(2), None),
    Type("TIMESTAMP", 93, Some(29), Some("'"), None, Some(3)),
    Type("TINYINT", -6, Some(8), None, Some(2), None),
    Type("VARBINARY", -3, None, Some("'"), None, None),
    Type("VARCHAR", 12, None, Some("'"), None, None),
];

fn type_info(asked: Option<i32>, schema: &Schema) -> Vec<ArrayRef> {
    let told: Vec<&Type> = TYPES.iter().filter(|one| asked.is_none_or(|asked| asked == one.1)).collect();
    let column = |name: &str| -> ArrayRef {
        let numbers = |of: fn(&Type) -> Option<i32>| -> ArrayRef {
            Arc::new(told.iter().map(|one| of(one)).collect::<Int32Array>())
        };
        let truths = |of: fn(&Type) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from(told.iter().map(|one| of(one)).collect::<Vec<_>>()))
        };
        match name {
            "type_name" | "local_type_name" => Arc::new(StringArray::from_iter_values(told.iter().map(|one| one.0))),
            "data_type" => numbers(|one| Some(one.1)),
            "column_size" => numbers(|one| one.2),
            "literal_prefix" | "literal_suffix" => Arc::new(told.iter().map(|one| one.3).collect::<StringArray>()),
            // Nullable, and may stand in every condition.
            "nullable" => numbers(|_| Some(1)),
            "searchable" => numbers(|_| Some(3)),
            "case_sensitive" => truths(|one| one.0 == "VARCHAR"),
            "unsigned_attribute" | "fixed_prec_scale" | "auto_increment" => truths(|_| false),
            "sql_data_type" => numbers(|one| Some(if one.5.is_some() { 9 } else { one.1 })),
            "datetime_subcode" => numbers(|one| one.5),
            "num_prec_radix" => numbers(|one| one.4),
            _ => new_null_array(schema.field_with_name(name).map_or(&DataType::Null, Field::data_type), told.len()),
        }
    };
    schema.fields().iter().map(|field| column(field.name())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_answer_is_of_the_schema_that_is_told_before() {
        let tables = [("visits".to_owned(), Asked::Catalogs.schema())];
        let of_all = GetTables { include_schema: true, ..GetTables::default() };
        for asked in [
            Asked::Catalogs,
            Asked::Schemas(GetDbSchemas::default()),
            Asked::Tables(GetTables::default()),
            Asked::Tables(of_all),
            Asked::TableTypes,
            Asked::SqlInfo(Vec::new()),
            Asked::SqlInfo(vec![8, 4711]),
            Asked::TypeInfo(None),
            Asked::TypeInfo(Some(12)),
            Asked::PrimaryKeys,
            Asked::ForeignKeys,
        ] {
            let batch = asked.answer(&tables).unwrap();
            assert_eq!(batch.schema(), asked.schema());
        }
        assert_eq!(Asked::SqlInfo(vec![8, 4711]).answer(&[]).unwrap().num_rows(), 1);
        assert_eq!(Asked::SqlInfo(Vec::new()).answer(&[]).unwrap().num_rows(), INFO.len());
        assert!(INFO.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn patterns_choose_tables() {
        let tables = ["visits", "vitals", "costs"].map(|name| (name.to_owned(), Asked::Catalogs.schema()));
        let found = |asked: GetTables| Asked::Tables(asked).answer(&tables).unwrap().num_rows();
        let like = |pattern: &str| GetTables { table_pattern: Some(pattern.to_owned()), ..GetTables::default() };
        assert_eq!((found(like("vi%")), found(like("v_sits")), found(like("nothing"))), (2, 1, 0));
        assert_eq!(found(GetTables { catalog: Some("other".to_owned()), ..GetTables::default() }), 0);
        assert_eq!(found(GetTables { table_types: vec!["VIEW".to_owned()], ..GetTables::default() }), 0);
    }
}

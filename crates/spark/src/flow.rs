//! What a cluster is to do with rows.

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;

use crate::error::SparkError;
use crate::function::PythonFunction;
use crate::proto::{
    Expression, InlineFunction, LocalRelation, MAP_ARROW_ITER, MapPartitions, Plan, PythonUdf, Relation,
    RelationCommon, RepartitionByExpression, SetOperation, UNION, UnresolvedAttribute,
};
use crate::schema;

/// Rows on their way through a cluster.
///
/// Its functions' arguments are kept in Spark's event log; rows that are sent along are not, but pass through its driver.
pub enum Flow<'a> {
    /// Rows that are sent along, in as many partitions as `spark.sql.leafNodeDefaultParallelism` says, where there are as many.
    Rows(&'a RecordBatch),
    /// A function over each partition (`mapInArrow`).
    Mapped(Box<Flow<'a>>, &'a PythonFunction<'a>),
    /// All of several, of the same columns, in so many partitions by the value of one, which is a 32-bit integer. See
    /// [`partition_keys`]. Of none, nothing can be made.
    Parted { of: Vec<Flow<'a>>, by: &'a str, partitions: u32 },
}

impl Flow<'_> {
    pub(crate) fn plan(&self) -> Result<Plan, SparkError> {
        Ok(Plan { root: Some(self.relation(&mut 0)?) })
    }

    fn relation(&self, number: &mut i64) -> Result<Relation, SparkError> {
        let plain = match self {
            Self::Rows(rows) => {
                Relation { local: Some(LocalRelation { data: Some(stream(rows)?.into()) }), ..Relation::default() }
            }
            Self::Mapped(input, function) => {
                let inline = InlineFunction {
                    name: function.name.to_owned(),
                    deterministic: false,
                    arguments: input.columns()?.iter().map(|name| attribute(name)).collect(),
                    python: Some(PythonUdf {
                        output: Some(schema::parse(function.returns)?),
                        eval_type: MAP_ARROW_ITER,
                        command: function.pickled().into(),
                        python: function.python.to_owned(),
                    }),
                };
                let map = MapPartitions { input: Some(Box::new(input.relation(number)?)), function: Some(inline) };
                Relation { map_partitions: Some(Box::new(map)), ..Relation::default() }
            }
            Self::Parted { of, by, partitions } => {
                let mut inputs = of.iter();
                let first = inputs.next().ok_or_else(|| SparkError::input("rows of nothing are to be parted"))?;
                let mut input = first.relation(number)?;
                for other in inputs {
                    let operation = SetOperation {
                        left: Some(Box::new(input)),
                        right: Some(Box::new(other.relation(number)?)),
                        kind: UNION,
                        all: Some(true),
                    };
                    input =
                        numbered(Relation { set_operation: Some(Box::new(operation)), ..Relation::default() }, number);
                }
                let partitions = i32::try_from(*partitions).map_err(|_| SparkError::input("too many partitions"))?;
                let (input, by) = (Some(Box::new(input)), vec![attribute(by)]);
                let repartition = RepartitionByExpression { input, by, partitions: Some(partitions) };
                Relation { repartition: Some(Box::new(repartition)), ..Relation::default() }
            }
        };
        Ok(numbered(plain, number))
    }

    fn columns(&self) -> Result<Vec<String>, SparkError> {
        match self {
            Self::Rows(rows) => Ok(rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect()),
            Self::Mapped(_, function) => {
                let fields = schema::parse(function.returns)?.r#struct.map(|of| of.fields).unwrap_or_default();
                Ok(fields.into_iter().map(|field| field.name).collect())
            }
            Self::Parted { of, .. } => of.first().map_or(Ok(Vec::new()), Self::columns),
        }
    }
}

fn numbered(relation: Relation, number: &mut i64) -> Relation {
    let common = Some(RelationCommon { plan_id: Some(*number) });
    *number += 1;
    Relation { common, ..relation }
}

fn attribute(name: &str) -> Expression {
    let identifier = format!("`{}`", name.replace('`', "``"));
    Expression { attribute: Some(UnresolvedAttribute { identifier }) }
}

fn stream(rows: &RecordBatch) -> Result<Vec<u8>, SparkError> {
    let wrong = |_| SparkError::input("the batch cannot be written as Arrow's stream");
    let mut data = Vec::with_capacity(rows.get_array_memory_size().saturating_add(4096));
    let mut writer = StreamWriter::try_new(&mut data, rows.schema_ref()).map_err(wrong)?;
    writer.write(rows).map_err(wrong)?;
    writer.finish().map_err(wrong)?;
    drop(writer);
    Ok(data)
}

/// For each of so many partitions an integer that Spark puts there: `pmod(murmur3(key, seed 42), partitions)`, as its
/// `HashPartitioning` does. Two rows are then never in one partition by chance.
///
/// ```
/// let keys = cordon_spark::partition_keys(8);
/// assert_eq!(keys.len(), 8);
/// assert_ne!(keys[0], keys[1]);
/// ```
pub fn partition_keys(partitions: u32) -> Vec<i32> {
    let mut keys: Vec<Option<i32>> = vec![None; partitions as usize];
    let mut missing = keys.len();
    for key in 0..i32::MAX {
        if missing == 0 {
            break;
        }
        let partition = hash(key).rem_euclid(i64::from(partitions));
        if let Some(slot @ None) = usize::try_from(partition).ok().and_then(|at| keys.get_mut(at)) {
            *slot = Some(key);
            missing -= 1;
        }
    }
    keys.into_iter().map(Option::unwrap_or_default).collect()
}

/// MurmurHash3 for x86 with 32 bits (Austin Appleby, public domain) of one integer, as Spark hashes it.
fn hash(key: i32) -> i64 {
    let mixed = key.cast_unsigned().wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = (0x2a_u32 ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    hash ^= 4;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    i64::from((hash ^ (hash >> 16)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_hashed_as_by_spark() {
        // SELECT hash(0), hash(1), hash(-1), hash(2147483647)
        assert_eq!([0, 1, -1, i32::MAX].map(hash), [933_211_791, -559_580_957, -1_604_776_387, 133_916_647]);
    }

    #[test]
    fn each_partition_has_a_key_of_its_own() {
        for partitions in [1, 2, 7, 256] {
            let keys = partition_keys(partitions);
            for (at, key) in (0..).zip(&keys) {
                assert_eq!(hash(*key).rem_euclid(i64::from(partitions)), at);
            }
        }
        assert!(partition_keys(0).is_empty());
    }
}

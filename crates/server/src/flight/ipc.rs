//! Arrow's own form, on its way into and out of messages of Flight.

use std::io::Cursor;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message,
};
use arrow_schema::{DataType, FieldRef, Schema};
use bytes::Bytes;
use cordon_engine::EngineError;
use cordon_query::QueryError;

use super::grpc::framed;
use super::proto::FlightData;
use crate::service::Trouble;

/// About as large as one message gets: clients take 4 MiB at least.
const MESSAGE: usize = 2 << 20;

/// Arrow's own words hold values.
fn unwritable<E>(_: E) -> Trouble {
    QueryError::Engine(EngineError::Unsupported { what: "a column of this type in this form of answer" }).into()
}

/// A schema as it stands by itself, outside of a stream.
pub fn schema(schema: &Schema) -> Result<Bytes, Trouble> {
    let options = IpcWriteOptions::default();
    let encoded = IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut DictionaryTracker::new(false),
        &options,
    );
    let mut out = Vec::new();
    write_message(&mut out, encoded, &options).map_err(unwritable)?;
    Ok(out.into())
}

/// Makes messages of batches, the first of which is the schema.
pub struct Encoder {
    tracker: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Encoder {
    pub fn new() -> Self {
        Self {
            tracker: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            context: IpcWriteContext::default(),
        }
    }

    pub fn schema(&mut self, schema: &Schema) -> Bytes {
        data(IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(schema, &mut self.tracker, &self.options))
    }

    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, Trouble> {
        let mut messages = Vec::new();
        let bytes: usize =
            batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        let rows = batch.num_rows();
        let at_once = rows.div_ceil(bytes.div_ceil(MESSAGE).max(1)).max(1);
        let mut from = 0;
        while from < rows {
            let slice = batch.slice(from, at_once.min(rows - from));
            let (dictionaries, encoded) = IpcDataGenerator {}
                .encode(&slice, &mut self.tracker, &self.options, &mut self.context)
                .map_err(unwritable)?;
            messages.extend(dictionaries.into_iter().chain([encoded]).map(data));
            from += slice.num_rows();
        }
        Ok(messages)
    }
}

fn data(encoded: EncodedData) -> Bytes {
    framed(&FlightData {
        flight_descriptor: None,
        data_header: encoded.ipc_message.into(),
        data_body: encoded.arrow_data.into(),
    })
}

/// The parameters that a client sends: a schema, and batches of one row all together. Reads what anybody may have made up, and may
/// panic on it: it is called where that ends nothing else.
pub fn parameters(messages: &[FlightData]) -> Result<Vec<ArrayRef>, &'static str> {
    const BROKEN: &str = "the parameters are not in Arrow's form";
    let mut stream = Vec::new();
    for message in messages.iter().filter(|message| !message.data_header.is_empty()) {
        let header = arrow_ipc::root_as_message(&message.data_header).map_err(|_| BROKEN)?;
        // What is said to follow is what memory is taken for.
        if header.bodyLength() != message.data_body.len() as i64 {
            return Err(BROKEN);
        }
        let padded = message.data_header.len().next_multiple_of(8);
        stream.extend_from_slice(&[0xff; 4]);
        stream.extend_from_slice(&(padded as u32).to_le_bytes());
        stream.extend_from_slice(&message.data_header);
        stream.resize(stream.len() + padded - message.data_header.len(), 0);
        stream.extend_from_slice(&message.data_body);
    }
    let reader = StreamReader::try_new(Cursor::new(stream), None).map_err(|_| BROKEN)?;
    // A list may be long where its elements take no bytes.
    let plain =
        |field: &FieldRef| !field.data_type().is_nested() && !matches!(field.data_type(), DataType::Dictionary(..));
    if !reader.schema().fields().iter().all(plain) {
        return Err("parameters are single values: no lists, structures or dictionaries");
    }
    let mut found = None;
    for batch in reader {
        let batch = batch.map_err(|_| BROKEN)?;
        match batch.num_rows() {
            0 => {}
            1 if found.is_none() => found = Some(batch.columns().to_vec()),
            _ => return Err("a question takes one row of parameters; ask once for each"),
        }
    }
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray, StructArray};
    use arrow_schema::Field;

    use super::*;
    use crate::flight::grpc::decoded;

    fn sent(batches: &[RecordBatch]) -> Vec<FlightData> {
        let mut encoder = Encoder::new();
        let mut all = vec![encoder.schema(&batches[0].schema())];
        all.extend(batches.iter().flat_map(|batch| encoder.batch(batch).unwrap()));
        all.iter().map(|message| decoded(&message.slice(5..)).unwrap()).collect()
    }

    fn batch(rows: usize) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("1", DataType::Int64, true), Field::new("2", DataType::Utf8, true)]);
        let numbers = Int64Array::from_iter_values(0..rows as i64);
        let texts = StringArray::from_iter_values((0..rows).map(|row| format!("{row:01000}")));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    }

    #[test]
    fn one_row_of_parameters_comes_back_and_more_are_refused() {
        let found = parameters(&sent(&[batch(1)])).unwrap();
        assert_eq!(found, batch(1).columns());
        assert!(parameters(&sent(&[batch(2)])).unwrap_err().contains("one row"));
        assert!(parameters(&sent(&[batch(1), batch(1)])).unwrap_err().contains("one row"));
        assert!(parameters(&[]).is_err());
        let nested = RecordBatch::try_from_iter([("1", Arc::new(StructArray::from(batch(1))) as ArrayRef)]).unwrap();
        assert!(parameters(&sent(&[nested])).unwrap_err().contains("single values"));
    }

    #[test]
    fn a_length_that_is_made_up_takes_no_memory() {
        let mut messages = sent(&[batch(1)]);
        let body = messages[1].data_body.clone();
        messages[1].data_body = body.slice(..body.len() - 8);
        assert!(parameters(&messages).is_err());
        messages[1].data_header = Bytes::from_static(b"garbage that is no flatbuffer");
        assert!(parameters(&messages).is_err());
    }

    #[test]
    fn a_large_batch_goes_in_messages_that_clients_take() {
        let large = batch(9000);
        let messages = sent(std::slice::from_ref(&large));
        assert!(messages.len() > 4 && messages.iter().all(|message| message.data_body.len() < 2 * MESSAGE));
    }
}

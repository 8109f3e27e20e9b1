//! Rows in the forms that a client may accept, batch by batch.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use cordon_engine::EngineError;
use cordon_query::QueryError;
use http::HeaderMap;
use http::header::ACCEPT;

use crate::service::Trouble;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    NdJson,
    Json,
    Csv,
    Arrow,
}

impl Form {
    pub const ALL: [Self; 4] = [Self::NdJson, Self::Json, Self::Csv, Self::Arrow];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::NdJson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The first that the client takes, by its own order of preference (RFC 9110, section 12.5.1).
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut ranges: Vec<(u32, String)> = Vec::new();
        let mut said = false;
        for value in headers.get_all(ACCEPT) {
            said = true;
            for range in value.to_str().ok()?.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default().to_ascii_lowercase();
                let weight = parts
                    .find_map(|part| part.strip_prefix("q="))
                    .map_or(Some(1.0), |weight| weight.parse::<f32>().ok())
                    .filter(|weight| (0.0..=1.0).contains(weight))?;
                if weight > 0.0 && !name.is_empty() {
                    ranges.push(((weight * 1000.0) as u32, name));
                }
            }
        }
        if !said {
            return Some(Self::NdJson);
        }
        ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        ranges.iter().find_map(|(_, range)| {
            Self::ALL.into_iter().find(|form| match range.strip_suffix("/*") {
                Some("*") => true,
                Some(kind) => form.media_type().split('/').next() == Some(kind),
                None => form.media_type() == range,
            })
        })
    }
}

/// What writers write to and chunks are taken from.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct Encoder {
    out: Shared,
    writer: Writer,
}

enum Writer {
    NdJson(arrow_json::LineDelimitedWriter<Shared>),
    Json(arrow_json::ArrayWriter<Shared>),
    Csv(Box<arrow_csv::Writer<Shared>>),
    Arrow(Box<arrow_ipc::writer::StreamWriter<Shared>>),
}

impl Encoder {
    pub fn new(form: Form, schema: &SchemaRef) -> Result<Self, Trouble> {
        let out = Shared::default();
        let json = || arrow_json::WriterBuilder::new().with_explicit_nulls(true);
        let writer = match form {
            Form::NdJson => Writer::NdJson(json().build(out.clone())),
            Form::Json => Writer::Json(json().build(out.clone())),
            Form::Csv => {
                let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(out.clone());
                // The header stands also above an empty answer.
                writer.write(&RecordBatch::new_empty(schema.clone())).map_err(|error| unwritable(&error))?;
                Writer::Csv(Box::new(writer))
            }
            Form::Arrow => Writer::Arrow(Box::new(
                arrow_ipc::writer::StreamWriter::try_new(out.clone(), schema).map_err(|error| unwritable(&error))?,
            )),
        };
        Ok(Self { out, writer })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Trouble> {
        match &mut self.writer {
            Writer::NdJson(writer) => writer.write(batch),
            Writer::Json(writer) => writer.write(batch),
            Writer::Csv(writer) => writer.write(batch),
            Writer::Arrow(writer) => writer.write(batch),
        }
        .map_err(|error| unwritable(&error))
    }

    /// What has been written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.out.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The end of the answer, with what was not taken before.
    pub fn finish(&mut self) -> Result<Vec<u8>, Trouble> {
        match &mut self.writer {
            Writer::NdJson(writer) => writer.finish(),
            Writer::Json(writer) => writer.finish(),
            Writer::Csv(_) => Ok(()),
            Writer::Arrow(writer) => writer.finish(),
        }
        .map_err(|error| unwritable(&error))?;
        Ok(self.take())
    }
}

/// Arrow's own words hold values.
fn unwritable(_: &ArrowError) -> Trouble {
    QueryError::Engine(EngineError::Unsupported { what: "a column of this type in this form of answer" }).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_client_gets_what_it_likes_best() {
        let accepted = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            Form::accepted(&headers)
        };
        assert_eq!(Form::accepted(&HeaderMap::new()), Some(Form::NdJson));
        assert_eq!(accepted("*/*"), Some(Form::NdJson));
        assert_eq!(accepted("text/csv"), Some(Form::Csv));
        assert_eq!(accepted("text/*"), Some(Form::Csv));
        assert_eq!(accepted("application/json;q=0.5, application/vnd.apache.arrow.stream"), Some(Form::Arrow));
        assert_eq!(accepted("application/json, text/plain, */*"), Some(Form::Json));
        assert_eq!(accepted("text/html"), None);
        assert_eq!(accepted("text/csv;q=0"), None);
        assert_eq!(accepted("text/csv;q=much"), None);
    }
}

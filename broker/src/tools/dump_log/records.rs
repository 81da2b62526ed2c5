//! The records of a batch, each as a line of JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::columnar::Decoder;
use protocol::fluss::batch::{ChangeType, LogBatch};
use protocol::ids::TableId;
use protocol::json::JsonRows;
use protocol::kafka::batch::BatchView;
use protocol::kafka::compression::decompress;
use protocol::kafka::record::{Record, Records};
use serde_json::{Value, json};
use storage::catalog::CatalogView;
use storage::env::Env;
use storage::log::frame::FrameHeader;

use crate::tools::check::open_catalog;

/// A batch decompresses to at most so much; brokers take no larger ones.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// Writes records. Keeps the catalogs that tell the columns of tables.
pub(super) struct RecordLines<'a> {
    env: &'a Env,
    decoder: Decoder,
    /// By data directory; a text where it does not open.
    catalogs: BTreeMap<PathBuf, Result<Arc<CatalogView>, String>>,
}

impl<'a> RecordLines<'a> {
    pub(super) fn new(env: &'a Env) -> RecordLines<'a> {
        RecordLines {
            env,
            decoder: Decoder::default(),
            catalogs: BTreeMap::new(),
        }
    }

    /// Writes the records of a batch whose CRC holds. What cannot be shown is a line that says why.
    pub(super) fn write(
        &mut self,
        segment: &Path,
        table: TableId,
        frame: &FrameHeader,
        batch: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        let written = if frame.format.is_fluss() {
            self.rows(segment, table, frame, batch, &mut lines)
        } else {
            records(frame, batch, &mut lines)
        };
        out.write_all(&lines)?;
        match written {
            Ok(()) => Ok(()),
            Err(why) => writeln!(out, "  records cannot be shown: {why}"),
        }
    }

    fn rows(
        &mut self,
        segment: &Path,
        table: TableId,
        frame: &FrameHeader,
        batch: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let catalog = self.catalog_of(segment)?;
        let table = catalog.table(table).ok_or("the table is not known")?;
        let numbered = table.schemas.iter().find(|s| s.id == frame.schema_id);
        let schema = &numbered.ok_or("the schema is not known")?.schema;
        let batch = LogBatch::parse(&Bytes::copy_from_slice(batch)).map_err(text)?;
        let decoded = self
            .decoder
            .decode(&batch, frame.format, schema, None)
            .map_err(text)?;
        let rows = JsonRows::new(&decoded.rows, schema).map_err(text)?;
        let changes = decoded.changes.as_changes();
        let mut json = Vec::new();
        for row in 0..decoded.rows.num_rows() {
            let change = match changes.get(row) {
                ChangeType::AppendOnly => "+A",
                ChangeType::Insert => "+I",
                ChangeType::UpdateBefore => "-U",
                ChangeType::UpdateAfter => "+U",
                ChangeType::Delete => "-D",
            };
            let offset = frame.base_offset + row as i64;
            out.extend_from_slice(
                format!(
                    "  {{\"offset\":{offset},\"timestamp\":{},\"change\":\"{change}\",\"row\":",
                    frame.commit_time
                )
                .as_bytes(),
            );
            json.clear();
            match rows.write(row, &mut json) {
                Ok(()) => out.extend_from_slice(&json),
                Err(error) => {
                    out.extend_from_slice(format!("null,\"error\":\"{error}\"").as_bytes())
                }
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }

    /// The catalog of the data directory that the segment lies in.
    fn catalog_of(&mut self, segment: &Path) -> Result<Arc<CatalogView>, String> {
        let is_data = |path: &&Path| {
            self.env
                .disk
                .exists(&path.join("catalog"))
                .is_ok_and(|there| there)
        };
        let directory = segment.ancestors().skip(1).find(is_data);
        let directory = directory.ok_or("there is no catalog above the segment")?;
        let env = self.env;
        self.catalogs
            .entry(directory.to_path_buf())
            .or_insert_with(|| match open_catalog(env, directory) {
                Ok(Some(catalog)) => Ok(catalog.view()),
                Ok(None) => Err("the data directory has no catalog".to_owned()),
                Err(error) => Err(format!("the catalog does not open: {error}")),
            })
            .clone()
    }
}

fn records(frame: &FrameHeader, batch: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let view = BatchView::parse(batch).map_err(text)?;
    let codec = view.codec().ok_or("the codec is not known")?;
    let mut payload = Vec::new();
    decompress(codec, view.payload(), DECOMPRESSED_BYTES_MAX, &mut payload).map_err(text)?;
    for record in Records::new(&payload, view.record_count()) {
        let record = record.map_err(text)?;
        let offset = frame.base_offset + i64::from(record.offset_delta);
        let time = view.record_time(record.timestamp_delta);
        let line = line(offset.value(), time, &record);
        out.extend_from_slice(format!("  {line}\n").as_bytes());
    }
    Ok(())
}

/// Written by hand where the order of the fields helps the eye.
fn line(offset: i64, time: i64, record: &Record<'_>) -> String {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|header| json!({ "key": bytes(Some(header.key)), "value": bytes(header.value) }))
        .collect();
    let (key, value) = (bytes(record.key), bytes(record.value));
    let headers = Value::from(headers);
    format!(
        "{{\"offset\":{offset},\"timestamp\":{time},\"key\":{key},\"value\":{value},\"headers\":{headers}}}"
    )
}

/// Text as it is, other bytes in hexadecimal digits.
fn bytes(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": digits })
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

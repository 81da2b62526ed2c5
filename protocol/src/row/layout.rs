//! Rows of one schema as pieces: where the values of an encoded row lie, and rows put together
//! from such pieces. A column that only moves from one row to another is copied, never decoded.

use super::reader::{self, Budget, Reader};
use super::{Datum, RowError, compacted, indexed};
use crate::fluss::options::KvFormat;
use crate::schema::{DataType, Schema};

/// Where the value of a column lies in an encoded row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The column is null.
    pub const NULL: Span = Span {
        start: u32::MAX,
        end: u32::MAX,
    };

    /// True when the column is null.
    pub fn is_null(self) -> bool {
        self == Span::NULL
    }

    /// The encoded value, none for null. `row` is the row that was split.
    pub fn of(self, row: &[u8]) -> Option<&[u8]> {
        if self.is_null() {
            None
        } else {
            row.get(self.start as usize..self.end as usize)
        }
    }

    fn new(start: usize, end: usize) -> Result<Span, RowError> {
        // A row of 4 GiB does not fit any batch.
        let end = u32::try_from(end).map_err(|_| RowError::Bounds)?;
        let start = u32::try_from(start).map_err(|_| RowError::Bounds)?;
        Ok(Span { start, end })
    }
}

/// The columns of a schema in one of the two forms of stored rows, COMPACTED or INDEXED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLayout {
    form: KvFormat,
    types: Vec<DataType>,
    /// Columns with an entry in the length list of an INDEXED row.
    variable: usize,
}

impl RowLayout {
    /// The layout of rows with these column types.
    pub fn new(form: KvFormat, types: impl IntoIterator<Item = DataType>) -> Self {
        let types: Vec<_> = types.into_iter().collect();
        let variable = types.iter().filter(|t| indexed::is_variable(&t.kind));
        RowLayout {
            form,
            variable: variable.count(),
            types,
        }
    }

    /// The layout of the rows of a schema.
    pub fn of(form: KvFormat, schema: &Schema) -> Self {
        RowLayout::new(form, schema.columns.iter().map(|c| c.data_type.clone()))
    }

    /// The form of the rows.
    pub fn format(&self) -> KvFormat {
        self.form
    }

    /// The column types in order.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Decodes a row; `out` is cleared first. The row must fill `row`.
    pub fn read<'a>(&self, row: &'a [u8], out: &mut Vec<Datum<'a>>) -> Result<(), RowError> {
        match self.form {
            KvFormat::Compacted => compacted::read(row, self.types.iter(), out),
            KvFormat::Indexed => indexed::read(row, self.types.iter(), out),
        }
    }

    /// Appends a row of these values.
    pub fn write(&self, values: &[Datum<'_>], out: &mut Vec<u8>) -> Result<(), RowError> {
        match self.form {
            KvFormat::Compacted => compacted::write(values, self.types.iter(), out),
            KvFormat::Indexed => indexed::write(values, self.types.iter(), out),
        }
    }

    /// Finds the values of all columns; `out` is cleared first. Lengths are checked, contents are
    /// not: rows are validated when they arrive.
    pub fn split(&self, row: &[u8], out: &mut Vec<Span>) -> Result<(), RowError> {
        out.clear();
        let mut walk = Walk::new(self, row)?;
        for column in 0..self.types.len() {
            out.push(walk.next(self, column)?);
        }
        walk.reader.finish()
    }

    /// Finds the value of one column, none for null. Only what lies before it is walked over.
    pub fn column<'a>(&self, row: &'a [u8], column: usize) -> Result<Option<&'a [u8]>, RowError> {
        let mut walk = Walk::new(self, row)?;
        for before in 0..column {
            walk.next(self, before)?;
        }
        Ok(walk.next(self, column)?.of(row))
    }

    /// Decodes a value that [`RowLayout::split`] found.
    pub fn value<'a>(&self, column: usize, encoded: &'a [u8]) -> Result<Datum<'a>, RowError> {
        let mut reader = Reader::new(encoded);
        let data_type = &self.types[column];
        let mut budget = Budget::row();
        let value = match self.form {
            KvFormat::Compacted => compacted::read_value(&mut reader, data_type, &mut budget)?,
            KvFormat::Indexed => {
                let len = i32::try_from(encoded.len()).map_err(|_| RowError::Bounds)?;
                let len = len.to_le_bytes();
                let mut lengths = Reader::new(&len);
                indexed::read_value(&mut reader, &mut lengths, data_type, &mut budget)?
            }
        };
        reader.finish()?;
        Ok(value)
    }

    /// Begins a row at the end of `out`: one call per column in order, then
    /// [`RowPieces::finish`].
    pub fn pieces<'l, 'o>(&'l self, out: &'o mut Vec<u8>) -> RowPieces<'l, 'o> {
        let start = out.len();
        let nulls = self.types.len().div_ceil(8);
        let lengths = match self.form {
            KvFormat::Compacted => 0,
            KvFormat::Indexed => self.variable * 4,
        };
        out.resize(start + nulls + lengths, 0);
        RowPieces {
            layout: self,
            length_at: start + nulls,
            out,
            start,
            column: 0,
        }
    }
}

/// Walks over the values of a row, in order.
struct Walk<'a> {
    reader: Reader<'a>,
    nulls: &'a [u8],
    lengths: Reader<'a>,
    len: usize,
}

impl<'a> Walk<'a> {
    fn new(layout: &RowLayout, row: &'a [u8]) -> Result<Self, RowError> {
        let mut reader = Reader::new(row);
        let nulls = reader.bytes(layout.types.len().div_ceil(8))?;
        let lengths = match layout.form {
            KvFormat::Compacted => &[],
            KvFormat::Indexed => reader.bytes(layout.variable * 4)?,
        };
        Ok(Walk {
            reader,
            nulls,
            lengths: Reader::new(lengths),
            len: row.len(),
        })
    }

    fn next(&mut self, layout: &RowLayout, column: usize) -> Result<Span, RowError> {
        let data_type = &layout.types[column];
        if reader::bit(self.nulls, column) {
            return Ok(Span::NULL);
        }
        let start = self.len - self.reader.remaining();
        match layout.form {
            KvFormat::Compacted => compacted::skip_value(&mut self.reader, data_type)?,
            KvFormat::Indexed => {
                indexed::skip_value(&mut self.reader, &mut self.lengths, data_type)?
            }
        }
        Span::new(start, self.len - self.reader.remaining())
    }
}

/// A row that is being put together. After an error it must be given up.
#[derive(Debug)]
pub struct RowPieces<'l, 'o> {
    layout: &'l RowLayout,
    out: &'o mut Vec<u8>,
    start: usize,
    length_at: usize,
    column: usize,
}

impl RowPieces<'_, '_> {
    /// The next column is null.
    pub fn null(&mut self) -> Result<(), RowError> {
        if !self.next()?.nullable {
            return Err(RowError::Null);
        }
        let column = self.column - 1;
        self.out[self.start + column / 8] |= 1 << (column % 8);
        Ok(())
    }

    /// The next column has a value that [`RowLayout::split`] found in a row of the same form,
    /// where the column has the same type; none is null.
    pub fn encoded(&mut self, value: Option<&[u8]>) -> Result<(), RowError> {
        let Some(value) = value else {
            return self.null();
        };
        self.next()?;
        self.out.extend_from_slice(value);
        self.close(value.len())
    }

    /// The next column has this value.
    pub fn value(&mut self, value: &Datum<'_>) -> Result<(), RowError> {
        if value.is_null() {
            return self.null();
        }
        let layout = self.layout;
        self.next()?;
        let data_type = &layout.types[self.column - 1];
        let start = self.out.len();
        match layout.form {
            KvFormat::Compacted => compacted::write_value(value, data_type, self.out)?,
            KvFormat::Indexed => indexed::write_value(value, data_type, self.out)?,
        }
        self.close(self.out.len() - start)
    }

    /// Ends the row, which must have all its columns.
    pub fn finish(self) -> Result<(), RowError> {
        let (expected, found) = (self.layout.types.len(), self.column);
        if found != expected {
            return Err(RowError::Width { expected, found });
        }
        Ok(())
    }

    fn next(&mut self) -> Result<&DataType, RowError> {
        let types = &self.layout.types;
        let data_type = types.get(self.column).ok_or(RowError::Width {
            expected: types.len(),
            found: self.column + 1,
        })?;
        self.column += 1;
        Ok(data_type)
    }

    /// Writes the length of the value that was appended, where the form has a list of them.
    fn close(&mut self, len: usize) -> Result<(), RowError> {
        let kind = &self.layout.types[self.column - 1].kind;
        if self.layout.form == KvFormat::Compacted || !indexed::is_variable(kind) {
            return Ok(());
        }
        let len = i32::try_from(len).map_err(|_| RowError::Bounds)?;
        self.out[self.length_at..self.length_at + 4].copy_from_slice(&len.to_le_bytes());
        self.length_at += 4;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors::hex;
    use crate::row::strategy;

    const FORMS: [KvFormat; 2] = [KvFormat::Compacted, KvFormat::Indexed];

    #[test]
    fn the_rows_of_the_java_client_come_apart_and_together_again() {
        let (types, values) = strategy::vector_row();
        for (form, digits) in [
            (KvFormat::Compacted, strategy::COMPACTED_VECTOR),
            (KvFormat::Indexed, strategy::INDEXED_VECTOR),
        ] {
            let row = hex(digits);
            let layout = RowLayout::new(form, types.clone());
            let mut spans = Vec::new();
            layout.split(&row, &mut spans).unwrap();
            let mut out = vec![0xee];
            let mut pieces = layout.pieces(&mut out);
            for (i, (span, value)) in spans.iter().zip(&values).enumerate() {
                match span.of(&row) {
                    Some(encoded) => assert_eq!(&layout.value(i, encoded).unwrap(), value),
                    None => assert!(value.is_null()),
                }
                assert_eq!(layout.column(&row, i).unwrap(), span.of(&row));
                pieces.encoded(span.of(&row)).unwrap();
            }
            pieces.finish().unwrap();
            assert_eq!(out[1..], row);
        }
    }

    #[test]
    fn a_row_needs_all_its_columns_and_no_more() {
        let kind = crate::schema::TypeKind::Int;
        let types = [
            DataType::not_null(kind.clone()),
            DataType::not_null(kind.clone()),
        ];
        let layout = RowLayout::new(KvFormat::Compacted, types);
        let mut out = Vec::new();
        let mut pieces = layout.pieces(&mut out);
        assert_eq!(pieces.null(), Err(RowError::Null));
        let mut out = Vec::new();
        let mut pieces = layout.pieces(&mut out);
        pieces.value(&Datum::Int(1)).unwrap();
        let cut = RowError::Width {
            expected: 2,
            found: 1,
        };
        assert_eq!(pieces.finish(), Err(cut));
    }

    proptest! {
        #[test]
        fn pieces_equal_what_is_written_at_once((types, values) in strategy::row()) {
            let values: Vec<_> = values.iter().map(strategy::Owned::datum).collect();
            for form in FORMS {
                let layout = RowLayout::new(form, types.clone());
                let mut whole = Vec::new();
                layout.write(&values, &mut whole).unwrap();
                let mut spans = Vec::new();
                layout.split(&whole, &mut spans).unwrap();
                let (mut copied, mut written) = (Vec::new(), Vec::new());
                let mut copy = layout.pieces(&mut copied);
                let mut write = layout.pieces(&mut written);
                for (i, span) in spans.iter().enumerate() {
                    copy.encoded(span.of(&whole)).unwrap();
                    write.value(&values[i]).unwrap();
                    if let Some(encoded) = span.of(&whole) {
                        prop_assert_eq!(&layout.value(i, encoded).unwrap(), &values[i]);
                    }
                }
                copy.finish().unwrap();
                write.finish().unwrap();
                prop_assert_eq!(&copied, &whole);
                prop_assert_eq!(&written, &whole);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            types in proptest::collection::vec(strategy::data_type(), 1..6),
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            for form in FORMS {
                let layout = RowLayout::new(form, types.clone());
                let mut spans = Vec::new();
                if layout.split(&bytes, &mut spans).is_ok() {
                    for (i, span) in spans.iter().enumerate() {
                        if let Some(encoded) = span.of(&bytes) {
                            let _ = layout.value(i, encoded);
                        }
                    }
                }
            }
        }
    }
}

//! Descriptors, options and names of Fluss tables.

use protocol::fluss::descriptor::{
    DatabaseDescriptor, TableDescriptor, data_type_from_json, data_type_to_json, schema_from_json,
    schema_to_json,
};
use protocol::fluss::names::{check_name, check_new_name};
use protocol::fluss::options::{
    ClusterLimits, TABLE_OPTIONS, TimeUnit, parse_bytes, parse_duration, validate_create,
};
use protocol::fluss::partition::{PartitionValues, TimePattern, time_zone};

use super::Reader;

/// The JSON of tables, schemas, databases and types. What is read is written so that it reads the
/// same again: the catalog stores that form.
pub fn descriptors(data: &[u8]) {
    if let Ok(table) = TableDescriptor::from_json(data) {
        let again = TableDescriptor::from_json(&table.to_json());
        assert_eq!(again.as_ref(), Ok(&table));
        let _ = validate_create(table, &ClusterLimits::default());
    }
    if let Ok(schema) = schema_from_json(data) {
        assert_eq!(schema_from_json(&schema_to_json(&schema)), Ok(schema));
    }
    if let Ok(data_type) = data_type_from_json(data) {
        let again = data_type_from_json(&data_type_to_json(&data_type));
        assert_eq!(again, Ok(data_type));
    }
    if let Ok(database) = DatabaseDescriptor::from_json(data) {
        let again = DatabaseDescriptor::from_json(&database.to_json());
        assert_eq!(again, Ok(database));
    }
}

/// An option, then its value; and the value as every other short text.
pub fn options(data: &[u8]) {
    let mut input = Reader(data);
    let option = input.choose(TABLE_OPTIONS);
    let unit = *input.choose(&[
        TimeUnit::Year,
        TimeUnit::Quarter,
        TimeUnit::Month,
        TimeUnit::Day,
        TimeUnit::Hour,
    ]);
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    let _ = option.check(text);
    let _ = parse_bytes(text);
    let _ = parse_duration(text);
    let _ = time_zone(text);
    let _ = check_name(text);
    let _ = check_new_name(text);
    let _ = PartitionValues::from_name(&["a".to_owned(), "b".to_owned()], text);
    if let Ok(pattern) = TimePattern::parse(text, unit) {
        let _ = pattern.accepts(text);
        let _ = pattern.accepts("20260101");
    }
}

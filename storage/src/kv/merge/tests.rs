use protocol::fluss::options::{ChangelogImage, DeleteBehavior, KvFormat};
use protocol::row::{Datum, Timestamp};
use protocol::schema::TypeKind;

use super::*;
use crate::kv::auto_increment::{IdSource, NoIds};
use crate::kv::fixtures::{self, Described, ONE, TWO, row, table};

use Datum::{Boolean, Decimal, Int, Null, String as Text};

/// `k INT, a INT, b STRING` in schema 1, `c BIGINT` added by schema 2.
fn plain() -> MergeTable {
    let columns: [Described<'_>; 3] = [
        ("a", TypeKind::Int, ""),
        ("b", TypeKind::String, ""),
        ("c", TypeKind::BigInt, ""),
    ];
    table(&columns, 2)
}

/// What an upsert with these values of schema `new.0` makes of a key with those of `old.0`.
fn upsert(
    table: &MergeTable,
    targets: Option<&[i32]>,
    mode: MergeMode,
    old: Option<(SchemaId, &[Datum<'_>])>,
    new: (SchemaId, &[Datum<'_>]),
) -> String {
    let plan = MergePlan::compile(table, new.0, targets, mode).unwrap();
    let old = old.map(|(id, values)| (id, row(table, id, values)));
    let old = old.as_ref().map(|(id, row)| Value {
        schema_id: *id,
        row,
    });
    let new = row(table, new.0, new.1);
    let mut scratch = MergeScratch::new();
    let outcome = plan.upsert(old, &new, &mut NoIds, &mut scratch).unwrap();
    show(table, outcome)
}

fn delete(table: &MergeTable, targets: Option<&[i32]>, old: (SchemaId, &[Datum<'_>])) -> String {
    let plan = MergePlan::compile(table, TWO, targets, MergeMode::Engine).unwrap();
    let bytes = row(table, old.0, old.1);
    let old = Value {
        schema_id: old.0,
        row: &bytes,
    };
    let mut scratch = MergeScratch::new();
    match plan.delete(Some(old), &mut scratch) {
        Ok(outcome) => show(table, outcome),
        Err(error) => error.to_string(),
    }
}

fn show(table: &MergeTable, outcome: Outcome<'_, '_>) -> String {
    let show = |value: Value<'_>| {
        let values = fixtures::values(table, value).into_iter();
        let values: Vec<_> = values
            .map(|v| match v {
                Null => "-".to_owned(),
                Int(v) => v.to_string(),
                Datum::BigInt(v) => format!("{v}L"),
                Text(v) => v.to_owned(),
                other => format!("{other:?}"),
            })
            .collect();
        format!("{}({})", value.schema_id, values.join(","))
    };
    match outcome {
        Outcome::Nothing => "nothing".to_owned(),
        Outcome::Insert { new } => format!("insert {}", show(new)),
        Outcome::Overwrite { new } => format!("overwrite {}", show(new)),
        Outcome::Update { new, .. } => format!("update {}", show(new)),
        Outcome::Delete { old } => format!("delete {}", show(old)),
    }
}

const OLD: (SchemaId, &[Datum<'static>]) = (ONE, &[Int(1), Int(10), Text("x")]);
const NEW: (SchemaId, &[Datum<'static>]) = (TWO, &[Int(1), Int(20), Null, Datum::BigInt(7)]);

#[test]
fn without_an_engine_the_new_row_wins_as_it_is() {
    let table = plain();
    let all: &[i32] = &[0, 1, 2, 3, 3];
    for targets in [None, Some(all)] {
        let mode = MergeMode::Engine;
        assert_eq!(upsert(&table, targets, mode, None, OLD), "insert 1(1,10,x)");
        assert_eq!(
            upsert(&table, targets, mode, Some(OLD), NEW),
            "update 2(1,20,-,7L)"
        );
        assert_eq!(
            upsert(&table, targets, mode, Some(NEW), OLD),
            "update 1(1,10,x)"
        );
    }
    assert_eq!(delete(&table, None, OLD), "delete 1(1,10,x)");
    let plan = MergePlan::compile(&table, TWO, None, MergeMode::Engine).unwrap();
    assert!(plan.upsert_looks_up(ChangelogImage::Full));
    assert!(!plan.upsert_looks_up(ChangelogImage::Wal));
    let bytes = row(&table, TWO, NEW.1);
    assert_eq!(
        show(&table, plan.overwrite(&bytes)),
        "overwrite 2(1,20,-,7L)"
    );
}

#[test]
fn a_partial_update_takes_the_targets_only_and_writes_the_newest_schema() {
    for kv_format in [KvFormat::Compacted, KvFormat::Indexed] {
        let table = MergeTable {
            kv_format,
            ..plain()
        };
        let merge =
            |targets: &[i32], old, new| upsert(&table, Some(targets), MergeMode::Engine, old, new);
        assert_eq!(merge(&[0, 1], Some(OLD), NEW), "update 2(1,20,x,-)");
        assert_eq!(merge(&[0, 3], Some(OLD), NEW), "update 2(1,10,x,7L)");
        assert_eq!(merge(&[0, 2], Some(OLD), NEW), "update 2(1,10,-,-)");
        // The batch's schema lacks the target.
        assert_eq!(merge(&[0, 3], Some(NEW), OLD), "update 2(1,20,-,-)");
        assert_eq!(merge(&[0], Some(OLD), NEW), "nothing");
        assert_eq!(merge(&[0], None, NEW), "insert 2(1,-,-,-)");
        assert_eq!(merge(&[0, 1, 3], None, NEW), "insert 2(1,20,-,7L)");
        assert_eq!(merge(&[0, 1], None, OLD), "insert 2(1,10,-,-)");
    }
}

#[test]
fn a_partial_delete_takes_the_row_when_nothing_else_is_in_it() {
    let table = plain();
    assert_eq!(delete(&table, Some(&[0, 1]), OLD), "update 2(1,-,x,-)");
    assert_eq!(delete(&table, Some(&[0, 1, 2]), OLD), "delete 1(1,10,x)");
    assert_eq!(delete(&table, Some(&[0, 1, 2]), NEW), "update 2(1,-,-,7L)");
    assert_eq!(delete(&table, Some(&[0, 1, 3]), NEW), "delete 2(1,20,-,7L)");
}

#[test]
fn deletes_follow_the_behavior_and_the_engine() {
    let with = |engine, delete_behavior| MergeTable {
        engine,
        delete_behavior,
        version_column: Some("a".into()),
        ..plain()
    };
    use MergeEngine::{Aggregation, FirstRow, Versioned};
    for engine in [Some(FirstRow), Some(Versioned), Some(Aggregation)] {
        assert_eq!(delete(&with(engine, None), None, OLD), "nothing");
    }
    let ignore = with(None, Some(DeleteBehavior::Ignore));
    assert_eq!(delete(&ignore, None, OLD), "nothing");
    let disable = with(Some(FirstRow), Some(DeleteBehavior::Disable));
    assert_eq!(
        delete(&disable, None, OLD),
        "deletes are disabled for the table"
    );
    let allow = with(Some(Aggregation), Some(DeleteBehavior::Allow));
    assert_eq!(delete(&allow, None, OLD), "delete 1(1,10,x)");
    assert_eq!(delete(&allow, Some(&[0, 1]), OLD), "update 2(1,-,x,-)");
    let refused = with(Some(Versioned), Some(DeleteBehavior::Allow));
    let refused = MergePlan::compile(&refused, TWO, None, MergeMode::Engine).unwrap_err();
    assert_eq!(refused, PlanError::Deletes(Versioned));
    // Overwriting allows what the table does not.
    let plan = MergePlan::compile(&disable, TWO, None, MergeMode::Overwrite).unwrap();
    assert!(plan.delete_looks_up());
}

#[test]
fn the_first_row_stays_unless_it_is_overwritten() {
    let table = MergeTable {
        engine: Some(MergeEngine::FirstRow),
        ..plain()
    };
    let merge = |mode, old| upsert(&table, None, mode, old, NEW);
    assert_eq!(merge(MergeMode::Engine, Some(OLD)), "nothing");
    assert_eq!(merge(MergeMode::Engine, None), "insert 2(1,20,-,7L)");
    assert_eq!(
        merge(MergeMode::Overwrite, Some(OLD)),
        "update 2(1,20,-,7L)"
    );
    let partial = MergePlan::compile(&table, TWO, Some(&[0, 1]), MergeMode::Engine);
    assert_eq!(
        partial.unwrap_err(),
        PlanError::Partial(MergeEngine::FirstRow)
    );
}

#[test]
fn the_larger_version_wins_and_null_is_the_smallest() {
    let versioned = |column: &str| MergeTable {
        engine: Some(MergeEngine::Versioned),
        version_column: Some(column.into()),
        ..plain()
    };
    let table = versioned("a");
    let row = |version| [Int(1), version, Text("n"), Null];
    for (old, new, wins) in [
        (Int(5), Int(6), true),
        (Int(5), Int(5), true),
        (Int(5), Int(4), false),
        (Int(5), Null, false),
        (Null, Null, true),
        (Int(i32::MIN), Null, true),
        (Null, Int(i32::MIN), true),
    ] {
        let (old, new) = (row(old), row(new));
        let merged = upsert(
            &table,
            None,
            MergeMode::Engine,
            Some((TWO, &old)),
            (TWO, &new),
        );
        assert_eq!(merged.starts_with("update"), wins, "{merged}");
    }
    // A row from before the column has no version.
    let merged = upsert(&versioned("c"), None, MergeMode::Engine, Some(OLD), NEW);
    assert_eq!(merged, "update 2(1,20,-,7L)");
    let table = versioned("b");
    let refused = MergePlan::compile(&table, TWO, None, MergeMode::Engine).unwrap_err();
    assert_eq!(refused, PlanError::VersionColumn(Some("b".into())));
    let later = Timestamp {
        millis: 5,
        nanos: 1,
    };
    let times = [
        Datum::Timestamp(later),
        number::smallest(&TypeKind::Timestamp { precision: 9 }),
    ];
    assert_eq!(
        number::compare(&times[0], &times[1]),
        std::cmp::Ordering::Greater
    );
}

/// What a function makes of two values.
fn aggregate(kind: TypeKind, function: &str, old: Datum<'_>, new: Datum<'_>) -> Vec<u8> {
    let table = MergeTable {
        engine: Some(MergeEngine::Aggregation),
        ..table(&[("a", kind, function)], 1)
    };
    let plan = MergePlan::compile(&table, TWO, None, MergeMode::Engine).unwrap();
    let old = row(&table, TWO, &[Int(1), old]);
    let new = row(&table, TWO, &[Int(1), new]);
    let stored = Value {
        schema_id: TWO,
        row: &old,
    };
    let mut scratch = MergeScratch::new();
    let outcome = plan.upsert(Some(stored), &new, &mut NoIds, &mut scratch);
    match outcome.unwrap().change() {
        Some(KeyChange::Put(value)) => value.row.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_function_joins_two_values() {
    let decimal = TypeKind::Decimal {
        precision: 20,
        scale: 2,
    };
    let cases = [
        (TypeKind::Int, "sum", Int(i32::MAX), Int(1), Int(i32::MIN)),
        (
            TypeKind::Double,
            "SUM",
            Datum::Double(0.5),
            Datum::Double(1.0),
            Datum::Double(1.5),
        ),
        (
            decimal.clone(),
            "sum",
            Decimal(150),
            Decimal(-50),
            Decimal(100),
        ),
        (
            decimal.clone(),
            "product",
            Decimal(150),
            Decimal(250),
            Decimal(375),
        ),
        (
            decimal,
            "product",
            Decimal(10i128.pow(19)),
            Decimal(10i128.pow(19)),
            Null,
        ),
        (
            TypeKind::TinyInt,
            "product",
            Datum::TinyInt(-2),
            Datum::TinyInt(3),
            Datum::TinyInt(-6),
        ),
        (TypeKind::Int, "max", Int(3), Int(4), Int(4)),
        (TypeKind::Int, "min", Int(3), Int(4), Int(3)),
        (TypeKind::String, "max", Text("a"), Text("b"), Text("b")),
        (
            TypeKind::Date,
            "min",
            Datum::Date(7),
            Datum::Date(5),
            Datum::Date(5),
        ),
        (TypeKind::Int, "last_value", Int(3), Int(4), Int(4)),
        (
            TypeKind::Int,
            "last-value-ignore-nulls",
            Int(3),
            Int(4),
            Int(4),
        ),
        (TypeKind::Int, "first_value", Int(3), Int(4), Int(3)),
        (
            TypeKind::Int,
            "first_value_ignore_nulls",
            Int(3),
            Int(4),
            Int(3),
        ),
        (TypeKind::Int, "", Int(3), Int(4), Int(4)),
        (
            TypeKind::String,
            "listagg",
            Text("a"),
            Text("b"),
            Text("a,b"),
        ),
        (
            TypeKind::String,
            "string_agg",
            Text(""),
            Text(""),
            Text(","),
        ),
        (
            TypeKind::Boolean,
            "bool_and",
            Boolean(true),
            Boolean(false),
            Boolean(false),
        ),
        (
            TypeKind::Boolean,
            "bool_or",
            Boolean(true),
            Boolean(false),
            Boolean(true),
        ),
    ];
    for (kind, function, old, new, expected) in cases {
        let table = table(&[("a", kind.clone(), "")], 1);
        let encode = |value| row(&table, TWO, &[Int(1), value]);
        let merge = |old, new| aggregate(kind.clone(), function, old, new);
        assert_eq!(
            merge(old.clone(), new.clone()),
            encode(expected),
            "{function}"
        );
        // Beside null the other value is the result.
        assert_eq!(merge(Null, new.clone()), encode(new), "{function}");
        let kept = if function == "last_value" {
            Null
        } else {
            old.clone()
        };
        assert_eq!(merge(old, Null), encode(kept), "{function}");
        assert_eq!(merge(Null, Null), encode(Null), "{function}");
    }
}

#[test]
fn bitmaps_are_joined_and_garbage_fails_the_batch() {
    let empty64 = [0u8];
    let merged = aggregate(
        TypeKind::Bytes,
        "rbm64",
        Datum::Bytes(&empty64),
        Datum::Bytes(&empty64),
    );
    assert_eq!(merged, [0, 1, 1, 0]);
    let table = MergeTable {
        engine: Some(MergeEngine::Aggregation),
        ..table(&[("a", TypeKind::Bytes, "rbm32")], 1)
    };
    let plan = MergePlan::compile(&table, TWO, None, MergeMode::Engine).unwrap();
    let garbage = row(&table, TWO, &[Int(1), Datum::Bytes(b"garbage")]);
    let old = Value {
        schema_id: TWO,
        row: &garbage,
    };
    let mut scratch = MergeScratch::new();
    let failed = plan.upsert(Some(old), &garbage, &mut NoIds, &mut scratch);
    assert!(matches!(failed, Err(MergeError::Bitmap { column: 1, .. })));
}

#[test]
fn a_partial_aggregate_leaves_other_columns() {
    let columns: [Described<'_>; 3] = [
        ("a", TypeKind::Int, "sum"),
        ("b", TypeKind::String, "listagg"),
        ("c", TypeKind::BigInt, "max"),
    ];
    let table = MergeTable {
        engine: Some(MergeEngine::Aggregation),
        ..table(&columns, 2)
    };
    let new: (SchemaId, &[Datum<'_>]) = (TWO, &[Int(1), Int(20), Text("y"), Datum::BigInt(7)]);
    let merge = |targets: Option<&[i32]>, old| upsert(&table, targets, MergeMode::Engine, old, new);
    assert_eq!(merge(None, Some(OLD)), "update 2(1,30,x,y,7L)");
    assert_eq!(merge(Some(&[0, 1]), Some(OLD)), "update 2(1,30,x,-)");
    assert_eq!(merge(Some(&[0, 3]), Some(OLD)), "update 2(1,10,x,7L)");
    // The first row is stored as it is.
    assert_eq!(merge(Some(&[0, 1]), None), "insert 2(1,20,y,7L)");
    let overwritten = upsert(&table, Some(&[0, 1]), MergeMode::Overwrite, Some(OLD), new);
    assert_eq!(overwritten, "update 2(1,20,x,-)");
}

#[test]
fn target_columns_are_checked() {
    let table = plain();
    let refused = |targets: &[i32]| {
        let plan = MergePlan::compile(&table, TWO, Some(targets), MergeMode::Engine);
        assert!(matches!(plan, Err(PlanError::Targets(_))), "{targets:?}");
    };
    refused(&[1, 2]);
    refused(&[0, 4]);
    refused(&[0, -1]);
    let unknown = MergePlan::compile(&table, SchemaId::new(3), None, MergeMode::Engine);
    assert!(matches!(unknown, Err(PlanError::UnknownSchema { .. })));
    let mut strict = plain();
    let mut schema = (*strict.schemas[&TWO]).clone();
    schema.columns[1].data_type.nullable = false;
    strict.schemas.insert(TWO, Arc::new(schema));
    let plan = MergePlan::compile(&strict, TWO, Some(&[0, 1]), MergeMode::Engine);
    assert!(matches!(plan, Err(PlanError::Targets(_))));
    assert!(MergePlan::compile(&strict, TWO, Some(&[0, 1, 2, 3]), MergeMode::Engine).is_ok());
}

struct From(i64);

impl IdSource for From {
    fn next_id(&mut self) -> Result<i64, AutoIncrementError> {
        self.0 += 1;
        Ok(self.0 - 1)
    }
}

#[test]
fn inserts_and_only_they_get_a_number() {
    let mut numbered = plain();
    for schema in numbered.schemas.values_mut() {
        let mut changed = (**schema).clone();
        changed.auto_increment_column = Some("a".into());
        *schema = Arc::new(changed);
    }
    for engine in [None, Some(MergeEngine::Aggregation)] {
        numbered.engine = engine;
        for targets in [None, Some(&[0, 1, 2][..])] {
            let plan = MergePlan::compile(&numbered, TWO, targets, MergeMode::Engine);
            assert!(matches!(plan, Err(PlanError::Targets(_))));
        }
        let plan = MergePlan::compile(&numbered, TWO, Some(&[0, 2]), MergeMode::Engine).unwrap();
        assert!(plan.upsert_looks_up(ChangelogImage::Wal));
        let sent = row(&numbered, TWO, &[Int(1), Null, Text("s"), Null]);
        let mut ids = From(42);
        let mut scratch = MergeScratch::new();
        let first = plan.upsert(None, &sent, &mut ids, &mut scratch).unwrap();
        assert_eq!(show(&numbered, first), "insert 2(1,42,s,-)");
        let old = row(&numbered, ONE, OLD.1);
        let old = Value {
            schema_id: ONE,
            row: &old,
        };
        let mut scratch = MergeScratch::new();
        let second = plan
            .upsert(Some(old), &sent, &mut ids, &mut scratch)
            .unwrap();
        assert_eq!(show(&numbered, second), "update 2(1,10,s,-)");
        assert_eq!(ids.0, 43);
    }
}

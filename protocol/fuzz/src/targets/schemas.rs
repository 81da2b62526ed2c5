//! The schemas that rows and batches are read with: every type, flat and nested.

use std::sync::LazyLock;

use protocol::raw::raw_schema;
use protocol::schema::{Column, DataType, RowField, Schema, TypeKind};

/// The schemas.
pub fn schemas() -> &'static [Schema] {
    static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
        vec![
            schema([TypeKind::Int, TypeKind::String]),
            schema(scalars()),
            schema(nested()),
            raw_schema(false),
            raw_schema(true),
            schema([TypeKind::Boolean]),
            schema([TypeKind::Bytes, TypeKind::Bytes]),
            schema([list(TypeKind::Row(Vec::new())), TypeKind::Row(Vec::new())]),
        ]
    });
    &SCHEMAS
}

/// Every scalar type.
fn scalars() -> Vec<TypeKind> {
    let mut kinds = vec![
        TypeKind::Boolean,
        TypeKind::TinyInt,
        TypeKind::SmallInt,
        TypeKind::Int,
        TypeKind::BigInt,
        TypeKind::Float,
        TypeKind::Double,
        TypeKind::Char { length: 3 },
        TypeKind::String,
        TypeKind::Binary { length: 4 },
        TypeKind::Bytes,
        TypeKind::Date,
    ];
    for precision in [5, 18, 19, 38] {
        let scale = precision / 2;
        kinds.push(TypeKind::Decimal { precision, scale });
    }
    for precision in [0, 3, 6, 9] {
        kinds.push(TypeKind::Time { precision });
        kinds.push(TypeKind::Timestamp { precision });
        kinds.push(TypeKind::TimestampLtz { precision });
    }
    kinds
}

fn nested() -> Vec<TypeKind> {
    let row = || {
        TypeKind::Row(vec![
            field("a", TypeKind::Int),
            field("b", list(TypeKind::String)),
        ])
    };
    vec![
        list(TypeKind::BigInt),
        list(list(TypeKind::Boolean)),
        row(),
        list(row()),
        map(TypeKind::String, TypeKind::Bytes),
        map(TypeKind::Int, list(row())),
        list(TypeKind::Decimal {
            precision: 30,
            scale: 4,
        }),
        list(TypeKind::Timestamp { precision: 9 }),
    ]
}

fn list(of: TypeKind) -> TypeKind {
    TypeKind::Array(Box::new(DataType::nullable(of)))
}

fn map(key: TypeKind, value: TypeKind) -> TypeKind {
    TypeKind::Map {
        key: Box::new(DataType::not_null(key)),
        value: Box::new(DataType::nullable(value)),
    }
}

fn field(name: &str, kind: TypeKind) -> RowField {
    RowField {
        name: name.into(),
        data_type: DataType::nullable(kind),
        description: None,
        field_id: -1,
    }
}

fn schema(kinds: impl IntoIterator<Item = TypeKind>) -> Schema {
    let columns: Vec<_> = (0..)
        .zip(kinds)
        .map(|(id, kind)| Column {
            name: format!("c{id}"),
            data_type: DataType {
                kind,
                nullable: id % 5 != 4,
            },
            comment: None,
            id,
            agg_function: None,
        })
        .collect();
    Schema {
        highest_field_id: columns.len() as i32,
        columns,
        primary_key: Vec::new(),
        auto_increment_column: None,
    }
}

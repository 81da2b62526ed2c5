//! Compiles `proto/fluss.proto`, and writes beside the messages a table of their shapes, by which
//! [`fluss::shape`](src/fluss/shape.rs) bounds what decoding a hostile request may allocate.

#![allow(
    clippy::disallowed_methods,
    reason = "a build script reads and writes files"
)]

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

// Numbers of `google.protobuf.FieldDescriptorProto`.
const LABEL_REQUIRED: i32 = 2;
const LABEL_REPEATED: i32 = 3;
const TYPE_DOUBLE: i32 = 1;
const TYPE_FLOAT: i32 = 2;
const TYPE_INT64: i32 = 3;
const TYPE_INT32: i32 = 5;
const TYPE_BOOL: i32 = 8;
const TYPE_STRING: i32 = 9;
const TYPE_MESSAGE: i32 = 11;
const TYPE_BYTES: i32 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/fluss.proto");
    println!("cargo:rerun-if-changed=build.rs");
    let files = protox::compile(["proto/fluss.proto"], ["proto"])?;

    let messages = &files.file[0].message_type;
    let index: HashMap<String, usize> = messages
        .iter()
        .enumerate()
        .map(|(at, message)| (format!(".vltava.fluss.{}", message.name()), at))
        .collect();
    let mut shapes = String::from("static SHAPES: &[Shape] = &[\n");
    let mut names = String::new();
    for (at, message) in messages.iter().enumerate() {
        let name = message.name();
        let mut fields = String::new();
        let mut required = 0u64;
        for field in &message.field {
            let repeated = field.label == Some(LABEL_REPEATED);
            if field.label == Some(LABEL_REQUIRED) {
                required |= 1 << field.number();
            }
            let kind = match field.r#type.unwrap_or_default() {
                TYPE_MESSAGE => format!("Message({})", index[field.type_name()]),
                TYPE_STRING => "Text".to_owned(),
                TYPE_BYTES => "Bytes".to_owned(),
                TYPE_BOOL => "Scalar(1)".to_owned(),
                TYPE_INT32 | TYPE_FLOAT => "Scalar(4)".to_owned(),
                TYPE_INT64 | TYPE_DOUBLE => "Scalar(8)".to_owned(),
                other => return Err(format!("{name}: field type {other} has no shape").into()),
            };
            assert!(
                field.number() < 64,
                "{name}: field numbers above 63 need a wider mask"
            );
            write!(
                fields,
                "Field {{ number: {}, name: {:?}, repeated: {repeated}, kind: Kind::{kind} }}, ",
                field.number(),
                field.name(),
            )?;
        }
        writeln!(
            shapes,
            "    Shape {{ name: {name:?}, size: ::core::mem::size_of::<messages::{name}>(), \
             required: {required:#x}, fields: &[{fields}] }},"
        )?;
        writeln!(
            names,
            "impl Shaped for messages::{name} {{ const SHAPE: usize = {at}; }}"
        )?;
    }
    shapes.push_str("];\n");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("fluss_shapes.rs"), shapes + &names)?;

    // `Bytes` fields are slices of the frame that they came in.
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}

//! Options whose values are chosen from a list. Case does not matter in what is read.

/// Writes an enum with its texts; the texts are how Fluss writes the values.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All texts.
            pub const TEXTS: &[&str] = &[$($text),+];

            /// The value of a text in any case, if it is one.
            pub fn from_text(text: &str) -> Option<Self> {
                match text {
                    $(_ if text.eq_ignore_ascii_case($text) => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// The text as Fluss writes it.
            pub const fn text(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

choice! {
    /// `table.log.format`: how batches of a log are laid out.
    LogFormat {
        /// Columns, as an Arrow message.
        Arrow = "ARROW",
        /// Rows with a table of field lengths.
        Indexed = "INDEXED",
        /// Rows with variable-length numbers.
        Compacted = "COMPACTED",
    }
}

choice! {
    /// `table.kv.format`: how rows of an index are laid out.
    KvFormat {
        /// Rows with variable-length numbers.
        Compacted = "COMPACTED",
        /// Rows with a table of field lengths.
        Indexed = "INDEXED",
    }
}

choice! {
    /// `table.log.arrow.compression.type`: the codec of Arrow buffers.
    ArrowCompression {
        /// Plain buffers.
        None = "NONE",
        /// LZ4 frames.
        Lz4Frame = "LZ4_FRAME",
        /// Zstandard.
        Zstd = "ZSTD",
    }
}

choice! {
    /// `table.auto-partition.time-unit`: the time that one partition spans.
    TimeUnit {
        /// A year.
        Year = "YEAR",
        /// Three months.
        Quarter = "QUARTER",
        /// A month.
        Month = "MONTH",
        /// A day.
        Day = "DAY",
        /// An hour.
        Hour = "HOUR",
    }
}

choice! {
    /// `table.datalake.format`: the lake's table format; clients choose key encoding and bucket
    /// function by it.
    DataLakeFormat {
        /// Apache Paimon.
        Paimon = "paimon",
        /// Lance.
        Lance = "lance",
        /// Apache Iceberg.
        Iceberg = "iceberg",
        /// Apache Hudi.
        Hudi = "hudi",
    }
}

choice! {
    /// `table.merge-engine`: how an upsert meets an existing row. Unset: the new row wins.
    MergeEngine {
        /// The old row stays.
        FirstRow = "FIRST_ROW",
        /// The row with the larger version wins.
        Versioned = "VERSIONED",
        /// Columns are aggregated.
        Aggregation = "AGGREGATION",
    }
}

choice! {
    /// `table.delete.behavior`: what a delete does.
    DeleteBehavior {
        /// The row goes.
        Allow = "ALLOW",
        /// Nothing.
        Ignore = "IGNORE",
        /// The batch fails.
        Disable = "DISABLE",
    }
}

choice! {
    /// `table.changelog.image`: what the changelog of an upsert holds.
    ChangelogImage {
        /// The old row and the new.
        Full = "FULL",
        /// The new row.
        Wal = "WAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_any_case_and_written_in_one() {
        assert_eq!(LogFormat::from_text("arrow"), Some(LogFormat::Arrow));
        assert_eq!(
            DataLakeFormat::from_text("PAIMON"),
            Some(DataLakeFormat::Paimon)
        );
        assert_eq!(DataLakeFormat::Paimon.to_string(), "paimon");
        assert_eq!(MergeEngine::from_text("last_row"), None);
        for text in TimeUnit::TEXTS {
            assert_eq!(TimeUnit::from_text(text).map(TimeUnit::text), Some(*text));
        }
    }
}

//! What the core says, as codes of the Fluss wire: each mapped once, here.

use protocol::fluss::batch::InvalidBatch;
use protocol::fluss::descriptor::DescriptorError;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::kv_batch::KvBatchError;
use protocol::fluss::partition::PartitionError;
use protocol::fluss::shape::MessageError;
use storage::catalog::{
    AlterDatabaseError, AlterPartitionError, AlterTableError, CreateDatabaseError,
    CreatePartitionError, CreateTableError, DropDatabaseError, DropTableError,
    ProducerOffsetsError, WriteError,
};
use storage::kv::auto_increment::AutoIncrementError;
use storage::kv::changelog::ChangelogError;
use storage::kv::merge::{MergeError, PlanError};
use storage::kv::scan::ScanError;
use storage::kv::tablet::{InvalidInsert, InvalidPut, KvError};
use storage::kv::writer::PutError;
use storage::log::{AppendError, ReadError};
use storage::tablet::FlussReadError;

use crate::tablets::TabletError;

/// Why a request, or one bucket of it, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code; clients decide by it.
    pub code: ErrorCode,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    /// A failure with its own text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        let code = match error {
            MessageError::TooLarge => ErrorCode::RecordTooLarge,
            MessageError::Malformed { .. }
            | MessageError::Missing { .. }
            | MessageError::Decode(_) => ErrorCode::CorruptMessage,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<DescriptorError> for Failure {
    fn from(error: DescriptorError) -> Self {
        Failure::new(error.code(), error.to_string())
    }
}

impl From<PartitionError> for Failure {
    fn from(error: PartitionError) -> Self {
        Failure::new(error.code(), error.to_string())
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let code = match error {
            // As below: Fluss's own code for a full disk makes released clients give up.
            WriteError::Full(_) | WriteError::Store(_) | WriteError::Offline => ErrorCode::Storage,
        };
        Failure::new(code, error.to_string())
    }
}

/// Writes `From` for an error of the catalog whose storage failures are mapped above.
macro_rules! catalog_error {
    ($error:ident { $($pattern:pat => $code:ident,)* }) => {
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let code = match error {
                    $error::Write(error) => return error.into(),
                    $($pattern => ErrorCode::$code,)*
                };
                Failure::new(code, with_source(&error))
            }
        }
    };
}

catalog_error!(CreateDatabaseError {
    CreateDatabaseError::AlreadyExists(_) => DatabaseAlreadyExist,
    CreateDatabaseError::Name { .. } => InvalidDatabase,
});

catalog_error!(AlterDatabaseError {
    AlterDatabaseError::Unknown(_) => DatabaseNotExist,
});

catalog_error!(DropDatabaseError {
    DropDatabaseError::Unknown(_) => DatabaseNotExist,
    DropDatabaseError::NotEmpty { .. } => DatabaseNotEmpty,
    // As for Fluss's default database, which has no code of its own.
    DropDatabaseError::Protected(_) => UnknownServerError,
});

catalog_error!(CreateTableError {
    CreateTableError::AlreadyExists { .. } | CreateTableError::Claimed { .. } => TableAlreadyExist,
    CreateTableError::UnknownDatabase(_) => DatabaseNotExist,
    CreateTableError::Name { .. } | CreateTableError::Reserved(_) | CreateTableError::Schema(_)
        | CreateTableError::BucketCount(_) => InvalidTable,
});

catalog_error!(AlterTableError {
    AlterTableError::Unknown(_) => TableNotExist,
    AlterTableError::BucketCount { .. } | AlterTableError::TooManySchemas(_)
        | AlterTableError::Kind(_) | AlterTableError::Schema(_) => InvalidAlterTable,
});

catalog_error!(DropTableError {
    DropTableError::Unknown(_) => TableNotExist,
    DropTableError::Protected(_) => InvalidTable,
});

catalog_error!(CreatePartitionError {
    CreatePartitionError::UnknownTable(_) => TableNotExist,
    CreatePartitionError::NotPartitioned(_) => TableNotPartitioned,
    CreatePartitionError::ValueCount { .. } | CreatePartitionError::Name { .. } => PartitionSpecInvalid,
    CreatePartitionError::AlreadyExists { .. } | CreatePartitionError::Claimed { .. } => PartitionAlreadyExists,
});

catalog_error!(AlterPartitionError {
    AlterPartitionError::Unknown(_) => PartitionNotExists,
    AlterPartitionError::BucketCount { .. } => InvalidAlterTable,
});

catalog_error!(ProducerOffsetsError {
    ProducerOffsetsError::Name(_) => InvalidProducerId,
    // Fluss has no limit, and so no code.
    ProducerOffsetsError::TooMany => UnknownServerError,
});

impl From<&TabletError> for Failure {
    fn from(error: &TabletError) -> Self {
        let code = match error {
            TabletError::Unknown(_) => ErrorCode::UnknownTableOrBucket,
            TabletError::Closed(_) => ErrorCode::NotLeaderOrFollower,
            TabletError::Keys { .. } | TabletError::Open { .. } => ErrorCode::LogStorage,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<&InvalidBatch> for Failure {
    fn from(error: &InvalidBatch) -> Self {
        let code = match error {
            InvalidBatch::UnknownSchema(_) => ErrorCode::SchemaNotExist,
            InvalidBatch::TooLarge { .. } => ErrorCode::RecordTooLarge,
            _ if error.is_beyond_decoded_limit() => ErrorCode::RecordTooLarge,
            InvalidBatch::Header(_)
            | InvalidBatch::Trailing(_)
            | InvalidBatch::Crc { .. }
            | InvalidBatch::OffsetDelta { .. }
            | InvalidBatch::NotEmpty
            | InvalidBatch::Sequence { .. }
            | InvalidBatch::NotAppendOnly(_)
            | InvalidBatch::Records(_) => ErrorCode::CorruptRecord,
        };
        Failure::new(code, with_source(error))
    }
}

impl From<&AppendError> for Failure {
    fn from(error: &AppendError) -> Self {
        let code = match error {
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
            // The writer drops its id and asks for a new one.
            AppendError::FencedProducer { .. } | AppendError::WrongScheme { .. } => {
                ErrorCode::UnknownWriterId
            }
            AppendError::FencedLeader { .. } => ErrorCode::NotLeaderOrFollower,
            // Fluss has `DiskWriteLocked` for a full disk and `StorageBackpressure` for a bucket
            // that is busy. Clients of 0.9.1 know neither, fluss-rs 1.0.0 lacks the first, they
            // take what they do not know as final, and no version of PRODUCE_LOG tells them apart.
            AppendError::DiskFull | AppendError::Io(_) | AppendError::Offline(_) => {
                ErrorCode::LogStorage
            }
            AppendError::QueueFull => ErrorCode::RequestTimeOut,
            AppendError::OffsetsExhausted => ErrorCode::InvalidTable,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        let code = match error {
            ReadError::OutOfRange { .. } => ErrorCode::LogOffsetOutOfRange,
            ReadError::Corrupt(_) | ReadError::Io(_) => ErrorCode::LogStorage,
            // The table was dropped meanwhile.
            ReadError::Closed => ErrorCode::UnknownTableOrBucket,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<&FlussReadError> for Failure {
    fn from(error: &FlussReadError) -> Self {
        match error {
            FlussReadError::Log(error) => error.into(),
            FlussReadError::InvalidProjection(error) => {
                Failure::new(ErrorCode::InvalidColumnProjection, error.to_string())
            }
            FlussReadError::Convert(error) => {
                Failure::new(ErrorCode::LogStorage, error.to_string())
            }
        }
    }
}

impl From<&InvalidPut> for Failure {
    fn from(error: &InvalidPut) -> Self {
        let code = match error {
            InvalidPut::Plan(error) => plan_code(error),
            InvalidPut::Batch(KvBatchError::TooLarge { .. }) => ErrorCode::RecordTooLarge,
            InvalidPut::Batch(_) => ErrorCode::CorruptRecord,
        };
        Failure::new(code, with_source(error))
    }
}

impl From<&InvalidInsert> for Failure {
    fn from(error: &InvalidInsert) -> Self {
        let code = match error {
            InvalidInsert::Plan(error) => plan_code(error),
            InvalidInsert::Key(_) => ErrorCode::CorruptRecord,
        };
        Failure::new(code, with_source(error))
    }
}

impl From<&KvError> for Failure {
    fn from(error: &KvError) -> Self {
        let code = match error {
            _ if error.is_too_busy() => ErrorCode::StorageBackpressure,
            KvError::Plan(error) => plan_code(error),
            KvError::Put(error) => put_code(error),
            KvError::Append(error) => return error.into(),
            KvError::QueueFull { .. } => ErrorCode::StorageBackpressure,
            KvError::Index(_) | KvError::Open(_) => ErrorCode::KvStorage,
            KvError::AnswerTooLarge { .. } => ErrorCode::RecordTooLarge,
            // The table was dropped meanwhile, or the broker stops.
            KvError::Closed => ErrorCode::NotLeaderOrFollower,
        };
        Failure::new(code, with_source(error))
    }
}

impl From<&ScanError> for Failure {
    fn from(error: &ScanError) -> Self {
        let code = match error {
            ScanError::Thread(_) | ScanError::Index(_) | ScanError::Retired | ScanError::Ended => {
                ErrorCode::KvStorage
            }
            ScanError::Busy => ErrorCode::InvalidScanRequest,
        };
        Failure::new(code, with_source(error))
    }
}

fn plan_code(error: &PlanError) -> ErrorCode {
    match error {
        PlanError::UnknownSchema { .. } => ErrorCode::SchemaNotExist,
        PlanError::Targets(_) => ErrorCode::InvalidTargetColumn,
        // What Fluss has no code for.
        PlanError::Partial(_)
        | PlanError::Deletes(_)
        | PlanError::VersionColumn(_)
        | PlanError::Function { .. } => ErrorCode::UnknownServerError,
    }
}

fn put_code(error: &PutError) -> ErrorCode {
    match error {
        PutError::Full(_) | PutError::OldRows { .. } => ErrorCode::RecordTooLarge,
        PutError::Merge { source, .. } => match source {
            MergeError::DeletesDisabled => ErrorCode::DeletionDisabled,
            MergeError::AutoIncrement(AutoIncrementError::Counter { .. })
            | MergeError::StoredSchema(_)
            | MergeError::Stored(_) => ErrorCode::KvStorage,
            MergeError::AutoIncrement(_) | MergeError::Result(_) | MergeError::Bitmap { .. } => {
                ErrorCode::UnknownServerError
            }
        },
        PutError::Record { source, .. } | PutError::Changelog(source) => match source {
            ChangelogError::Build(_) => ErrorCode::RecordTooLarge,
            _ => ErrorCode::UnknownServerError,
        },
        PutError::Stored { .. } | PutError::Index(_) => ErrorCode::KvStorage,
    }
}

/// The text of an error with that of its cause, where the two say different things.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all clients retry: those of Java 0.9.1 and 1.0, and fluss-rs.
    const RETRIED: [ErrorCode; 4] = [
        ErrorCode::LogStorage,
        ErrorCode::KvStorage,
        ErrorCode::RequestTimeOut,
        ErrorCode::Storage,
    ];

    #[test]
    fn all_clients_try_again_when_a_log_is_busy_or_the_disk_full() {
        for error in [AppendError::QueueFull, AppendError::DiskFull] {
            assert!(RETRIED.contains(&Failure::from(&error).code), "{error}");
        }
        let of_keys = KvError::Append(AppendError::DiskFull);
        assert!(RETRIED.contains(&Failure::from(&of_keys).code));
        let of_catalog = WriteError::Full(std::io::ErrorKind::StorageFull.into());
        assert!(RETRIED.contains(&Failure::from(of_catalog).code));
    }
}

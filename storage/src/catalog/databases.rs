//! Databases: create, alter, drop.

use std::sync::Arc;

use super::Catalog;
use super::error::{AlterDatabaseError, CreateDatabaseError, DropDatabaseError};
use super::model::{Database, MapChanges, StringMap, Table};
use super::names::{self, FLUSS_DATABASE, KAFKA_DATABASE, SYSTEM_DATABASE};
use super::record::{self, DatabaseRecord};
use super::store::RecordChange;
use super::tables::apply_map;

/// Databases that exist from the first start and cannot be dropped.
pub(super) fn protected(default_database: &str) -> [&str; 4] {
    [
        FLUSS_DATABASE,
        KAFKA_DATABASE,
        SYSTEM_DATABASE,
        default_database,
    ]
}

pub(super) fn new_database(name: &str, now_ms: i64) -> Database {
    Database {
        name: name.to_owned(),
        comment: None,
        custom_properties: StringMap::new(),
        created_ms: now_ms,
        modified_ms: now_ms,
    }
}

impl Catalog {
    /// Makes a database. Topics that are called `<name>.something` stay where they are.
    pub fn create_database(
        &self,
        name: &str,
        comment: Option<String>,
        custom_properties: StringMap,
    ) -> Result<Arc<Database>, CreateDatabaseError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        if view.database(name).is_some() {
            return Err(CreateDatabaseError::AlreadyExists(name.to_owned()));
        }
        names::check_fluss_name(name).map_err(|source| CreateDatabaseError::Name {
            name: name.to_owned(),
            source,
        })?;
        let database = Database {
            comment,
            custom_properties,
            ..new_database(name, self.env.clock.wall_ms())
        };
        let change = record::put(record::database_key(name), &DatabaseRecord::from(&database));
        view.put_database(database.clone());
        self.publish(&mut writer, &[change], view)?;
        Ok(Arc::new(database))
    }

    /// Changes comment (`Some(None)` removes it) and custom properties of a database.
    pub fn alter_database(
        &self,
        name: &str,
        comment: Option<Option<String>>,
        custom_properties: MapChanges,
    ) -> Result<Arc<Database>, AlterDatabaseError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let Some(before) = view.database(name) else {
            return Err(AlterDatabaseError::Unknown(name.to_owned()));
        };
        let mut database = Database::clone(before);
        if let Some(comment) = comment {
            database.comment = comment;
        }
        apply_map(&mut database.custom_properties, custom_properties);
        database.modified_ms = self.env.clock.wall_ms();
        let change = record::put(record::database_key(name), &DatabaseRecord::from(&database));
        view.put_database(database.clone());
        self.publish(&mut writer, &[change], view)?;
        Ok(Arc::new(database))
    }

    /// Drops a database; with `cascade` its tables too, which are topics as well.
    pub fn drop_database(&self, name: &str, cascade: bool) -> Result<(), DropDatabaseError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let Some(tables) = view.tables_of(name) else {
            return Err(DropDatabaseError::Unknown(name.to_owned()));
        };
        let tables: Vec<Arc<Table>> = tables.cloned().collect();
        if protected(self.default_database()).contains(&name) {
            return Err(DropDatabaseError::Protected(name.to_owned()));
        }
        if !tables.is_empty() && !cascade {
            let (database, table_count) = (name.to_owned(), tables.len());
            return Err(DropDatabaseError::NotEmpty {
                database,
                table_count,
            });
        }
        let mut changes = Vec::new();
        for table in tables {
            self.remove_table(&table, &mut view, &mut changes);
        }
        changes.push(RecordChange::Delete {
            key: record::database_key(name),
        });
        view.remove_database(name);
        Ok(self.publish(&mut writer, &changes, view)?)
    }
}

//! Settings of the broker that clients have changed while it ran.

use super::Catalog;
use super::error::WriteError;
use super::model::StringMap;
use super::record;
use super::store::RecordChange;
use super::view::CatalogView;

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingScope {
    /// All brokers'.
    All,
    /// Those of the broker with this id; they win over [`SettingScope::All`].
    Node(i32),
}

impl SettingScope {
    pub(super) fn key(self) -> String {
        let prefix = record::SETTINGS_PREFIX;
        match self {
            SettingScope::All => format!("{prefix}all"),
            SettingScope::Node(id) => format!("{prefix}{id}"),
        }
    }

    pub(super) fn of_key(key: &str) -> Option<Self> {
        match key.strip_prefix(record::SETTINGS_PREFIX)? {
            "all" => Some(SettingScope::All),
            id => id.parse().ok().map(SettingScope::Node),
        }
    }
}

impl Catalog {
    /// Replaces the settings of a scope by what `decide` makes of the catalog as it is: nobody else
    /// changes it meanwhile. `decide` must not call the catalog. Without any change nothing is
    /// written.
    pub fn alter_settings<E: From<WriteError>>(
        &self,
        scope: SettingScope,
        decide: impl FnOnce(&CatalogView) -> Result<StringMap, E>,
    ) -> Result<(), E> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let settings = decide(&view)?;
        if settings == *view.settings(scope) {
            return Ok(());
        }
        let key = scope.key();
        let change = match settings.is_empty() {
            true => RecordChange::Delete { key },
            false => record::put(key, &settings),
        };
        view.put_settings(scope, settings);
        Ok(self.publish(&mut writer, &[change], view)?)
    }
}

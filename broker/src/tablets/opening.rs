//! Opening tablets, each once however many want it, and closing them all.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::TabletId;
use storage::catalog::Table;
use storage::kv::tablet::KvTablet;
use storage::kv::topic::TopicIndex;
use storage::log::LogHandle;
use storage::tablet::{TableShape, Tablet};

use super::kv::{index_spec, kv_table_of};
use super::settings::{is_upserted, log_config, shape_of};
use super::{AT_ONCE, OpenBucket, TabletError, Tablets, table_of};

impl Tablets {
    /// The tablet; opens it when it is not.
    pub async fn get(self: &Arc<Self>, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        if let Some(bucket) = self.get_open(id) {
            return Ok(bucket);
        }
        // Nobody closes the semaphore.
        let _turn = self.opening_turns.acquire().await;
        if let Some(bucket) = self.get_open(id) {
            return Ok(bucket);
        }
        let tablets = Arc::clone(self);
        match tokio::task::spawn_blocking(move || tablets.open_now(id)).await {
            Ok(result) => result,
            // The runtime is going down.
            Err(_) => Err(TabletError::Unknown(id)),
        }
    }

    /// As [`Tablets::get`], waiting for the disk.
    pub fn open_now(&self, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        let turn = Arc::clone(self.opening.lock().entry(id).or_default());
        let result = {
            let _turn = turn.lock();
            match self.get_open(id) {
                Some(bucket) => Ok(bucket),
                None => self.open_in_turn(id),
            }
        };
        let mut opening = self.opening.lock();
        // Ours and the map's: nobody else has the turn, or will get it but from the map.
        if Arc::strong_count(&turn) <= 2 {
            opening.remove(&id);
        }
        result
    }

    fn open_in_turn(&self, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        if self.open.read().closed {
            return Err(TabletError::Closed(id));
        }
        let view = self.catalog.view();
        let table = table_of(&view, id).ok_or(TabletError::Unknown(id))?;
        let r = &self.resources;
        let settings = Arc::new(self.settings_of(table));
        let log = LogHandle::open(
            Arc::clone(&r.context),
            Arc::clone(&r.threads),
            id,
            self.directory_of_tablet(id),
            log_config(&self.config.read(), &settings, table),
            r.epoch,
        )
        .map_err(|error| {
            tracing::error!(tablet = %id, table = %table.path, %error, "cannot open a log");
            TabletError::Open {
                tablet: id,
                error: Arc::new(error),
            }
        })?;
        let shape = shape_of(table, &settings);
        let kv = self.kv_of(id, table, &shape, &log)?;
        let topic = self.topic_of(table, &log);
        let bucket = OpenBucket {
            tablet: Tablet::new(log, shape, r.transcoder.clone()),
            table: Arc::clone(table),
            settings,
            kv,
            topic,
        };
        self.admit(id, &bucket)
    }

    /// The keys of a bucket, where its table has some.
    fn kv_of(
        &self,
        id: TabletId,
        table: &Table,
        shape: &TableShape,
        log: &LogHandle,
    ) -> Result<Option<KvTablet>, TabletError> {
        if !is_upserted(table) {
            return Ok(None);
        }
        let kv = kv_table_of(table, shape, &self.catalog).map_err(|error| {
            tracing::error!(tablet = %id, table = %table.path, %error, "cannot use the keys of a table");
            TabletError::Keys {
                tablet: id,
                error: Arc::new(error),
            }
        })?;
        let spec = index_spec(table, &kv, id, &self.directory_of_tablet(id));
        let resources = Arc::clone(&self.resources.kv);
        Ok(Some(KvTablet::new(log.clone(), resources, spec, kv)))
    }

    /// Takes a tablet among the open ones, in the state that its table has by now: who changes a
    /// table brings only those in step that are there.
    fn admit(&self, id: TabletId, opened: &OpenBucket) -> Result<Arc<OpenBucket>, TabletError> {
        let mut open = self.open.write();
        if open.closed {
            drop(open);
            close(opened);
            return Err(TabletError::Closed(id));
        }
        let view = self.catalog.view();
        let Some(table) = table_of(&view, id) else {
            drop(open);
            opened.tablet.log().log().abandon();
            return Err(TabletError::Unknown(id));
        };
        let bucket = self.in_step(&self.config.read(), opened, table);
        let bucket = Arc::new(bucket);
        open.buckets.insert(id, Arc::clone(&bucket));
        Ok(bucket)
    }

    /// Opens every tablet that has files, so that damage is reported and retention counts from the
    /// start on. Waits for the disk.
    pub fn open_existing(&self) {
        let ids: Vec<TabletId> = self.catalog.view().tablets().collect();
        on_threads(ids, |id| {
            if self.has_files(id) {
                // An error was logged where it happened; clients are told when they come.
                let _ = self.open_now(id);
            }
        });
    }

    /// Closes every log: syncs, writes a checkpoint. None is opened afterwards. Waits for the disk.
    pub fn close(&self) {
        let buckets = {
            let mut open = self.open.write();
            open.closed = true;
            std::mem::take(&mut open.buckets)
        };
        // Those that are just being opened close themselves.
        let turns: Vec<_> = self.opening.lock().values().cloned().collect();
        for turn in turns {
            drop(turn.lock());
        }
        on_threads(buckets.into_values().collect(), |bucket| {
            close(&bucket);
        });
        self.discard_indexes();
    }
}

/// Closes an index before its log, which it must not be ahead of.
fn close(bucket: &OpenBucket) {
    if let Some(kv) = &bucket.kv {
        kv.close();
    }
    if let Some(Err(error)) = bucket.topic.as_ref().map(TopicIndex::close) {
        tracing::warn!(table = %bucket.table.path, %error, "the next start follows more of a topic's log");
    }
    let log = bucket.tablet.log();
    if let Err(error) = log.close() {
        tracing::warn!(log = %log.log().id(), %error, "a log was not closed cleanly");
    }
}

/// Does `work` for all items, on a few threads at once, and waits for them.
fn on_threads<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let count = items.len().min(AT_ONCE);
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().next();
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

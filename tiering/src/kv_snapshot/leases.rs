//! Leases: who reads a snapshot names it for some time, so that it is kept. Facts:
//! `KvSnapshotLeaseManager.java`.

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::TabletId;
use storage::catalog::SnapshotLease;

use super::{KvSnapshots, LeaseError, blocking};

/// The longest id of a lease, in bytes: clients take UUIDs and names of jobs.
pub(super) const ID_BYTES_MAX: usize = 1 << 10;
/// The most leases: one for each job that reads whole tables.
pub(super) const LEASES_MAX: usize = 10_000;

impl KvSnapshots {
    /// Leases snapshots, one of each bucket, until `duration` from now; those that the lease has
    /// already are kept as long as well. Returns the ones that are gone. Durable when it returns.
    ///
    /// # Errors
    /// Nothing is leased.
    pub async fn acquire(
        &self,
        id: &str,
        duration: Duration,
        wanted: &[(TabletId, i64)],
    ) -> Result<Vec<(TabletId, i64)>, LeaseError> {
        if id.len() > ID_BYTES_MAX {
            return Err(LeaseError::Id(id.len()));
        }
        let duration_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let expires_ms = self.env.clock.wall_ms().saturating_add(duration_ms);
        let _turn = self.changing.lock().await;
        let mut gone = Vec::new();
        let lease = {
            let records = self.records.read();
            let known = records.leases.get(id);
            if known.is_none() && records.leases.len() >= LEASES_MAX {
                return Err(LeaseError::TooMany);
            }
            let mut lease = SnapshotLease {
                expires_ms,
                snapshots: known.map(|l| l.snapshots.clone()).unwrap_or_default(),
            };
            for (tablet, snapshot) in wanted {
                let bucket = records.buckets.get(tablet);
                match bucket.is_some_and(|b| b.snapshots.iter().any(|s| s.id == *snapshot)) {
                    true => {
                        lease.snapshots.insert(*tablet, *snapshot);
                    }
                    false => gone.push((*tablet, *snapshot)),
                }
            }
            lease
        };
        self.set_lease(id, lease).await?;
        Ok(gone)
    }

    /// Ends the lease of some buckets; with its last one the lease ends.
    ///
    /// # Errors
    /// They are still leased.
    pub async fn release(&self, id: &str, buckets: &[TabletId]) -> Result<(), LeaseError> {
        let _turn = self.changing.lock().await;
        let Some(mut lease) = self.records.read().leases.get(id).cloned() else {
            return Ok(());
        };
        for tablet in buckets {
            lease.snapshots.remove(tablet);
        }
        self.set_lease(id, lease).await
    }

    /// Ends a lease; one that is not there is no error.
    ///
    /// # Errors
    /// It is still there.
    pub async fn drop_lease(&self, id: &str) -> Result<(), LeaseError> {
        self.drop_lease_if(id, |_| true).await.map(|_| ())
    }

    /// Whether it was there, and over.
    async fn drop_lease_if(
        &self,
        id: &str,
        is_over: impl Fn(&SnapshotLease) -> bool,
    ) -> Result<bool, LeaseError> {
        let _turn = self.changing.lock().await;
        if !self.records.read().leases.get(id).is_some_and(is_over) {
            return Ok(false);
        }
        let nothing = SnapshotLease {
            expires_ms: 0,
            snapshots: std::collections::BTreeMap::new(),
        };
        self.set_lease(id, nothing).await.map(|()| true)
    }

    /// Ends the leases whose time is over. Failures are logged.
    pub async fn expire_leases(&self) {
        let now = self.env.clock.wall_ms();
        let is_over = |lease: &SnapshotLease| lease.expires_ms < now;
        let expired: Vec<String> = {
            let records = self.records.read();
            let leases = records.leases.iter();
            let expired = leases.filter(|(_, lease)| is_over(lease));
            expired.map(|(id, _)| id.clone()).collect()
        };
        for id in expired {
            // Asked again: its client may have prolonged it meanwhile.
            match self.drop_lease_if(&id, is_over).await {
                Ok(true) => tracing::info!(lease = id, "a lease of snapshots expired"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = id, %error, "an expired lease is still there");
                }
            }
        }
    }

    /// One without snapshots goes. To be called by who has the turn to change.
    async fn set_lease(&self, id: &str, lease: SnapshotLease) -> Result<(), LeaseError> {
        let lease = (!lease.snapshots.is_empty()).then_some(lease);
        let (catalog, key, written) = (Arc::clone(&self.catalog), id.to_owned(), lease.clone());
        blocking(move || catalog.put_snapshot_lease(&key, written.as_ref())).await?;
        {
            let leases = &mut self.records.write().leases;
            match lease {
                Some(lease) => leases.insert(id.to_owned(), lease),
                None => leases.remove(id),
            };
        }
        self.count();
        Ok(())
    }
}

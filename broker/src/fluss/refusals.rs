//! The refused buckets of one request: each is counted, all are one line of the log.

use protocol::fluss::error::ErrorCode;
use protocol::ids::TabletId;

use super::error::Failure;
use super::wire::Context;

/// Collects what was refused; the line is written when it is dropped.
pub struct Refusals<'a> {
    context: &'a Context,
    first: Option<(Option<TabletId>, Failure)>,
    count: u64,
}

impl<'a> Refusals<'a> {
    /// Nothing is refused yet.
    pub fn new(context: &'a Context) -> Refusals<'a> {
        Refusals {
            context,
            first: None,
            count: 0,
        }
    }

    /// A bucket is refused.
    pub fn note(&mut self, tablet: TabletId, failure: &Failure) {
        self.note_of(Some(tablet), failure);
    }

    /// A bucket is refused that the request does not name.
    pub fn note_of(&mut self, tablet: Option<TabletId>, failure: &Failure) {
        self.context.meter.failed(failure.code.name(), 1);
        self.count += 1;
        self.first.get_or_insert_with(|| (tablet, failure.clone()));
    }
}

impl Drop for Refusals<'_> {
    fn drop(&mut self) {
        let Some((tablet, Failure { code, message })) = &self.first else {
            return;
        };
        let Context { peer, api, .. } = self.context;
        let (client, buckets) = (peer.address, self.count);
        let view = self.context.broker().catalog.view();
        let table = tablet.and_then(|tablet| view.table_of_fluss(tablet.table));
        let table = table.map(|table| table.path.to_string());
        let tablet = tablet.map(|tablet| tablet.to_string());
        let storage = [ErrorCode::LogStorage, ErrorCode::KvStorage];
        if storage.contains(code) {
            tracing::warn!(%client, %api, table, tablet, buckets, ?code, cause = message, "a bucket failed");
        } else {
            tracing::info!(%client, %api, table, tablet, buckets, ?code, cause = message, "refused a bucket");
        }
    }
}

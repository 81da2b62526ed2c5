//! All rows of a bucket as they were at one moment, piece by piece, however long the reader takes.
//!
//! ```text
//! Scan ── ask ──► thread: Arc<index> ► view ► cursor ── piece ──► Scan
//! ```
//!
//! A view borrows its index, so each scan has a thread that owns both; it sleeps between the
//! pieces and ends with its [`Scan`], or when the index's owner gives the index up. How many there may be, and for how long, is the caller's
//! business.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::value::{ValueBatchBuilder, ValueLayout};
use protocol::ids::Offset;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::index::{Index, IndexError, IndexView};

/// A value's length stands before it in a batch.
const VALUE_OVERHEAD: usize = 4;

/// Why a scan does not go on.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ScanError {
    #[error("no thread for the scan")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An answer is awaited still.
    #[error("the scan is asked twice at a time")]
    Busy,
    /// What it goes over failed, or was replaced.
    #[error("the index that was scanned is not there any more: begin again")]
    Retired,
    /// Its thread is gone, as after a panic.
    #[error("the scan has ended")]
    Ended,
}

/// A part of the rows, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// A batch of values; none when there are no more rows.
    pub records: Option<Bytes>,
    /// There are rows behind these.
    pub more: bool,
}

/// What a scan goes over.
pub trait Scanned: Send + Sync {
    /// The rows as they are now: keys and stored values.
    ///
    /// # Errors
    /// The index fails.
    fn rows(&self) -> Result<Box<dyn IndexView + '_>, IndexError>;

    /// Turns to true when the scan has to let go of it; none where that never happens.
    fn retirement(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// A scan of them failed so: whoever can have a damaged index made again does.
    fn failed(&self, _error: &IndexError) {}
}

impl<I: Index + ?Sized> Scanned for I {
    fn rows(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        self.view()
    }
}

/// The values of the first `rows_max` rows by their keys, in one batch. `grow` is told the size of a
/// batch that would be larger than `bytes_max`, and says how large one may be then, or why it may
/// not. Waits for the disk.
///
/// # Errors
/// The index fails.
pub fn first_rows<E>(
    rows: &(impl Scanned + ?Sized),
    layout: ValueLayout,
    rows_max: usize,
    mut bytes_max: usize,
    mut grow: impl FnMut(usize) -> Result<usize, E>,
) -> Result<Result<Bytes, E>, IndexError> {
    let mut batch = ValueBatchBuilder::new();
    if rows_max == 0 {
        return Ok(Ok(batch.finish()));
    }
    let mut stopped = None;
    rows.rows()?.scan(None, &mut |_, stored| {
        let plain = match layout.plain(stored) {
            Ok(plain) => plain,
            Err(error) => {
                stopped = Some(Err(IndexError::Corrupt(error.to_string())));
                return ControlFlow::Break(());
            }
        };
        let bytes = batch.bytes_len() + VALUE_OVERHEAD + plain.len();
        if bytes > bytes_max {
            match grow(bytes) {
                Ok(larger) => bytes_max = larger,
                Err(reason) => {
                    stopped = Some(Ok(Err(reason)));
                    return ControlFlow::Break(());
                }
            }
        }
        batch.append(plain);
        match batch.len() < rows_max {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    stopped.unwrap_or_else(|| Ok(Ok(batch.finish())))
}

/// A scan that was begun. Dropping it ends it.
#[derive(Debug)]
pub struct Scan {
    asks: mpsc::Sender<Ask>,
    offset: Offset,
    retirement: Retirement,
}

struct Ask {
    bytes_max: usize,
    answer: oneshot::Sender<Result<Piece, ScanError>>,
}

/// Whether the scan has to end.
#[derive(Debug, Clone)]
struct Retirement(Option<watch::Receiver<bool>>);

impl Retirement {
    fn is_due(&self) -> bool {
        self.0.as_ref().is_some_and(|retired| *retired.borrow())
    }

    /// Waits until it is.
    async fn due(&mut self) {
        match &mut self.0 {
            // The sender goes with what is scanned.
            Some(retired) => drop(retired.wait_for(|retired| *retired).await),
            None => std::future::pending().await,
        }
    }
}

impl Scan {
    /// Begins a scan of at most `rows_max` rows as they are now. `held` is dropped when the index is
    /// let go of, some time after the scan.
    ///
    /// # Errors
    /// There is no view, or no thread.
    pub async fn open<S: Scanned + ?Sized + 'static>(
        index: Arc<S>,
        layout: ValueLayout,
        rows_max: u64,
        held: impl Send + 'static,
    ) -> Result<Scan, ScanError> {
        let (asks, asked) = mpsc::channel(1);
        let (opened, open) = oneshot::channel();
        let retirement = Retirement(index.retirement());
        let serving = Serving {
            asked,
            retirement: retirement.clone(),
            runtime: Handle::current(),
        };
        let run = move || {
            serving.serve(index, layout, rows_max, opened);
            drop(held);
        };
        std::thread::Builder::new()
            .name("kv-scan".to_owned())
            .spawn(run)
            .map_err(ScanError::Thread)?;
        let offset = open.await.map_err(|_| ScanError::Ended)??;
        Ok(Scan {
            asks,
            offset,
            retirement,
        })
    }

    /// The rows have the changes of all offsets below this one.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The next rows: as many as a batch of `bytes_max` holds, at least one while there are any.
    ///
    /// # Errors
    /// The index failed, which ends the scan; or it is asked twice at a time.
    pub async fn next(&self, bytes_max: usize) -> Result<Piece, ScanError> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { bytes_max, answer };
        self.asks.try_send(ask).map_err(|error| match error {
            TrySendError::Full(_) => ScanError::Busy,
            TrySendError::Closed(_) => self.ended(),
        })?;
        answered.await.map_err(|_| self.ended())?
    }

    fn ended(&self) -> ScanError {
        match self.retirement.is_due() {
            true => ScanError::Retired,
            false => ScanError::Ended,
        }
    }
}

/// The side of the thread.
struct Serving {
    asked: mpsc::Receiver<Ask>,
    retirement: Retirement,
    runtime: Handle,
}

impl Serving {
    fn serve<S: Scanned + ?Sized>(
        mut self,
        index: Arc<S>,
        layout: ValueLayout,
        rows_max: u64,
        opened: oneshot::Sender<Result<Offset, IndexError>>,
    ) {
        let view = match index.rows() {
            Ok(view) => view,
            Err(error) => {
                index.failed(&error);
                // Nobody waits for it when the client is gone.
                let _ = opened.send(Err(error));
                return;
            }
        };
        if opened.send(Ok(view.state().applied)).is_err() {
            return;
        }
        let mut cursor = Cursor {
            view: &*view,
            layout,
            rows_left: rows_max,
            last: None,
            retirement: self.retirement.clone(),
        };
        while let Some(ask) = self.next() {
            let piece = cursor.next(ask.bytes_max);
            if let Err(ScanError::Index(error)) = &piece {
                index.failed(error);
            }
            let failed = piece.is_err();
            if ask.answer.send(piece).is_err() || failed {
                return;
            }
        }
    }

    /// What the client asks next; none when there is nothing more to answer.
    fn next(&mut self) -> Option<Ask> {
        let Serving {
            asked, retirement, ..
        } = self;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = retirement.due() => None,
                ask = asked.recv() => ask,
            }
        })
    }
}

struct Cursor<'v> {
    view: &'v dyn IndexView,
    layout: ValueLayout,
    rows_left: u64,
    /// The key of the last row that was taken.
    last: Option<Vec<u8>>,
    retirement: Retirement,
}

impl Cursor<'_> {
    fn next(&mut self, bytes_max: usize) -> Result<Piece, ScanError> {
        let mut batch = ValueBatchBuilder::new();
        let mut last = Vec::new();
        let mut damaged = None;
        let mut more = false;
        let retirement = &self.retirement;
        let (layout, rows_left) = (self.layout, &mut self.rows_left);
        let scanned = self.view.scan(self.last.as_deref(), &mut |key, stored| {
            if retirement.is_due() {
                return ControlFlow::Break(());
            }
            let plain = match layout.plain(stored) {
                Ok(plain) => plain,
                Err(error) => {
                    damaged = Some(IndexError::Corrupt(error.to_string()));
                    return ControlFlow::Break(());
                }
            };
            if *rows_left == 0 {
                return ControlFlow::Break(());
            }
            if !batch.is_empty() && batch.bytes_len() + VALUE_OVERHEAD + plain.len() > bytes_max {
                more = true;
                return ControlFlow::Break(());
            }
            batch.append(plain);
            last.clear();
            last.extend_from_slice(key);
            *rows_left -= 1;
            ControlFlow::Continue(())
        });
        // What is given up may fail in any way.
        if retirement.is_due() {
            return Err(ScanError::Retired);
        }
        scanned?;
        if let Some(error) = damaged {
            return Err(error.into());
        }
        if batch.is_empty() {
            return Ok(Piece {
                records: None,
                more: false,
            });
        }
        self.last = Some(last);
        Ok(Piece {
            records: Some(batch.finish()),
            more,
        })
    }
}

#[cfg(test)]
mod tests {
    use protocol::fluss::value::{Value, read_value_batch};
    use protocol::ids::SchemaId;

    use super::*;
    use crate::kv::index::IndexState;
    use crate::kv::index::memory::MemoryIndex;

    fn state(applied: i64) -> IndexState {
        IndexState {
            applied: Offset::new(applied),
            epoch: None,
            row_count: Some(0),
        }
    }

    fn index(rows: std::ops::Range<u8>, applied: i64) -> Arc<MemoryIndex> {
        let index = Arc::new(MemoryIndex::new(true));
        put(&index, rows, applied);
        index
    }

    fn put(index: &MemoryIndex, rows: std::ops::Range<u8>, applied: i64) {
        let mut batch = index.start();
        for row in rows {
            let mut stored = Vec::new();
            let value = Value {
                schema_id: SchemaId::new(1),
                row: &[row; 10],
            };
            ValueLayout::Plain.write(0, value, &mut stored);
            batch.put(&[row], &stored);
        }
        batch.commit(state(applied)).unwrap();
    }

    fn rows(piece: &Piece) -> Vec<u8> {
        let records = piece.records.as_deref().unwrap();
        let values = read_value_batch(records).unwrap();
        values.iter().map(|value| value.row[0]).collect()
    }

    #[tokio::test]
    async fn a_scan_shows_the_rows_of_the_moment_it_began() {
        let index = index(0..5, 7);
        let open = |rows_max| Scan::open(index.clone(), ValueLayout::Plain, rows_max, ());
        let scan = open(u64::MAX).await.unwrap();
        let limited = open(3).await.unwrap();
        put(&index, 5..9, 11);
        assert_eq!(scan.offset(), Offset::new(7));
        // 9 bytes before the values, 16 for each.
        let first = scan.next(9 + 2 * 16).await.unwrap();
        assert_eq!((rows(&first), first.more), (vec![0, 1], true));
        // One row, however small the limit.
        let second = scan.next(1).await.unwrap();
        assert_eq!((rows(&second), second.more), (vec![2], true));
        let last = scan.next(1 << 20).await.unwrap();
        assert_eq!((rows(&last), last.more), (vec![3, 4], false));
        let nothing = scan.next(1 << 20).await.unwrap();
        assert_eq!((nothing.records, nothing.more), (None, false));
        let first = limited.next(9 + 2 * 16).await.unwrap();
        assert_eq!((rows(&first), first.more), (vec![0, 1], true));
        let last = limited.next(1 << 20).await.unwrap();
        assert_eq!((rows(&last), last.more), (vec![2], false));
    }

    #[tokio::test]
    async fn an_index_without_rows_has_nothing_to_scan() {
        let scan = Scan::open(index(0..0, 3), ValueLayout::Plain, 9, ()).await;
        let scan = scan.unwrap();
        assert_eq!(scan.offset(), Offset::new(3));
        let piece = scan.next(100).await.unwrap();
        assert_eq!((piece.records, piece.more), (None, false));
    }

    #[tokio::test]
    async fn what_a_scan_holds_is_let_go_when_it_ends() {
        let index = index(0..2, 3);
        let (held, mut gone) = tokio::sync::oneshot::channel::<()>();
        let scan = Scan::open(index.clone(), ValueLayout::Plain, 9, held).await;
        let scan = scan.unwrap();
        scan.next(1).await.unwrap();
        assert!(
            gone.try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Empty)
        );
        drop(scan);
        // Closed, as nothing is ever sent.
        assert!(gone.await.is_err());
        assert_eq!(Arc::strong_count(&index), 1);
    }

    /// Rows that hear what was wrong with them.
    struct Told(Arc<MemoryIndex>, std::sync::mpsc::Sender<IndexError>);

    impl Scanned for Told {
        fn rows(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
            self.0.view()
        }

        fn failed(&self, error: &IndexError) {
            self.1.send(error.clone()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_damaged_value_ends_the_scan_and_is_told() {
        let index = index(0..1, 1);
        let mut batch = index.start();
        batch.put(b"\xff", b"\0");
        batch.commit(state(2)).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let rows = Arc::new(Told(index, tell));
        let scan = Scan::open(rows, ValueLayout::Plain, 9, ()).await.unwrap();
        let failed = scan.next(1 << 20).await;
        assert!(matches!(
            failed,
            Err(ScanError::Index(IndexError::Corrupt(_)))
        ));
        assert!(matches!(told.try_recv(), Ok(IndexError::Corrupt(_))));
        assert!(matches!(scan.next(1).await, Err(ScanError::Ended)));
    }
}

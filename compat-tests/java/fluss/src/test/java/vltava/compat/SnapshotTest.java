package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static vltava.compat.Fluss.LIMIT;
import static vltava.compat.Fluss.config;
import static vltava.compat.Fluss.get;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Snapshots of tables with a primary key, which the client opens with its own RocksDB. */
class SnapshotTest {
    private static final int ROWS = 5_000;

    private static Connection connection;
    private static Admin admin;

    @BeforeAll
    static void open() {
        connection = ConnectionFactory.createConnection(config("FLUSS_BOOTSTRAP"));
        admin = connection.getAdmin();
    }

    @AfterAll
    static void close() throws Exception {
        admin.close();
        connection.close();
    }

    @Test
    void aSnapshotIsLeasedAndReadWithoutTheServer() throws Exception {
        read(List.of("region", "id"), List.of("region", "id"));
    }

    /** Files of such tables have filters for prefixes, which the client's RocksDB does not know. */
    @Test
    void aSnapshotOfATableThatIsLookedUpByPrefixIsReadAsWell() throws Exception {
        read(List.of("region", "id"), List.of("region"));
    }

    private void read(List<String> key, List<String> bucketKey) throws Exception {
        var schema = Schema.newBuilder()
                .column("region", DataTypes.STRING())
                .column("id", DataTypes.INT())
                .column("text", DataTypes.STRING())
                .primaryKey(key)
                .build();
        var descriptor = TableDescriptor.builder().schema(schema).distributedBy(1, bucketKey);
        try (var table = PkTable.make(connection, descriptor)) {
            var bucket = new TableBucket(table.table.getTableInfo().getTableId(), 0);
            // What is written in between makes several files; the last rows are not in memory alone.
            for (int part = 0; part < 3; part++) {
                table.upsertAll(IntStream.range(0, ROWS)
                        .mapToObj(id -> new Object[] {"r" + id % 7, id, "text of row " + id})
                        .toList());
            }
            table.delete("r0", 0, null);
            long end = table.upsert("r1", 1, "changed");
            long snapshot = snapshotAt(table, end);
            var lease = admin.createKvSnapshotLease(Fluss.unique("lease"), 60_000);
            var refused = get(lease.acquireSnapshots(Map.of(bucket, snapshot)));
            assertTrue(refused.getUnavailableTableBucketSet().isEmpty());
            // Later rows are not in it.
            table.upsert("r2", ROWS, "later");
            List<String> found = new ArrayList<>();
            try (var scanner = table.table.newScan().createBatchScanner(bucket, snapshot)) {
                for (var batch = scanner.pollBatch(LIMIT); batch != null; batch = scanner.pollBatch(LIMIT)) {
                    batch.forEachRemaining(row -> found.add(table.show(row)));
                }
            }
            var expected = IntStream.range(1, ROWS)
                    .mapToObj(id -> "r" + id % 7 + " " + id + " " + (id == 1 ? "changed" : "text of row " + id))
                    .sorted()
                    .toList();
            assertEquals(expected, found.stream().sorted().toList());
            get(lease.renew());
            get(lease.releaseSnapshots(java.util.Set.of(bucket)));
            get(lease.dropLease());
        }
    }

    /** Waits for a snapshot with everything below an offset. */
    private static long snapshotAt(PkTable table, long offset) throws Exception {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (true) {
            var latest = get(admin.getLatestKvSnapshots(table.path));
            if (latest.getLogOffset(0).orElse(-1) == offset) {
                return latest.getSnapshotId(0).getAsLong();
            }
            assertTrue(System.nanoTime() < deadline, "no snapshot with offset " + offset);
            Thread.sleep(50);
        }
    }
}

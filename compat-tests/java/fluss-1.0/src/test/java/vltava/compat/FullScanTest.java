package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static vltava.compat.Fluss.LIMIT;
import static vltava.compat.Fluss.config;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.table.scanner.batch.BatchScanner;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Scans of whole tables with a primary key, which clients of 1.0 can ask for. */
class FullScanTest {
    private static Connection connection;

    @BeforeAll
    static void open() {
        var config = config("FLUSS_BOOTSTRAP");
        // An answer holds some dozen rows, so that a scan has many.
        config.setString("client.scanner.kv.fetch.max-bytes", "2kb");
        connection = ConnectionFactory.createConnection(config);
    }

    @AfterAll
    static void close() throws Exception {
        connection.close();
    }

    private static PkTable filled(int rows, String... partitionKeys) throws Exception {
        var schema = Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("region", DataTypes.STRING())
                .column("name", DataTypes.STRING())
                .primaryKey("id", "region")
                .build();
        var table = PkTable.make(connection,
                TableDescriptor.builder().schema(schema).distributedBy(2).partitionedBy(partitionKeys));
        table.upsertAll(IntStream.range(0, rows)
                .mapToObj(id -> new Object[] {id, id % 2 == 0 ? "eu" : "us", "name-" + id}).toList());
        return table;
    }

    private static List<String> all(PkTable table, BatchScanner scanner) throws Exception {
        List<String> found = new ArrayList<>();
        try (scanner) {
            for (var batch = scanner.pollBatch(LIMIT); batch != null; batch = scanner.pollBatch(LIMIT)) {
                batch.forEachRemaining(row -> found.add(table.show(row)));
            }
        }
        return found;
    }

    private static Set<String> wanted(int rows) {
        var wanted = new HashSet<String>();
        for (int id = 0; id < rows; id++) {
            wanted.add(id + (id % 2 == 0 ? " eu" : " us") + " name-" + id);
        }
        return wanted;
    }

    @Test
    void everyRowThatLivesComesOnce() throws Exception {
        try (var table = filled(1_000)) {
            table.delete(7, "us", null);
            table.upsert(8, "eu", "eight");
            var found = all(table, table.table.newScan().createBatchScanner());
            assertEquals(999, found.size());
            var rows = wanted(1_000);
            rows.remove("7 us name-7");
            rows.remove("8 eu name-8");
            rows.add("8 eu eight");
            assertEquals(rows, new HashSet<>(found));
        }
    }

    @Test
    void bucketsAreScannedOneByOne() throws Exception {
        try (var table = filled(300)) {
            var found = new ArrayList<String>();
            for (int bucket = 0; bucket < 2; bucket++) {
                var of = all(table, table.table.newScan()
                        .createBatchScanner(new TableBucket(table.table.getTableInfo().getTableId(), bucket)));
                assertTrue(of.size() > 50, "bucket " + bucket + " has " + of.size());
                found.addAll(of);
            }
            assertEquals(300, found.size());
            assertEquals(wanted(300), new HashSet<>(found));
        }
    }

    @Test
    void allPartitionsAreScanned() throws Exception {
        try (var table = filled(200, "region")) {
            assertEquals(wanted(200), new HashSet<>(all(table, table.table.newScan().createBatchScanner())));
        }
    }

    @Test
    void aScanMayNameItsColumns() throws Exception {
        try (var table = filled(100)) {
            List<Integer> found = new ArrayList<>();
            try (var scanner = table.table.newScan().project(List.of("name", "id")).createBatchScanner()) {
                for (var batch = scanner.pollBatch(LIMIT); batch != null; batch = scanner.pollBatch(LIMIT)) {
                    batch.forEachRemaining(row -> {
                        assertEquals("name-" + row.getInt(1), row.getString(0).toString());
                        found.add(row.getInt(1));
                    });
                }
            }
            assertEquals(IntStream.range(0, 100).boxed().toList(), found.stream().sorted().toList());
        }
    }
}

package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static vltava.compat.Fluss.LIMIT;
import static vltava.compat.Fluss.config;
import static vltava.compat.Fluss.get;
import static vltava.compat.Fluss.refused;
import static vltava.compat.Fluss.unique;

import java.math.BigDecimal;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.client.admin.OffsetSpec;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.scanner.Scan;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.exception.DatabaseNotEmptyException;
import org.apache.fluss.exception.DatabaseNotExistException;
import org.apache.fluss.exception.PartitionAlreadyExistsException;
import org.apache.fluss.exception.TableAlreadyExistException;
import org.apache.fluss.exception.TableNotExistException;
import org.apache.fluss.metadata.DatabaseDescriptor;
import org.apache.fluss.metadata.LogFormat;
import org.apache.fluss.metadata.PartitionSpec;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.metadata.TableChange;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.Decimal;
import org.apache.fluss.row.GenericArray;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.row.TimestampLtz;
import org.apache.fluss.row.TimestampNtz;
import org.apache.fluss.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Databases and log tables, the same for every line of the Java client. */
class LogTableTest {
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

    private static TableDescriptor.Builder small() {
        var schema = Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("name", DataTypes.STRING())
                .column("score", DataTypes.BIGINT())
                .build();
        return TableDescriptor.builder().schema(schema).distributedBy(1);
    }

    private static TablePath table(TableDescriptor.Builder descriptor) throws Exception {
        var path = TablePath.of("fluss", unique("table"));
        get(admin.createTable(path, descriptor.build(), false));
        return path;
    }

    private static GenericRow row(int id) {
        return GenericRow.of(id, BinaryString.fromString("name-" + id), id * 10L);
    }

    /** Appends rows and waits for their acknowledgement. */
    private static void append(TablePath path, List<GenericRow> rows) throws Exception {
        try (Table table = connection.getTable(path)) {
            var writer = table.newAppend().createWriter();
            var sent = rows.stream().map(writer::append).toList();
            writer.flush();
            for (var future : sent) {
                get(future);
            }
        }
    }

    private static void append(TablePath path, int first, int last) throws Exception {
        List<GenericRow> rows = new ArrayList<>();
        for (int id = first; id < last; id++) {
            rows.add(row(id));
        }
        append(path, rows);
    }

    /** Reads bucket 0 from the start; each row is read while its batch is there. */
    private static <T> List<T> scan(TablePath path, int count, UnaryOperator<Scan> change, Function<InternalRow, T> read)
            throws Exception {
        List<T> found = new ArrayList<>();
        try (Table table = connection.getTable(path);
                var scanner = change.apply(table.newScan()).createLogScanner()) {
            scanner.subscribeFromBeginning(0);
            long deadline = System.nanoTime() + LIMIT.toNanos();
            long next = 0;
            while (found.size() < count) {
                assertTrue(System.nanoTime() < deadline, found.size() + " of " + count + " rows came");
                for (var record : scanner.poll(Duration.ofMillis(200))) {
                    assertEquals(next++, record.logOffset());
                    found.add(read.apply(record.getRow()));
                }
            }
        }
        return found;
    }

    private static long latest(TablePath path) throws Exception {
        return get(admin.listOffsets(path, List.of(0), new OffsetSpec.LatestSpec()).all()).get(0);
    }

    @Test
    void aDatabaseIsMadeDescribedAndDropped() throws Exception {
        String name = unique("db");
        get(admin.createDatabase(name, DatabaseDescriptor.builder().comment("words").build(), false));
        assertTrue(get(admin.databaseExists(name)));
        assertTrue(get(admin.listDatabases()).contains(name));
        assertEquals("words", get(admin.getDatabaseInfo(name)).getDatabaseDescriptor().getComment().orElseThrow());
        var inside = TablePath.of(name, "inside");
        get(admin.createTable(inside, small().build(), false));
        assertEquals(List.of("inside"), get(admin.listTables(name)));
        refused(DatabaseNotEmptyException.class, admin.dropDatabase(name, false, false));
        get(admin.dropDatabase(name, false, true));
        assertFalse(get(admin.databaseExists(name)));
        refused(DatabaseNotExistException.class, admin.dropDatabase(name, false, false));
    }

    @Test
    void aTableIsDescribedAsItWasMade() throws Exception {
        var path = table(small().distributedBy(3, "id").comment("scores").property("table.log.ttl", "3 d")
                .customProperty("owner", "tests"));
        var info = get(admin.getTableInfo(path));
        assertEquals(3, info.getNumBuckets());
        assertEquals(List.of("id"), info.getBucketKeys());
        assertEquals("scores", info.getComment().orElseThrow());
        assertEquals("3 d", info.getProperties().toMap().get("table.log.ttl"));
        assertEquals("tests", info.getCustomProperties().toMap().get("owner"));
        refused(TableAlreadyExistException.class, admin.createTable(path, small().build(), false));
        get(admin.dropTable(path, false));
        refused(TableNotExistException.class, admin.getTableInfo(path));
    }

    @Test
    void everyTypeIsKeptInTheSchema() throws Exception {
        var schema = Schema.newBuilder()
                .column("a", DataTypes.BOOLEAN())
                .column("b", DataTypes.TINYINT())
                .column("c", DataTypes.SMALLINT())
                .column("d", DataTypes.FLOAT())
                .column("e", DataTypes.DOUBLE())
                .column("f", DataTypes.CHAR(4))
                .column("g", DataTypes.BINARY(3))
                .column("h", DataTypes.BYTES())
                .column("i", DataTypes.DECIMAL(20, 4))
                .column("j", DataTypes.DATE())
                .column("k", DataTypes.TIME(3))
                .column("l", DataTypes.TIMESTAMP(6))
                .column("m", DataTypes.TIMESTAMP_LTZ(3))
                .column("n", DataTypes.ARRAY(DataTypes.INT()))
                .column("o", DataTypes.MAP(DataTypes.STRING(), DataTypes.BIGINT()))
                .column("p", DataTypes.ROW(DataTypes.FIELD("x", DataTypes.ARRAY(DataTypes.STRING()))))
                .build();
        var path = table(TableDescriptor.builder().schema(schema).distributedBy(1));
        assertEquals(schema.getRowType().toString(), get(admin.getTableInfo(path)).getRowType().toString());
    }

    @Test
    void valuesOfManyTypesComeBack() throws Exception {
        var schema = Schema.newBuilder()
                .column("a", DataTypes.BOOLEAN())
                .column("b", DataTypes.DOUBLE())
                .column("c", DataTypes.BYTES())
                .column("d", DataTypes.DECIMAL(10, 2))
                .column("e", DataTypes.TIMESTAMP(3))
                .column("f", DataTypes.TIMESTAMP_LTZ(3))
                .column("g", DataTypes.ARRAY(DataTypes.INT()))
                .build();
        var path = table(TableDescriptor.builder().schema(schema).distributedBy(1));
        append(path, List.of(GenericRow.of(true, -0.5, new byte[] {0, 1}, Decimal.fromBigDecimal(new BigDecimal("-1.25"), 10, 2),
                TimestampNtz.fromMillis(1_700_000_000_001L), TimestampLtz.fromEpochMillis(1_700_000_000_002L),
                new GenericArray(new int[] {7, 8}))));
        scan(path, 1, UnaryOperator.identity(), row -> {
            assertTrue(row.getBoolean(0));
            assertEquals(-0.5, row.getDouble(1));
            assertEquals(1, row.getBytes(2)[1]);
            assertEquals(new BigDecimal("-1.25"), row.getDecimal(3, 10, 2).toBigDecimal());
            assertEquals(1_700_000_000_001L, row.getTimestampNtz(4, 3).getMillisecond());
            assertEquals(1_700_000_000_002L, row.getTimestampLtz(5, 3).getEpochMillisecond());
            assertEquals(8, row.getArray(6).getInt(1));
            return true;
        });
    }

    @ParameterizedTest
    @EnumSource(LogFormat.class)
    void rowsOfEveryLogFormatComeBack(LogFormat format) throws Exception {
        var path = table(small().logFormat(format));
        append(path, 0, 200);
        var names = scan(path, 200, UnaryOperator.identity(), row -> row.getInt(0) + row.getString(1).toString());
        assertEquals("0name-0", names.get(0));
        assertEquals("199name-199", names.get(199));
        assertEquals(200, latest(path));
    }

    @ParameterizedTest
    @ValueSource(strings = {"NONE", "LZ4_FRAME", "ZSTD"})
    void aProjectionGivesTheNamedColumns(String codec) throws Exception {
        var path = table(small().property("table.log.arrow.compression.type", codec));
        append(path, 0, 100);
        var scores = scan(path, 100, scan -> scan.project(List.of("score", "id")), row -> row.getLong(0) + row.getInt(1));
        assertEquals(99L * 11, scores.get(99));
    }

    @Test
    void offsetsAreListedAtBothEndsAndByTime() throws Exception {
        var path = table(small());
        append(path, 0, 10);
        assertEquals(10, latest(path));
        assertEquals(0, get(admin.listOffsets(path, List.of(0), new OffsetSpec.EarliestSpec()).all()).get(0));
        assertEquals(0, get(admin.listOffsets(path, List.of(0), new OffsetSpec.TimestampSpec(1_000)).all()).get(0));
    }

    @Test
    void aLimitScanGivesTheLastRows() throws Exception {
        var path = table(small());
        append(path, 0, 50);
        Set<Integer> found = new HashSet<>();
        try (Table table = connection.getTable(path);
                var scanner = table.newScan().limit(5).createBatchScanner(new TableBucket(table.getTableInfo().getTableId(), 0))) {
            for (var batch = scanner.pollBatch(LIMIT); batch != null; batch = scanner.pollBatch(LIMIT)) {
                batch.forEachRemaining(row -> found.add(row.getInt(0)));
            }
        }
        assertEquals(Set.of(45, 46, 47, 48, 49), found);
    }

    @Test
    void statisticsCountTheRows() throws Exception {
        var path = table(small());
        append(path, 0, 42);
        assertEquals(42, get(admin.getTableStats(path)).getRowCount());
    }

    @Test
    void partitionsAreMadeListedAndDropped() throws Exception {
        var path = table(small().partitionedBy("name"));
        var one = new PartitionSpec(Map.of("name", "a"));
        get(admin.createPartition(path, one, false));
        refused(PartitionAlreadyExistsException.class, admin.createPartition(path, one, false));
        var infos = get(admin.listPartitionInfos(path));
        assertEquals(List.of("a"), infos.stream().map(info -> info.getPartitionName()).toList());
        get(admin.dropPartition(path, one, false));
        assertEquals(List.of(), get(admin.listPartitionInfos(path)));
    }

    @Test
    void aMissingPartitionIsMadeByItsFirstRow() throws Exception {
        var path = table(small().partitionedBy("name"));
        append(path, List.of(row(1), row(2), row(1)));
        var names = new HashSet<String>();
        get(admin.listPartitionInfos(path)).forEach(info -> names.add(info.getPartitionName()));
        assertEquals(Set.of("name-1", "name-2"), names);
        var ends = get(admin.listOffsets(path, "name-1", List.of(0), new OffsetSpec.LatestSpec()).all());
        assertEquals(2, ends.get(0));
    }

    @Test
    void aColumnIsAddedAndOldRowsReadItAsNull() throws Exception {
        var path = table(small());
        append(path, 0, 2);
        int before = get(admin.getTableInfo(path)).getSchemaId();
        var add = TableChange.addColumn("extra", DataTypes.INT(), null, TableChange.ColumnPosition.last());
        get(admin.alterTable(path, List.of(add), false));
        assertNotEquals(before, get(admin.getTableInfo(path)).getSchemaId());
        append(path, List.of(GenericRow.of(2, BinaryString.fromString("n"), 1L, 7)));
        var extra = scan(path, 3, UnaryOperator.identity(), row -> row.isNullAt(3) ? -1 : row.getInt(3));
        assertEquals(List.of(-1, -1, 7), extra);
    }

    @Test
    void propertiesAreAltered() throws Exception {
        var path = table(small());
        get(admin.alterTable(path, List.of(TableChange.set("owner", "new")), false));
        assertEquals("new", get(admin.getTableInfo(path)).getCustomProperties().toMap().get("owner"));
        get(admin.alterTable(path, List.of(TableChange.reset("owner")), false));
        assertFalse(get(admin.getTableInfo(path)).getCustomProperties().toMap().containsKey("owner"));
    }

    @Test
    void aUserSignsInWithSasl() throws Exception {
        Configuration config = config("FLUSS_SASL_BOOTSTRAP");
        config.setString("client.security.protocol", "SASL");
        config.setString("client.security.sasl.mechanism", "PLAIN");
        config.setString("client.security.sasl.username", "alice");
        config.setString("client.security.sasl.password", "alice-secret");
        try (var signedIn = ConnectionFactory.createConnection(config);
                var itsAdmin = signedIn.getAdmin()) {
            assertTrue(get(itsAdmin.databaseExists("fluss")));
        }
    }
}

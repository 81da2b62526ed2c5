package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static vltava.compat.Fluss.config;
import static vltava.compat.Fluss.get;
import static vltava.compat.Fluss.refused;
import static vltava.compat.Fluss.unique;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.function.UnaryOperator;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.admin.Admin;
import org.apache.fluss.client.admin.OffsetSpec;
import org.apache.fluss.exception.DeletionDisabledException;
import org.apache.fluss.exception.InvalidConfigException;
import org.apache.fluss.exception.InvalidTableException;
import org.apache.fluss.metadata.KvFormat;
import org.apache.fluss.metadata.LogFormat;
import org.apache.fluss.metadata.PartitionSpec;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableChange;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.Decimal;
import org.apache.fluss.row.GenericArray;
import org.apache.fluss.row.TimestampLtz;
import org.apache.fluss.row.TimestampNtz;
import org.apache.fluss.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Tables with a primary key, the same for every line of the Java client. */
class PrimaryKeyTest {
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

    private static Schema.Builder columns() {
        return Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("name", DataTypes.STRING())
                .column("score", DataTypes.BIGINT());
    }

    /** One bucket, so that the changelog has one order. */
    private static TableDescriptor.Builder small() {
        return TableDescriptor.builder().schema(columns().primaryKey("id").build()).distributedBy(1);
    }

    private static PkTable table(TableDescriptor.Builder descriptor) throws Exception {
        return PkTable.make(connection, descriptor);
    }

    private static void refusedToMake(Class<? extends Throwable> cause, TableDescriptor.Builder descriptor) {
        refused(cause, admin.createTable(TablePath.of("fluss", unique("pk")), descriptor.build(), false));
    }

    private static List<Object[]> rows(int first, int last) {
        List<Object[]> rows = new ArrayList<>();
        for (int id = first; id < last; id++) {
            rows.add(new Object[] {id, "name-" + id, id * 10L});
        }
        return rows;
    }

    @Test
    void aTableIsDescribedWithItsKey() throws Exception {
        try (var table = table(small().distributedBy(3))) {
            var info = get(admin.getTableInfo(table.path));
            assertTrue(info.hasPrimaryKey());
            assertEquals(List.of("id"), info.getPrimaryKeys());
            assertEquals(List.of("id"), info.getBucketKeys());
            assertEquals(3, info.getNumBuckets());
        }
    }

    @ParameterizedTest
    @CsvSource({
        "table.merge-engine, versioned",
        "table.delete.behavior, nonsense",
        "table.changelog.image, nonsense"
    })
    void aPropertyThatMakesNoSenseIsRefused(String key, String value) {
        refusedToMake(InvalidConfigException.class, small().property(key, value));
    }

    @ParameterizedTest
    @ValueSource(strings = {"first_row", "versioned"})
    void anEngineThatKeepsOldRowsRefusesToAllowDeletes(String engine) {
        refusedToMake(InvalidConfigException.class, small().property("table.merge-engine", engine)
                .property("table.merge-engine.versioned.ver-column", "score")
                .property("table.delete.behavior", "allow"));
    }

    @Test
    void anEngineWithoutAKeyIsRefused() {
        refusedToMake(InvalidConfigException.class, TableDescriptor.builder().schema(columns().build())
                .distributedBy(1).property("table.merge-engine", "first_row"));
    }

    @Test
    void aKeyOfArraysIsRefused() {
        refusedToMake(InvalidTableException.class, TableDescriptor.builder()
                .schema(Schema.newBuilder().column("a", DataTypes.ARRAY(DataTypes.INT())).column("b", DataTypes.INT())
                        .primaryKey("a").build())
                .distributedBy(1));
    }

    @ParameterizedTest
    @CsvSource({"COMPACTED, ARROW", "COMPACTED, COMPACTED", "INDEXED, ARROW"})
    void rowsAreUpsertedFoundAndDeletedInEveryFormat(KvFormat kv, LogFormat log) throws Exception {
        try (var table = table(small().kvFormat(kv).logFormat(log))) {
            table.upsert(1, "one", 10L);
            table.upsert(2, null, 20L);
            table.upsert(1, "uno", null);
            assertEquals("1 uno null", table.find(1));
            assertEquals("2 null 20", table.find(2));
            assertNull(table.find(3));
            table.delete(1, null, null);
            assertNull(table.find(1));
            assertEquals(List.of("+I 1 one 10", "+I 2 null 20", "-U 1 one 10", "+U 1 uno null", "-D 1 uno null"),
                    table.changes(5));
        }
    }

    @Test
    void valuesOfEveryTypeComeBackFromALookup() throws Exception {
        var schema = Schema.newBuilder()
                .column("id", DataTypes.STRING())
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
                .primaryKey("id")
                .build();
        Object[] values = {"key", true, (byte) -1, (short) 300, 1.5f, -0.25, "four", new byte[] {1, 2, 3}, new byte[] {0},
            Decimal.fromBigDecimal(new BigDecimal("-1234567890123456.7891"), 20, 4), 20_000, 3_600_001,
            TimestampNtz.fromMillis(1_700_000_000_001L, 999_000), TimestampLtz.fromEpochMillis(1_700_000_000_002L),
            new GenericArray(new int[] {7, 8})};
        var shown = new ArrayList<>();
        try (var table = table(TableDescriptor.builder().schema(schema).distributedBy(1))) {
            table.upsert(values);
            var lookuper = table.table.newLookup().createLookuper();
            var row = get(lookuper.lookup(Fluss.row("key"))).getSingletonRow();
            var type = table.table.getTableInfo().getRowType();
            for (int index = 0; index < values.length - 1; index++) {
                shown.add(org.apache.fluss.row.InternalRow.createFieldGetter(type.getTypeAt(index), index)
                        .getFieldOrNull(row));
            }
            assertEquals("[key, true, -1, 300, 1.5, -0.25, four]", shown.subList(0, 7).toString());
            assertEquals("[-1234567890123456.7891, 20000, 3600001, 2023-11-14T22:13:20.001999, 2023-11-14T22:13:20.002Z]",
                    shown.subList(9, 14).toString());
            assertEquals(3, row.getBinary(7, 3)[2]);
            assertEquals(0, row.getBytes(8)[0]);
            assertEquals(8, row.getArray(14).getInt(1));
        }
    }

    @Test
    void keysOfSeveralColumnsAreFound() throws Exception {
        var schema = Schema.newBuilder()
                .column("value", DataTypes.INT())
                .column("b", DataTypes.BIGINT())
                .column("day", DataTypes.DATE())
                .column("a", DataTypes.STRING())
                .primaryKey("a", "b", "day")
                .build();
        try (var table = table(TableDescriptor.builder().schema(schema).distributedBy(2))) {
            for (int number = 0; number < 20; number++) {
                table.upsert(number, (long) -number, 19_000 + number, "k" + number);
            }
            for (int number = 0; number < 20; number++) {
                assertEquals(number + " " + -number + " " + (19_000 + number) + " k" + number,
                        table.find("k" + number, (long) -number, 19_000 + number));
            }
            assertNull(table.find("k1", 1L, 19_001));
        }
    }

    @Test
    void changesOfOneKeyInOneBatchKeepTheirOrder() throws Exception {
        try (var table = table(small())) {
            var writer = table.writer(UnaryOperator.identity());
            var sent = new ArrayList<>(List.of(writer.upsert(Fluss.row(1, "a", 1L)), writer.upsert(Fluss.row(1, "b", 2L))));
            var deleted = writer.delete(Fluss.row(1, null, null));
            sent.add(writer.upsert(Fluss.row(1, "c", 3L)));
            writer.flush();
            for (var future : sent) {
                get(future);
            }
            get(deleted);
            assertEquals("1 c 3", table.find(1));
            assertEquals(List.of("+I 1 a 1", "-U 1 a 1", "+U 1 b 2", "-D 1 b 2", "+I 1 c 3"), table.changes(5));
        }
    }

    @Test
    void theImageWalLeavesOutWhatWasThereBefore() throws Exception {
        try (var table = table(small().property("table.changelog.image", "wal"))) {
            table.upsert(1, "a", 1L);
            table.upsert(1, "b", 2L);
            table.delete(1, null, null);
            table.delete(2, null, null);
            table.upsert(1, "c", 3L);
            assertEquals("1 c 3", table.find(1));
            assertEquals(List.of("+U 1 a 1", "+U 1 b 2", "-D 1 b 2", "+U 1 c 3"), table.changes(4));
        }
    }

    @Test
    void anAcknowledgedRowIsSeenByTheNextLookupOfAnyClient() throws Exception {
        try (var table = table(small());
                var other = ConnectionFactory.createConnection(config("FLUSS_BOOTSTRAP"));
                var read = other.getTable(table.path)) {
            var lookuper = read.newLookup().createLookuper();
            for (int round = 0; round < 100; round++) {
                table.upsert(round % 7, "round-" + round, (long) round);
                assertEquals(round % 7 + " round-" + round + " " + round, table.find(lookuper, round % 7));
                if (round % 10 == 9) {
                    table.delete(round % 7, null, null);
                    assertNull(table.find(lookuper, round % 7));
                }
            }
        }
    }

    @Test
    void theAcknowledgementNamesTheOffsetBehindTheChange() throws Exception {
        try (var table = table(small())) {
            assertEquals(1, table.upsert(1, "a", 1L));
            assertEquals(3, table.upsert(1, "b", 2L));
            assertEquals(4, table.upsert(2, "c", 3L));
            assertEquals(4, get(admin.listOffsets(table.path, List.of(0), new OffsetSpec.LatestSpec()).all()).get(0));
        }
    }

    @Test
    void rowsOfManyBucketsAreFoundAndScanned() throws Exception {
        try (var table = table(small().distributedBy(3))) {
            table.upsertAll(rows(0, 600));
            table.upsertAll(rows(0, 600).stream().filter(row -> (int) row[0] % 3 == 0).toList());
            for (int id = 0; id < 600; id += 37) {
                assertEquals(id + " name-" + id + " " + id * 10, table.find(id));
            }
            Set<String> scanned = new HashSet<>();
            for (int bucket = 0; bucket < 3; bucket++) {
                scanned.addAll(table.some(bucket, 600));
            }
            assertEquals(600, scanned.size());
            assertEquals(7, table.some(1, 7).size());
        }
    }

    @Test
    void aScanGivesTheRowsThatLive() throws Exception {
        try (var table = table(small())) {
            table.upsertAll(rows(0, 10));
            table.upsert(3, "three", 3L);
            table.delete(4, null, null);
            var found = table.some(0, 100);
            assertEquals(9, found.size());
            assertTrue(found.contains("3 three 3"), found::toString);
        }
    }

    @Test
    void aChangelogIsReadWithAProjection() throws Exception {
        try (var table = table(small())) {
            table.upsert(1, "a", 1L);
            table.upsert(1, "b", 2L);
            table.delete(1, null, null);
            var type = table.table.getTableInfo().getRowType().project(List.of("score", "id"));
            assertEquals(List.of("+I 1 1", "-U 1 1", "+U 2 1", "-D 2 1"),
                    table.changes(4, scan -> scan.project(List.of("score", "id")), type));
        }
    }

    @Test
    void partitionsAreWrittenReadAndDropped() throws Exception {
        var schema = Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("region", DataTypes.STRING())
                .column("name", DataTypes.STRING())
                .primaryKey("id", "region")
                .build();
        try (var table = table(TableDescriptor.builder().schema(schema).distributedBy(2).partitionedBy("region"))) {
            // The first is made by hand, the second by its first row.
            get(admin.createPartition(table.path, new PartitionSpec(Map.of("region", "eu")), false));
            table.upsert(1, "eu", "a");
            table.upsert(1, "us", "b");
            table.upsert(1, "us", "c");
            assertEquals("1 eu a", table.find(1, "eu"));
            assertEquals("1 us c", table.find(1, "us"));
            assertNull(table.find(2, "us"));
            table.delete(1, "us", null);
            assertNull(table.find(1, "us"));
            var names = new HashSet<String>();
            get(admin.listPartitionInfos(table.path)).forEach(info -> names.add(info.getPartitionName()));
            assertEquals(Set.of("eu", "us"), names);
            get(admin.dropPartition(table.path, new PartitionSpec(Map.of("region", "us")), false));
            assertEquals(1, get(admin.listPartitionInfos(table.path)).size());
            assertEquals("1 eu a", table.find(1, "eu"));
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void rowsAreFoundByTheBeginningOfTheirKey(boolean partitioned) throws Exception {
        var schema = Schema.newBuilder()
                .column("a", DataTypes.INT())
                .column("b", DataTypes.STRING())
                .column("c", DataTypes.BIGINT())
                .column("d", DataTypes.STRING())
                .primaryKey("a", "b", "c")
                .build();
        var descriptor = TableDescriptor.builder().schema(schema).distributedBy(3, partitioned ? new String[] {"a"} : new String[] {"a", "b"});
        if (partitioned) {
            descriptor.partitionedBy("b");
        }
        try (var table = table(descriptor)) {
            table.upsert(1, "x", 3L, "third");
            table.upsert(1, "x", 1L, "first");
            table.upsert(1, "x", 2L, "second");
            table.upsert(1, "xx", 1L, "other");
            table.upsert(2, "x", 1L, "another");
            var found = new ArrayList<>(table.findAll(List.of("a", "b"), 1, "x"));
            assertEquals(List.of("1 x 1 first", "1 x 2 second", "1 x 3 third"), found.stream().sorted().toList());
            assertEquals(List.of("1 xx 1 other"), table.findAll(List.of("a", "b"), 1, "xx"));
            assertEquals(List.of(), table.findAll(List.of("a", "b"), 3, "x"));
            table.delete(1, "x", 2L, null);
            table.upsert(1, "x", 1L, "again");
            found = new ArrayList<>(table.findAll(List.of("a", "b"), 1, "x"));
            assertEquals(List.of("1 x 1 again", "1 x 3 third"), found.stream().sorted().toList());
        }
    }

    @Test
    void aPartialUpdateKeepsTheOtherColumns() throws Exception {
        try (var table = table(small())) {
            var names = table.writer(upsert -> upsert.partialUpdate("id", "name"));
            var scores = table.writer(upsert -> upsert.partialUpdate("id", "score"));
            PkTable.upsert(names, 1, "a", null);
            assertEquals("1 a null", table.find(1));
            PkTable.upsert(scores, 1, null, 5L);
            assertEquals("1 a 5", table.find(1));
            PkTable.upsert(names, 1, null, null);
            assertEquals("1 null 5", table.find(1));
            PkTable.upsert(names, 1, "b", null);
            // What a writer deletes are its own columns; the row goes with the last of them.
            PkTable.delete(scores, 1, null, null);
            assertEquals("1 b null", table.find(1));
            PkTable.delete(names, 1, null, null);
            assertNull(table.find(1));
            assertEquals(List.of("+I 1 a null", "-U 1 a null", "+U 1 a 5", "-U 1 a 5", "+U 1 null 5", "-U 1 null 5",
                    "+U 1 b 5", "-U 1 b 5", "+U 1 b null", "-D 1 b null"), table.changes(10));
        }
    }

    @Test
    void aDeleteIsIgnoredWhereTheTableSaysSo() throws Exception {
        try (var table = table(small().property("table.delete.behavior", "ignore"))) {
            table.upsert(1, "a", 1L);
            table.delete(1, null, null);
            assertEquals("1 a 1", table.find(1));
            table.upsert(1, "b", 2L);
            assertEquals(List.of("+I 1 a 1", "-U 1 a 1", "+U 1 b 2"), table.changes(3));
        }
    }

    @Test
    void aDeleteIsRefusedWhereTheTableSaysSo() throws Exception {
        try (var table = table(small().property("table.delete.behavior", "disable"))) {
            table.upsert(1, "a", 1L);
            var error = assertThrows(ExecutionException.class, () -> table.delete(1, null, null));
            assertEquals(DeletionDisabledException.class, error.getCause().getClass());
            assertEquals("1 a 1", table.find(1));
        }
    }

    @Test
    void anAutoIncrementColumnIsGivenOncePerKey() throws Exception {
        var descriptor = TableDescriptor.builder()
                .schema(columns().primaryKey("id").enableAutoIncrement("score").build()).distributedBy(2);
        try (var table = table(descriptor)) {
            var writer = table.writer(upsert -> upsert.partialUpdate("id", "name"));
            Set<Long> given = new HashSet<>();
            var lookuper = table.table.newLookup().createLookuper();
            for (int id = 0; id < 10; id++) {
                PkTable.upsert(writer, id, "first", null);
                given.add(get(lookuper.lookup(Fluss.row(id))).getSingletonRow().getLong(2));
            }
            assertEquals(10, given.size());
            String before = table.find(4);
            PkTable.upsert(writer, 4, "second", null);
            assertEquals(before.replace("first", "second"), table.find(4));
        }
    }

    @Test
    void aLookupMayInsertWhatIsMissing() throws Exception {
        var descriptor = TableDescriptor.builder()
                .schema(Schema.newBuilder().column("name", DataTypes.STRING()).column("number", DataTypes.BIGINT())
                        .primaryKey("name").enableAutoIncrement("number").build())
                .distributedBy(1);
        try (var table = table(descriptor)) {
            assertNull(table.find("a"));
            var lookuper = table.table.newLookup().enableInsertIfNotExists().createLookuper();
            String first = table.find(lookuper, "a");
            assertEquals(first, table.find(lookuper, "a"));
            assertNotEquals(first.substring(2), table.find(lookuper, "b").substring(2));
            assertEquals(first, table.find("a"));
        }
    }

    @Test
    void aColumnIsAddedOverStoredRows() throws Exception {
        try (var table = table(small())) {
            table.upsert(1, "a", 1L);
            table.upsert(2, "b", 2L);
            var add = TableChange.addColumn("extra", DataTypes.INT(), null, TableChange.ColumnPosition.last());
            get(admin.alterTable(table.path, List.of(add), false));
            // A writer of the old schema goes on.
            table.upsert(3, "c", 3L);
            try (var now = table.again()) {
                now.upsert(4, "d", 4L, 44);
                PkTable.upsert(now.writer(upsert -> upsert.partialUpdate("id", "extra")), 1, null, null, 11);
                assertEquals("1 a 1 11", now.find(1));
                assertEquals("2 b 2 null", now.find(2));
                assertEquals("3 c 3 null", now.find(3));
                assertEquals("4 d 4 44", now.find(4));
                assertEquals(Set.of("1 a 1 11", "2 b 2 null", "3 c 3 null", "4 d 4 44"), new HashSet<>(now.some(0, 10)));
                assertEquals(List.of("+I 1 a 1 null", "+I 2 b 2 null", "+I 3 c 3 null", "+I 4 d 4 44",
                        "-U 1 a 1 null", "+U 1 a 1 11"), now.changes(6));
            }
        }
    }

    @Test
    void statisticsCountTheRowsThatLive() throws Exception {
        try (var table = table(small().distributedBy(2))) {
            table.upsertAll(rows(0, 40));
            table.upsertAll(rows(0, 20));
            table.delete(5, null, null);
            assertEquals(39, get(admin.getTableStats(table.path)).getRowCount());
        }
    }

    @Test
    void aTableMadeAnewIsEmpty() throws Exception {
        try (var table = table(small())) {
            table.upsert(1, "a", 1L);
            get(admin.dropTable(table.path, false));
            get(admin.createTable(table.path, small().build(), false));
            try (var fresh = ConnectionFactory.createConnection(config("FLUSS_BOOTSTRAP"));
                    var again = fresh.getTable(table.path)) {
                assertNull(get(again.newLookup().createLookuper().lookup(Fluss.row(1))).getSingletonRow());
            }
        }
    }

    @Test
    void snapshotsAreListedForEveryBucket() throws Exception {
        try (var table = table(small().distributedBy(2))) {
            table.upsert(1, "a", 1L);
            assertEquals(Set.of(0, 1), get(admin.getLatestKvSnapshots(table.path)).getBucketIds());
        }
    }
}

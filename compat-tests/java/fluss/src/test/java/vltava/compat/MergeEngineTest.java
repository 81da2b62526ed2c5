package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.params.provider.Arguments.arguments;
import static vltava.compat.Fluss.config;
import static vltava.compat.Fluss.refused;
import static vltava.compat.Fluss.unique;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.exception.InvalidConfigException;
import org.apache.fluss.metadata.AggFunction;
import org.apache.fluss.metadata.AggFunctions;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.Decimal;
import org.apache.fluss.rpc.protocol.MergeMode;
import org.apache.fluss.types.DataType;
import org.apache.fluss.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.roaringbitmap.RoaringBitmap;
import org.roaringbitmap.longlong.Roaring64Bitmap;

/** What becomes of an upsert whose key is already there, for every merge engine and function. */
class MergeEngineTest {
    private static Connection connection;

    @BeforeAll
    static void open() {
        connection = ConnectionFactory.createConnection(config("FLUSS_BOOTSTRAP"));
    }

    @AfterAll
    static void close() throws Exception {
        connection.close();
    }

    private static TableDescriptor.Builder engine(String name) {
        var schema = Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("name", DataTypes.STRING())
                .column("version", DataTypes.BIGINT())
                .primaryKey("id")
                .build();
        return TableDescriptor.builder().schema(schema).distributedBy(1).property("table.merge-engine", name);
    }

    private static TableDescriptor.Builder aggregation(Schema.Builder columns) {
        return TableDescriptor.builder().schema(columns.primaryKey("id").build()).distributedBy(1)
                .property("table.merge-engine", "aggregation");
    }

    /** A sum, a text whose last value counts, and a list of texts. */
    private static Schema.Builder totals() {
        return Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("total", DataTypes.BIGINT(), AggFunctions.SUM())
                .column("last", DataTypes.STRING())
                .column("all", DataTypes.STRING(), AggFunctions.LISTAGG("|"));
    }

    @Test
    void theFirstRowStays() throws Exception {
        try (var table = PkTable.make(connection, engine("first_row"))) {
            table.upsert(1, "a", 1L);
            table.upsert(1, "b", 2L);
            table.delete(1, null, null);
            table.upsert(2, "c", 3L);
            assertEquals("1 a 1", table.find(1));
            assertEquals(List.of("+I 1 a 1", "+I 2 c 3"), table.changes(2));
        }
    }

    @Test
    void theHighestVersionStays() throws Exception {
        var descriptor = engine("versioned").property("table.merge-engine.versioned.ver-column", "version");
        try (var table = PkTable.make(connection, descriptor)) {
            table.upsert(1, "a", 5L);
            table.upsert(1, "older", 4L);
            assertEquals("1 a 5", table.find(1));
            table.upsert(1, "equal", 5L);
            assertEquals("1 equal 5", table.find(1));
            table.upsert(1, "newer", 6L);
            table.delete(1, null, null);
            assertEquals("1 newer 6", table.find(1));
            assertEquals(List.of("+I 1 a 5", "-U 1 a 5", "+U 1 equal 5", "-U 1 equal 5", "+U 1 newer 6"), table.changes(5));
        }
    }

    static Stream<Arguments> functions() throws IOException {
        return Stream.of(
                arguments("sum", DataTypes.INT(), AggFunctions.SUM(), new Object[] {3, 4, null}, "7"),
                arguments("sum of bytes, which wraps", DataTypes.TINYINT(), AggFunctions.SUM(),
                        new Object[] {(byte) 100, (byte) 100}, "-56"),
                arguments("sum of doubles", DataTypes.DOUBLE(), AggFunctions.SUM(), new Object[] {0.5, 0.25}, "0.75"),
                arguments("sum of decimals", DataTypes.DECIMAL(10, 2), AggFunctions.SUM(),
                        new Object[] {decimal("1.25"), decimal("2.50")}, "3.75"),
                arguments("product", DataTypes.BIGINT(), AggFunctions.PRODUCT(), new Object[] {3L, null, -4L}, "-12"),
                arguments("max", DataTypes.STRING(), AggFunctions.MAX(), new Object[] {"b", "c", "a"}, "c"),
                arguments("max of dates", DataTypes.DATE(), AggFunctions.MAX(), new Object[] {19_000, 18_000}, "19000"),
                arguments("min", DataTypes.DOUBLE(), AggFunctions.MIN(), new Object[] {1.0, -2.0, 0.0}, "-2.0"),
                arguments("last_value", DataTypes.STRING(), AggFunctions.LAST_VALUE(), new Object[] {"a", "b", null}, "null"),
                arguments("last_value_ignore_nulls", DataTypes.STRING(), AggFunctions.LAST_VALUE_IGNORE_NULLS(),
                        new Object[] {"a", "b", null}, "b"),
                arguments("first_value", DataTypes.STRING(), AggFunctions.FIRST_VALUE(), new Object[] {"a", "b"}, "a"),
                arguments("first_value_ignore_nulls", DataTypes.INT(), AggFunctions.FIRST_VALUE_IGNORE_NULLS(),
                        new Object[] {null, 2, 3}, "2"),
                arguments("listagg", DataTypes.STRING(), AggFunctions.LISTAGG(), new Object[] {"a", null, "b"}, "a,b"),
                arguments("string_agg", DataTypes.STRING(), AggFunctions.STRING_AGG("; "), new Object[] {"a", "b"}, "a; b"),
                arguments("bool_and", DataTypes.BOOLEAN(), AggFunctions.BOOL_AND(), new Object[] {true, false, true}, "false"),
                arguments("bool_or", DataTypes.BOOLEAN(), AggFunctions.BOOL_OR(), new Object[] {false, true, false}, "true"),
                arguments("rbm32", DataTypes.BYTES(), AggFunctions.RBM32(),
                        new Object[] {bitmap32(1, 70_000), bitmap32(2, 1)}, hex(bitmap32(1, 2, 70_000))),
                arguments("rbm64", DataTypes.BYTES(), AggFunctions.RBM64(),
                        new Object[] {bitmap64(1, 1L << 40), bitmap64(2, 1)}, hex(bitmap64(1, 2, 1L << 40))));
    }

    private static Decimal decimal(String text) {
        return Decimal.fromBigDecimal(new BigDecimal(text), 10, 2);
    }

    private static byte[] bitmap32(int... values) throws IOException {
        var bitmap = RoaringBitmap.bitmapOf(values);
        bitmap.runOptimize();
        var bytes = new ByteArrayOutputStream();
        bitmap.serialize(new DataOutputStream(bytes));
        return bytes.toByteArray();
    }

    private static byte[] bitmap64(long... values) throws IOException {
        var bitmap = Roaring64Bitmap.bitmapOf(values);
        bitmap.runOptimize();
        var bytes = new ByteArrayOutputStream();
        bitmap.serialize(new DataOutputStream(bytes));
        return bytes.toByteArray();
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("functions")
    void aFunctionGathersTheValuesOfAKey(String name, DataType type, AggFunction function, Object[] values, String wanted)
            throws Exception {
        var columns = Schema.newBuilder().column("id", DataTypes.INT()).column("value", type, function);
        try (var table = PkTable.make(connection, aggregation(columns))) {
            for (Object value : values) {
                table.upsert(1, value);
            }
            assertEquals("1 " + wanted, table.find(1));
        }
    }

    @Test
    void theChangelogHoldsWhatWasGathered() throws Exception {
        try (var table = PkTable.make(connection, aggregation(totals()))) {
            table.upsert(1, 5L, "a", "x");
            table.upsert(1, 6L, null, "y");
            // Ignored, because nothing else was said.
            table.delete(1, null, null, null);
            table.upsert(1, null, "b", null);
            assertEquals("1 11 b x|y", table.find(1));
            assertEquals(List.of("+I 1 5 a x", "-U 1 5 a x", "+U 1 11 a x|y", "-U 1 11 a x|y", "+U 1 11 b x|y"),
                    table.changes(5));
        }
    }

    @Test
    void someColumnsAreGatheredAndTheOthersKept() throws Exception {
        try (var table = PkTable.make(connection, aggregation(totals()))) {
            table.upsert(1, 5L, "a", "x");
            PkTable.upsert(table.writer(upsert -> upsert.partialUpdate("id", "total")), 1, 6L, null, null);
            assertEquals("1 11 a x", table.find(1));
            PkTable.upsert(table.writer(upsert -> upsert.partialUpdate("id", "last", "all")), 1, null, "b", "y");
            assertEquals("1 11 b x|y", table.find(1));
        }
    }

    @Test
    void anAggregationDeletesWhereItIsAllowed() throws Exception {
        try (var table = PkTable.make(connection, aggregation(totals()).property("table.delete.behavior", "allow"))) {
            table.upsert(1, 5L, "a", "x");
            table.delete(1, null, null, null);
            assertNull(table.find(1));
            table.upsert(1, 6L, "b", "y");
            assertEquals("1 6 b y", table.find(1));
            assertEquals(List.of("+I 1 5 a x", "-D 1 5 a x", "+I 1 6 b y"), table.changes(3));
        }
    }

    @Test
    void aWriterMayOverwriteWhatWasGathered() throws Exception {
        try (var table = PkTable.make(connection, aggregation(totals()))) {
            table.upsert(1, 5L, "a", "x");
            table.upsert(1, 6L, "b", "y");
            var overwrite = table.writer(upsert -> upsert.mergeMode(MergeMode.OVERWRITE));
            PkTable.upsert(overwrite, 1, 5L, "a", "x");
            assertEquals("1 5 a x", table.find(1));
            PkTable.delete(overwrite, 1, null, null, null);
            assertNull(table.find(1));
        }
    }

    @Test
    void anAggregationWithoutTheOldRowsIsRefused() {
        refused(InvalidConfigException.class, connection.getAdmin().createTable(TablePath.of("fluss", unique("pk")),
                aggregation(totals()).property("table.changelog.image", "wal").build(), false));
    }
}

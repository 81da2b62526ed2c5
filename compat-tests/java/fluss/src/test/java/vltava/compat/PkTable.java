package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static vltava.compat.Fluss.LIMIT;
import static vltava.compat.Fluss.get;
import static vltava.compat.Fluss.row;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.lookup.Lookuper;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.client.table.scanner.Scan;
import org.apache.fluss.client.table.writer.Upsert;
import org.apache.fluss.client.table.writer.UpsertWriter;
import org.apache.fluss.metadata.TableBucket;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.types.RowType;

/** A table with a primary key, as the tests use it: rows are shown as their values, side by side. */
final class PkTable implements AutoCloseable {
    final TablePath path;
    final Table table;
    private final Connection connection;
    private final UpsertWriter writer;

    private PkTable(Connection connection, TablePath path) {
        this.connection = connection;
        this.path = path;
        table = connection.getTable(path);
        // A table with an auto-increment column is written through `writer` alone.
        writer = table.getTableInfo().getSchema().getAutoIncrementColumnNames().isEmpty()
                ? table.newUpsert().createWriter()
                : null;
    }

    static PkTable make(Connection connection, TableDescriptor.Builder descriptor) throws Exception {
        var path = TablePath.of("fluss", Fluss.unique("pk"));
        get(connection.getAdmin().createTable(path, descriptor.build(), false));
        return new PkTable(connection, path);
    }

    /** The same table with the schema that it has now. */
    PkTable again() {
        return new PkTable(connection, path);
    }

    @Override
    public void close() throws Exception {
        table.close();
    }

    /** Upserts a row and waits for the acknowledgement; returns the offset behind what it wrote. */
    long upsert(Object... values) throws Exception {
        return upsert(writer, values);
    }

    static long upsert(UpsertWriter writer, Object... values) throws Exception {
        var sent = writer.upsert(row(values));
        writer.flush();
        return get(sent).getLogEndOffset();
    }

    /** Deletes the row of a key; what is no key may be null. */
    void delete(Object... values) throws Exception {
        delete(writer, values);
    }

    static void delete(UpsertWriter writer, Object... values) throws Exception {
        var sent = writer.delete(row(values));
        writer.flush();
        get(sent);
    }

    /** Sends many rows and waits for all of them. */
    void upsertAll(List<Object[]> rows) throws Exception {
        var sent = rows.stream().map(values -> writer.upsert(row(values))).toList();
        writer.flush();
        for (var future : sent) {
            get(future);
        }
    }

    UpsertWriter writer(UnaryOperator<Upsert> change) {
        return change.apply(table.newUpsert()).createWriter();
    }

    /** The row of a key, or null. */
    String find(Object... key) throws Exception {
        return find(table.newLookup().createLookuper(), key);
    }

    String find(Lookuper lookuper, Object... key) throws Exception {
        var found = get(lookuper.lookup(row(key))).getSingletonRow();
        return found == null ? null : show(found);
    }

    /** All rows whose key begins with these values of these columns. */
    List<String> findAll(List<String> columns, Object... prefix) throws Exception {
        var lookuper = table.newLookup().lookupBy(columns).createLookuper();
        return get(lookuper.lookup(row(prefix))).getRowList().stream().map(this::show).toList();
    }

    /** Up to `limit` rows of a bucket. */
    List<String> some(int bucket, int limit) throws Exception {
        List<String> found = new ArrayList<>();
        try (var scanner = table.newScan().limit(limit)
                .createBatchScanner(new TableBucket(table.getTableInfo().getTableId(), bucket))) {
            for (var batch = scanner.pollBatch(LIMIT); batch != null; batch = scanner.pollBatch(LIMIT)) {
                batch.forEachRemaining(row -> found.add(show(row)));
            }
        }
        return found;
    }

    /** The first changes of bucket 0, as `+U 1 a`. */
    List<String> changes(int count) throws Exception {
        return changes(count, UnaryOperator.identity(), table.getTableInfo().getRowType());
    }

    List<String> changes(int count, UnaryOperator<Scan> change, RowType type) throws Exception {
        List<String> found = new ArrayList<>();
        try (var scanner = change.apply(table.newScan()).createLogScanner()) {
            scanner.subscribeFromBeginning(0);
            long deadline = System.nanoTime() + LIMIT.toNanos();
            while (found.size() < count) {
                assertTrue(System.nanoTime() < deadline, found + ": of " + count);
                for (var record : scanner.poll(Duration.ofMillis(200))) {
                    found.add(record.getChangeType().shortString() + " " + show(record.getRow(), type));
                }
            }
        }
        return found;
    }

    String show(InternalRow row) {
        return show(row, table.getTableInfo().getRowType());
    }

    static String show(InternalRow row, RowType type) {
        return IntStream.range(0, type.getFieldCount())
                .mapToObj(index -> InternalRow.createFieldGetter(type.getTypeAt(index), index).getFieldOrNull(row))
                .map(value -> value instanceof byte[] bytes ? HexFormat.of().formatHex(bytes) : String.valueOf(value))
                .collect(Collectors.joining(" "));
    }
}

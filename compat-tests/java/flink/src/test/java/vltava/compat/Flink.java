package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** A database of its own in a Fluss catalog, and SQL against it, in batches and as streams. */
final class Flink implements AutoCloseable {
    /** Longer than any job takes to say what a test waits for, on a loaded machine. */
    static final Duration LIMIT = Duration.ofSeconds(60);

    private static final AtomicInteger COUNT = new AtomicInteger();

    final StreamTableEnvironment streaming;
    final TableEnvironment batch;
    private final String database = "flink_" + System.nanoTime() + "_" + COUNT.getAndIncrement();
    private final List<TableResult> running = new ArrayList<>();

    Flink() {
        var environment = StreamExecutionEnvironment.getExecutionEnvironment();
        streaming = StreamTableEnvironment.create(environment, EnvironmentSettings.inStreamingMode());
        batch = TableEnvironment.create(EnvironmentSettings.inBatchMode());
        String address = System.getenv("FLUSS_BOOTSTRAP");
        if (address == null || address.isEmpty()) {
            throw new IllegalStateException("set FLUSS_BOOTSTRAP to host:port, or use compat-tests/run");
        }
        for (var sql : List.of(streaming, batch)) {
            sql.getConfig().set("parallelism.default", "1").set("table.exec.resource.default-parallelism", "1");
            sql.executeSql("CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '" + address + "')");
            sql.useCatalog("fluss");
            sql.executeSql("CREATE DATABASE IF NOT EXISTS " + database);
            sql.useDatabase(database);
        }
    }

    /** Ends the jobs that still run, and drops the database with its tables. */
    @Override
    public void close() throws Exception {
        for (var result : running) {
            var job = result.getJobClient().orElseThrow();
            if (!job.getJobStatus().get().isGloballyTerminalState()) {
                job.cancel().get(LIMIT.toSeconds(), TimeUnit.SECONDS);
            }
        }
        streaming.executeSql("USE CATALOG default_catalog");
        streaming.executeSql("DROP DATABASE fluss." + database + " CASCADE");
    }

    /** A statement that has an end: definitions, and writing what is given. */
    void run(String sql) throws Exception {
        batch.executeSql(sql).await(LIMIT.toSeconds(), TimeUnit.SECONDS);
    }

    /** The same, of a stream that ends by itself. */
    void runStreaming(String sql) throws Exception {
        streaming.executeSql(sql).await(LIMIT.toSeconds(), TimeUnit.SECONDS);
    }

    /** Starts a job that goes on until the end of the test. */
    void start(String sql) {
        running.add(streaming.executeSql(sql));
    }

    /** The answer to a bounded query, sorted. */
    List<String> rows(String sql) throws Exception {
        List<String> found = new ArrayList<>();
        try (var rows = batch.executeSql(sql).collect()) {
            rows.forEachRemaining(row -> found.add(row.toString()));
        }
        found.sort(null);
        return found;
    }

    /** Waits until the table holds these rows. */
    void awaitTable(String table, String... wanted) throws Exception {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        var found = rows("SELECT * FROM " + table + " LIMIT 1000");
        while (!found.equals(List.of(wanted))) {
            failIfAJobHas();
            if (System.nanoTime() > deadline) {
                assertEquals(List.of(wanted), found);
            }
            found = rows("SELECT * FROM " + table + " LIMIT 1000");
        }
    }

    /** A job that has failed says why, instead of a wait for what it will not bring. */
    private void failIfAJobHas() throws Exception {
        for (var result : running) {
            var job = result.getJobClient().orElseThrow();
            if (job.getJobStatus().get() == JobStatus.FAILED) {
                job.getJobExecutionResult().get();
            }
        }
    }

    /** An unbounded query that is read as it goes. */
    Reader read(String sql) {
        var result = streaming.executeSql(sql);
        running.add(result);
        return new Reader(result.collect());
    }

    /** Rows of a query that does not end. A test's timeout interrupts a wait for rows that do not come. */
    record Reader(CloseableIterator<Row> rows) {
        /** The next rows, as `+I[1, a]`. */
        List<String> next(int count) {
            List<String> found = new ArrayList<>();
            while (found.size() < count && rows.hasNext()) {
                found.add(rows.next().toString());
            }
            return found;
        }

        List<String> nextSorted(int count) {
            var found = next(count);
            found.sort(null);
            return found;
        }
    }
}

package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.GenericRow;

/** What all suites of the Java client share. */
final class Fluss {
    /** Longer than any answer takes on a loaded machine. */
    static final Duration LIMIT = Duration.ofSeconds(30);

    private static final AtomicInteger COUNT = new AtomicInteger();

    private Fluss() {}

    /** A client of the address in `variable`, which does not wait for more rows before it sends some. */
    static Configuration config(String variable) {
        String address = System.getenv(variable);
        if (address == null || address.isEmpty()) {
            throw new IllegalStateException("set " + variable + " to host:port, or use compat-tests/run");
        }
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", address);
        config.setString("client.writer.batch-timeout", "1ms");
        config.setString("client.lookup.batch-timeout", "1ms");
        return config;
    }

    /** A name that no other test or run has used. */
    static String unique(String prefix) {
        return prefix + "_java_" + System.nanoTime() + "_" + COUNT.getAndIncrement();
    }

    static <T> T get(CompletableFuture<T> future) throws Exception {
        return future.get(LIMIT.toSeconds(), TimeUnit.SECONDS);
    }

    static void refused(Class<? extends Throwable> cause, CompletableFuture<?> future) {
        var error = assertThrows(ExecutionException.class, () -> future.get(LIMIT.toSeconds(), TimeUnit.SECONDS));
        assertInstanceOf(cause, error.getCause());
    }

    /** A row of plain values; strings become Fluss's own. */
    static GenericRow row(Object... values) {
        GenericRow row = new GenericRow(values.length);
        for (int index = 0; index < values.length; index++) {
            Object value = values[index];
            row.setField(index, value instanceof String text ? BinaryString.fromString(text) : value);
        }
        return row;
    }
}

package vltava.compat;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.lookup.Lookuper;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.row.InternalRow;

/**
 * Looks up keys of a compacted topic, one of each line, and prints the key and, behind a tab, its value where it has one.
 * Arguments: the server, and the topic.
 */
final class Lookups {
    private Lookups() {}

    public static void main(String[] args) throws Exception {
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", args[0]);
        config.setString("client.lookup.batch-timeout", "1ms");
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (Connection connection = ConnectionFactory.createConnection(config);
                Table table = connection.getTable(TablePath.of("kafka", args[1]))) {
            Lookuper lookuper = table.newLookup().createLookuper();
            for (String key = keys.readLine(); key != null; key = keys.readLine()) {
                GenericRow wanted = GenericRow.of((Object) key.getBytes(StandardCharsets.UTF_8));
                InternalRow row = lookuper.lookup(wanted).get(30, TimeUnit.SECONDS).getSingletonRow();
                System.out.println(row == null ? key : key + "\t" + new String(row.getBytes(1), StandardCharsets.UTF_8));
            }
        }
    }
}

package vltava.compat;

import java.util.concurrent.TimeUnit;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.AggFunctions;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.types.DataTypes;

/**
 * Makes a table whose rows add up what is written, which clients in other languages cannot say. Arguments: the server, the
 * table in the database {@code fluss}, and its buckets.
 */
final class MakeTotals {
    private MakeTotals() {}

    public static void main(String[] args) throws Exception {
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", args[0]);
        Schema schema = Schema.newBuilder()
                .column("id", DataTypes.INT())
                .column("total", DataTypes.BIGINT(), AggFunctions.SUM())
                .column("records", DataTypes.BIGINT(), AggFunctions.SUM())
                .primaryKey("id")
                .build();
        TableDescriptor table = TableDescriptor.builder()
                .schema(schema)
                .distributedBy(Integer.parseInt(args[2]), "id")
                .property("table.merge-engine", "aggregation")
                .build();
        try (Connection connection = ConnectionFactory.createConnection(config)) {
            connection.getAdmin().createTable(TablePath.of("fluss", args[1]), table, false).get(30, TimeUnit.SECONDS);
        }
    }
}

package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.apache.flink.runtime.testutils.MiniClusterResourceConfiguration;
import org.apache.flink.test.junit5.MiniClusterExtension;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Flink SQL with the Fluss connector on a cluster inside this process. */
class FlinkTest {
    @RegisterExtension
    static final MiniClusterExtension CLUSTER = new MiniClusterExtension(new MiniClusterResourceConfiguration.Builder()
            .setNumberTaskManagers(1).setNumberSlotsPerTaskManager(24).build());

    private static final String PEOPLE =
            "CREATE TABLE people (id INT, name STRING, score BIGINT, PRIMARY KEY (id) NOT ENFORCED)";

    @Test
    void aCatalogShowsItsTables() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE + " WITH ('bucket.num' = '2')");
            flink.run("CREATE TABLE visits (id INT, place STRING)");
            assertEquals(List.of("+I[people]", "+I[visits]"), flink.rows("SHOW TABLES"));
            assertTrue(flink.rows("DESCRIBE people").contains("+I[id, INT, false, PRI(id), null, null]"));
            flink.run("DROP TABLE visits");
            assertEquals(List.of("+I[people]"), flink.rows("SHOW TABLES"));
        }
    }

    @Test
    void rowsAreInsertedUpdatedAndDeleted() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE + " WITH ('bucket.num' = '3')");
            flink.run("INSERT INTO people VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)");
            flink.run("INSERT INTO people VALUES (2, 'B', 21)");
            flink.run("UPDATE people SET score = 11 WHERE id = 1");
            flink.run("DELETE FROM people WHERE id = 3");
            assertEquals(List.of("+I[1, a, 11]", "+I[2, B, 21]"), flink.rows("SELECT * FROM people LIMIT 10"));
            assertEquals(List.of("+I[B]"), flink.rows("SELECT name FROM people WHERE id = 2"));
            assertEquals(List.of("+I[2]"), flink.rows("SELECT COUNT(*) FROM people"));
        }
    }

    @Test
    void aStreamReadsWhatIsThereAndThenEveryChange() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE);
            flink.run("INSERT INTO people VALUES (1, 'a', 10), (2, 'b', 20)");
            var reader = flink.read("SELECT * FROM people");
            assertEquals(List.of("+I[1, a, 10]", "+I[2, b, 20]"), reader.nextSorted(2));
            flink.run("INSERT INTO people VALUES (2, 'B', 21)");
            assertEquals(List.of("-U[2, b, 20]", "+U[2, B, 21]"), reader.next(2));
            flink.run("DELETE FROM people WHERE id = 1");
            assertEquals(List.of("-D[1, a, 10]"), reader.next(1));
        }
    }

    @Test
    void aStreamReadsPartitionsThatAreMadeMeanwhile() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE people (id INT, region STRING, name STRING, PRIMARY KEY (id, region) NOT ENFORCED)"
                    + " PARTITIONED BY (region) WITH ('scan.partition.discovery.interval' = '100ms')");
            flink.run("INSERT INTO people VALUES (1, 'eu', 'a')");
            var reader = flink.read("SELECT * FROM people");
            assertEquals(List.of("+I[1, eu, a]"), reader.next(1));
            flink.run("INSERT INTO people VALUES (1, 'us', 'b')");
            assertEquals(List.of("+I[1, us, b]"), reader.next(1));
            assertEquals(List.of("+I[region=eu]", "+I[region=us]"), flink.rows("SHOW PARTITIONS people"));
        }
    }

    @Test
    void aStreamLooksUpRowsByTheirKey() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE + " WITH ('bucket.num' = '2')");
            flink.run("CREATE TABLE visits (person INT, place STRING)");
            flink.run("INSERT INTO people VALUES (1, 'a', 10), (2, 'b', 20)");
            flink.run("INSERT INTO visits VALUES (1, 'Prague'), (2, 'Brno'), (3, 'Vienna')");
            flink.streaming.executeSql("CREATE TEMPORARY VIEW v AS SELECT *, PROCTIME() AS moment FROM visits");
            var reader = flink.read("SELECT place, name FROM v LEFT JOIN people FOR SYSTEM_TIME AS OF v.moment"
                    + " ON v.person = people.id");
            assertEquals(List.of("+I[Brno, b]", "+I[Prague, a]", "+I[Vienna, null]"), reader.nextSorted(3));
            // What was written and acknowledged is what the next lookup finds.
            flink.run("INSERT INTO people VALUES (1, 'A', 11)");
            flink.run("INSERT INTO visits VALUES (1, 'Linz')");
            assertEquals(List.of("+I[Linz, A]"), reader.next(1));
        }
    }

    @Test
    void aStreamLooksUpRowsByTheBeginningOfTheirKey() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE orders (customer INT, number INT, item STRING,"
                    + " PRIMARY KEY (customer, number) NOT ENFORCED) WITH ('bucket.num' = '2', 'bucket.key' = 'customer')");
            flink.run("CREATE TABLE visits (person INT, place STRING)");
            flink.run("INSERT INTO orders VALUES (1, 1, 'bread'), (1, 2, 'salt'), (2, 1, 'beer')");
            flink.run("INSERT INTO visits VALUES (1, 'Prague'), (2, 'Brno'), (3, 'Vienna')");
            flink.streaming.executeSql("CREATE TEMPORARY VIEW v AS SELECT *, PROCTIME() AS moment FROM visits");
            var reader = flink.read("SELECT place, item FROM v JOIN orders FOR SYSTEM_TIME AS OF v.moment"
                    + " ON v.person = orders.customer");
            assertEquals(List.of("+I[Brno, beer]", "+I[Prague, bread]", "+I[Prague, salt]"), reader.nextSorted(3));
        }
    }

    @Test
    void aLookupInsertsWhatIsMissingAndGivesItANumber() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE users (name STRING, number BIGINT, PRIMARY KEY (name) NOT ENFORCED)"
                    + " WITH ('auto-increment.fields' = 'number', 'lookup.insert-if-not-exists' = 'true')");
            flink.run("CREATE TABLE visits (name STRING, place STRING)");
            flink.run("INSERT INTO visits VALUES ('a', 'Prague'), ('b', 'Brno'), ('a', 'Vienna')");
            flink.streaming.executeSql("CREATE TEMPORARY VIEW v AS SELECT *, PROCTIME() AS moment FROM visits");
            var reader = flink.read("SELECT v.name, number, place FROM v JOIN users FOR SYSTEM_TIME AS OF v.moment"
                    + " ON v.name = users.name");
            assertEquals(List.of("+I[a, 1, Prague]", "+I[a, 1, Vienna]", "+I[b, 2, Brno]"), reader.nextSorted(3));
        }
    }

    @Test
    void aDeltaJoinLooksUpBothSides() throws Exception {
        try (var flink = new Flink()) {
            String with = " WITH ('bucket.num' = '2', 'bucket.key' = 'c', 'table.delete.behavior' = 'ignore')";
            flink.run("CREATE TABLE l (a INT, c BIGINT, d INT, PRIMARY KEY (c, d) NOT ENFORCED)" + with);
            flink.run("CREATE TABLE r (a INT, c BIGINT, d INT, PRIMARY KEY (c, d) NOT ENFORCED)" + with);
            flink.run("CREATE TABLE joined (la INT, lc BIGINT, ld INT, ra INT, rc BIGINT, rd INT,"
                    + " PRIMARY KEY (lc, ld, rc, rd) NOT ENFORCED)");
            flink.run("INSERT INTO l VALUES (1, 100, 1), (2, 100, 2), (3, 300, 3)");
            flink.run("INSERT INTO r VALUES (5, 100, 9), (6, 400, 9)");
            flink.streaming.getConfig().set("table.optimizer.delta-join.strategy", "FORCE");
            String join = "INSERT INTO joined SELECT * FROM l INNER JOIN r ON l.c = r.c";
            assertTrue(flink.streaming.explainSql(join).contains("DeltaJoin(joinType=[InnerJoin]"));
            flink.start(join);
            flink.awaitTable("joined", "+I[1, 100, 1, 5, 100, 9]", "+I[2, 100, 2, 5, 100, 9]");
            flink.run("INSERT INTO r VALUES (7, 300, 9), (8, 100, 9)");
            flink.awaitTable("joined", "+I[1, 100, 1, 8, 100, 9]", "+I[2, 100, 2, 8, 100, 9]", "+I[3, 300, 3, 7, 300, 9]");
            flink.run("INSERT INTO l VALUES (4, 400, 1)");
            flink.awaitTable("joined", "+I[1, 100, 1, 8, 100, 9]", "+I[2, 100, 2, 8, 100, 9]", "+I[3, 300, 3, 7, 300, 9]",
                    "+I[4, 400, 1, 6, 400, 9]");
        }
    }

    @Test
    void twoJobsUpdateTheirColumnsOfTheSameRows() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE names (id INT, name STRING)");
            flink.run("CREATE TABLE scores (id INT, score BIGINT)");
            flink.run(PEOPLE);
            flink.start("INSERT INTO people (id, name) SELECT id, name FROM names");
            flink.start("INSERT INTO people (id, score) SELECT id, score FROM scores");
            flink.run("INSERT INTO names VALUES (1, 'a'), (2, 'b')");
            flink.run("INSERT INTO scores VALUES (2, 20), (3, 30)");
            flink.awaitTable("people", "+I[1, a, null]", "+I[2, b, 20]", "+I[3, null, 30]");
            flink.run("INSERT INTO scores VALUES (1, 10), (2, 21)");
            flink.run("INSERT INTO names VALUES (3, 'c')");
            flink.awaitTable("people", "+I[1, a, 10]", "+I[2, b, 21]", "+I[3, c, 30]");
        }
    }

    @Test
    void anAggregationTableGathersWhatAStreamBrings() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE sales (item STRING, amount BIGINT, place STRING)");
            flink.run("CREATE TABLE totals (item STRING, amount BIGINT, largest BIGINT, places STRING,"
                    + " PRIMARY KEY (item) NOT ENFORCED) WITH ('table.merge-engine' = 'aggregation',"
                    + " 'fields.amount.agg' = 'sum', 'fields.largest.agg' = 'max', 'fields.places.agg' = 'listagg',"
                    + " 'fields.places.listagg.delimiter' = '|')");
            flink.start("INSERT INTO totals SELECT item, amount, amount, place FROM sales");
            flink.run("INSERT INTO sales VALUES ('bread', 2, 'Brno'), ('beer', 5, 'Prague'), ('bread', 3, 'Linz')");
            flink.awaitTable("totals", "+I[beer, 5, 5, Prague]", "+I[bread, 5, 3, Brno|Linz]");
            flink.run("INSERT INTO sales VALUES ('beer', 1, 'Brno')");
            flink.awaitTable("totals", "+I[beer, 6, 5, Prague|Brno]", "+I[bread, 5, 3, Brno|Linz]");
        }
    }

    @Test
    void aFirstRowTableDropsWhatComesAgain() throws Exception {
        try (var flink = new Flink()) {
            flink.run("CREATE TABLE clicks (id INT, page STRING)");
            flink.run("CREATE TABLE firsts (id INT, page STRING, PRIMARY KEY (id) NOT ENFORCED)"
                    + " WITH ('table.merge-engine' = 'first_row')");
            flink.start("INSERT INTO firsts SELECT * FROM clicks");
            var reader = flink.read("SELECT * FROM firsts");
            flink.run("INSERT INTO clicks VALUES (1, 'start'), (1, 'again'), (2, 'start')");
            flink.run("INSERT INTO clicks VALUES (2, 'again'), (3, 'end')");
            assertEquals(List.of("+I[1, start]", "+I[2, start]", "+I[3, end]"), reader.next(3));
        }
    }

    @Test
    void aVersionedTableKeepsTheNewest() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE + " WITH ('table.merge-engine' = 'versioned',"
                    + " 'table.merge-engine.versioned.ver-column' = 'score')");
            flink.run("INSERT INTO people VALUES (1, 'new', 5), (1, 'late', 4), (2, 'old', 1), (2, 'new', 2)");
            assertEquals(List.of("+I[1, new, 5]", "+I[2, new, 2]"), flink.rows("SELECT * FROM people LIMIT 10"));
        }
    }

    @Test
    void aColumnIsAddedToATableThatHasRows() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE);
            flink.run("INSERT INTO people VALUES (1, 'a', 10)");
            flink.run("ALTER TABLE people ADD place STRING");
            flink.run("INSERT INTO people VALUES (2, 'b', 20, 'Brno')");
            assertEquals(List.of("+I[1, a, 10, null]", "+I[2, b, 20, Brno]"), flink.rows("SELECT * FROM people LIMIT 10"));
        }
    }

    @Test
    void theChangelogIsReadAsRows() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE);
            flink.run("INSERT INTO people VALUES (1, 'a', 10)");
            flink.run("INSERT INTO people VALUES (1, 'b', 11)");
            flink.run("DELETE FROM people WHERE id = 1");
            var reader = flink.read("SELECT _change_type, _log_offset, id, name, score FROM people$changelog");
            assertEquals(List.of("+I[insert, 0, 1, a, 10]", "+I[update_before, 1, 1, a, 10]",
                    "+I[update_after, 2, 1, b, 11]", "+I[delete, 3, 1, b, 11]"), reader.next(4));
        }
    }

    @Test
    void theBinlogHoldsARowBeforeAndAfter() throws Exception {
        try (var flink = new Flink()) {
            flink.run(PEOPLE);
            flink.run("INSERT INTO people VALUES (1, 'a', 10)");
            flink.run("INSERT INTO people VALUES (1, 'b', 11)");
            flink.run("DELETE FROM people WHERE id = 1");
            var reader = flink.read("SELECT _change_type, before.name, after.name FROM people$binlog");
            assertEquals(List.of("+I[insert, null, a]", "+I[update, a, b]", "+I[delete, b, null]"), reader.next(3));
        }
    }
}

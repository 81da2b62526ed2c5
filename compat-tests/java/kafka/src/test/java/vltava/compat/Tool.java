package vltava.compat;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Runs a command-line tool of Kafka as a user would: in a JVM of its own. */
record Tool(int status, String output) {
    private static final long LIMIT_SECONDS = 60;

    /** Runs a tool to its end. */
    static Tool run(String main, String... arguments) throws Exception {
        return run(main, "", List.of(arguments));
    }

    /** Runs a tool to its end, with text on its standard input. */
    static Tool run(String main, String input, List<String> arguments) throws Exception {
        Process process = start(main, arguments);
        try (var stream = process.getOutputStream()) {
            stream.write(input.getBytes(StandardCharsets.UTF_8));
        }
        // Read beside waiting, so that a full pipe cannot hold the tool up.
        var output = CompletableFuture.supplyAsync(() -> text(process.getInputStream()));
        if (!process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new AssertionError(main + " ran longer than " + LIMIT_SECONDS + " s: " + output.get());
        }
        return new Tool(process.exitValue(), output.get());
    }

    /** Runs a tool that must succeed and returns what it printed. */
    static String output(String main, String... arguments) throws Exception {
        Tool tool = run(main, arguments);
        if (tool.status != 0) {
            throw new AssertionError(main + " ended with " + tool.status + ": " + tool.output);
        }
        return tool.output;
    }

    private static Process start(String main, List<String> arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(
                System.getProperty("java.home") + File.separator + "bin" + File.separator + "java",
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-cp",
                System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")),
                main));
        command.addAll(arguments);
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }

    private static String text(InputStream stream) {
        try {
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException error) {
            throw new AssertionError(error);
        }
    }
}

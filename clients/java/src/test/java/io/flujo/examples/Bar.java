package io.flujo.examples;

import com.fasterxml.jackson.databind.JsonNode;
import io.flujo.client.FlujoClient;
import io.flujo.client.Follow;
import io.flujo.client.Options;
import io.flujo.client.StartOptions;
import io.flujo.client.Started;
import io.flujo.client.Words;
import io.flujo.v1.Event;
import io.flujo.v1.PruneRunsRequest;
import io.flujo.v1.Run;
import io.flujo.v1.RunFilter;
import java.nio.file.Path;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;

/**
 * Starts a run, shows how far it is, also while the server is killed and started again, prints its result, lists the runs
 * of its workflow, and forgets those that have ended.
 */
public final class Bar {
    private static final RunFilter OURS = RunFilter.newBuilder().setWorkflow("ten-parts").build();

    /** Says more than is of use for a unix socket: that it has no SO_KEEPALIVE. */
    private static final Logger NETTY = Logger.getLogger("io.netty.bootstrap");

    private Bar() {}

    /** Takes the address of a server. */
    public static void main(String[] arguments) {
        if (arguments.length != 1) {
            System.err.println("usage: Bar ADDRESS");
            System.exit(2);
        }
        NETTY.setLevel(Level.SEVERE);
        Options options = Options.DEFAULT.withToken(System.getenv("FLUJO_TOKEN"));
        String authority = System.getenv("FLUJO_TLS_CA");
        try (FlujoClient client = FlujoClient.connect(
                arguments[0], authority == null ? options : options.withTls(Path.of(authority)))) {
            show(client);
        }
    }

    private static void show(FlujoClient client) {
        StartOptions options = StartOptions.NONE.withLabels(Map.of("from", "java"));
        Started started = client.start("ten-parts", Map.of("pause", "1s"), options);
        int done = 0;
        try (Follow events = client.follow(started.runId())) {
            for (Event event : events) {
                if (event.getStepCompleted().getStep().startsWith("parts[")) {
                    done++;
                    System.out.printf("\r[%-10s] %d of 10", "#".repeat(done), done);
                }
            }
        }
        System.out.println("\nresult: " + client.result(started.runId(), JsonNode.class));
        try (Stream<Run> runs = client.list(OURS)) {
            runs.forEach(run -> System.out.println(run.getRunId() + " " + Words.status(run)));
        }
        System.out.println("forgotten: " + client.prune(PruneRunsRequest.newBuilder().setFilter(OURS).build()).getTotal());
    }
}

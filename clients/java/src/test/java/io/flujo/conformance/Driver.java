package io.flujo.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.flujo.client.FlujoClient;
import io.flujo.client.FlujoException;
import io.flujo.client.Follow;
import io.flujo.client.Json;
import io.flujo.client.NewRun;
import io.flujo.client.Options;
import io.flujo.client.StartOptions;
import io.flujo.client.StartOutcome;
import io.flujo.client.Started;
import io.flujo.client.Words;
import io.flujo.v1.Event;
import io.flujo.v1.PruneRunsRequest;
import io.flujo.v1.Run;
import io.flujo.v1.RunFilter;
import io.flujo.v1.RunStatus;
import io.flujo.v1.WatchRunRequest;
import io.flujo.v1.WatchRunResponse;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;

/** The driver of the client for Java: commands in, answers out, as clients/conformance/README.md says. */
public final class Driver {
    private static final PrintStream OUT =
            new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

    /** Says more than is of use for a unix socket: that it has no SO_KEEPALIVE. */
    private static final Logger NETTY = Logger.getLogger("io.netty.bootstrap");

    private final Map<String, FlujoClient> clients = new HashMap<>();

    /** Answers until the input ends. */
    public static void main(String[] arguments) throws IOException {
        NETTY.setLevel(Level.SEVERE);
        Driver driver = new Driver();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer = object();
            try {
                answer.set("ok", driver.perform(Json.decode(line, JsonNode.class)));
            } catch (FlujoException error) {
                answer.set("error", told(error));
            } catch (Exception error) {
                answer.set("error", object().put("message", error.toString()));
            }
            say(answer);
        }
        driver.clients.values().forEach(FlujoClient::close);
    }

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    private static synchronized void say(ObjectNode line) {
        OUT.println(Json.encode(line));
    }

    private static ObjectNode told(FlujoException error) {
        ObjectNode told = object()
                .put("code", error.code().name())
                .put("reason", error.reason())
                .put("message", error.getMessage());
        error.fields().forEach(each -> told.withArray("fields").add(each.field()));
        error.hints().forEach(told.withArray("hints")::add);
        return told;
    }

    private ObjectNode open(JsonNode given) {
        Options options = Options.DEFAULT;
        if (given.has("token")) {
            options = options.withToken(given.get("token").asText());
        }
        if (given.has("ca")) {
            options = options.withTls(Path.of(given.get("ca").asText()));
        }
        if (given.has("certificate")) {
            options = options.withCertificate(
                    Path.of(given.get("certificate").asText()), Path.of(given.get("key").asText()));
        }
        if (given.has("call_seconds")) {
            JsonNode seconds = given.get("call_seconds");
            options = options.withCallTimeout(
                    seconds.isNumber() ? Duration.ofMillis((long) (1000 * seconds.asDouble())) : null);
        }
        FlujoClient made = FlujoClient.connect(given.get("address").asText(), options);
        FlujoClient old = clients.put(given.get("client").asText(), made);
        if (old != null) {
            old.close();
        }
        return object();
    }

    private static JsonNode read(JsonNode given, String name) {
        return given.has(name) ? Json.decode(given.get(name).asText(), JsonNode.class) : null;
    }

    private ObjectNode perform(JsonNode given) throws InterruptedException, ExecutionException {
        if (given.get("do").asText().equals("open")) {
            return open(given);
        }
        FlujoClient client = clients.get(given.path("client").asText("main"));
        String runId = given.path("run_id").asText("");
        return switch (given.get("do").asText()) {
            case "start" -> started(start(client, given));
            case "starts" -> starts(client, given.get("starts"));
            case "get" -> {
                Run run = client.get(runId);
                yield object().put("status", Words.status(run)).put("seq", Long.toUnsignedString(run.getSeq()));
            }
            case "list" -> list(client, given.get("id_prefix").asText());
            case "wait" -> await(client, runId);
            case "follow" -> follow(client, runId, given.path("leave_at").asText(""));
            case "follows" -> follows(client, given.get("run_ids"));
            case "time" -> timed(client, runId, given.get("bare").asBoolean());
            case "signal" -> outcome(client.signal(
                    runId, given.get("name").asText(), read(given, "payload"), given.path("request_id").asText("")));
            case "cancel" -> outcome(client.cancel(runId, ""));
            case "pause" -> outcome(client.pause(runId, ""));
            case "resume" -> object().put("run_id", client.resume(runId, read(given, "inputs")).getRunId());
            case "retry" -> object().put("run_id", client.retry(runId, given.get("step").asText()).getRunId());
            case "fork" -> started(client.fork(runId, given.path("new_run_id").asText(""), read(given, "inputs")));
            case "prune" -> prune(client, given);
            default -> throw new IllegalArgumentException("no such command: " + given);
        };
    }

    private static NewRun newRun(JsonNode given) {
        Map<String, String> labels = new HashMap<>();
        given.path("labels").fields().forEachRemaining(each -> labels.put(each.getKey(), each.getValue().asText()));
        List<String> skipped = new ArrayList<>();
        given.path("skip_steps").forEach(each -> skipped.add(each.asText()));
        StartOptions options = StartOptions.NONE
                .withRunId(given.path("run_id").asText(""))
                .withRequestId(given.path("request_id").asText(""))
                .withLabels(labels)
                .withDefinition(given.path("definition").asText(""))
                .withFlow(given.path("flow").asText(""))
                .withSkipSteps(skipped)
                .withStartFrom(given.path("start_from").asText(""));
        if (given.has("timeout")) {
            options = options.withTimeout(Duration.ofMillis(Math.round(1000 * given.get("timeout").asDouble())));
        }
        return new NewRun(given.get("workflow").asText(), read(given, "inputs"), options);
    }

    private static Started start(FlujoClient client, JsonNode given) {
        NewRun run = newRun(given);
        return client.start(run.workflow(), run.inputs(), run.options());
    }

    private static ObjectNode starts(FlujoClient client, JsonNode asked) {
        List<NewRun> runs = new ArrayList<>();
        asked.forEach(each -> runs.add(newRun(each)));
        ObjectNode answer = object();
        ArrayNode outcomes = answer.putArray("outcomes");
        for (StartOutcome each : client.startRuns(runs)) {
            outcomes.add(each.run()
                    .map(Driver::started)
                    .orElseGet(() -> object().set("error", told(each.refusal().orElseThrow()))));
        }
        return answer;
    }

    private static ObjectNode started(Started started) {
        return object().put("run_id", started.runId()).put("created", started.created());
    }

    private static ObjectNode outcome(String outcome) {
        return object().put("outcome", outcome);
    }

    private static ObjectNode list(FlujoClient client, String prefix) {
        ObjectNode answer = object();
        try (Stream<Run> runs = client.list(RunFilter.newBuilder().setIdPrefix(prefix).build())) {
            runs.forEach(run -> answer.withArray("run_ids").add(run.getRunId()));
        }
        return answer;
    }

    private static ObjectNode await(FlujoClient client, String runId) {
        Run run = client.await(runId);
        ObjectNode answer = object().put("status", Words.status(run));
        if (run.getStatus() == RunStatus.RUN_STATUS_COMPLETED) {
            answer.put("output", Json.encode(client.result(runId, JsonNode.class)));
        }
        return answer;
    }

    private static ObjectNode follow(FlujoClient client, String runId, String leaveAt) {
        try (Follow events = client.follow(runId)) {
            for (Event event : events) {
                String seq = Long.toUnsignedString(event.getSeq());
                ObjectNode line = object();
                line.set("event", object().put("seq", seq).put("type", event.getType()));
                say(line);
                if (seq.equals(leaveAt)) {
                    return object().put("left", true);
                }
            }
        }
        return object().put("status", Words.status(client.get(runId)));
    }

    private static ObjectNode follows(FlujoClient client, JsonNode runIds)
            throws InterruptedException, ExecutionException {
        CountDownLatch begun = new CountDownLatch(runIds.size());
        ExecutorService threads = Executors.newCachedThreadPool();
        List<Future<Integer>> counts = new ArrayList<>();
        runIds.forEach(runId -> counts.add(threads.submit(() -> {
            int count = 0;
            try (Follow events = client.follow(runId.asText())) {
                for (Event event : events) {
                    if (event.getSeq() == 1) {
                        begun.countDown();
                    }
                    count++;
                }
            }
            return count;
        })));
        threads.shutdown();
        begun.await();
        ObjectNode line = object();
        line.set("event", object().put("open", runIds.size()));
        say(line);
        ObjectNode answer = object();
        for (Future<Integer> count : counts) {
            answer.withArray("events").add(count.get());
        }
        return answer;
    }

    private static ObjectNode timed(FlujoClient client, String runId, boolean bare) {
        long began = System.nanoTime();
        int count = 0;
        if (bare) {
            WatchRunRequest request = WatchRunRequest.newBuilder().setRunId(runId).build();
            for (Iterator<WatchRunResponse> all = client.service().watchRun(request); all.hasNext(); ) {
                count += all.next().getEvents().getEventsCount();
            }
        } else {
            try (Follow events = client.follow(runId)) {
                for (; events.hasNext(); events.next()) {
                    count++;
                }
            }
        }
        return object().put("seconds", (System.nanoTime() - began) / 1e9).put("events", count);
    }

    private static ObjectNode prune(FlujoClient client, JsonNode given) {
        RunFilter.Builder filter = RunFilter.newBuilder().setIdPrefix(given.get("id_prefix").asText());
        given.get("statuses").forEach(name ->
                filter.addStatuses(RunStatus.valueOf("RUN_STATUS_" + name.asText().toUpperCase(Locale.ROOT))));
        PruneRunsRequest request = PruneRunsRequest.newBuilder()
                .setFilter(filter)
                .setDryRun(given.get("dry_run").asBoolean())
                .build();
        return object().put("total", client.prune(request).getTotal());
    }
}

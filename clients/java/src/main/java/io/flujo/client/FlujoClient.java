package io.flujo.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import io.flujo.v1.CancelRunRequest;
import io.flujo.v1.CancelRunResponse;
import io.flujo.v1.ForkRunRequest;
import io.flujo.v1.ForkRunResponse;
import io.flujo.v1.GetRunRequest;
import io.flujo.v1.GetSystemInfoRequest;
import io.flujo.v1.GetSystemInfoResponse;
import io.flujo.v1.ListRunsRequest;
import io.flujo.v1.ListRunsResponse;
import io.flujo.v1.PauseRunRequest;
import io.flujo.v1.PauseRunResponse;
import io.flujo.v1.Payload;
import io.flujo.v1.PayloadReference;
import io.flujo.v1.PruneRunsRequest;
import io.flujo.v1.PruneRunsResponse;
import io.flujo.v1.ReadPayloadRequest;
import io.flujo.v1.ReadPayloadResponse;
import io.flujo.v1.ResumeRunRequest;
import io.flujo.v1.Run;
import io.flujo.v1.RunFilter;
import io.flujo.v1.RunServiceGrpc;
import io.flujo.v1.RunStatus;
import io.flujo.v1.RunView;
import io.flujo.v1.SignalRunRequest;
import io.flujo.v1.SignalRunResponse;
import io.flujo.v1.StartRunRequest;
import io.flujo.v1.StartRunResponse;
import io.flujo.v1.StartRunsRequest;
import io.flujo.v1.StartRunsResponse;
import io.flujo.v1.SystemServiceGrpc;
import io.flujo.v1.WaitRunRequest;
import io.flujo.v1.WaitRunResponse;
import io.flujo.v1.WatchRunRequest;
import io.flujo.v1.WatchRunResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * A connection to one server. Any number of threads may use it.
 *
 * <p>{@link #follow}, {@link #await} and {@link #result} go on when the connection is lost or the server is restarted.
 * Every other call fails at once with a {@link FlujoException}, and may be repeated with the same request id, with which it
 * is carried out once.
 */
public final class FlujoClient implements AutoCloseable {
    private static final int WAIT_SECONDS = 20;
    private static final int PRUNE_SECONDS = 20;
    private static final long CENTURY_SECONDS = 100L * 365 * 24 * 3600;

    private final String address;
    private final Options options;
    private Connection connection;

    private FlujoClient(String address, Options options) {
        this.address = address;
        this.options = options;
        this.connection = Connection.open(address, options);
    }

    /** Returns a client of the server at {@code unix:PATH}; it connects with the first call. */
    public static FlujoClient connect(String address) {
        return new FlujoClient(address, Options.DEFAULT);
    }

    /** Returns a client of the server at {@code unix:PATH} or {@code tcp://HOST:PORT}; it connects with the first call. */
    public static FlujoClient connect(String address, Options options) {
        return new FlujoClient(address, options);
    }

    /** Ends the connection. Calls under way fail. */
    @Override
    public void close() {
        current().close();
    }

    private synchronized Connection current() {
        return connection;
    }

    /** Takes a connection for lost, unless that was done already. */
    private synchronized void giveUp(Connection lost) {
        if (connection == lost) {
            connection = Connection.open(address, options);
            lost.close();
        }
    }

    /** Returns the generated client of the whole contract, for what has no method here. */
    public RunServiceGrpc.RunServiceBlockingStub service() {
        return current().runs();
    }

    /** Returns what the server is. */
    public GetSystemInfoResponse info() {
        SystemServiceGrpc.SystemServiceBlockingStub stub = SystemServiceGrpc.newBlockingStub(current().channel);
        return told(() -> within(stub, 0).getSystemInfo(GetSystemInfoRequest.getDefaultInstance()));
    }

    /**
     * Starts a run. Inputs are what Jackson writes as a JSON object, or null. The same run id with the same inputs, or the same
     * request id, is started once.
     */
    public Started start(String workflow, Object inputs, StartOptions more) {
        StartRunRequest request = Starts.request(new NewRun(workflow, inputs, more));
        StartRunResponse answer = call(0, runs -> runs.startRun(request));
        return new Started(answer.getRun().getRunId(), answer.getCreated());
    }

    /**
     * Starts at most 1000 runs, with as few calls as gRPC has room for. Returns what became of each, in their order: one that is
     * refused keeps no other from starting. Throws FlujoException for what is wrong with a call as a whole: repeat it with the
     * same run ids or request ids, and what was started is not started twice.
     */
    public List<StartOutcome> startRuns(List<NewRun> starts) {
        List<StartOutcome> outcomes = new ArrayList<>();
        for (StartRunsRequest request : Starts.inCalls(starts.stream().map(Starts::request).toList())) {
            StartRunsResponse answer = call(0, runs -> runs.startRuns(request));
            answer.getOutcomesList().forEach(told -> outcomes.add(Starts.outcome(told)));
        }
        return List.copyOf(outcomes);
    }

    /** Returns a run as it stands, without its details. */
    public Run get(String runId) {
        return call(0, runs -> runs.getRun(GetRunRequest.newBuilder().setRunId(runId).build())).getRun();
    }

    /** Returns a run with its details, as far as an answer has room for them. */
    public Run inspect(String runId) {
        GetRunRequest request = GetRunRequest.newBuilder().setRunId(runId).setView(RunView.RUN_VIEW_FULL).build();
        return call(0, runs -> runs.getRun(request)).getRun();
    }

    /** Returns the runs that match, newest first; page after page is read as it is wanted. */
    public Stream<Run> list(RunFilter filter) {
        ListRunsRequest first = ListRunsRequest.newBuilder().setFilter(filter).setPageSize(1000).build();
        return Stream.iterate(page(first), page -> page != null, page -> {
                    String token = page.getNextPageToken();
                    return token.isEmpty() ? null : page(first.toBuilder().setPageToken(token).build());
                })
                .flatMap(page -> page.getRunsList().stream());
    }

    private ListRunsResponse page(ListRunsRequest request) {
        return call(0, runs -> runs.listRuns(request));
    }

    /** Returns all events of a run, and those to come; see {@link Follow}. */
    public Follow follow(String runId) {
        return follow(runId, Cursor.START);
    }

    /** Returns the events of a run behind a cursor, and those to come; see {@link Follow}. */
    public Follow follow(String runId, Cursor from) {
        return new Follow(() -> new WatchPath(runId, current()), from, options.reconnect(), Clock.WALL);
    }

    /** Returns a run with its details once it has ended or is paused. Throws RunException for one that nobody runs. */
    public Run await(String runId) {
        Outage outage = new Outage(Clock.WALL, options.reconnect());
        WaitRunRequest request = WaitRunRequest.newBuilder()
                .setRunId(runId)
                .setMaxWait(Duration.newBuilder().setSeconds(WAIT_SECONDS))
                .setView(RunView.RUN_VIEW_FULL)
                .build();
        while (true) {
            Connection used = current();
            try {
                WaitRunResponse answer = told(() -> within(used.runs(), WAIT_SECONDS).waitRun(request));
                if (answer.getReached()) {
                    return answer.getRun();
                }
                if (answer.getRun().getInterrupted()) {
                    throw RunException.interrupted(answer.getRun());
                }
                outage.over();
            } catch (FlujoException error) {
                if (!error.isGone() || Thread.currentThread().isInterrupted()) {
                    throw error;
                }
                if (error.code() == Status.Code.DEADLINE_EXCEEDED) {
                    giveUp(used);
                }
                outage.await(error);
                used.channel.resetConnectBackoff();
            }
        }
    }

    /** Waits for a run and returns its output. Throws RunException for a run that has not completed. */
    public <T> T result(String runId, Class<T> type) {
        Run run = await(runId);
        if (run.getStatus() != RunStatus.RUN_STATUS_COMPLETED) {
            throw RunException.ended(run);
        }
        return Json.decode(text(run, run.getDetails().getOutput()), type);
    }

    /** Returns the JSON text of a value that came with a run, or with an event of it. A large one is read from the server. */
    public String text(Run run, Payload value) {
        if (value.getContentCase() != Payload.ContentCase.REFERENCE) {
            return value.hasJson() ? value.getJson() : "null";
        }
        PayloadReference reference = value.getReference();
        ReadPayloadRequest request = ReadPayloadRequest.newBuilder()
                .setRunId(run.getRunId())
                .setUid(run.getUid())
                .setSeq(reference.getSeq())
                .setPart(reference.getPart())
                .build();
        return told(() -> {
            ByteString text = ByteString.EMPTY;
            Iterator<ReadPayloadResponse> pieces = service().readPayload(request);
            while (pieces.hasNext()) {
                text = text.concat(pieces.next().getChunk());
            }
            return text.toStringUtf8();
        });
    }

    /** Sends a signal, with a payload or null. Returns "recorded", "posted" or "stored". */
    public String signal(String runId, String name, Object payload) {
        return signal(runId, name, payload, "");
    }

    /** The same with a request id: with the same one the signal arrives once. */
    public String signal(String runId, String name, Object payload, String requestId) {
        SignalRunRequest.Builder request =
                SignalRunRequest.newBuilder().setRunId(runId).setName(name).setRequestId(idOr(requestId));
        if (payload != null) {
            request.setPayload(payload(payload));
        }
        SignalRunResponse answer = call(0, runs -> runs.signalRun(request.build()));
        return Words.word(answer.getOutcome(), answer.getOutcomeValue(), "SIGNAL_OUTCOME_");
    }

    /** Asks a run to stop. Returns "requested", "cancelled" or "already_finished". */
    public String cancel(String runId, String reason) {
        CancelRunRequest request =
                CancelRunRequest.newBuilder().setRunId(runId).setReason(reason).setRequestId(idOr("")).build();
        CancelRunResponse answer = call(0, runs -> runs.cancelRun(request));
        return Words.word(answer.getOutcome(), answer.getOutcomeValue(), "CANCEL_OUTCOME_");
    }

    /** Asks a run to pause. Returns "requested", "paused" or "already_paused". */
    public String pause(String runId, String reason) {
        PauseRunRequest request =
                PauseRunRequest.newBuilder().setRunId(runId).setReason(reason).setRequestId(idOr("")).build();
        PauseRunResponse answer = call(0, runs -> runs.pauseRun(request));
        return Words.word(answer.getOutcome(), answer.getOutcomeValue(), "PAUSE_OUTCOME_");
    }

    /** Takes up a run that is failed, paused, cancelled or interrupted. Inputs are merged over the recorded ones, or null. */
    public Run resume(String runId, Object inputs) {
        ResumeRunRequest.Builder request = ResumeRunRequest.newBuilder().setRunId(runId);
        if (inputs != null) {
            request.setInputs(payload(inputs));
        }
        return resume(request.build());
    }

    /** Runs a step of a run again, and goes on from there. */
    public Run retry(String runId, String step) {
        return resume(ResumeRunRequest.newBuilder().setRunId(runId).addRetry(step).build());
    }

    /** Takes up a run, in every way that the contract knows. Makes a request id if there is none. */
    public Run resume(ResumeRunRequest request) {
        ResumeRunRequest named = request.toBuilder().setRequestId(idOr(request.getRequestId())).build();
        return call(0, runs -> runs.resumeRun(named)).getRun();
    }

    /** Starts a run with the history of another one. Inputs are merged over its own, or null; an empty id is made anew. */
    public Started fork(String runId, String newRunId, Object inputs) {
        ForkRunRequest.Builder request =
                ForkRunRequest.newBuilder().setRunId(runId).setNewRunId(newRunId).setRequestId(idOr(""));
        if (inputs != null) {
            request.setInputs(payload(inputs));
        }
        ForkRunResponse answer = call(0, runs -> runs.forkRun(request.build()));
        return new Started(answer.getRun().getRunId(), answer.getCreated());
    }

    /** Forgets runs that have settled, or says which would go. Call it again while the answer has {@code more}. */
    public PruneRunsResponse prune(PruneRunsRequest request) {
        return call(PRUNE_SECONDS, runs -> runs.pruneRuns(request));
    }

    private <A> A call(int moreSeconds, Function<RunServiceGrpc.RunServiceBlockingStub, A> method) {
        return told(() -> method.apply(within(service(), moreSeconds)));
    }

    /** Returns a stub whose calls have a deadline, if any: a longer one than a century is none. */
    private <S extends AbstractStub<S>> S within(S stub, int moreSeconds) {
        java.time.Duration bound = options.callTimeout();
        if (bound == null || bound.getSeconds() > CENTURY_SECONDS) {
            return stub;
        }
        return stub.withDeadlineAfter(bound.plusSeconds(moreSeconds).toNanos(), TimeUnit.NANOSECONDS);
    }

    private static <A> A told(java.util.function.Supplier<A> call) {
        try {
            return call.get();
        } catch (StatusRuntimeException error) {
            throw FlujoException.of(error);
        }
    }

    static Payload payload(Object value) {
        return Payload.newBuilder().setJson(Json.encode(value)).build();
    }

    static String idOr(String given) {
        return given.isEmpty() ? UUID.randomUUID().toString() : given;
    }

    /** The way to the events of a run over one connection. */
    private final class WatchPath implements Follow.Path {
        private final String runId;
        private final Connection used;

        WatchPath(String runId, Connection used) {
            this.runId = runId;
            this.used = used;
        }

        @Override
        public Follow.Call watch(Cursor at, BlockingQueue<Follow.Came> into) {
            WatchRunRequest request = WatchRunRequest.newBuilder()
                    .setRunId(runId)
                    .setAfterSeq(at.seq())
                    .setUid(at.uid())
                    .setStoreId(at.storeId())
                    .build();
            used.channel.resetConnectBackoff(); // gRPC waits for two minutes in the end
            ClientCall<WatchRunRequest, WatchRunResponse> call =
                    used.channel.newCall(RunServiceGrpc.getWatchRunMethod(), CallOptions.DEFAULT);
            call.start(new Listener(into), new Metadata());
            call.request(1);
            call.sendMessage(request);
            call.halfClose();
            return new Follow.Call() {
                @Override
                public void more() {
                    call.request(1);
                }

                @Override
                public void cancel() {
                    call.cancel("left", null);
                }
            };
        }

        @Override
        public void giveUp() {
            FlujoClient.this.giveUp(used);
        }
    }

    /** Puts what comes into a queue. */
    private static final class Listener extends ClientCall.Listener<WatchRunResponse> {
        private final BlockingQueue<Follow.Came> into;

        Listener(BlockingQueue<Follow.Came> into) {
            this.into = into;
        }

        @Override
        public void onMessage(WatchRunResponse message) {
            into.add(new Follow.Came(message, null));
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            into.add(new Follow.Came(null, status.isOk() ? null : status.asRuntimeException(trailers)));
        }
    }
}

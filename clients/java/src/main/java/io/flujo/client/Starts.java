package io.flujo.client;

import com.google.protobuf.InvalidProtocolBufferException;
import io.flujo.v1.Definition;
import io.flujo.v1.StartRefusal;
import io.flujo.v1.StartRunRequest;
import io.flujo.v1.StartRunsRequest;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Requests to start runs, and what became of many of them. */
final class Starts {
    private static final int MOST = 1000;

    /** Of the starts of one call, which leaves room below what gRPC takes. */
    static final int MOST_BYTES = 3 * 1024 * 1024;

    private Starts() {}

    /** Returns the request to start a run. */
    static StartRunRequest request(NewRun run) {
        StartRunRequest.Builder request = StartRunRequest.newBuilder()
                .setRunId(run.options().runId())
                .setRequestId(FlujoClient.idOr(run.options().requestId()))
                .putAllLabels(run.options().labels())
                .setFlow(run.options().flow())
                .addAllSkipSteps(run.options().skipSteps())
                .setStartFrom(run.options().startFrom());
        String definition = run.options().definition();
        if (definition.isEmpty()) {
            request.setWorkflow(run.workflow());
        } else {
            request.setDefinition(Definition.newBuilder().setText(definition).setName(run.workflow()));
        }
        Duration timeout = run.options().timeout();
        if (timeout != null) {
            request.setTimeout(com.google.protobuf.Duration.newBuilder()
                    .setSeconds(timeout.getSeconds())
                    .setNanos(timeout.getNano()));
        }
        if (run.inputs() != null) {
            request.setInputs(FlujoClient.payload(run.inputs()));
        }
        return request.build();
    }

    /** Returns the requests that ask for these starts, in their order. Throws FlujoException for more than are taken. */
    static List<StartRunsRequest> inCalls(List<StartRunRequest> starts) {
        if (starts.size() > MOST) {
            throw new FlujoException(
                    Status.Code.INVALID_ARGUMENT,
                    "INVALID_FIELD",
                    starts.size() + " starts are more than one call takes",
                    null,
                    Map.of("hints", "start at most " + MOST + " of them at a time"),
                    List.of(new FlujoException.FieldError("starts", "at most " + MOST + " of them")));
        }
        List<StartRunsRequest> calls = new ArrayList<>();
        StartRunsRequest.Builder call = StartRunsRequest.newBuilder();
        int room = MOST_BYTES;
        for (StartRunRequest start : starts) {
            if (start.getSerializedSize() > room && call.getStartsCount() > 0) {
                calls.add(call.build());
                call = StartRunsRequest.newBuilder();
                room = MOST_BYTES;
            }
            call.addStarts(start);
            room -= start.getSerializedSize();
        }
        if (call.getStartsCount() > 0) {
            calls.add(call.build());
        }
        return calls;
    }

    /** Returns the run of an outcome, or why there is none. */
    static StartOutcome outcome(io.flujo.v1.StartOutcome told) {
        return told.hasRefusal()
                ? StartOutcome.refused(refusal(told.getRefusal()))
                : StartOutcome.of(new Started(told.getRunId(), told.getCreated()));
    }

    private static FlujoException refusal(StartRefusal told) {
        Status.Code code = Status.fromCodeValue(told.getCode()).getCode();
        FlujoException bare =
                new FlujoException(code, told.getReason(), told.getMessage(), null, Map.of(), List.of());
        if (told.getStatus().isEmpty()) { // of a very long answer
            return bare;
        }
        try {
            return FlujoException.of(
                    StatusProto.toStatusRuntimeException(com.google.rpc.Status.parseFrom(told.getStatus())));
        } catch (InvalidProtocolBufferException | IllegalArgumentException malformed) {
            bare.addSuppressed(malformed);
            return bare;
        }
    }
}

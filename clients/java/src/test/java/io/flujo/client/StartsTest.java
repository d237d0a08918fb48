package io.flujo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.flujo.v1.StartRefusal;
import io.flujo.v1.StartRunRequest;
import io.flujo.v1.StartRunsRequest;
import io.grpc.Status;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Many starts in one call. */
final class StartsTest {
    private static final int HALF = Starts.MOST_BYTES / 2;

    private static void assertCalls(List<Integer> sizes, List<Integer> counts) {
        List<StartRunRequest> starts = sizes.stream()
                .map(size -> StartRunRequest.newBuilder().setRunId("r".repeat(size)).build())
                .toList();
        List<StartRunsRequest> calls = Starts.inCalls(starts);
        assertEquals(counts, calls.stream().map(StartRunsRequest::getStartsCount).toList());
        assertEquals(starts, calls.stream().flatMap(call -> call.getStartsList().stream()).toList());
    }

    @Test
    void asksInAsFewCallsAsThereIsRoomFor() {
        assertCalls(List.of(), List.of());
        assertCalls(List.of(10, 20, 30), List.of(3));
        assertCalls(List.of(HALF, HALF, 10), List.of(1, 2)); // their frames need some bytes as well
        assertCalls(List.of(10, 2 * Starts.MOST_BYTES, 10), List.of(1, 1, 1));
    }

    @Test
    void tellsOfARefusalWhatStartWouldHaveThrown() {
        ErrorInfo info = ErrorInfo.newBuilder()
                .setDomain("flujo")
                .setReason("INVALID_FIELD")
                .putMetadata("hints", "do this")
                .build();
        BadRequest fields = BadRequest.newBuilder()
                .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("run_id").setDescription("no"))
                .build();
        com.google.rpc.Status whole = com.google.rpc.Status.newBuilder()
                .setCode(3)
                .setMessage("an id")
                .addDetails(Any.pack(info))
                .addDetails(Any.pack(fields))
                .build();
        StartRefusal refusal = StartRefusal.newBuilder()
                .setCode(3)
                .setReason("INVALID_FIELD")
                .setMessage("an id")
                .build();
        FlujoException told = outcome(refusal.toBuilder().setStatus(whole.toByteString())).refusal().orElseThrow();
        assertEquals(List.of("do this"), told.hints());
        assertEquals(List.of(new FlujoException.FieldError("run_id", "no")), told.fields());
        Stream.of(new byte[0], new byte[] {-1}).map(ByteString::copyFrom).forEach(cut -> {
            FlujoException bare = assertThrows(FlujoException.class, outcome(refusal.toBuilder().setStatus(cut))::orThrow);
            assertEquals(Status.Code.INVALID_ARGUMENT, bare.code());
            assertEquals("INVALID_FIELD", bare.reason());
            assertEquals("an id", bare.getMessage());
        });
    }

    private static StartOutcome outcome(StartRefusal.Builder refusal) {
        return Starts.outcome(io.flujo.v1.StartOutcome.newBuilder().setRefusal(refusal).build());
    }

    @Test
    void startsNothingOfTooManyOrOfInputsThatAreNoJson() {
        try (FlujoClient client = FlujoClient.connect("unix:no-such-socket")) {
            List<NewRun> many = Collections.nCopies(1001, new NewRun("w", null));
            FlujoException error = assertThrows(FlujoException.class, () -> client.startRuns(many));
            assertEquals("INVALID_FIELD", error.reason());
            assertEquals("starts", error.fields().get(0).field());
            List<NewRun> wrong = List.of(new NewRun("w", Map.of()), new NewRun("w", new Object()));
            assertThrows(IllegalArgumentException.class, () -> client.startRuns(wrong));
            assertEquals(List.of(), client.startRuns(List.of()));
        }
    }
}

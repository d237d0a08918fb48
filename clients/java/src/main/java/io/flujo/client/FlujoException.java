package io.flujo.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.List;
import java.util.Map;

/** What a call fails with. */
public final class FlujoException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final Status.Code code;
    private final String reason;
    private final transient Map<String, String> metadata;
    private final transient List<FieldError> fields;

    /**
     * What is wrong with a field of a request.
     *
     * @param field its path in the request
     * @param description what is wrong
     */
    public record FieldError(String field, String description) {}

    FlujoException(Status.Code code, String reason, String message, Throwable cause, Map<String, String> metadata, List<FieldError> fields) {
        super(message, cause);
        this.code = code;
        this.reason = reason;
        this.metadata = metadata;
        this.fields = fields;
    }

    FlujoException(Status.Code code, String message) {
        this(code, "", message, null, Map.of(), List.of());
    }

    /** Returns what an error of gRPC tells. */
    static FlujoException of(Throwable error) {
        Status status = Status.fromThrowable(error);
        String message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        com.google.rpc.Status told = StatusProto.fromThrowable(error);
        String reason = "";
        Map<String, String> metadata = Map.of();
        List<FieldError> fields = List.of();
        try {
            for (Any detail : told == null ? List.<Any>of() : told.getDetailsList()) {
                if (detail.is(ErrorInfo.class) && detail.unpack(ErrorInfo.class).getDomain().equals("flujo")) {
                    reason = detail.unpack(ErrorInfo.class).getReason();
                    metadata = detail.unpack(ErrorInfo.class).getMetadataMap();
                } else if (detail.is(BadRequest.class)) {
                    fields = detail.unpack(BadRequest.class).getFieldViolationsList().stream()
                            .map(each -> new FieldError(each.getField(), each.getDescription()))
                            .toList();
                }
            }
        } catch (InvalidProtocolBufferException malformed) {
            error.addSuppressed(malformed);
        }
        return new FlujoException(status.getCode(), reason, message, error, metadata, fields);
    }

    /** Returns the code of gRPC. */
    public Status.Code code() {
        return code;
    }

    /** Returns what is wrong, as the contract lists it: {@code RUN_NOT_FOUND}. Empty for what no server said. */
    public String reason() {
        return reason;
    }

    /** Returns the values that the message mentions. */
    public Map<String, String> metadata() {
        return metadata;
    }

    /** Returns the fields of the request that are wrong. */
    public List<FieldError> fields() {
        return fields;
    }

    /** Returns what may help, a command each. */
    public List<String> hints() {
        String hints = metadata.getOrDefault("hints", "");
        return hints.isEmpty() ? List.of() : List.of(hints.split("\n"));
    }

    /** Whether a call that follows a run may go on later: no server answers, it is closing or busy, or the connection broke. */
    boolean isGone() {
        if (!reason.isEmpty()) {
            return reason.equals("SERVER_STOPPING") || reason.equals("TOO_MANY_CALLS");
        }
        return switch (code) {
            case UNAVAILABLE, CANCELLED, INTERNAL, DEADLINE_EXCEEDED -> true;
            default -> false;
        };
    }
}

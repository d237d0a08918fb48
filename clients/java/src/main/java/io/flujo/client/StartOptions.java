package io.flujo.client;

import java.util.Map;

/**
 * Says more about a start.
 *
 * @param runId names the run; empty: the server makes an id
 * @param requestId makes a repeat of this start harmless; empty: the client makes one
 * @param labels for finding the run
 */
public record StartOptions(String runId, String requestId, Map<String, String> labels) {
    /** Nothing more. */
    public static final StartOptions NONE = new StartOptions("", "", Map.of());

    /** Returns these with an id for the run. */
    public StartOptions withRunId(String id) {
        return new StartOptions(id, requestId, labels);
    }

    /** Returns these with an id for the request. */
    public StartOptions withRequestId(String id) {
        return new StartOptions(runId, id, labels);
    }

    /** Returns these with labels. */
    public StartOptions withLabels(Map<String, String> wanted) {
        return new StartOptions(runId, requestId, Map.copyOf(wanted));
    }
}

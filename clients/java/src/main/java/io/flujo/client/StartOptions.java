package io.flujo.client;

import java.time.Duration;
import java.util.List;
import java.util.Map;

/**
 * Says more about a start.
 *
 * @param runId names the run; empty: the server makes an id
 * @param requestId makes a repeat of this start harmless; empty: the client makes one
 * @param labels for finding the run
 * @param definition a YAML document that is run instead of a workflow the server knows, the name of which is what messages
 *     call it; empty: there is none
 * @param flow the flow of the workflow whose steps are performed, or "all"; empty: the one that the workflow names
 * @param skipSteps names of steps to skip whenever they are reached
 * @param startFrom the step to begin with, those before it are skipped; empty: the first one
 * @param timeout how long the run may take from its start, and again from each resume, before it fails; null: as long
 *     as the workflow says
 */
public record StartOptions(
        String runId,
        String requestId,
        Map<String, String> labels,
        String definition,
        String flow,
        List<String> skipSteps,
        String startFrom,
        Duration timeout) {
    /** Nothing more. */
    public static final StartOptions NONE = new StartOptions("", "", Map.of(), "", "", List.of(), "", null);

    /** Returns these with an id for the run. */
    public StartOptions withRunId(String id) {
        return new StartOptions(id, requestId, labels, definition, flow, skipSteps, startFrom, timeout);
    }

    /** Returns these with an id for the request. */
    public StartOptions withRequestId(String id) {
        return new StartOptions(runId, id, labels, definition, flow, skipSteps, startFrom, timeout);
    }

    /** Returns these with labels. */
    public StartOptions withLabels(Map<String, String> wanted) {
        return new StartOptions(runId, requestId, Map.copyOf(wanted), definition, flow, skipSteps, startFrom, timeout);
    }

    /** Returns these with a workflow of the caller's own, as YAML. */
    public StartOptions withDefinition(String yaml) {
        return new StartOptions(runId, requestId, labels, yaml, flow, skipSteps, startFrom, timeout);
    }

    /** Returns these with a flow. */
    public StartOptions withFlow(String name) {
        return new StartOptions(runId, requestId, labels, definition, name, skipSteps, startFrom, timeout);
    }

    /** Returns these with steps to skip. */
    public StartOptions withSkipSteps(List<String> steps) {
        return new StartOptions(runId, requestId, labels, definition, flow, List.copyOf(steps), startFrom, timeout);
    }

    /** Returns these with a step to begin with. */
    public StartOptions withStartFrom(String step) {
        return new StartOptions(runId, requestId, labels, definition, flow, skipSteps, step, timeout);
    }

    /** Returns these with a time that the run may take. */
    public StartOptions withTimeout(Duration longest) {
        return new StartOptions(runId, requestId, labels, definition, flow, skipSteps, startFrom, longest);
    }
}

package io.flujo.client;

/**
 * One of many runs to start.
 *
 * @param workflow its name
 * @param inputs what Jackson writes as a JSON object, or null
 * @param options says more about the start
 */
public record NewRun(String workflow, Object inputs, StartOptions options) {
    /** A run about whose start there is no more to say. */
    public NewRun(String workflow, Object inputs) {
        this(workflow, inputs, StartOptions.NONE);
    }
}

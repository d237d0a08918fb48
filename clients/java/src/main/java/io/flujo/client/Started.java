package io.flujo.client;

/**
 * A run that was started, or was there.
 *
 * @param runId its id
 * @param created whether this call made it
 */
public record Started(String runId, boolean created) {}

package io.flujo.client;

import java.util.Optional;

/**
 * What became of one of many starts.
 *
 * @param run the run that was started, or was there; empty if the start was refused
 * @param refusal what {@link FlujoClient#start} would have thrown; empty if there is a run
 */
public record StartOutcome(Optional<Started> run, Optional<FlujoException> refusal) {
    static StartOutcome of(Started run) {
        return new StartOutcome(Optional.of(run), Optional.empty());
    }

    static StartOutcome refused(FlujoException refusal) {
        return new StartOutcome(Optional.empty(), Optional.of(refusal));
    }

    /** Returns the run. Throws FlujoException if the start was refused. */
    public Started orThrow() {
        return run.orElseThrow(refusal::get);
    }
}

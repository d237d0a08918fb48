package io.flujo.client;

import io.flujo.v1.Run;

/** What {@link FlujoClient#result} ends in for a run that has not completed: it failed, was cancelled, is paused or interrupted. */
public final class RunException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient Run run;

    RunException(Run run, String why) {
        super("the run " + run.getRunId() + " " + why);
        this.run = run;
    }

    static RunException ended(Run run) {
        String error = run.hasError() ? ": " + run.getError().getType() + ": " + run.getError().getMessage() : "";
        return new RunException(run, "is " + Words.status(run) + error);
    }

    static RunException interrupted(Run run) {
        return new RunException(
                run, "is run by no live process; resume it, or start a server that knows its workflow");
    }

    /** Returns the run as it stands. */
    public Run run() {
        return run;
    }
}

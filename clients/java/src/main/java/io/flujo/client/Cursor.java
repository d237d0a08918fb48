package io.flujo.client;

/**
 * A place in the events of a run.
 *
 * @param seq number of the last event that is not wanted any more; 0 for none
 * @param uid of the run that has this event, which tells it from another run of the same id
 */
public record Cursor(long seq, String uid) {
    /** The place before the first event. */
    public static final Cursor START = new Cursor(0, "");
}

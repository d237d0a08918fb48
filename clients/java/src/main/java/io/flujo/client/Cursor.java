package io.flujo.client;

/**
 * A place in the events of a run.
 *
 * @param seq number of the last event that is not wanted any more; 0 for none
 * @param uid of the run that has this event, which tells it from another run of the same id
 * @param storeId of the store that has this run, which tells it from the store of before a backup took its place
 */
public record Cursor(long seq, String uid, String storeId) {
    /** The place before the first event. */
    public static final Cursor START = new Cursor(0, "", "");
}

package io.flujo.client;

import io.flujo.v1.Event;
import io.flujo.v1.WatchRunResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Supplier;

/**
 * The events of a run, stored or new, each once and in order, until the run is final and everything has come. Goes on over
 * lost connections and restarts of the server, behind the last event that was handled: the one before that which
 * {@code next} returns.
 *
 * <p>Close it, or its call goes on: {@code try (Follow events = client.follow(id)) { for (Event event : events) … }}. One
 * thread at a time may read it; any may close it.
 */
public final class Follow implements Iterator<Event>, Iterable<Event>, AutoCloseable {
    /** After so long without anything, unless the server says how often it brings a sign of life. */
    static final Duration SILENCE = Duration.ofSeconds(45);

    private static final int SILENT_BOOKMARKS = 3;

    /** A connection, as a follow sees it. */
    interface Path {
        /** Opens a stream, which puts what comes into a queue. */
        Call watch(Cursor at, BlockingQueue<Came> into);

        /** Leaves the connection, for all calls of the client. */
        void giveUp();
    }

    /** A stream that is open. */
    interface Call {
        /** Asks for another message. */
        void more();

        /** Ends it, here and on the server. */
        void cancel();
    }

    /**
     * What came over a stream: a message, an error, or its end without either.
     *
     * @param message a message, or null
     * @param error an error, or null
     */
    record Came(WatchRunResponse message, Throwable error) {}

    private final Supplier<Path> connect;
    private final Clock clock;
    private final Outage outage;
    private final Queue<Event> ready = new ArrayDeque<>();
    private Duration silence = SILENCE;
    private Cursor cursor;
    private BlockingQueue<Came> queue;
    private Path path;
    private volatile Call call;
    private volatile boolean closed;
    private boolean ended;

    Follow(Supplier<Path> connect, Cursor from, Duration reconnect, Clock clock) {
        this.connect = connect;
        this.cursor = from;
        this.clock = clock;
        this.outage = new Outage(clock, reconnect);
    }

    @Override
    public Iterator<Event> iterator() {
        return this;
    }

    /** Returns whether there is another event, once that is known. Throws FlujoException. */
    @Override
    public boolean hasNext() {
        while (ready.isEmpty() && !ended && !closed) {
            try {
                advance();
            } catch (FlujoException error) {
                leave();
                if (closed) {
                    return false;
                }
                if (!error.isGone()) {
                    throw error;
                }
                outage.await(error);
            } catch (InterruptedException interrupted) {
                close();
                throw Outage.interrupted(interrupted);
            }
        }
        return !ready.isEmpty();
    }

    @Override
    public Event next() {
        if (!hasNext()) {
            throw new NoSuchElementException("the run has no further event");
        }
        Event event = ready.remove();
        cursor = new Cursor(event.getSeq(), cursor.uid(), cursor.storeId());
        return event;
    }

    /** Ends the call, here and on the server. A reader that waits finds no further event. */
    @Override
    public void close() {
        closed = true;
        leave();
    }

    private void leave() {
        Call left = call;
        call = null;
        if (left != null) {
            left.cancel();
        }
    }

    /** Takes in one message. */
    private void advance() throws InterruptedException {
        if (call == null) {
            queue = new LinkedBlockingQueue<>();
            path = connect.get();
            call = path.watch(cursor, queue);
        } else {
            call.more();
        }
        Came came = clock.poll(queue, silence);
        if (came == null) {
            path.giveUp();
            throw new FlujoException(Status.Code.UNAVAILABLE, "nothing has come from the server for too long");
        }
        if (came.error() != null) {
            throw FlujoException.of(came.error());
        }
        if (came.message() == null) {
            throw new FlujoException(Status.Code.UNAVAILABLE, "the stream ended before the run did");
        }
        outage.over();
        take(came.message());
    }

    private void take(WatchRunResponse message) {
        switch (message.getContentCase()) {
            case HEADER -> {
                String uid = message.getHeader().getRun().getUid();
                cursor = new Cursor(cursor.seq(), uid, message.getHeader().getStoreId());
                com.google.protobuf.Duration told = message.getHeader().getBookmarkInterval();
                Duration interval = Duration.ofSeconds(told.getSeconds(), told.getNanos());
                silence = interval.isZero() ? SILENCE : interval.multipliedBy(SILENT_BOOKMARKS);
            }
            case EVENTS -> ready.addAll(message.getEvents().getEventsList());
            case END -> {
                ended = true;
                leave();
            }
            default -> { } // a bookmark, or what a newer server says
        }
    }
}

package io.flujo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.flujo.v1.Event;
import io.flujo.v1.EventBatch;
import io.flujo.v1.Run;
import io.flujo.v1.WatchEnd;
import io.flujo.v1.WatchHeader;
import io.flujo.v1.WatchRunResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** A follow goes on after streams that break, at its cursor; time is that of a clock that goes on when all wait. */
final class FollowTest {
    private static final WatchRunResponse END =
            WatchRunResponse.newBuilder().setEnd(WatchEnd.getDefaultInstance()).build();

    private final FakeClock clock = new FakeClock();
    private final Server server = new Server();

    /** Time goes on to the end of a wait for which nothing is there. */
    private static final class FakeClock implements Clock {
        private long now;

        @Override
        public long nanoTime() {
            return now;
        }

        @Override
        public <T> T poll(BlockingQueue<T> queue, Duration longest) {
            if (queue.isEmpty()) {
                now += longest.toNanos();
            }
            return queue.poll();
        }

        @Override
        public void sleep(Duration time) {
            now += time.toNanos();
        }
    }

    /** Answers each watch with the next of some streams; one that is used up is silent. */
    private final class Server implements Follow.Path {
        private final Deque<Deque<Follow.Came>> streams = new ArrayDeque<>();
        private final List<Cursor> asked = new ArrayList<>();
        private final List<Duration> at = new ArrayList<>();
        private int givenUp;
        private int cancelled;

        void stream(Follow.Came... came) {
            streams.add(new ArrayDeque<>(List.of(came)));
        }

        @Override
        public Follow.Call watch(Cursor from, BlockingQueue<Follow.Came> into) {
            asked.add(from);
            at.add(Duration.ofNanos(clock.now));
            Deque<Follow.Came> stream = streams.isEmpty() ? new ArrayDeque<>(List.of(broke(Status.UNAVAILABLE))) : streams.remove();
            Follow.Call call = new Follow.Call() {
                @Override
                public void more() {
                    if (!stream.isEmpty()) {
                        into.add(stream.remove());
                    }
                }

                @Override
                public void cancel() {
                    cancelled++;
                }
            };
            call.more();
            return call;
        }

        @Override
        public void giveUp() {
            givenUp++;
        }
    }

    private static Follow.Came came(WatchRunResponse message) {
        return new Follow.Came(message, null);
    }

    private static Follow.Came broke(Status status) {
        return new Follow.Came(null, status.withDescription("broken").asRuntimeException());
    }

    private static Follow.Came header(long seconds) {
        return came(WatchRunResponse.newBuilder()
                .setHeader(WatchHeader.newBuilder()
                        .setRun(Run.newBuilder().setUid("u"))
                        .setStoreId("s")
                        .setBookmarkInterval(com.google.protobuf.Duration.newBuilder().setSeconds(seconds)))
                .build());
    }

    private static Follow.Came batch(long... seqs) {
        EventBatch.Builder events = EventBatch.newBuilder();
        LongStream.of(seqs).forEach(seq -> events.addEvents(Event.newBuilder().setSeq(seq)));
        return came(WatchRunResponse.newBuilder().setEvents(events).build());
    }

    private Follow follow(long reconnectSeconds) {
        return new Follow(() -> server, Cursor.START, Duration.ofSeconds(reconnectSeconds), clock);
    }

    private List<Long> seqs(long reconnectSeconds) {
        List<Long> seqs = new ArrayList<>();
        try (Follow events = follow(reconnectSeconds)) {
            events.forEachRemaining(event -> seqs.add(event.getSeq()));
        }
        return seqs;
    }

    @ParameterizedTest
    @EnumSource(value = Status.Code.class, names = {"UNAVAILABLE", "CANCELLED", "INTERNAL", "DEADLINE_EXCEEDED"})
    void goesOnAfterEveryKindOfBreak(Status.Code code) {
        server.stream(header(0), batch(1, 2), broke(code.toStatus()));
        server.stream(header(0), batch(3), broke(code.toStatus()));
        server.stream(header(0), batch(4), came(END));
        assertEquals(List.of(1L, 2L, 3L, 4L), seqs(60));
        assertEquals(List.of(Cursor.START, new Cursor(2, "u", "s"), new Cursor(3, "u", "s")), server.asked);
        assertEquals(0, server.givenUp);
    }

    @Test
    void goesOnAfterAnEndWithoutALastWord() {
        server.stream(header(0), batch(1), new Follow.Came(null, null));
        server.stream(batch(2), came(END));
        assertEquals(List.of(1L, 2L), seqs(60));
    }

    @ParameterizedTest
    @CsvSource({"15, 45", "2, 6", "0, 45"})
    void leavesASilentConnectionAfterThreeBookmarks(long interval, long silence) {
        server.stream(header(interval), batch(1));
        server.stream(batch(2), came(END));
        assertEquals(List.of(1L, 2L), seqs(60));
        assertEquals(1, server.givenUp);
        assertEquals(Duration.ofSeconds(silence).plus(Outage.FIRST_PAUSE), server.at.get(1));
    }

    @Test
    void givesUpWhenNoServerComesBack() {
        server.stream(header(0), batch(1), broke(Status.UNAVAILABLE));
        FlujoException error = assertThrows(FlujoException.class, () -> seqs(10));
        assertEquals(Status.Code.UNAVAILABLE, error.code());
        assertEquals(Duration.ofSeconds(10), Duration.ofNanos(clock.now));
        assertTrue(server.asked.size() > 10 && server.asked.size() < 20, () -> server.asked.size() + " tries");
    }

    @Test
    void countsTheTimeToGiveUpFromTheLastAnswer() {
        LongStream.rangeClosed(1, 8).forEach(seq -> server.stream(header(1), batch(seq)));
        server.stream(came(END));
        assertEquals(8, seqs(2).size());
        assertTrue(clock.now > Duration.ofSeconds(20).toNanos());
    }

    @Test
    void endsWithAnErrorOfTheServer() {
        server.stream(broke(Status.NOT_FOUND));
        assertEquals(Status.Code.NOT_FOUND, assertThrows(FlujoException.class, () -> seqs(60)).code());
        assertEquals(1, server.asked.size());
    }

    @Test
    void goesOnBehindTheLastEventThatWasHandled() {
        server.stream(header(0), batch(1, 2, 3));
        try (Follow events = follow(60)) {
            assertEquals(1, events.next().getSeq());
            assertEquals(2, events.next().getSeq());
        }
        assertEquals(1, server.cancelled);
    }

    @Test
    void findsNothingMoreOnceItIsClosed() {
        server.stream(header(0), batch(1));
        Follow events = follow(60);
        assertEquals(1, events.next().getSeq());
        events.close();
        assertFalse(events.hasNext());
        assertEquals(1, server.cancelled);
    }
}

package io.flujo.client;

import java.time.Duration;

/** Counts how long a server has been gone, from when that is first noticed. */
final class Outage {
    static final Duration FIRST_PAUSE = Duration.ofMillis(50);
    private static final Duration LONGEST_PAUSE = Duration.ofSeconds(1);

    private final Clock clock;
    private final Duration longest;
    private Long since;
    private Duration pause = Duration.ZERO;

    Outage(Clock clock, Duration longest) {
        this.clock = clock;
        this.longest = longest;
    }

    /** Says that the server has answered. */
    void over() {
        since = null;
        pause = Duration.ZERO;
    }

    /** Waits before the next try, longer each time; throws the error once the time is up. */
    void await(FlujoException error) {
        long now = clock.nanoTime();
        if (since == null) {
            since = now;
        }
        Duration left = longest.minusNanos(now - since);
        if (left.isNegative() || left.isZero()) {
            throw error;
        }
        pause = least(pause.isZero() ? FIRST_PAUSE : pause.multipliedBy(2), LONGEST_PAUSE);
        try {
            clock.sleep(least(pause, left));
        } catch (InterruptedException interrupted) {
            throw interrupted(interrupted);
        }
    }

    /** Returns what a call throws whose thread was interrupted. */
    static FlujoException interrupted(InterruptedException cause) {
        Thread.currentThread().interrupt();
        FlujoException made = new FlujoException(io.grpc.Status.Code.CANCELLED, "the thread was interrupted");
        made.initCause(cause);
        return made;
    }

    private static Duration least(Duration one, Duration other) {
        return one.compareTo(other) < 0 ? one : other;
    }
}

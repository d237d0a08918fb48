package io.flujo.client;

import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/** What a client knows of time. */
interface Clock {
    /** Returns nanoseconds of a clock that only goes forward. */
    long nanoTime();

    /** Returns the next of a queue, or null if none comes in time. */
    <T> T poll(BlockingQueue<T> queue, Duration longest) throws InterruptedException;

    /** Waits. */
    void sleep(Duration time) throws InterruptedException;

    /** The time on the wall. */
    Clock WALL = new Clock() {
        @Override
        public long nanoTime() {
            return System.nanoTime();
        }

        @Override
        public <T> T poll(BlockingQueue<T> queue, Duration longest) throws InterruptedException {
            return queue.poll(longest.toMillis(), TimeUnit.MILLISECONDS);
        }

        @Override
        public void sleep(Duration time) throws InterruptedException {
            Thread.sleep(time.toMillis());
        }
    };
}

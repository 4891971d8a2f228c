package ledgerline.peer;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Counts events over all threads and takes the times: from the end of the warm-up to the last event. */
final class Progress {
    private static final OperatingSystemMXBean PROCESS =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final long warmup;
    private final long events;
    private final AtomicLong count = new AtomicLong();
    private final CountDownLatch done = new CountDownLatch(1);
    private volatile Times begun;
    private volatile Times ended;

    record Times(long wallNanos, long cpuNanos) {
        static Times now() {
            return new Times(System.nanoTime(), PROCESS.getProcessCpuTime());
        }
    }

    /** {@code events} 0: without end. */
    Progress(long warmup, long events) {
        this.warmup = warmup;
        this.events = events;
    }

    void one() {
        long now = count.incrementAndGet();
        if (now == warmup + 1) {
            begun = Times.now();
        }
        if (events > 0 && now == warmup + events) {
            ended = Times.now();
            done.countDown();
        }
    }

    long count() {
        return count.get();
    }

    /** Waits at most that long. */
    boolean awaitDone(long seconds) throws InterruptedException {
        return done.await(seconds, TimeUnit.SECONDS);
    }

    void end() {
        done.countDown();
    }

    double seconds() {
        return (ended.wallNanos - begun.wallNanos) / 1e9;
    }

    double cpuSeconds() {
        return (ended.cpuNanos - begun.cpuNanos) / 1e9;
    }

    /** Everything since the JVM began: start, compiling, warm-up and all. */
    double cpuSecondsOfProcess() {
        return PROCESS.getProcessCpuTime() / 1e9;
    }

    boolean wasMeasured() {
        return ended != null;
    }
}

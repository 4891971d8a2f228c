package ledgerline.peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Locale;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/** Runs {@link Seal} over a topic until so many events are sealed, and prints how fast, as one JSON object. */
public final class Peer {
    /** Without an event for this long, the input was shorter than said, or something is wrong. */
    private static final long IDLE_SECONDS_MAX = 60;

    private static final Duration CLOSE_MAX = Duration.ofSeconds(60);

    private Peer() {}

    public static void main(String[] args) throws Exception {
        Options options;
        try {
            options = Options.parse(args);
        } catch (IllegalArgumentException error) {
            System.err.println("kafka-streams: " + error.getMessage() + "; see README.md");
            System.exit(2);
            return;
        }
        System.exit(run(options) ? 0 : 1);
    }

    private static boolean run(Options options) throws Exception {
        Topics topics = new Topics(options.bootstrap());
        int partitions = topics.prepare(options.input(), options.output());
        boolean isOwn = options.applicationId() == null;
        String applicationId = isOwn ? "ledgerline-peer-" + UUID.randomUUID() : options.applicationId();
        Path stateDir = options.stateDir() == null
                ? Files.createTempDirectory("ledgerline-peer-")
                : Path.of(options.stateDir());
        Progress progress = new Progress(options.warmup(), options.events());
        KafkaStreams streams = new KafkaStreams(topology(options, progress), settings(options, applicationId, stateDir));
        boolean[] failed = {false};
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            failed[0] = true;
            progress.end();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSE_MAX)));
        streams.start();
        boolean moved = awaitDone(progress, options.events() == 0);
        // Commits what is sealed. Streams would stay a member of its group, which then could not be removed.
        boolean closed = streams.close(CloseOptions.timeout(CLOSE_MAX)
                .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
        boolean good = moved && closed && !failed[0] && progress.wasMeasured();
        if (good) {
            report(options, partitions, progress);
        } else {
            System.err.printf("kafka-streams: not done after %d events%n", progress.count());
        }
        if (isOwn) {
            streams.cleanUp();
            topics.remove(applicationId);
        }
        if (options.stateDir() == null) {
            remove(stateDir);
        }
        return good;
    }

    /** False where nothing moved for too long. */
    private static boolean awaitDone(Progress progress, boolean forEver) throws InterruptedException {
        long before = -1;
        while (!progress.awaitDone(IDLE_SECONDS_MAX)) {
            long now = progress.count();
            if (now == before && !forEver) {
                return false;
            }
            before = now;
        }
        return true;
    }

    static Topology topology(Options options, Progress progress) {
        StreamsBuilder builder = new StreamsBuilder();
        // Written to RocksDB and to the changelog at commits, once for each tenant, not once for each event.
        builder.addStateStore(Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(Seal.STORE), Serdes.ByteArray(), Serdes.ByteArray())
                .withCachingEnabled());
        builder.stream(options.input(), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(() -> new Seal(Canonical.named(options.canonical()), progress), Seal.STORE)
                .to(options.output(), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        return builder.build();
    }

    private static Properties settings(Options options, String applicationId, Path stateDir) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, applicationId);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.bootstrap());
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.commitMs());
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.threads());
        settings.put(StreamsConfig.STATE_DIR_CONFIG, stateDir.toString());
        // That of the broker: a broker alone has one copy of everything.
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, -1);
        // Bigger batches than the defaults: fewer requests, and zstd has more to work on.
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "zstd");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 64L * 1024 * 1024);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 2_000);
        return settings;
    }

    private static void report(Options options, int partitions, Progress progress) {
        double seconds = progress.seconds();
        double cpu = progress.cpuSeconds();
        System.out.printf(
                Locale.ROOT,
                "{\"events\":%d,\"warmup\":%d,\"seconds\":%.3f,\"events_per_second\":%.0f,\"cpu_seconds\":%.3f,"
                        + "\"cpu_microseconds_per_event\":%.2f,\"events_per_cpu_second\":%.0f,\"process_cpu_seconds\":%.3f,"
                        + "\"peak_memory_bytes\":%d,\"commit_ms\":%d,\"threads\":%d,\"partitions\":%d,\"canonical\":\"%s\"}%n",
                options.events(),
                options.warmup(),
                seconds,
                options.events() / seconds,
                cpu,
                cpu * 1e6 / options.events(),
                options.events() / cpu,
                progress.cpuSecondsOfProcess(),
                peakMemoryBytes(),
                options.commitMs(),
                options.threads(),
                partitions,
                options.canonical());
    }

    /** 0 where the system does not say. */
    private static long peakMemoryBytes() {
        try (var lines = Files.lines(Path.of("/proc/self/status"))) {
            return lines.filter(line -> line.startsWith("VmHWM:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024)
                    .findFirst()
                    .orElse(0);
        } catch (IOException error) {
            return 0;
        }
    }

    /** A directory that this run made for itself. */
    private static void remove(Path dir) throws IOException {
        try (var paths = Files.walk(dir)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }
}

package ledgerline.peer;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One record in, one record out: {@code {"event":<canonical event>,"leaf":<leaf>}}, chained to the tenant's record before. The
 * record's key is the tenant. What the sealer also does and this does not: see README.md.
 */
final class Seal extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "heads";

    /** No tenant's key: those are not empty. */
    private static final byte[] INDEX = {};

    private final Canonical canonical;
    private final Progress progress;
    private final Leaf leaf = new Leaf();
    private final Buffer out = new Buffer();
    private final MessageDigest sha256;
    private KeyValueStore<byte[], byte[]> heads;
    private String origin;
    private Instant lastSealedAt = Instant.EPOCH;

    Seal(Canonical canonical, Progress progress) {
        this.canonical = canonical;
        this.progress = progress;
        try {
            this.sha256 = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("this Java has no SHA-256", error);
        }
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        super.init(context);
        heads = context.getStateStore(STORE);
        origin = "bench/" + context.taskId().partition();
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        byte[] event;
        try {
            event = canonical.of(record.value());
        } catch (IOException error) {
            throw new IllegalArgumentException("a record is no JSON", error);
        }
        long index = longOf(heads.get(INDEX));
        Head head = Head.of(heads.get(record.key()));
        byte[] leafBytes = leaf.entry(
                sha256.digest(event),
                index,
                origin,
                head.hash(),
                now(),
                head.sequence() + 1,
                source(),
                new String(record.key(), StandardCharsets.UTF_8));
        heads.put(record.key(), new Head(head.sequence() + 1, leaf.hash(leafBytes)).bytes());
        heads.put(INDEX, ByteBuffer.allocate(8).putLong(index + 1).array());
        out.clear();
        out.ascii("{\"event\":").raw(event).ascii(",\"leaf\":").raw(leafBytes).ascii('}');
        context().forward(record.withValue(out.bytes()));
        progress.one();
    }

    private Instant now() {
        Instant now = Instant.now();
        lastSealedAt = now.isAfter(lastSealedAt) ? now : lastSealedAt;
        return lastSealedAt;
    }

    private String source() {
        RecordMetadata at = context().recordMetadata().orElseThrow();
        return at.topic() + '/' + at.partition() + '@' + at.offset();
    }

    private static long longOf(byte[] stored) {
        return stored == null ? 0 : ByteBuffer.wrap(stored).getLong();
    }

    /** A tenant's last sequence and entry hash: 40 bytes in the store. */
    private record Head(long sequence, byte[] hash) {
        static Head of(byte[] stored) {
            if (stored == null) {
                return new Head(0, new byte[32]);
            }
            ByteBuffer buffer = ByteBuffer.wrap(stored);
            long sequence = buffer.getLong();
            byte[] hash = new byte[32];
            buffer.get(hash);
            return new Head(sequence, hash);
        }

        byte[] bytes() {
            return ByteBuffer.allocate(40).putLong(sequence).put(hash).array();
        }
    }
}

package ledgerline.peer;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import org.apache.commons.codec.digest.Blake3;

/** The leaf of an entry and its hash, as docs/FORMAT.md section 4 has them. Not for several threads. */
final class Leaf {
    private static final DateTimeFormatter SECOND = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss");

    private final Blake3 blake3 =
            Blake3.initKeyDerivationFunction("ledgerline 2026-11 entry v1".getBytes(StandardCharsets.US_ASCII));
    private final Buffer out = new Buffer();
    private long second = Long.MIN_VALUE;
    private String secondText;

    /** The members are written in canonical order; only a tenant could need escapes. */
    byte[] entry(byte[] event, long index, String origin, byte[] prev, Instant sealedAt, long sequence, String source, String tenant) {
        out.clear();
        out.ascii("{\"event\":\"").hex(event);
        out.ascii("\",\"index\":").ascii(Long.toString(index));
        out.ascii(",\"kind\":\"entry\",\"origin\":\"").ascii(origin);
        out.ascii("\",\"prev\":\"").hex(prev);
        out.ascii("\",\"sealed_at\":\"");
        time(sealedAt);
        out.ascii("\",\"sequence\":").ascii(Long.toString(sequence));
        out.ascii(",\"source\":\"").ascii(source);
        out.ascii("\",\"tenant\":").quoted(tenant).ascii(",\"v\":1}");
        return out.bytes();
    }

    /** What the tenant's next entry has as {@code prev}. */
    byte[] hash(byte[] leaf) {
        return blake3.reset().update(leaf).doFinalize(32);
    }

    private void time(Instant at) {
        if (at.getEpochSecond() != second) {
            second = at.getEpochSecond();
            secondText = LocalDateTime.ofEpochSecond(second, 0, ZoneOffset.UTC).format(SECOND);
        }
        String micros = Integer.toString(1_000_000 + at.getNano() / 1_000);
        out.ascii(secondText).ascii('.').ascii(micros.substring(1)).ascii('Z');
    }
}

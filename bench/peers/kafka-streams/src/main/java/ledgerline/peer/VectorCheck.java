package ledgerline.peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HexFormat;

/** Holds canonical JSON and entry hashes against tests/vectors/: what is measured must be the same work. */
public final class VectorCheck {
    private static int checked;
    private static int wrong;

    private VectorCheck() {}

    public static void main(String[] args) throws IOException {
        Path vectors = Path.of(args[0]);
        ObjectMapper mapper = new ObjectMapper();
        for (String name : new String[] {"library", "jackson"}) {
            Canonical canonical = Canonical.named(name);
            for (JsonNode wanted : mapper.readTree(vectors.resolve("canonical.json").toFile()).get("cases")) {
                String text = wanted.path("canonical").asText();
                // Events are objects; the library takes no scalar, and neither refuses what Ledgerline refuses.
                if (text.startsWith("{") || text.startsWith("[")) {
                    byte[] input = Base64.getDecoder().decode(wanted.get("input_base64").asText());
                    same(name, text, new String(canonical.of(input), StandardCharsets.UTF_8));
                }
            }
        }
        Leaf leaf = new Leaf();
        for (JsonNode wanted : mapper.readTree(vectors.resolve("entry_hash.json").toFile()).get("cases")) {
            byte[] bytes = Base64.getDecoder().decode(wanted.get("leaf_base64").asText());
            same("entry hash", wanted.get("entry_hash").asText(), HexFormat.of().formatHex(leaf.hash(bytes)));
        }
        System.out.printf("%d vectors checked, %d wrong%n", checked, wrong);
        System.exit(wrong > 0 || checked == 0 ? 1 : 0);
    }

    private static void same(String what, String wanted, String found) {
        checked++;
        if (!wanted.equals(found)) {
            wrong++;
            System.out.printf("%s: wanted %s, found %s%n", what, wanted, found);
        }
    }
}

package ledgerline.peer;

import java.util.HashMap;
import java.util.Map;

/** The arguments: {@code --name value}, each once. */
record Options(
        String bootstrap,
        String input,
        String output,
        long events,
        long warmup,
        long commitMs,
        int threads,
        String canonical,
        String applicationId,
        String stateDir) {

    static Options parse(String[] args) {
        Map<String, String> given = new HashMap<>();
        for (int i = 0; i < args.length; i += 2) {
            if (!args[i].startsWith("--") || i + 1 == args.length || given.put(args[i], args[i + 1]) != null) {
                throw new IllegalArgumentException("expected --name value, each name once, at " + args[i]);
            }
        }
        Options options = new Options(
                required(given, "--bootstrap"),
                required(given, "--input"),
                required(given, "--output"),
                number(required(given, "--events"), "--events"),
                number(optional(given, "--warmup", "0"), "--warmup"),
                number(optional(given, "--commit-ms", "100"), "--commit-ms"),
                (int) number(optional(given, "--threads", "2"), "--threads"),
                optional(given, "--canonical", "jackson"),
                optional(given, "--application-id", null),
                optional(given, "--state-dir", null));
        if (!given.isEmpty()) {
            throw new IllegalArgumentException("unknown: " + String.join(" ", given.keySet()));
        }
        return options;
    }

    private static String required(Map<String, String> given, String name) {
        String value = given.remove(name);
        if (value == null) {
            throw new IllegalArgumentException(name + " is missing");
        }
        return value;
    }

    private static String optional(Map<String, String> given, String name, String otherwise) {
        String value = given.remove(name);
        return value == null ? otherwise : value;
    }

    private static long number(String text, String name) {
        try {
            return Long.parseUnsignedLong(text);
        } catch (NumberFormatException error) {
            throw new IllegalArgumentException(name + " takes a number, not " + text, error);
        }
    }
}

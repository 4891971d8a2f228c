package ledgerline.peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.erdtman.jcs.JsonCanonicalizer;
import org.erdtman.jcs.NumberToJSON;

/** Makes RFC 8785 canonical JSON of a JSON value. Not Ledgerline's strict reader: a number that a double cannot carry is rounded. */
@FunctionalInterface
interface Canonical {
    byte[] of(byte[] json) throws IOException;

    /** {@code library}: java-json-canonicalization as it is. {@code jackson}: Jackson's parser and a writer of 100 lines. */
    static Canonical named(String name) {
        return switch (name) {
            case "library" -> json -> new JsonCanonicalizer(json).getEncodedUTF8();
            case "jackson" -> new WithJackson();
            default -> throw new IllegalArgumentException("--canonical is library or jackson, not " + name);
        };
    }

    /** Parsed into small trees whose members are sorted, then written. Not for several threads: the buffer is used again. */
    final class WithJackson implements Canonical {
        /** An integer up to here is rendered by ECMAScript as it is. */
        private static final long INTEGER_MAX = (1L << 53) - 1;

        private static final JsonFactory FACTORY =
                JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

        private final Buffer out = new Buffer();

        /** Names are compared as Java compares strings: by UTF-16 code units, as the RFC wants. */
        private record Member(String name, Object value) implements Comparable<Member> {
            @Override
            public int compareTo(Member other) {
                return name.compareTo(other.name);
            }
        }

        private record Members(List<Member> list) {}

        private record Items(List<Object> list) {}

        /** A number, already rendered, or a literal. */
        private record Token(String text) {}

        @Override
        public byte[] of(byte[] json) throws IOException {
            try (JsonParser parser = FACTORY.createParser(json)) {
                parser.nextToken();
                Object value = read(parser);
                if (parser.nextToken() != null) {
                    throw new IOException("something follows the value");
                }
                out.clear();
                write(value);
                return out.bytes();
            }
        }

        private static Object read(JsonParser parser) throws IOException {
            JsonToken token = parser.currentToken();
            if (token == null) {
                throw new IOException("there is no value");
            }
            return switch (token) {
                case START_OBJECT -> members(parser);
                case START_ARRAY -> items(parser);
                case VALUE_STRING -> parser.getText();
                case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> number(parser, token);
                case VALUE_TRUE, VALUE_FALSE, VALUE_NULL -> new Token(parser.getText());
                default -> throw new IOException("unexpected " + token);
            };
        }

        private static Members members(JsonParser parser) throws IOException {
            List<Member> members = new ArrayList<>();
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                parser.nextToken();
                members.add(new Member(name, read(parser)));
            }
            Collections.sort(members);
            return new Members(members);
        }

        private static Items items(JsonParser parser) throws IOException {
            List<Object> items = new ArrayList<>();
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                items.add(read(parser));
            }
            return new Items(items);
        }

        private static Token number(JsonParser parser, JsonToken token) throws IOException {
            if (token == JsonToken.VALUE_NUMBER_INT && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER) {
                long value = parser.getLongValue();
                if (Math.abs(value) <= INTEGER_MAX) {
                    return new Token(Long.toString(value));
                }
            }
            return new Token(NumberToJSON.serializeNumber(parser.getDoubleValue()));
        }

        private void write(Object value) {
            if (value instanceof String text) {
                out.quoted(text);
            } else if (value instanceof Token token) {
                out.ascii(token.text());
            } else if (value instanceof Members members) {
                char before = '{';
                for (Member member : members.list()) {
                    out.ascii(before).quoted(member.name()).ascii(':');
                    write(member.value());
                    before = ',';
                }
                out.ascii(before == '{' ? "{}" : "}");
            } else if (value instanceof Items items) {
                char before = '[';
                for (Object item : items.list()) {
                    out.ascii(before);
                    write(item);
                    before = ',';
                }
                out.ascii(before == '[' ? "[]" : "]");
            }
        }
    }
}

package rta;

import java.io.Serializable;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;

/**
 * Reads one event that is a record of Avro, with or without Confluent's five bytes before it: the values of its columns as StrictJson has them,
 * or the reason why it is bad. Fields are found by their names. Source: Avro's specification 1.12, "Binary encoding".
 */
final class StrictAvro implements EventReader {
    /** Reads what one schema says at a place, and returns the value of its column, or what is bad in it; null also if no column wants it. */
    private interface Node extends Serializable {
        Object read(Bytes in);
    }

    private static final long serialVersionUID = 1L;
    private static final String ANY = "any";
    private static final int HEAD = 5;  // bytes: a zero, then the schema's id
    private static final long MANY = 1 << 20;  // elements without a byte, of which a few bytes may claim any number
    private final List<StrictJson.Column> columns;
    private final Map<String, Node> schemas = new HashMap<>();
    private final boolean framed, nan;

    /** Read the event type as rta.events.formats.avro_records writes it. */
    @SuppressWarnings("unchecked")
    StrictAvro(Map<String, Object> event, BiFunction<String, String, StrictJson.Clock> clocks) {
        columns = new StrictJson(event, clocks).columns;
        Map<String, Object> avro = (Map<String, Object>) event.get("avro");
        framed = (Boolean) avro.get("framed");
        nan = (Boolean) event.get("nan");
        ((Map<String, Object>) avro.get("schemas")).forEach((id, schema) -> schemas.put(id, record((Map<String, Object>) schema, columns, new HashMap<>())));
    }

    @Override
    public List<StrictJson.Column> columns() {
        return columns;
    }

    @Override
    public StrictJson.Event read(byte[] value) {
        if (value == null) return bad("null value");
        if (value.length == 0) return bad("empty value");
        boolean headed = value.length >= HEAD && value[0] == 0;
        if (framed && !headed) return bad("broken Avro");
        Node schema = schemas.get(ANY);
        if (schema == null) {
            String id = headed ? Integer.toUnsignedString(ByteBuffer.wrap(value).getInt(1)) : "";
            if ((schema = schemas.get(id)) == null) return bad(headed ? "unknown schema: " + id : "broken Avro");
        }
        Bytes in = new Bytes(value, framed ? HEAD : 0);
        Object read;
        try {
            read = schema.read(in);
        } catch (Json.Broken e) {
            return bad("broken Avro");
        }
        if (in.at < value.length) return bad("trailing garbage");
        return read instanceof StrictJson.Bad wrong ? bad(wrong.fault().said + ": " + wrong.place().substring(1)) : new StrictJson.Event((Object[]) read, null);
    }

    private static StrictJson.Event bad(String reason) {
        return new StrictJson.Event(null, reason);
    }

    /** Compile a schema for a column that wants a kind of values; null: nobody wants them. */
    @SuppressWarnings("unchecked")
    private Node node(Object schema, StrictJson.Kind kind, Map<String, Object> named) {
        if (schema instanceof List<?> branches) return union(branches, kind, named);
        if (schema instanceof String name) return named.containsKey(name) ? node(named.get(name), kind, named) : leaf(name, Map.of(), kind);
        Map<String, Object> told = (Map<String, Object>) schema;
        if (!(told.get("type") instanceof String type)) return node(told.get("type"), kind, named);
        if (told.get("name") instanceof String name) {
            named.put(name, told);
            if (told.get("namespace") instanceof String space) named.put(space + "." + name, told);
        }
        return switch (type) {
            case "record" -> record(told, kind == null ? List.of() : kind.fields(), named);
            case "array" -> array(node(told.get("items"), inside(kind), named), kind);
            case "map" -> map(node(told.get("values"), inside(kind), named), kind);
            case "enum" -> symbol((List<String>) told.get("symbols"));
            default -> named.containsKey(type) ? node(named.get(type), kind, named) : leaf(type, told, kind);
        };
    }

    private static StrictJson.Kind inside(StrictJson.Kind kind) {
        return kind == null ? null : kind.fields().get(0).kind();
    }

    private Node union(List<?> branches, StrictJson.Kind kind, Map<String, Object> named) {
        Node[] nodes = branches.stream().map(each -> "null".equals(each) ? null : node(each, kind, named)).toArray(Node[]::new);
        return in -> {
            int branch = in.index(nodes.length);
            return nodes[branch] == null ? null : nodes[branch].read(in);
        };
    }

    @SuppressWarnings("unchecked")
    private Node record(Map<String, Object> told, List<StrictJson.Column> wanted, Map<String, Object> named) {
        List<Object> fields = (List<Object>) told.get("fields");
        Node[] nodes = new Node[fields.size()];
        int[] places = new int[nodes.length];  // of each field among the columns
        for (int i = 0; i < nodes.length; i++) {
            Map<String, Object> field = (Map<String, Object>) fields.get(i);
            places[i] = -1;
            for (int c = 0; c < wanted.size(); c++) if (wanted.get(c).field().equals(field.get("name"))) places[i] = c;
            nodes[i] = node(field.get("type"), places[i] < 0 ? null : wanted.get(places[i]).kind(), named);
        }
        List<StrictJson.Column> columns = List.copyOf(wanted);
        return in -> {
            Object[] values = new Object[columns.size()];
            for (int i = 0; i < nodes.length; i++) {
                Object value = nodes[i].read(in);
                if (places[i] >= 0) values[places[i]] = value;
            }
            for (int c = 0; c < values.length; c++) {
                Object wrong = wrong(values[c], columns.get(c).nullable());
                if (wrong instanceof StrictJson.Bad bad) return bad.in("." + columns.get(c).field());
            }
            return values;
        };
    }

    /** Return what is bad in a value that was read; null if nothing is. */
    private static StrictJson.Bad wrong(Object value, boolean nullable) {
        if (value == null) return nullable ? null : StrictJson.Fault.MISSING.here;
        if (value instanceof StrictJson.Fault fault) return fault.here;
        return value instanceof StrictJson.Bad bad ? bad : null;
    }

    private Node array(Node element, StrictJson.Kind kind) {
        boolean nullable = kind == null || kind.fields().get(0).nullable();
        return in -> {
            List<Object> values = new ArrayList<>();
            StrictJson.Bad first = null;
            for (long count; (count = in.block()) > 0; ) {
                for (; count > 0; count--) {
                    int before = in.at;
                    Object value = element.read(in);
                    if (in.at == before && count > MANY) throw new Json.Broken();
                    if (kind == null) continue;
                    StrictJson.Bad wrong = wrong(value, nullable);
                    if (wrong != null && first == null) first = wrong.in("[" + values.size() + "]");
                    values.add(value);
                }
            }
            return first == null ? values : first;
        };
    }

    private Node map(Node inside, StrictJson.Kind kind) {
        boolean nullable = kind == null || kind.fields().get(0).nullable();
        return in -> {
            Map<String, Object> values = new LinkedHashMap<>();
            StrictJson.Bad first = null;
            for (long count; (count = in.block()) > 0; ) {
                for (; count > 0; count--) {
                    Object key = text(in.bytes(in.length()));
                    Object value = inside.read(in);
                    if (kind == null) continue;
                    StrictJson.Bad wrong = key instanceof StrictJson.Fault fault ? fault.here : wrong(value, nullable);
                    if (wrong != null && first == null) first = key instanceof String name ? wrong.in("[" + StrictJson.shown(name) + "]") : wrong;
                    if (key instanceof String name && values.put(name, value) != null && first == null) first = StrictJson.Fault.TWICE.here;
                }
            }
            return first == null ? values : first;
        };
    }

    private static Node symbol(List<String> symbols) {
        return in -> symbols.get(in.index(symbols.size()));
    }

    private Node leaf(String type, Map<String, Object> told, StrictJson.Kind kind) {
        String logical = told.get("logicalType") instanceof String name ? name : "", wanted = kind == null ? "" : kind.type();
        int scale = told.get("scale") instanceof Json.Num number ? Integer.parseInt(number.text()) : 0;
        int size = told.get("size") instanceof Json.Num number ? Integer.parseInt(number.text()) : 0;
        switch (type) {
            case "null": return in -> null;
            case "boolean": return Bytes::bool;
            case "int": return in -> whole(in.integer(), logical, kind);
            case "long": return in -> whole(in.number(), logical, kind);
            case "float": return in -> finite(Float.intBitsToFloat((int) in.little(4)));
            case "double": return in -> finite(Double.longBitsToDouble(in.little(8)));
            case "string": return wanted.startsWith("timestamp")
                ? in -> text(in.bytes(in.length())) instanceof String text ? StrictJson.moment(kind, text) : StrictJson.Fault.WRONG_TYPE
                : in -> text(in.bytes(in.length()));
            case "bytes": return wanted.equals("decimal") ? in -> decimal(in.bytes(in.length()), scale, kind) : in -> in.bytes(in.length());
            case "fixed": return wanted.equals("decimal") ? in -> decimal(in.bytes(size), scale, kind) : in -> in.bytes(size);
            default: throw new IllegalArgumentException("no such type of Avro: " + type);
        }
    }

    private Object finite(double value) {
        return nan || Double.isFinite(value) ? (Object) value : StrictJson.Fault.NOT_FINITE;
    }

    private static Object whole(long value, String logical, StrictJson.Kind kind) {
        switch (kind == null ? "" : kind.type()) {
            case "double": return (double) value;
            case "decimal": return BigDecimal.valueOf(value).setScale(kind.scale());
            case "date": return LocalDate.ofEpochDay(value);
            case "timestamp": case "timestamp_ntz":
                if (!logical.contains("timestamp-")) return StrictJson.since(kind, value);
                return logical.endsWith("millis") ? StrictJson.instant(value, 1_000) : Values.instant(value);
            default: return value;
        }
    }

    private static Object decimal(byte[] value, int scale, StrictJson.Kind kind) {
        if (value.length == 0) throw new Json.Broken();
        BigDecimal found = new BigDecimal(new BigInteger(value), scale);
        return found.precision() > kind.precision() ? StrictJson.Fault.OUT_OF_RANGE : found;
    }

    private static Object text(byte[] value) {
        String text = new String(value, StandardCharsets.UTF_8);
        if (text.indexOf(StrictJson.REPLACED) >= 0 && !StrictJson.valid(value)) return StrictJson.Fault.NO_TEXT;
        return text.indexOf('\0') >= 0 ? StrictJson.Fault.NUL : text;
    }

    /** The bytes of a message. Each length is held to what is left before anything is made of it. */
    private static final class Bytes {
        private final byte[] value;
        int at;

        Bytes(byte[] value, int at) {
            this.value = value;
            this.at = at;
        }

        private byte next() {
            if (at >= value.length) throw new Json.Broken();
            return value[at++];
        }

        long number() {
            long found = 0;
            for (int shift = 0; shift < 64; shift += 7) {
                byte b = next();
                found |= (b & 0x7fL) << shift;
                if (b >= 0) return found >>> 1 ^ -(found & 1);
            }
            throw new Json.Broken();
        }

        long integer() {
            long found = number();
            if (found != (int) found) throw new Json.Broken();
            return found;
        }

        int index(int many) {
            long found = number();
            if (found < 0 || found >= many) throw new Json.Broken();
            return (int) found;
        }

        int length() {
            return index(value.length - at + 1);
        }

        /** Return how many elements the next block of an array or a map has. */
        long block() {
            long count = number();
            if (count >= 0) return count;
            number();  // how many bytes, for those who pass over it
            if (count == Long.MIN_VALUE) throw new Json.Broken();
            return -count;
        }

        byte[] bytes(int length) {
            if (length > value.length - at) throw new Json.Broken();
            return Arrays.copyOfRange(value, at, at += length);
        }

        long little(int bytes) {
            long found = 0;
            for (int i = 0; i < bytes; i++) found |= (next() & 0xffL) << 8 * i;
            return found;
        }

        Boolean bool() {
            byte b = next();
            if (b < 0 || b > 1) throw new Json.Broken();
            return b == 1;
        }
    }
}

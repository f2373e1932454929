package rta;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What a description does with one event, without Kafka: its rows and windows, the state of a group, and the row of the result. */
final class Groups {
    private static final String WINDOW = "window";
    private final List<Expression> steps = new ArrayList<>();
    private final List<Integer> places = new ArrayList<>();  // of the column that a step computes; -1: it is a filter
    private final Map<String, Integer> keys = new LinkedHashMap<>();
    private final List<Aggregate> aggregates = new ArrayList<>();
    private final Map<String, String> columns = new LinkedHashMap<>();  // of the result: name → window, key or aggregate
    private final int width, time;
    final long size, slide, grace;  // microseconds; grace -1: no event is ever late
    final int key;  // the place of the column that is the message key

    @SuppressWarnings("unchecked")
    Groups(Map<String, Object> query, StrictJson event, String messageKey) {
        Map<String, Integer> names = new HashMap<>();
        for (StrictJson.Column each : event.columns) names.put(each.name(), names.size());
        int next = names.size() + 1;
        names.putIfAbsent("kafka_timestamp", next - 1);
        for (Object each : (List<Object>) query.get("steps")) {
            Map<String, Object> step = (Map<String, Object>) each;
            boolean derives = step.get("step").equals("derive");
            if (!derives && !step.get("step").equals("filter")) throw new Expression.Refused("the step " + step.get("step") + " does not run on Kafka Streams");
            steps.add(Expression.compile((Map<String, Object>) step.get(derives ? "value" : "condition"), names));
            places.add(derives ? next : -1);
            if (derives) names.put((String) step.get("name"), next++);
        }
        width = next;
        time = place(names, (String) query.get("time"));
        key = place(names, messageKey);
        if (key != event.index(messageKey)) throw new Expression.Refused("the column " + messageKey + ", which is the message key, is replaced");
        String kind = event.columns.get(key).kind().type();
        if (!Set.of("string", "tinyint", "smallint", "int", "bigint").contains(kind))
            throw new Expression.Refused("the message key " + messageKey + " is a " + kind + ": one text is known for strings and integers alone");
        for (Object each : (List<Object>) query.get("keys")) keys.put((String) each, place(names, (String) each));
        if (!keys.containsKey(messageKey)) throw new Expression.Refused("the keys of the groups do not contain " + messageKey + ", which is the message key");
        for (Object each : (List<Object>) query.get("aggregates")) aggregates.add(new Aggregate((Map<String, Object>) each, names));
        Map<String, String> taken = (Map<String, String>) query.get("taken");
        for (String each : ((Map<String, Object>) query.get("columns")).keySet()) columns.put(each, taken.getOrDefault(each, each));
        for (String each : columns.values()) if (!each.equals(WINDOW) && !keys.containsKey(each) && aggregates.stream().noneMatch(a -> a.name.equals(each)))
            throw new Expression.Refused("the column " + each + " of the result is neither a key nor an aggregate");
        size = number(query.get("size_ms")) * 1_000;
        slide = number(query.get("slide_ms")) * 1_000;
        grace = query.get("grace_ms") == null ? -1 : number(query.get("grace_ms")) * 1_000;
    }

    private static int place(Map<String, Integer> names, String name) {
        if (!names.containsKey(name)) throw new Expression.Refused("the column " + name + " is none of the event");
        return names.get(name);
    }

    static long number(Object given) {
        return Long.parseLong(((Json.Num) given).text());
    }

    /** Return the row of a good event after the steps; null if a filter holds it back. */
    Object[] row(Object[] values, long timestamp) {
        Object[] row = java.util.Arrays.copyOf(values, width);
        row[values.length] = Values.instant(timestamp * 1_000);
        for (int i = 0; i < steps.size(); i++) {
            Object value = steps.get(i).of(row);
            if (places.get(i) >= 0) row[places.get(i)] = value;
            else if (!Boolean.TRUE.equals(value)) return null;
        }
        return row;
    }

    /** Return the event time of a row in microseconds; null if it has none, and so no window. */
    Long time(Object[] row) {
        return row[time] instanceof Instant at ? Values.micros(at) : null;
    }

    /** Return the start of the latest window that has this time in it; the others begin a slide earlier each. */
    long window(long micros) {
        return Math.floorDiv(micros, slide) * slide;
    }

    /** Whether a window is closed at a clock, the latest event time so far. */
    boolean closed(long start, long clock) {
        return grace >= 0 && start + size + grace <= clock;
    }

    /** Return the key of a group in the store: the start of its window, in an order that bytes have, and its keys as JSON, with NUL between. */
    byte[] group(long start, Object[] row) {
        StringBuilder json = new StringBuilder();
        for (int place : keys.values()) {
            Object value = row[place] instanceof Double d && d == 0 ? (Object) 0.0 : row[place];  // -0.0 is the same group
            Values.write(json.append(json.isEmpty() ? "" : "\0"), value);
        }
        byte[] text = json.toString().getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + text.length).put(first(start)).put(text).array();
    }

    /** Return the first bytes of the groups of a window. */
    static byte[] first(long start) {
        return ByteBuffer.allocate(8).putLong(start ^ Long.MIN_VALUE).array();
    }

    static long start(byte[] group) {
        return ByteBuffer.wrap(group).getLong() ^ Long.MIN_VALUE;
    }

    /** Return the keys of a group: name → its value as JSON. */
    private Map<String, String> keysOf(byte[] group) {
        String[] values = new String(group, 8, group.length - 8, StandardCharsets.UTF_8).split("\0", -1);
        Map<String, String> found = new LinkedHashMap<>();
        for (String name : keys.keySet()) found.put(name, values[found.size()]);
        return found;
    }

    /** Return the state of a group after one more row. */
    byte[] added(byte[] before, Object[] row) {
        Object[] state = state(before);
        for (int i = 0; i < aggregates.size(); i++) aggregates.get(i).add(state, 2 * i, row);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(64);
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            for (Object each : state) Values.put(out, each);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return bytes.toByteArray();
    }

    private Object[] state(byte[] stored) {
        Object[] state = new Object[2 * aggregates.size()];
        if (stored == null) return state;
        ByteBuffer in = ByteBuffer.wrap(stored);
        for (int i = 0; i < state.length; i++) state[i] = Values.read(in);
        return state;
    }

    /** Return the message key of a group's row: its keys and the start of its window, as JSON. */
    byte[] key(byte[] group) {
        StringBuilder out = new StringBuilder("{");
        keysOf(group).forEach((name, value) -> Json.quote(out, name).append(':').append(value).append(','));
        Values.write(out.append("\"window_start\":"), Values.instant(start(group)));
        return out.append('}').toString().getBytes(StandardCharsets.UTF_8);
    }

    /** Return a group's row as JSON, as rta's tables read it. */
    byte[] value(byte[] group, byte[] stored) {
        Map<String, String> found = keysOf(group);
        Object[] state = state(stored);
        for (int i = 0; i < aggregates.size(); i++)
            found.put(aggregates.get(i).name, Values.write(new StringBuilder(), aggregates.get(i).result(state, 2 * i)).toString());
        long start = start(group);
        StringBuilder window = Values.write(new StringBuilder("{\"start\":"), Values.instant(start));
        found.put(WINDOW, Values.write(window.append(",\"end\":"), Values.instant(start + size)).append('}').toString());
        StringBuilder out = new StringBuilder();
        columns.forEach((name, taken) -> Json.quote(out.append(out.isEmpty() ? '{' : ','), name).append(':').append(found.get(taken)));
        return out.append('}').toString().getBytes(StandardCharsets.UTF_8);
    }
}

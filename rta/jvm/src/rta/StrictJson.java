package rta;

import java.io.Serializable;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Reads one event of an event type: the values of its columns, or the reason why it is bad and where. Each engine reads its events here.
 *
 * A struct is an Object[], an array a List, a map a Map; see Values for the rest. What is good and what is bad in words: rta.dataframes.parse.
 */
public final class StrictJson implements EventReader {
    /** One column, or one field of a struct: its name, what the event calls it, what it holds, and whether it may be null. */
    record Column(String name, String field, Kind kind, boolean nullable) implements Serializable { }

    /**
     * What a field holds: a type of SQL. Of a struct its fields; of an array and a map one that stands for what is inside; of a timestamp how
     * it is written, and what reads it if that is a pattern.
     */
    record Kind(String type, int precision, int scale, List<Column> fields, String times, String zone, Clock clock) implements Serializable { }

    /** Reads a moment that is written in a pattern. */
    interface Clock extends Serializable {
        /** Return the microseconds since the epoch; null if the text is no moment. */
        Long micros(String text);
    }

    /** An event: its values by column if `reason` is null. */
    public record Event(Object[] values, String reason) { }

    /** What is bad, and where, seen from the value that was asked for. */
    record Bad(Fault fault, String place) {
        Bad in(String outer) {
            return new Bad(fault, outer + place);
        }
    }

    private static final long serialVersionUID = 1L;
    static final char REPLACED = '\ufffd';  // what stands in a text for bytes that are no UTF-8
    private static final Pattern EMPTY = Pattern.compile("\\A\\s*\\z"), OBJECT = Pattern.compile("\\A\\s*\\{");
    private static final Pattern NAN = Pattern.compile("[:\\[,]\\s*[+-]?(?:NaN|Infinity|INF)\\s*[,\\]}]");
    private static final Pattern HALF_PAIR = Pattern.compile("\\\\u[dD][89a-fA-F]");
    private static final Pattern PLAIN_KEY = Pattern.compile("[\\w.-]{1,40}");
    private static final Pattern DECIMAL_TEXT = Pattern.compile("-?[0-9]+(?:\\.[0-9]+)?");
    private static final Map<String, Integer> EPOCHS = Map.of("epoch_s", 6, "epoch_ms", 3, "epoch_us", 0);
    private static final long FIRST = -62_135_596_800_000_000L, LAST = 253_402_300_799_999_999L;  // the years 1 to 9999

    final List<Column> columns = new ArrayList<>();  // those of the event, then those that are taken out of structs
    private final int own;  // how many are the event's
    private final List<int[]> paths = new ArrayList<>();  // of each that is taken: the places to go down
    private final int time;  // the column of the event time; -1: the record's own
    private final long skew;  // microseconds that an event may be ahead of its record
    private final boolean nan;  // whether "NaN" and the infinities, in quotes, are numbers
    private final Pattern huge;

    /** Read the event type as rta.events.strict_json writes it, for an engine that reads no patterns of time. */
    public StrictJson(Map<String, Object> event) {
        this(event, (pattern, zone) -> {
            throw new IllegalArgumentException("a pattern of time: " + pattern);
        });
    }

    /** Read the event type; `clocks` gives what reads a moment of a pattern, "" or a zone. */
    @SuppressWarnings("unchecked")
    StrictJson(Map<String, Object> event, BiFunction<String, String, Clock> clocks) {
        for (Object each : (List<Object>) event.get("columns")) columns.add(column((Map<String, Object>) each, clocks));
        own = columns.size();
        for (Object each : (List<Object>) event.getOrDefault("taken", List.of())) take((Map<String, Object>) each);
        time = index((String) event.get("event_time"));
        skew = Long.parseLong(((Json.Num) event.get("max_skew_ms")).text()) * 1_000;
        nan = Boolean.TRUE.equals(event.get("nan"));
        List<String> found = new ArrayList<>();
        for (Column each : columns.subList(0, own)) decimals(each.field(), each.kind(), found);
        String decimals = found.stream().distinct().map(Pattern::quote).collect(Collectors.joining("|"));
        String quoted = decimals.isEmpty() ? "" : "|\"(?:" + decimals + ")\"\\s*:\\s*(?:\\[\\s*+)*+\"";
        huge = Pattern.compile("(?:[:\\[,]\\s*" + quoted + ")-?[0-9][0-9.]*[eE][+-]?[0-9]{5,}");
    }

    /** Read the event type from a text. */
    @SuppressWarnings("unchecked")
    public static StrictJson of(String event) {
        return new StrictJson((Map<String, Object>) Json.parse(event));
    }

    @SuppressWarnings("unchecked")
    private static Column column(Map<String, Object> told, BiFunction<String, String, Clock> clocks) {
        List<Column> fields = new ArrayList<>();
        for (Object each : (List<Object>) told.getOrDefault("fields", List.of())) fields.add(column((Map<String, Object>) each, clocks));
        String type = (String) told.get("type"), pattern = (String) told.get("pattern"), zone = (String) told.get("zone");
        int[] size = Expression.size(type);
        Kind kind = new Kind(Expression.base(type), size[0], size[1], fields, (String) told.get("times"), zone,
            pattern == null ? null : clocks.apply(pattern, zone));
        return new Column((String) told.get("name"), (String) told.get("field"), kind, (Boolean) told.get("nullable"));
    }

    @SuppressWarnings("unchecked")
    private void take(Map<String, Object> taken) {
        List<Object> path = (List<Object>) taken.get("path");
        int[] places = new int[path.size()];
        List<Column> among = columns;
        Kind kind = null;
        for (int i = 0; i < places.length; i++) {
            while (!among.get(places[i]).name().equals(path.get(i))) places[i]++;
            kind = among.get(places[i]).kind();
            among = kind.fields();
        }
        paths.add(places);
        columns.add(new Column((String) taken.get("name"), (String) taken.get("name"), kind, true));
    }

    private static void decimals(String name, Kind kind, List<String> found) {
        if (kind.type().equals("decimal") || kind.type().equals("timestamp") && counts(kind)) found.add(name);
        for (Column each : kind.fields()) decimals(kind.type().equals("struct") ? each.field() : name, each.kind(), found);
    }

    @Override
    public List<Column> columns() {
        return columns;
    }

    /** Return the place of the event time; -1 if it is the record's own. */
    int time() {
        return time;
    }

    /** Return the place of a column; -1 if there is none. */
    int index(String column) {
        for (int i = 0; i < columns.size(); i++) if (columns.get(i).name().equals(column)) return i;
        return -1;
    }

    /** Read a record: as read(value), and "ahead" if it claims to be from after it was sent. */
    public Event read(byte[] value, long timestamp) {
        Event event = read(value);
        if (event.reason() != null || time < 0) return event;
        boolean ahead = Values.micros((Instant) event.values()[time]) > timestamp * 1_000 + skew;
        return ahead ? new Event(event.values(), "ahead") : event;
    }

    @Override
    public Event read(byte[] value) {
        if (value == null) return new Event(null, "null value");
        String text = new String(value, StandardCharsets.UTF_8);
        if (text.indexOf(REPLACED) >= 0 && !valid(value)) return new Event(null, huge.matcher(text).find() ? "out of range" : "invalid UTF-8");
        Json json = new Json(text);
        Object found;
        try {
            found = json.first();
            if (!json.ended()) found = null;
        } catch (Json.Broken e) {
            found = null;
        }
        if (found instanceof Map<?, ?> fields && !json.duplicate && !json.halfPair && !json.huge) {
            Object[] values = new Object[columns.size()];
            String fault = values(fields, values);
            if (fault == null) return new Event(values, null);
            return new Event(null, huge.matcher(text).find() ? "out of range" : fault);
        }
        return new Event(null, syntax(text, found));
    }

    static boolean valid(byte[] value) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value));
            return true;
        } catch (CharacterCodingException e) {
            return false;
        }
    }

    /** Say why a text is not one JSON object: Spark's order of the reasons. */
    private String syntax(String text, Object whole) {
        if (huge.matcher(text).find()) return "out of range";
        if (EMPTY.matcher(text).find()) return "empty value";
        if (text.startsWith("\ufeff")) return "byte order mark";
        Json json = new Json(text);
        boolean valid = true;
        try {
            json.first();
        } catch (Json.Broken e) {
            valid = false;
        }
        if (valid && !json.duplicate && !json.halfPair) {
            if (!json.ended()) return "trailing garbage";
            return OBJECT.matcher(text).find() ? "out of range" : "not an object";
        }
        if (valid && json.duplicateAtTop) return "duplicate key";
        if (NAN.matcher(text).find()) return "NaN or Infinity";
        if (HALF_PAIR.matcher(text).find()) return "broken JSON";
        return valid && json.duplicate ? "duplicate key" : "broken JSON";
    }

    /** Read the columns; return the first fault, null if there is none. */
    private String values(Map<?, ?> fields, Object[] values) {
        for (int i = 0; i < own; i++) {
            Object read = given(columns.get(i), fields.get(columns.get(i).field()));
            if (read instanceof Bad bad) return bad.fault().said + ": " + columns.get(i).field() + bad.place();
            values[i] = read;
        }
        for (int i = own; i < values.length; i++) {
            int[] path = paths.get(i - own);
            Object inside = values[path[0]];
            for (int step = 1; step < path.length && inside != null; step++) inside = ((Object[]) inside)[path[step]];
            values[i] = inside;
        }
        return null;
    }

    enum Fault {
        MISSING("missing"), WRONG_TYPE("wrong type"), OUT_OF_RANGE("out of range"), INEXACT("inexact"), NUL("NUL"), NO_ZONE("no zone"),
        NOT_FINITE("NaN or Infinity"), NO_TEXT("invalid UTF-8"), TWICE("duplicate key");

        final String said;
        final Bad here = new Bad(this, "");

        Fault(String said) {
            this.said = said;
        }
    }

    /** Return the value of a column or a field, null, or what is bad in it. */
    Object given(Column column, Object given) {
        if (given == null) return column.nullable() ? null : Fault.MISSING.here;
        Object read = value(column.kind(), given);
        return read instanceof Fault fault ? fault.here : read;
    }

    /** Return a value that is there, a Fault, or a Bad inside it. */
    private Object value(Kind kind, Object given) {
        switch (kind.type()) {
            case "string": return given instanceof String s ? s.indexOf('\0') < 0 ? s : Fault.NUL : Fault.WRONG_TYPE;
            case "boolean": return given instanceof Boolean ? given : Fault.WRONG_TYPE;
            case "tinyint": return integer(given, Byte.MIN_VALUE, Byte.MAX_VALUE);
            case "smallint": return integer(given, Short.MIN_VALUE, Short.MAX_VALUE);
            case "int": return integer(given, Integer.MIN_VALUE, Integer.MAX_VALUE);
            case "bigint": return integer(given, Long.MIN_VALUE, Long.MAX_VALUE);
            case "float": return real(given, true);
            case "double": return real(given, false);
            case "decimal": return decimal(given, kind.precision(), kind.scale());
            case "date": return date(given);
            case "timestamp": case "timestamp_ntz": return moment(kind, given);
            case "binary": return binary(given);
            case "struct": return struct(kind.fields(), given);
            case "array": return array(kind.fields().get(0), given);
            case "map": return map(kind.fields().get(0), given);
            default: throw new IllegalArgumentException("no such type: " + kind.type());
        }
    }

    private Object struct(List<Column> fields, Object given) {
        if (!(given instanceof Map<?, ?> members)) return Fault.WRONG_TYPE;
        Object[] values = new Object[fields.size()];
        for (int i = 0; i < values.length; i++) {
            Object read = given(fields.get(i), members.get(fields.get(i).field()));
            if (read instanceof Bad bad) return bad.in("." + fields.get(i).field());
            values[i] = read;
        }
        return values;
    }

    private Object array(Column element, Object given) {
        if (!(given instanceof List<?> elements)) return Fault.WRONG_TYPE;
        List<Object> values = new ArrayList<>(elements.size());
        for (Object each : elements) {
            Object read = given(element, each);
            if (read instanceof Bad bad) return bad.in("[" + values.size() + "]");
            values.add(read);
        }
        return values;
    }

    private Object map(Column inside, Object given) {
        if (!(given instanceof Map<?, ?> members)) return Fault.WRONG_TYPE;
        Map<String, Object> values = new LinkedHashMap<>();
        for (Map.Entry<?, ?> each : members.entrySet()) {
            String key = (String) each.getKey();
            if (key.indexOf('\0') >= 0) return Fault.NUL;
            Object read = given(inside, each.getValue());
            if (read instanceof Bad bad) return bad.in("[" + shown(key) + "]");
            values.put(key, read);
        }
        return values;
    }

    /** Return the key of a map as a reason may show it. */
    static String shown(String key) {
        return PLAIN_KEY.matcher(key).matches() ? key : "?";
    }

    private static Object binary(Object given) {
        if (!(given instanceof String s)) return Fault.WRONG_TYPE;
        try {
            byte[] read = Base64.getDecoder().decode(s);
            return Base64.getEncoder().encodeToString(read).equals(s) ? read : Fault.WRONG_TYPE;
        } catch (IllegalArgumentException e) {
            return Fault.WRONG_TYPE;
        }
    }

    /** Whether the times of a kind are numbers. */
    static boolean counts(Kind kind) {
        return EPOCHS.containsKey(kind.times());
    }

    static Object moment(Kind kind, Object given) {
        if (kind.type().equals("timestamp_ntz")) return instant(given, "");
        if (counts(kind)) return epoch(given, EPOCHS.get(kind.times()));
        if (kind.clock() == null) return instant(given, kind.zone());
        Long micros = given instanceof String s ? kind.clock().micros(s) : null;
        return micros == null ? Fault.WRONG_TYPE : Values.instant(micros);
    }

    /** Return the instant at which a clock in a zone shows this; null if it skips it in spring. Of two in autumn it is the first. */
    static Instant at(LocalDateTime clock, String zone) {
        List<ZoneOffset> offsets = ZoneId.of(zone).getRules().getValidOffsets(clock);
        return offsets.isEmpty() ? null : clock.toInstant(offsets.get(0));
    }

    private static Object integer(Object given, long least, long most) {
        if (!(given instanceof Json.Num number)) return Fault.WRONG_TYPE;
        if (number.whole()) {
            try {
                long n = Long.parseLong(number.text());
                return n < least || n > most ? Fault.OUT_OF_RANGE : (Object) n;
            } catch (NumberFormatException e) {
                return Fault.OUT_OF_RANGE;
            }
        }
        return Math.abs(Double.parseDouble(number.text())) >= 0x1p63 ? Fault.OUT_OF_RANGE : Fault.WRONG_TYPE;
    }

    private Object real(Object given, boolean single) {
        if (nan && given instanceof String s && (s.equals("NaN") || s.equals("Infinity") || s.equals("-Infinity"))) return Double.parseDouble(s);
        if (!(given instanceof Json.Num number)) return Fault.WRONG_TYPE;
        double read = single ? Float.parseFloat(number.text()) : Double.parseDouble(number.text());
        return Double.isInfinite(read) ? Fault.OUT_OF_RANGE : (Object) read;
    }

    private static Object decimal(Object given, int precision, int scale) {
        String written;
        if (given instanceof Json.Num number) written = number.text();
        else if (given instanceof String s && DECIMAL_TEXT.matcher(s).matches()) written = s;
        else return Fault.WRONG_TYPE;
        BigDecimal exact = new BigDecimal(written);
        if (exact.signum() != 0 && exact.precision() - exact.scale() > precision - scale) return Fault.OUT_OF_RANGE;
        if (exact.signum() == 0) return BigDecimal.ZERO.setScale(scale);
        if (exact.scale() > scale && exact.stripTrailingZeros().scale() > scale) return Fault.INEXACT;
        BigDecimal scaled = exact.setScale(scale);
        return scaled.precision() > precision ? Fault.OUT_OF_RANGE : scaled;
    }

    private static Object epoch(Object given, int scale) {
        Object read = decimal(given, 18, scale);
        return read instanceof BigDecimal number ? instant(number.movePointRight(scale).longValueExact(), 1) : read;
    }

    /** Return the instant of a number that counts the units of a kind's times. */
    static Object since(Kind kind, long number) {
        return instant(number, (long) Math.pow(10, EPOCHS.get(kind.times())));
    }

    /** Return the instant so many units of some microseconds after the epoch, in the years 1 to 9999. */
    static Object instant(long number, long micros) {
        if (number < FIRST / micros || number > LAST / micros) return Fault.OUT_OF_RANGE;
        return Values.instant(number * micros);
    }

    private static Object date(Object given) {
        if (!(given instanceof String s) || s.length() != 10 || !day(s) || s.startsWith("0000")) return Fault.WRONG_TYPE;
        try {
            return LocalDate.of(number(s, 0, 4), number(s, 5, 7), number(s, 8, 10));
        } catch (DateTimeException e) {
            return Fault.OUT_OF_RANGE;
        }
    }

    /**
     * Read an instant in ISO form, at most six digits of a second.
     *
     * @param local null: its zone is in the text; "": it has none, and UTC's clock is meant; else the zone where the text has none
     */
    private static Object instant(Object given, String local) {
        if (!(given instanceof String s) || s.length() < 19 || !day(s) || !clock(s)) return Fault.WRONG_TYPE;
        int end = 19;
        if (end < s.length() && s.charAt(end) == '.') {
            end = digits(s, 20);
            if (end == 20) return Fault.WRONG_TYPE;
        }
        int fraction = Math.max(end - 20, 0), left = s.length() - end;
        boolean utc = left == 1 && s.charAt(end) == 'Z';
        boolean colon = left == 6 && s.charAt(end + 3) == ':';
        boolean offset = (left == 5 || colon) && (s.charAt(end) == '+' || s.charAt(end) == '-')
            && digits(s, end + 1) >= end + 3 && digits(s, s.length() - 2) == s.length();
        if (left > 0 && !utc && !offset) return Fault.WRONG_TYPE;
        if (left == 0 && local == null) return Fault.NO_ZONE;
        if (left > 0 && "".equals(local)) return Fault.WRONG_TYPE;
        if (s.startsWith("0000")) return Fault.OUT_OF_RANGE;
        if (fraction > 6) return Fault.INEXACT;
        int hour = number(s, 11, 13), minute = number(s, 14, 16), second = number(s, 17, 19), zone = 0;
        if (offset) {
            int hours = number(s, end + 1, end + 3), minutes = number(s, s.length() - 2, s.length());
            zone = hours * 60 + minutes;
            if (minutes > 59 || zone > 18 * 60) return Fault.OUT_OF_RANGE;
            if (s.charAt(end) == '-') zone = -zone;
        }
        if (hour > 23 || minute > 59 || second > 59) return Fault.OUT_OF_RANGE;
        try {
            LocalDate day = LocalDate.of(number(s, 0, 4), number(s, 5, 7), number(s, 8, 10));
            int nanos = fraction == 0 ? 0 : number((s.substring(20, end) + "00000").substring(0, 6), 0, 6) * 1_000;
            if (left == 0 && !local.isEmpty()) {
                Instant at = at(day.atTime(hour, minute, second, nanos), local);
                return at == null ? Fault.OUT_OF_RANGE : at;
            }
            long days = day.toEpochDay();
            return Instant.ofEpochSecond(days * 86_400 + hour * 3_600 + minute * 60 + second - zone * 60L, nanos);
        } catch (DateTimeException e) {
            return Fault.OUT_OF_RANGE;
        }
    }

    private static boolean day(String s) {
        return digits(s, 0) == 4 && s.charAt(4) == '-' && digits(s, 5) == 7 && s.charAt(7) == '-' && digits(s, 8) == 10;
    }

    private static boolean clock(String s) {
        return (s.charAt(10) == 'T' || s.charAt(10) == ' ') && digits(s, 11) == 13 && s.charAt(13) == ':' && digits(s, 14) == 16
            && s.charAt(16) == ':' && digits(s, 17) == 19;
    }

    /** Return where the digits that begin at a place end. */
    private static int digits(String s, int from) {
        int at = from;
        while (at < s.length() && s.charAt(at) >= '0' && s.charAt(at) <= '9') at++;
        return at;
    }

    private static int number(String s, int from, int to) {
        int n = 0;
        for (int i = from; i < to; i++) n = n * 10 + s.charAt(i) - '0';
        return n;
    }
}

package rta;

import java.io.Serializable;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * Reads one event of an event type as rta.dataframes.parse does: the values of its columns, or the reason why it is bad, in the same words.
 *
 * Spark's rules stand in rta/events/field_rules.py and rta/events/formats/validation.py; a test holds the two together.
 */
public final class StrictJson implements Serializable {
    /** One column: its name, its field in the event, its type, whether it may be null, and how its times are written. */
    record Column(String name, String field, String type, int precision, int scale, boolean nullable, String times) implements Serializable { }

    /** An event: its values by column if `reason` is null. */
    public record Event(Object[] values, String reason) { }

    private static final long serialVersionUID = 1L;
    private static final char REPLACED = '\ufffd';  // what stands in a text for bytes that are no UTF-8
    private static final Pattern EMPTY = Pattern.compile("\\A\\s*\\z"), OBJECT = Pattern.compile("\\A\\s*\\{");
    private static final Pattern NAN = Pattern.compile("[:\\[,]\\s*[+-]?(?:NaN|Infinity|INF)\\s*[,\\]}]");
    private static final Pattern HALF_PAIR = Pattern.compile("\\\\u[dD][89a-fA-F]");
    private static final Pattern LONG_NUMBER = Pattern.compile("(?<![0-9.])(?:[0-9.]{39}|[0-9.]{17,38}[eE])");
    private static final Pattern DECIMAL_TEXT = Pattern.compile("-?[0-9]+(?:\\.[0-9]+)?");
    private static final int DOUBLE_DIGITS = 15;  // so many decimal digits a double tells apart
    private static final Map<String, Integer> EPOCHS = Map.of("epoch_s", 6, "epoch_ms", 3, "epoch_us", 0);
    private static final long FIRST = -62_135_596_800_000_000L, LAST = 253_402_300_799_999_999L;  // the years 1 to 9999

    final List<Column> columns = new ArrayList<>();
    private final int time;  // the column of the event time; -1: the record's own
    private final long skew;  // microseconds that an event may be ahead of its record
    private final Pattern huge;

    /** Read the event type as rta.engines.jvm writes it. */
    @SuppressWarnings("unchecked")
    public StrictJson(Map<String, Object> event) {
        for (Object each : (List<Object>) event.get("columns")) {
            Map<String, Object> given = (Map<String, Object>) each;
            String type = (String) given.get("type");
            int[] size = Expression.size(type);
            columns.add(new Column((String) given.get("name"), (String) given.get("field"), Expression.base(type), size[0], size[1],
                (Boolean) given.get("nullable"), (String) given.get("times")));
        }
        time = index((String) event.get("event_time"));
        skew = Long.parseLong(((Json.Num) event.get("max_skew_ms")).text()) * 1_000;
        String decimals = columns.stream().filter(c -> decimal(c) || EPOCHS.containsKey(c.times()))
            .map(c -> Pattern.quote(c.field())).collect(Collectors.joining("|"));
        String quoted = decimals.isEmpty() ? "" : "|\"(?:" + decimals + ")\"\\s*:\\s*(?:\\[\\s*+)*+\"";
        huge = Pattern.compile("(?:[:\\[,]\\s*" + quoted + ")-?[0-9][0-9.]*[eE][+-]?[0-9]{5,}");
    }

    /** Read the event type from a text. */
    @SuppressWarnings("unchecked")
    public static StrictJson of(String event) {
        return new StrictJson((Map<String, Object>) Json.parse(event));
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

    /** Read the value of a record. */
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
            String fault = values(fields, text, values);
            if (fault == null) return new Event(values, null);
            return new Event(null, huge.matcher(text).find() ? "out of range" : fault);
        }
        return new Event(null, syntax(text, found));
    }

    private static boolean valid(byte[] value) {
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
    private String values(Map<?, ?> fields, String text, Object[] values) {
        for (int i = 0; i < values.length; i++) {
            Column column = columns.get(i);
            Object given = fields.get(column.field());
            if (given == null) {
                if (!column.nullable()) return "missing: " + column.field();
                continue;
            }
            Object read = value(column, given, text);
            if (read instanceof Fault fault) return fault.said + ": " + column.field();
            values[i] = read;
        }
        return null;
    }

    private enum Fault {
        WRONG_TYPE("wrong type"), OUT_OF_RANGE("out of range"), INEXACT("inexact"), NUL("NUL"), NO_ZONE("no zone");

        final String said;

        Fault(String said) {
            this.said = said;
        }
    }

    /** Return the value, or its fault. */
    private static Object value(Column column, Object given, String text) {
        switch (column.type()) {
            case "string": return given instanceof String s ? s.indexOf('\0') < 0 ? s : Fault.NUL : Fault.WRONG_TYPE;
            case "boolean": return given instanceof Boolean ? given : Fault.WRONG_TYPE;
            case "tinyint": return integer(given, Byte.MIN_VALUE, Byte.MAX_VALUE);
            case "smallint": return integer(given, Short.MIN_VALUE, Short.MAX_VALUE);
            case "int": return integer(given, Integer.MIN_VALUE, Integer.MAX_VALUE);
            case "bigint": return integer(given, Long.MIN_VALUE, Long.MAX_VALUE);
            case "float": return real(given, true);
            case "double": return real(given, false);
            case "decimal": return decimal(given, column.precision(), column.scale(), text);
            case "date": return date(given);
            case "timestamp": return EPOCHS.containsKey(column.times()) ? epoch(given, EPOCHS.get(column.times()), text) : instant(given);
            default: throw new IllegalArgumentException("no such type: " + column.type());
        }
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

    private static Object real(Object given, boolean single) {
        if (!(given instanceof Json.Num number)) return Fault.WRONG_TYPE;
        double read = single ? Float.parseFloat(number.text()) : Double.parseDouble(number.text());
        return Double.isInfinite(read) ? Fault.OUT_OF_RANGE : (Object) read;
    }

    private static Object decimal(Object given, int precision, int scale, String text) {
        String written;
        if (given instanceof Json.Num number) written = number.text();
        else if (given instanceof String s && DECIMAL_TEXT.matcher(s).matches()) written = s;
        else return Fault.WRONG_TYPE;
        BigDecimal exact = new BigDecimal(written);
        if (exact.precision() > DOUBLE_DIGITS || given instanceof Json.Num number && number.exponent()) {
            if (Math.abs(Double.parseDouble(written)) >= Double.parseDouble("1e" + (precision - scale))) return Fault.OUT_OF_RANGE;
        } else if (exact.signum() != 0 && exact.precision() - exact.scale() > precision - scale) return Fault.OUT_OF_RANGE;  // the same, sooner
        if (given instanceof Json.Num number && approximate(number, exact) && LONG_NUMBER.matcher(text).find()) return Fault.INEXACT;
        if (exact.signum() == 0) return BigDecimal.ZERO.setScale(scale);
        if (exact.scale() > scale && exact.stripTrailingZeros().scale() > scale) return Fault.INEXACT;
        BigDecimal scaled = exact.setScale(scale);
        return scaled.precision() > precision ? Fault.OUT_OF_RANGE : scaled;
    }

    /** Whether Spark's variant has a number as a DOUBLE. */
    private static boolean approximate(Json.Num number, BigDecimal exact) {
        return number.exponent() || exact.precision() > 38 || exact.scale() > 38;
    }

    private static boolean decimal(Column column) {
        return column.type().equals("decimal");
    }

    private static Object epoch(Object given, int scale, String text) {
        Object read = decimal(given, 18, scale, text);
        if (!(read instanceof BigDecimal number)) return read;
        long micros = number.movePointRight(scale).longValueExact();
        return micros < FIRST || micros > LAST ? Fault.OUT_OF_RANGE : Values.instant(micros);
    }

    private static Object date(Object given) {
        if (!(given instanceof String s) || s.length() != 10 || !day(s) || s.startsWith("0000")) return Fault.WRONG_TYPE;
        try {
            return LocalDate.of(number(s, 0, 4), number(s, 5, 7), number(s, 8, 10));
        } catch (DateTimeException e) {
            return Fault.OUT_OF_RANGE;
        }
    }

    /** Read an instant with its zone, at most six digits of a second. */
    private static Object instant(Object given) {
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
        if (left == 0) return Fault.NO_ZONE;
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
            long days = LocalDate.of(number(s, 0, 4), number(s, 5, 7), number(s, 8, 10)).toEpochDay();
            int nanos = fraction == 0 ? 0 : number((s.substring(20, end) + "00000").substring(0, 6), 0, 6) * 1_000;
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

package rta;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** The values of columns: Boolean, Long, Double, BigDecimal, String, Instant, LocalDate; null is SQL's NULL. */
final class Values {
    private static final DateTimeFormatter ISO = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

    private Values() { }

    static long micros(Instant instant) {
        return Math.addExact(Math.multiplyExact(instant.getEpochSecond(), 1_000_000L), instant.getNano() / 1_000);
    }

    static Instant instant(long micros) {
        return Instant.ofEpochSecond(Math.floorDiv(micros, 1_000_000L), Math.floorMod(micros, 1_000_000L) * 1_000);
    }

    /** Write a value as rta's tables read it: decimals as plain numbers at their scale, instants in UTC to the microsecond. */
    static StringBuilder write(StringBuilder out, Object value) {
        if (value instanceof BigDecimal number) return out.append(number.toPlainString());
        if (value instanceof String text) return Json.quote(out, text);
        if (value instanceof Instant instant) return out.append('"').append(ISO.format(instant)).append('"');
        if (value instanceof LocalDate date) return out.append('"').append(date).append('"');
        return out.append(value);
    }

    /** Compare two values of one type as SQL does: texts by their bytes, numbers by their size. */
    static int compare(Object one, Object other) {
        if (one instanceof String a) {
            byte[] left = a.getBytes(StandardCharsets.UTF_8), right = ((String) other).getBytes(StandardCharsets.UTF_8);
            return java.util.Arrays.compareUnsigned(left, right);
        }
        if (one instanceof Long a && other instanceof Long b) return a.compareTo(b);
        if (one instanceof Double a && other instanceof Double b) return Double.compare(a + 0.0, b + 0.0);  // -0.0 is 0.0
        if (one instanceof Boolean a) return a.compareTo((Boolean) other);
        if (one instanceof Instant a) return a.compareTo((Instant) other);
        if (one instanceof LocalDate a) return a.compareTo((LocalDate) other);
        return decimal(one).compareTo(decimal(other));
    }

    /** An exact number as a decimal. */
    static BigDecimal decimal(Object value) {
        if (value instanceof BigDecimal number) return number;
        return BigDecimal.valueOf((Long) value);
    }

    /** Append a value to a state; `read` takes it out again. */
    static void put(java.io.DataOutputStream out, Object value) throws java.io.IOException {
        if (value == null) out.writeByte(0);
        else if (value instanceof Long n) { out.writeByte(1); out.writeLong(n); }
        else if (value instanceof BigDecimal n) {
            out.writeByte(2);
            out.writeInt(n.scale());
            bytes(out, n.unscaledValue().toByteArray());
        } else if (value instanceof String text) { out.writeByte(3); bytes(out, text.getBytes(StandardCharsets.UTF_8)); }
        else if (value instanceof Boolean b) { out.writeByte(4); out.writeBoolean(b); }
        else if (value instanceof Double d) { out.writeByte(5); out.writeDouble(d); }
        else if (value instanceof Instant i) { out.writeByte(6); out.writeLong(micros(i)); }
        else if (value instanceof LocalDate d) { out.writeByte(7); out.writeLong(d.toEpochDay()); }
        else throw new IllegalStateException("no such value: " + value.getClass());
    }

    private static void bytes(java.io.DataOutputStream out, byte[] given) throws java.io.IOException {
        out.writeInt(given.length);
        out.write(given);
    }

    static Object read(ByteBuffer in) {
        return switch (in.get()) {
            case 0 -> null;
            case 1 -> in.getLong();
            case 2 -> {
                int scale = in.getInt();
                yield new BigDecimal(new BigInteger(bytes(in)), scale);
            }
            case 3 -> new String(bytes(in), StandardCharsets.UTF_8);
            case 4 -> in.get() != 0;
            case 5 -> in.getDouble();
            case 6 -> instant(in.getLong());
            case 7 -> LocalDate.ofEpochDay(in.getLong());
            default -> throw new IllegalStateException("a damaged state");
        };
    }

    private static byte[] bytes(ByteBuffer in) {
        byte[] found = new byte[in.getInt()];
        in.get(found);
        return found;
    }
}

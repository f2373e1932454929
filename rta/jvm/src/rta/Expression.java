package rta;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/** An expression of a description, compiled: SQL's logic of three values, decimals exact, an overflow is an error as in Spark's ANSI mode. */
interface Expression {
    Object of(Object[] row);

    /** What cannot run here, as one sentence. */
    final class Refused extends RuntimeException {
        Refused(String sentence) {
            super(sentence);
        }
    }

    Set<String> TYPES = Set.of("boolean", "tinyint", "smallint", "int", "bigint", "double", "decimal", "string", "timestamp", "date");

    /** Compile an expression; `places` has the place of each column in a row. */
    @SuppressWarnings("unchecked")
    static Expression compile(Map<String, Object> given, Map<String, Integer> places) {
        String type = (String) given.get("type");
        if (given.containsKey("col")) {
            Integer place = places.get((String) given.get("col"));
            if (place == null) throw new Refused("the column " + given.get("col") + " is none of the event");
            return row -> row[place];
        }
        if (!TYPES.contains(base(type))) throw new Refused("values of type " + type + " do not run on Kafka Streams");
        if (given.containsKey("lit")) {
            Object value = literal((String) given.get("lit"), type);
            return row -> value;
        }
        if (given.containsKey("cast")) {
            Map<String, Object> inner = (Map<String, Object>) given.get("cast");
            return cast(compile(inner, places), (String) inner.get("type"), type);
        }
        List<Expression> of = new ArrayList<>();
        for (Object each : (List<Object>) given.get("of")) of.add(compile((Map<String, Object>) each, places));
        return call((String) given.get("op"), of, type);
    }

    private static Expression call(String op, List<Expression> of, String type) {
        Expression a = of.get(0), b = of.size() > 1 ? of.get(1) : null;
        return switch (op) {
            case "and" -> row -> logic(of, row, false);
            case "or" -> row -> logic(of, row, true);
            case "not" -> row -> a.of(row) instanceof Boolean value ? !value : null;
            case "isnull" -> row -> a.of(row) == null;
            case "isnotnull" -> row -> a.of(row) != null;
            case "=", "<>", "<", "<=", ">", ">=" -> row -> {
                Object left = a.of(row), right = b.of(row);
                if (left == null || right == null) return null;
                int c = Values.compare(left, right);
                return switch (op) {
                    case "=" -> c == 0;
                    case "<>" -> c != 0;
                    case "<" -> c < 0;
                    case "<=" -> c <= 0;
                    case ">" -> c > 0;
                    default -> c >= 0;
                };
            };
            case "+", "-", "*" -> row -> {
                Object left = a.of(row), right = b.of(row);
                return left == null || right == null ? null : arithmetic(op, left, right, type);
            };
            case "coalesce" -> row -> {
                for (Expression each : of) {
                    Object value = each.of(row);
                    if (value != null) return value;
                }
                return null;
            };
            case "in" -> row -> {
                Object value = a.of(row);
                Object found = value == null ? null : Boolean.FALSE;
                for (int i = 1; value != null && i < of.size(); i++) {
                    Object each = of.get(i).of(row);
                    if (each == null) found = null;
                    else if (Values.compare(value, each) == 0) return true;
                }
                return found;
            };
            case "startswith", "endswith", "contains", "concat" -> row -> {
                Object text = a.of(row);
                for (int i = 1; text != null && i < of.size(); i++) {
                    Object other = of.get(i).of(row);
                    text = other == null ? null : texts(op, (String) text, (String) other);
                }
                return text;
            };
            case "length" -> row -> of(a.of(row), text -> (long) ((String) text).codePointCount(0, ((String) text).length()));
            case "trim" -> row -> of(a.of(row), text -> trimmed((String) text));
            case "case", "if" -> row -> {
                for (int i = 0; i + 1 < of.size(); i += 2) if (Boolean.TRUE.equals(of.get(i).of(row))) return of.get(i + 1).of(row);
                return of.size() % 2 == 1 ? of.get(of.size() - 1).of(row) : null;
            };
            default -> throw new Refused("the operator " + op + " does not run on Kafka Streams");
        };
    }

    private static Object texts(String op, String text, String other) {
        return switch (op) {
            case "startswith" -> text.startsWith(other);
            case "endswith" -> text.endsWith(other);
            case "contains" -> text.contains(other);
            default -> text + other;
        };
    }

    /** Take away spaces, and no other white space. */
    private static String trimmed(String text) {
        int from = 0, to = text.length();
        while (from < to && text.charAt(from) == ' ') from++;
        while (from < to && text.charAt(to - 1) == ' ') to--;
        return text.substring(from, to);
    }

    /** AND and OR: `decides` is the value that decides. */
    private static Object logic(List<Expression> of, Object[] row, boolean decides) {
        Object found = !decides;
        for (Expression each : of) {
            Object value = each.of(row);
            if (value == null) found = null;
            else if ((Boolean) value == decides) return decides;
        }
        return found;
    }

    private static Object arithmetic(String op, Object left, Object right, String type) {
        if (left instanceof Double a && right instanceof Double b) return op.equals("+") ? a + b : op.equals("-") ? a - b : (Object) (a * b);
        BigDecimal a = Values.decimal(left), b = Values.decimal(right);
        return fitted(op.equals("+") ? a.add(b) : op.equals("-") ? a.subtract(b) : a.multiply(b), type);
    }

    /** Return an exact number in its type; an error if it does not fit. */
    static Object fitted(BigDecimal value, String type) {
        if (base(type).equals("decimal")) {
            int[] size = size(type);
            BigDecimal scaled = value.setScale(size[1], RoundingMode.HALF_UP);
            if (scaled.precision() > size[0]) throw new ArithmeticException(value.toPlainString() + " does not fit into " + type);
            return scaled;
        }
        long least = switch (type) {
            case "tinyint" -> Byte.MIN_VALUE;
            case "smallint" -> Short.MIN_VALUE;
            case "int" -> Integer.MIN_VALUE;
            case "bigint" -> Long.MIN_VALUE;
            default -> throw new Refused("a number is no " + type + " on Kafka Streams");
        };
        BigDecimal whole = value.setScale(0, RoundingMode.DOWN);
        if (whole.compareTo(BigDecimal.valueOf(least)) < 0 || whole.compareTo(BigDecimal.valueOf(-(least + 1))) > 0)
            throw new ArithmeticException(value.toPlainString() + " does not fit into " + type);
        return whole.longValueExact();
    }

    private static Expression cast(Expression inner, String from, String to) {
        String a = base(from), b = base(to);
        boolean exact = integer(a) || a.equals("decimal");
        if (from.equals(to)) return inner;
        if (exact && (integer(b) || b.equals("decimal"))) return row -> of(inner.of(row), value -> fitted(Values.decimal(value), to));
        if (exact && b.equals("double")) return row -> of(inner.of(row), value -> Values.decimal(value).doubleValue());
        if ((integer(a) || a.equals("boolean")) && b.equals("string")) return row -> of(inner.of(row), Object::toString);
        throw new Refused("a cast from " + from + " to " + to + " does not run on Kafka Streams");
    }

    private static Object of(Object value, Function<Object, Object> change) {
        return value == null ? null : change.apply(value);
    }

    private static boolean integer(String base) {
        return Set.of("tinyint", "smallint", "int", "bigint").contains(base);
    }

    /** Return a literal, which Spark writes as text. */
    private static Object literal(String text, String type) {
        if (text == null) return null;
        return switch (base(type)) {
            case "string" -> text;
            case "boolean" -> Boolean.valueOf(text);
            case "tinyint", "smallint", "int", "bigint" -> Long.valueOf(text);
            case "double" -> Double.valueOf(text);
            case "decimal" -> fitted(new BigDecimal(text), type);
            case "date" -> LocalDate.parse(text);
            case "timestamp" -> Instant.parse(text.replace(' ', 'T') + (text.endsWith("Z") ? "" : "Z"));  // in the session's zone, UTC
            default -> throw new Refused("a literal of type " + type + " does not run on Kafka Streams");
        };
    }

    /** Return a type without its size: decimal(12,2) is a decimal. */
    static String base(String type) {
        int at = type.indexOf('(');
        return at < 0 ? type : type.substring(0, at);
    }

    /** Return precision and scale of a decimal; zeros for other types. */
    static int[] size(String type) {
        int at = type.indexOf('(');
        if (at < 0) return new int[] {0, 0};
        String[] parts = type.substring(at + 1, type.length() - 1).split(",");
        return new int[] {Integer.parseInt(parts[0].trim()), Integer.parseInt(parts[1].trim())};
    }
}

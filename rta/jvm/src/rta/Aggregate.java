package rta;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Map;
import java.util.Set;

/** One aggregate of a group: a state of two values, which passes over nulls as SQL does. */
final class Aggregate {
    final String name;
    private final String function, type;
    private final Expression of;  // null: COUNT(*)

    @SuppressWarnings("unchecked")
    Aggregate(Map<String, Object> given, Map<String, Integer> places) {
        name = (String) given.get("name");
        function = (String) given.get("fn");
        type = (String) given.get("type");
        if (!Set.of("sum", "count", "min", "max", "avg").contains(function))
            throw new Expression.Refused("the aggregate " + function + " does not run on Kafka Streams");
        Map<String, Object> argument = (Map<String, Object>) given.get("arg");
        of = argument == null ? null : Expression.compile(argument, places);
        boolean adds = function.equals("sum") || function.equals("avg");
        if (adds && Set.of("double", "float").contains(Expression.base((String) argument.get("type"))))
            throw new Expression.Refused("the " + function + " of " + argument.get("type") + " depends on the order of the events: cast it to a DECIMAL");
    }

    /** Add one row to the state, which begins as two nulls. */
    void add(Object[] state, int at, Object[] row) {
        Object value = of == null ? Boolean.TRUE : of.of(row);
        if (value == null) return;
        Object before = state[at];
        switch (function) {
            case "count": state[at] = before == null ? 1L : (Long) before + 1; break;
            case "min": if (before == null || Values.compare(value, before) < 0) state[at] = value; break;
            case "max": if (before == null || Values.compare(value, before) > 0) state[at] = value; break;
            default:
                BigDecimal number = Values.decimal(value);
                state[at] = before == null ? number : ((BigDecimal) before).add(number);
                state[at + 1] = state[at + 1] == null ? 1L : (Long) state[at + 1] + 1;
        }
    }

    /** Return the result of a state. */
    Object result(Object[] state, int at) {
        Object found = state[at];
        if (function.equals("count")) return found == null ? 0L : found;
        if (found == null || function.equals("min") || function.equals("max")) return found;
        BigDecimal sum = (BigDecimal) found;
        if (function.equals("sum")) return Expression.fitted(sum, type);
        long count = (Long) state[at + 1];
        if (type.equals("double")) return sum.doubleValue() / count;
        return Expression.fitted(sum.divide(BigDecimal.valueOf(count), Expression.size(type)[1], RoundingMode.HALF_UP), type);
    }
}

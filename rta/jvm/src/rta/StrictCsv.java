package rta;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.regex.Pattern;

/** Reads one event that is a line of CSV (RFC 4180): its fields in the order of the columns, each as strict as StrictJson reads it. */
final class StrictCsv implements EventReader {
    private static final long serialVersionUID = 1L;
    private static final int LONGEST = 1_000;  // characters of a number
    private static final Pattern NUMBER = Pattern.compile("-?[0-9]+(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?");
    private final StrictJson json;
    private final char separator, quote;
    private final String none;  // stands for null

    /** Read the event type as rta.events.formats.csv_lines writes it. */
    @SuppressWarnings("unchecked")
    StrictCsv(Map<String, Object> event, BiFunction<String, String, StrictJson.Clock> clocks) {
        json = new StrictJson(event, clocks);
        Map<String, Object> csv = (Map<String, Object>) event.get("csv");
        separator = ((String) csv.get("separator")).charAt(0);
        quote = ((String) csv.get("quote")).charAt(0);
        none = (String) csv.get("null");
    }

    @Override
    public List<StrictJson.Column> columns() {
        return json.columns;
    }

    @Override
    public StrictJson.Event read(byte[] value) {
        if (value == null) return bad("null value");
        String line = new String(value, StandardCharsets.UTF_8);
        if (line.endsWith("\n")) line = line.substring(0, line.length() - (line.endsWith("\r\n") ? 2 : 1));
        if (line.isEmpty()) return bad("empty value");
        if (line.indexOf(StrictJson.REPLACED) >= 0 && !StrictJson.valid(value)) return bad("invalid UTF-8");
        if (line.startsWith("\ufeff")) return bad("byte order mark");
        List<String> fields = fields(line);
        if (fields == null) return bad("broken CSV");
        if (fields.size() != json.columns.size()) return bad("wrong number of fields");
        if (header(fields)) return bad("header");
        Object[] values = new Object[fields.size()];
        for (int i = 0; i < values.length; i++) {
            StrictJson.Column column = json.columns.get(i);
            Object read = json.given(column, fields.get(i) == null ? null : typed(column.kind(), fields.get(i)));
            if (read instanceof StrictJson.Bad wrong) return bad(wrong.fault().said + ": " + column.field());
            values[i] = read;
        }
        return new StrictJson.Event(values, null);
    }

    private static StrictJson.Event bad(String reason) {
        return new StrictJson.Event(null, reason);
    }

    private boolean header(List<String> fields) {
        for (int i = 0; i < fields.size(); i++) if (!json.columns.get(i).field().equals(fields.get(i))) return false;
        return true;
    }

    /** Part a line; null if it is broken. A field that is empty and has no quotes is null. */
    private List<String> fields(String line) {
        List<String> found = new ArrayList<>();
        int at = 0;
        while (true) {
            int end;
            String text;
            if (at < line.length() && line.charAt(at) == quote) {
                StringBuilder inside = new StringBuilder();
                end = at + 1;
                while (true) {
                    int next = line.indexOf(quote, end);
                    if (next < 0) return null;
                    inside.append(line, end, next);
                    end = next + 1;
                    if (end == line.length() || line.charAt(end) != quote) break;
                    inside.append(quote);
                    end++;
                }
                text = inside.toString();
            } else {
                for (end = at; end < line.length() && line.charAt(end) != separator; end++) {
                    char c = line.charAt(end);
                    if (c == quote || c == '\r' || c == '\n') return null;
                }
                text = end == at ? null : line.substring(at, end);
            }
            found.add(text == null || !none.isEmpty() && text.equals(none) ? null : text);
            if (end == line.length()) return found;
            if (line.charAt(end) != separator) return null;
            at = end + 1;
        }
    }

    /** Return a text as JSON would have it: a number, a truth value, or itself. */
    private static Object typed(StrictJson.Kind kind, String text) {
        switch (kind.type()) {
            case "boolean": return text.equals("true") ? Boolean.TRUE : text.equals("false") ? (Object) Boolean.FALSE : text;
            case "string": case "binary": case "date": case "timestamp_ntz": return text;
            case "timestamp": if (!StrictJson.counts(kind)) return text;
        }
        return text.length() <= LONGEST && NUMBER.matcher(text).matches() ? new Json.Num(text) : text;
    }
}

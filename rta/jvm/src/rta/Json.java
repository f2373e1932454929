package rta;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One JSON text, read as it is written: numbers keep their digits, nothing is forgiven. An object is a Map, an array a List. */
final class Json {
    /** A number as it is written. */
    record Num(String text) {
        boolean whole() {
            return text.indexOf('.') < 0 && !exponent();
        }

        boolean exponent() {
            return text.indexOf('e') >= 0 || text.indexOf('E') >= 0;
        }
    }

    /** The text is no JSON. Thrown often and seen by nobody: it has no stack. */
    static final class Broken extends RuntimeException {
        Broken() {
            super("broken JSON", null, false, false);
        }
    }

    private static final int DEEPEST = 999;  // so deep reads Spark's parser inside the array that it puts around a text
    private static final int LONGEST = 1_000;  // characters of a number that Spark's parser reads
    private final char[] text;
    private int at;
    private int depth;
    boolean duplicateAtTop;  // a key of the outermost object stands twice
    boolean duplicate;
    boolean halfPair;  // half of a surrogate pair
    boolean huge;  // a number whose exponent has five digits

    Json(String text) {
        this.text = text.toCharArray();
    }

    /** Read a text of our own, such as a description. */
    static Object parse(String text) {
        Json json = new Json(text);
        Object value = json.first();
        if (!json.ended() || json.duplicate) throw new Broken();
        return value;
    }

    /** Read the first value of the text. */
    Object first() {
        skip();
        Object value = value();
        if (value instanceof Num && at < text.length && !space(text[at])) throw new Broken();
        return value;
    }

    /** Whether nothing but space is left. */
    boolean ended() {
        skip();
        return at == text.length;
    }

    private Object value() {
        if (at == text.length) throw new Broken();
        char c = text[at];
        switch (c) {
            case '{': return object();
            case '[': return array();
            case '"': return string();
            case 't': return word("true", Boolean.TRUE);
            case 'f': return word("false", Boolean.FALSE);
            case 'n': return word("null", null);
            default: return number();
        }
    }

    private Map<String, Object> object() {
        deeper();
        Map<String, Object> found = new LinkedHashMap<>();
        at++;
        skip();
        if (peek() == '}') return closed(found);
        while (true) {
            skip();
            if (peek() != '"') throw new Broken();
            String name = string();
            skip();
            expect(':');
            skip();
            Object value = value();
            if (found.containsKey(name)) {
                duplicate = true;
                duplicateAtTop |= depth == 1;
            }
            found.put(name, value);
            skip();
            if (peek() == '}') return closed(found);
            expect(',');
        }
    }

    private List<Object> array() {
        deeper();
        List<Object> found = new ArrayList<>();
        at++;
        skip();
        if (peek() == ']') return closed(found);
        while (true) {
            skip();
            found.add(value());
            skip();
            if (peek() == ']') return closed(found);
            expect(',');
        }
    }

    private String string() {
        int start = ++at;
        StringBuilder unescaped = null;
        while (true) {
            char c = peek();
            if (c < ' ') throw new Broken();
            if (c == '"') {
                String found = unescaped == null ? new String(text, start, at - start) : unescaped.toString();
                at++;
                if (unescaped != null) halfPair |= half(found);
                return found;
            }
            if (c == '\\') {
                if (unescaped == null) unescaped = new StringBuilder().append(text, start, at - start);
                at++;
                unescaped.append(escaped());
            } else {
                if (unescaped != null) unescaped.append(c);
                at++;
            }
        }
    }

    private char escaped() {
        char c = peek();
        at++;
        switch (c) {
            case '"': case '\\': case '/': return c;
            case 'b': return '\b';
            case 'f': return '\f';
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'u':
                int code = 0;
                for (int i = 0; i < 4; i++, at++) {
                    int digit = peek() < 128 ? Character.digit(peek(), 16) : -1;
                    if (digit < 0) throw new Broken();
                    code = code * 16 + digit;
                }
                return (char) code;
            default: throw new Broken();
        }
    }

    private static boolean half(String found) {
        for (int i = 0; i < found.length(); i++) {
            char c = found.charAt(i);
            if (Character.isHighSurrogate(c) && i + 1 < found.length() && Character.isLowSurrogate(found.charAt(i + 1))) i++;
            else if (Character.isSurrogate(c)) return true;
        }
        return false;
    }

    private Num number() {
        int start = at;
        if (is('-')) at++;
        if (is('0')) at++;
        else digits();
        if (is('.')) {
            at++;
            digits();
        }
        if (is('e') || is('E')) {
            at++;
            if (is('+') || is('-')) at++;
            int first = at;
            digits();
            huge |= at - first >= 5;
        }
        if (at - start > LONGEST) throw new Broken();
        return new Num(new String(text, start, at - start));
    }

    private void digits() {
        int start = at;
        while (at < text.length && text[at] >= '0' && text[at] <= '9') at++;
        if (at == start) throw new Broken();
    }

    private Object word(String word, Object value) {
        for (int i = 0; i < word.length(); i++, at++) if (!is(word.charAt(i))) throw new Broken();
        if (at < text.length && Character.isJavaIdentifierPart(text[at])) throw new Broken();
        return value;
    }

    private <T> T closed(T found) {
        at++;
        depth--;
        return found;
    }

    private void deeper() {
        if (++depth > DEEPEST) throw new Broken();
    }

    private char peek() {
        if (at >= text.length) throw new Broken();
        return text[at];
    }

    private boolean is(char wanted) {
        return at < text.length && text[at] == wanted;
    }

    private void expect(char wanted) {
        if (peek() != wanted) throw new Broken();
        at++;
    }

    private void skip() {
        while (at < text.length && space(text[at])) at++;
    }

    private static boolean space(char c) {
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
    }

    /** Write a text as JSON has it. */
    static StringBuilder quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"');
    }
}

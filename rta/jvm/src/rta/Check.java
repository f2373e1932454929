package rta;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Says why a query cannot run on Kafka Streams, in one line; nothing if it can. The query is on the standard input, as for the program. */
public final class Check {
    private Check() { }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> told = (Map<String, Object>) Json.parse(new String(System.in.readAllBytes(), StandardCharsets.UTF_8));
        try {
            new Groups((Map<String, Object>) told.get("query"), new StrictJson((Map<String, Object>) told.get("event")), (String) told.get("message_key"));
        } catch (Expression.Refused e) {
            System.out.write((e.getMessage() + "\n").getBytes(StandardCharsets.UTF_8));
            System.out.flush();
        }
    }
}

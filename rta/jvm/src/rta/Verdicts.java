package rta;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;

/** Judges events without Kafka: an event type in a file; lines of base64 in, "-" for no value; one JSON line out for each. */
public final class Verdicts {
    private Verdicts() { }

    public static void main(String[] arguments) throws Exception {
        StrictJson json = StrictJson.of(Files.readString(Path.of(arguments[0])));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, java.nio.charset.StandardCharsets.UTF_8));
        StringBuilder out = new StringBuilder();
        for (String line; (line = in.readLine()) != null; ) {
            StrictJson.Event event = json.read(line.equals("-") ? null : Base64.getDecoder().decode(line), Long.parseLong(arguments[1]));
            out.append("{\"reason\":");
            Values.write(out, event.reason()).append(",\"values\":");
            if (event.reason() != null) out.append("null");
            else {
                for (int i = 0; i < event.values().length; i++) {
                    Json.quote(out.append(i == 0 ? '{' : ','), json.columns.get(i).name()).append(':');
                    Values.write(out, event.values()[i]);
                }
                out.append('}');
            }
            out.append("}\n");
        }
        System.out.write(out.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
        System.out.flush();
    }
}

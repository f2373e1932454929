package rta;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.AutoOffsetReset;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * One windowed aggregation on Kafka Streams. What it is to do is the first line of the standard input, as JSON; it says how it is in
 * one JSON line a second, and ends when the input ends: with the program that started it.
 */
public final class KafkaStreamsProgram {
    private static final int REFUSED = 2;
    static volatile boolean ending;
    private static volatile String error;

    private KafkaStreamsProgram() { }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Map<String, Object> told = (Map<String, Object>) Json.parse(in.readLine());
        Topology topology;
        try {
            topology = topology(told);
        } catch (Expression.Refused e) {
            error = e.getMessage();
            say("REFUSED");
            System.exit(REFUSED);
            return;
        }
        Properties properties = new Properties();
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, told.get("application"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, told.get("state_dir"));
        properties.putAll((Map<String, Object>) told.get("config"));
        run(new KafkaStreams(topology, properties), in);
    }

    @SuppressWarnings("unchecked")
    static Topology topology(Map<String, Object> told) {
        Map<String, Object> event = (Map<String, Object>) told.get("event"), query = (Map<String, Object>) told.get("query");
        String key = (String) told.get("message_key"), output = (String) told.get("output");
        int partitions = (int) Groups.number(told.get("partitions"));
        new Groups(query, new StrictJson(event), key);  // refuses before anything is read
        // The groups are compacted, never deleted for their age: history has old times.
        StoreBuilder<?> groups = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Windows.GROUPS), Serdes.Bytes(), Serdes.ByteArray())
            .withCachingEnabled().withLoggingEnabled(Map.of("message.timestamp.type", "LogAppendTime"));
        StoreBuilder<?> counts = Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(Windows.COUNTS), Serdes.Bytes(), Serdes.ByteArray())
            .withCachingEnabled().withLoggingEnabled(Map.of("message.timestamp.type", "LogAppendTime"));
        Topology topology = new Topology();
        topology.addSource((AutoOffsetReset) null, "events", (record, before) -> Math.max(record.timestamp(), 0), new ByteArrayDeserializer(), new ByteArrayDeserializer(),
            (String) told.get("source"));
        topology.addProcessor("windows", () -> {
            StrictJson json = new StrictJson(event);
            return new Windows(json, new Groups(query, json, key), key, partitions);
        }, "events");
        topology.addStateStore(groups, "windows").addStateStore(counts, "windows");
        for (var sink : Map.of(Windows.ROWS, "", Windows.TOLD, ".counts", Windows.BAD, ".bad").entrySet())
            topology.addSink(sink.getKey(), output + sink.getValue(), new ByteArraySerializer(), new ByteArraySerializer(), "windows");
        return topology;
    }

    private static void run(KafkaStreams streams, BufferedReader in) throws InterruptedException {
        CountDownLatch ended = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING || now == KafkaStreams.State.REBALANCING) say(now.name());
            if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) ended.countDown();
        });
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            error = innermost(e);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Thread stopper = new Thread(() -> {
            ending = true;
            streams.close(Duration.ofSeconds(30));
        });
        Runtime.getRuntime().addShutdownHook(stopper);
        Thread parent = new Thread(() -> {
            try {
                while (in.read() >= 0) { }
            } catch (IOException e) {
                // the same: who started us is gone
            }
            ending = true;
            if (!streams.close(Duration.ofSeconds(30))) Runtime.getRuntime().halt(1);  // Kafka is away, and nobody waits for us
        });
        parent.setDaemon(true);
        parent.start();
        streams.start();
        while (!ended.await(1, TimeUnit.SECONDS)) say(streams.state().name());
        if (error != null) {
            streams.close(Duration.ofSeconds(10));
            say("ERROR");
            Runtime.getRuntime().halt(1);
        }
        say("NOT_RUNNING");
        Runtime.getRuntime().halt(0);
    }

    /** Return the message of the error that began it. */
    private static String innermost(Throwable thrown) {
        while (thrown.getCause() != null) thrown = thrown.getCause();
        return thrown instanceof Expression.Refused ? thrown.getMessage() : thrown.getClass().getSimpleName() + ": " + thrown.getMessage();
    }

    /** Say how it is, in one line. */
    private static synchronized void say(String state) {
        long read = 0, used = 0, late = 0, quarantined = 0, clock = Long.MIN_VALUE;
        for (Counts each : Windows.all.values()) {
            read += each.read;
            used += each.used;
            late += each.late;
            quarantined += each.quarantined;
            clock = Math.max(clock, each.clock);
        }
        StringBuilder line = new StringBuilder("{\"state\":");
        Values.write(line, state).append(",\"read\":").append(read).append(",\"used\":").append(used).append(",\"late\":").append(late);
        line.append(",\"quarantined\":").append(quarantined).append(",\"written\":").append(Windows.written.get()).append(",\"event_time\":");
        Values.write(line, clock == Long.MIN_VALUE ? null : Values.instant(clock)).append(",\"error\":");
        Values.write(line, error).append("}\n");
        byte[] bytes = line.toString().getBytes(StandardCharsets.UTF_8);
        System.out.write(bytes, 0, bytes.length);
        System.out.flush();
    }
}

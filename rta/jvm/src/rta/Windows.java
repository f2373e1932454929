package rta;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.processor.TaskId;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Windows of event time over one partition, without a repartition topic: the keys of a group contain the message key, so all events of
 * a group are on one partition, in their order. (A repartition topic mixes partitions that are read at different speeds: Kafka Streams,
 * which has no watermark, then takes events for late that were in time.)
 */
final class Windows implements Processor<byte[], byte[], byte[], byte[]> {
    static final String GROUPS = "groups", COUNTS = "counts", ROWS = "rows", TOLD = "told", BAD = "bad";
    private static final Bytes SUMS = Bytes.wrap(new byte[] {1});
    static final AtomicLong written = new AtomicLong();
    static final Map<TaskId, Counts> all = new ConcurrentHashMap<>();  // task → its counts

    private final StrictJson json;
    private final Groups groups;
    private final String messageKey;
    private final int partitions;
    private final Set<Bytes> unsent = new HashSet<>();  // groups whose newest row is in the cache alone
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> store, counted;
    private Counts counts;

    Windows(StrictJson json, Groups groups, String messageKey, int partitions) {
        this.json = json;
        this.groups = groups;
        this.messageKey = messageKey;
        this.partitions = partitions;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
        store = context.getStateStore(GROUPS);
        counted = context.getStateStore(COUNTS);
        counts = Counts.of(counted.get(SUMS));
        all.put(context.taskId(), counts);
        OnFlush.listen(context, store, (group, state) -> {
            unsent.remove(group);
            if (state != null) send(group.get(), state);
        });
        // Once a commit, in the transaction of the rows: so the counts are exactly those of the rows.
        OnFlush.listen(context, counted, (sums, stored) -> tell(TOLD, context.taskId().partition(), Counts.of(stored).json(context.taskId().partition())));
    }

    @Override
    public void close() {
        if (KafkaStreamsProgram.ending) return;  // the last line says what was counted
        all.remove(context.taskId());
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        RecordMetadata at = context.recordMetadata().orElseThrow();
        StrictJson.Event event = json.read(record.value(), record.timestamp());
        if (event.reason() != null) {
            counts.quarantined++;
            bad(at, event.reason());
        } else if (late(event, record.timestamp(), at)) counts.late++;
        else counts.used++;
        counts.read++;
        counts.next = at.offset() + 1;
        counted.put(SUMS, counts.stored());
    }

    /** Add a good event to its groups; return whether one of its windows was closed already. */
    private boolean late(StrictJson.Event event, long timestamp, RecordMetadata at) {
        Object[] row = groups.row(event.values(), timestamp);
        Long time = row == null ? null : groups.time(row);
        if (time == null) return false;
        requireItsPartition(event, at);
        advance(time);
        boolean late = false;
        for (long start = groups.window(time); start + groups.size > time; start -= groups.slide) {
            if (groups.closed(start, counts.clock)) late = true;
            else {
                Bytes group = Bytes.wrap(groups.group(start, row));
                unsent.add(group);
                store.put(group, groups.added(store.get(group), row));
            }
        }
        return late;
    }

    /** A key on two partitions would be two groups that overwrite each other: better no row than a wrong one. */
    private void requireItsPartition(StrictJson.Event event, RecordMetadata at) {
        if (partitions == 1) return;
        Object key = event.values()[groups.key];
        int wanted = key == null ? -1 : Utils.toPositive(Utils.murmur2(key.toString().getBytes(StandardCharsets.UTF_8))) % partitions;
        if (at.partition() != wanted)
            throw new Expression.Refused("the event with " + messageKey + " = " + key + " at offset " + at.offset() + " is on partition " + at.partition()
                + ", not where Kafka puts this message key among " + partitions + " partitions: its group could be on two of them. Publish with key=\"" + messageKey + "\", to a topic whose number of partitions stays");
    }

    /** Set the clock to the latest event time, and remove the groups of the windows that it closes. */
    private void advance(long time) {
        long before = counts.clock;
        if (time <= before) return;
        counts.clock = time;
        if (groups.grace < 0 || before == Long.MIN_VALUE) return;
        long open = groups.window(time - groups.size - groups.grace) + groups.slide;  // the first window that is not closed
        if (open <= groups.window(before - groups.size - groups.grace) + groups.slide) return;
        List<Bytes> closed = new ArrayList<>();
        byte[] from = Groups.first(Long.MIN_VALUE), to = Groups.first(open);
        try (KeyValueIterator<Bytes, byte[]> found = store.range(Bytes.wrap(from), Bytes.wrap(to))) {
            while (found.hasNext()) {
                var each = found.next();
                if (Groups.start(each.key.get()) >= open) break;
                if (unsent.remove(each.key)) send(each.key.get(), each.value);
                closed.add(each.key);
            }
        }
        closed.forEach(store::delete);
    }

    private void send(byte[] group, byte[] state) {
        written.incrementAndGet();
        context.forward(new Record<>(groups.key(group), groups.value(group, state), System.currentTimeMillis()), ROWS);
    }

    /** Say which event is bad, and why: Python sends it to the dead letter queue. */
    private void bad(RecordMetadata at, String reason) {
        StringBuilder json = new StringBuilder("{\"partition\":").append(at.partition()).append(",\"offset\":").append(at.offset()).append(",\"reason\":");
        tell(BAD, at.partition(), Values.write(json, reason).append('}').toString().getBytes(StandardCharsets.UTF_8));
    }

    /** The key is the partition: the newest counts of each are kept. */
    private void tell(String sink, int partition, byte[] value) {
        context.forward(new Record<>(Integer.toString(partition).getBytes(StandardCharsets.UTF_8), value, System.currentTimeMillis()), sink);
    }
}

package rta;

import java.util.function.BiConsumer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.internals.InternalProcessorContext;
import org.apache.kafka.streams.processor.internals.ProcessorNode;
import org.apache.kafka.streams.state.internals.WrappedStateStore;

/**
 * The one place that uses what Kafka Streams does not promise: its own aggregations send a row when their cache writes it, so a hot
 * group is one row a commit. A processor of ours does the same by the same listener.
 */
final class OnFlush {
    private OnFlush() { }

    /** Give `row` each key of a cached store that is written, and its value: null if it was removed. */
    @SuppressWarnings("unchecked")
    static void listen(ProcessorContext<?, ?> given, StateStore store, BiConsumer<Bytes, byte[]> row) {
        InternalProcessorContext<Object, Object> context = (InternalProcessorContext<Object, Object>) given;
        ProcessorNode<?, ?, ?, ?> mine = context.currentNode();
        boolean cached = ((WrappedStateStore<?, Bytes, byte[]>) store).setFlushListener(record -> {
            ProcessorNode<?, ?, ?, ?> before = context.currentNode();
            context.setCurrentNode(mine);
            try {
                row.accept(record.key(), record.value().newValue);
            } finally {
                context.setCurrentNode(before);
            }
        }, false);
        if (!cached) throw new IllegalStateException("the store has no cache");
    }
}

package rta;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** The accounting of one partition since the beginning: each term is counted on its own. A store of the application keeps it. */
final class Counts {
    volatile long clock = Long.MIN_VALUE;  // the latest event time of a window, in microseconds
    volatile long next, read, used, late, quarantined;

    /** Read what was stored; null is the beginning. */
    static Counts of(byte[] stored) {
        Counts counts = new Counts();
        if (stored == null) return counts;
        ByteBuffer in = ByteBuffer.wrap(stored);
        counts.clock = in.getLong();
        counts.next = in.getLong();
        counts.read = in.getLong();
        counts.used = in.getLong();
        counts.late = in.getLong();
        counts.quarantined = in.getLong();
        return counts;
    }

    byte[] stored() {
        return ByteBuffer.allocate(48).putLong(clock).putLong(next).putLong(read).putLong(used).putLong(late).putLong(quarantined).array();
    }

    /** Return the counts as rta's accounting reads them. */
    byte[] json(int partition) {
        return ("{\"partition\":" + partition + ",\"next\":" + next + ",\"consumed\":" + read + ",\"used\":" + used + ",\"late\":" + late
            + ",\"quarantined\":" + quarantined + "}").getBytes(StandardCharsets.UTF_8);
    }
}

package rta;

import java.io.Serializable;
import java.util.List;

/** Reads the values of records of one format. */
interface EventReader extends Serializable {
    /** Return the columns of the events. */
    List<StrictJson.Column> columns();

    /** Read the value of a record; null is Kafka's tombstone. */
    StrictJson.Event read(byte[] value);
}

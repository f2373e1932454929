package rta;

import java.math.BigDecimal;
import java.text.ParseException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.util.ArrayBasedMapData;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.sql.catalyst.util.LegacyDateFormats$;
import org.apache.spark.sql.catalyst.util.TimestampFormatter;
import org.apache.spark.sql.catalyst.util.TimestampFormatter$;
import org.apache.spark.sql.connector.catalog.FunctionCatalog;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.functions.BoundFunction;
import org.apache.spark.sql.connector.catalog.functions.ScalarFunction;
import org.apache.spark.sql.connector.catalog.functions.UnboundFunction;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.Decimal;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * rta's readers in Spark: a catalog of functions. The name of a function is an event type, as rta.events.strict_json writes it; it
 * takes the value of a record, and gives a struct of the event's columns and of its fault.
 */
public final class SparkReader implements FunctionCatalog {
    private static final String FAULT = "\"";  // no column can have that name
    private String name;

    @Override
    public void initialize(String given, CaseInsensitiveStringMap options) {
        name = given;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public Identifier[] listFunctions(String[] namespace) {
        return new Identifier[0];  // there is one for each event type
    }

    @Override
    public UnboundFunction loadFunction(Identifier event) {
        return new Unbound(event.name());
    }

    private record Unbound(String event) implements UnboundFunction {
        @Override
        public BoundFunction bind(StructType given) {
            return new Reading(event);
        }

        @Override
        public String description() {
            return "reads an event: its columns, or why it is bad";
        }

        @Override
        public String name() {
            return "read_event";
        }
    }

    private static final class Reading implements ScalarFunction<InternalRow> {
        private static final long serialVersionUID = 1L;
        private final String event;
        private final EventReader reader;
        private final StrictJson.Kind[] kinds;
        private final DataType type;

        @SuppressWarnings("unchecked")
        Reading(String event) {
            this.event = event;
            Map<String, Object> told = (Map<String, Object>) Json.parse(event);
            reader = told.containsKey("avro") ? new StrictAvro(told, Pattern::new)
                : told.containsKey("csv") ? new StrictCsv(told, Pattern::new) : new StrictJson(told, Pattern::new);
            kinds = reader.columns().stream().map(StrictJson.Column::kind).toArray(StrictJson.Kind[]::new);
            type = struct(reader.columns()).add(FAULT, DataTypes.StringType);
        }

        @Override
        public DataType[] inputTypes() {
            return new DataType[] {DataTypes.BinaryType};
        }

        @Override
        public DataType resultType() {
            return type;
        }

        @Override
        public String name() {
            return "read_event";
        }

        @Override
        public String canonicalName() {
            return "rta.read_event(" + event + ")";
        }

        @Override
        public boolean equals(Object other) {  // so that Spark finds what it has cached, and evaluates once what stands twice in a plan
            return other instanceof Reading reading && reading.event.equals(event);
        }

        @Override
        public int hashCode() {
            return event.hashCode();
        }

        @Override
        public InternalRow produceResult(InternalRow input) {
            StrictJson.Event read = reader.read(input.isNullAt(0) ? null : input.getBinary(0));
            Object[] row = new Object[kinds.length + 1];
            if (read.reason() != null) row[kinds.length] = UTF8String.fromString(read.reason());
            else for (int i = 0; i < kinds.length; i++) row[i] = internal(kinds[i], read.values()[i]);
            return new GenericInternalRow(row);
        }
    }

    /** A moment in a pattern of Spark's own, with its zone in the text, or in a zone. */
    private static final class Pattern implements StrictJson.Clock {
        private static final long serialVersionUID = 1L;
        private final String zone;
        private final TimestampFormatter formatter;

        Pattern(String pattern, String zone) {
            this.zone = zone;
            formatter = TimestampFormatter$.MODULE$.apply(pattern, ZoneOffset.UTC, LegacyDateFormats$.MODULE$.SIMPLE_DATE_FORMAT(), true);
        }

        @Override
        public Long micros(String text) {
            long clock;
            try {
                clock = formatter.parse(text);
            } catch (DateTimeException | ParseException e) {
                return null;
            }
            if (zone.isEmpty()) return clock;
            Instant at = StrictJson.at(LocalDateTime.ofInstant(Values.instant(clock), ZoneOffset.UTC), zone);
            return at == null ? null : (Long) Values.micros(at);
        }
    }

    private static StructType struct(List<StrictJson.Column> fields) {
        StructType type = new StructType();
        for (StrictJson.Column each : fields) type = type.add(each.name(), type(each.kind()));
        return type;
    }

    /** Return a type of Spark's, in which everything may be null: of a bad event it is. */
    private static DataType type(StrictJson.Kind kind) {
        switch (kind.type()) {
            case "struct": return struct(kind.fields());
            case "array": return DataTypes.createArrayType(type(kind.fields().get(0).kind()));
            case "map": return DataTypes.createMapType(DataTypes.StringType, type(kind.fields().get(0).kind()));
            case "decimal": return DataTypes.createDecimalType(kind.precision(), kind.scale());
            default: return DataType.fromDDL(kind.type());
        }
    }

    /** Return a value as Spark has it inside. */
    private static Object internal(StrictJson.Kind kind, Object value) {
        if (value == null) return null;
        switch (kind.type()) {
            case "string": return UTF8String.fromString((String) value);
            case "tinyint": return ((Long) value).byteValue();
            case "smallint": return ((Long) value).shortValue();
            case "int": return ((Long) value).intValue();
            case "float": return ((Double) value).floatValue();
            case "decimal": return Decimal.apply((BigDecimal) value, kind.precision(), kind.scale());
            case "date": return (int) ((LocalDate) value).toEpochDay();
            case "timestamp": case "timestamp_ntz": return Values.micros((Instant) value);
            case "struct": {
                Object[] fields = (Object[]) value;
                for (int i = 0; i < fields.length; i++) fields[i] = internal(kind.fields().get(i).kind(), fields[i]);
                return new GenericInternalRow(fields);
            }
            case "array": return list(kind.fields().get(0).kind(), ((List<?>) value).toArray());
            case "map": {
                Map<?, ?> entries = (Map<?, ?>) value;
                Object[] keys = entries.keySet().stream().map(key -> UTF8String.fromString((String) key)).toArray();
                return new ArrayBasedMapData(new GenericArrayData(keys), list(kind.fields().get(0).kind(), entries.values().toArray()));
            }
            default: return value;
        }
    }

    private static GenericArrayData list(StrictJson.Kind kind, Object[] values) {
        for (int i = 0; i < values.length; i++) values[i] = internal(kind, values[i]);
        return new GenericArrayData(values);
    }
}

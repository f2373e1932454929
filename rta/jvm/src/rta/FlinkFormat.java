package rta;

import java.math.BigDecimal;
import java.time.Instant;
import java.time.LocalDate;
import java.util.List;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;

/**
 * Flink's format `rta-json`: events read as rta reads them. Each record gives one row. Beside an event's own columns a table may have
 * `rta_reason`, why the event is bad, and `rta_us`, its event time in microseconds since the epoch; a bad event has its reason alone.
 */
public final class FlinkFormat implements DeserializationFormatFactory {
    private static final ConfigOption<String> EVENT = ConfigOptions.key("event").stringType().noDefaultValue()
        .withDescription("The event type, as rta.events.strict_json writes it.");
    private static final ConfigOption<String> SOURCES = ConfigOptions.key("sources").stringType().noDefaultValue()
        .withDescription("The hash of this jar's sources: another jar, which may judge events otherwise, refuses it.");

    @Override
    public String factoryIdentifier() {
        return "rta-json";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(EVENT);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(SOURCES);
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        String event = options.get(EVENT), wanted = options.get(SOURCES), found = FlinkFormat.class.getPackage().getImplementationVersion();
        if (wanted != null && !wanted.equals(found)) throw new ValidationException("rta-engines.jar is of another version of rta");
        return new DecodingFormat<>() {
            @Override
            public DeserializationSchema<RowData> createRuntimeDecoder(DynamicTableSource.Context source, DataType produced) {
                return new Schema(event, (RowType) produced.getLogicalType(), source.createTypeInformation(produced));
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }

    /** One record, one row. */
    private static final class Schema implements DeserializationSchema<RowData> {
        private static final long serialVersionUID = 1L;
        private static final int REASON = -1, MICROS = -2;

        private final String event;
        private final RowType type;
        private final TypeInformation<RowData> produced;
        private transient StrictJson json;
        private transient int[] places;  // of each column of the row among those of the event
        private transient int time;

        Schema(String event, RowType type, TypeInformation<RowData> produced) {
            this.event = event;
            this.type = type;
            this.produced = produced;
        }

        @Override
        public void open(InitializationContext context) {
            json = StrictJson.of(event);
            List<String> names = type.getFieldNames();
            places = names.stream().mapToInt(name -> name.equals("rta_reason") ? REASON : name.equals("rta_us") ? MICROS : json.index(name)).toArray();
            time = json.time();
        }

        @Override
        public RowData deserialize(byte[] value) {
            StrictJson.Event read = json.read(value);
            GenericRowData row = new GenericRowData(places.length);
            for (int i = 0; i < places.length; i++) {
                if (places[i] == REASON) row.setField(i, StringData.fromString(read.reason()));
                else if (read.reason() != null) continue;
                else if (places[i] == MICROS) row.setField(i, Values.micros((Instant) read.values()[time]));
                else row.setField(i, internal(read.values()[places[i]], type.getTypeAt(i)));
            }
            return row;
        }

        /** Return a value as Flink's rows hold it. */
        private static Object internal(Object value, LogicalType type) {
            if (value == null) return null;
            switch (type.getTypeRoot()) {
                case TINYINT: return ((Long) value).byteValue();
                case SMALLINT: return ((Long) value).shortValue();
                case INTEGER: return ((Long) value).intValue();
                case FLOAT: return ((Double) value).floatValue();
                case DATE: return (int) ((LocalDate) value).toEpochDay();
                case DECIMAL: return DecimalData.fromBigDecimal((BigDecimal) value, ((DecimalType) type).getPrecision(), ((DecimalType) type).getScale());
                case VARCHAR: return StringData.fromString((String) value);
                case TIMESTAMP_WITH_LOCAL_TIME_ZONE: return TimestampData.fromInstant((Instant) value);
                default: return value;  // BOOLEAN, BIGINT, DOUBLE
            }
        }

        @Override
        public boolean isEndOfStream(RowData next) {
            return false;
        }

        @Override
        public TypeInformation<RowData> getProducedType() {
            return produced;
        }
    }
}

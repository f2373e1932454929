"""The types that Arrow lacks, and what leaves Spark instead: of a VARIANT its JSON, of a year-month INTERVAL its months.

Spark itself makes it so. PySpark cannot collect months, and its reader of a VARIANT rounds decimals of more than 28 digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def stored_type(kind: Any) -> Any:
    """Return the type in which a value leaves Spark for a table: its own, or the one that Arrow has for it.

    >>> from pyspark.sql.types import ArrayType, LongType, StructType, VariantType, YearMonthIntervalType
    >>> stored_type(StructType().add("a", ArrayType(VariantType())).add("b", YearMonthIntervalType()).add("c", "long")).simpleString()
    'struct<a:array<string>,b:int,c:bigint>'
    """
    from pyspark.sql.types import ArrayType, IntegerType, MapType, StringType, StructType

    match kind.typeName():
        case "variant" | "char" | "varchar":
            return StringType()
        case "yearmonthinterval":
            return IntegerType()
        case "array":
            return ArrayType(stored_type(kind.elementType), kind.containsNull)
        case "map":
            return MapType(stored_type(kind.keyType), stored_type(kind.valueType), kind.valueContainsNull)  # fmt: skip
        case "struct":
            made = StructType()
            for each in kind:
                made = made.add(each.name, stored_type(each.dataType), each.nullable, each.metadata)
            return made
    return kind


def storable(frame: DataFrame) -> DataFrame:
    """Return a frame whose rows Arrow can hold exactly; the frame itself, if it can already.

    Args:
        frame: The result of a query.

    Returns:
        The same columns: VARIANT as JSON (STRING), INTERVAL YEAR TO MONTH as months (INT), also inside of arrays, maps and structs.

    Example:
        >>> loose = spark.sql("SELECT parse_json('[1.50, {}]') AS v, INTERVAL '1-2' YEAR TO MONTH AS age")
        >>> storable(loose).collect()
        [Row(v='[1.5,{}]', age=14)]
    """
    from pyspark.sql import functions as F

    if stored_type(frame.schema) == frame.schema:
        return frame
    return frame.select(*[_stored(F.col(f"`{each.name}`"), each.dataType).alias(each.name) for each in frame.schema])  # fmt: skip


def _stored(value: Column, kind: Any) -> Column:
    from pyspark.sql import functions as F

    if stored_type(kind) == kind:
        return value
    match kind.typeName():
        case "variant":
            made = F.to_json(value)
        case "yearmonthinterval":  # only an interval of one unit is a number
            made = value.cast("interval month").cast("int")
        case "array":
            made = F.transform(value, lambda each: _stored(each, kind.elementType))
        case "map":
            keys = F.transform_keys(value, lambda key, _: _stored(key, kind.keyType))
            made = F.transform_values(keys, lambda _, each: _stored(each, kind.valueType))
        case "struct":
            parts = [_stored(value.getField(each.name), each.dataType).alias(each.name) for each in kind]  # fmt: skip
            made = F.when(value.isNotNull(), F.struct(*parts))
        case _:
            made = value.cast("string")
    return made

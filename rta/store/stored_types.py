"""The types that Arrow or JSON lacks, and what leaves Spark instead: of a VARIANT its JSON, of a year-month INTERVAL its months.

Spark itself makes it so. PySpark cannot collect months, and its reader of a VARIANT rounds decimals of more than 28 digits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ARROW: Final = frozenset(("variant", "char", "varchar", "yearmonthinterval"))
"""What Arrow lacks, by typeName()."""
JSON: Final = ARROW | {"daytimeinterval"}
"""What JSON lacks, by typeName(): a day-time INTERVAL is its microseconds there."""


def stored_type(kind: Any, lacking: Collection[str] = ARROW) -> Any:
    """Return the type in which a value leaves Spark for a table: its own, or the one that there is for it.

    >>> from pyspark.sql.types import ArrayType, LongType, StructType, VariantType, YearMonthIntervalType
    >>> stored_type(StructType().add("a", ArrayType(VariantType())).add("b", YearMonthIntervalType()).add("c", "long")).simpleString()
    'struct<a:array<string>,b:int,c:bigint>'
    """
    from pyspark.sql.types import ArrayType, IntegerType, LongType, MapType, StringType, StructType

    made = kind
    match kind.typeName():
        case "array":
            made = ArrayType(stored_type(kind.elementType, lacking), kind.containsNull)
        case "map":
            parts = stored_type(kind.keyType, lacking), stored_type(kind.valueType, lacking)
            made = MapType(*parts, kind.valueContainsNull)
        case "struct":
            made = StructType()
            for each in kind:
                made = made.add(each.name, stored_type(each.dataType, lacking), each.nullable, each.metadata)  # fmt: skip
        case "yearmonthinterval" if "yearmonthinterval" in lacking:
            made = IntegerType()
        case "daytimeinterval" if "daytimeinterval" in lacking:
            made = LongType()
        case name if name in lacking:
            made = StringType()
    return made


def storable(frame: DataFrame, lacking: Collection[str] = ARROW) -> DataFrame:
    """Return a frame whose rows Arrow can hold exactly; the frame itself, if it can already.

    Args:
        frame: The result of a query.
        lacking: The types that are made into others.

    Returns:
        The same columns: VARIANT as JSON (STRING), INTERVAL YEAR TO MONTH as months (INT), also inside of arrays, maps and structs.

    Example:
        >>> loose = spark.sql("SELECT parse_json('[1.50, {}]') AS v, INTERVAL '1-2' YEAR TO MONTH AS age")
        >>> storable(loose).collect()
        [Row(v='[1.5,{}]', age=14)]
    """
    from pyspark.sql import functions as F

    if stored_type(frame.schema, lacking) == frame.schema:
        return frame
    return frame.select(*[_stored(F.col(f"`{each.name}`"), each.dataType, lacking).alias(each.name) for each in frame.schema])  # fmt: skip


def _stored(value: Column, kind: Any, lacking: Collection[str]) -> Column:
    from pyspark.sql import functions as F

    if stored_type(kind, lacking) == kind:
        return value
    match kind.typeName():
        case "variant":
            made = F.to_json(value)
        case "yearmonthinterval":  # only an interval of one unit is a number
            made = value.cast("interval month").cast("int")
        case "daytimeinterval":
            made = (value.cast("interval second").cast("decimal(20,6)") * 1_000_000).cast("bigint")
        case "array":
            made = F.transform(value, lambda each: _stored(each, kind.elementType, lacking))
        case "map":
            keys = F.transform_keys(value, lambda key, _: _stored(key, kind.keyType, lacking))
            made = F.transform_values(keys, lambda _, each: _stored(each, kind.valueType, lacking))
        case "struct":
            parts = [_stored(value.getField(each.name), each.dataType, lacking).alias(each.name) for each in kind]  # fmt: skip
            made = F.when(value.isNotNull(), F.struct(*parts))
        case _:
            made = value.cast("string")
    return made

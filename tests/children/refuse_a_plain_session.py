"""Ask for rta's session where somebody else's runs, without the connector."""

from pyspark.sql import SparkSession

from rta import errors
from rta.dataframes import session

plain = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
try:
    session.spark()
except errors.SetupError as error:
    print(error)
plain.stop()

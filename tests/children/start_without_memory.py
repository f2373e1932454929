"""Start Spark with a heap that no machine has."""

from rta import errors
from rta.dataframes import session

try:
    session.spark(conf={"spark.driver.memory": "1k"})
except errors.SetupError as error:
    print(error)

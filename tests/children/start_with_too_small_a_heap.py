"""Start Spark with a heap that Spark itself refuses (F38)."""

import rta

try:
    rta.spark(conf={"spark.driver.memory": "200m"})
except rta.RtaError as error:
    print(error)

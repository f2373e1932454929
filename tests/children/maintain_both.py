"""Keep Lambda and Kappa up to date until killed (F41)."""

import sys

import rta
from tests.support.schedule import once
from tests.support.wired_schedule import HOW, maintained

rta.spark(conf={"spark.ui.enabled": "false"})
topic, table = sys.argv[1:]
with (
    rta.lambda_(topic, once, table=f"{table}_lambda", **HOW) as lam,
    rta.kappa(topic, once, table=f"{table}_kappa", **HOW) as kap,
):
    print("maintaining", flush=True)
    while True:
        maintained(lam, kap)

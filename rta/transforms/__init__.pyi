from .aggregates import deduplicate as deduplicate
from .aggregates import totals as totals

from .query_health import Health as Health
from .query_health import health as health
from .state_store import evicted as evicted
from .state_store import state as state
from .state_store import state_history as state_history

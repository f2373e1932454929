from .query_health import Health as Health
from .query_health import health as health
from .state_growth import state_history as state_history
from .state_store import evicted as evicted
from .state_store import state as state

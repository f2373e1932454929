from .event_times import event_time_chart as event_time_chart
from .live_view import LiveView as LiveView
from .still import Snapshot as Snapshot
from .tiles import Tile as Tile

from .jar import engines_jar as engines_jar
from .strict_json import event_json as event_json
from .strict_json import supported as supported

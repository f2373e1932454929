from .description import Aggregate as Aggregate
from .description import Derived as Derived
from .description import Description as Description
from .description import Filter as Filter
from .description import Session as Session
from .description import Watermark as Watermark
from .description import Window as Window
from .proof import described as described

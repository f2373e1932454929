from .browse import DeadLetterCount as DeadLetterCount
from .browse import counts as counts
from .browse import dead_letters as dead_letters
from .browse import find as find
from .browse import read_dead_letters as read_dead_letters
from .dead_letter import DeadLetter as DeadLetter
from .redriving import Redriven as Redriven
from .redriving import redrive as redrive

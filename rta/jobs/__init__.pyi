from .receipts import Receipt as Receipt
from .runner import history as history
from .runner import parse as parse
from .runner import read_notebook as read_notebook
from .runner import receipt as receipt
from .runner import run as run
from .states import State as State

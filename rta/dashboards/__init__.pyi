from .entries import Dashboard as Dashboard
from .entries import link as link
from .entries import running as running
from .entries import stop as stop
from .serving import serve as serve
from .systemd import unit as unit

from . import oracle as oracle
from . import reference_parser as reference_parser
from .feeding import Fed as Fed
from .feeding import check_law as check_law
from .feeding import feed as feed

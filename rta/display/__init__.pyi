from .queries import ListedQuery as ListedQuery
from .queries import Queries as Queries
from .queries import queries as queries
from .vitals import Verdict as Verdict
from .vitals import Vitals as Vitals
from .vitals import verdict as verdict
from .vitals import vitals_of as vitals_of

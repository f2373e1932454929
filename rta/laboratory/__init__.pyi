from .experiments import Experiment as Experiment
from .laboratories import Laboratory as Laboratory
from .laboratories import lab as lab

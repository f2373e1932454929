from .by_hand import sql as sql
from .cluster import Cluster as Cluster
from .cluster import down as down
from .cluster import status as status
from .cluster import up as up
from .gateway import Session as Session

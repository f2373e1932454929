from .parsing import parse as parse
from .producer import Published as Published
from .producer import publish as publish
from .publish_datasets import publish_dataset as publish_dataset
from .session import spark as spark
from .sources import quarantined as quarantined
from .sources import read_batch as read_batch
from .sources import read_stream as read_stream

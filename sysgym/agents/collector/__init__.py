"""States of many clients, gathered into batches for several receivers, after ELF; of use without a learner, too.

`collector` takes states and routes answers back, `inbox` holds what waits for a receiver, and `windows` keeps the last
states of every client.
"""

from sysgym.agents.collector.collector import Collector
from sysgym.agents.collector.inbox import Batch, Collected, Receiver, Reply

__all__ = ["Batch", "Collected", "Collector", "Receiver", "Reply"]

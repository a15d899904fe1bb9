"""Support: messages dropped into the inbox, what they are about, and which of them a person must see now.

One partition is one batch of files (see ``sensors/inbox.py``). Every asset holds one row a message.
"""

import dagster as dg

inbox_batches = dg.DynamicPartitionsDefinition(name="inbox_batches")

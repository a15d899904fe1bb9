"""One file per operator: rows to requests, responses to values. No I/O, nothing asynchronous."""
